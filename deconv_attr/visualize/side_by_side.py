"""Several methods side by side, or below each other: what is drawn of a comparison, whatever it is drawn on.

A ``Surface`` is a grid of tiles, a stack of strips, or axes of the caller's. The first two are figures of our own,
whose size is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError
from .callers_axes import CallersAxes
from .comparison_grid import Grid
from .comparison_stack import Stack
from .figure import AnyFigure
from .page_layout import Head, short
from .paper import Sizes, check_layout
from .pictures import (
    ColourMaps,
    Style,
    check_colour_maps,
    colour_bar,
    coloured,
    robust_scale,
    style_named,
)
from .tiles import Bytes, Corners

__all__ = ["Column", "comparison_figure", "scale_ends"]


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a comparison.

    Parameters
    ----------
    title : str
        Written above.
    maps : sequence of Tensor, or None
        The maps of its rows, (C, H, W); None where the method failed.
    style : str
        One of :data:`STYLES`.
    error : str
        Shown in place of maps.
    zero : mapping of int to str
        Why maps are zero everywhere, by row.
    """

    title: str
    maps: Sequence[Tensor] | Tensor | None
    style: str = "signed"
    error: str = ""
    zero: Mapping[int, str] = field(default_factory=dict)


class Surface(Protocol):
    """What a comparison is drawn on, by row and column; column 0 is that of the images."""

    @property
    def figure(self) -> AnyFigure:
        """The figure."""

    def image(self, row: int, image: Tensor) -> None:
        """Show an input."""

    def outline(self, row: int, box: Corners, size: tuple[int, int]) -> None:
        """Draw a box into an image of (height, width) pixels."""

    def show(self, row: int, column: int, pixels: Bytes) -> None:
        """Show a map."""

    def note(self, row: int, column: int, text: str, colour: str) -> None:
        """Write into a map."""

    def under(self, row: int, column: int, text: str) -> None:
        """Write the scale of a map beside it."""

    def fail(self, column: int, error: str) -> None:
        """Write an error in place of a method's maps."""


def comparison_figure(
    images: Sequence[Tensor] | Tensor,
    columns: Sequence[Column],
    labels: Sequence[str],
    shared_scale: bool = False,
    *,
    head: str = "image",
    boxes: Mapping[int, Sequence[Corners]] | None = None,
    boxed: str = "",
    stacked: bool = False,
    axis: str = "",
    width: float | None = None,
    tile: float | None = None,
    font_size: float | None = None,
    cmap: ColourMaps = None,
    axes: Any = None,
) -> AnyFigure:
    """Draw a grid: a row for each image, the image itself in the first column, then the methods.

    Scales are never shared between methods: a deconvnet's signal is no gradient, and is orders of magnitude
    larger or smaller. Nor, by default, between rows: on trained SqueezeNet the top class's DeconvNet maps
    differ by a factor of 40 from photograph to photograph, guided backprop's by 8, and under one scale the
    weak ones are plain grey. A map of zeros says so. By default the figure is at most 7 inches wide, as a paper's text
    is, with letters of 7 and 8 points; methods that have no space beside the others stand in a further band below them.

    Parameters
    ----------
    images : sequence of Tensor
        N of one shape, ``(3, H, W)`` or ``(1, H, W)``, between 0 and 1; where they are stacked also signals (C, L).
    columns : sequence of Column
        One for each method, with N maps each, or with an error.
    labels : sequence of str
        N texts, written left of the rows; long lines are broken, and cut only where they outgrow the row.
    shared_scale : bool
        Whether all rows of a column share the scale that its colour bar shows, so that rows can be compared.
        Otherwise every map has its own scale, written below it, and the bar is in units of it.
    head : str
        The title of the images.
    boxes : mapping, optional
        By row, boxes to draw into its image: top, left, bottom, right in pixels, half open.
    boxed : str
        What the boxes are, written below the images.
    stacked : bool
        Whether the maps of an image lie below it, as strips of one width, and not beside it.
    axis : str
        What runs along strips, such as "sample".
    width, tile : float, optional
        Width of the figure, or the longer side of a tile, in inches; of tiles of a given size all stand in one band.
    font_size : float, optional
        Points of all texts.
    cmap : str or mapping of str to str, optional
        A colour map of matplotlib, or one by style ("signed", "heat", ...), for maps of one channel.
    axes : array of Axes, optional
        The caller's own, (N, 1 + methods), to draw on.

    Returns
    -------
    Figure
        The figure of the axes, or a new one.

    Raises
    ------
    InputError
        If the numbers of images, maps and labels differ, an image or a map cannot be drawn, a size is not positive, or
        the picture would have more pixels than a file can hold.
    """
    _check(images, columns, labels, stacked)
    check_colour_maps(cmap)
    sizes = Sizes(width, tile, font_size)
    check_layout(axes, sizes.font, width=width, tile=tile)
    scales = [_shared(column) if shared_scale else None for column in columns]
    heads = [Head(head, boxed), *(_head(*each, cmap) for each in zip(columns, scales, strict=True))]
    surface: Surface
    if axes is not None:
        surface = CallersAxes(axes, heads, labels, font_size, stacked)
    elif stacked:
        surface = Stack(list(images), heads, labels, sizes, axis)
    else:
        surface = Grid(images[0].shape[-1] / images[0].shape[-2], heads, labels, sizes, scales=not shared_scale)
    for row, image in enumerate(images):
        with _naming(f"image {row}"):
            surface.image(row, image)
        for box in (boxes or {}).get(row, ()):
            surface.outline(row, box, (image.shape[-2], image.shape[-1]))
    for number, (column, scale) in enumerate(zip(columns, scales, strict=True), start=1):
        if column.maps is None:
            surface.fail(number, column.error or "no maps")
        else:
            _draw_column(surface, number, column, scale, cmap)
    return surface.figure


