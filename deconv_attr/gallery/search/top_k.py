"""The k strongest activations of every feature map of one layer, at most one of each image.

In descending order; of equal ones the image with the lower number comes first, and within an image the first unit in
reading order. So the result depends on which images were offered, never on their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...units.selection import positions_of_maxima

__all__ = ["NO_IMAGE", "TopK"]

NO_IMAGE = -1
"""Stands for the image where there have been fewer than k."""

Array = NDArray[Any]

_CACHED = 2**18  # numbers


class TopK:
    """A table that remembers the best of what it is offered. In the processor's memory, whatever runs the model.

    Parameters
    ----------
    values : Tensor
        (maps, k), float32 or float64; minus infinity where there is no image.
    images : Tensor
        (maps, k), int64; :data:`NO_IMAGE` where there is none.
    positions : Tensor
        (maps, k, axes), int64: row and column of each unit.
    """

    def __init__(self, values: Tensor, images: Tensor, positions: Tensor) -> None:
        self.values, self.images, self.positions = values, images, positions
        self._tables = values.numpy(), images.numpy(), positions.numpy()  # the same memory, and quicker calls

    @classmethod
    def empty(cls, maps: int, k: int, axes: int, dtype: torch.dtype) -> TopK:
        """Make a table of nobody; for activations in half precision in single precision, which holds them exactly."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return cls(
            torch.full((maps, k), -torch.inf, dtype=wide),
            torch.full((maps, k), NO_IMAGE),
            torch.full((maps, k, axes), NO_IMAGE),
        )

    def offer(self, output: Tensor, best: Array, numbers: Array) -> None:
        """Take what is strong enough of some images that have not been offered before.

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
        worst, latest = values[:, -1], images[:, -1]
        enters = (best > worst) | ((best == worst) & (numbers[:, None] < latest))
        rows = enters.any(0).nonzero()[0]
        if not rows.size:
            return
        k = values.shape[1]
        many = np.concatenate([values[rows], best.T[rows]], 1)
        theirs = np.concatenate([images[rows], np.tile(numbers, (len(rows), 1))], 1)
        order = _ranked(many, theirs)[:, :k]
        line = np.arange(len(rows))[:, None]
        places = positions[rows][line, np.minimum(order, k - 1)]
        which, place = (order >= k).nonzero()
        places[which, place] = _places(output, order[which, place] - k, rows[which])
        values[rows], images[rows], positions[rows] = many[line, order], theirs[line, order], places

    def merged(self, other: TopK) -> TopK:
        """Give the best of two tables; an image that is in both counts once."""
        both = [np.concatenate(pair, 1) for pair in zip(self._tables, other._tables, strict=True)]
        values, images, _ = both
        k = self.values.shape[1]
        twice = (images[:, k:, None] == images[:, None, :k]).any(2)
        values[:, k:][twice], images[:, k:][twice] = -np.inf, NO_IMAGE
        order = _ranked(values, images)[:, :k]
        values, images, positions = (table[np.arange(len(table))[:, None], order] for table in both)
        positions[images == NO_IMAGE] = NO_IMAGE
        return TopK(*map(torch.from_numpy, (values, images, positions)))

    def copy(self) -> TopK:
        """Give a copy that remembers this state."""
        return TopK(self.values.clone(), self.images.clone(), self.positions.clone())


def _ranked(values: Array, images: Array) -> Array:
    """Order each row: the stronger first, of equals the lower image number; who is nobody last."""
    order: Array = np.lexsort((images, -values), axis=1)
    return order


def _places(output: Tensor, examples: Array, maps: Array) -> Array:
    """Find where some maps of some examples are strongest, (n, axes)."""
    if not output.is_contiguous():
        found: Array = positions_of_maxima(output[torch.from_numpy(examples), torch.from_numpy(maps)]).numpy()
        return found
    # As rows of memory, few enough at a time for a cache: that is several times as fast.
    planes, which = output.flatten(0, 1), torch.from_numpy(examples * output.shape[1] + maps).to(output.device)
    parts = torch.split(which, max(1, _CACHED // planes[0].numel()))
    return np.concatenate([positions_of_maxima(planes.index_select(0, part)).numpy() for part in parts])
