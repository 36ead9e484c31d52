"""A grid of tiles: a row for each image, labels on the left, titles above, and a row of colour bars below."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.patches import Rectangle
from torch import Tensor

from ..errors import InputError
from .page_layout import (
    BAR,
    DPI,
    GAP,
    HINTING,
    Head,
    Page,
    broken,
    fitted,
    line_height,
    text_height,
    text_width,
)
from .paper import EMPTY, WIDEST, Sizes, fine_dpi
from .pictures import in_bytes, photograph
from .tiles import Bytes, Corners

__all__ = ["Grid"]

TILE = 2.1  # inches: the longer side of a tile, up to ROWS rows, where the width allows
ROWS = 12
SMALLEST = 0.7  # inches: the least longer side of a tile
SHORTEST = 0.3  # inches: the least shorter side of a tile
NARROWEST = 0.8  # inches: the narrowest column, as wide as a scale below its tile
WORD = 1.2  # inches: the most to which a narrow column is widened, so that no title is broken within a word
LABELS = (0.9, 1.4, 2.0, 3.0)  # inches: labels are as narrow as the height of their rows allows
EDGE = 0.06  # inches around all of it
MARGIN = 0.06  # inches in a tile, left of and right of a text together
LIFT = 0.04  # inches between a text and its tile
BETWEEN = 0.15  # inches between two bands
PIXELS = 65500  # on a side, the most of a JPEG; older versions of matplotlib stop at 2 ** 16
FAILED = "error"


class Grid(Page):
    """Tiles of one size: in bands below each other, where not all columns have space beside each other.

    Parameters
    ----------
    aspect : float
        Width over height of the tiles.
    heads : sequence of Head
        One for each column, of the images first; titles and captions are written in full, on several lines.
    labels : sequence of str
        One for each row.
    sizes : Sizes
        What the caller has chosen; a width is that of a band.
    scales : bool
        Whether a line is left below each tile, for its scale.
    """

    def __init__(self, aspect: float, heads: Sequence[Head], labels: Sequence[str], sizes: Sizes, scales: bool) -> None:
        self.aspect, self.heads, self.rows = aspect, heads, len(labels)
        self.font, self.small = sizes.font, sizes.small
        self.below = line_height(self.small) + LIFT if scales else 0.0
        for widest in LABELS:
            texts = {label: broken(label, self.font, widest) for label in set(labels)}
            self.aside = EDGE + HINTING * max(text_width(text, self.font) for text in texts.values()) + GAP
            self._size_tiles(sizes)
            fit = all(text_height(text, self.font) <= self.step - LIFT for text in texts.values())
            if fit and _longest_word(labels, self.font) <= widest:
                break
        if not fit:
            texts = {label: fitted(label, [self.font], widest, self.step - LIFT)[0] for label in texts}
        self.titles = [broken(head.title, self.font, self.slot) for head in heads]
        self.captions = [broken(head.caption, self.small, self.slot) for head in heads]
        self.head = EDGE + max(text_height(title, self.font) for title in self.titles) + LIFT
        foot = BAR + line_height(self.small) + max(text_height(caption, self.small) for caption in self.captions)
        self.band = self.head + self.rows * self.step + foot + BETWEEN
        self._check_pixels(foot)
        across = self.aside + min(len(heads), 1 + self.beside) * (self.slot + GAP) - GAP + EDGE
        down = self.bands * self.band - BETWEEN + EDGE
        super().__init__(across, down, dpi=fine_dpi(across, down))
        for band in range(self.bands):
            self._write_texts(band, [texts[label] for label in labels])

    def _size_tiles(self, sizes: Sizes) -> None:
        """Compute the tiles, their columns, and how many methods stand beside each other."""
        methods = len(self.heads) - 1
        narrow, flat = min(self.aspect, 1.0), max(self.aspect, 1.0)
        least = max(SMALLEST, SHORTEST * max(self.aspect, 1 / self.aspect))
        word = min(WORD, _longest_word([head.title for head in self.heads], self.font))
        if sizes.tile is not None:
            side, self.beside = sizes.tile, methods
        else:
            room = (sizes.width or WIDEST) - self.aside - EDGE + GAP
            if sizes.width is not None:
                least = NARROWEST / narrow
                _check_width(sizes.width, sizes.width - room + 2 * (NARROWEST + GAP))
            most = max(1, int(room / (max(NARROWEST, least * narrow) + GAP)) - 1)
            bands = math.ceil(methods / most)
            self.beside = math.ceil(methods / bands) if bands else 0
            each = room / (1 + self.beside) - GAP
            side = min(max(least, TILE * math.sqrt(min(1, ROWS / self.rows))), max(least, each / narrow))
            word = min(word, each)
        self.bands = max(1, math.ceil(methods / max(1, self.beside)))
        self.width, self.height = side * narrow, side / flat
        self.slot = max(self.width, NARROWEST, word)
        if sizes.width is not None:
            self.slot = each
        self.step = self.height + self.below + GAP

    def _check_pixels(self, foot: float) -> None:
        """Refuse more than a picture file can hold."""
        fixed = self.head + foot + BETWEEN
        most = int(((PIXELS / DPI - EDGE + BETWEEN) / self.bands - fixed) / self.step)
        if self.rows > most:
            raise InputError(
                f"expected at most {max(0, most)} images of this shape by {len(self.heads) - 1} methods, which fill "
                f"the {PIXELS} pixels that a picture has on a side, got {self.rows}"
            )

    def _write_texts(self, band: int, labels: Sequence[str]) -> None:
        for column in [0, *self._columns(band)]:
            head, title, caption = self.heads[column], self.titles[column], self.captions[column]
            left, bottom = self._left(column), self._top(band, 0) - LIFT
            self.write(left + self.slot / 2, bottom, title, ha="center", fontsize=self.font)
            top = self._top(band, self.rows) - GAP / 2
            if head.colours is not None:
                self.legend_bar(head, left, top, self.slot, self.small)
                top += BAR + line_height(self.small)
            bottom = top + text_height(caption, self.small)
            self.write(left + self.slot / 2, bottom, caption, ha="center", fontsize=self.small)
        for row, text in enumerate(labels):
            middle = self._top(band, row) + (self.height + text_height(text, self.font)) / 2
            self.write(self.aside - GAP, middle, text, ha="right", fontsize=self.font)

    def image(self, row: int, image: Tensor) -> None:
        """Show the image of a row, in each band."""
        pixels = in_bytes(photograph(image))
        for band in range(self.bands):
            self.picture(pixels, *self._corner(row, 0, band), self.width, self.height)

    def show(self, row: int, column: int, pixels: Bytes) -> None:
        """Show a map in a tile."""
        self.picture(pixels, *self._corner(row, column), self.width, self.height)

    def outline(self, row: int, box: Corners, size: tuple[int, int]) -> None:
        """Draw a box of pixels into the image of a row, of (height, width) pixels."""
        across, down = self.width / size[1], self.height / size[0]
        width, height = (box[3] - box[1]) * across, (box[2] - box[0]) * down
        for band in range(self.bands):
            left, top = self._corner(row, 0, band)
            corner = (left + box[1] * across, top + box[0] * down)
            for colour, points in (("black", 2.0), ("yellow", 0.9)):  # light on dark is visible on any picture
                frame = Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=points)
                self.canvas.add_patch(frame)

    def note(self, row: int, column: int, text: str, colour: str) -> None:
        """Write into the middle of a tile."""
        self._into(*self._corner(row, column), self.width, text, colour)

    def under(self, row: int, column: int, text: str) -> None:
        """Write the scale of a tile below it."""
        if text:
            left, top = self._corner(row, column)
            bottom = top + self.height + LIFT / 2 + line_height(self.small)
            self.write(left + self.width / 2, bottom, text, ha="center", fontsize=self.small)

    def fail(self, column: int, error: str) -> None:
        """Fill a column with empty tiles, and write the error into the first one."""
        for row in range(self.rows):
            corner = self._left(column), self._corner(row, column)[1]
            self.canvas.add_patch(Rectangle(corner, self.slot, self.height, facecolor=EMPTY, linewidth=0))
            self._into(*corner, self.slot, FAILED if row else error, "dimgrey")

    def _into(self, left: float, top: float, width: float, text: str, colour: str) -> None:
        text, size = fitted(text, [self.font, self.small], width - MARGIN, self.height - MARGIN)
        self.middle(left + width / 2, top + self.height / 2, text, color=colour, fontsize=size)

    def _columns(self, band: int) -> range:
        """Return the methods of a band."""
        return range(1 + band * self.beside, min(len(self.heads), 1 + (band + 1) * self.beside))

    def _corner(self, row: int, column: int, band: int | None = None) -> tuple[float, float]:
        """Return left and top of a tile, in inches."""
        own = max(0, column - 1) // max(1, self.beside) if band is None else band
        return self._left(column) + (self.slot - self.width) / 2, self._top(own, row)

    def _left(self, column: int) -> float:
        place = (column - 1) % self.beside + 1 if column else 0
        return self.aside + place * (self.slot + GAP)

    def _top(self, band: int, row: int) -> float:
        return band * self.band + self.head + row * self.step


def _check_width(width: float, least: float) -> None:
    if width < least:
        raise InputError(
            f"expected a width of at least {math.ceil(10 * least) / 10} inches, for labels, an image and a map, got "
            f"{width}"
        )


def _longest_word(texts: Sequence[str], size: float) -> float:
    """Return the width in inches."""
    return HINTING * max(text_width(word, size) for text in texts for word in [*text.split(), ""])
