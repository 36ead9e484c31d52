"""Figure 4 of the paper: how the strongest projection of each feature map changes while a network is trained."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..errors import InputError
from .page_layout import DPI, GAP, LABEL_SIZE, NARROWEST, SCALE, broken, text_width, write_below
from .tile_page import LOWEST, MOST_MAPS, Scaled, TilePage, check_number, short, text_height
from .tiles import MapTiles
from .unit_input import checked_text

__all__ = ["MOST_CHECKPOINTS", "evolution_figure"]

MOST_CHECKPOINTS = 32
"""How many checkpoints a page can hold."""

TILE = 150  # pixels: the longer side that small tiles are magnified to, nearly
PAIR = 0.03  # inches between a projection and its patch
DEAD, SMALL = "not active", 7  # points
NOTE = "projections of each map's strongest unit at each checkpoint, around mid-grey with their own contrast"
PATCHES, BELOW = "; right of each: the image patch", "; below: the activation"


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
        drawn, and its activation written below it; a map without units gets an empty tile that says so.
    patches : bool
        True: each projection has its image patch on its right.

    Raises
    ------
    InputError
        If there are no checkpoints or maps, too many of them, or if labels, columns and maps do not fit together.
    """
    maps = _checked_maps(labels, columns)
    shown = 2 if patches else 1
    pictures = shown * len(labels) * len(maps)
    cells = [[_scaled(tiles, shown, pictures) for tiles in column] for column in columns]
    tiles = [tile for column in cells for cell in column for tile in cell]
    width = max((tile.width for tile in tiles), default=TILE / DPI)
    height = max(LOWEST, max((tile.height for tile in tiles), default=TILE / DPI))
    page = _Table(layer, [f"map {number}" for number in maps], labels, (width, height), shown)
    for number, column in enumerate(columns):
        for row, found in enumerate(column):
            page.draw(row, number, cells[number][row], short(found.values[0]) if len(found) else "")
    return page.figure


def _scaled(tiles: MapTiles, shown: int, pictures: int) -> list[Scaled]:
    """Return the strongest unit's projection, perhaps its patch too; nothing of a map without units."""
    return [Scaled(each[:1], 1, TILE, pictures) for each in (tiles.projections, tiles.patches)[:shown] if len(tiles)]


def _checked_maps(labels: Sequence[str], columns: Sequence[Sequence[MapTiles]]) -> list[int]:
    """Return the numbers of the feature maps."""
    check_number(len(columns), MOST_CHECKPOINTS, "checkpoints")
    if len(labels) != len(columns):
        raise InputError(f"{len(columns)} columns need {len(columns)} labels, got {len(labels)}")
    maps = [tiles.number for tiles in columns[0]]
    check_number(len(maps), MOST_MAPS, "feature maps")
    for label, column in zip(labels, columns, strict=True):
        checked_text(label, "a label")
        if len(column) != len(maps):
            raise InputError(
                f"every checkpoint needs {len(maps)} feature maps like the first, got {len(column)} at {label}"
            )
        for expected, tiles in zip(maps, column, strict=True):
            if tiles.number != expected:
                raise InputError(
                    f"a row must be one feature map, got {expected} at {labels[0]}, {tiles.number} at {label}"
                )
    return maps


class _Table(TilePage):
    """A page of cells of one size, with labels left of the rows and above the columns."""

    def __init__(
        self, layer: str, rows: Sequence[str], columns: Sequence[str], tile: tuple[float, float], shown: int
    ) -> None:
        self.tile, self.shown = tile, shown
        self.width = max(NARROWEST, shown * (tile[0] + PAIR) - PAIR)
        self.step = self.width + GAP, tile[1] + SCALE + GAP
        self.aside = max(text_width(row, LABEL_SIZE) for row in rows) + GAP
        heads = [broken(column, LABEL_SIZE, self.width) for column in columns]
        self.above = max(text_height(head, LABEL_SIZE) for head in heads)
        across, down = self.aside + len(heads) * self.step[0] - GAP, self.above + len(rows) * self.step[1] - GAP
        super().__init__(checked_text(layer, "a layer"), NOTE + (PATCHES if shown > 1 else "") + BELOW, across, down)
        for number, head in enumerate(heads):
            left, top = self._corner(0, number)
            self.write(left + self.width / 2, top - GAP / 3, head, ha="center", fontsize=LABEL_SIZE)
        for number, row in enumerate(rows):
            left, top = self._corner(number, 0)
            middle = top + (tile[1] + text_height(row, LABEL_SIZE)) / 2
            self.write(left - GAP, middle, row, ha="right", fontsize=LABEL_SIZE)

    def draw(self, row: int, column: int, tiles: Sequence[Scaled], note: str) -> None:
        """Fill a cell with a projection, perhaps its patch, and a note below; or say that it is empty."""
        left, top = self._corner(row, column)
        (width, height), across = self.tile, self.shown * (self.tile[0] + PAIR) - PAIR
        middle = left + (self.width - across) / 2
        axes = [self.show(tile, middle + i * (width + PAIR), top, width, height) for i, tile in enumerate(tiles)]
        if axes:
            write_below(axes[0], note)
        else:
            self.blank(DEAD, SMALL, left, top, self.width, height)

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        return GAP + self.aside + column * self.step[0], self.top + self.above + row * self.step[1]
