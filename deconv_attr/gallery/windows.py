"""Which part of an image a tile shows: the unit's receptive field where it would be in an image without end.

So the tiles of one map have one size and lie upon each other, wherever their units are. Along an axis where a field is
as long as the image, or has no one size, that is all of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..units.crops import index_of
from ..units.receptive_fields import ReceptiveField

__all__ = ["GREY", "Windows", "essential", "framed", "of_one_size", "window_of", "within"]

GREY = 0.5
"""What a tile shows where its window leaves the image."""

Window = tuple[int, ...]  # all starts, then all ends; may leave the image


class Windows:
    """The images of some units, which keeps, of each that is read, what the tiles of its units show of it."""

    def __init__(
        self,
        read: Callable[[int], Tensor],
        picture: Callable[[Tensor], Tensor],
        count: int,
        field: Callable[[str, Tensor], ReceptiveField | None],
        layer: str,
        units: Tensor,
    ) -> None:
        self._read, self._picture, self._count = read, picture, count
        self._field, self._layer = field, layer
        self._units: dict[int, list[tuple[int, list[int]]]] = {}
        for unit, (image, _, *position) in enumerate(units.tolist()):
            self._units.setdefault(image, []).append((unit, position))
        self.windows: dict[int, Window] = {}
        self.patches: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Tensor:
        image = self._read(number)
        waiting = self._units.pop(number, [])
        picture = self._picture(image.cpu()) if waiting else image
        for unit, position in waiting:
            window = self.windows[unit] = window_of(self._field(self._layer, image), position, image.shape[1:])
            box = [min(max(edge, 0), length) for edge, length in zip(window, image.shape[1:] * 2, strict=True)]
            self.patches[unit] = framed(picture[index_of(box)], box, window, GREY)
        return image


def window_of(field: ReceptiveField | None, position: Sequence[int], image: Sequence[int]) -> Window:
    """Give the window of a unit.

    Parameters
    ----------
    field : ReceptiveField or None
        Of its layer in an image of this size; None if that is not known.
    position, image : sequence of int
        Row and column of the unit; (H, W).
    """
    starts, ends = [], []
    for axis, length in enumerate(image):
        start, end = 0, length
        if field is not None and len(position) == len(image):
            size, stride, offset = field.size[axis], field.stride[axis], field.offset[axis]
            if size is not None and stride is not None and offset is not None and size < length:
                start = offset + stride * position[axis]
                end = start + size
        starts.append(start)
        ends.append(end)
    return (*starts, *ends)


def framed(part: Tensor, box: Sequence[int], window: Window, paper: float) -> Tensor:
    """Put a part of an image, which lies at a box, into its window; what the box leaves empty is paper."""
    axes = len(window) // 2
    sizes = [end - start for start, end in zip(window[:axes], window[axes:], strict=True)]
    frame = part.new_full((part.shape[0], *sizes), paper)
    frame[index_of([edge - origin for edge, origin in zip(box, window[:axes] * 2, strict=True)])] = part
    return frame


def essential(signals: Sequence[Tensor], share: float) -> tuple[slice, slice]:
    """Find the rows and columns that hold at least a share of the strength of each signal.

    Strength is the sum of magnitudes. At each of the four sides no signal loses more than a quarter of what it may.

    Parameters
    ----------
    signals : sequence of Tensor
        n of one shape, (C, h, w).
    share : float
        Between 0 and 1.
    """
    height, width = signals[0].shape[1:]
    lines = [slice(0, height), slice(0, width)]
    strengths = torch.stack([signal.detach().double().abs().sum(0) for signal in signals])
    strengths = strengths[strengths.sum((1, 2)) > 0]  # a dead signal has nothing to lose
    if share < 1 and len(strengths):
        strengths /= strengths.sum((1, 2), keepdim=True)
        for axis in (0, 1):
            lost = strengths.sum(2 - axis).cumsum(1)  # (n, lines): if all up to this line went
            may = (1 - share) / 4
            first = int((lost <= may).sum(1).min())
            last = int((lost < 1 - may).sum(1).max())
            lines[axis] = slice(first, max(last, first) + 1)
    return lines[0], lines[1]


def within(window: Window, rows: slice, columns: slice, image: Sequence[int]) -> tuple[int, int, int, int]:
    """Give the box of a part of a window, clipped to the image."""
    top, left = window[:2]
    _, height, width = image
    return (
        min(max(top + rows.start, 0), height),
        min(max(left + columns.start, 0), width),
        min(max(top + rows.stop, 0), height),
        min(max(left + columns.stop, 0), width),
    )


def of_one_size(parts: Sequence[Tensor], paper: float) -> list[Tensor]:
    """Enlarge parts to the longest height and width among them; what that adds is paper."""
    height, width = (max(part.shape[axis] for part in parts) for axis in (1, 2))
    return [framed(part, (0, 0, *part.shape[1:]), (0, 0, height, width), paper) for part in parts]
