"""Curves of several methods: panels side by side, in all of which a method has the same colour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..errors import InputError
from .figure import Figure
from .page_layout import BETWEEN, GAP, HINTING, Page, broken, line_height, text_height, text_width

__all__ = ["Curve", "Panel", "curves_figure"]

Look = dict[str, Any]
"""Arguments of a ``Line2D``."""

# Okabe and Ito's colours but for yellow, which is faint on white, and two dark ones: seen with protanopia, deuteranopia
# or tritanopia, no two come nearer to each other than Okabe and Ito's own.
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00 #000000 #882255 #6E3B00".split()
STROKES = ("-", "--", ":", "-.")  # the second one from the tenth method on
STROKE = 1.6  # points: the width of a line
DOT = 3.5  # points: a dot on a line
PALE = 0.15  # the opacity of a band
DOTTED = 40  # the most values of a curve at which each has a dot

HEIGHT = 2.7  # inches: a panel without its texts
WIDTH = 3.6  # inches: a panel without its texts
WIDEST = 5.4  # inches: a panel that its ticks widen
LINE = 0.16  # inches from one turned tick name to the next
TICK = 0.1  # inches: a tick and the space to its name
SAMPLE = 0.45  # inches: a line in the legend
TITLE = 10  # points
TEXT = 9  # points, of axes and legend
NAME = 8  # points, of ticks


@dataclass(frozen=True, eq=False)
class Curve:
    """A line with a band around it; a NaN is a gap.

    Parameters
    ----------
    label : str
        Its name in the legend; curves of one label look the same in all panels.
    x, mean : sequence of float
        The points of the line.
    low, high : sequence of float
        The edges of the band.
    hollow : sequence of bool
        Which points have hollow dots; empty: none.
    """

    label: str
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    hollow: Sequence[bool] = ()


@dataclass(frozen=True, eq=False)
class Panel:
    """Curves over one pair of axes.

    Parameters
    ----------
    title : str
        Written above.
    across, up : str
        The names of the axes; upward axes of one name have the same limits in all panels.
    curves : sequence of Curve
        Any number; each keeps its own x.
    ticks : sequence of str, optional
        The names of x = 0, 1, 2 and so on. Where they are too dense, they are turned, and some are left out.
    """

    title: str
    across: str
    up: str
    curves: Sequence[Curve]
    ticks: Sequence[str] | None = None


def curves_figure(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side, with one legend below all of them.

    Raises
    ------
    InputError
        If there is no panel, the numbers of a curve's values differ, or a curve leaves the ticks of its panel.
    """
    _check(panels)
    labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    looks = _looks(labels)
    frames = _frames(panels)
    top = 2 * GAP + max(text_height(frame.title, TITLE) for frame in frames)
    foot = top + HEIGHT + max(frame.below for frame in frames) + GAP
    width = sum(frame.aside + frame.width + BETWEEN for frame in frames)
    legend = _Legend(labels, width - frames[0].aside - BETWEEN)
    page = Page(width, foot + legend.height + GAP)
    left = 0.0
    for frame in frames:
        frame.draw(page.axes(left + frame.aside, top, frame.width, HEIGHT), looks)
        left += frame.aside + frame.width + BETWEEN
    legend.draw(page, frames[0].aside, foot, [looks[label] for label in labels])
    return page.figure


def _frames(panels: Sequence[Panel]) -> list[_Frame]:
    alike = {
        panel.up: [curve for other in panels if other.up == panel.up for curve in other.curves] for panel in panels
    }
    return [_Frame(panel, alike[panel.up]) for panel in panels]


def _check(panels: Sequence[Panel]) -> None:
    if not panels:
        raise InputError("expected at least one panel, got none")
    for panel in panels:
        for curve in panel.curves:
            where = f"the curve {curve.label} of {panel.title}"
            points = len(curve.x)
            counts = len(curve.mean), len(curve.low), len(curve.high)
            if counts != (points,) * 3:
                raise InputError(f"expected {points} mean, low and high, as many as x, in {where}, got {counts}")
            if panel.ticks is not None and not all(0 <= x < len(panel.ticks) for x in curve.x):
                raise InputError(
                    f"expected x from 0 to {len(panel.ticks) - 1}, the last tick, in {where}, got {curve.x!r:.80}"
                )


def _looks(labels: Sequence[str]) -> dict[str, Look]:
    looks = [(colour, stroke) for stroke in STROKES for colour in COLOURS]
    return {
        label: {"color": colour, "linestyle": stroke, "linewidth": STROKE, "marker": "o", "markersize": DOT}
        for label, (colour, stroke) in zip(labels, itertools.cycle(looks), strict=False)
    }


class _Scale:
    """An axis: its limits, and the values on it that have names."""

    def __init__(self, values: Sequence[Sequence[float]]) -> None:
        known = np.concatenate([_numbers(each) for each in values] or [np.empty(0)])
        known = known[np.isfinite(known)]
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        margin = 0.04 * (high - low) or 0.04 * abs(low) or 1.0
        self.low = low - margin
        self.high = high + margin
        ticks = MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        self.ticks = [float(tick) for tick in ticks if self.low <= tick <= self.high]
        self.names = [f"{tick + 0.0:.6g}" for tick in self.ticks]


