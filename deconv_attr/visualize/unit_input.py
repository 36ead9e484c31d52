"""One unit to draw, checked: its projection, the image, and the box in which the projection lies.

A box is top, left, bottom, right in pixels, half open: the rows ``top ... bottom - 1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

from torch import Tensor

from ..errors import InputError, readable_lines
from .pictures import Picture, photograph, robust_scale, signed_rgb

__all__ = ["Box", "Unit", "checked_text", "checked_unit", "checked_units"]

Box = Tensor | Sequence[int]


@dataclass(frozen=True, eq=False)
class Unit:
    """A projection ``(C, h, w)`` and its own scale; where they are given, the image ``(H, W, 3)`` and the box in it."""

    projection: Tensor
    scale: float
    image: Picture | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of what there is to draw: the projection alone, or also the patch and the image."""
        height, width = self.projection.shape[1:]
        if self.image is None:
            return [(height, width)]
        return [(height, width), (height, width), (self.image.shape[0], self.image.shape[1])]


def checked_units(
    projections: Sequence[Tensor] | Tensor,
    images: Sequence[Tensor] | Tensor | None,
    boxes: Sequence[Box] | Tensor | None,
) -> list[Unit]:
    """Return K units of K projections, images and boxes.

    Raises
    ------
    InputError
        If there are none, their numbers differ, or a unit cannot be drawn; see :func:`checked_unit`.
    """
    count = len(projections)
    if count == 0:
        raise InputError("expected at least one projection, got none")
    for what, given in (("images", images), ("boxes", boxes)):
        if given is not None and len(given) != count:
            raise InputError(f"expected {count} {what} for {count} projections, got {len(given)}")
    units = []
    for number, projection in enumerate(projections):
        image = None if images is None else images[number]
        box = None if boxes is None else boxes[number]
        try:
            units.append(checked_unit(projection, image, box))
        except InputError as error:
            raise InputError(f"unit {number}: {error}") from error
    if len({unit.image is None for unit in units}) > 1:
        raise InputError("expected an image and a box for all projections or for none, got them for some")
    return units


def checked_text(text: Any, what: str) -> str:
    """Return a text that fonts and files can take; raise an InputError for anything but a text."""
    if not isinstance(text, str):
        raise InputError(f"expected {what} as a text, got {text!r:.80}")
    return readable_lines(text)


def checked_unit(projection: Tensor, image: Tensor | None, box: Box | None) -> Unit:
    """Return a unit that can be drawn.

    Raises
    ------
    InputError
        If projection or image are no pictures, one of image and box is missing, the box is empty or leaves the image,
        or the projection has another size than the box.
    """
    signed_rgb(projection)
    unit = Unit(projection, robust_scale(projection))
    if image is None and box is None:
        return unit
    if image is None:
        raise InputError(f"expected a box with the image that it lies in, got the box {_numbers(box)} and no image")
    if box is None:
        raise InputError("expected an image with the box in which the projection lies, got an image and no box")
    picture = photograph(image)
    top, left, bottom, right = corners = _corners(box, *picture.shape[:2])
    size = (bottom - top, right - left)
    (height, width) = projection.shape[1:]
    if size != (height, width):
        raise InputError(
            f"expected a projection of {size[0]} x {size[1]} pixels in the box {corners}, got {height} x {width}"
        )
    return replace(unit, image=picture, box=corners)


def _corners(box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    numbers = _numbers(box)
    try:
        top, left, bottom, right = (index(number) for number in numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a box as 4 whole numbers, top, left, bottom, right; got {numbers}") from error
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(
            f"expected a box with 0 <= top < bottom <= {height} and 0 <= left < right <= {width} in an image of "
            f"{height} x {width} pixels, got top {top}, left {left}, bottom {bottom}, right {right}"
        )
    return top, left, bottom, right


def _numbers(box: Box | None) -> Any:
    return box.tolist() if isinstance(box, Tensor) else box
