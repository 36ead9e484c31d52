"""Strips below each other, for what is wide: a signal's curve, or a video's frames, above the maps of all methods.

All strips have one width, so that a sample, or a frame, is at the same place in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

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
    short,
    text_height,
    text_width,
)
from .paper import EMPTY, WIDEST, Sizes, fine_dpi
from .pictures import in_bytes, photograph
from .tiles import Bytes, Corners

__all__ = ["Stack", "curve_pixels", "stripe_pixels"]

TITLE = 1.9  # inches: the widest title of a method, left of its strips
LEGEND = 1.2  # inches: a colour bar
CURVE = (0.5, 0.14)  # inches: the height of a signal's first channel, and of each further one
STRIPE = (0.18, 0.08)  # inches: the height of a map's first channel, and of each further one
TALLEST = 1.6  # inches: a curve, or a map's stripes
NARROWEST = 1.0  # inches: the narrowest strip
EDGE = 0.06  # inches around all of it
LIFT = 0.04  # inches between a text and its strip
BETWEEN = 0.2  # inches between two inputs
TICK = 0.04  # inches
LINE = 0.8  # points: a curve
PIXELS = 1200  # the width of a curve on a page
WIDEST_SCALE = "scale -0.000123"


class Stack(Page):
    """A block for each input: its label, the input, and below it a strip for each method.

    Parameters
    ----------
    images : sequence of Tensor
        N signals (C, L), drawn as curves, or pictures (3, H, W) or (1, H, W) of strips.
    heads : sequence of Head
        One for the inputs, then one for each method.
    labels : sequence of str
        N texts.
    sizes : Sizes
        What the caller has chosen; a tile is the width of a strip.
    axis : str
        What runs from left to right, such as "sample"; its numbers stand below each block. Empty: without numbers.
    """

    def __init__(
        self, images: Sequence[Tensor], heads: Sequence[Head], labels: Sequence[str], sizes: Sizes, axis: str
    ) -> None:
        self.heads, self.axis = heads, axis
        self.font, self.small = sizes.font, sizes.small
        self.titles = [broken(head.title, self.font, TITLE) for head in heads]
        self.aside = EDGE + HINTING * max(text_width(title, self.font) for title in self.titles) + GAP
        right = GAP / 2 + HINTING * text_width(WIDEST_SCALE, self.small) + EDGE
        around = self.aside + right
        self.width = sizes.tile or max(NARROWEST, (sizes.width or WIDEST) - around)
        self.labels = [broken(label, self.font, self.width + right) for label in labels]
        self._place(images)
        self.legends = self._legends()
        legend = sum(self._legend_height(text) for _, text in self.legends)
        across, down = around + self.width, self.bottom + legend + EDGE
        super().__init__(across, down, dpi=fine_dpi(across, down))
        self._write_texts(images)

    def _place(self, images: Sequence[Tensor]) -> None:
        """Compute the top and the height of each strip, the input's among them; lines of text may need more."""
        self.tops: list[list[float]] = []
        self.heights: list[list[float]] = []
        top = EDGE
        for image, label in zip(images, self.labels, strict=True):
            top += text_height(label, self.font) + LIFT
            own, further = _heights(image, self.width)
            self.heights.append([own] + [further] * (len(self.heads) - 1))
            self.tops.append([])
            for height, title in zip(self.heights[-1], self.titles, strict=True):
                space = max(height, text_height(title, self.font))
                self.tops[-1].append(top + (space - height) / 2)
                top += space + LIFT
            top += (TICK + line_height(self.small) if self.axis else 0.0) + BETWEEN
        self.bottom = top - BETWEEN + GAP

    def _write_texts(self, images: Sequence[Tensor]) -> None:
        for row, (image, label) in enumerate(zip(images, self.labels, strict=True)):
            self.write(self.aside, self.tops[row][0] - LIFT, label, fontsize=self.font)
            for number, title in enumerate(self.titles):
                middle = self.tops[row][number] + (self.heights[row][number] + text_height(title, self.font)) / 2
                self.write(self.aside - GAP, middle, title, ha="right", fontsize=self.font)
            if self.axis:
                self._write_axis(row, image.shape[-1])
        top = self.bottom
        for head, text in self.legends:
            self.legend_bar(head, self.aside, top, LEGEND, self.small)
            self.write(self.aside + LEGEND + 2 * GAP, top + text_height(text, self.small), text, fontsize=self.small)
            top += self._legend_height(text)

    def _legends(self) -> list[tuple[Head, str]]:
        """Return the different colours, with what they mean, and of which methods if there are others."""
        found: dict[tuple[str, ...], tuple[Head, list[str]]] = {}
        for head in self.heads[1:]:
            if head.colours is not None:
                found.setdefault((head.caption, *head.ends), (head, []))[1].append(head.title)
        said = [(head, f"{', '.join(titles)}: " if len(found) > 1 else "") for head, titles in found.values()]
        room = self.width - LEGEND - GAP
        return [(head, broken(titles + head.caption, self.small, room)) for head, titles in said]

    def _legend_height(self, text: str) -> float:
        return max(BAR + line_height(self.small), text_height(text, self.small)) + GAP

    def _write_axis(self, row: int, samples: int) -> None:
        top = self.tops[row][-1] + self.heights[row][-1]
        for tick in MaxNLocator(6, integer=True).tick_values(0, samples - 1):
            if 0 <= tick <= samples - 1:
                x = self.aside + (tick + 0.5) / samples * self.width
                self.canvas.add_line(Line2D([x, x], [top, top + TICK], color="black", linewidth=0.6))
                self.write(x, top + TICK + line_height(self.small), f"{tick:.0f}", ha="center", fontsize=self.small)
        word = top + TICK + line_height(self.small)
        self.write(self.aside - GAP, word, self.axis, ha="right", fontsize=self.small)

    def image(self, row: int, image: Tensor) -> None:
        """Draw a signal as curves, or show a strip of frames."""
        if image.dim() == 3:
            return self.show(row, 0, in_bytes(photograph(image)))
        lane = self.heights[row][0] / len(image)
        for number, values in enumerate(image.detach().double().cpu().numpy()):
            low, high = values.min(), values.max()
            top = self.tops[row][0] + number * lane
            x, y = _curve(values)
            line = Line2D(self.aside + x * self.width, top + lane * y, color="black", linewidth=LINE)
            self.canvas.add_line(line)
            if lane >= 2 * line_height(self.small):
                left = self.aside + self.width + GAP / 2
                self.write(left, top + line_height(self.small), f"max {short(high)}", fontsize=self.small)
                self.write(left, top + lane, f"min {short(low)}", fontsize=self.small)
        return None

    def show(self, row: int, column: int, pixels: Bytes) -> None:
        """Show a picture as a strip."""
        self.picture(pixels, *self._strip(row, column), smooth=not self.axis)

    def outline(self, row: int, box: Corners, size: tuple[int, int]) -> None:
        """Draw a box into the input: strips have none."""

    def note(self, row: int, column: int, text: str, colour: str) -> None:
        """Write into the middle of a strip."""
        left, top, width, height = self._strip(row, column)
        text, size = fitted(text, [self.font, self.small], width - GAP, max(height, line_height(self.small)))
        self.middle(left + width / 2, top + height / 2, text, color=colour, fontsize=size)

    def under(self, row: int, column: int, text: str) -> None:
        """Write the scale of a strip: here on its right."""
        if not text:
            return
        left, top, width, height = self._strip(row, column)
        bottom = top + (height + line_height(self.small)) / 2
        self.write(left + width + GAP / 2, bottom, text, fontsize=self.small)

    def fail(self, column: int, error: str) -> None:
        """Fill a method's strips with the error."""
        for row in range(len(self.tops)):
            left, top, width, height = self._strip(row, column)
            self.canvas.add_patch(Rectangle((left, top), width, height, facecolor=EMPTY, linewidth=0))
            self.note(row, column, error, "dimgrey")

    def _strip(self, row: int, column: int) -> tuple[float, float, float, float]:
        return self.aside, self.tops[row][column], self.width, self.heights[row][column]


