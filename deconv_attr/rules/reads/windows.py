"""Operations whose elements read windows: convolutions, pools, padding, interpolation.

A window along one dimension is a table of positions (elements, window).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .call import ReadCall, Reads, entry, reach_of, with_obstacle
from .intervals import Reach, advance_of, arange_cpu, over_channels, read, varies

__all__ = ["adaptive", "interpolated", "padded", "transposed", "window"]


def _windowed(geometry: Callable[[ReadCall, int, int, int], Tensor]) -> Reads:
    """Each element reads a window of the last dimensions, given by a table of positions (elements, window).

    ``geometry(call, axis, before, after)`` makes the table of one dimension of `before` and then `after` elements;
    NaN where there is nothing to read.
    """

    def rule(call: ReadCall) -> list[Reach]:
        source, output = call.source, call.outputs[0]
        dims = _windowed_dims(call)
        reach, mixes, resized = reach_of(call, source), False, call.name.startswith(("adaptive", "interpolate"))
        for dim in range(-dims, 0):
            before, after = source.shape[dim], output.shape[dim]
            if _leaves_alone(call, dim + dims, before, after):
                continue
            table = geometry(call, dim + dims, before, after)
            mixes |= call.name.startswith("adaptive") and after == 1 < before and varies(reach, dim)
            two_rows = table if after > 1 else geometry(call, dim + dims, before, 2)
            advance = advance_of(two_rows)
            # Aligned to the coarser grid is not aligned to the finer; and padding may crop a transposed convolution.
            cropped = call.name.startswith("conv_transpose") and (
                table[0].nan_to_num(inf).min() > 0 or table[-1].nan_to_num(-inf).max() < before - 1
            )
            resized |= (advance < 1 or bool(cropped)) and varies(reach, dim)
            reach = read(reach, dim, before, table, dims, advance)
        extents = tuple(replace(extent, bounds=over_channels(extent.bounds, dims)) for extent in reach.extents)
        reach = replace(reach, extents=extents)
        if mixes:
            reach = replace(reach, mixer=reach.mixer or call.locate())
        elif resized:
            reach = with_obstacle(reach, call)
        # Where a maximum stood is counted from the image's corner, row by row.
        return [reach, *[with_obstacle(reach, call)] * (len(call.outputs) - 1)]

    return Reads(rule)


def window(arguments: Sequence[str]) -> Reads:
    """Each element reads a window, at a regular distance; `arguments` names those of the function in their order."""
    positions = {name: position for position, name in enumerate(arguments)}

    def geometry(call: ReadCall, axis: int, before: int, after: int) -> Tensor:
        def given(name: str, default: Any) -> Any:
            value = call.argument(positions[name], name, default=default) if name in positions else default
            return default if value is None or value == [] or value == () else value

        size = entry(call.args[1].shape[2:], axis) if "weight" in positions else entry(given("kernel_size", 1), axis)
        stride = entry(given("stride", 1 if "weight" in positions else given("kernel_size", 1)), axis)
        dilation, padding = entry(given("dilation", 1), axis), given("padding", 0)
        if isinstance(padding, str):
            padding = dilation * (size - 1) // 2 if padding == "same" else 0
        offset = arange_cpu(size) * dilation - entry(padding, axis)
        return arange_cpu(after)[:, None] * stride + offset

    return _windowed(geometry)


def _leaves_alone(call: ReadCall, axis: int, before: int, after: int) -> bool:
    """Whether a call is one of the many convolutions of size 1."""
    if not call.name.startswith("conv") or before != after or call.args[1].shape[2 + axis] != 1:
        return False
    stride, padding = call.argument(3, "stride", default=1), call.argument(4, "padding", default=0)
    return entry(stride, axis) == 1 and (isinstance(padding, str) or entry(padding, axis) == 0)


def _transposed_window(call: ReadCall, axis: int, before: int, after: int) -> Tensor:
    """Return the elements whose transposed filters reach each element; NaN in the gaps of a stride."""
    size = call.args[1].shape[2 + axis]
    stride, padding, _, _, dilation = (
        entry(call.argument(position, name, default=default), axis)
        for position, name, default in (
            (3, "stride", 1),
            (4, "padding", 0),
            (5, "output_padding", 0),
            (6, "groups", 1),
            (7, "dilation", 1),
        )
    )
    element = (arange_cpu(after)[:, None] + padding - arange_cpu(size) * dilation) / stride
    return torch.where(element == element.floor(), element, torch.nan)


def _adaptive_window(call: ReadCall, axis: int, before: int, after: int) -> Tensor:
    """Return the windows that share a dimension out among the elements."""
    begin = arange_cpu(after) * before // after
    end = -((arange_cpu(1, after + 1) * before).neg() // after)
    element = begin[:, None] + arange_cpu(int((end - begin).max()))
    return torch.where(element < end[:, None], element, torch.nan)


def _interpolation_window(call: ReadCall, axis: int, before: int, after: int) -> Tensor:
    """Return the neighbours from which each element is interpolated."""
    mode = call.argument(3, "mode", default="nearest")
    factor, of_the_sizes = call.argument(2, "scale_factor"), call.argument(5, "recompute_scale_factor", default=False)
    if call.argument(6, "antialias", default=False) or not (of_the_sizes or _is_whole(factor)):
        raise ValueError("a window that does not follow from the sizes")
    if mode == "area":
        return _adaptive_window(call, axis, before, after)
    element = arange_cpu(after)
    if mode == "nearest":
        return (element * before / after).floor()[:, None]
    if call.argument(4, "align_corners", default=False):
        centre = element * (before - 1) / max(after - 1, 1)
    else:
        centre = (element + 0.5) * before / after - 0.5
    reads = arange_cpu(-1, 3) if mode == "bicubic" else arange_cpu(2)
    return (centre.floor()[:, None] + reads).clamp(0, before - 1)


def _is_whole(factor: Any) -> bool:
    factors = factor if isinstance(factor, (tuple, list)) else [factor]
    return all(each is None or float(each).is_integer() for each in factors)


def _windowed_dims(call: ReadCall) -> int:
    """Return how many dimensions a window has: the digit in the operation's name, or all but batch and channels."""
    digits = [int(letter) for letter in call.name if letter in "123"]
    return digits[-1] if digits else call.source.dim() - 2


