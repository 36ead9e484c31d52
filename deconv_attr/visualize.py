"""Attribution maps as pictures: a single map, and a grid of several methods side by side.

The one place that imports matplotlib, and only its object-oriented face: no window, no backend, no
figure that a user's own plots could see. It knows tensors and pictures, no models.

A signed map v with scale s is drawn around mid-grey, ``0.5 + 0.5 * clip(v / s, -1, 1)`` for each
channel; its heat is ``clip(max_c |v_c| / s, 0, 1)``. The scale is robust (:func:`robust_scale`).
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray
from torch import Tensor

from .errors import InputError

__all__ = [
    "FORMATS",
    "Column",
    "comparison_figure",
    "heat",
    "picture_path",
    "robust_scale",
    "save_figure",
    "signed_rgb",
]

Picture = NDArray[np.float64]

# Inches. The layout is computed, not fitted: a picture of one row looks like one row of a picture of six.
TILE, GAP, TITLE, BAR, TICKS, SCALE = 2.1, 0.1, 0.35, 0.1, 0.5, 0.16
DPI = 150
LABEL_WIDTH = 18  # characters

FORMATS = (".png", ".jpg", ".pdf", ".svg")
"""The endings of file names that can be written."""


def robust_scale(maps: Tensor, percentile: float = 99.5) -> float:
    """Return the magnitude that is drawn with full contrast: a high percentile of the non-zero ``|maps|``.

    Zeros do not count, because a projection fills only the unit's receptive field. The percentile is
    rounded down to a value of the map, so that one outlier among many values never sets the scale.

    Parameters
    ----------
    maps : Tensor
        Values of any shape.
    percentile : float
        Between 0 and 100.

    Returns
    -------
    float
        0.0 where every value is zero.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    values = np.abs(maps.detach().double().cpu().numpy())
    if not np.isfinite(values).all():
        lost = np.sum(~np.isfinite(values))
        raise InputError(f"a map to draw must be finite, got {lost} values that are NaN or infinite")
    values = values[values > 0]
    return float(np.percentile(values, percentile, method="lower")) if values.size else 0.0


def signed_rgb(attribution: Tensor, scale: float | None = None) -> Picture:
    """Return a signed map as an RGB picture around mid-grey.

    Parameters
    ----------
    attribution : Tensor
        ``(3, H, W)``, or ``(1, H, W)``, which is drawn in greys.
    scale : float, optional
        The magnitude of full contrast; by default the map's own :func:`robust_scale`.

    Returns
    -------
    Picture
        ``(H, W, 3)`` between 0 and 1; 0.5 everywhere for a map of zeros.

    Raises
    ------
    InputError
        If the map has another shape, or is not finite.
    """
    rgb = _rgb(attribution)
    return 0.5 + 0.5 * _relative(rgb, robust_scale(attribution) if scale is None else scale)


def heat(attribution: Tensor, scale: float | None = None) -> Picture:
    """Return the strength of a map at each pixel: the largest ``|value|`` over its channels.

    Parameters
    ----------
    attribution : Tensor
        ``(C, H, W)``.
    scale : float, optional
        See :func:`signed_rgb`; here the default is the robust scale of the strengths.

    Returns
    -------
    Picture
        ``(H, W)`` between 0 and 1.

    Raises
    ------
    InputError
        If the map is not finite.
    """
    strength = _strength(attribution)
    largest = robust_scale(strength) if scale is None else scale
    return _relative(strength.detach().double().cpu().numpy(), largest)


def _rgb(image: Tensor) -> Picture:
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise InputError(f"a picture needs the shape (3, H, W) or (1, H, W), got {tuple(image.shape)}")
    pixels: Picture = image.detach().double().cpu().expand(3, -1, -1).permute(1, 2, 0).numpy()
    return pixels


def _strength(maps: Tensor) -> Tensor:
    return maps.abs().amax(dim=-3)


def _relative(values: Picture, scale: float) -> Picture:
    """Divide by the scale and clip to [-1, 1]; a scale of zero means that there is nothing to see."""
    return np.clip(values / scale, -1, 1) if scale > 0 else np.zeros_like(values)


@dataclass(frozen=True)
class _Style:
    """How the maps of one column are drawn: one picture, what its scale is taken of, and its colour bar."""

    draw: Callable[[Tensor, float], Picture]
    measure: Callable[[Tensor], Tensor]
    lowest: int
    colours: str
    extend: Literal["both", "max"]
    caption: str


