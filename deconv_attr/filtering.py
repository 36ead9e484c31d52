"""The adjoint of a convolution, computed only where the signal is not zero.

A signal that starts at one unit fills a cone: at each layer a small window of the map. With stride s, padding p and
dilation d, the elements a to b of the output have read the elements from ``a s - p`` to ``b s - p + d (k - 1)``.

Source: Zeiler and Fergus 2014, section 2.1, "filtering".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv1d_input, conv2d_input, conv3d_input

from .rules import Forward, Rule

__all__ = ["CONVOLUTION_ARGUMENTS", "FILTER_CONE", "is_convolution"]

CONVOLUTION_ARGUMENTS = "input weight bias stride padding dilation groups".split()
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
    dims = conv.weight.dim() - 2
    below = signal.new_zeros(conv.input_shape)
    alive = signal.any(1)
    windows = [_windows(alive, axis) for axis in range(dims)]
    if not all(size for _, size in windows):
        return below
    sizes = [size for _, size in windows]
    # Examples whose windows stand at the same place go together.
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for example, corner in enumerate(zip(*(begins for begins, _ in windows), strict=True)):
        groups[corner].append(example)
    members: list[Any] = list(groups.values()) if len(groups) > 1 else [slice(None)]
    taken = []
    for corner, examples in zip(groups, members, strict=True):
        window: list[Any] = [..., *(slice(begin, begin + size) for begin, size in zip(corner, sizes, strict=True))]
        taken.append(signal[tuple(window)][examples])
    spans = [
        (size - 1) * stride + dilation * (width - 1) + 1
        for size, stride, dilation, width in zip(sizes, conv.stride, conv.dilation, conv.weight.shape[2:], strict=True)
    ]
    shape = (len(signal), conv.input_shape[1], *spans)
    together = torch.cat(taken) if len(taken) > 1 else taken[0]
    found = conv.adjoint(shape, conv.weight, together, conv.stride, 0, conv.dilation, conv.groups)
    parts = torch.split(found, [len(examples) for examples in groups.values()])
    for corner, examples, part in zip(groups, members, parts, strict=True):
        read: list[Any] = [...]
        written: list[Any] = [examples, ...]
        for axis, span in enumerate(spans):
            begin = corner[axis] * conv.stride[axis] - conv.padding[axis]
            start, end = max(begin, 0), min(begin + span, conv.input_shape[2 + axis])
            length = max(end - start, 0)
            read.append(slice(start - begin, start - begin + length))
            written.append(slice(start, start + length))
        below[tuple(written)] = part[tuple(read)]
    return below


def _windows(alive: Tensor, axis: int) -> tuple[list[int], int]:
    """Find, along one axis, where each example's window begins, and how long the longest is."""
    elsewhere = [dim for dim in range(1, alive.dim()) if dim != 1 + axis]
    line = alive.any(elsewhere) if elsewhere else alive
    length = line.shape[1]
    place = torch.arange(length, device=line.device)
    first = torch.where(line, place, length).amin(1)
    last = torch.where(line, place, -1).amax(1)
    size = max(int((last - first).max()) + 1, 0)
    return first.clamp(max=length - size).tolist(), size


FILTER_CONE = Rule("adjoint", filter_cone, _keep)
