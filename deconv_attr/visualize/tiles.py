"""The tiles of one feature map: its strongest units as pictures of one size, projections beside image patches.

Figures and pages of a gallery consist of these; they are arrays of bytes, without tensors or a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Bytes", "Corners", "MapTiles", "columns_of", "fit", "montage", "squares"]

Bytes = NDArray[np.uint8]
"""A picture as bytes: (H, W, 3), or (H, W) in grey, from 0 to 255."""

Colour = tuple[int, int, int]
Corners = tuple[int, int, int, int]
"""A box: top, left, bottom, right in pixels, half open: the rows ``top ... bottom - 1``."""

SHARP = 3  # times: from here on, magnified pixels keep their edges, though some are wider than others by one


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
    scales : list of float
        The magnitude that each projection has full contrast at; 0.0 for a projection of zeros.
    images : list of int
        The number of each unit's image.
    positions : list of tuple
        Row and column of each unit in the layer.
    boxes : list of tuple
        What each tile shows of its image: top, left, bottom, right in pixels, half open, clipped to the image.
    insides : list of tuple
        The same box in the pixels of the tile. The rest of a tile lies outside of its image and is not drawn.
    projections, patches : ndarray
        (n, h, w, 3), bytes; mid-grey outside of the image.
    """

    layer: str
    number: int
    values: list[float]
    scales: list[float]
    images: list[int]
    positions: list[tuple[int, ...]]
    boxes: list[Corners]
    insides: list[Corners]
    projections: Bytes
    patches: Bytes

    def __len__(self) -> int:
        return len(self.values)


def columns_of(slots: int) -> int:
    """Return the fewest columns whose square holds so many slots."""
    return math.isqrt(slots - 1) + 1


def fit(height: int, width: int, longer: int) -> tuple[int, int]:
    """Return height and width of a tile whose longer side is so many pixels."""
    scale = longer / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


def squares(
    tiles: MapTiles, slots: int, longer: int, gap: int, seam: int, colour: Colour, *, patches: bool = True
) -> Bytes:
    """Return a map's projections in a square and, `seam` pixels to the right, its patches in another.

    Parameters
    ----------
    tiles : MapTiles
        n >= 1 units.
    slots, gap, colour
        As for :func:`montage`; of more than `slots` units the first are shown.
    longer : int
        The longer side of a tile in pixels.
    patches : bool
        Whether there is the second square.
    """
    _, height, width, _ = tiles.projections.shape
    left, right = (
        montage(pictures[:slots], tiles.insides, fit(height, width, longer), slots, gap, colour)
        for pictures in (tiles.projections, tiles.patches)
    )
    between = np.full((len(left), seam, 3), colour, dtype=np.uint8)
    return np.concatenate([left, between, right], axis=1) if patches else left


def montage(
    pictures: Bytes, insides: Sequence[Corners], size: tuple[int, int], slots: int, gap: int, colour: Colour
) -> Bytes:
    """Return pictures in a square grid, row by row; of each only what lies in its image.

    Parameters
    ----------
    pictures : ndarray
        (n, h, w, 3), n >= 1.
    insides : sequence of tuple
        For each picture the part that is drawn; see :class:`MapTiles`.
    size : tuple of int
        Height and width of a picture in the grid.
    slots : int
        The number of slots, at least n, in the columns of :func:`columns_of`.
    gap : int
        Pixels between two pictures.
    colour : tuple of int
        Red, green and blue of gaps, empty slots and what lies outside of an image.

    Returns
    -------
    ndarray
        (rows * height + gaps, columns * width + gaps, 3), bytes.
    """
    columns = columns_of(slots)
    rows = math.ceil(slots / columns)
    height, width = size
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), colour, dtype=np.uint8)
    scales = np.tile([height / pictures.shape[1], width / pictures.shape[2]], 2)
    for slot, (picture, inside) in enumerate(zip(pictures, insides, strict=False)):
        row, column = divmod(slot, columns)
        top, left, bottom, right = inside
        first, begin, last, end = (scales * inside).round().astype(int)
        if first < last and begin < end:
            down = row * (height + gap)
            across = column * (width + gap)
            part = _resized(picture[top:bottom, left:right], last - first, end - begin)
            grid[down + first : down + last, across + begin : across + end] = part
    return grid


def _resized(picture: Bytes, height: int, width: int) -> Bytes:
    """Return a picture of another size: magnified pixels stay sharp, unless they would look uneven."""
    uneven = any(new % old and new < SHARP * old for new, old in zip((height, width), picture.shape[:2], strict=True))
    resampling = Image.Resampling.BICUBIC if uneven else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), resampling))
