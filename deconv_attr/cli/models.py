"""The model of a command: the embedded one, a torchvision name, or a ``module:factory``.

Each becomes a :class:`Classifier`: the model in eval mode, its preprocessing, the names of its classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from operator import attrgetter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torchvision import models as untyped_zoo

from ..attribution.scored_model import ScoredModel, described
from ..demo import CLASS_NAMES, GeneratedImages, load_model
from ..engine.modes import keep_random_state
from ..engine.state_dict import load_into
from ..engine.undo import Undo
from ..engine.weights_file import read_weights
from ..errors import InputError, ModelError, TargetError, nearest, reason
from ..gallery.images import Preprocessing
from .class_names import class_named
from .preprocessing import Recipe, by_recipe, by_transform, recipe_of
from .preprocessing_options import Asked

__all__ = ["Classifier", "embedded_classifier", "load_classifier", "scored"]

zoo: Any = untyped_zoo

Model = TypeVar("Model")


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model in eval mode, and its description on the command line.

    Attributes
    ----------
    model : nn.Module
        Takes ``(N, C, H, W)``, returns ``(N, classes)``.
    name, weights : str
        In words, for the terminal.
    preprocessing : Preprocessing
        How photographs become inputs.
    categories : tuple of str
        The names of the classes in order; empty if they are unknown.
    loaded : str
        What of a file of weights was taken, and how its names were changed; "" if it was taken as it is.
    origin : str
        Where the preprocessing comes from.
    score : str
        The function that makes scores of the model's output; "" if that is them.
    """

    model: nn.Module
    name: str
    weights: str
    preprocessing: Preprocessing
    categories: tuple[str, ...] = ()
    loaded: str = ""
    origin: str = ""
    score: str = ""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The facts that a reader of the results needs: names and values."""
        return [
            ("model", self.name),
            ("weights", f"{self.weights}, {self.loaded}" if self.loaded else self.weights),
            ("input", f"{self.preprocessing}; {self.origin}" if self.origin else str(self.preprocessing)),
            *([("score", self.score)] if self.score else []),
        ]

    @property
    def lines(self) -> list[str]:
        """The same, for a terminal."""
        return [f"{name:8} {value}" for name, value in self.facts]

    def scores(self, inputs: Tensor) -> Tensor:
        """Return the model's output, ``(N, classes)``; one score for each image, ``(N,)``, as a single class.

        Raises
        ------
        ModelError
            If the model fails on the inputs or returns anything but one finite score a class.
        """
        call = f"{self.name} on an input of shape {tuple(inputs.shape)}"
        try:
            with torch.no_grad():
                scores = self.model(inputs)
        except Exception as error:
            raise ModelError(f"{call} raised {reason(error)}") from error
        if not isinstance(scores, Tensor):
            raise ModelError(
                f"expected a tensor of class scores from {call}, got {described(scores)}: a ScoredModel from the "
                "factory, or --score module:function, says what the scores are"
            )
        if scores.ndim == 1:
            scores = scores[:, None]
        if scores.ndim != 2 or len(scores) != len(inputs) or scores.shape[1] == 0:
            raise ModelError(f"expected the shape ({len(inputs)}, classes) from {call}, got {tuple(scores.shape)}")
        if not scores.isfinite().all():
            others = int(scores.isfinite().logical_not().sum())
            raise ModelError(f"expected finite scores from {call}, got {others} that are NaN or infinite")
        return scores

    def class_name(self, index: int) -> str:
        """Return the name of a class, or ``class 7`` where it has none."""
        return self.categories[index] if index < len(self.categories) else f"class {index}"

    def class_index(self, word: str, classes: int) -> int:
        """Return the index of a class that is given by its index, its name, or a part of its name alone.

        Raises
        ------
        TargetError
            If there is no such class, or more than one.
        """
        try:
            index = int(word)
        except ValueError:
            return class_named(word, self.categories, self.name)
        if not 0 <= index < classes:
            raise TargetError(f"expected a class from 0 to {classes - 1} of {self.name}, got {index}")
        return index


def scored(classifier: Classifier, score: str) -> Classifier:
    """Return a classifier whose scores are what a function, ``module:function``, returns of the model's output.

    Raises
    ------
    InputError
        If there is no such function.
    """
    if ":" not in score:
        raise InputError(f"expected --score as module:function, a function of the model's output, got {score!r}")
    return replace(classifier, model=ScoredModel(classifier.model, _imported(score, "returns scores")), score=score)


def embedded_classifier() -> Classifier:
    """Return the miniature ZFNet that is part of the package, with its trained weights."""
    return Classifier(
        load_model(),
        "MiniZFNet",
        "embedded, trained on generated shapes",
        GeneratedImages.preprocessing,
        CLASS_NAMES,
        origin="as it was trained",
    )


def load_classifier(name: str, weights: str | None = None, asked: Asked | None = None) -> Classifier:
    """Return the model that a command line names.

    Parameters
    ----------
    name : str
        A classification model of torchvision, or ``module:factory``, where the factory takes no arguments and
        returns a Module, or a Module and the transform that makes a PIL image its input.
    weights : str, optional
        ``"DEFAULT"`` (torchvision's, downloaded once; its default), ``"random"`` (seed 0), or the path of a file
        with a state dict. None leaves a factory's model as it was made.
    asked : Asked, optional
        The preprocessing options. Without them: for a torchvision model that of its default weights; for a factory's
        its transform, or the model's ``pretrained_cfg`` (timm), else as for ImageNet, in gray if the first convolution
        has one channel.

    Raises
    ------
    InputError
        If there is no such model, it cannot be made, or the weights cannot be had or do not fit; or the options
        contradict each other or the factory.
    ModelError
        If the factory returns no Module.
    """
    asked = asked or Asked()
    if ":" in name:
        return _from_factory(name, weights, asked)
    return _from_torchvision(name, "DEFAULT" if weights is None else weights, asked)


def _from_torchvision(name: str, weights: str, asked: Asked) -> Classifier:
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise InputError(
            f"torchvision has no classification model {name!r}{nearest(name.lower(), known)}"
            " (a model of your own is module:factory)"
        )
    default = zoo.get_model_weights(name).DEFAULT
    loaded = ""
    if weights == "DEFAULT":
        model = _downloaded(name, default)
        words = str(default)
    elif weights == "random":
        model = _seeded(lambda: _bare(name, {}))
        words = "random, seed 0"
    else:
        state, found = read_weights(weights)
        model = _seeded(lambda: _bare(name, state))
        words = weights
        loaded = _joined(found, load_into(model, state, weights, name))
    preset = default.transforms()
    recipe = Recipe(preset.resize_size[0], preset.crop_size[0], preset.mean, preset.std, preset.interpolation.value)
    preprocessing, origin = by_recipe(recipe, "torchvision's", asked, name, model.eval())
    return Classifier(model, name, words, preprocessing, tuple(default.meta["categories"]), loaded, origin)


def _from_factory(name: str, weights: str | None, asked: Asked) -> Classifier:
    if weights == "DEFAULT":
        raise InputError(
            f"expected --weights random or a file for {name}, got DEFAULT, which is for torchvision's models"
        )
    model, transform = _made(name)
    words = "as the factory made it, seed 0"
    loaded = ""
    if weights not in (None, "random"):
        state, found = read_weights(weights)
        loaded = _joined(found, load_into(model, state, weights, name))
        words = weights
    model.eval()
    if transform is None:
        preprocessing, origin = by_recipe(*recipe_of(model, asked, name), asked, name, model)
    else:
        preprocessing, origin = by_transform(transform, asked, name)
    return Classifier(model, name, words, preprocessing, loaded=loaded, origin=origin)


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _made(name: str) -> tuple[nn.Module, Callable[[Any], Any] | None]:
    """Return a factory's model, and the transform that it returned beside it."""
    factory = _imported(name, "returns a Module")
    try:
        made: Any = _seeded(factory)
    except (Exception, SystemExit) as error:
        raise InputError(f"{name} raised {reason(error)}") from error
    model, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"expected a torch.nn.Module from {name}, got a {type(made).__name__}; it may also return a Module and its "
            "transform"
        )
    if transform is not None and not callable(transform):
        raise InputError(
            f"expected a transform of images beside the model that {name} returns, got a {type(transform).__name__}"
        )
    return model, transform


