"""Which part of an image a tile shows: the unit's receptive field where it would be in an image without end.

So the tiles of one map have one size and are aligned, wherever their units are. Along an axis where a field is as long
as the image, or has no single size, the window is the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..units.crops import index_of
from ..units.receptive_fields import ReceptiveField

__all__ = ["GREY", "Windows", "essential", "framed", "inside", "of_one_size", "squared", "window_of", "within"]

GREY = 0.5
"""The value of a patch where its window leaves the image; it is not drawn."""

Window = tuple[int, ...]  # all starts, then all ends; may leave the image


class Windows:
    """The images of some units; of each image that is read, it keeps the patches that the tiles of its units show."""

    def __init__(
        self,
        read: Callable[[int], Tensor],
        picture: Callable[[Tensor], Tensor],
        count: int,
        field: Callable[[str, Tensor], ReceptiveField | None],
        layer: str,
        units: Tensor,
    ) -> None:
        self._read = read
        self._picture = picture
        self._count = count
        self._field = field
        self._layer = layer
        self._units: dict[int, list[tuple[int, list[int]]]] = {}
        for unit, (image, _, *position) in enumerate(units.tolist()):
            self._units.setdefault(image, []).append((unit, position))
        self.windows: dict[int, Window] = {}
        self.patches: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Tensor:
        image = self._read(number)
        pending = self._units.pop(number, [])
        picture = self._picture(image.cpu()) if pending else image
        for unit, position in pending:
            window = self.windows[unit] = window_of(self._field(self._layer, image), position, image.shape[1:])
            box = [min(max(edge, 0), length) for edge, length in zip(window, image.shape[1:] * 2, strict=True)]
            self.patches[unit] = framed(picture[index_of(box)], box, window, GREY)
        return image


def window_of(field: ReceptiveField | None, position: Sequence[int], image: Sequence[int]) -> Window:
    """Return the window of a unit.

    Parameters
    ----------
    field : ReceptiveField or None
        The receptive field of its layer in an image of this size; None if it is unknown.
    position, image : sequence of int
        Row and column of the unit; (H, W).
    """
    starts = []
    ends = []
    for axis, length in enumerate(image):
        start = 0
        end = length
        if field is not None and len(position) == len(image):
            size = field.size[axis]
            stride = field.stride[axis]
            offset = field.offset[axis]
            if size is not None and stride is not None and offset is not None and size < length:
                start = offset + stride * position[axis]
                end = start + size
        starts.append(start)
        ends.append(end)
    return (*starts, *ends)


def framed(part: Tensor, box: Sequence[int], window: Window, paper: float) -> Tensor:
    """Return the window around a part of an image, which fills a box; the rest of the window is `paper`."""
    axes = len(window) // 2
    sizes = [end - start for start, end in zip(window[:axes], window[axes:], strict=True)]
    frame = part.new_full((part.shape[0], *sizes), paper)
    frame[index_of([edge - origin for edge, origin in zip(box, window[:axes] * 2, strict=True)])] = part
    return frame


def essential(signals: Sequence[Tensor], share: float) -> tuple[slice, slice]:
    """Return the rows and columns that hold at least a share of the strength of each signal.

    Strength is the sum of magnitudes. No signal loses more than ``(1 - share) / 4`` of it at any of the four sides.

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
    strengths = strengths[strengths.sum((1, 2)) > 0]  # a signal of zeros has no strength to lose
    if share < 1 and len(strengths):
        strengths /= strengths.sum((1, 2), keepdim=True)
        for axis in (0, 1):
            cumulative = strengths.sum(2 - axis).cumsum(1)  # (n, lines): the share up to this line
            margin = (1 - share) / 4
            first = int((cumulative <= margin).sum(1).min())
            last = int((cumulative < 1 - margin).sum(1).max())
            lines[axis] = slice(first, max(last, first) + 1)
    return lines[0], lines[1]


def squared(lines: tuple[slice, slice], shape: Sequence[int]) -> tuple[slice, slice]:
    """Return rows and columns enlarged to a square about the same centre, as far as a window (h, w) allows."""
    side = max(line.stop - line.start for line in lines)
    rows, columns = (_lengthened(line, min(side, length), length) for line, length in zip(lines, shape, strict=True))
    return rows, columns


def _lengthened(line: slice, size: int, length: int) -> slice:
    start = min(max((line.start + line.stop - size) // 2, 0), length - size)
    return slice(start, start + size)


def within(window: Window, rows: slice, columns: slice, image: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the box of a part of a window, clipped to the image."""
    top, left = window[:2]
    _, height, width = image
    return (
        min(max(top + rows.start, 0), height),
        min(max(left + columns.start, 0), width),
        min(max(top + rows.stop, 0), height),
        min(max(left + columns.stop, 0), width),
    )


def inside(box: Sequence[int], window: Window, rows: slice, columns: slice) -> tuple[int, int, int, int]:
    """Return a box of the image, from :func:`within`, in the pixels of the part of the window."""
    top = window[0] + rows.start
    left = window[1] + columns.start
    return box[0] - top, box[1] - left, box[2] - top, box[3] - left


def of_one_size(parts: Sequence[Tensor], paper: float) -> list[Tensor]:
    """Return the parts enlarged to the longest height and width among them; the added pixels are `paper`."""
    height, width = (max(part.shape[axis] for part in parts) for axis in (1, 2))
    return [framed(part, (0, 0, *part.shape[1:]), (0, 0, height, width), paper) for part in parts]
