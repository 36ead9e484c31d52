"""The adjoint of a convolution, computed only where the signal is not zero.

A signal that starts at one unit fills a cone: at each layer a small window of the map. With stride s, padding p and
dilation d, the elements a to b of the output have read the elements from ``a s - p`` to ``b s - p + d (k - 1)``.

Source: Zeiler and Fergus 2014, section 2.1, "filtering".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv1d_input, conv2d_input, conv3d_input

from .rules import Forward, Rule

__all__ = ["FILTER_CONE", "is_convolution"]

_ADJOINTS: Mapping[str, Callable[..., Tensor]] = {
    "conv1d": conv1d_input,
    "conv2d": conv2d_input,
    "conv3d": conv3d_input,
}


@dataclass(frozen=True, eq=False)
class _Convolution:
    """What the adjoint needs of one convolution: no activation."""

    adjoint: Callable[..., Tensor]
    weight: Tensor
    input_shape: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]  # before the first element
    dilation: Sequence[int]
    groups: int


def is_convolution(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> bool:
    """Say whether a call filters, and it is its image, not its filter, that carries the signal."""
    image = args[0] if args else kwargs.get("input")
    return name in _ADJOINTS and len(carriers) == 1 and carriers[0] is image


def _keep(forward: Forward) -> _Convolution:
    given = forward.arguments
    weight = given["weight"]
    dims = weight.dim() - 2

    def each(name: str) -> list[int]:
        value = given.get(name, 1)
        return list(value) * (dims // len(value)) if isinstance(value, (tuple, list)) else [value] * dims

    padding = given.get("padding", 0)
    if isinstance(padding, str):
        spans = [
            d * (k - 1) if padding == "same" else 0 for d, k in zip(each("dilation"), weight.shape[2:], strict=True)
        ]
        before = [span // 2 for span in spans]
    else:
        before = each("padding") if "padding" in given else [0] * dims
    return _Convolution(
        _ADJOINTS[forward.operation.name],
        weight,
        given["input"].shape,
        each("stride"),
        before,
        each("dilation"),
        given.get("groups", 1),
    )


def filter_cone(signal: Tensor, conv: _Convolution) -> Tensor:
    """Send a signal (N, C, ...) back through the transposed filters, each example's window only."""
    if signal.dim() < conv.weight.dim():  # no batch
        return filter_cone(signal[None], replace(conv, input_shape=(1, *conv.input_shape)))[0]
    corners, sizes = _cones(signal)
    if not all(sizes):
        return signal.new_zeros(conv.input_shape)
    steps = torch.tensor(conv.stride, device=signal.device)
    spans = [
        (size - 1) * stride + dilation * (width - 1) + 1
        for size, stride, dilation, width in zip(sizes, conv.stride, conv.dilation, conv.weight.shape[2:], strict=True)
    ]
    shape = (len(signal), conv.input_shape[1], *spans)
    window = _windows(signal, sizes)[_at(corners)]
    found = conv.adjoint(shape, conv.weight, window, conv.stride, 0, conv.dilation, conv.groups)
    # What the last elements read may end before the input does, or beyond it.
    ends = [
        max(before + length, (elements - size) * stride + span)
        for before, length, elements, size, stride, span in zip(
            conv.padding, conv.input_shape[2:], signal.shape[2:], sizes, conv.stride, spans, strict=True
        )
    ]
    below = signal.new_zeros((*conv.input_shape[:2], *ends))
    _windows(below, spans)[_at(corners * steps)] = found
    for axis, (before, length) in enumerate(zip(conv.padding, conv.input_shape[2:], strict=True)):
        below = below.narrow(2 + axis, before, length)
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


FILTER_CONE = Rule("adjoint", filter_cone, _keep)
