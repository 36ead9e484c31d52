"""Switches: where each maximum of a max-pool stood, and unpooling by them.

Pooling with switches ``s`` reads ``y[o] = x[s(o)]``. Its adjoint writes ``r[i] = sum of signal[o] over s(o) = i``:
a value that is the maximum of several overlapping windows receives the sum of their signals.

A switch is kept as its distance from the first element of its window, which usually fits a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor

from .layout import CONTIGUOUS, layout_of, quickest_layout
from .operations import named_arguments

__all__ = ["OVERLAPS", "Switches", "gives_indices", "pool_with_switches"]

OVERLAPS = ("sum", "mean", "overwrite")
_AT_ONCE = 2**20  # switches that are spelt out as indices at a time


@dataclass(frozen=True)
class Switches:
    """What one max-pool recorded.

    Parameters
    ----------
    offsets : Tensor
        (N, C, *pooled), of the smallest integer type that holds them: the flat position of each maximum in its plane,
        less that of its window's first element.
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
        """(N, C, *pooled), int64: the flat position of each maximum in its plane of the input, row by row.

        As ``return_indices=True`` gives it. Ties are broken as the pooling kernel breaks them.
        """
        return self.offsets + self.starts

    def unpool(self, signal: Tensor, overlap: str = "sum") -> Tensor:
        """Put each value of a signal at its switch; everything else is zero.

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
            (N, C, *plane), the shape of the pool's input; laid out in memory as the switches are.
        """
        axes = self.starts.dim()
        layout = layout_of(self.offsets, axes)
        unpooled = torch.empty(self.input_shape, dtype=signal.dtype, device=signal.device, memory_format=layout).zero_()
        rows = max(1, _AT_ONCE // max(1, self.offsets[:1].numel()))
        for first in range(0, len(signal), rows):
            part = slice(first, first + rows)
            parts = unpooled[part], self.offsets[part] + self.starts, signal[part]
            if layout is CONTIGUOUS:
                below, where, values = (maps.flatten(-axes) for maps in parts)
                _place(below, where, values, -1, overlap)
            else:  # the channels stay the innermost
                below, where, values = (maps.movedim(1, -1).flatten(1, -2) for maps in parts)
                _place(below, where, values, 1, overlap)
        return unpooled


def _place(unpooled: Tensor, where: Tensor, values: Tensor, axis: int, overlap: str) -> None:
    if overlap == "sum":
        unpooled.scatter_add_(axis, where, values)
    elif overlap == "mean":
        unpooled.scatter_reduce_(axis, where, values, "mean", include_self=False)
    else:
        unpooled.scatter_(axis, where, values)


def pool_with_switches(name: str, *args: Any, **kwargs: Any) -> tuple[Tensor, Switches]:
    """Run a max-pool and record its switches.

    Parameters
    ----------
    name : str
        ``"max_pool2d"``, ``"adaptive_max_pool1d"``, ...
    *args, **kwargs
        As for the function of that name in ``torch.nn.functional``; ``return_indices`` is ignored.
    """
    function: Callable[..., tuple[Tensor, Tensor]] = getattr(F, f"{name}_with_indices")
    kwargs.pop("return_indices", None)
    source: Tensor = args[0] if args else kwargs["input"]
    output, indices = function(*args, **kwargs)
    axes, starts = int(name[-2]), torch.zeros((), dtype=torch.int64, device=indices.device)
    plane = source.shape[-axes:]
    for axis, first in enumerate(_windows(name, named_arguments(function, name, args, kwargs), plane, indices)):
        starts = starts[..., None] + first * plane[axis + 1 :].numel()
    distances = indices.sub_(starts)
    layout = quickest_layout(indices, axes, source.dtype)
    offsets = torch.empty_like(distances, dtype=_smallest_type(distances), memory_format=layout)
    return output, Switches(offsets.copy_(distances), starts, source.shape)


def _windows(name: str, given: Mapping[str, Any], plane: Size, indices: Tensor) -> list[Tensor]:
    """Say for each axis where the windows begin."""
    windows = []
    for axis, (length, count) in enumerate(zip(plane, indices.shape[-len(plane) :], strict=True)):
        place = torch.arange(count, device=indices.device)
        if name.startswith("max_pool"):
            size = _entry(given["kernel_size"], axis)
            windows.append(place * _entry(given.get("stride") or size, axis) - _entry(given.get("padding", 0), axis))
        elif name.startswith("adaptive"):
            windows.append(place * length // count)
        else:  # where the windows of a fractional pool begin is a matter of chance
            windows.append(torch.zeros_like(place))
    return windows


def _entry(value: Any, axis: int) -> int:
    return int(value[axis % len(value)]) if isinstance(value, (tuple, list)) else int(value)


def _smallest_type(values: Tensor) -> torch.dtype:
    # Below 0 is the place that torch gives for a window of nothing but -inf in channels_last_3d.
    lowest, highest = (int(value) for value in values.aminmax()) if values.numel() else (0, 0)
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if torch.iinfo(dtype).min <= lowest and highest <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64


def gives_indices(function: Callable[..., Any], name: str) -> bool:
    """Say whether a spelling of the max-pool `name` returns its switches too.

    Below ``torch.nn.functional``, adaptive and fractional pools always do.
    """
    if function.__name__.split(".")[0].endswith("_with_indices"):
        return True
    return not name.startswith("max_pool") and function is not getattr(F, name)