def curve_pixels(signal: Tensor) -> Bytes:
    """Return the curves of a signal (C, L) as pixels, for a page."""
    height = _heights(signal, WIDEST)[0] / WIDEST
    page = Page(PIXELS / DPI, round(PIXELS * height) / DPI)
    for number, values in enumerate(signal.detach().double().cpu().numpy()):
        x, y = _curve(values)
        lane = page.size[1] / len(signal)
        page.canvas.add_line(Line2D(x * page.size[0], (number + y) * lane, color="black", linewidth=2 * LINE))
    canvas: Any = FigureCanvasAgg(page.figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def stripe_pixels(stripes: Bytes) -> Bytes:
    """Return the stripes of a map (C, L, 3) as high as they are in a figure, for a page."""
    channels, length, _ = stripes.shape
    height = min(TALLEST, STRIPE[0] + STRIPE[1] * (channels - 1)) / WIDEST * length
    return stripes.repeat(max(1, round(height / channels)), axis=0)


def _curve(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a channel as a curve in a lane of width and height 1: each sample in its middle, y downwards."""
    low, high = values.min(), values.max()
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return (np.arange(len(values)) + 0.5) / len(values), 0.94 - 0.88 * share


def _heights(image: Tensor, width: float) -> tuple[float, float]:
    """Return the heights of an input and of its maps, in inches."""
    if image.dim() == 3:
        height = width * image.shape[1] / image.shape[2]
        return height, height
    further = len(image) - 1
    return min(TALLEST, CURVE[0] + CURVE[1] * further), min(TALLEST, STRIPE[0] + STRIPE[1] * further)
