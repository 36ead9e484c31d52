"""The eight outlines, as signed distances, and the share of each pixel that they cover.

A shape is the set of points whose signed distance ``d`` is negative, in units of the radius of the circle
around it, which none of them leaves. An edge of one pixel is anti-aliased by
``coverage = clip(1/2 - radius * d, 0, 1)``.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASS_NAMES", "SIZE", "Grid", "cover", "turn"]

Grid = NDArray[np.float32]

SIZE = 96
"""Height and width of an image, in pixels."""

_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE].astype(np.float32)


def _fold(x: Grid, y: Grid, sectors: int) -> tuple[Grid, Grid]:
    """Mirror the plane into half of one of `sectors` equal sectors, the one along the x axis."""
    wedge = 2 * np.pi / sectors
    angle = np.arctan2(y, x)
    angle -= wedge * np.round(angle / wedge)
    length = _length(x, y)
    return length * np.cos(angle), length * np.abs(np.sin(angle))


def _length(x: Grid, y: Grid) -> Grid:
    length: Grid = np.hypot(x, y)
    return length


def _disc(x: Grid, y: Grid) -> Grid:
    return _length(x, y) - 1


def _ring(x: Grid, y: Grid) -> Grid:
    distance: Grid = np.abs(_length(x, y) - 0.78) - np.float32(0.22)
    return distance


def _square(x: Grid, y: Grid) -> Grid:
    distance: Grid = np.maximum(np.abs(x), np.abs(y)) - np.sqrt(0.5, dtype=np.float32)
    return distance


def _triangle(x: Grid, y: Grid) -> Grid:
    # Folded about the middle of a side, which lies half a radius from the centre.
    along, _ = _fold(x, y, 3)
    return along - 0.5


def _cross(x: Grid, y: Grid) -> Grid:
    x = np.abs(x)
    y = np.abs(y)
    distance: Grid = np.maximum(np.maximum(x, y) - 0.96, np.minimum(x, y) - 0.28)
    return distance


def _star(x: Grid, y: Grid) -> Grid:
    along, across = _fold(x, y, 5)
    # The line from the tip (1, 0) to the notch, 0.42 from the centre and half a sector further.
    notch_x = 0.42 * math.cos(math.pi / 5)
    notch_y = 0.42 * math.sin(math.pi / 5)
    side = math.hypot(1 - notch_x, notch_y)
    distance: Grid = notch_y / side * (along - 1) + (1 - notch_x) / side * across
    return distance


def _crescent(x: Grid, y: Grid) -> Grid:
    distance: Grid = np.maximum(_length(x, y) - 1, 0.8 - _length(x - 0.45, y))
    return distance


def _heart(x: Grid, y: Grid) -> Grid:
    # A square of side 1.1 on its corner, a half disc on each of its two upper sides.
    half = 0.55
    y = y - 0.2
    diamond = (np.abs(x) + np.abs(y)) * np.sqrt(0.5, dtype=np.float32) - half
    lobe = half / np.sqrt(2, dtype=np.float32)
    distance: Grid = np.minimum(diamond, _length(np.abs(x) - lobe, y + lobe) - half)
    return distance


_OUTLINES: dict[str, Callable[[Grid, Grid], Grid]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "crescent": _crescent,
    "heart": _heart,
}

CLASS_NAMES = tuple(_OUTLINES)
"""The classes in the order of the model's scores."""


def turn(row: float, column: float, angle: float) -> tuple[Grid, Grid]:
    """Return pixel coordinates (right, down) about a point, turned by `angle` radians."""
    x = _COLUMNS - np.float32(column)
    y = _ROWS - np.float32(row)
    cos = np.float32(np.cos(angle))
    sin = np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def cover(name: str, row: float, column: float, radius: float, angle: float) -> Grid:
    """Return the share of each pixel that a shape covers.

    Parameters
    ----------
    name
        One of ``CLASS_NAMES``.
    row, column, radius
        Centre and radius of the circle around the shape, in pixels.
    angle
        Clockwise turn, in radians.

    Returns
    -------
    Grid
        ``(96, 96)``, from 0 to 1.
    """
    x, y = turn(row, column, angle)
    unit = np.float32(radius)
    coverage: Grid = np.clip(0.5 - unit * _OUTLINES[name](x / unit, y / unit), 0, 1)
    return coverage
