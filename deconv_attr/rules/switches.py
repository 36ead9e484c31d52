"""Switches: where each maximum of a max-pool stood, and unpooling by them.

Pooling with switches ``s`` reads ``y[o] = x[s(o)]``. Its adjoint writes ``r[i] = sum of signal[o] over s(o) = i``:
a value that is the maximum of several overlapping windows receives the sum of their signals.

A switch is kept as its distance from the first element of its window, which usually fits a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor
from torch.autograd.graph import Node

from .arguments import gathered
from .torch_private import saved

__all__ = ["OVERLAPS", "Switches", "compact", "switches_of"]

OVERLAPS = ("sum", "mean", "overwrite")
_AT_ONCE = 2**20  # switches that are spelt out as indices at a time


@dataclass(frozen=True)
class Switches:
    """What one max-pool recorded.

    Parameters
    ----------
    offsets : Tensor
        (N, C, *pooled), of a small integer type: the flat position of each maximum in its plane, less that of its
        window's first element.
    starts : Tensor
        (*pooled), int64: the flat position of each window's first element, which may lie in the padding.
    input_shape : torch.Size
        (N, C, *plane): the shape that unpooling restores.
    """

    offsets: Tensor
    starts: Tensor
    input_shape: Size

    @property
    def indices(self) -> Tensor:
        """The flat position of each maximum in its plane of the input, row by row: (N, C, *pooled), int64.

        As ``return_indices=True`` gives it. Ties are broken as the pooling kernel breaks them.
        """
        return self.offsets + self.starts

    def unpool(self, signal: Tensor, overlap: str = "sum") -> Tensor:
        """Return a signal with each value at its switch, and zero everywhere else.

        Parameters
        ----------
        signal : Tensor
            (N, C, *pooled).
        overlap : {"sum", "mean", "overwrite"}
            What several windows with one switch give: their sum (the adjoint of pooling, the default), their
            mean, or the value of the last of them, as ``F.max_unpool2d`` does it.

        Returns
        -------
        Tensor
            (N, C, *plane), the shape of the pool's input.
        """
        axes = self.starts.dim()
        unpooled = signal.new_zeros(self.input_shape)
        rows = max(1, _AT_ONCE // max(1, self.offsets[:1].numel()))
        for first in range(0, len(signal), rows):
            part = slice(first, first + rows)
            where, values = self.offsets[part] + self.starts, signal[part]
            _place(unpooled[part].flatten(-axes), where.flatten(-axes), values.flatten(-axes), overlap)
        return unpooled


def _place(unpooled: Tensor, where: Tensor, values: Tensor, overlap: str) -> None:
    if overlap == "sum":
        unpooled.scatter_add_(-1, where, values)
    elif overlap == "mean":
        unpooled.scatter_reduce_(-1, where, values, "mean", include_self=False)
    else:
        unpooled.scatter_(-1, where, values)


def switches_of(node: Node) -> Switches:
    """Read the switches of a max-pool from its node in autograd's graph.

    Parameters
    ----------
    node : Node
        The last node of the call: ``max_pool1d`` leaves three, of which the middle one pools.
    """
    pools = node
    while "Pool" not in pools.name():
        pools = next(below for below, _ in pools.next_functions if below is not None)
    found = compact(pools, gathered(saved(pools, "result1")), saved(pools, "self").shape)
    if pools is node:
        return found
    shape = found.input_shape  # of one dimension, it was pooled as an image of one row
    return Switches(found.offsets.squeeze(-2), found.starts[0], Size((*shape[:-2], shape[-1])))


def compact(node: Node, indices: Tensor, shape: Size) -> Switches:
    """Keep the flat indices of a pool as distances from its windows' first elements, whose type follows from its shape.

    Parameters
    ----------
    node : Node
        The pool's.
    indices : Tensor
        (N, C, *pooled), int64.
    shape : torch.Size
        (N, C, *plane), of its input.
    """
    axes = 3 if "3D" in node.name() else 2
    starts, farthest = torch.zeros((), dtype=torch.int64, device=indices.device), 0
    for axis, (length, count) in enumerate(zip(shape[-axes:], indices.shape[-axes:], strict=True)):
        begins, span = _windows(node, axis, length, count)
        step = shape[len(shape) - axes + axis + 1 :].numel()
        starts = starts[..., None] + begins.to(indices.device) * step
        farthest += (span - 1) * step
    # In channels_last_3d torch gives an index before the window to a window of nothing but -inf.
    types = (torch.uint8, torch.int16, torch.int32, torch.int64)[0 if axes == 2 or indices.is_contiguous() else 1 :]
    smallest = next(dtype for dtype in types if farthest <= torch.iinfo(dtype).max)
    return Switches(indices.sub(starts).to(smallest), starts, shape)


def _windows(node: Node, axis: int, length: int, count: int) -> tuple[Tensor, int]:
    """Return where the windows of a pool begin along an axis, and how long the longest is."""
    position = torch.arange(count)
    if node.name().startswith("MaxPool"):
        size, stride, padding, dilation = (
            _entry(saved(node, name), axis) for name in ("kernel_size", "stride", "padding", "dilation")
        )
        return position * (stride or size) - padding, (size - 1) * dilation + 1
    if node.name().startswith("Adaptive"):
        begins, ends = position * length // count, -(-(position + 1) * length // count)
        return begins, max((ends - begins).tolist())
    return torch.zeros_like(position), length  # where the windows of a fractional pool begin is random


def _entry(value: Any, axis: int) -> int:
    """Return the number of an axis from a tuple that has one for all, one for each, or none."""
    return int(value[axis % len(value)]) if value else 0
