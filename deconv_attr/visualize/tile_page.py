"""Pages on which tiles lie pixel for pixel: every tile has a whole number of the figure's pixels.

All tiles of a page have one size. The figure's pixels are as fine as the largest tile asks for, up to a printer's; so
that tile is magnified by a whole number, by repeating pixels, and nothing of it is smoothed. Tiles of fewer pixels, and
those too big for their page, are resampled to the same size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from ..errors import InputError
from .page_layout import Page, broken, show, text_height
from .paper import MARGIN, dots_per_inch
from .tiles import Bytes, MapTiles, columns_of, squares

__all__ = ["MOST_MAPS", "TilePage", "Tiling", "check_number"]

MOST_MAPS = 64
"""How many feature maps a page can hold."""

TILE_GAP = 0.014  # inches between two tiles
WHITE = (255, 255, 255)  # the paper


@dataclass(frozen=True)
class Tiling:
    """Tiles in squares that fill a width: their size in inches, and in pixels of the figure.

    Parameters
    ----------
    maps : sequence of MapTiles
        Whose tiles all have one size: the longer side of the largest fills it.
    slots : int
        The number of slots in each square.
    width : float
        Of one square, or two beside each other, in inches.
    seam : float
        Inches between the two squares.
    patches : bool
        Whether there is the second square, of image patches.
    """

    maps: Sequence[MapTiles]
    slots: int
    width: float
    seam: float
    patches: bool = True

    @property
    def tile(self) -> float:
        """The longer side of a tile in inches."""
        squares = 2 if self.patches else 1
        columns = columns_of(self.slots)
        return ((self.width - (squares - 1) * self.seam) / squares - (columns - 1) * TILE_GAP) / columns

    @property
    def height(self) -> float:
        """The height of a square in inches."""
        rows = math.ceil(self.slots / columns_of(self.slots))
        tallest = max((height / max(height, width) for height, width in self._shapes), default=1.0)
        return rows * tallest * self.tile + (rows - 1) * TILE_GAP

    def dpi(self, area: float = 1.0) -> int:
        """Return the pixels per inch of a figure of an area in square inches; by default for the caller's own."""
        return dots_per_inch((max(shape) for shape in self._shapes), self.tile, area)

    def picture(self, tiles: MapTiles, dpi: float) -> Bytes:
        """Return the squares of a map, at so many pixels per inch."""
        largest = max(max(shape) for shape in self._shapes)
        longer = max(1, int(dpi * self.tile + 1e-6))
        if longer > largest:
            longer -= longer % largest
        gap, seam = (max(1, int(dpi * inches)) for inches in (TILE_GAP, self.seam))
        return squares(tiles, self.slots, longer, gap, seam, WHITE, patches=self.patches)

    def middle(self, tiles: MapTiles, rank: int) -> tuple[float, float]:
        """Return the middle of a projection in inches, from the upper left corner of the squares."""
        row, column = divmod(rank, columns_of(self.slots))
        height, width = tiles.projections.shape[1:3]
        down, across = (self.tile * side / max(height, width) for side in (height, width))
        return column * (across + TILE_GAP) + across / 2, row * (down + TILE_GAP) + down / 2

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        shapes = (tiles.projections.shape for tiles in self.maps if len(tiles))
        return [(height, width) for _, height, width, *_ in shapes]


class TilePage(Page):
    """A page with a title above and a note at the foot, and a body between them.

    Parameters
    ----------
    title, note : str
        Long ones are broken.
    width, body : float
        The width of the page, and the height between title and note, in inches.
    font_size : float
        Points.
    tiling : Tiling
        Its tiles say how fine the pixels of the figure are.
    """

    def __init__(self, title: str, note: str, width: float, body: float, font_size: float, tiling: Tiling) -> None:
        title, note = (broken(text, font_size, width - 2 * MARGIN) for text in (title, note))
        self.font_size = font_size
        self.top = MARGIN + text_height(title, font_size) + 2 * MARGIN
        foot = self.top + body + 2 * MARGIN + text_height(note, font_size)
        self.dpi = tiling.dpi(width * (foot + MARGIN))
        super().__init__(width, math.ceil((foot + MARGIN) * self.dpi) / self.dpi, dpi=self.dpi)
        self.write(MARGIN, self.top - 2 * MARGIN, title, fontsize=font_size)
        self.write(MARGIN, foot, note, fontsize=font_size, color="dimgrey")

    def slot(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes that fill a rectangle, moved to whole pixels."""
        left, top, width, height = (round(inches * self.dpi) / self.dpi for inches in (left, top, width, height))
        return self.axes(left, top, width, height)

    def tiles(self, picture: Bytes, left: float, top: float) -> Axes:
        """Draw a picture of tiles, pixel for pixel."""
        height, width = picture.shape[:2]
        axes = self.slot(left, top, width / self.dpi, height / self.dpi)
        show(axes, picture)
        return axes


def check_number(count: int, most: int, what: str) -> None:
    """Raise an InputError for no items, or more than a page can hold."""
    if not 1 <= count <= most:
        raise InputError(f"expected 1 to {most} {what} on a page, got {count}")