def _imported(name: str, does: str) -> Callable[..., Any]:
    """Return a function that is named as ``module:function``."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(f"cannot import {module_name!r} of {name}: {reason(error)}") from error
    try:
        function: Any = attrgetter(attribute)(module)
    except AttributeError as error:
        near = nearest(attribute, [word for word in dir(module) if not word.startswith("_")])
        raise InputError(f"module {module_name!r} has no {attribute!r}{near}") from error
    if not callable(function):
        raise InputError(f"expected {name} as a function that {does}, got a {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def _seeded(factory: Callable[[], Model]) -> Model:
    """Return a model whose weights are the same each time; the caller's generator is left alone."""
    undo = Undo()
    with undo, undo:
        keep_random_state(torch.device("cpu"), undo)
        torch.manual_seed(0)
        return factory()


def _bare(name: str, state: dict[str, Any]) -> nn.Module:
    """Return an architecture without weights, in the variant that `state` fits."""
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # torchvision's own weights expect transform_input, and files saved from them may lack the side heads.
        side_heads = any({"aux1", "AuxLogits"} & {*key.split(".")} for key in state)
        options = {"init_weights": False, "transform_input": True, "aux_logits": side_heads}
    model: nn.Module = zoo.get_model(name, weights=None, **options)
    return model


def _downloaded(name: str, weights: object) -> nn.Module:
    try:
        model: nn.Module = zoo.get_model(name, weights=weights)
    except (OSError, RuntimeError, HTTPException) as error:
        raise InputError(f"cannot download {weights}: {reason(error)}; use --weights random, or a file") from error
    return model
