"""Pages on which tiles lie pixel for pixel: a pixel of a tile is a whole number of the figure's.

Pictures of bytes are magnified by repeating pixels, so that nothing is smoothed and every colour on the page is one of
the picture's; only tiles too big for their page are shrunk, by matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.axes import Axes

from ..errors import InputError
from .page_layout import DPI, GAP, Page, broken, show, text_height, write
from .tiles import Bytes, montage

__all__ = ["LOWEST", "MOST_MAPS", "Scaled", "TilePage", "check_number"]

MOST_MAPS = 64
"""How many feature maps a page can hold."""

WHITE = (255, 255, 255)  # the paper
EMPTY = "0.95"  # the grey of an empty slot
TITLE_SIZE = 11  # points
NOTE_SIZE = 8  # points
LEAST_WIDTH = 2.5  # inches: on a narrower page, title and note would take many lines
LOWEST = 0.35  # inches, of a slot: two lines of text, in an empty one
TILE_GAP = 2  # pixels of the figure between two tiles
PAGE_PIXELS = 12e6  # pixels of the figure, of all pictures of a page together
LARGEST = 720  # pixels of the figure: the longer side of a picture, where there are few


class Scaled:
    """Tiles in a square, row by row, at the size they have on a page: magnified a whole number of times, or shrunk.

    Parameters
    ----------
    tiles : ndarray
        (n, h, w, 3), bytes, n >= 1; the first ones are shown.
    slots : int
        The number of slots for tiles; see :func:`montage`.
    aim : float
        The longer side that small tiles are magnified to, nearly, in pixels of the figure.
    pictures : int
        How many pictures share the pixels of the page.
    """

    def __init__(self, tiles: Bytes, slots: int, aim: float, pictures: int) -> None:
        side = (math.isqrt(slots - 1) + 1) * max(tiles.shape[1:3])
        most = min(LARGEST, math.sqrt(PAGE_PIXELS / pictures))
        times = max(1, round(min(aim, most) / side))
        ratio = min(1.0, most / side)
        large = tiles[:slots].repeat(times, axis=1).repeat(times, axis=2)
        self.montage = montage(large, slots, math.ceil(TILE_GAP / ratio), WHITE)
        height, width = (max(1, round(ratio * pixels)) for pixels in self.montage.shape[:2])
        self.height = height / DPI
        self.width = width / DPI


class TilePage(Page):
    """A page with a title above and a note at the foot, and ``width`` x ``height`` inches between them."""

    def __init__(self, title: str, note: str, width: float, height: float) -> None:
        width = max(width, LEAST_WIDTH)
        title = broken(title, TITLE_SIZE, width)
        note = broken(note, NOTE_SIZE, width)
        self.top = GAP + text_height(title, TITLE_SIZE) + GAP
        foot = self.top + height + GAP + text_height(note, NOTE_SIZE)
        super().__init__(_whole(GAP + width + GAP, math.ceil), _whole(foot + GAP, math.ceil))
        self.write(GAP, self.top - GAP, title, fontsize=TITLE_SIZE)
        self.write(GAP, foot, note, fontsize=NOTE_SIZE, color="dimgrey")

    def show(self, scaled: Scaled, left: float, top: float, width: float, height: float) -> Axes:
        """Show tiles in the middle of a slot, on whole pixels."""
        left += (width - scaled.width) / 2
        top += (height - scaled.height) / 2
        axes = self.axes(_whole(left), _whole(top), scaled.width, scaled.height)
        show(axes, scaled.montage)
        return axes

    def empty(self, text: str, size: float, left: float, top: float, width: float, height: float) -> None:
        """Mark an empty slot, and write the reason into it."""
        axes = self.axes(_whole(left), _whole(top), _whole(width), _whole(height))
        axes.set(xticks=[], yticks=[], facecolor=EMPTY)
        axes.spines[:].set_visible(False)
        write(axes, 0.5, 0.5, broken(text, size, width), ha="center", va="center", fontsize=size, color="dimgrey")


def check_number(count: int, most: int, what: str) -> None:
    """Raise an InputError for no items, or more than a page can hold."""
    if not 1 <= count <= most:
        raise InputError(f"expected 1 to {most} {what} on a page, got {count}")


def _whole(inches: float, rounded: Callable[[float], int] = round) -> float:
    """Return inches that are a whole number of pixels."""
    return rounded(inches * DPI) / DPI
