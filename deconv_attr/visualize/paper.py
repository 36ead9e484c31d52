"""What figures for a paper share: the width, one size of all texts, how fine pixels are, and the caller's own axes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..errors import InputError
from .figure import Figure
from .page_layout import text_width, write
from .tiles import Corners

__all__ = [
    "EMPTY",
    "FONT_SIZE",
    "LIFT",
    "MARGIN",
    "SMALL",
    "WIDEST",
    "Sizes",
    "check_layout",
    "checked_axes",
    "dots_per_inch",
    "entitle",
    "figure_of",
    "fine_dpi",
    "mark_empty",
    "note_below",
    "note_inside",
    "note_left",
    "outline",
    "outline_box",
    "width_of",
    "write_zeros",
]

WIDEST = 7.0
"""Inches: the text of a page in a paper; no figure is wider, unless asked for."""

FONT_SIZE = 8.0
"""Points, of texts."""

SMALL = 7.0
"""Points, of notes beside larger texts; below 6, letters are hard to read in print."""

MARGIN = 0.05
"""Inches around a page."""

LIFT = 0.03
"""Inches between a tile and a text above or below it."""

LEAST_DPI = 150  # pixels per inch
FINE_DPI = 300  # of a small figure whose tiles are not shown pixel for pixel
FINE_PIXELS = 2e7  # of such a figure; a larger one has fewer pixels per inch, down to the least
MOST_DPI = 600  # a printer's
PAGE_PIXELS = 25e6  # pixels of a figure: a whole page of a paper in print
POINTS = 2  # LIFT, nearly
ZEROS = "zero everywhere"
EMPTY = "0.95"  # the grey of an empty slot


def check_layout(axes: Any, font_size: Any, columns: Any = None, **inches: Any) -> None:
    """Raise an InputError for a size that is none, or that is asked for beside the caller's own axes."""
    inches = {name: size for name, size in inches.items() if size is not None}
    for name, size in {"font_size": font_size, **inches}.items():
        if not isinstance(size, Real) or not 0 < float(size) < math.inf:
            unit = "inches" if name in inches else "points"
            raise InputError(f"expected {name} as a positive number of {unit}, got {size!r:.80}")
    if columns is not None and not (isinstance(columns, Integral) and int(columns) > 0):
        raise InputError(f"expected columns as a number of at least 1, got {columns!r:.80}")
    if {"width", "tile"} <= inches.keys():
        raise InputError("expected width or tile, got both")
    sizes = [*inches, *(["columns"] if columns is not None else [])]
    if axes is not None and sizes:
        raise InputError(f"expected axes or {sizes[0]}, got both")


def checked_axes(axes: Any, shape: tuple[int, ...], what: str) -> NDArray[np.object_]:
    """Return the caller's axes as an array of a shape, in which dimensions of 1 may be missing.

    Raises
    ------
    InputError
        If they have another shape, or are none of matplotlib's.
    """
    given = np.asarray(axes, dtype=object)
    if [size for size in given.shape if size > 1] != [size for size in shape if size > 1]:
        raise InputError(f"expected axes of the shape {shape}, {what}, got {given.shape}")
    other = [each for each in given.flat if not isinstance(each, Axes)]
    if other:
        raise InputError(f"expected axes of matplotlib, {what}, got a {type(other[0]).__name__}")
    return given.reshape(shape)


def figure_of(axes: Axes | NDArray[np.object_]) -> Figure:
    """Return the caller's figure."""
    first: Any = axes if isinstance(axes, Axes) else axes.flat[0]
    return cast(Figure, first.figure.figure)  # of a subfigure, the whole one


