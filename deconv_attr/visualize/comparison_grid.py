"""A grid of several methods side by side: a row for each image, a column for each method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from torch import Tensor

from ..errors import InputError
from .figure import Figure
from .page_layout import (
    BAR,
    DPI,
    GAP,
    HINTING,
    NARROWEST,
    SCALE,
    TICKS,
    Page,
    broken,
    fitted,
    line_height,
    show,
    text_width,
    write,
    write_below,
)
from .pictures import Style, coloured, in_bytes, photograph, robust_scale, style_named
from .tile_page import text_height

__all__ = ["Column", "comparison_figure"]

TILE = 2.1  # inches: the longer side of a tile, up to ROWS rows and COLUMNS columns
ROWS = 12
COLUMNS = 7
SMALLEST = 0.7  # inches: the least longer side of a tile
SHORTEST = 0.35  # inches: the least shorter side of a tile
WORD = 1.3  # inches: the most to which a narrow column is widened, so that no title is broken within a word
LABELS = (1.45, 2.2, 3.0)  # inches: labels are as narrow as the height of their rows allows
ABOVE = 0.12  # inches above the titles
BELOW = 0.03  # inches below the titles
MARGIN = 0.08  # inches in a tile, left of and right of a text together
LARGE = 10  # points of titles and labels, for tiles of at least BROAD
SMALL = 8  # points of titles and labels, for narrower tiles
BROAD = 1.2  # inches
NOTES = (10, 8, 7)  # points: a text in a tile has the first of them in which it fits
NOTE = "x-small"  # of colour bars
NUMBERS = 1.6  # inches: the narrowest column with numbers below its bar
PIXELS = 65500  # on a side, the most of a JPEG; older versions of matplotlib stop at 2 ** 16
EMPTY = "0.95"  # the grey of an empty tile
FAILED = "error"


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a comparison: a title, maps ``(N, C, H, W)``, and how they are drawn.

    A ``"signed"`` column shows :func:`signed_rgb`, a ``"heat"`` column :func:`heat`. A method that failed has no
    maps; its column shows the error.
    """

    title: str
    maps: Tensor | None
    style: Literal["signed", "heat"] = "signed"
    error: str = ""


def comparison_figure(
    images: Tensor, columns: Sequence[Column], labels: Sequence[str], shared_scale: bool = False
) -> Figure:
    """Draw a grid: a row for each image, the image itself in the first column, then the methods.

    Scales are never shared between methods: a deconvnet's signal is no gradient, and is orders of magnitude
    larger or smaller. Nor, by default, between rows: on trained SqueezeNet the top class's DeconvNet maps
    differ by a factor of 40 from photograph to photograph, guided backprop's by 8, and under one scale the
    weak ones are plain grey. A map of zeros is marked as such. With more than 12 images or 6 methods, tiles
    get smaller.

    Parameters
    ----------
    images : Tensor
        ``(N, 3, H, W)`` or ``(N, 1, H, W)``, between 0 and 1.
    columns : sequence of Column
        One for each method, with N maps each, or with an error.
    labels : sequence of str
        N texts, written left of the rows; long lines are broken, and cut only where they outgrow the row.
    shared_scale : bool
        Whether all rows of a column share the scale that its colour bar shows, so that rows can be compared.
        Otherwise every map has its own scale, written below it, and the bar is in units of it.

    Raises
    ------
    InputError
        If the numbers of images, maps and labels differ, an image or a map cannot be drawn, or the picture would have
        more pixels than a file can hold.
    """
    _check(images, columns, labels)
    aspect = images.shape[-1] / images.shape[-2]
    grid = _Grid(aspect, ["image", *(column.title for column in columns)], labels, shared_scale)
    for row, image in enumerate(images):
        try:
            show(grid.tile(row, 0), in_bytes(photograph(image)))
        except InputError as error:
            raise InputError(f"image {row}: {error}") from error
    for number, column in enumerate(columns, start=1):
        if column.maps is None:
            grid.fail(number, column.error or "no maps")
            continue
        try:
            _draw_column(grid, number, column, column.maps, shared_scale)
        except InputError as error:
            raise InputError(f"{column.title}: {error}") from error
    return grid.figure


def _check(images: Tensor, columns: Sequence[Column], labels: Sequence[str]) -> None:
    if images.ndim != 4 or not images.numel():
        raise InputError(
            f"expected at least one image, of shape (N, 3, H, W) or (N, 1, H, W), got {tuple(images.shape)}"
        )
    rows = len(images)
    numbers = [("labels", len(labels))]
    for column in columns:
        if column.maps is not None:
            numbers.append((f"{column.title} maps", len(column.maps)))
            if column.maps.ndim != 4:
                raise InputError(f"expected {column.title} maps (N, C, H, W), got {tuple(column.maps.shape)}")
    for what, number in numbers:
        if number != rows:
            raise InputError(f"expected {rows} {what} for {rows} images, got {number}")


