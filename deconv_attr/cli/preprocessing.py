"""How photographs become a model's inputs: by options, by what the model brings along, or assumed as for ImageNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import InputError, reason
from ..gallery.images import IMAGENET, Preprocessing, moments_of, standard_preprocessing
from .preprocessing_options import INTERPOLATIONS, Asked

__all__ = ["Recipe", "by_recipe", "by_transform", "recipe_of"]

COLOURS = IMAGENET[2:]
GRAY = tuple((round(sum(values) / 3, 3),) for values in COLOURS)  # ImageNet's, the mean of the three colours
BLANK = (640, 480)  # what a factory's transform is tried on: neither square nor small


@dataclass(frozen=True)
class Recipe:
    """The numbers of torchvision's usual preprocessing."""

    resize: int
    size: int
    mean: Sequence[float]
    std: Sequence[float]
    interpolation: str = "bilinear"


def by_recipe(recipe: Recipe, source: str, asked: Asked, name: str, model: nn.Module) -> tuple[Preprocessing, str]:
    """Return the preprocessing by a recipe, changed by the options, and where it comes from, in words.

    Parameters
    ----------
    recipe : Recipe
        Its mean and deviation count only if the model reads as many channels.
    source : str
        Where the recipe comes from.
    asked : Asked
        The options.
    name : str
        Of the model, for errors.
    model : nn.Module
        Its first convolution says whether it reads gray images.

    Raises
    ------
    InputError
        If the options contradict the model or the recipe.
    """
    channels = _channels(model)
    if channels is not None and channels != len(recipe.mean):
        mean, std = GRAY if channels == 1 else COLOURS
        recipe = replace(recipe, mean=mean, std=std)
        source += f", in {'gray' if channels == 1 else 'colour'} by its first convolution"
    changes: dict[str, Any] = {key: value for key, value in vars(asked).items() if value is not None}
    if asked.size is not None:
        changes.setdefault("resize", asked.size)
    changed = replace(recipe, **changes)
    if changed.resize < changed.size:
        raise InputError(
            f"expected --resize of at least the {changed.size} pixels that {name} sees, got {changed.resize}"
        )
    preprocessing = standard_preprocessing(
        changed.resize, changed.size, changed.mean, changed.std, changed.interpolation
    )
    if channels not in (None, len(changed.mean)):
        _check_channels(model, preprocessing, name, channels)
    if not changes:
        return preprocessing, source
    settled = asked.size is not None and asked.mean is not None
    return preprocessing, f"by {asked}" + ("" if settled else f", else {source}")


def recipe_of(model: nn.Module, asked: Asked, name: str) -> tuple[Recipe, str]:
    """Return the recipe that a model brings along as timm's do, else ImageNet's, and its name.

    Raises
    ------
    InputError
        If the model's own is not for square images, and the options do not say a size.
    """
    resize, size, mean, std = IMAGENET
    assumed = Recipe(resize, size, mean, std)
    own = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if not isinstance(own, Mapping) or "input_size" not in own:
        return assumed, "assumed, as for ImageNet"
    *_, height, width = own["input_size"]
    if height != width and asked.size is None:
        raise InputError(
            f"expected a square input_size in the pretrained_cfg of {name}, got {tuple(own['input_size'])}; choose "
            "--size, or let the factory return (model, transform)"
        )
    interpolation = own.get("interpolation")
    found = Recipe(
        int(height / (own.get("crop_pct") or 0.875)),
        height,
        tuple(own.get("mean", mean)),
        tuple(own.get("std", std)),
        interpolation if interpolation in INTERPOLATIONS else assumed.interpolation,
    )
    return found, "by its pretrained_cfg"


@dataclass(frozen=True)
class _Checked:
    """A factory's transform, whose errors are named."""

    transform: Callable[[Image.Image], Any]
    name: str
    shape: tuple[int, ...] | None = None  # what it returned for a blank image

    def __call__(self, image: Image.Image) -> Tensor:
        try:
            result = self.transform(image)
        except Exception as error:
            raise InputError(f"the preprocessing of {self.name} raised {reason(error)}") from error
        if not isinstance(result, Tensor) or result.ndim != 3 or not result.is_floating_point():
            actual = f"{tuple(result.shape)} of {result.dtype}" if isinstance(result, Tensor) else type(result).__name__
            raise InputError(
                f"expected a tensor (C, H, W) in floating point from the preprocessing of {self.name}, got {actual}"
            )
        if self.shape not in (None, tuple(result.shape)):
            raise InputError(
                f"expected inputs of one shape from the preprocessing of {self.name}, got {self.shape} for an image "
                f"of {BLANK[0]} x {BLANK[1]} and {tuple(result.shape)} for one of {image.width} x {image.height}"
            )
        return result


def by_transform(transform: Callable[[Image.Image], Any], asked: Asked, name: str) -> tuple[Preprocessing, str]:
    """Return the preprocessing by a transform that a factory returned, and where it comes from, in words.

    Raises
    ------
    InputError
        If there are options too, or the transform does not make images of 1 or 3 channels.
    """
    if str(asked):
        raise InputError(
            f"expected the preprocessing of {name} by {asked} or by its factory, got both; the factory returns a "
            "transform beside the model"
        )
    channels, height, width = _Checked(transform, name)(Image.new("RGB", BLANK)).shape
    if channels not in (1, 3):
        raise InputError(f"expected images of 1 or 3 channels from the preprocessing of {name}, got {channels}")
    found = moments_of(transform)
    moments = [torch.as_tensor(values, dtype=torch.float64).flatten().tolist() for values in found or ()]
    known = [values * channels if len(values) == 1 else values for values in moments]
    words = "by the transform that the factory returned"
    if [len(values) for values in known] != [channels, channels]:
        known = [[0.0] * channels, [1.0] * channels]
        words += ", which has no step with a mean and std: pictures show the inputs, clipped to between 0 and 1"
    steps = f"{height} x {width}" + (", gray" if channels == 1 else "")
    checked = _Checked(transform, name, (channels, height, width))
    mean, std = known
    return Preprocessing(checked, (channels, height, width), mean, std, steps), words


def _channels(model: nn.Module) -> int | None:
    """Return the channels of a model's images by its first convolution, 1 or 3; None if it does not say."""
    channels = next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    return channels if channels in (1, 3) else None


def _check_channels(model: nn.Module, preprocessing: Preprocessing, name: str, channels: int) -> None:
    """Raise an InputError if a model cannot read what the options make; one may repeat a gray image three times."""
    try:
        with torch.no_grad():
            model(torch.zeros(1, *preprocessing.shape))
    except Exception as error:
        numbers = "1 number" if channels == 1 else f"{channels} numbers"
        raise InputError(
            f"expected --mean and --std with {numbers}, as the first convolution of {name} has channels, got "
            f"{preprocessing.shape[0]}: {reason(error)}"
        ) from error
