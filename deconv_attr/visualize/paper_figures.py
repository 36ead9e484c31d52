"""Figures 2 and 4 of the paper: the strongest projections of feature maps, and how they change during training.

Source: Zeiler and Fergus 2014, figures 2 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..errors import InputError
from .figure import Figure
from .page_layout import HINTING, broken, columns_for, short, show, text_height, text_width, write
from .paper import (
    FONT_SIZE,
    LIFT,
    MARGIN,
    WIDEST,
    check_layout,
    checked_axes,
    entitle,
    figure_of,
    mark_empty,
    note_below,
    note_left,
    width_of,
    write_zeros,
)
from .tile_page import MOST_MAPS, TilePage, Tiling, check_number
from .tiles import MapTiles
from .unit_input import checked_text

__all__ = ["MOST_CHECKPOINTS", "MOST_MAPS", "MOST_TILES", "evolution_figure", "gallery_figure"]

MOST_TILES = 100
"""How many projections of a feature map a page can hold."""

MOST_CHECKPOINTS = 32
"""How many checkpoints a page can hold."""

LEAST_TILE = 0.02  # inches: the smallest tile that is more than a dot
OUTSIDE = "; white: outside of the image"

SQUARE = 1.6  # inches: the side of a square of tiles, unless the page gets too wide
LEAST_SQUARE = 0.45  # inches, as long as nobody asks for so many columns
SEAM = 0.06  # inches between projections and patches
BETWEEN = 0.16  # inches between two blocks side by side
ROW_GAP = 0.12  # inches between a block and the label below it
SQUARES_NOTE = "left: projections, grey is zero, each with its own contrast; right: the image patches" + OUTSIDE
ZERO = "zero"
SQUARES_EMPTY = "not active in these images"

TILE = 1.0  # inches: the longer side of a tile, unless the page gets too wide
LEAST_TABLE = 2.5  # inches: on a narrower page, title and note would take many lines
TURNED = 1.0  # inches: the longest text that is turned
PAIR = 0.03  # inches between a projection and its patch
GAP = 0.08  # inches between two cells
TILES_NOTE = "each map's strongest unit at each checkpoint, projected: grey is zero, each with its own contrast"
PATCHES_NOTE = "; right of each: the image patch"
WORD = "activation "
VALUES_NOTE = "; below: the activation"
TILES_EMPTY = "not active"
LEAST_ZEROS = 0.5  # inches: a smaller tile of zeros is grey, without words


def gallery_figure(
    layer: str,
    maps: Sequence[MapTiles],
    k: int,
    facts: str = "",
    *,
    width: float | None = None,
    columns: int | None = None,
    font_size: float = FONT_SIZE,
    axes: Any = None,
) -> Figure:
    """Draw a block for each feature map: the projections of its strongest units in a square, beside their patches.

    Above each block are the map's number and its strongest activation. All tiles have one size, and the figure's
    pixels are as fine as they ask for: the largest tiles are magnified by a whole number, and shrunk only where a
    printer could not print them. What lies outside of an image stays white.

    Parameters
    ----------
    layer : str
        The layer's name, the title.
    maps : sequence of MapTiles
        1 to :data:`MOST_MAPS`. The block of a map without units is marked as not active.
    k : int
        The number of slots for the units of each map, 1 to :data:`MOST_TILES`, in the square with the fewest columns
        that holds them; a map may have fewer units, and of more the first k are drawn.
    facts : str
        The rest of the title, such as the number of maps.
    width : float, optional
        Of the figure in inches; by default at most 7, the width of a paper's text.
    columns : int, optional
        Blocks beside each other; by default those of a page of good shape.
    font_size : float
        Of all texts, in points.
    axes : sequence of Axes, optional
        The caller's axes, one for each map: on each both squares are drawn, below its label as the title. Nothing
        else is drawn on their figure.

    Returns
    -------
    Figure
        A new one, or that of the axes.

    Raises
    ------
    InputError
        If there are no maps, too many of them, if k is out of range, the page is too narrow for its columns, or
        both axes and a size of the page are given.
    """
    check_number(len(maps), MOST_MAPS, "feature maps")
    check_number(k, MOST_TILES, "units of each feature map")
    check_layout(axes, font_size, columns, width=width)
    title = "   ".join(text for text in (checked_text(layer, "a layer"), checked_text(facts, "facts")) if text)
    labels = [_label(tiles) for tiles in maps]
    if axes is None:
        return _Blocks(title, labels, maps, k, width, columns, font_size).figure
    given = checked_axes(np.ravel(np.asarray(axes, dtype=object)), (len(maps),), "one for each map")
    for own, tiles, label in zip(given, maps, labels, strict=True):
        _fill(own, Tiling(maps, k, width_of(own), SEAM), tiles)
        if not len(tiles):
            _say_empty(own, font_size)
        entitle(own, label, font_size)
    return figure_of(given)


def _label(tiles: MapTiles) -> str:
    return f"map {tiles.number}" + (f", strongest {short(tiles.values[0])}" if len(tiles) else "")


class _Blocks(TilePage):
    """A page of blocks of one size: below each label two squares of tiles."""

    def __init__(
        self,
        title: str,
        labels: Sequence[str],
        maps: Sequence[MapTiles],
        k: int,
        width: float | None,
        columns: int | None,
        font_size: float,
    ) -> None:
        usual = 2 * SQUARE + SEAM + BETWEEN
        columns = columns or min(
            columns_for(len(maps), usual, text_height("", font_size) + LIFT + SQUARE + ROW_GAP),
            max(1, int(((width or WIDEST) - 2 * MARGIN + BETWEEN) / (2 * LEAST_SQUARE + SEAM + BETWEEN))),
        )
        width = width or min(WIDEST, 2 * MARGIN + columns * usual - BETWEEN)
        across = (width - 2 * MARGIN + BETWEEN) / columns - BETWEEN
        tiling = _checked_tiling(Tiling(maps, k, across, SEAM), width, columns)
        if any(HINTING * text_width(label, font_size) > across for label in labels):
            labels = [label.replace(", ", ",\n") for label in labels]  # all of them alike
        labels = [broken(label, font_size, across) for label in labels]
        above = max(text_height(label, font_size) for label in labels) + LIFT
        reasons = [broken(SQUARES_EMPTY, font_size, across) for tiles in maps if not len(tiles)]
        height = max(tiling.height, *(text_height(reason, font_size) for reason in reasons), 0)
        step = above + height + ROW_GAP
        body = math.ceil(len(maps) / columns) * step - ROW_GAP
        super().__init__(title, SQUARES_NOTE, width, body, font_size, tiling)
        for number, (label, tiles) in enumerate(zip(labels, maps, strict=True)):
            row, column = divmod(number, columns)
            left = MARGIN + column * (across + BETWEEN)
            top = self.top + row * step + above
            self.write(left, top - LIFT, label, fontsize=font_size)
            if len(tiles):
                self.tiles(tiling.picture(tiles, self.dpi), left, top)
                self._name_zeros(tiling, tiles, left, top)
            else:
                slot = self.slot(left, top, across, height)
                mark_empty(slot)
                _say_empty(slot, font_size)

    def _name_zeros(self, tiling: Tiling, tiles: MapTiles, left: float, top: float) -> None:
        """Write into projections of zeros that they are, if there is space."""
        if HINTING * text_width(ZERO, self.font_size) > tiling.tile:
            return
        for rank, scale in enumerate(tiles.scales[: tiling.slots]):
            if scale == 0:
                across, down = tiling.middle(tiles, rank)
                half = text_height(ZERO, self.font_size) / 2
                self.write(left + across, top + down + half, ZERO, ha="center", fontsize=self.font_size)


def _checked_tiling(tiling: Tiling, width: float, columns: int) -> Tiling:
    if tiling.tile < LEAST_TILE:
        raise InputError(f"expected a width with room for tiles in columns={columns}, got {width:g} inches")
    return tiling


def evolution_figure(
    layer: str,
    labels: Sequence[str],
    columns: Sequence[Sequence[MapTiles]],
    *,
    patches: bool = False,
    width: float | None = None,
    font_size: float = FONT_SIZE,
    axes: Any = None,
) -> Figure:
    """Draw a row for each feature map and a column for each checkpoint: the strongest unit's projection there.

    All tiles have one size, and what lies outside of an image stays white, as in :func:`gallery_figure`.

    Parameters
    ----------
    layer : str
        The layer's name, the title.
    labels : sequence of str
        One for each checkpoint, 1 to 32; long ones are broken.
    columns : sequence of sequence of MapTiles
        For each checkpoint the same 1 to :data:`MOST_MAPS` feature maps in the same order, of which the first tile is
        drawn, and its activation written below it, or that the map is not active.
    patches : bool
        Whether each projection has its image patch on its right.
    width : float, optional
        Of the figure in inches; by default at most 7, the width of a paper's text.
    font_size : float
        Of all texts, in points.
    axes : array of Axes, optional
        The caller's axes, (maps, checkpoints). The labels are the titles of the first row, the maps' numbers stand
        left of the first column. Nothing else is drawn on their figure.

    Returns
    -------
    Figure
        A new one, or that of the axes.

    Raises
    ------
    InputError
        If there are no checkpoints or maps, too many of them, if labels, columns and maps do not fit together, the
        page is too narrow, or both axes and width are given.
    """
    maps = _checked_maps(labels, columns)
    check_layout(axes, font_size, width=width)
    rows = [f"map {number}" for number in maps]
    if axes is None:
        return _Table(checked_text(layer, "a layer"), rows, labels, columns, patches, width, font_size).figure
    given = checked_axes(axes, (len(maps), len(labels)), "one for each map and checkpoint")
    every = [tiles for column in columns for tiles in column]
    for (row, column), own in np.ndenumerate(given):
        tiles = columns[column][row]
        tiling = Tiling(every, 1, width_of(own), PAIR, patches)
        _fill(own, tiling, tiles)
        _annotate(own, tiling, tiles, _value(tiles, WORD), font_size)
        if row == 0:
            entitle(own, labels[column], font_size)
        if column == 0:
            note_left(own, rows[row], font_size)
    return figure_of(given)


def _fill(axes: Axes, tiling: Tiling, tiles: MapTiles) -> None:
    """Draw a map on the caller's axes, or an empty slot."""
    if len(tiles):
        show(axes, tiling.picture(tiles, tiling.dpi()))
    else:
        mark_empty(axes)


