"""Pictures, texts and colour bars on a figure, at positions in inches from its top left corner.

The layout is computed, not fitted: a picture of one row looks like one row of a picture of six.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.textpath import text_to_path
from PIL import Image

from .figure import Figure
from .pictures import Picture
from .tiles import Bytes

__all__ = [
    "BAR",
    "DPI",
    "GAP",
    "HINTING",
    "Head",
    "Page",
    "broken",
    "columns_for",
    "fitted",
    "line_height",
    "short",
    "show",
    "text_height",
    "text_width",
    "write",
]

DPI = 150  # pixels per inch
GAP = 0.1  # inches between two tiles
BAR = 0.1  # inches: the height of a colour bar
CUT = "…"  # the end of a text that was cut
HINTING = 1.04  # letters are moved to whole pixels: a drawn line is up to this factor wider than its outlines

PLACES = {1: (0.5,), 2: (0.0, 1.0), 3: (0.0, 0.5, 1.0)}  # of so many words along a bar, and how they are aligned
ALIGNED = {0.0: "left", 0.5: "center", 1.0: "right"}
# After a space, and within a name after a dot and the like, but within no number.
BREAKS = re.compile(r"(?<=\s)|(?<=[^\W\d][._/-])(?=\w)|(?<=\d[._/-])(?=[^\W\d])")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

PAGE = 1.5  # width over height, at which a page of many units aims


def show(axes: Axes, picture: Picture | Bytes) -> None:
    """Draw a picture with square pixels, row 0 on top, whatever the user's own plots do.

    Large pixels stay sharp; "antialiased" smooths only where a pixel of the picture is about one of the figure.
    """
    axes.imshow(picture, vmin=0, vmax=1, origin="upper", aspect="equal", interpolation="antialiased")
    axes.set_axis_off()


def write(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """Write at a position relative to a tile. Dollars in a class name begin no formula."""
    axes.text(x, y, text, transform=axes.transAxes, parse_math=False, **look)


def line_height(size: float | str) -> float:
    """Return the distance of two lines in inches, in a size in points."""
    return 1.25 * FontProperties(size=size).get_size_in_points() / 72


def short(value: float) -> str:
    """Return a value in few characters: three digits and, up to a million, all those before the point."""
    size = abs(value)
    if size and not 9.995e-5 <= size < 999999.5:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}·10{str(int(exponent)).translate(RAISED)}"
    return f"{value:.0f}" if size >= 999.5 else f"{value:.3g}"


def text_width(text: str, size: float | str) -> float:
    """Return the width of the longest line in inches, in matplotlib's usual font of a size in points."""
    return max((_line_width(line, size) for line in text.splitlines()), default=0.0)


@lru_cache(4096)
def _line_width(line: str, size: float | str) -> float:
    width: float = text_to_path.get_text_width_height_descent(line, FontProperties(size=size), False)[0]
    return width / 72


def text_height(text: str, size: float) -> float:
    """Return the height of all lines in inches, in a size in points."""
    return line_height(size) * (1 + text.count("\n"))


def broken(text: str, size: float | str, width: float) -> str:
    """Break lines, and words where they must, so that none is wider than a number of inches.

    A name with dots, such as a layer's, is broken after one of them if it can be.
    """
    return "\n".join(line for given in text.splitlines() for line in _broken_line(given, size, width))


@lru_cache(4096)
def _broken_line(line: str, size: float | str, width: float) -> tuple[str, ...]:
    lines = [""]
    for part in BREAKS.split(line):
        while part:
            fits = _fitting(lines[-1] + part, size, width)
            if fits >= len((lines[-1] + part).rstrip()):
                lines[-1] += part
                part = ""
            elif lines[-1].strip():  # the part may fit into a line of its own
                lines.append("")
            else:
                lines[-1], part = part[: max(1, fits)], part[max(1, fits) :]
                lines.append("")
    return tuple(each.rstrip() for each in lines if each.strip()) or ("",)


def _fitting(text: str, size: float | str, width: float) -> int:
    """Return how many of a text's letters fit into a number of inches."""
    letters = len(text)
    while letters > 1 and HINTING * text_width(text[:letters].rstrip(), size) > width:
        letters -= 1
    return letters


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


@dataclass(frozen=True, eq=False)
class Head:
    """What stands above a column and below it: its title; what its colours mean, themselves, and their ends."""

    title: str
    caption: str = ""
    colours: Bytes | None = None
    ends: Sequence[str] = ()


def _shrunk(pixels: Bytes, height: int, width: int) -> Bytes:
    """Return a picture with no more rows and columns than it has on the figure."""
    if pixels.shape[0] <= height or pixels.shape[1] <= width:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.HAMMING))


class Page:
    """A figure of a size in inches, on which axes and texts have positions in inches."""

    def __init__(self, width: float, height: float, make: Callable[..., Figure] = Figure, dpi: float = DPI) -> None:
        self.size = width, height
        self.figure = make(figsize=self.size, dpi=dpi)

    @cached_property
    def canvas(self) -> Axes:
        """Axes that fill the figure, in inches from its top left corner: for hundreds of pictures, as axes are slow."""
        across, down = self.size
        canvas = self.axes(0, 0, across, down)
        canvas.set(xlim=(0, across), ylim=(down, 0))
        canvas.set_axis_off()
        return canvas

    def picture(self, pixels: Bytes, left: float, top: float, width: float, height: float, smooth: bool = True) -> None:
        """Show a picture in a rectangle; large pixels stay sharp, see :func:`show`.

        A huge figure has hundreds of pictures, of which matplotlib would shrink each slowly when it is drawn.
        """
        if self.figure.dpi <= DPI and smooth:
            pixels = _shrunk(pixels, round(height * DPI), round(width * DPI))
        image = AxesImage(
            self.canvas,
            extent=(left, left + width, top + height, top),
            interpolation="antialiased" if smooth else "nearest",
        )
        image.set_data(pixels)
        self.canvas.add_image(image)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes that fill a rectangle."""
        across, down = self.size
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def write(self, left: float, bottom: float, text: str, **look: Any) -> None:
        """Write a text whose lower left corner is at a position."""
        x = left / self.size[0]
        y = 1 - bottom / self.size[1]
        self.figure.text(x, y, text, va="bottom", parse_math=False, **look)

    def middle(self, x: float, y: float, text: str, **look: Any) -> None:
        """Write a text around a position, over pictures."""
        self.canvas.text(x, y, text, ha="center", va="center", parse_math=False, **look)

    def legend_bar(self, head: Head, left: float, top: float, width: float, size: float) -> None:
        """Draw colours as a bar, with the words at its ends below it, in a size in points."""
        assert head.colours is not None
        self.picture(head.colours, left, top, width, BAR, smooth=False)
        bottom = top + BAR + line_height(size)
        ends = list(zip(PLACES[len(head.ends)], head.ends, strict=True))
        for fewer in (ends[::2], ends[-1:]):  # as many of them as have space
            if HINTING * text_width("  ".join(end for _, end in ends), size) > width:
                ends = fewer
        for place, end in ends:
            self.write(left + place * width, bottom, end, ha=ALIGNED[place], fontsize=size)


def columns_for(units: int, width: float, height: float) -> int:
    """Return how many units to put side by side: a page near to PAGE, with few empty slots in its last row."""

    def cost(columns: int) -> float:
        rows = math.ceil(units / columns)
        return abs(math.log(columns * width / (rows * height) / PAGE)) + 2 * (rows * columns - units) / units

    return min(range(1, units + 1), key=cost)
