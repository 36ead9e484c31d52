"""Where to cut an image so that a unit's value and projection stay exactly what they are in the whole of it.

A crop starts aligned to the layer's cumulative stride, so that every layer's grid falls on the grid it has in the
image, and reaches to the image's border where the unit's window does, so that true borders stay true borders. Units
near the other, artificial borders have wrong values; they are not in the unit's cone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from .receptive_fields import ReceptiveField

__all__ = ["Crops", "index_of"]

_LITTLE = 1.15  # how much longer a side may be, so that all crops share one size


class Crops:
    """The crops of a layer's units: of as few different sizes as possible, so that many units share a batch.

    Parameters
    ----------
    field : ReceptiveField
        Of a layer without obstacle.
    """

    def __init__(self, field: ReceptiveField) -> None:
        self._axes = [_cut_axis(field, axis) for axis in range(len(field.image))]
        self._strides = field.stride

    def window(self, position: Sequence[int]) -> tuple[Any, ...]:
        """Return the pixels to cut out for a unit, as an index into its image."""
        return tuple(
            slice(begins[index], ends[index]) for (begins, ends), index in zip(self._axes, position, strict=True)
        )

    def position_in_crop(self, position: Sequence[int]) -> tuple[int, ...]:
        """Return the unit's position in the layer when it runs on the crop."""
        return tuple(
            index - begins[index] // (stride or 1)
            for (begins, _), index, stride in zip(self._axes, position, self._strides, strict=True)
        )

    def pixels(self, position: Sequence[int]) -> int:
        """Count the pixels of a unit's crop."""
        return prod(part.stop - part.start for part in self.window(position))


def _cut_axis(field: ReceptiveField, axis: int) -> tuple[list[int], list[int]]:
    """Return the first pixel, and the one after the last, for each position along an axis."""
    length, stride = field.image[axis], field.stride[axis]
    assert stride is not None
    first, last, start, end = field.reads[axis]
    begin = torch.minimum(first, start).clamp(0, length).long() // stride * stride
    stop = (torch.maximum(last, end) + 1).clamp(0, length).long()
    at_border = end >= length  # the far one
    inner = (start >= 0) & ~at_border
    usual = int((stop - begin)[inner].max()) if inner.any() else 0
    # Near the far border the start moves down instead, to the same pixel for all; and if that costs little, all
    # crops are as large as these.
    latest = max(length - usual, 0) // stride * stride
    if inner.any() and length - latest <= _LITTLE * usual:
        usual = length - latest
    far = at_border | (begin + usual > length)
    begin = torch.where(far, begin.clamp(max=latest), begin)
    stop = torch.where(far, length, torch.maximum(stop, begin + usual))
    return begin.tolist(), stop.tolist()


def index_of(box: Sequence[int]) -> tuple[Any, ...]:
    """Return the index of a box (all starts, then all ends) in an image (C, *axes)."""
    axes = len(box) // 2
    return (..., *map(slice, box[:axes], box[axes:]))