def _padded(call: ReadCall) -> list[Reach]:
    source, widths = call.source, call.argument(1, "pad")
    mode = call.argument(2, "mode", default="constant") if call.name == "pad" else "constant"
    reach = reach_of(call, source)
    for number in range(len(widths) // 2):
        dim, before = -1 - number, source.shape[-1 - number]
        if number >= len(reach.extents) and not varies(reach, dim):
            continue  # channels
        table = arange_cpu(-widths[2 * number], before + widths[2 * number + 1])[:, None]
        copies = None
        if mode != "constant":
            elements = arange_cpu(before).view(1, 1, -1)
            copies = F.pad(elements, tuple(widths[2 * number : 2 * number + 2]), mode=mode).view(-1, 1)
        if min(widths[2 * number : 2 * number + 2]) < 0 and varies(reach, dim):
            reach = with_obstacle(reach, call)
        reach = read(reach, dim, before, table, len(reach.extents), copies=copies)
    return [reach]


def _padded_dims(call: ReadCall) -> list[int]:
    widths = call.argument(1, "pad")
    return [-1 - number for number in range(len(widths) // 2) if any(widths[2 * number : 2 * number + 2])]


transposed = _windowed(_transposed_window)
"""Each element reads those whose transposed filters reach it."""

adaptive = _windowed(_adaptive_window)
"""Each element reads its share of a dimension."""

interpolated = _windowed(_interpolation_window)
"""Each element reads the neighbours from which it is interpolated."""

padded = Reads(_padded, _padded_dims)
"""Each element reads one; in the padding nothing, or in other modes than zeros a copy."""
