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
    PAPER,
    Corners,
    Head,
    Page,
    Sizes,
    broken,
    fine_dpi,
    fitted,
    line_height,
    text_height,
    text_width,
)
from .pictures import in_bytes, photograph
from .tiles import Bytes

__all__ = ["Grid"]

TILE = 2.1  # inches: the longer side of a tile, up to ROWS rows, where the width allows
ROWS = 12
SMALLEST = 0.7  # inches: the least longer side of a tile
SHORTEST = 0.3  # inches: the least shorter side of a tile
NARROWEST = 0.75  # inches: the narrowest column, as wide as a scale below
WORD = 1.1  # inches: the most to which a narrow column is widened, so that no title is broken within a word
LABELS = (0.9, 1.4, 2.0, 3.0)  # inches: labels are as narrow as the height of their rows allows
EDGE = 0.06  # inches around all of it
MARGIN = 0.06  # inches in a tile, left of and right of a text together
LIFT = 0.04  # inches between a text and its tile
PIXELS = 65500  # on a side, the most of a JPEG; older versions of matplotlib stop at 2 ** 16
EMPTY = "0.95"  # the grey of an empty tile
FAILED = "error"


class Grid(Page):
    """Tiles of one size.

    Parameters
    ----------
    aspect : float
        Width over height of the tiles.
    heads : sequence of Head
        One for each column, of the images first; titles and captions are written in full, on several lines.
    labels : sequence of str
        One for each row.
    sizes : Sizes
        What the caller has chosen.
    scales : bool
        Whether a line is left below each tile, for its scale.
    """

    def __init__(self, aspect: float, heads: Sequence[Head], labels: Sequence[str], sizes: Sizes, scales: bool) -> None:
        self.aspect, self.heads, self.rows, self.scales = aspect, heads, len(labels), scales
        for font in sizes.fonts():
            self._arrange(font, labels, sizes)
            if sizes.readable(font, self.across):
                break
        most = int((PIXELS / DPI - self.head - self.foot) / self.step)
        _check_number("images", self.rows, most)
        _check_number("methods", len(heads) - 1, int((PIXELS / DPI - self.aside) / (self.slot + GAP)) - 1)
        down = self.head + self.rows * self.step + self.foot
        super().__init__(self.across, down, dpi=fine_dpi(self.across, down))
        self._write_texts()

    def _arrange(self, font: float, labels: Sequence[str], sizes: Sizes) -> None:
        """Compute all lengths for a size of the letters; labels get as little width as their rows allow."""
        self.font, self.small = font, sizes.small(font)
        self.below = line_height(self.small) + LIFT if self.scales else 0.0
        for widest in LABELS:
            self.labels = {label: broken(label, font, widest) for label in set(labels)}
            self.aside = EDGE + HINTING * max(text_width(text, font) for text in self.labels.values()) + GAP
            self._size_tiles(sizes)
            space = self.step - LIFT
            whole = _longest_word(labels, font) <= widest
            if whole and all(text_height(text, font) <= space for text in self.labels.values()):
                break
        else:
            self.labels = {label: fitted(label, [font], LABELS[-1], space)[0] for label in self.labels}
        self.texts = [self.labels[label] for label in labels]
        self.titles = [broken(head.title, font, self.slot) for head in self.heads]
        self.captions = [broken(head.caption, self.small, self.slot) for head in self.heads]
        self.head = EDGE + max(text_height(title, font) for title in self.titles) + LIFT
        self.foot = GAP / 2 + BAR + line_height(self.small) + EDGE
        self.foot += max(text_height(caption, self.small) for caption in self.captions)

    def _size_tiles(self, sizes: Sizes) -> None:
        """Compute the tiles, and the columns in which they stand."""
        columns = len(self.heads)
        room = ((sizes.width or PAPER) - self.aside - EDGE) / columns - GAP
        if sizes.tile is not None:
            side = sizes.tile
        else:
            least = max(SMALLEST, SHORTEST * max(self.aspect, 1 / self.aspect))
            side = max(least, TILE * math.sqrt(min(1, ROWS / self.rows)))
            side = min(side, max(room / min(self.aspect, 1.0), 0.0 if sizes.width else least))
        self.width, self.height = side * min(self.aspect, 1.0), side / max(self.aspect, 1.0)
        if sizes.width is not None and room < NARROWEST:
            least_width = self.aside + EDGE + columns * (NARROWEST + GAP)
            raise InputError(
                f"expected a width of at least {math.ceil(10 * least_width) / 10} inches for {columns - 1} methods, "
                f"got {sizes.width}; or choose fewer columns"
            )
        word = _longest_word([head.title for head in self.heads], self.font)
        self.slot = room if sizes.width else max(self.width, NARROWEST, min(word, WORD))
        self.step = self.height + self.below + GAP
        self.across = self.aside + columns * (self.slot + GAP) + EDGE

    def _write_texts(self) -> None:
        for column, (head, title, caption) in enumerate(zip(self.heads, self.titles, self.captions, strict=True)):
            left, top = self._left(column), self._top(self.rows) - GAP / 2
            middle = left + self.slot / 2
            self.write(middle, self.head - LIFT, title, ha="center", fontsize=self.font)
            if head.colours is not None:
                self.legend_bar(head, left, top, self.slot, self.small)
                top += BAR + line_height(self.small)
            self.write(middle, top + text_height(caption, self.small), caption, ha="center", fontsize=self.small)
        for row, text in enumerate(self.texts):
            middle = self._top(row) + (self.height + text_height(text, self.font)) / 2
            self.write(self.aside - GAP, middle, text, ha="right", fontsize=self.font)

    def image(self, row: int, image: Tensor) -> None:
        """Show the image of a row."""
        self.show(row, 0, in_bytes(photograph(image)))

    def show(self, row: int, column: int, pixels: Bytes) -> None:
        """Show a picture in a tile."""
        self.picture(pixels, *self._corner(row, column), self.width, self.height)

    def outline(self, row: int, box: Corners, size: tuple[int, int]) -> None:
        """Draw a box of pixels into the image of a row, of (height, width) pixels."""
        left, top = self._corner(row, 0)
        across, down = self.width / size[1], self.height / size[0]
        corner = (left + box[1] * across, top + box[0] * down)
        for colour, points in (("black", 2.0), ("yellow", 0.9)):  # light on dark is visible on any picture
            width, height = (box[3] - box[1]) * across, (box[2] - box[0]) * down
            frame = Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=points)
            self.canvas.add_patch(frame)

    def note(self, row: int, column: int, text: str, colour: str) -> None:
        """Write into the middle of a tile."""
        self._into(*self._corner(row, column), self.width, text, colour)

    def under(self, row: int, column: int, text: str) -> None:
        """Write the scale of a tile below it."""
        if not text:
            return
        bottom = self._top(row) + self.height + LIFT / 2 + line_height(self.small)
        self.write(self._left(column) + self.slot / 2, bottom, text, ha="center", fontsize=self.small)

    def fail(self, column: int, error: str) -> None:
        """Fill a column with empty tiles, and write the error into the first one."""
        for row in range(self.rows):
            corner = self._left(column), self._top(row)
            self.canvas.add_patch(Rectangle(corner, self.slot, self.height, facecolor=EMPTY, linewidth=0))
            self._into(*corner, self.slot, FAILED if row else error, "dimgrey")

    def _into(self, left: float, top: float, width: float, text: str, colour: str) -> None:
        text, size = fitted(text, [self.font, self.small], width - MARGIN, self.height - MARGIN)
        self.middle(left + width / 2, top + self.height / 2, text, color=colour, fontsize=size)

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        """Return left and top of a tile, in inches."""
        return self._left(column) + (self.slot - self.width) / 2, self._top(row)

    def _left(self, column: int) -> float:
        return self.aside + column * (self.slot + GAP)

    def _top(self, row: int) -> float:
        return self.head + row * self.step


def _longest_word(texts: Sequence[str], size: float) -> float:
    """Return the width in inches."""
    return HINTING * max(text_width(word, size) for text in texts for word in [*text.split(), ""])


def _check_number(what: str, count: int, most: int) -> None:
    if count > most:
        raise InputError(
            f"expected at most {most} {what} of this shape, which fill the {PIXELS} pixels that a picture has on a "
            f"side, got {count}"
        )
