"""The options of a command line for the preprocessing of photographs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from ..errors import InputError, shown

__all__ = ["INTERPOLATIONS", "Asked", "add_preprocessing_arguments"]

LARGEST = 8192  # pixels of a side: an input takes 800 MB then
INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos")


@dataclass(frozen=True)
class Asked:
    """The preprocessing options of a command line; None where one is not given."""

    size: int | None = None
    resize: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    interpolation: str | None = None

    @classmethod
    def by(cls, options: argparse.Namespace) -> Asked:
        """Return the options of a command line.

        Raises
        ------
        InputError
            If one of them cannot be, or two contradict each other.
        """
        asked = cls(**{field.name: getattr(options, field.name) for field in fields(cls)})
        for name, value in (("--size", asked.size), ("--resize", asked.resize)):
            if value is not None and value < 1:
                raise InputError(f"expected {name} of at least 1 pixel, got {shown(value)}")
            if value is not None and value > LARGEST:
                raise InputError(f"expected {name} of at most {LARGEST} pixels, got {shown(value)}")
        _check_moments(asked.mean, asked.std)
        return asked

    def __str__(self) -> str:
        return ", ".join(f"--{field.name}" for field in fields(self) if getattr(self, field.name) is not None)


def add_preprocessing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--size``, ``--resize``, ``--interpolation``, ``--mean`` and ``--std``."""
    group = parser.add_argument_group(
        "preprocessing of photographs",
        "without these: torchvision's for its models; of module:factory what it returns beside the model, or the "
        "model's pretrained_cfg (timm), else as for ImageNet, in gray if the first convolution has one channel",
    )
    group.add_argument("--size", metavar="N", type=int, help="the model sees N x N pixels, the centre of the image")
    group.add_argument(
        "--resize", metavar="N", type=int, help="the shorter side before the centre is cut out (default: --size)"
    )
    group.add_argument("--interpolation", choices=INTERPOLATIONS, help="how images are resized (default: bilinear)")
    group.add_argument(
        "--mean",
        metavar="X",
        type=float,
        nargs="+",
        help="subtracted from pixels between 0 and 1: three numbers, red green blue, or one, which makes images gray",
    )
    group.add_argument("--std", metavar="X", type=float, nargs="+", help="what they are divided by then")


def _check_moments(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if mean is None and std is None:
        return
    if mean is None or std is None:
        raise InputError(f"expected --mean and --std together, got --{'std' if mean is None else 'mean'} alone")
    for name, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (1, 3):
            raise InputError(f"expected {name} with 3 numbers, red green blue, or 1 for gray, got {len(values)}")
    if len(mean) != len(std):
        raise InputError(f"expected as many numbers after --std as after --mean, {len(mean)}, got {len(std)}")
    for value in mean:
        if not 0 <= value <= 1:
            raise InputError(f"expected --mean from 0 to 1, as pixels are, got {value:g}{_in_bytes(value)}")
    for value in std:
        if not 0 < value <= 1:
            raise InputError(f"expected --std above 0 and at most 1, as pixels are, got {value:g}{_in_bytes(value)}")


def _in_bytes(value: float) -> str:
    return f"; of pixels from 0 to 255, it is {value / 255:.4g}" if math.isfinite(value) and 1 < value < 256 else ""