def _say_empty(axes: Axes, font_size: float) -> None:
    text = broken(SQUARES_EMPTY, font_size, width_of(axes))
    write(axes, 0.5, 0.5, text, ha="center", va="center", fontsize=font_size, color="dimgrey")


def _value(tiles: MapTiles, word: str) -> str:
    return word + short(tiles.values[0]) if len(tiles) else TILES_EMPTY


def _annotate(axes: Axes, tiling: Tiling, tiles: MapTiles, note: str, font_size: float, rotation: float = 0) -> None:
    """Write the activation below a cell, and into a projection of zeros that it is one."""
    note_below(axes, note, font_size, rotation)
    if len(tiles) and tiles.scales[0] == 0 and tiling.tile >= LEAST_ZEROS:
        write_zeros(axes, font_size, tiling.tile, 0.25 if tiling.patches else 0.5)


def _checked_maps(labels: Sequence[str], columns: Sequence[Sequence[MapTiles]]) -> list[int]:
    """Return the numbers of the feature maps."""
    check_number(len(columns), MOST_CHECKPOINTS, "checkpoints")
    if len(labels) != len(columns):
        raise InputError(f"expected {len(columns)} labels, one for each column, got {len(labels)}")
    maps = [tiles.number for tiles in columns[0]]
    check_number(len(maps), MOST_MAPS, "feature maps")
    for label, column in zip(labels, columns, strict=True):
        checked_text(label, "a label")
        if len(column) != len(maps):
            raise InputError(
                f"expected the same feature maps at each checkpoint, {len(maps)} of them, got {len(column)} at {label}"
            )
        for expected, tiles in zip(maps, column, strict=True):
            if tiles.number != expected:
                raise InputError(
                    f"expected one feature map in a row, got {expected} at {labels[0]} and {tiles.number} at {label}"
                )
    return maps