def _draw_column(grid: _Grid, number: int, column: Column, maps: Tensor, shared_scale: bool) -> None:
    style = style_named(column.style)
    shared = robust_scale(style.measure(maps)) if shared_scale else None
    for row, attribution in enumerate(maps):
        own = robust_scale(style.measure(attribution))
        tile = grid.tile(row, number)
        show(tile, coloured(attribution, column.style, own if shared is None else shared))
        if own == 0:
            grid.note(tile, "zero everywhere", grid.width, "white" if column.style == "heat" else "black")
        elif shared is None:
            write_below(tile, f"s = {own:.2g}")
    grid.bar_below(number, style, shared)


class _Grid(Page):
    """Tiles with labels on the left, titles above and a row of colour bars below.

    Parameters
    ----------
    aspect : float
        Width over height of the tiles.
    titles : sequence of str
        One for each column; all of them are written in full, on several lines if necessary.
    labels : sequence of str
        One for each row.
    shared_scale : bool
        Whether scales are written below the bars; otherwise below each tile.
    """

    def __init__(self, aspect: float, titles: Sequence[str], labels: Sequence[str], shared_scale: bool) -> None:
        side = max(SMALLEST, TILE * math.sqrt(min(1, ROWS / len(labels), COLUMNS / len(titles))))
        side = max(side, min(TILE, SHORTEST * max(aspect, 1 / aspect)))
        self.width = side * min(aspect, 1.0)
        self.height = side / max(aspect, 1.0)
        self.rows = len(labels)
        self.step = self.height + GAP + (0 if shared_scale else SCALE)
        size = LARGE if self.width >= BROAD else SMALL
        self.slot = max(self.width, NARROWEST, min(HINTING * _longest_word(titles, size), WORD))
        titles = [broken(title, size, self.slot) for title in titles]
        self.head = ABOVE + max(text_height(title, size) for title in titles) + BELOW
        self.noted = shared_scale and self.slot < NUMBERS
        foot = BAR + TICKS + (line_height(NOTE) if self.noted else 0)
        _check_number("images", len(labels), PIXELS / DPI - self.head - foot, self.step)
        labels = _broken_labels(labels, size, self.step - BELOW)
        self.aside = HINTING * max(text_width(label, size) for label in labels) + 2 * GAP
        _check_number("methods", len(titles) - 1, PIXELS / DPI - self.aside - self.slot - GAP, self.slot + GAP)
        super().__init__(self.aside + len(titles) * (self.slot + GAP), self.head + self.rows * self.step + foot)
        for column, title in enumerate(titles):
            self.write(self._left(column) + self.slot / 2, self.head - BELOW, title, ha="center", fontsize=size)
        for row, label in enumerate(labels):
            middle = self._top(row) + (self.height + text_height(label, size)) / 2
            self.write(self.aside - GAP, middle, label, ha="right", fontsize=size)

    def tile(self, row: int, column: int) -> Axes:
        """Return the axes of one tile."""
        left = self._left(column) + (self.slot - self.width) / 2
        return self.axes(left, self._top(row), self.width, self.height)

    def fail(self, column: int, error: str) -> None:
        """Fill a column with empty tiles, and write the error into the first one."""
        for row in range(self.rows):
            tile = self.axes(self._left(column), self._top(row), self.slot, self.height)
            tile.set(xticks=[], yticks=[], facecolor=EMPTY)
            tile.spines[:].set_visible(False)
            self.note(tile, FAILED if row else error, self.slot, "dimgrey")

    def note(self, tile: Axes, text: str, width: float, colour: str) -> None:
        """Write into the middle of a tile, as large as it fits."""
        text, size = fitted(text, NOTES, width - MARGIN, self.height - MARGIN)
        write(tile, 0.5, 0.5, text, ha="center", va="center", color=colour, fontsize=size)

    def bar_below(self, column: int, style: Style, scale: float | None) -> None:
        """Draw the colour bar of a column; a narrow one has no numbers, and its scale is written below it."""
        left = self._left(column)
        top = self._top(self.rows)
        if scale and self.noted:
            self.bar(style, None, left, top, self.slot, f"\ns = {scale:.2g}")
        else:
            self.bar(style, scale, left, top, self.slot)

    def _left(self, column: int) -> float:
        return self.aside + column * (self.slot + GAP)

    def _top(self, row: int) -> float:
        return self.head + row * self.step


def _longest_word(titles: Sequence[str], size: float) -> float:
    """Return the width in inches."""
    return max(text_width(word, size) for title in titles for word in [*title.split(), ""])


def _check_number(what: str, count: int, space: float, step: float) -> None:
    most = int(space / step)
    if count > most:
        raise InputError(
            f"expected at most {most} {what} of this shape, which fill the {PIXELS} pixels that a picture has on a "
            f"side, got {count}"
        )


def _broken_labels(labels: Sequence[str], size: float, height: float) -> list[str]:
    texts: dict[str, str] = {}
    for width in LABELS:
        texts = {label: broken(label, size, width) for label in set(labels)}
        if all(text_height(text, size) <= height for text in texts.values()):
            break
    else:
        texts = {label: fitted(label, [size], LABELS[-1], height)[0] for label in texts}
    return [texts[label] for label in labels]