class _Frame:
    """A panel and its space in inches: its own width, and the texts left of it and below it.

    Parameters
    ----------
    panel : Panel
        The panel to draw.
    alike : sequence of Curve
        All curves that set the limits of its upward axis.
    """

    def __init__(self, panel: Panel, alike: Sequence[Curve]) -> None:
        self.panel = panel
        self.x = _Scale([curve.x for curve in panel.curves])
        self.y = _Scale([values for curve in alike for values in (curve.mean, curve.low, curve.high)])
        self.width = WIDTH
        self.turn = 0  # degrees, of the tick names
        longest = 0.0
        if panel.ticks:
            longest = HINTING * max(text_width(name, NAME) for name in panel.ticks)
            if longest + GAP > WIDTH / len(panel.ticks):
                self.turn = 90
                self.width = min(max(WIDTH, len(panel.ticks) * LINE), WIDEST)
            self._name(panel.ticks)
        self.title = broken(panel.title, TITLE, self.width)
        self.across = broken(panel.across, TEXT, self.width)
        self.up = broken(panel.up, TEXT, HEIGHT)
        names = HINTING * max(text_width(name, NAME) for name in self.y.names)
        self.aside = GAP + text_height(self.up, TEXT) + names + TICK
        self.below = TICK + max(longest if self.turn else 0, line_height(NAME)) + text_height(self.across, TEXT)

    def draw(self, axes: Axes, looks: Mapping[str, Look]) -> None:
        """Draw the curves, and everything around them but the legend."""
        for curve in self.panel.curves:
            _draw_curve(axes, curve, looks[curve.label])
        axes.set(xlim=(self.x.low, self.x.high), ylim=(self.y.low, self.y.high))
        axes.set_xticks(self.x.ticks, self.x.names, rotation=self.turn, fontsize=NAME, parse_math=False)
        axes.set_xticks(range(len(self.panel.ticks or ())), minor=True)
        axes.set_yticks(self.y.ticks, self.y.names, fontsize=NAME, parse_math=False)
        axes.set_title(self.title, fontsize=TITLE, pad=5, parse_math=False)
        axes.set_xlabel(self.across, fontsize=TEXT, labelpad=3, parse_math=False)
        axes.set_ylabel(self.up, fontsize=TEXT, labelpad=3, parse_math=False)
        axes.grid(False, axis="x", which="both")
        axes.grid(True, axis="y", color="0.9", linewidth=0.8, linestyle="-")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    def _name(self, ticks: Sequence[str]) -> None:
        """Name as many ticks as have space, the first and the last among them."""
        step = math.ceil(LINE * len(ticks) / self.width) if self.turn else 1
        named = [*range(0, len(ticks), step)]
        named[-1] = len(ticks) - 1
        self.x.low = -0.5
        self.x.high = len(ticks) - 0.5
        self.x.ticks = [float(x) for x in named]
        self.x.names = [ticks[x] for x in named]


def _draw_curve(axes: Axes, curve: Curve, look: Look) -> None:
    """Draw a band and a line, with dots where its points are few, else only where one has no neighbour."""
    x, mean, low, high = (_numbers(values) for values in (curve.x, curve.mean, curve.low, curve.high))
    known = np.concatenate([[False], np.isfinite(mean), [False]])
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    dots = list(range(len(x))) if len(x) <= DOTTED else np.flatnonzero(alone).tolist()
    axes.fill_between(x, low, high, color=look["color"], alpha=PALE, linewidth=0)
    axes.plot(x, mean, markevery=dots, **look)
    empty = np.flatnonzero(curve.hollow)
    if len(empty):
        dot = {"marker": look["marker"], "markersize": look["markersize"], "markeredgecolor": look["color"]}
        axes.plot(x[empty], mean[empty], linestyle="", markerfacecolor="white", **dot)


def _numbers(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


class _Legend:
    """The label of each look, in rows of as many as fit in a width in inches."""

    def __init__(self, labels: Sequence[str], width: float) -> None:
        self.texts = [broken(label, TEXT, width - SAMPLE - GAP) for label in labels]
        widths = [SAMPLE + GAP + HINTING * text_width(text, TEXT) + BETWEEN for text in self.texts]
        self.columns = 1
        self.steps = widths
        self.heights: list[float] = []
        for rows in range(1, len(labels) + 1):
            self.columns = math.ceil(len(labels) / rows)
            self.steps = [max(widths[column :: self.columns]) for column in range(self.columns)]
            if sum(self.steps) <= width + BETWEEN:
                break
        for start in range(0, len(labels), self.columns):
            self.heights.append(max(text_height(text, TEXT) for text in self.texts[start : start + self.columns]))
        self.height = sum(self.heights)

    def draw(self, page: Page, left: float, top: float, looks: Sequence[Look]) -> None:
        """Draw a sample of each look, and its label on the right."""
        (across, down) = page.size
        transform = page.figure.transFigure
        for number, (text, look) in enumerate(zip(self.texts, looks, strict=True)):
            row, column = divmod(number, self.columns)
            start = left + sum(self.steps[:column])
            above = top + sum(self.heights[:row])
            points = np.linspace(start, start + SAMPLE, 3) / across
            level = np.full(3, 1 - (above + line_height(TEXT) / 2) / down)
            page.figure.add_artist(Line2D(points, level, transform=transform, markevery=[1], **look))
            page.write(start + SAMPLE + GAP, above + text_height(text, TEXT), text, fontsize=TEXT)
