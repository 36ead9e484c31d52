"""Figures 2 and 4 of the paper: the strongest projections of feature maps, and how they change during training.

Source: Zeiler and Fergus 2014, figures 2 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InputError
from .figure import Figure
from .page_layout import (
    BETWEEN,
    DPI,
    GAP,
    LABEL_SIZE,
    NARROWEST,
    SCALE,
    broken,
    columns_for,
    short,
    text_height,
    text_width,
    write_below,
)
from .tile_page import LOWEST, MOST_MAPS, Scaled, TilePage, check_number
from .tiles import MapTiles
from .unit_input import checked_text

__all__ = ["MOST_CHECKPOINTS", "MOST_MAPS", "MOST_TILES", "evolution_figure", "gallery_figure"]

MOST_TILES = 100
"""How many projections of a feature map a page can hold."""

MOST_CHECKPOINTS = 32
"""How many checkpoints a page can hold."""

SQUARE = 240  # pixels: the side that a square of small tiles is magnified to, nearly
SQUARES_NOTE = "left: projections, each around mid-grey with its own contrast; right: the image patches"
SQUARES_EMPTY = "not active in these images"
LIFT = 0.03  # inches, of a label above its block

TILE = 150  # pixels: the longer side that small tiles are magnified to, nearly
TILES_NOTE = "projections of each map's strongest unit at each checkpoint, around mid-grey with their own contrast"
PATCHES_NOTE = "; right of each: the image patch"
VALUES_NOTE = "; below: the activation"
TILES_EMPTY = "not active"
EMPTY_SIZE = 7  # points
PAIR = 0.03  # inches between a projection and its patch


def gallery_figure(layer: str, maps: Sequence[MapTiles], k: int, facts: str = "") -> Figure:
    """Draw a block for each feature map: the projections of its strongest units in a square, beside their patches.

    Above each block are the map's number and its strongest activation. Tiles are sharp: small ones are magnified by
    a whole number; only big ones on a page of many are shrunk.

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

    Raises
    ------
    InputError
        If there are no maps, too many of them, or if k is no such number.
    """
    check_number(len(maps), MOST_MAPS, "feature maps")
    check_number(k, MOST_TILES, "units of each feature map")
    title = "   ".join(text for text in (checked_text(layer, "a layer"), checked_text(facts, "facts")) if text)
    blocks = [[Scaled(tiles, k, SQUARE, 2 * len(maps)) for tiles in (m.projections, m.patches) if len(m)] for m in maps]
    page = _Blocks(title, [_label(tiles) for tiles in maps], blocks)
    for number, block in enumerate(blocks):
        page.draw(number, block)
    return page.figure


def _label(tiles: MapTiles) -> str:
    return f"map {tiles.number}" + (f"   {short(tiles.values[0])}" if len(tiles) else "")


def _slot(tiles: Sequence[Scaled], pixels: int) -> tuple[float, float]:
    """Return width and height in inches that hold each of some tiles; without tiles, those of so many pixels."""
    width = max((tile.width for tile in tiles), default=pixels / DPI)
    height = max((tile.height for tile in tiles), default=pixels / DPI)
    return width, max(LOWEST, height)


class _Blocks(TilePage):
    """A page of blocks of one size: below each label two squares of tiles."""

    def __init__(self, title: str, labels: Sequence[str], blocks: Sequence[Sequence[Scaled]]) -> None:
        width, self.height = _slot([square for block in blocks for square in block], SQUARE)
        self.width = max(NARROWEST, width)
        self.across = self.width + GAP + self.width
        self.labels = [broken(label, LABEL_SIZE, self.across) for label in labels]
        self.above = max(text_height(label, LABEL_SIZE) for label in self.labels)
        self.step = self.above + self.height + BETWEEN
        self.columns = columns_for(len(labels), self.across + BETWEEN, self.step)
        rows = math.ceil(len(labels) / self.columns)
        super().__init__(
            title, SQUARES_NOTE, self.columns * (self.across + BETWEEN) - BETWEEN, rows * self.step - BETWEEN
        )

    def draw(self, number: int, squares: Sequence[Scaled]) -> None:
        """Fill a block with its label and its two squares, or mark it as empty."""
        row, column = divmod(number, self.columns)
        left = GAP + column * (self.across + BETWEEN)
        top = self.top + row * self.step + self.above
        self.write(left, top - LIFT, self.labels[number], fontsize=LABEL_SIZE)
        for i, square in enumerate(squares):
            self.show(square, left + i * (self.width + GAP), top, self.width, self.height)
        if not squares:
            self.empty(SQUARES_EMPTY, LABEL_SIZE, left, top, self.across, self.height)


def evolution_figure(
    layer: str, labels: Sequence[str], columns: Sequence[Sequence[MapTiles]], *, patches: bool = False
) -> Figure:
    """Draw a row for each feature map and a column for each checkpoint: the strongest unit's projection there.

    Parameters
    ----------
    layer : str
        The layer's name, the title.
    labels : sequence of str
        One for each checkpoint, 1 to :data:`MOST_CHECKPOINTS`; long ones are broken.
    columns : sequence of sequence of MapTiles
        For each checkpoint the same 1 to :data:`MOST_MAPS` feature maps in the same order, of which the first tile is
        drawn, and its activation written below it; the tile of a map without units is marked as not active.
    patches : bool
        Whether each projection has its image patch on its right.

    Raises
    ------
    InputError
        If there are no checkpoints or maps, too many of them, or if labels, columns and maps do not fit together.
    """
    maps = _checked_maps(labels, columns)
    shown = 2 if patches else 1
    pictures = shown * len(labels) * len(maps)
    cells = [[_scaled(tiles, shown, pictures) for tiles in column] for column in columns]
    slot = _slot([tile for column in cells for cell in column for tile in cell], TILE)
    page = _Table(layer, [f"map {number}" for number in maps], labels, slot, shown)
    for number, column in enumerate(columns):
        for row, tiles in enumerate(column):
            page.draw(row, number, cells[number][row], short(tiles.values[0]) if len(tiles) else "")
    return page.figure


def _scaled(tiles: MapTiles, shown: int, pictures: int) -> list[Scaled]:
    """Return the strongest unit's projection and, if two are shown, its patch; nothing for a map without units."""
    return [Scaled(each[:1], 1, TILE, pictures) for each in (tiles.projections, tiles.patches)[:shown] if len(tiles)]


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