class _Texts:
    """Texts above or below cells of a width in inches: broken, or turned where short ones would be torn apart."""

    def __init__(self, texts: Sequence[str], width: float, font_size: float) -> None:
        widths = [HINTING * text_width(text, font_size) for text in texts]
        torn = any(HINTING * text_width(word, font_size) > width for text in texts for word in text.split())
        if torn and max(widths) <= TURNED:
            self.texts, self.rotation, self.height = list(texts), 90, max(widths)
        else:
            self.texts, self.rotation = [broken(text, font_size, width) for text in texts], 0
            self.height = max(text_height(text, font_size) for text in self.texts)


class _Table(TilePage):
    """A page of cells of one size, with labels left of the rows and above the columns."""

    def __init__(
        self,
        layer: str,
        rows: Sequence[str],
        labels: Sequence[str],
        columns: Sequence[Sequence[MapTiles]],
        patches: bool,
        width: float | None,
        font_size: float,
    ) -> None:
        every = [tiles for column in columns for tiles in column]
        self.aside = HINTING * max(text_width(row, font_size) for row in rows) + GAP
        usual = (2 * TILE + PAIR if patches else TILE) + GAP
        filled = width or min(WIDEST, 2 * MARGIN + self.aside + len(labels) * usual - GAP)
        self.across = (filled - 2 * MARGIN - self.aside + GAP) / len(labels) - GAP
        self.tiling = _checked_tiling(Tiling(every, 1, self.across, PAIR, patches), filled, len(labels))
        named = all(HINTING * text_width(_value(tiles, WORD), font_size) <= self.across for tiles in every)
        self.heads = _Texts(labels, self.across, font_size)
        self.values = _Texts([_value(tiles, WORD if named else "") for tiles in every], self.across, font_size)
        self.above = self.heads.height + LIFT
        below = self.values.height + LIFT
        self.step = self.tiling.height + below + GAP
        note = TILES_NOTE + (PATCHES_NOTE if patches else "") + OUTSIDE + ("" if named else VALUES_NOTE)
        body = self.above + len(rows) * self.step - GAP
        super().__init__(layer, note, width or max(filled, LEAST_TABLE), body, font_size, self.tiling)
        self._write_names(rows)
        for number, (tiles, value) in enumerate(zip(every, self.values.texts, strict=True)):
            column, row = divmod(number, len(rows))
            self._draw(tiles, value, *self._corner(row, column))

    def _write_names(self, rows: Sequence[str]) -> None:
        for number, head in enumerate(self.heads.texts):
            left, top = self._corner(0, number)
            look = {"ha": "center", "rotation": self.heads.rotation}
            self.write(left + self.across / 2, top - LIFT, head, fontsize=self.font_size, **look)
        for number, row in enumerate(rows):
            left, top = self._corner(number, 0)
            middle = top + (self.tiling.height + text_height(row, self.font_size)) / 2
            self.write(left - GAP, middle, row, ha="right", fontsize=self.font_size)

    def _draw(self, tiles: MapTiles, value: str, left: float, top: float) -> None:
        """Fill a cell with a projection, its patch if there is one, and its activation below; or mark it as empty."""
        if len(tiles):
            picture = self.tiling.picture(tiles, self.dpi)
            axes = self.tiles(picture, left + (self.across - picture.shape[1] / self.dpi) / 2, top)
        else:
            axes = self.slot(left, top, self.across, self.tiling.height)
            mark_empty(axes)
        _annotate(axes, self.tiling, tiles, value, self.font_size, self.values.rotation)

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        return (
            MARGIN + self.aside + column * (self.across + GAP),
            self.top + self.above + row * self.step,
        )