STYLES = {
    "signed": _Style(signed_rgb, lambda maps: maps, -1, "gray", "both", "each channel"),
    "heat": _Style(heat, _strength, 0, "inferno", "max", "largest |channel|"),
}


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
        If the numbers of images, maps and labels differ, or a map cannot be drawn.
    """
    rows = len(images)
    for what, number in [("labels", len(labels)), *((f"{c.title} maps", len(c.maps)) for c in columns)]:
        if number != rows:
            raise InputError(f"a comparison of {rows} images needs {rows} {what}, got {number}")
    texts = [_wrapped(label) for label in labels]
    aspect, room = images.shape[-1] / images.shape[-2], max(map(_width, texts), default=0) + 2 * GAP
    grid = _Grid(rows, 1 + len(columns), aspect, room, 0 if shared_scale else SCALE)
    for row, (image, text) in enumerate(zip(images, texts, strict=True)):
        tile = grid.tile(row, 0, "image" if row == 0 else "")
        tile.imshow(np.clip(_rgb(image), 0, 1))
        _write(tile, -GAP / grid.width, 0.5, text, ha="right", fontsize=10, va="center")
    for number, column in enumerate(columns, start=1):
        _draw_column(grid, number, column, shared_scale)
    return grid.figure


def _draw_column(grid: _Grid, number: int, column: Column, shared_scale: bool) -> None:
    style = STYLES[column.style]
    shared = robust_scale(style.measure(column.maps))
    for row, attribution in enumerate(column.maps):
        own = robust_scale(style.measure(attribution))
        tile = grid.tile(row, number, column.title if row == 0 else "")
        picture = style.draw(attribution, shared if shared_scale else own)
        tile.imshow(picture, vmin=0, vmax=1, cmap=style.colours)
        if own == 0:
            colour = "white" if column.style == "heat" else "black"
            _write(tile, 0.5, 0.5, "zero everywhere", ha="center", va="center", color=colour)
        elif not shared_scale:
            _write(tile, 0.5, -0.02, f"s = {own:.2g}", ha="center", va="top", fontsize="x-small")
    _draw_bar(grid.bar(number), style, shared if shared_scale else None)


def _draw_bar(axes: Axes, style: _Style, scale: float | None) -> None:
    """Draw what the colours mean: values where there is one scale, else multiples of each map's own ``s``."""
    ends = [end for end in (-1, 0, 1) if end >= style.lowest and (scale != 0 or end == 0)]
    names = [{-1: "-s", 0: "0", 1: "s"}[end] if scale is None else f"{end * scale:.2g}" for end in ends]
    colours = ScalarMappable(Normalize(style.lowest, 1), style.colours)
    bar = axes.figure.colorbar(colours, cax=axes, orientation="horizontal", extend=style.extend, ticks=ends)
    bar.ax.set_xticklabels(names, fontsize="x-small")
    bar.set_label(style.caption, fontsize="x-small", labelpad=1)


class _Grid:
    """Tiles with labels on the left, titles above and a row of colour bars below; lengths in inches."""

    def __init__(self, rows: int, columns: int, aspect: float, label: float, below: float) -> None:
        self.width, self.height = TILE * min(aspect, 1.0), TILE / max(aspect, 1.0)
        self.rows, self.label, self.step = rows, label, self.height + GAP + below
        self.size = label + columns * (self.width + GAP), TITLE + rows * self.step + BAR + TICKS
        self.figure = Figure(figsize=self.size, dpi=DPI)

    def _axes(self, column: int, top: float, inset: float, height: float) -> Axes:
        left, width = self.label + column * (self.width + GAP) + inset, self.width - 2 * inset
        across, down = self.size
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def tile(self, row: int, column: int, title: str) -> Axes:
        axes = self._axes(column, TITLE + row * self.step, 0, self.height)
        axes.set_axis_off()
        axes.set_title(title, fontsize="medium", pad=4, parse_math=False)
        return axes

    def bar(self, column: int) -> Axes:
        return self._axes(column, TITLE + self.rows * self.step, 0.1 * self.width, BAR)


def _write(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """Write at a place relative to a tile. A class name is no formula, whatever dollars it holds."""
    axes.text(x, y, text, transform=axes.transAxes, parse_math=False, **look)


def _wrapped(label: str) -> str:
    return "\n".join(textwrap.fill(line, LABEL_WIDTH, max_lines=6) for line in label.splitlines())


def _width(label: str) -> float:
    """Return the width of the longest line in inches, in matplotlib's usual font of 10 points."""
    font = FontProperties(size=10)
    lines = label.splitlines()
    return max((text_to_path.get_text_width_height_descent(line, font, False)[0] for line in lines), default=0) / 72


def picture_path(name: str | Path) -> Path:
    """Return a name as a path to which :func:`save_figure` can write.

    Raises
    ------
    InputError
        If the ending is none of :data:`FORMATS`, the folder is missing, or the place cannot be written.
    """
    path = Path(name)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"the name of a picture must end in {', '.join(FORMATS)}; got {path}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: permission denied")
    return path


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format that the file's ending names, or nothing at all.

    Raises
    ------
    InputError
        If it cannot be written; see :func:`picture_path`.
    """
    path, drawn = picture_path(path), BytesIO()
    figure.savefig(drawn, format=path.suffix.lower()[1:])
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
