"""Intervals of pixels: what the elements of a tensor read along each axis of the image.

All four bounds are kept as (-first, last, -start, end), so that every union is a maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

__all__ = [
    "Extent",
    "Reach",
    "advance_of",
    "all_of",
    "arange_cpu",
    "compact",
    "either",
    "over_channels",
    "pixels",
    "read",
    "unexpanded",
    "varies",
    "whole_image",
]


@dataclass(frozen=True, eq=False)
class Extent:
    """What a tensor reads along one axis of the image.

    Parameters
    ----------
    bounds : Tensor
        (4, *shape): -first, last, -start, end; -inf where nothing is read. `shape` is the tensor's, but 1 in every
        dimension along which the bounds do not change.
    stride : float
        Pixels from one element to the next.
    """

    bounds: Tensor
    stride: float


@dataclass(frozen=True, eq=False)
class Reach:
    """What a tensor reads of the image.

    Parameters
    ----------
    extents : tuple of Extent
        One for each axis of the image.
    mixer : str
        The first operation that mixed a whole axis of its input, "" if none did.
    obstacle : str
        The first operation whose result depends on the size of the image, or on the position in it, "" if none did.
    """

    extents: tuple[Extent, ...]
    mixer: str = ""
    obstacle: str = ""


def arange_cpu(*span: int) -> Tensor:
    """Return ``torch.arange`` in float64 on the CPU, whatever the default device is."""
    return torch.arange(*span, dtype=torch.float64, device="cpu")


def pixels(shape: Sequence[int], axes: int) -> Reach:
    """Return the reach of an image (..., *axes) itself: each pixel reads itself."""
    extents = []
    for axis in range(axes):
        position = arange_cpu(shape[axis - axes])
        across = position.view([-1 if dim - len(shape) == axis - axes else 1 for dim in range(len(shape))])
        extents.append(Extent(torch.stack([-across, across, -across, across]), 1.0))
    return Reach(tuple(extents))


def whole_image(image: Reach, dims: int, mixer: str) -> Reach:
    """Return the reach of a tensor with so many dimensions that reads all of an image."""
    return Reach(tuple(all_of([extent], dims) for extent in image.extents), mixer)


def all_of(extents: Sequence[Extent], dims: int) -> Extent:
    """Unite all that some tensors read along an axis, for each element of another."""
    bounds = torch.stack([extent.bounds.reshape(4, -1).amax(1) for extent in extents]).amax(0)
    return Extent(bounds.view(4, *[1] * dims), extents[0].stride)


def either(one: Reach, other: Reach) -> Reach:
    """Unite what two tensors of one rank read."""
    extents = tuple(
        Extent(torch.maximum(a.bounds, b.bounds), max(a.stride, b.stride))
        for a, b in zip(one.extents, other.extents, strict=True)
    )
    return Reach(extents, one.mixer or other.mixer, one.obstacle or other.obstacle)


def read(
    reach: Reach,
    dim: int,
    before: int,
    table: Tensor,
    dims: int,
    advance: float = 1.0,
    copies: Tensor | None = None,
) -> Reach:
    """Return what is read where each element of a dimension reads those in its row of a table (elements, window).

    Beyond the ends of the dimension, `before` elements long, there is padding: nothing (or, with `copies`, another
    element) is read there, and the second interval goes on as if the image did. `advance` is the distance of rows.
    """
    extents = []
    for axis, extent in enumerate(reach.extents):
        bounds = extent.bounds
        if bounds.size(dim) != before:  # it does not change along this dimension
            extents.append(extent)
            continue
        varying = [d for d in range(-dims, 0) if bounds.size(d) > 1]
        own = dim in varying if varying else axis - len(reach.extents) == dim
        beyond = (table - table.clamp(0, before - 1)).view(*table.shape, *[1] * (-dim - 1))
        taken = _take(bounds, dim, table)
        read = taken[:2].where(beyond == 0, -inf) if copies is None else _take(bounds[:2], dim, copies)
        growth = beyond.nan_to_num() * (extent.stride if own else 0.0)
        grown = torch.stack([taken[2] - growth, taken[3] + growth]).where(~beyond.isnan(), -inf)
        stride = extent.stride * advance if own else extent.stride
        extents.append(Extent(torch.cat([read, grown]).amax(dim), stride))
    return replace(reach, extents=tuple(extents))


def _take(bounds: Tensor, dim: int, table: Tensor) -> Tensor:
    at = table.nan_to_num().long().clamp(0, bounds.size(dim) - 1)
    taken = bounds.index_select(dim, at.flatten())
    axis = taken.dim() + dim
    return taken.view(*taken.shape[:axis], *at.shape, *taken.shape[axis + 1 :])


def advance_of(table: Tensor) -> float:
    """Return how many elements further the next row of a table reads."""
    first, last = table[0], table[-1]
    if bool(first.isnan().any() | last.isnan().any()):  # a transposed convolution has rows with gaps
        return float((last.nanmean() - first.nanmean()) / (len(table) - 1))
    return float(last[0] - first[0]) / (len(table) - 1)


def varies(reach: Reach, dim: int) -> bool:
    """Whether what is read changes along a dimension."""
    return any(extent.bounds.size(dim) > 1 for extent in reach.extents)


def over_channels(bounds: Tensor, dims: int) -> Tensor:
    """Unite the channels, which a window reads all."""
    channel = bounds.dim() - dims - 1
    return bounds.amax(channel, keepdim=True) if channel > 0 else bounds


def compact(bounds: Tensor) -> Tensor:
    """Keep one entry of every dimension along which nothing changes."""
    for dim in range(1, bounds.dim()):
        if bounds.size(dim) > 1 and bool((bounds == bounds.narrow(dim, 0, 1)).all()):
            bounds = bounds.narrow(dim, 0, 1)
    return bounds


def unexpanded(piece: Tensor) -> Tensor:
    """Undo an expansion: keep one entry of every dimension without stride."""
    for dim in range(piece.dim()):
        if piece.stride(dim) == 0 and piece.size(dim) > 1:
            piece = piece.narrow(dim, 0, 1)
    return piece
