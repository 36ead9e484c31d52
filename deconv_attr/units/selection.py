"""Which units of a layer are meant: rows of (image, map, row, column), or feature maps whose strongest unit is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.layers import Layer
from ..errors import InputError, TargetError, shown

__all__ = ["check_output", "check_units", "parse_units", "positions_of_maxima", "strongest_positions"]


def parse_units(units: Any, images: int) -> Tensor:
    """Return units as a table of integers, (K, columns).

    Raises
    ------
    InputError
        They are no integers, are not rows of one length, or name an image that does not exist.
    """
    try:
        table = torch.as_tensor(units)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected units as integers in rows of one length, got {shown(units)}") from error
    if table.numel() == 0:
        raise InputError("expected at least one unit, got none")
    if table.is_floating_point() or table.is_complex() or table.dtype == torch.bool or table.dim() > 2:
        raise InputError(f"expected units as (K,) or (K, columns) integers, got {tuple(table.shape)} of {table.dtype}")
    table = table.cpu().long().clone()  # the caller may go on to use his
    table = table.reshape(-1, 1) if table.dim() < 2 else table
    if table.shape[1] > 1:
        outside = (table[:, 0] < 0) | (table[:, 0] >= images)
        if outside.any():
            image = int(table[outside][0, 0])
            raise InputError(f"{_which(outside, table)} names image {image}, and there are {images} images, from 0 on")
    return table


def check_units(table: Tensor, shape: Sequence[int], layer: str, numbers: Sequence[int] | None = None) -> None:
    """Compare maps and positions, if given, with the shape (maps, *positions) of a layer's output.

    Parameters
    ----------
    table, shape, layer
        The units, the shape, and the layer in words.
    numbers : sequence of int, optional
        The units to look at; all by default.

    Raises
    ------
    InputError
        The rows have another number of columns than the layer needs.
    TargetError
        A map or a position is out of range.
    """
    if not shape:
        raise InputError(f"expected the output of {layer} as (N, maps, ...), got {tuple(shape)} for each example")
    given = table if table.shape[1] == 1 else table[:, 1:]
    if given.shape[1] not in (1, len(shape)):
        position = {1: "", 3: ", row, column"}.get(len(shape), ", position" * (len(shape) - 1))
        rows = f"(image, map{position}), of (image, map)" if position else "(image, map)"
        raise InputError(
            f"expected units of {layer} as rows of {rows}, or as maps alone, got rows of {table.shape[1]} numbers"
        )
    outside = ((given < 0) | (given >= torch.tensor(shape[: given.shape[1]]))).any(1)
    if numbers is not None:
        outside &= torch.zeros_like(outside).index_fill(0, torch.tensor(numbers, dtype=torch.long), True)
    if outside.any():
        raise TargetError(
            f"{_which(outside, table)} is out of range: the output of {layer} has the shape {tuple(shape)}"
        )


def check_output(output: Any, rows: int, layer: Layer) -> Tensor:
    """Return a layer's output for a number of images if units of each can be found in it.

    Raises
    ------
    InputError
        It is no tensor in floating point, or has not one row for each image.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        found = f"one of {output.dtype}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(f"expected a tensor (N, maps, ...) in floating point as the output of {layer}, got {found}")
    if output.shape[:1] != (rows,):
        raise InputError(
            f"expected one row for each image in the output of {layer}, got the shape {tuple(output.shape)} "
            f"for a batch of {rows}: it has no unit of one image"
        )
    return output


def strongest_positions(output: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the strongest unit of some feature maps of one example; if several are equal, the first.

    Parameters
    ----------
    output : Tensor
        (maps, *positions).
    maps : Tensor
        (K,).

    Returns
    -------
    pair of Tensor
        The activations (K,), and the positions (K, axes).
    """
    planes = output[maps.to(output.device)]
    return planes.flatten(1).amax(1).cpu() if planes.dim() > 1 else planes.cpu(), positions_of_maxima(planes)


def positions_of_maxima(planes: Tensor) -> Tensor:
    """Find where feature maps (n, *positions) are strongest, at the first of equal values: (n, axes), on the CPU."""
    if planes.dim() == 1:
        return torch.empty(len(planes), 0, dtype=torch.long)
    flat = planes.detach().flatten(1)
    if flat.device.type == "cpu":  # numpy's argmax is several times as fast, and does not know bfloat16
        positions = np.argmax(flat.to(torch.promote_types(flat.dtype, torch.float32)).numpy(), 1)
    else:
        positions = flat.argmax(1).cpu().numpy()
    return torch.from_numpy(np.stack(np.unravel_index(positions, planes.shape[1:]), 1))


def _which(outside: Tensor, table: Tensor) -> str:
    number = int(outside.nonzero()[0])
    row = table[number].tolist()
    return f"unit {number}, {tuple(row) if len(row) > 1 else row[0]},"
