"""Pages on which tiles lie pixel for pixel: a pixel of a tile is a whole number of the figure's.

Pictures of bytes are magnified by repeating pixels, so that nothing is smoothed and every colour on the page is one of
the picture's; only tiles too big for their page are shrunk, by matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.axes import Axes

from ..errors import InputError
from .page_layout import DPI, GAP, Page, broken, line_height, show, write
from .tiles import Bytes, montage

__all__ = ["LOWEST", "MOST_MAPS", "Scaled", "TilePage", "check_number", "short", "text_height"]

MOST_MAPS = 64
"""How many feature maps a page can hold."""

WHITE, BLANK = (255, 255, 255), "0.95"  # the paper; and what shows the place of a picture that does not exist
TITLE_SIZE, NOTE_SIZE = 11, 8  # points
LEAST_WIDTH = 2.5  # inches: below it, title and note would stand in many lines
LOWEST = 0.35  # inches, of a place: two lines of text, which say that it stays empty

# Pixels of the figure: between two tiles; of all pictures of a page together; the longer side of one of few pictures.
TILE_GAP, PAGE_PIXELS, LARGEST = 2, 12e6, 720


class Scaled:
    """Tiles in a square, row by row, as they come on a page: magnified a whole number of times, or shrunk.

    Parameters
    ----------
    tiles : ndarray
        (n, h, w, 3), bytes, n >= 1; the first ones are shown.
    places : int
        For how many tiles there is room; see :func:`montage`.
    aim : float
        The longer side that small tiles are magnified to, nearly, in pixels of the figure.
    pictures : int
        How many pictures there are on the page, which must share its pixels.
    """

    def __init__(self, tiles: Bytes, places: int, aim: float, pictures: int) -> None:
        side = (math.isqrt(places - 1) + 1) * max(tiles.shape[1:3])
        most = min(LARGEST, math.sqrt(PAGE_PIXELS / pictures))
        times, ratio = max(1, round(min(aim, most) / side)), min(1.0, most / side)
        large = tiles[:places].repeat(times, axis=1).repeat(times, axis=2)
        self.sheet = montage(large, places, math.ceil(TILE_GAP / ratio), WHITE)
        height, width = (max(1, round(ratio * pixels)) for pixels in self.sheet.shape[:2])
        self.height, self.width = height / DPI, width / DPI


class TilePage(Page):
    """A page with a title above and a note at the foot, and between them room for ``width`` x ``height`` inches."""

    def __init__(self, title: str, note: str, width: float, height: float) -> None:
        width = max(width, LEAST_WIDTH)
        title, note = broken(title, TITLE_SIZE, width), broken(note, NOTE_SIZE, width)
        self.top = GAP + text_height(title, TITLE_SIZE) + GAP
        foot = self.top + height + GAP + text_height(note, NOTE_SIZE)
        super().__init__(_whole(GAP + width + GAP, math.ceil), _whole(foot + GAP, math.ceil))
        self.write(GAP, self.top - GAP, title, fontsize=TITLE_SIZE)
        self.write(GAP, foot, note, fontsize=NOTE_SIZE, color="dimgrey")

    def show(self, scaled: Scaled, left: float, top: float, width: float, height: float) -> Axes:
        """Show tiles in the middle of a place, on whole pixels."""
        left, top = left + (width - scaled.width) / 2, top + (height - scaled.height) / 2
        axes = self.axes(_whole(left), _whole(top), scaled.width, scaled.height)
        show(axes, scaled.sheet)
        return axes

    def blank(self, text: str, size: float, left: float, top: float, width: float, height: float) -> None:
        """Mark a place that stays empty, and say why."""
        axes = self.axes(_whole(left), _whole(top), _whole(width), _whole(height))
        axes.set(xticks=[], yticks=[], facecolor=BLANK)
        axes.spines[:].set_visible(False)
        write(axes, 0.5, 0.5, broken(text, size, width), ha="center", va="center", fontsize=size, color="dimgrey")


def short(value: float) -> str:
    """Write an activation in few letters: three digits, and all those before the point up to a million."""
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.3g}"


def check_number(count: int, most: int, what: str) -> None:
    """Refuse to draw nothing, or more than a page can hold."""
    if not 1 <= count <= most:
        raise InputError(f"a page holds 1 to {most} {what}, got {count}")


def text_height(text: str, size: float) -> float:
    """Return the height of all lines in inches, in a size in points."""
    return line_height(size) * (1 + text.count("\n"))


def _whole(inches: float, rounded: Callable[[float], int] = round) -> float:
    """Return inches that are a whole number of pixels."""
    return rounded(inches * DPI) / DPI
