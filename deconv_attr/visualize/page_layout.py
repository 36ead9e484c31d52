"""Pictures, texts and colour bars on a figure, at positions in inches from its top left corner.

The layout is computed, not fitted: a picture of one row looks like one row of a picture of six.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation

from .figure import Figure
from .pictures import Picture, Style
from .tiles import Bytes

__all__ = [
    "BAR",
    "BETWEEN",
    "DPI",
    "GAP",
    "HINTING",
    "LABEL_SIZE",
    "NARROWEST",
    "SCALE",
    "TICKS",
    "Page",
    "broken",
    "columns_for",
    "fitted",
    "line_height",
    "short",
    "show",
    "text_width",
    "write",
    "write_below",
]

DPI = 150  # pixels per inch
GAP = 0.1  # inches between two tiles
BAR = 0.1  # inches: the height of a colour bar
TICKS = 0.5  # inches: the numbers and the caption below a colour bar
SCALE = 0.16  # inches: a scale below its tile
CUT = "…"  # the end of a text that was cut
HINTING = 1.04  # letters are moved to whole pixels: a drawn line is up to this factor wider than its outlines

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

NARROWEST = 0.85  # inches: the narrowest column of tiles, as wide as a scale below
BETWEEN = 0.3  # inches between two units
LABEL_SIZE = 9  # points
PAGE = 1.5  # width over height, at which a page of many units aims


def show(axes: Axes, picture: Picture | Bytes, title: str = "", colours: str | None = None) -> None:
    """Draw a picture with square pixels, row 0 on top, whatever the user's own plots do.

    Large pixels stay sharp; "antialiased" smooths only where a pixel of the picture is about one of the figure.
    """
    axes.imshow(picture, vmin=0, vmax=1, cmap=colours, origin="upper", aspect="equal", interpolation="antialiased")
    axes.set_axis_off()
    axes.set_title(title, fontsize="medium", pad=4, parse_math=False)


def write(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """Write at a position relative to a tile. Dollars in a class name begin no formula."""
    axes.text(x, y, text, transform=axes.transAxes, parse_math=False, **look)


def write_below(axes: Axes, text: str) -> None:
    """Write a short note, such as a scale, centred below a tile; it takes ``SCALE`` inches."""
    position = axes.transAxes + ScaledTranslation(0, -2.5 / 72, axes.figure.dpi_scale_trans)
    axes.text(0.5, 0, text, transform=position, ha="center", va="top", fontsize="x-small", parse_math=False)


def line_height(size: float | str) -> float:
    """Return the distance of two lines in inches, in a size in points."""
    return 1.25 * FontProperties(size=size).get_size_in_points() / 72


def short(value: float) -> str:
    """Return a number in few characters: three digits and, up to a million, all those before the point."""
    size = abs(value)
    if size and not 9.995e-5 <= size < 999999.5:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}·10{str(int(exponent)).translate(RAISED)}"
    return f"{value:.0f}" if size >= 999.5 else f"{value:.3g}"


def text_width(text: str, size: float | str) -> float:
    """Return the width of the longest line in inches, in matplotlib's usual font of a size in points."""
    font = FontProperties(size=size)
    lines = text.splitlines()
    return max((text_to_path.get_text_width_height_descent(line, font, False)[0] for line in lines), default=0) / 72


def broken(text: str, size: float | str, width: float) -> str:
    """Break lines, and words where they must, so that none is wider than a number of inches."""
    return "\n".join(_broken_line(line, size, width) for line in text.splitlines())


def _broken_line(line: str, size: float | str, width: float) -> str:
    letters = len(line)
    result = line
    while (actual := HINTING * text_width(result, size)) > width and letters > 1:
        letters = max(1, min(letters - 1, int(letters * width / actual)))
        result = textwrap.fill(line, letters)
    return result


def fitted(text: str, sizes: Sequence[float], width: float, height: float) -> tuple[str, float]:
    """Break a text into a slot, in the first of some sizes in which it fits whole; cut it in the last of them."""
    lines: list[str] = []
    for size in sizes:
        lines = broken(text, size, width).splitlines()
        most = max(1, int(height / line_height(size)))
        whole = all(HINTING * text_width(word, size) <= width for word in text.split())
        if whole and len(lines) <= most:
            break
    if len(lines) > most:
        last = lines[most - 1]
        while last and HINTING * text_width(last + CUT, size) > width:
            last = last[:-1]
        lines = [*lines[: most - 1], last.rstrip() + CUT]
    return "\n".join(lines), size


def _colour_bar(axes: Axes, style: Style, scale: float | None, note: str) -> None:
    """Draw what the colours mean: values where there is one scale, else multiples of each map's own ``s``."""
    ends = [end for end in (-1, 0, 1) if end >= style.lowest and (scale != 0 or end == 0)]
    names = [{-1: "-s", 0: "0", 1: "s"}[end] if scale is None else f"{end * scale:.2g}" for end in ends]
    colours = ScalarMappable(Normalize(style.lowest, 1), style.colours)
    bar = axes.figure.colorbar(colours, cax=axes, orientation="horizontal", extend=style.extend, ticks=ends)
    bar.ax.set_xticklabels(names, fontsize="x-small")
    bar.set_label(style.caption + note, fontsize="x-small", labelpad=1)


class Page:
    """A figure of a size in inches, on which axes and texts have positions in inches."""

    def __init__(self, width: float, height: float, make: Callable[..., Figure] = Figure, dpi: float = DPI) -> None:
        self.size = width, height
        self.figure = make(figsize=self.size, dpi=dpi)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes that fill a rectangle."""
        across, down = self.size
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def write(self, left: float, bottom: float, text: str, **look: Any) -> None:
        """Write a text whose lower left corner is at a position."""
        x = left / self.size[0]
        y = 1 - bottom / self.size[1]
        self.figure.text(x, y, text, va="bottom", parse_math=False, **look)

    def bar(self, style: Style, scale: float | None, left: float, top: float, width: float, note: str = "") -> None:
        """Draw a colour bar below a column of tiles, a little narrower than they are, and a note below its caption."""
        _colour_bar(self.axes(left + 0.1 * width, top, 0.8 * width, BAR), style, scale, note)


def columns_for(units: int, width: float, height: float) -> int:
    """Return how many units to put side by side: a page near to PAGE, with few empty slots in its last row."""

    def cost(columns: int) -> float:
        rows = math.ceil(units / columns)
        return abs(math.log(columns * width / (rows * height) / PAGE)) + 2 * (rows * columns - units) / units

    return min(range(1, units + 1), key=cost)
