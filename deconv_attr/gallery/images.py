"""Photographs on disk, and their preprocessing.

Files come from strangers: whatever Pillow makes of one, it is an image of bounded size or an InputError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms as untyped_transforms

from ..errors import InputError, reason

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

RASTER_FORMATS = {
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
}
"""Pillow's formats of pictures. It knows others; some start a program (EPS: Ghostscript), or hold files in files."""

LONGEST = 300
"""How many times longer than the other a side may be: Resize makes the shorter 256 pixels, the longer as many more."""

BACKGROUND = (255, 255, 255)
"""What lies behind transparent pixels: white, as on paper. What a file hides there is not what anybody sees."""


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph in RGB to a model's input, and back to the picture that the model saw.

    Parameters
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
        """Return the images that the network saw, (..., C, H, W) between 0 and 1.

        Parameters
        ----------
        inputs : Tensor
            (..., C, H, W), normalised.
        """
        mean, std = self._moments(inputs)
        return (inputs * std + mean).clamp(0, 1)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images as inputs, (..., C, H, W): the inverse of :meth:`picture`.

        Parameters
        ----------
        images : Tensor
            (..., C, H, W), between 0 and 1.
        """
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
    """Return torchvision's usual preprocessing.

    Parameters
    ----------
    resize, crop : int
        The shorter side of the image in pixels, and the side of the square that is cut out of its centre.
    mean, std : sequence of float
        Of pixels between 0 and 1: three numbers, or one, which makes images gray.
    interpolation : str
        "bilinear", "bicubic", "nearest" or "lanczos".
    """
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

    Transparent pixels are laid upon white. Of several frames, the first is read.

    Raises
    ------
    InputError
        If there is no such file, or it is no image in one of :data:`RASTER_FORMATS`; its values have no known white;
        it has more pixels than ``2 * PIL.Image.MAX_IMAGE_PIXELS``, 179 million unless that is changed; or one side
        is more than :data:`LONGEST` times, 300, as long as the other.
    """
    try:
        _check_file(path)
        with Image.open(path, formats=_formats()) as image:
            _check_shape(image)
            return _in_rgb(image)
    except UnidentifiedImageError as error:
        raise InputError(f"cannot read the image {path}: it is no image in a format that is read") from error
    except InputError as error:
        raise InputError(f"cannot read the image {path}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read the image {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes Pillow raise anything
        raise InputError(f"cannot read the image {path}: {reason(error)}") from error


def _check_file(path: str) -> None:
    """Raise an InputError for a pipe, at which one would wait for its other end, or a device."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError("expected a file, got a pipe or a device")


def _formats() -> list[str]:
    """Return :data:`RASTER_FORMATS`, and those of plugins that the caller has registered, as Pillow tries them."""
    Image.init()
    return [
        name for name in Image.ID if name in RASTER_FORMATS or not Image.OPEN[name][0].__module__.startswith("PIL.")
    ]


def _check_shape(image: Image.Image) -> None:
    """Raise an InputError for an image whose white is unknown, or of an extreme shape."""
    if image.mode in ("I", "F") and not _has_sixteen_bits(image):
        raise InputError(f"expected 8 or 16 bits a channel, got Pillow's mode {image.mode}, whose white is unknown")
    if max(image.size) > LONGEST * min(image.size):
        raise InputError(
            f"expected the longer side to be at most {LONGEST} times the shorter, got {image.width} x {image.height} "
            "pixels"
        )


def _has_sixteen_bits(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def _in_rgb(image: Image.Image) -> Image.Image:
    sixteen = _has_sixteen_bits(image)
    ImageOps.exif_transpose(image, in_place=True)
    if sixteen:  # Pillow would clip at 255
        image = Image.fromarray(((np.asarray(image, dtype=np.uint32) + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.new("RGB", coloured.size, BACKGROUND)
        image.paste(coloured, mask=coloured.getchannel("A"))
    return image.convert("RGB")


class Photographs(Dataset[Tensor]):
    """The photographs in a folder and its subfolders, in the order of their names, as inputs of a model.

    Each is read upright, in RGB, with transparent pixels laid upon white, in bounded memory.

    Parameters
    ----------
    folder : str or Path
        The folder. Of its files those count whose endings are of Pillow's formats of pictures (AVIF, BMP, GIF, JPEG,
        JPEG 2000, PNG, TIFF, WEBP, ...). Links to files are followed, links to folders are not.
    preprocessing : Preprocessing, optional
        By default the usual one: shorter side to 256, centre 224 x 224, ImageNet's mean and deviation. Others by
        :func:`standard_preprocessing`.

    Attributes
    ----------
    names : list of str
        The files, relative to the folder.

    Raises
    ------
    InputError
        There is no such folder, or no photograph in it; or a folder within cannot be read.
    """

    def __init__(self, folder: str | Path, preprocessing: Preprocessing | None = None) -> None:
        self.folder = Path(folder)
        self.preprocessing = preprocessing or standard_preprocessing(*IMAGENET)
        if not self.folder.is_dir():
            raise InputError(f"expected a folder of images at {folder}, got {_instead_of_a_folder(self.folder)}")
        formats = _formats()
        endings = {ending for ending, kind in Image.registered_extensions().items() if kind in formats}
        found = (path for path in _files(self.folder) if path.suffix.lower() in endings and path.is_file())
        self.names = sorted(path.relative_to(self.folder).as_posix() for path in found)
        if not self.names:
            raise InputError(f"expected images in {folder} or its subfolders, got none")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Tensor:
        return self.preprocessing.transform(read_image(str(self.folder / self.names[number])))


def _files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for path, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(path, name) for name in names)


def _instead_of_a_folder(path: Path) -> str:
    return "a file" if path.exists() else "none"
