"""Where a command's images come from: photographs on disk, or the generated shapes of the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision import transforms as untyped_transforms

from .demo import CLASS_NAMES, Shapes
from .errors import InputError

__all__ = ["Preprocessing", "embedded_images", "read_image", "standard_preprocessing"]

transforms: Any = untyped_transforms

EMBEDDED_IMAGES, EMBEDDED_SEED = 6, 2  # a seed that neither training nor validation has used


@dataclass(frozen=True)
class Preprocessing:
    """What turns a photograph into a model's input: resize, centre crop, scale to [0, 1], normalise."""

    transform: Callable[[Image.Image], Tensor]
    resize: int
    crop: int
    mean: Sequence[float]
    std: Sequence[float]

    def picture(self, inputs: Tensor) -> Tensor:
        """Return inputs ``(..., 3, H, W)`` as the images, between 0 and 1, that the network saw."""
        mean, std = self._moments(inputs)
        return (inputs * std + mean).clamp(0, 1)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images ``(..., 3, H, W)`` between 0 and 1 as inputs; the inverse of :meth:`picture`."""
        mean, std = self._moments(images)
        return (images - mean) / std

    def _moments(self, like: Tensor) -> Iterator[Tensor]:
        return (like.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"shorter side to {self.resize}, centre {self.crop} x {self.crop}, mean ({mean}), std ({std})"


def standard_preprocessing(resize: int, crop: int, mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """Return torchvision's usual preprocessing with these numbers."""
    steps = [
        transforms.Resize(resize),
        transforms.CenterCrop(crop),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    return Preprocessing(transforms.Compose(steps), resize, crop, mean, std)


def read_image(path: str) -> Image.Image:
    """Return a photograph in RGB, upright, 8 bits a channel; greys of 16 bits are scaled to these.

    Raises
    ------
    InputError
        If there is no such file or it is no image, or one of numbers whose white is not known.
    """
    try:
        with Image.open(path) as image:
            sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
            if image.mode in ("I", "F") and not sixteen:
                raise InputError(
                    f"cannot read the image {path}: expected 8 or 16 bits a channel, got mode {image.mode} of Pillow, "
                    "whose white is not known"
                )
            upright: Image.Image = ImageOps.exif_transpose(image)
            if sixteen:  # Pillow would cut them off at 255
                upright = Image.fromarray((np.asarray(upright, dtype=np.float64) / 257).round().astype(np.uint8))
            return upright.convert("RGB")
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"cannot read the image {path}: it is in no format that Pillow knows") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the image {path}: {reason}") from error


def embedded_images(number: int = EMBEDDED_IMAGES) -> tuple[Tensor, list[str]]:
    """Return generated images ``(N, 3, 96, 96)`` between 0 and 1, each of another class, and their names."""
    first: dict[int, Tensor] = {}
    shapes = Shapes(1000, EMBEDDED_SEED)
    for image, label in (shapes[index] for index in range(len(shapes))):
        if len(first) == number:
            break
        first.setdefault(label, image)
    return torch.stack(list(first.values())), [f"a generated {CLASS_NAMES[label]}" for label in first]
