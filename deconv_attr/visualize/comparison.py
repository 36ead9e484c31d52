"""A grid of several methods side by side: a row for each image, a column for each method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure
from torch import Tensor

from ..errors import InputError
from .layout import GAP, SCALE, Grid, show, text_width, write, write_below
from .pictures import STYLES, photograph, robust_scale

__all__ = ["Column", "comparison_figure"]

LABEL_WIDTH, LABEL_SIZE = 18, 10  # characters, points


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a comparison: a title, maps ``(N, C, H, W)``, and how they are drawn.

    A ``"signed"`` column shows :func:`signed_rgb`, a ``"heat"`` column :func:`heat`.
    """

    title: str
    maps: Tensor
    style: Literal["signed", "heat"] = "signed"


def comparison_figure(
    images: Tensor, columns: Sequence[Column], labels: Sequence[str], shared_scale: bool = False
) -> Figure:
    """Draw a grid: a row for each image, the image itself in the first column, then the methods.

    Scales are never shared between methods: a deconvnet's signal is no gradient, and is orders of magnitude
    larger or smaller. Nor, by default, between rows: on trained SqueezeNet the top class's DeconvNet maps
    differ by a factor of 40 from photograph to photograph, guided backprop's by 8, and under one scale the
    weak ones are plain grey. A map that is zero everywhere says so.

    Parameters
    ----------
    images : Tensor
        ``(N, 3, H, W)`` or ``(N, 1, H, W)``, between 0 and 1.
    columns : sequence of Column
        One for each method, with N maps each.
    labels : sequence of str
        N texts, written left of the rows; long lines are broken.
    shared_scale : bool
        True: all rows of a column share the scale that its colour bar shows, so that rows can be compared.
        False: every map has its own scale, written below it, and the bar is in units of it.

    Raises
    ------
    InputError
        If the numbers of images, maps and labels differ, or an image or a map cannot be drawn.
    """
    rows = len(images)
    for what, number in [("labels", len(labels)), *((f"{c.title} maps", len(c.maps)) for c in columns)]:
        if number != rows:
            raise InputError(f"a comparison of {rows} images needs {rows} {what}, got {number}")
    texts = [_wrapped(label) for label in labels]
    room = max((text_width(text, LABEL_SIZE) for text in texts), default=0) + 2 * GAP
    grid = Grid(rows, 1 + len(columns), images.shape[-1] / images.shape[-2], room, 0 if shared_scale else SCALE)
    for row, (image, text) in enumerate(zip(images, texts, strict=True)):
        tile = grid.tile(row, 0)
        show(tile, photograph(image), "image" if row == 0 else "")
        write(tile, -GAP / grid.width, 0.5, text, ha="right", fontsize=LABEL_SIZE, va="center")
    for number, column in enumerate(columns, start=1):
        _draw_column(grid, number, column, shared_scale)
    return grid.figure


def _draw_column(grid: Grid, number: int, column: Column, shared_scale: bool) -> None:
    style = STYLES[column.style]
    shared = robust_scale(style.measure(column.maps))
    for row, attribution in enumerate(column.maps):
        own = robust_scale(style.measure(attribution))
        tile = grid.tile(row, number)
        picture = style.draw(attribution, shared if shared_scale else own)
        show(tile, picture, column.title if row == 0 else "", style.colours)
        if own == 0:
            colour = "white" if column.style == "heat" else "black"
            write(tile, 0.5, 0.5, "zero everywhere", ha="center", va="center", color=colour)
        elif not shared_scale:
            write_below(tile, f"s = {own:.2g}")
    grid.bar_below(number, style, shared if shared_scale else None)


def _wrapped(label: str) -> str:
    return "\n".join(textwrap.fill(line, LABEL_WIDTH, max_lines=6) for line in label.splitlines())
