"""Projections of single units, each beside the image patch that it came from and the image with its box.

Pixel r of a picture covers r - 0.5 ... r + 0.5, and a box is half open: its upper edge is drawn at ``top - 0.5``, its
lower one at ``bottom - 0.5``, on the borders of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import FigureBase
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .figure import Figure
from .page_layout import GAP, Page, broken, short, show, text_height
from .paper import (
    FONT_SIZE,
    LIFT,
    check_layout,
    checked_axes,
    entitle,
    figure_of,
    note_below,
    note_inside,
    outline,
    outline_box,
    width_of,
    write_zeros,
)
from .pictures import STYLES, Picture, robust_scale, signed_rgb
from .pictures import luminance as luminance_of
from .projection_page import ProjectionPage
from .unit_input import Box, Unit, checked_text, checked_unit, checked_units

__all__ = ["projections_figure", "visualize_projection"]

TILES = ("projection", "patch", "image")
TILE = 2.2  # inches: a tile of a new figure
NARROWEST = 0.3  # inches: the least height of a tile on a figure of a given size


@dataclass(frozen=True)
class _Look:
    """How units are drawn: the colours of projections of one channel, the size of texts, and where a note stands."""

    colours: Colormap | None
    font_size: float
    note: Callable[[Axes, str, float], None] = note_below


def visualize_projection(
    projection: Tensor,
    image: Tensor | None = None,
    box: Box | None = None,
    *,
    scale: float | None = None,
    title: str | None = None,
    plt_fig_axis: tuple[Figure, Axes | Sequence[Axes] | NDArray[np.object_]] | None = None,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool = False,
    cmap: str | Colormap | None = None,
    luminance: bool = False,
    font_size: float = FONT_SIZE,
) -> tuple[Figure, Axes | NDArray[np.object_]]:
    """Draw the projection of one unit and, given the image, the patch it came from and the image with its box.

    ``plt_fig_axis``, ``title``, ``fig_size``, ``use_pyplot`` and the answer are those of Captum's
    ``visualize_image_attr``. Pictures are tensors, as everywhere here, not arrays ``(H, W, C)``; for ``outlier_perc``
    there is ``scale``; and nothing is shown unasked: ``use_pyplot`` is False, and ``plt.show()`` is left to the caller.

    Parameters
    ----------
    projection : Tensor
        ``(3, h, w)``, or ``(1, h, w)``, which is drawn in greys; signed, around mid-grey (:func:`signed_rgb`).
    image : Tensor, optional
        The whole image, ``(3, H, W)`` or ``(1, H, W)`` between 0 and 1, together with the box.
    box : Tensor or sequence of int, optional
        The position of the projection in the image: top, left, bottom, right in pixels, with ``bottom - top == h`` and
        ``right - left == w``.
    scale : float, optional
        The magnitude of full contrast, written below the projection; by default its own :func:`robust_scale`. To
        compare several projections, pass the scale of all of them together.
    title : str, optional
        Written above the projection; long lines are broken to its width.
    plt_fig_axis : tuple, optional
        The caller's figure and axes to draw on: one for the projection alone, else three. The next two arguments are
        then not used.
    fig_size : tuple of float, optional
        Width and height of a new figure in inches, at least those of title and note; by default those of the tiles
        too.
    use_pyplot : bool
        Whether the new figure is one of pyplot's, which notebooks and ``plt.show()`` show.
    cmap : str or Colormap, optional
        The colours of matplotlib in which a projection of one channel is drawn, zero in the middle; by default greys.
    luminance : bool
        Whether a projection in RGB is drawn as its luminance, in greys.
    font_size : float
        Of all texts, in points.

    Returns
    -------
    tuple
        The figure and its axes: one, or an array of three for projection, patch and image.

    Raises
    ------
    InputError
        If a picture cannot be drawn, the box does not fit image and projection, only one of image and box is given,
        the scale is negative or not finite, the number of axes is wrong, or there are no such colours.
    """
    check_layout(None, font_size)
    if scale is not None and not (isinstance(scale, Real) and 0 <= scale < math.inf):
        raise InputError(f"expected scale as a finite number of at least 0, got {scale!r:.80}")
    look = _Look(_checked_colours(cmap), font_size, note_below if plt_fig_axis is None else note_inside)
    unit = _as_drawn(checked_unit(projection, image, box), luminance)
    captions = list(TILES) if len(unit.shapes) > 1 else [""]
    if title is not None:
        captions[0] = checked_text(title, "a title")
    if plt_fig_axis is None:
        figure, axes = _new_axes(unit, captions, fig_size, use_pyplot, font_size)
    else:
        figure, axes = _given_axes(len(unit.shapes), plt_fig_axis)
        captions[0] = broken(captions[0], font_size, width_of(axes[0]))
    drawn = unit.scale if scale is None else scale
    _draw(unit, axes, drawn, f"scale {short(drawn)}", look, captions)
    return figure, axes if len(axes) > 1 else axes[0]


def projections_figure(
    projections: Sequence[Tensor] | Tensor,
    images: Sequence[Tensor] | Tensor | None = None,
    boxes: Sequence[Box] | Tensor | None = None,
    labels: Sequence[str] | None = None,
    *,
    shared_scale: bool = False,
    cmap: str | Colormap | None = None,
    luminance: bool = False,
    width: float | None = None,
    tile: float | None = None,
    columns: int | None = None,
    font_size: float = FONT_SIZE,
    axes: Any = None,
) -> Figure:
    """Draw many units on one page, each as :func:`visualize_projection` does.

    All tiles have one size, whatever the number of their pixels: a picture keeps its aspect, and its longer side
    fills the tile. A projection of zeros is marked as such.

    Parameters
    ----------
    projections : sequence of Tensor
        K projections ``(3, h, w)`` or ``(1, h, w)``; their sizes may differ.
    images : sequence of Tensor, optional
        K whole images, one for each unit even where it is the same; see :func:`visualize_projection`.
    boxes : Tensor or sequence, optional
        ``(K, 4)``: top, left, bottom, right in pixels.
    labels : sequence of str
        K texts, written above the units, or none at all; long lines are broken.
    shared_scale : bool
        Whether all projections share the scale that the colour bar shows, so that they can be compared.
        Otherwise each has its own scale, written below it, and the bar is in units of it.
    cmap, luminance
        As for :func:`visualize_projection`.
    width : float, optional
        Of the figure in inches; by default at most 7, the width of a paper's text.
    tile : float, optional
        The longer side of a tile in inches, in place of the width.
    columns : int, optional
        Units beside each other; by default those of a page of good shape.
    font_size : float
        Of all texts, in points.
    axes : array of Axes, optional
        The caller's axes: (K,), or with images (K, 3). Labels are titles there, and scales stand inside. Nothing else
        is drawn on their figure, and there is no colour bar.

    Returns
    -------
    Figure
        A new one, or that of the axes.

    Raises
    ------
    InputError
        If there is no projection, the numbers of projections, images, boxes and labels differ, a unit cannot be
        drawn (see :func:`visualize_projection`), a size is not positive, or more than one of width, tile and
        axes is given.
    """
    check_layout(axes, font_size, columns, width=width, tile=tile)
    look = _Look(_checked_colours(cmap), font_size, note_below if axes is None else note_inside)
    units = [_as_drawn(unit, luminance) for unit in checked_units(projections, images, boxes)]
    labels = _checked_labels(labels or (), len(units))
    shared = robust_scale(torch.cat([_flat(unit.projection) for unit in units])) if shared_scale else None
    scales = [unit.scale if shared is None else shared for unit in units]
    notes = [f"scale {short(scale)}" for scale in scales]
    if axes is not None:
        return _draw_on(axes, units, labels, scales, notes, look)
    page = ProjectionPage(
        [unit.shapes for unit in units],
        TILES[: len(units[0].shapes)],
        labels,
        notes if shared is None else (),
        _caption(units, look.colours, luminance),
        font_size,
        width,
        tile,
        columns,
    )
    for number, (unit, scale) in enumerate(zip(units, scales, strict=True)):
        _draw(unit, page.tiles(number), scale, page.notes[number] if page.notes else "", look, room=page.widths[0])
    page.bar_at_foot(look.colours or "gray", shared)
    return page.figure


def _as_drawn(unit: Unit, grey: bool) -> Unit:
    """Return a unit whose projection is its luminance, if it is to be drawn so."""
    if not grey or len(unit.projection) == 1:
        return unit
    projection = luminance_of(unit.projection.double())
    return replace(unit, projection=projection, scale=robust_scale(projection))


def _checked_colours(cmap: str | Colormap | None) -> Colormap | None:
    if cmap is None:
        return None
    try:
        return colormaps.get_cmap(cmap)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected cmap as a colour map of matplotlib or its name, got {cmap!r:.80}") from error


def _caption(units: Sequence[Unit], colours: Colormap | None, grey: bool) -> str:
    if any(len(unit.projection) > 1 for unit in units):
        return STYLES["signed"].caption(3)
    return f"signed{' luminance' if grey else ''}; {'grey' if colours is None else 'the middle'} is zero"


def _draw_on(
    axes: Any, units: Sequence[Unit], labels: Sequence[str], scales: Sequence[float], notes: Sequence[str], look: _Look
) -> Figure:
    """Draw units on the caller's axes."""
    names = TILES[: len(units[0].shapes)]
    given = checked_axes(axes, (len(units), len(names)), f"for {', '.join(names)} of each unit")
    for number, unit in enumerate(units):
        label = broken(labels[number], look.font_size, width_of(given[number, 0])) if labels else ""
        captions = [label or (names[0] if len(names) > 1 else ""), *names[1:]]
        _draw(unit, given[number], scales[number], notes[number], look, captions)
    return figure_of(given)