def dots_per_inch(sides: Iterable[int], inches: float, area: float) -> int:
    """Return the pixels per inch at which the largest picture has a whole number of the figure's pixels for each own.

    Parameters
    ----------
    sides : iterable of int
        The longer sides of pictures in pixels.
    inches : float
        The length at which each of them is shown.
    area : float
        Of the figure, in square inches; big pictures on a big figure are shrunk.
    """
    largest = max(sides, default=1)
    times = math.ceil(LEAST_DPI * inches / largest)
    return max(1, min(math.ceil(times * largest / inches), MOST_DPI, int(math.sqrt(PAGE_PIXELS / area))))


def fine_dpi(width: float, height: float) -> float:
    """Return the pixels per inch of a figure: of a small one more, so that its tiles keep the pixels of images."""
    return min(FINE_DPI, max(LEAST_DPI, math.floor(math.sqrt(FINE_PIXELS / (width * height)))))


@dataclass(frozen=True)
class Sizes:
    """What a caller has chosen of a figure's sizes, in inches and points; None: what is usual."""

    width: float | None = None
    tile: float | None = None
    font_size: float | None = None

    @property
    def font(self) -> float:
        """The size of texts in points."""
        return FONT_SIZE if self.font_size is None else self.font_size

    @property
    def small(self) -> float:
        """The size of notes in points."""
        return SMALL if self.font_size is None else self.font_size


def mark_empty(axes: Axes) -> None:
    """Mark an empty slot."""
    axes.set(xticks=[], yticks=[], facecolor=EMPTY)
    axes.spines[:].set_visible(False)


def write_zeros(axes: Axes, font_size: float, room: float, x: float = 0.5) -> None:
    """Write into the middle of a tile that its projection is zero everywhere.

    Parameters
    ----------
    axes : Axes
        Of the tile.
    font_size : float
        Points.
    room : float
        The width of the tile in inches; in a narrow one, each word has its line.
    x : float
        The middle of the tile, in widths of the axes.
    """
    text = ZEROS if text_width(ZEROS, font_size) <= room else ZEROS.replace(" ", "\n")
    write(axes, x, 0.5, text, ha="center", va="center", fontsize=font_size)


def note_below(axes: Axes, text: str, font_size: float, rotation: float = 0) -> None:
    """Write centred below a tile."""
    _annotate(axes, text, (0.5, 0), (0, -POINTS), ha="center", va="top", fontsize=font_size, rotation=rotation)


def note_left(axes: Axes, text: str, font_size: float) -> None:
    """Write left of a tile."""
    _annotate(axes, text, (0, 0.5), (-2 * POINTS, 0), ha="right", va="center", fontsize=font_size)


def note_inside(axes: Axes, text: str, font_size: float) -> None:
    """Write into the lower left corner of a tile, where the caller's own figure may be full around it."""
    look = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}
    write(axes, 0.03, 0.03, text, ha="left", va="bottom", fontsize=font_size, bbox=look)


def outline(axes: Axes, box: Corners, colour: str, points: float) -> None:
    """Draw a box along the borders of pixels, whole even at the image's own border, where half the line is outside."""
    top, left, bottom, right = box
    corner, width, height = (left - 0.5, top - 0.5), right - left, bottom - top
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=points, clip_on=False))


def outline_box(axes: Axes, box: Corners) -> None:
    """Draw a box into an image: light on dark is visible on any picture."""
    outline(axes, box, "black", 2.4)
    outline(axes, box, "yellow", 1.1)


def entitle(axes: Axes, text: str, font_size: float) -> None:
    """Write a title above axes; dollars in it begin no formula."""
    axes.set_title(text, fontsize=font_size, pad=4, parse_math=False)


def _annotate(axes: Axes, text: str, edge: tuple[float, float], shift: tuple[float, float], **look: Any) -> None:
    """Write at an edge of a tile, some points away; the tile may get another size when the figure is drawn."""
    axes.annotate(text, edge, shift, xycoords="axes fraction", textcoords="offset points", parse_math=False, **look)


def width_of(axes: Axes) -> float:
    """Return the width of axes in inches."""
    return float(axes.get_window_extent().width / axes.figure.dpi)
