"""Filtering where a signal starts at one unit: it fills a cone, and only the cone need be computed.

At each layer that is a small window of the map. With stride s, padding p and dilation d, the elements a to b of the
output have read the elements from ``a s - p`` to ``b s - p + d (k - 1)``. Elsewhere a convolution's own node in
autograd's graph is its adjoint.

Source: Zeiler and Fergus 2014, section 2.1, "filtering".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import grad as adjoints

from ..errors import ModelError
from .torch_private import version_of

__all__ = ["Filters", "filter_cone"]

# The transposed filters, for an input of a given shape.
_ADJOINTS: Mapping[str, Callable[..., Tensor]] = {
    "conv1d": adjoints.conv1d_input,
    "conv2d": adjoints.conv2d_input,
    "conv3d": adjoints.conv3d_input,
}


@dataclass(eq=False)
class Filters:
    """What the adjoint of one convolution needs.

    Parameters
    ----------
    name : str
        Of the call: ``"conv2d"``.
    weight : Tensor
        The call's own.
    lengths : tuple of int
        Of the input along the filtered axes.
    stride, padding, dilation : list of int
        One number an axis; the padding before the first element.
    groups : int
        Of the channels.
    """

    name: str
    weight: Tensor
    lengths: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int

    def __post_init__(self) -> None:
        self._version = version_of(self.weight)

    @classmethod
    def of(cls, name: str, given: Mapping[str, Any]) -> Filters:
        """Return what the adjoint of a call needs of its arguments, by name."""
        weight: Tensor = given["weight"].detach()  # whose data can be exchanged meanwhile
        axes = weight.dim() - 2

        def each(argument: str, default: int) -> list[int]:
            value = given.get(argument, default)
            return list(value) * (axes // len(value)) if isinstance(value, (tuple, list)) else [value] * axes

        dilation = each("dilation", 1)
        if given.get("padding") == "same":  # an odd rest stands at the end
            padding = [d * (k - 1) // 2 for d, k in zip(dilation, weight.shape[2:], strict=True)]
        else:
            padding = [0] * axes if given.get("padding") == "valid" else each("padding", 0)
        return cls(
            name, weight, given["input"].shape[-axes:], each("stride", 1), padding, dilation, given.get("groups", 1)
        )

    def back(self, window: Tensor, lengths: Sequence[int]) -> Tensor:
        """Send a window of a signal to the window of given lengths that it has read, which has no padding."""
        if version_of(self.weight) != self._version:
            raise ModelError(f"the filters of a '{self.name}' were overwritten before the signal came back to them")
        shape = (len(window), self.weight.shape[1] * self.groups, *lengths)
        weight = self.weight.to(window.dtype)
        options = tuple(self.stride), 0, tuple(self.dilation), self.groups
        below: Tensor = _ADJOINTS[self.name](shape, weight, window, *options)
        return below


def filter_cone(signal: Tensor, filters: Filters) -> Tensor:
    """Send a signal (N, C, ...) back through the transposed filters, each example's window only."""
    if signal.dim() < filters.weight.dim():  # no batch
        return filter_cone(signal[None], filters)[0]
    corners, sizes = _cones(signal)
    shape = (len(signal), filters.weight.shape[1] * filters.groups)
    if not all(sizes):
        return signal.new_zeros(*shape, *filters.lengths)
    steps = torch.tensor(filters.stride, device=signal.device)
    spans = [
        (size - 1) * stride + dilation * (width - 1) + 1
        for size, stride, dilation, width in zip(
            sizes, filters.stride, filters.dilation, filters.weight.shape[2:], strict=True
        )
    ]
    window = _windows(signal, sizes)[_at(corners)]
    found = filters.back(window, spans)
    # What the last elements read may end before the input does, or beyond it.
    ends = [
        max(before + length, (elements - size) * stride + span)
        for before, length, elements, size, stride, span in zip(
            filters.padding, filters.lengths, signal.shape[2:], sizes, filters.stride, spans, strict=True
        )
    ]
    below = signal.new_zeros(*shape, *ends)
    _windows(below, spans)[_at(corners * steps)] = found
    for axis, (before, length) in enumerate(zip(filters.padding, filters.lengths, strict=True), 2):
        below = below.narrow(axis, before, length)
    return below


def _cones(signal: Tensor) -> tuple[Tensor, list[int]]:
    """Return where each example's window begins, (N, axes), and how long the longest is along each axis."""
    alive = signal.any(1)
    corners, sizes = [], []
    for axis in range(1, alive.dim()):
        elsewhere = [dim for dim in range(1, alive.dim()) if dim != axis]
        line = alive.any(elsewhere) if elsewhere else alive
        length = line.shape[1]
        position = torch.arange(length, device=line.device)
        first = torch.where(line, position, length).amin(1)
        last = torch.where(line, position, -1).amax(1)
        sizes.append(max(int((last - first).max()) + 1, 0))
        corners.append(first.clamp(max=length - sizes[-1]))
    return torch.stack(corners, 1), sizes


def _windows(maps: Tensor, sizes: Sequence[int]) -> Tensor:
    """View all windows of some size: (N, C, *corners, *sizes)."""
    for axis, size in enumerate(sizes):
        maps = maps.unfold(2 + axis, size, 1)
    return maps


def _at(corners: Tensor) -> tuple[Any, ...]:
    """Index one window of each example; a view, where all begin at the same position."""
    if bool((corners == corners[0]).all()):
        return (slice(None), slice(None), *corners[0].tolist())
    return (torch.arange(len(corners), device=corners.device), slice(None), *corners.unbind(1))
