"""The model of a command: the embedded one, a torchvision name, or a ``module:factory``.

Each becomes a :class:`Classifier`: the model in eval mode, its preprocessing, the names of its classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models as untyped_zoo

from ..demo import CLASS_NAMES, GeneratedImages, load_model
from ..engine.state_dict import load_into, read_state_dict
from ..errors import InputError, ModelError, TargetError, nearest, reason
from ..gallery.images import IMAGENET, Preprocessing, standard_preprocessing

__all__ = ["Classifier", "embedded_classifier", "load_classifier"]

zoo: Any = untyped_zoo


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model in eval mode, and its description on the command line.

    Attributes
    ----------
    model : nn.Module
        Takes ``(N, 3, H, W)``, returns ``(N, classes)``.
    name, weights : str
        In words, for the terminal.
    preprocessing : Preprocessing
        How photographs become inputs.
    categories : tuple of str
        The names of the classes in order; empty if they are unknown.
    """

    model: nn.Module
    name: str
    weights: str
    preprocessing: Preprocessing
    categories: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"model    {self.name}\nweights  {self.weights}\ninput    {self.preprocessing}"

    def scores(self, inputs: Tensor) -> Tensor:
        """Return the model's output, ``(N, classes)``.

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
            raise ModelError(f"expected a tensor of class scores from {call}, got a {type(scores).__name__}")
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
        """Return the index of a class that is given by its index or name, in any case of letters.

        Raises
        ------
        TargetError
            If there is no such class, or more than one of that name.
        """
        try:
            index = int(word)
        except ValueError:
            return self._named(word)
        if not 0 <= index < classes:
            raise TargetError(f"expected a class from 0 to {classes - 1} of {self.name}, got {index}")
        return index

    def _named(self, word: str) -> int:
        if not self.categories:
            raise TargetError(
                f"expected the index of a class, because those of {self.name} have no names, got {word!r}"
            )
        names = [name.casefold() for name in self.categories]
        indices = [index for index, name in enumerate(names) if name == word.casefold()]
        if len(indices) > 1:
            raise TargetError(
                f"expected the name of one class, got {word!r} of {len(indices)}; give one of the indices {indices}"
            )
        if not indices:
            raise TargetError(f"{self.name} has no class {word!r}{nearest(word.casefold(), names)}")
        return indices[0]


def embedded_classifier() -> Classifier:
    """Return the miniature ZFNet that is part of the package, with its trained weights."""
    return Classifier(
        load_model(), "MiniZFNet", "embedded, trained on generated shapes", GeneratedImages.preprocessing, CLASS_NAMES
    )


def load_classifier(name: str, weights: str | None = None) -> Classifier:
    """Return the model that a command line names.

    Parameters
    ----------
    name : str
        A classification model of torchvision, or ``module:factory``, where the factory takes no arguments and
        returns a Module. A factory's photographs are resized to 256, cropped to 224 x 224 and normalised with
        ImageNet's mean and deviation; a torchvision model has the preprocessing of its default weights.
    weights : str, optional
        ``"DEFAULT"`` (torchvision's, downloaded once; its default), ``"random"`` (seed 0), or the path of a
        state dict, bare or under the key ``"state_dict"``. None leaves a factory's model as it was made.

    Raises
    ------
    InputError
        If there is no such model, it cannot be made, or the weights cannot be had or do not fit.
    ModelError
        If the factory returns no Module.
    """
    if ":" in name:
        return _from_factory(name, weights)
    return _from_torchvision(name, "DEFAULT" if weights is None else weights)


def _from_torchvision(name: str, weights: str) -> Classifier:
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise InputError(
            f"torchvision has no classification model {name!r}{nearest(name.lower(), known)}"
            " (a model of your own is module:factory)"
        )
    default = zoo.get_model_weights(name).DEFAULT
    preset = default.transforms()
    if weights == "DEFAULT":
        model = _downloaded(name, default)
        words = str(default)
    elif weights == "random":
        model = _seeded(lambda: _bare(name, {}))
        words = "random, seed 0"
    else:
        state = read_state_dict(weights)
        model = _seeded(lambda: _bare(name, state))
        words = weights
        load_into(model, state, weights, name)
    preprocessing = Preprocessing(preset, preset.resize_size[0], preset.crop_size[0], preset.mean, preset.std)
    return Classifier(model.eval(), name, words, preprocessing, tuple(default.meta["categories"]))


def _from_factory(name: str, weights: str | None) -> Classifier:
    if weights == "DEFAULT":
        raise InputError(
            f"expected --weights random or a file for {name}, got DEFAULT, which is for torchvision's models"
        )
    model = _made(name)
    words = "as the factory made it, seed 0"
    if weights not in (None, "random"):
        state = read_state_dict(weights)
        load_into(model, state, weights, name)
        words = weights
    return Classifier(model.eval(), name, words, standard_preprocessing(*IMAGENET))


def _made(name: str) -> nn.Module:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(f"cannot import {module_name!r} of {name}: {reason(error)}") from error
    try:
        factory = attrgetter(attribute)(module)
    except AttributeError as error:
        near = nearest(attribute, [word for word in dir(module) if not word.startswith("_")])
        raise InputError(f"module {module_name!r} has no {attribute!r}{near}") from error
    if not callable(factory):
        raise InputError(f"expected {name} as a function that returns a Module, got a {type(factory).__name__}")
    try:
        model = _seeded(factory)
    except (Exception, SystemExit) as error:
        raise InputError(f"{name} raised {reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected a torch.nn.Module from {name}, got a {type(model).__name__}")
    return model


def _seeded(factory: Callable[[], nn.Module]) -> nn.Module:
    """Return a model whose weights are the same each time; the caller's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory()


def _bare(name: str, state: dict[str, Any]) -> nn.Module:
    """Return an architecture without weights, in the variant that `state` fits."""
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # torchvision's own weights expect transform_input, and files saved from them may lack the side heads.
        side_heads = any(key.startswith(("aux", "AuxLogits")) for key in state)
        options = {"init_weights": False, "transform_input": True, "aux_logits": side_heads}
    model: nn.Module = zoo.get_model(name, weights=None, **options)
    return model


def _downloaded(name: str, weights: object) -> nn.Module:
    try:
        model: nn.Module = zoo.get_model(name, weights=weights)
    except (OSError, RuntimeError, HTTPException) as error:
        raise InputError(f"cannot download {weights}: {reason(error)}; use --weights random, or a file") from error
    return model
