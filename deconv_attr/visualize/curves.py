"""Curves of several methods: panels in rows, in all of which a method has the same colour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure as AnyFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..engine.undo import Undo
from ..errors import InputError
from .figure import Figure, set_rc
from .page_layout import GAP, HINTING, Page, broken, line_height, text_height, text_width
from .paper import FONT_SIZE, WIDEST, check_layout, figure_of

__all__ = ["Curve", "Panel", "check_curve_options", "curves_figure", "panel_figures"]

Look = dict[str, Any]
"""Arguments of a ``Line2D``."""

# Okabe and Ito's colours but for yellow, which is faint on white, and two dark ones: seen with protanopia, deuteranopia
# or tritanopia, no two come nearer to each other than Okabe and Ito's own.
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00 #000000 #882255 #6E3B00".split()
DARK_COLOURS = "#5652FF #DE8329 #3AE58E #976DD4 #9EBCE0 #FFD300 #FFFFFF #E72C87 #916437".split()
"""The same on ``DARK_PAPER``: as far from each other, and a contrast of 3 or more."""
DARK_PAPER = "#1E1E21"  # --paper in page.css
DARK = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), DARK_PAPER),
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), "#ECECEE"),
}
"""Settings of matplotlib for a figure on a dark page."""
STROKES = ("-", "--", ":", "-.")  # the second one from the tenth method on
STROKE = 1.3  # points: the width of a line
DOT = 2.8  # points: a dot on a line
PALE = 0.15  # the opacity of a band
DOTTED = 40  # the most values of a curve at which each has a dot

TITLE = 9 / 8  # the size of titles, relative to that
NAME = 7 / 8  # the size of the numbers and names at ticks
PANEL = 4.0  # inches: a panel with its texts, where there is room
NARROWEST = 2.3 / 8  # inches for each point of text: a panel with its texts
LEAST = 0.5  # inches: the axes of a panel
ASPECT = 0.6  # the height of the axes, relative to the width of a panel with its texts
BETWEEN = 0.3  # inches between two entries of the legend
MARGIN = 0.15  # inches: right of all, for half of the last number
SAMPLE = 0.35  # inches: a line in the legend
TICK = 0.08  # inches: a tick and the space to its name
FEWEST = 0.045  # inches for each point of text: the step of numbers at an axis


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


def curves_figure(
    panels: Sequence[Panel],
    *,
    width: float | None = None,
    columns: int | None = None,
    font_size: float = FONT_SIZE,
    colours: Sequence[Any] | None = None,
    axes: Axes | Sequence[Axes] | None = None,
) -> AnyFigure:
    """Draw panels in rows, with one legend below all of them.

    Parameters
    ----------
    panels : sequence of Panel
        At least one.
    width : float, optional
        Of the figure, in inches; by default at most 7, the text of a printed page.
    columns : int, optional
        How many panels stand beside each other; by default as many as are readable.
    font_size : float
        Of axes and legend, in points; titles are an eighth larger, numbers an eighth smaller.
    colours : sequence of colours, optional
        Matplotlib's colours for the labels, in order; where they are used up, lines are dashed.
    axes : Axes or sequence of Axes, optional
        The caller's own, one for each panel, on one figure; `width` and `columns` are then the caller's, too. One more
        holds the legend alone; else it stands within the last of them.

    Returns
    -------
    Figure
        Where axes were given, theirs; nothing else on it is changed.

    Raises
    ------
    InputError
        If there is no panel, the numbers of a curve's values differ, a curve leaves the ticks of its panel, or an
        option has a wrong value.
    """
    if not panels:
        raise InputError("expected at least one panel, got none")
    _check(panels)
    check_curve_options(len(panels), width, columns, font_size, colours, axes)
    labels, looks = _looks(panels, COLOURS if colours is None else colours)
    if axes is not None:
        return _on_axes(np.ravel(np.asarray(axes, dtype=object)).tolist(), panels, looks, font_size)
    return _on_page(panels, panels, labels, looks, font_size, width, columns)


def panel_figures(panels: Sequence[Panel], *, width: float, font_size: float, dark: bool = False) -> list[Figure]:
    """Draw each panel on a figure of its own, for a page: with the limits and colours that all have in common.

    Parameters
    ----------
    panels : sequence of Panel
        Any number.
    width, font_size : float
        As for :func:`curves_figure`.
    dark : bool
        Whether they are for a dark page.

    Returns
    -------
    list of Figure
        One for each panel.

    Raises
    ------
    InputError
        As for :func:`curves_figure`.
    """
    _check(panels)
    _, looks = _looks(panels, DARK_COLOURS if dark else COLOURS)
    undo = Undo()
    with undo, undo:
        set_rc(DARK if dark else {}, undo)
        return [
            _on_page([panel], panels, [curve.label for curve in panel.curves], looks, font_size, width, 1)
            for panel in panels
        ]


def check_curve_options(
    panels: int,
    width: float | None,
    columns: int | None,
    font_size: float,
    colours: Sequence[Any] | None,
    axes: Axes | Sequence[Axes] | None,
) -> None:
    """Check the options of a figure of curves.

    Parameters
    ----------
    panels : int
        The number of panels.
    width, columns, font_size, colours, axes
        As for :func:`curves_figure`.

    Raises
    ------
    InputError
        An option has a wrong value.
    """
    check_layout(axes, font_size, columns, width=width)
    if colours is not None:
        wrong = [colours] if isinstance(colours, str) else [each for each in colours if not is_color_like(each)]
        if wrong or not len(colours):
            raise InputError(f"expected colours as a sequence of matplotlib's colours, got {(wrong or colours)!r:.80}")
    if axes is None:
        return
    given = np.ravel(np.asarray(axes, dtype=object)).tolist()
    if len(given) not in (panels, panels + 1) or not all(isinstance(each, Axes) for each in given):
        raise InputError(f"expected {panels} axes, one for each panel, or one more for the legend, got {axes!r:.80}")
    if len({id(each.figure) for each in given}) > 1:
        raise InputError("expected axes of one figure, got some of several")


def _on_axes(axes: Sequence[Axes], panels: Sequence[Panel], looks: Mapping[str, Look], size: float) -> AnyFigure:
    """Draw panels on the caller's axes, with matplotlib's legend in the last of them."""
    for panel, own in zip(panels, axes, strict=False):
        place = own.get_window_extent()
        dpi = figure_of(own).dpi
        frame = _Frame(panel, panels, size, place.height / dpi)
        frame.fit(place.width / dpi)
        frame.draw(own, looks)
    if len(axes) > len(panels):
        axes[-1].set_axis_off()
    legend = axes[-1].legend([Line2D([], [], **look) for look in looks.values()], list(looks), fontsize=size)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure_of(axes[-1])


def _on_page(
    panels: Sequence[Panel],
    alike: Sequence[Panel],
    labels: Sequence[str],
    looks: Mapping[str, Look],
    size: float,
    width: float | None,
    columns: int | None,
) -> Figure:
    """Draw panels on a page of their own; `alike` are all that have limits in common."""
    if columns is None:
        most = max(1, int((width or WIDEST) / (NARROWEST * size)))
        columns = math.ceil(len(panels) / math.ceil(len(panels) / most))  # rows of about the same length
    columns = min(columns, len(panels))
    width = width or min(WIDEST, PANEL * columns)
    height = ASPECT * width / columns
    frames = [_Frame(panel, alike, size, height) for panel in panels]
    asides = [max(frame.aside for frame in frames[column::columns]) for column in range(columns)]
    across = (width - MARGIN - sum(asides) - GAP * (columns - 1)) / columns
    if across < LEAST:
        raise InputError(
            f"expected a greater width or fewer columns for text of {size:g} points, got a width of {width:g} inches "
            f"for {columns}"
        )
    for frame in frames:
        frame.fit(across)
    rows = [frames[first : first + columns] for first in range(0, len(frames), columns)]
    tops = [max(frame.above for frame in row) for row in rows]
    heights = [top + height + max(frame.below for frame in row) for top, row in zip(tops, rows, strict=True)]
    legend = _Legend(labels, width - asides[0] - MARGIN, size)
    foot = sum(heights) + GAP
    page = Page(width, foot + legend.height + GAP)
    for number, row in enumerate(rows):
        left = 0.0
        for aside, frame in zip(asides, row, strict=False):
            frame.draw(page.axes(left + aside, sum(heights[:number]) + tops[number], across, height), looks)
            left += aside + across + GAP
    legend.draw(page, asides[0], foot, [looks[label] for label in labels])
    return page.figure


def _check(panels: Sequence[Panel]) -> None:
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


def _looks(panels: Sequence[Panel], colours: Sequence[Any]) -> tuple[list[str], dict[str, Look]]:
    """Return the labels of all panels, in order, and how each is drawn."""
    labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    looks = itertools.cycle((colour, stroke) for stroke in STROKES for colour in colours)
    return labels, {
        label: {"color": colour, "linestyle": stroke, "linewidth": STROKE, "marker": "o", "markersize": DOT}
        for label, (colour, stroke) in zip(labels, looks, strict=False)
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
        self.name(7)

    def name(self, most: int) -> None:
        """Name at most so many steps of the axis."""
        ticks = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        self.ticks = [float(tick) for tick in ticks if self.low <= tick <= self.high]
        self.names = [f"{tick + 0.0:.6g}" for tick in self.ticks]


class _Frame:
    """A panel and its space in inches: the texts left of it, above and below it.

    Parameters
    ----------
    panel : Panel
        The panel to draw.
    alike : sequence of Panel
        Those whose upward axes have the same limits, where they have the same name.
    size : float
        Of the text, in points.
    height : float
        Of the axes.
    """

    def __init__(self, panel: Panel, alike: Sequence[Panel], size: float, height: float) -> None:
        self.panel = panel
        self.size = size
        curves = [curve for other in alike if other.up == panel.up for curve in other.curves]
        self.x = _Scale([curve.x for curve in panel.curves])
        self.y = _Scale([values for curve in curves for values in (curve.mean, curve.low, curve.high)])
        self.up = broken(panel.up, size, height)
        names = HINTING * max(text_width(name, NAME * size) for name in self.y.names)
        self.aside = GAP + text_height(self.up, size) + names + TICK

    def fit(self, width: float) -> None:
        """Break the texts for axes of a width, and name as many ticks as have space there."""
        self.turn = 0  # degrees, of the tick names
        longest = 0.0
        if self.panel.ticks:
            longest = HINTING * max(text_width(name, NAME * self.size) for name in self.panel.ticks)
            if longest + GAP > width / len(self.panel.ticks):
                self.turn = 90
            self._name(self.panel.ticks, width)
        else:
            self.x.name(max(2, min(7, int(width / (FEWEST * self.size)))))
        self.title = broken(self.panel.title, TITLE * self.size, width)
        self.across = broken(self.panel.across, self.size, width)
        self.above = 2 * GAP + text_height(self.title, TITLE * self.size)
        names = max(longest if self.turn else 0, line_height(NAME * self.size))
        self.below = TICK + names + text_height(self.across, self.size)

    def draw(self, axes: Axes, looks: Mapping[str, Look]) -> None:
        """Draw the curves, and everything around them but the legend."""
        for curve in self.panel.curves:
            _draw_curve(axes, curve, looks[curve.label])
        size = NAME * self.size
        axes.set(xlim=(self.x.low, self.x.high), ylim=(self.y.low, self.y.high))
        axes.set_xticks(self.x.ticks, self.x.names, rotation=self.turn, fontsize=size, parse_math=False)
        axes.set_xticks(range(len(self.panel.ticks or ())), minor=True)
        axes.set_yticks(self.y.ticks, self.y.names, fontsize=size, parse_math=False)
        axes.set_title(self.title, fontsize=TITLE * self.size, pad=4, parse_math=False)
        axes.set_xlabel(self.across, fontsize=self.size, labelpad=2, parse_math=False)
        axes.set_ylabel(self.up, fontsize=self.size, labelpad=2, parse_math=False)
        axes.grid(False, axis="x", which="both")
        axes.grid(True, axis="y", color="0.5", alpha=0.2, linewidth=0.8, linestyle="-")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    def _name(self, ticks: Sequence[str], width: float) -> None:
        """Name as many ticks as have space, the first and the last among them."""
        step = math.ceil(line_height(NAME * self.size) * len(ticks) / width) if self.turn else 1
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
        axes.plot(x[empty], mean[empty], linestyle="", markerfacecolor=axes.get_facecolor(), **dot)


def _numbers(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


class _Legend:
    """The label of each look, in rows of as many as fit in a width in inches."""

    def __init__(self, labels: Sequence[str], width: float, size: float) -> None:
        self.size = size
        self.texts = [broken(label, size, width - SAMPLE - GAP) for label in labels]
        widths = [SAMPLE + GAP + HINTING * text_width(text, size) + BETWEEN for text in self.texts]
        self.columns = 1
        self.steps = widths
        self.heights: list[float] = []
        for rows in range(1, len(labels) + 1):
            self.columns = math.ceil(len(labels) / rows)
            self.steps = [max(widths[column :: self.columns]) for column in range(self.columns)]
            if sum(self.steps) <= width + BETWEEN:
                break
        for start in range(0, len(labels), self.columns):
            self.heights.append(max(text_height(text, size) for text in self.texts[start : start + self.columns]))
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
            level = np.full(3, 1 - (above + line_height(self.size) / 2) / down)
            page.figure.add_artist(Line2D(points, level, transform=transform, markevery=[1], **look))
            page.write(start + SAMPLE + GAP, above + text_height(text, self.size), text, fontsize=self.size)