def _checked_labels(labels: Sequence[str], units: int) -> list[str]:
    if len(labels) not in (0, units):
        raise InputError(f"expected {units} labels for {units} projections, or none, got {len(labels)}")
    return [checked_text(label, "a label") for label in labels]


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().double().cpu().flatten()


def _draw(
    unit: Unit,
    axes: NDArray[np.object_],
    scale: float,
    note: str,
    look: _Look,
    captions: Sequence[str] = ("",) * 3,
    room: float = 0,
) -> None:
    """Draw one unit on one or three axes, and a note at the projection, or that it is zero everywhere.

    For these words on a sliver there is as much room, in inches.
    """
    show(axes[0], _picture(unit.projection, scale, look.colours))
    if unit.scale > 0:
        look.note(axes[0], note, look.font_size)
    else:
        write_zeros(axes[0], look.font_size, max(width_of(axes[0]), room))
    if unit.image is not None:
        top, left, bottom, right = unit.box
        for tile, picture in zip(axes[1:], (unit.image[top:bottom, left:right], unit.image), strict=True):
            show(tile, picture)
            height, width = picture.shape[:2]
            outline(tile, (0, 0, height, width), "silver", 0.5)  # the border of a white picture on a white page
        outline_box(axes[2], unit.box)
    for tile, caption in zip(axes, captions, strict=False):
        entitle(tile, caption, look.font_size)


