"""The page of :func:`projections_figure`: units in rows and columns, and what their colours mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from numpy.typing import NDArray

from ..errors import InputError
from .page_layout import Page, broken, columns_for, short, text_height
from .paper import LIFT, MARGIN, WIDEST, dots_per_inch

__all__ = ["ProjectionPage"]

TILE = 1.5  # inches: the longer side of a tile, unless the page gets too wide
LEAST_TILE = 0.6  # inches, as long as nobody asks for so many columns
SMALLEST_TILE = 0.1  # inches
NARROWEST = 0.5  # of a tile: the narrowest column of tiles, for their notes
GAP = 0.08  # inches between two tiles
BETWEEN = 0.2  # inches between two units
LEAST_WIDTH = 1.5  # inches: on a narrower page, texts would take many lines
BAR_WIDTH = 1.5  # inches
BAR_HEIGHT = 0.08  # inches
TICK = 0.3  # inches of a number beside the end of the bar
PAD = 2.0  # points between the bar and its numbers


class ProjectionPage(Page):
    """Units from left to right and top to bottom, each a row of tiles below its label; one colour bar at the foot.

    Every picture keeps its aspect, and its longer side fills a tile.

    Parameters
    ----------
    units : sequence
        For each unit the ``(height, width)`` of its pictures in pixels, as many as there are names.
    names : sequence of str
        The names of a unit's pictures, written once above the page; none are written for a single picture.
    labels : sequence of str
        One for each unit, or none.
    notes : sequence of str
        One for each unit, below its first tile, or none.
    caption : str
        What the colours mean, below the colour bar.
    font_size : float
        Of all texts, in points.
    width, tile : float, optional
        Of the page, and the longer side of a tile, in inches; at most one of them.
    columns : int, optional
        Units beside each other.

    Raises
    ------
    InputError
        If the width is too narrow for the columns.
    """

    def __init__(
        self,
        units: Sequence[Sequence[tuple[int, int]]],
        names: Sequence[str],
        labels: Sequence[str],
        notes: Sequence[str],
        caption: str,
        font_size: float,
        width: float | None,
        tile: float | None,
        columns: int | None,
    ) -> None:
        self.units = units
        self.font_size = font_size
        pictures = list(zip(*units, strict=True))
        self.parts: list[float] = [
            max(NARROWEST, *(width / max(height, width) for height, width in each)) for each in pictures
        ]
        self.gaps = GAP * (len(self.parts) - 1)
        tallest = max(height / max(height, width) for each in pictures for height, width in each)
        self.columns = columns or self._usual_columns(len(units), tallest, width, tile)
        width, self.tile = self._size(width, tile)
        self.widths = [part * self.tile for part in self.parts]
        self.height = tallest * self.tile
        self.across = sum(self.widths) + self.gaps
        self.labels = [broken(label, font_size, self.across) for label in labels]
        self.notes = [broken(note, font_size, self.widths[0]) for note in notes]
        self.names = names if len(names) > 1 else ()
        below = max((text_height(note, font_size) + LIFT for note in self.notes), default=0)
        self.tops = self._tops(len(units), self.height + below + 2 * GAP)
        self.foot = self.tops[-1] + self.height + below + 2 * GAP
        self.caption = broken(caption, font_size, width - 2 * MARGIN - TICK)
        foot = self.foot + BAR_HEIGHT + 2 * LIFT + text_height(f"0\n{self.caption}", font_size) + MARGIN
        sides = (max(shape) for shapes in units for shape in shapes)
        super().__init__(width, foot, dpi=dots_per_inch(sides, self.tile, width * foot))

    def _usual_columns(self, units: int, tallest: float, width: float | None, tile: float | None) -> int:
        """Return the columns of a page of good shape, whose tiles are not too small."""
        step = self._step(tile or TILE)
        columns = columns_for(units, step, tallest * (tile or TILE) + 3 * text_height("", self.font_size))
        if tile is not None:
            return columns
        most = ((width or WIDEST) - 2 * MARGIN + BETWEEN) / self._step(LEAST_TILE)
        return min(columns, max(1, int(most)))

    def _size(self, width: float | None, tile: float | None) -> tuple[float, float]:
        """Return the width of the page and the longer side of a tile."""
        if width is None:
            full = max(LEAST_WIDTH, 2 * MARGIN + self.columns * self._step(tile or TILE) - BETWEEN)
            if tile is not None or full <= WIDEST:
                return full, tile or TILE
            width = WIDEST
        across = (width - 2 * MARGIN + BETWEEN) / self.columns - BETWEEN
        tile = (across - self.gaps) / sum(self.parts)
        if tile < SMALLEST_TILE:
            raise InputError(f"expected a width with room for tiles in columns={self.columns}, got {width:g} inches")
        return width, tile

    def _step(self, tile: float) -> float:
        """Return the inches from one unit to the next."""
        return tile * sum(self.parts) + self.gaps + BETWEEN

    def _tops(self, units: int, step: float) -> list[float]:
        """Return the upper edge of the tiles in each row, below the longest label of the row."""
        heights = [text_height(label, self.font_size) + LIFT if label else 0 for label in self.labels] or [0] * units
        tops: list[float] = []
        for start in range(0, units, self.columns):
            above = tops[-1] + step if tops else self._head()
            tops.append(above + max(heights[start : start + self.columns]))
        return tops

    def _head(self) -> float:
        """Return the lower edge of the pictures' names."""
        return MARGIN + (text_height("", self.font_size) + LIFT if self.names else 0)

    def tiles(self, number: int) -> NDArray[np.object_]:
        """Write a unit's label, in the first row the names too, and return the axes of its pictures."""
        row, column = divmod(number, self.columns)
        left = MARGIN + column * self._step(self.tile)
        top = self.tops[row]
        lefts = [left + sum(self.widths[:i]) + i * GAP for i in range(len(self.widths))]
        if row == 0:
            for start, name in zip(lefts, self.names, strict=False):
                self.write(start, self._head() - LIFT, name, fontsize=self.font_size, color="dimgrey")
        if self.labels:
            self.write(left, top - LIFT, self.labels[number], fontsize=self.font_size)
        axes = []
        for start, slot, (height, width) in zip(lefts, self.widths, self.units[number], strict=True):
            down, across = (self.tile * side / max(height, width) for side in (height, width))
            axes.append(self.axes(start + (slot - across) / 2, top, across, down))
        return np.array(axes, dtype=object)

    def bar_at_foot(self, colours: Colormap | str, scale: float | None) -> None:
        """Draw what the colours mean: values where all units share a scale, else multiples of each one's own."""
        ends = (0,) if scale == 0 else (-1, 0, 1)
        names = [{-1: "-scale", 0: "0", 1: "scale"}[end] if scale is None else short(end * scale) for end in ends]
        width = max(LEAST_WIDTH / 2, min(BAR_WIDTH, self.size[0] - 2 * (MARGIN + TICK)))
        axes = self.axes(MARGIN + TICK, self.foot, width, BAR_HEIGHT)
        mappable = ScalarMappable(Normalize(-1, 1), colours)
        self.figure.colorbar(mappable, cax=axes, orientation="horizontal", extend="both", ticks=ends)
        axes.set_xticklabels(names, fontsize=self.font_size)
        axes.tick_params(length=PAD, pad=PAD)
        axes.set_xlabel(self.caption, fontsize=self.font_size, color="dimgrey", loc="left", labelpad=PAD)
