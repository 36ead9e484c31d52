"""What a page of a comparison shows of tables, curves and colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context

from ..visualize import Figure, Panel, in_bytes, panel_figures, short, style_named
from ..visualize.html import ReportFigure, ReportLegend, ReportTable
from .table import ResultTable

__all__ = ["answers_table", "checks_table", "colour_legend", "page_figures"]

WIDTH, TEXT = 3.6, 8.5  # inches and points of a panel: readable on a phone, where it has the whole width
SVG: Any = {"svg.hashsalt": "deconv_attr"}  # the same file each time


def checks_table(table: ResultTable) -> ReportTable:
    """Return a table of checks with a row for each check and a column for each method; errors are named by method."""
    turned = replace(table.transposed(), header=["check", *table.transposed().header[1:]])
    return replace(turned.for_page(), failures=table.failures)


def answers_table(answers: ResultTable) -> ReportTable:
    """Return the lines of a verdict; the column that an answer is from stands below its question."""
    lines = answers.for_page()
    rows = [row[:-1] for row in lines.rows]
    return ReportTable(lines.header[:-1], rows, {row[0].text: f"from {row[-1].text}" for row in lines.rows})


def colour_legend(style: str) -> ReportLegend:
    """Return what the colours of a style mean."""
    drawn = style_named(style)
    colours = colormaps[drawn.colours](np.linspace(0, 1, 128))[None, :, :3]
    ends = ("-scale", "0", "scale") if drawn.lowest else ("0", "scale")
    return ReportLegend(in_bytes(colours), ends, drawn.caption)


def page_figures(panels: Sequence[Panel]) -> list[ReportFigure]:
    """Return each panel as a picture for light and one for dark pages."""
    light, dark = (panel_figures(panels, width=WIDTH, font_size=TEXT, dark=dark) for dark in (False, True))
    pictures = [(_svg(one), _svg(other)) for one, other in zip(light, dark, strict=True)]
    return [ReportFigure(_in_words(panel), *pair) for panel, pair in zip(panels, pictures, strict=True)]


def _in_words(panel: Panel) -> str:
    """Return what the curves of a panel say to who cannot see them."""
    known = [(curve.label, [mean for mean in curve.mean if not math.isnan(mean)]) for curve in panel.curves]
    ends = "; ".join(f"{label} from {short(means[0])} to {short(means[-1])}" for label, means in known if means)
    return f"Curves of {panel.title}, {panel.up} by {panel.across}: {ends or 'no values'}."


def _svg(figure: Figure) -> bytes:
    drawn = BytesIO()
    with rc_context(SVG):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
