"""Filtering: the adjoints of convolutions and linear layers, which need the filters and no activation.

The adjoint of a convolution is the transposed convolution with the same filters, and the other way round. What a
strided convolution did not read at the end is zero below.

A signal that starts at one unit fills a cone: at each layer a small window of the map, and only that need be
computed. With stride s, padding p and dilation d, the elements a to b of the output have read the elements from
``a s - p`` to ``b s - p + d (k - 1)``.

Source: Zeiler and Fergus 2014, section 2.1, "filtering".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ModelError
from .layout import quickest_layout
from .rules import Forward

__all__ = ["FILTERS", "Filters", "filter_back", "filter_cone"]

_TRANSPOSED = {"conv1d": F.conv_transpose1d, "conv2d": F.conv_transpose2d, "conv3d": F.conv_transpose3d}
_PLAIN = {"conv_transpose1d": F.conv1d, "conv_transpose2d": F.conv2d, "conv_transpose3d": F.conv3d}
_ADJOINTS: Mapping[str, Callable[..., Tensor]] = {**_TRANSPOSED, **_PLAIN, "linear": F.linear}
FILTERS = frozenset(_ADJOINTS)


@dataclass(eq=False)
class Filters:
    """What the adjoint of one filtering call needs.

    Parameters
    ----------
    name : str
        Of the call: ``"conv2d"``, ``"conv_transpose1d"``, ``"linear"``.
    weight : Tensor
        The call's own; see :meth:`keep`.
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
        self._version = self.weight._version

    def keep(self) -> None:
        """Copy the filters, which are about to be overwritten."""
        self.weight = self.weight.clone()
        self._version = self.weight._version

    def check(self) -> None:
        """Refuse filters that have been overwritten all the same.

        Raises
        ------
        ModelError
            By other code, or in another thread, since the forward pass.
        """
        if self.weight._version != self._version:
            raise ModelError(f"the filters of a '{self.name}' were overwritten before the signal came back to them")

    @classmethod
    def of(cls, forward: Forward) -> Filters:
        """Take from a call what its adjoint needs."""
        name, given = forward.operation.name, forward.arguments
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
        lengths = forward.input.shape[forward.input.dim() - axes :]
        return cls(name, weight, lengths, each("stride", 1), padding, dilation, given.get("groups", 1))


def filter_back(signal: Tensor, filters: Filters) -> Tensor:
    """Send a signal back through the transposed filters, in its own precision."""
    filters.check()
    adjoint, weight = _ADJOINTS[filters.name], filters.weight.to(signal.dtype)
    if filters.name == "linear":
        return adjoint(signal, weight.t())
    signal = signal.contiguous(memory_format=quickest_layout(signal, weight.dim() - 2, signal.dtype))
    filters = replace(filters, weight=weight)
    if filters.name in _PLAIN:
        below = adjoint(signal, weight, None, filters.stride, filters.padding, filters.dilation, filters.groups)
    elif _is_first(filters) and signal.device.type == "cpu":
        below = _interleaved(signal, filters)
    else:
        rest = [max(lack, 0) for lack in _unread(signal, filters)]
        below = adjoint(signal, weight, None, filters.stride, filters.padding, rest, filters.groups, filters.dilation)
    for axis, length in enumerate(filters.lengths, below.dim() - len(filters.lengths)):
        if below.shape[axis] > length:
            below = below.narrow(axis, 0, length)
    return below


def _unread(signal: Tensor, filters: Filters) -> list[int]:
    """Say how many elements at the end a convolution did not read, along each axis; of its padding, if negative."""
    return [
        length - (elements - 1) * stride + 2 * before - dilation * (width - 1) - 1
        for length, elements, stride, before, dilation, width in zip(
            filters.lengths,
            signal.shape[-len(filters.lengths) :],
            filters.stride,
            filters.padding,
            filters.dilation,
            filters.weight.shape[2:],
            strict=True,
        )
    ]


def _is_first(filters: Filters) -> bool:
    """Say whether a convolution strides over the few channels of an image: most likely a network's first."""
    few = filters.weight.dim() == 4 and filters.weight.shape[1] <= 4
    return few and min(filters.stride) > 1 and filters.groups == 1 and set(filters.dilation) == {1}


def _interleaved(signal: Tensor, filters: Filters) -> Tensor:
    """Give the transposed convolution as one plain convolution whose maps are interleaved.

    With stride s, the pixels whose place is f modulo s are read by the filters' elements f, f + s, f + 2s, ... only.
    On a CPU this is two to four times as fast for a first layer as oneDNN's transposed convolution.
    """
    weight, (down, across) = filters.weight, filters.stride
    high, wide = (-(-width // stride) for width, stride in zip(weight.shape[2:], filters.stride, strict=True))
    weight = F.pad(weight, (0, wide * across - weight.shape[3], 0, high * down - weight.shape[2]))
    above, below = weight.shape[:2]
    parts = weight.reshape(above, below, high, down, wide, across).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    maps = F.conv2d(signal, parts.flatten(0, 2), None, 1, (high - 1, wide - 1))
    *batch, _, rows, columns = maps.shape
    maps = maps.reshape(*batch, below, down, across, rows, columns).movedim((-2, -4, -1, -3), (-4, -3, -2, -1))
    pixels = maps.reshape(*batch, below, rows * down, columns * across)
    ends = [
        before + length - size
        for before, length, size in zip(filters.padding, filters.lengths, pixels.shape[-2:], strict=True)
    ]
    return F.pad(pixels, (-filters.padding[1], ends[1], -filters.padding[0], ends[0]))


def filter_cone(signal: Tensor, filters: Filters) -> Tensor:
    """Send a signal (N, C, ...) back through the transposed filters, each example's window only."""
    filters.check()
    if filters.name not in _TRANSPOSED:
        return filter_back(signal, filters)
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
    found = filter_back(window, replace(filters, lengths=spans, padding=[0] * len(spans)))
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
    """Find where each example's window begins, (N, axes), and how long the longest is along each axis."""
    alive = signal.any(1)
    corners, sizes = [], []
    for axis in range(1, alive.dim()):
        elsewhere = [dim for dim in range(1, alive.dim()) if dim != axis]
        line = alive.any(elsewhere) if elsewhere else alive
        length = line.shape[1]
        place = torch.arange(length, device=line.device)
        first = torch.where(line, place, length).amin(1)
        last = torch.where(line, place, -1).amax(1)
        sizes.append(max(int((last - first).max()) + 1, 0))
        corners.append(first.clamp(max=length - sizes[-1]))
    return torch.stack(corners, 1), sizes


def _windows(maps: Tensor, sizes: Sequence[int]) -> Tensor:
    """View all windows of some size: (N, C, *corners, *sizes)."""
    for axis, size in enumerate(sizes):
        maps = maps.unfold(2 + axis, size, 1)
    return maps


def _at(corners: Tensor) -> tuple[Any, ...]:
    """Index one window of each example; a view, where all stand at the same place."""
    if bool((corners == corners[0]).all()):
        return (slice(None), slice(None), *corners[0].tolist())
    return (torch.arange(len(corners), device=corners.device), slice(None), *corners.unbind(1))
