"""What a page of a comparison shows of tables, curves and colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..visualize import (
    Bytes,
    ColourMaps,
    Column,
    Panel,
    colour_bar,
    coloured,
    curve_pixels,
    framed_pixels,
    in_bytes,
    own_scale,
    panel_figures,
    photograph,
    scale_ends,
    short,
    stripe_pixels,
    style_named,
)
from ..visualize.html import LazyPictures, ReportColumn, ReportFigure, ReportLegend, ReportTable
from .drawing import Drawing
from .table import ResultTable

__all__ = ["answers_table", "checks_table", "page_columns", "page_figures", "page_images"]

WIDTH, TEXT = 3.6, 8.5  # inches and points of a panel: readable on a phone, where it has the whole width


def checks_table(table: ResultTable) -> ReportTable:
    """Return a table of checks with a row for each check and a column for each method; errors are named by method."""
    turned = table.transposed()
    turned = replace(turned, header=["check", *turned.header[1:]])
    return replace(turned.for_page(), failures=table.failures)


def answers_table(answers: ResultTable) -> ReportTable:
    """Return the lines of a verdict; the column that an answer is from stands below its question."""
    lines = answers.for_page()
    rows = [row[:-1] for row in lines.rows]
    return ReportTable(lines.header[:-1], rows, {row[0].text: f"from {row[-1].text}" for row in lines.rows})


def page_images(drawing: Drawing) -> Sequence[Bytes]:
    """Return the images as pixels, with the boxes in them; a signal as its curves."""

    def draw(number: int) -> Bytes:
        image = drawing.view.rows[number].image
        pixels = curve_pixels(image) if image.dim() == 2 else in_bytes(photograph(image))
        return framed_pixels(pixels, drawing.boxes[number])

    return LazyPictures(len(drawing.view.rows), draw)


def page_columns(drawing: Drawing, cmap: ColourMaps) -> list[ReportColumn]:
    """Return the maps of each method as pixels, each with its own scale, and what the colours mean."""
    return [_page_column(column, drawing.view.axis == "sample", cmap) for column in drawing.columns]


def _page_column(column: Column, striped: bool, cmap: ColourMaps) -> ReportColumn:
    if column.maps is None:
        return ReportColumn(column.title, [], error=column.error)
    maps, style, channels = column.maps, style_named(column.style), len(column.maps[0])
    scales = [own_scale(each, style.name) for each in maps]

    def draw(number: int) -> Bytes:
        drawn = coloured(maps[number], style.name, scales[number], cmap)
        return stripe_pixels(drawn) if striped else drawn

    notes = [
        f"scale {short(scale)}" if scale else column.zero.get(number, style.nothing)
        for number, scale in enumerate(scales)
    ]
    legend = ReportLegend(colour_bar(channels, style.name, cmap), scale_ends(style, None), style.caption(channels))
    return ReportColumn(column.title, LazyPictures(len(maps), draw), notes, legend=legend)


def page_figures(panels: Sequence[Panel]) -> list[ReportFigure]:
    """Return each panel as a picture for light and one for dark pages."""
    light, dark = (panel_figures(panels, width=WIDTH, font_size=TEXT, dark=dark) for dark in (False, True))
    pictures = [(one.svg(), other.svg()) for one, other in zip(light, dark, strict=True)]
    return [ReportFigure(_in_words(panel), *pair) for panel, pair in zip(panels, pictures, strict=True)]


def _in_words(panel: Panel) -> str:
    """Return what the curves of a panel say to who cannot see them."""
    known = [(curve.label, [mean for mean in curve.mean if not math.isnan(mean)]) for curve in panel.curves]
    ends = "; ".join(f"{label} from {short(means[0])} to {short(means[-1])}" for label, means in known if means)
    return f"Curves of {panel.title}, {panel.up} by {panel.across}: {ends or 'no values'}."
