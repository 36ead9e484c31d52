"""The tiles of one feature map: its strongest units as pictures of one size, projections beside image patches.

Figures and pages of a gallery consist of these; they are arrays of bytes, without tensors or a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bytes", "MapTiles", "montage"]

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MapTiles:
    """The n strongest units of one feature map, strongest first; none if the map was never active.

    Parameters
    ----------
    layer : str
        The layer's name.
    number : int
        The number of the feature map.
    values : list of float
        n activations.
    images : list of int
        The number of each unit's image.
    positions : list of tuple
        Row and column of each unit in the layer.
    boxes : list of tuple
        What each tile shows of its image: top, left, bottom, right in pixels, half open, clipped to the image.
    projections, patches : ndarray
        (n, h, w, 3), bytes. All windows have one size; the part of a window outside its image is mid-grey.
    """

    layer: str
    number: int
    values: list[float]
    images: list[int]
    positions: list[tuple[int, ...]]
    boxes: list[tuple[int, int, int, int]]
    projections: Bytes
    patches: Bytes

    def __len__(self) -> int:
        return len(self.values)


def montage(pictures: Bytes, slots: int, gap: int, colour: tuple[int, int, int]) -> Bytes:
    """Return pictures in a square grid, row by row.

    Parameters
    ----------
    pictures : ndarray
        (n, h, w, 3), n >= 1.
    slots : int
        The number of slots, at least n; the grid has the fewest columns whose square holds them.
    gap : int
        Pixels between two pictures.
    colour : tuple of int
        Red, green and blue of gaps and empty slots.

    Returns
    -------
    ndarray
        (rows * h + gaps, columns * w + gaps, 3), bytes.
    """
    columns = math.isqrt(slots - 1) + 1
    rows = math.ceil(slots / columns)
    _, height, width, _ = pictures.shape
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), colour, dtype=np.uint8)
    for slot, picture in enumerate(pictures):
        row, column = divmod(slot, columns)
        top = row * (height + gap)
        left = column * (width + gap)
        grid[top : top + height, left : left + width] = picture
    return grid