def _picture(projection: Tensor, scale: float, colours: Colormap | None) -> Picture:
    picture = signed_rgb(projection, scale)
    return picture if colours is None or len(projection) > 1 else colours(picture[..., 0])[..., :3]


def _given_axes(tiles: int, given: Any) -> tuple[Figure, NDArray[np.object_]]:
    try:
        figure, own = given
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected plt_fig_axis as a pair of a figure and its axes, got a {type(given).__name__}"
        ) from error
    axes = np.ravel(np.asarray(own, dtype=object))
    if not isinstance(figure, FigureBase) or not all(isinstance(each, Axes) for each in axes):
        raise InputError(
            f"expected plt_fig_axis as a pair of a figure and its axes, got a {type(figure).__name__} first"
        )
    if len(axes) != tiles:
        raise InputError(f"expected {tiles} axes in plt_fig_axis, for {', '.join(TILES[:tiles])}; got {len(axes)}")
    return cast(Figure, figure), axes


def _check_size(size: tuple[float, float] | None) -> None:
    if size is not None and not (len(size) == 2 and all(isinstance(side, Real) and side > 0 for side in size)):
        raise InputError(f"expected fig_size as a width and a height in inches, got {size!r:.80}")


def _new_axes(
    unit: Unit, captions: list[str], size: tuple[float, float] | None, use_pyplot: bool, font_size: float
) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure of tiles as large as the space below the captions; break the first caption to fit."""
    tiles = len(captions)
    _check_size(size)
    width = tiles * TILE if size is None else size[0]
    across = (width - GAP * (tiles + 1)) / tiles
    captions[0] = broken(captions[0], font_size, across)
    above = GAP + text_height(captions[0], font_size)
    below = 2 * LIFT + text_height("", font_size)
    tallest = max(height / width for height, width in unit.shapes)
    down = across * min(tallest, 1) if size is None else max(size[1] - above - below, NARROWEST)
    make: Callable[..., Figure] = Figure
    if use_pyplot:
        from matplotlib import pyplot  # only here: importing it chooses a backend

        make = cast(Callable[..., Figure], partial(pyplot.figure, FigureClass=Figure))
    page = Page(width, above + down + below if size is None else size[1], make)
    axes = [page.axes(GAP + number * (across + GAP), above, across, down) for number in range(tiles)]
    return page.figure, np.array(axes, dtype=object)
