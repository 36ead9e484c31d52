"""Photographs on disk, and their preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms as untyped_transforms

from ..errors import InputError

__all__ = [
    "IMAGENET",
    "Photographs",
    "Preprocessing",
    "moments_of",
    "read_image",
    "standard_preprocessing",
]

transforms: Any = untyped_transforms

IMAGENET = (256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The usual preprocessing: shorter side, crop, mean and standard deviation."""


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph in RGB to a model's input, and back to the picture that the model saw.

    Attributes
    ----------
    transform : callable
        Returns the input ``(C, H, W)``: resized, cropped, scaled to [0, 1], normalised.
    shape : tuple of int
        ``(C, H, W)``; a C of 1 is gray.
    mean, std : sequence of float
        Of each channel.
    steps : str
        What is done before the normalisation, in words.
    """

    transform: Callable[[Image.Image], Tensor]
    shape: tuple[int, int, int]
    mean: Sequence[float]
    std: Sequence[float]
    steps: str

    def picture(self, inputs: Tensor) -> Tensor:
        """Return inputs ``(..., C, H, W)`` as the images, between 0 and 1, that the network saw."""
        mean, std = self._moments(inputs)
        return (inputs * std + mean).clamp(0, 1)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images ``(..., C, H, W)`` between 0 and 1 as inputs; the inverse of :meth:`picture`."""
        mean, std = self._moments(images)
        return (images - mean) / std

    def _moments(self, like: Tensor) -> Iterator[Tensor]:
        return (like.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"{self.steps}, mean ({mean}), std ({std})"


def standard_preprocessing(
    resize: int, crop: int, mean: Sequence[float], std: Sequence[float], interpolation: str = "bilinear"
) -> Preprocessing:
    """Return torchvision's usual preprocessing with these numbers; gray for one mean and std."""
    gray = len(mean) == 1
    steps = [
        *([transforms.Grayscale()] if gray else []),
        transforms.Resize(resize, transforms.InterpolationMode(interpolation)),
        transforms.CenterCrop(crop),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    words = [f"shorter side to {resize}", f"centre {crop} x {crop}"]
    words += ([] if interpolation == "bilinear" else [interpolation]) + (["gray"] if gray else [])
    return Preprocessing(transforms.Compose(steps), (len(mean), crop, crop), mean, std, ", ".join(words))


def moments_of(transform: Any) -> tuple[Any, Any] | None:
    """Return the mean and deviation by which a transform, or a step of it, normalises; None if no step has them."""
    for step in (transform, *getattr(transform, "transforms", ())):
        if hasattr(step, "mean") and hasattr(step, "std"):
            return step.mean, step.std
    return None


def read_image(path: str) -> Image.Image:
    """Return a photograph in RGB, upright, 8 bits a channel; greys of 16 bits are scaled to these.

    Raises
    ------
    InputError
        If there is no such file, or it is not an image, or its values have no known white.
    """
    try:
        with Image.open(path) as image:
            sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
            if image.mode in ("I", "F") and not sixteen:
                raise InputError(
                    f"cannot read the image {path}: expected 8 or 16 bits a channel, got Pillow's mode {image.mode}, "
                    "whose white is unknown"
                )
            upright: Image.Image = ImageOps.exif_transpose(image)
            if sixteen:  # Pillow would clip at 255
                upright = Image.fromarray((np.asarray(upright, dtype=np.float64) / 257).round().astype(np.uint8))
            return upright.convert("RGB")
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"cannot read the image {path}: it is in no format that Pillow knows") from error
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot read the image {path}: {reason}") from error


class Photographs(Dataset[Tensor]):
    """The photographs in a folder and its subfolders, in the order of their names, as inputs of a model.

    Parameters
    ----------
    folder : str or Path
        The folder; of its files, those count whose endings Pillow can read.
    preprocessing : Preprocessing, optional
        By default the usual one: shorter side to 256, centre 224 x 224, ImageNet's mean and deviation.

    Attributes
    ----------
    names : list of str
        The files, relative to the folder.

    Raises
    ------
    InputError
        There is no such folder, or no photograph in it.
    """

    def __init__(self, folder: str | Path, preprocessing: Preprocessing | None = None) -> None:
        self.folder = Path(folder)
        self.preprocessing = preprocessing or standard_preprocessing(*IMAGENET)
        if not self.folder.is_dir():
            raise InputError(f"expected a folder of images at {folder}, got {_instead_of_a_folder(self.folder)}")
        endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
        found = (path for path in self.folder.rglob("*") if path.suffix.lower() in endings and path.is_file())
        self.names = sorted(path.relative_to(self.folder).as_posix() for path in found)
        if not self.names:
            raise InputError(f"expected images in {folder} or its subfolders, got none")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Tensor:
        return self.preprocessing.transform(read_image(str(self.folder / self.names[number])))


def _instead_of_a_folder(path: Path) -> str:
    return "a file" if path.exists() else "none"