def scale_ends(style: Style, scale: float | None) -> list[str]:
    """Return the words at a colour bar, from its least value.

    Parameters
    ----------
    style : Style
        Of the maps, see :func:`style_named`.
    scale : float or None
        The magnitude of full contrast; None: each map has its own.
    """
    names = ["-scale", "0", "scale"]
    if scale is not None:
        names = [short(end * scale) for end in (-1, 0, 1)] if scale else ["0"]
    return names[1:] if style.lowest == 0 and len(names) > 1 else names


def _check(images: Sequence[Tensor] | Tensor, columns: Sequence[Column], labels: Sequence[str], stacked: bool) -> None:
    rows = len(images)
    kinds = (2, 3) if stacked else (3,)
    if not rows or any(image.ndim not in kinds or not image.numel() for image in images):
        found = [tuple(image.shape) for image in images] if rows else "none"
        raise InputError(f"expected at least one image, each of shape (3, H, W) or (1, H, W), got {found!s:.80}")
    numbers = [("labels", len(labels))]
    numbers += [(f"{column.title} maps", len(column.maps)) for column in columns if column.maps is not None]
    for what, number in numbers:
        if number != rows:
            raise InputError(f"expected {rows} {what} for {rows} images, got {number}")
    for column in columns:
        for each in column.maps if column.maps is not None else ():
            if each.ndim != 3:
                raise InputError(f"expected {column.title} maps (N, C, H, W), got (N, {str(tuple(each.shape))[1:]}")


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Name in an error the image or the method that it is of."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _head(column: Column, scale: float | None, cmap: ColourMaps) -> Head:
    if column.maps is None:
        return Head(column.title)
    channels = len(column.maps[0])
    with _naming(column.title):
        style = style_named(column.style)
    return Head(column.title, style.caption(channels), colour_bar(channels, style.name, cmap), scale_ends(style, scale))


def _shared(column: Column) -> float | None:
    """Return the scale of all maps of a column together."""
    if column.maps is None:
        return None
    with _naming(column.title):
        shown = style_named(column.style).shown
        return robust_scale(torch.cat([shown(each).detach().double().cpu().flatten() for each in column.maps]))


def _draw_column(surface: Surface, number: int, column: Column, shared: float | None, cmap: ColourMaps) -> None:
    assert column.maps is not None
    with _naming(column.title):
        style = style_named(column.style)
        for row, attribution in enumerate(column.maps):
            own = robust_scale(style.shown(attribution))
            pixels = coloured(attribution, column.style, own if shared is None else shared, cmap)
            surface.show(row, number, pixels)
            if own == 0:
                surface.note(
                    row, number, column.zero.get(row, style.nothing), "white" if pixels.mean() < 128 else "black"
                )
            surface.under(row, number, f"scale {short(own)}" if own and shared is None else "")
