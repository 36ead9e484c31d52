"""The k strongest activations of every feature map of one layer, at most one of each image.

In descending order; of equal ones the image with the lower number comes first, and within an image the first unit in
reading order. So the result depends on which images were offered, never on their order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...engine.reprs import ROWS, html_table, one_line
from ...units.selection import positions_of_maxima

__all__ = ["NO_IMAGE", "TopK"]

NO_IMAGE = -1
"""The number in the slots after the last image, where fewer than k were offered."""

Array = NDArray[Any]

_CACHED = 2**18  # activations that fit in a cache


class TopK:
    """A table of the strongest activations that it is offered. In CPU memory, on whatever device the model runs.

    Parameters
    ----------
    values : Tensor
        (maps, k), float32 or float64; minus infinity where there is no image.
    images : Tensor
        (maps, k), int64; :data:`NO_IMAGE` in a slot without one.
    positions : Tensor
        (maps, k, axes), int64: row and column of each unit.
    """

    def __init__(self, values: Tensor, images: Tensor, positions: Tensor) -> None:
        self.values = values
        self.images = images
        self.positions = positions
        self._tables = values.numpy(), images.numpy(), positions.numpy()  # the same memory, and quicker calls

    @classmethod
    def empty(cls, maps: int, k: int, axes: int, dtype: torch.dtype) -> TopK:
        """Return a table without images; half-precision activations are kept in single precision, which is exact."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return cls(
            torch.full((maps, k), -torch.inf, dtype=wide),
            torch.full((maps, k), NO_IMAGE),
            torch.full((maps, k, axes), NO_IMAGE),
        )

    def __repr__(self) -> str:
        maps, k = self.values.shape
        return one_line(self, f"{k} of each of {maps} maps, strongest activation {self.strongest:.4g}")

    def _repr_html_(self) -> str:
        """Return the strongest unit of each of the first maps for a notebook."""
        units = zip(
            self.values[:ROWS, 0].tolist(),
            self.images[:ROWS, 0].tolist(),
            self.positions[:ROWS, 0].tolist(),
            strict=True,
        )
        rows = [
            [number, *(("none", "", "") if image == NO_IMAGE else (value, image, ", ".join(map(str, position))))]
            for number, (value, image, position) in enumerate(units)
        ]
        header = ["map", "strongest activation", "image", "position"]
        return html_table(repr(self)[1:-1], header, rows, count=len(self.values))

    @property
    def kind(self) -> str:
        """In words what two tables have in common that can be merged."""
        maps, _, axes = self.positions.shape
        return f"{maps} with {axes} axes in {self.values.dtype}"

    @property
    def strongest(self) -> float:
        """The strongest activation; minus infinity where there is none."""
        return float(self.values.max()) if self.values.numel() else -math.inf

    def offer(self, output: Tensor, best: Array, numbers: Array) -> None:
        """Enter the activations of some new images that are among the k strongest.

        Parameters
        ----------
        output : Tensor
            (n, maps, *positions), the layer's output.
        best : ndarray
            (n, maps), the maximum of each map, finite.
        numbers : ndarray
            (n,), the images' numbers.
        """
        values, images, positions = self._tables
        worst = values[:, -1]
        latest = images[:, -1]
        enters = (best > worst) | ((best == worst) & (numbers[:, None] < latest))
        rows = enters.any(0).nonzero()[0]
        if not rows.size:
            return
        k = values.shape[1]
        many = np.concatenate([values[rows], best.T[rows]], 1)
        theirs = np.concatenate([images[rows], np.tile(numbers, (len(rows), 1))], 1)
        order = _ranked(many, theirs)[:, :k]
        line = np.arange(len(rows))[:, None]
        units = positions[rows][line, np.minimum(order, k - 1)]
        row, slot = (order >= k).nonzero()
        units[row, slot] = _positions(output, order[row, slot] - k, rows[row])
        values[rows] = many[line, order]
        images[rows] = theirs[line, order]
        positions[rows] = units

    def merged(self, other: TopK) -> TopK:
        """Return the strongest activations of two tables; an image that is in both counts once."""
        both = [np.concatenate(pair, 1) for pair in zip(self._tables, other._tables, strict=True)]
        values, images, _ = both
        k = self.values.shape[1]
        twice = (images[:, k:, None] == images[:, None, :k]).any(2)
        values[:, k:][twice] = -np.inf
        images[:, k:][twice] = NO_IMAGE
        order = _ranked(values, images)[:, :k]
        values, images, positions = (table[np.arange(len(table))[:, None], order] for table in both)
        positions[images == NO_IMAGE] = NO_IMAGE
        return TopK(*map(torch.from_numpy, (values, images, positions)))

    def copy(self) -> TopK:
        """Return a copy that keeps this state."""
        return TopK(self.values.clone(), self.images.clone(), self.positions.clone())


def _ranked(values: Array, images: Array) -> Array:
    """Return the order of each row: the stronger first, then the lower image number; empty slots last."""
    order: Array = np.lexsort((images, -values), axis=1)
    return order


def _positions(output: Tensor, examples: Array, maps: Array) -> Array:
    """Return the positions (n, axes) of the maxima of some maps of some examples."""
    if not output.is_contiguous():
        positions: Array = positions_of_maxima(output[torch.from_numpy(examples), torch.from_numpy(maps)]).numpy()
        return positions
    # as contiguous planes, few enough at a time for a cache: several times as fast
    planes = output.flatten(0, 1)
    indices = torch.from_numpy(examples * output.shape[1] + maps).to(output.device)
    parts = torch.split(indices, max(1, _CACHED // planes[0].numel()))
    return np.concatenate([positions_of_maxima(planes.index_select(0, part)).numpy() for part in parts])