class _Table(TilePage):
    """A page of cells of one size, with labels left of the rows and above the columns."""

    def __init__(
        self, layer: str, rows: Sequence[str], columns: Sequence[str], tile: tuple[float, float], shown: int
    ) -> None:
        self.tile = tile
        self.shown = shown
        self.width = max(NARROWEST, shown * (tile[0] + PAIR) - PAIR)
        self.step = self.width + GAP, tile[1] + SCALE + GAP
        self.aside = max(text_width(row, LABEL_SIZE) for row in rows) + GAP
        heads = [broken(column, LABEL_SIZE, self.width) for column in columns]
        self.above = max(text_height(head, LABEL_SIZE) for head in heads)
        across = self.aside + len(heads) * self.step[0] - GAP
        down = self.above + len(rows) * self.step[1] - GAP
        note = TILES_NOTE + (PATCHES_NOTE if shown > 1 else "") + VALUES_NOTE
        super().__init__(checked_text(layer, "a layer"), note, across, down)
        for number, head in enumerate(heads):
            left, top = self._corner(0, number)
            self.write(left + self.width / 2, top - GAP / 3, head, ha="center", fontsize=LABEL_SIZE)
        for number, row in enumerate(rows):
            left, top = self._corner(number, 0)
            middle = top + (tile[1] + text_height(row, LABEL_SIZE)) / 2
            self.write(left - GAP, middle, row, ha="right", fontsize=LABEL_SIZE)

    def draw(self, row: int, column: int, tiles: Sequence[Scaled], note: str) -> None:
        """Fill a cell with a projection, its patch if there is one, and a note below; or mark it as empty."""
        left, top = self._corner(row, column)
        width, height = self.tile
        across = self.shown * (width + PAIR) - PAIR
        start = left + (self.width - across) / 2
        axes = [self.show(tile, start + i * (width + PAIR), top, width, height) for i, tile in enumerate(tiles)]
        if axes:
            write_below(axes[0], note)
        else:
            self.empty(TILES_EMPTY, EMPTY_SIZE, left, top, self.width, height)

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        return GAP + self.aside + column * self.step[0], self.top + self.above + row * self.step[1]
