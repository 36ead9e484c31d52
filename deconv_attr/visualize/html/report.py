"""A comparison of methods as one page: a single file that contains everything, to be mailed or kept in a wiki.

Its style is ``page.css``, which all pages share, with ``report.css`` after it, and so is its script; its pictures are
data URIs. Its policy names the hashes of style and script, so that nothing else is run, and nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...errors import InputError
from ..files import atomic_write, checked_path, writing
from ..tiles import Bytes
from .rendering import asset, data_uri, policy_hash, render_to
from .sprites import QUALITY, encoded

__all__ = [
    "PAGES",
    "LazyPictures",
    "ReportCell",
    "ReportColumn",
    "ReportFigure",
    "ReportLegend",
    "ReportTable",
    "report_path",
    "write_report",
]

GENERATOR = "deconv_attr report"
PAGES = (".html", ".htm")
"""The endings of the file name of a page."""

MOST_EXACT = 4_000_000  # pixels of all pictures together: about 10 MB as PNG; as JPEG, they take a third of that
MOST_FINE = 40_000_000  # pixels; about 25 MB as JPEG; coarser, pictures take half of that
COARSE = 75  # the quality of pictures on a page of more: a browser is to open one of 5,000 photographs' maps in seconds
SHARP = 100  # pixels; smaller pictures are magnified, and their pixels kept sharp: LARGE in page.js
MOST_SHARED = 8  # columns that share the width of a window; a wider grid scrolls by itself
MIME = {".png": "image/png", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class ReportCell:
    """A cell of a table.

    Parameters
    ----------
    text : str
        The text of the cell.
    kind : {"name", "number", "undefined", "error", "yes", "no", "unsaid"}
        The kind of the text.
    beside : str
        Written below a number, in grey: its interval.
    """

    text: str
    kind: str = "name"
    beside: str = ""


@dataclass(frozen=True)
class ReportTable:
    """A table of a page: a row for each check, a column for each method.

    Parameters
    ----------
    header : sequence of str
        The columns' names.
    rows : sequence of sequence
        Cells, as many in each row as there are columns; the first names the row.
    legend : mapping of str to str
        The meaning of each row, by its name.
    failures : sequence of tuple
        The errors, by method.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[ReportCell]]
    legend: Mapping[str, str]
    failures: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, eq=False)
class ReportLegend:
    """What the colours of pictures mean.

    Parameters
    ----------
    pixels : ndarray
        (1, n, 3), bytes: the colours in order.
    ends : sequence of str
        Two or more values in the same order, from the first colour to the last.
    caption : str
        The meaning of the values.
    """

    pixels: Bytes
    ends: Sequence[str]
    caption: str


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """Curves, drawn twice.

    Parameters
    ----------
    alternative : str
        What they say, in words.
    light, dark : bytes
        SVG files for light and for dark pages.
    """

    alternative: str
    light: bytes
    dark: bytes


class LazyPictures(Sequence[Any]):
    """Pictures of one shape, each drawn whenever it is asked for: so a page holds one at a time.

    Parameters
    ----------
    count : int
        How many there are.
    draw : callable
        From a picture's number to the picture, (H, W, 3), bytes.
    """

    def __init__(self, count: int, draw: Callable[[int], Bytes]) -> None:
        self._numbers, self._draw = range(count), draw

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: Any) -> Any:
        return self._draw(self._numbers[number])


@dataclass(frozen=True, eq=False)
class ReportColumn:
    """One method of a comparison, as pictures.

    Parameters
    ----------
    title : str
        Its name.
    pictures : sequence of ndarray
        (H, W, 3), bytes, one for each image; empty if the method failed. Many are :class:`LazyPictures`.
    scales : sequence of str
        Written below the pictures; empty, or one for each.
    error : str
        Why it failed; shown once, instead of its pictures.
    legend : ReportLegend or None
        What its colours mean.
    """

    title: str
    pictures: Sequence[Bytes]
    scales: Sequence[str] = ()
    error: str = ""
    legend: ReportLegend | None = None


def write_report(
    path: str | Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    verdict: str,
    notes: Sequence[str],
    table: ReportTable,
    images: Sequence[Bytes],
    labels: Sequence[str],
    columns: Sequence[ReportColumn],
    figures: Sequence[ReportFigure] = (),
    answers: ReportTable | None = None,
    *,
    head: str = "image",
    boxed: str = "",
    stacked: bool = False,
) -> Path:
    """Write a comparison as one HTML file that needs no other file and no network, or write nothing at all.

    Parameters
    ----------
    path : str or Path
        Where to write; see :func:`report_path`.
    title : str
        The heading.
    facts : sequence of tuple
        Pairs of a name and a text, shown below the heading.
    verdict : str
        A sentence or two.
    notes : sequence of str
        A list below it; no list if there are none.
    table : ReportTable
        The numbers; its errors are written below it.
    images : sequence of ndarray
        (H, W, 3), bytes.
    labels : sequence of str
        One for each image.
    columns : sequence of ReportColumn
        The methods, in the order to be shown.
    figures : sequence of ReportFigure
        The curves.
    answers : ReportTable or None
        The lines of the verdict, below it.
    head : str
        The title of the images.
    boxed : str
        What the boxes in them are.
    stacked : bool
        Whether the pictures of an image stand below each other, all of one width: for signals and videos, whose
        pictures are wide, and are compared sample by sample.

    Returns
    -------
    Path
        The file, to be opened in a browser.

    Raises
    ------
    InputError
        If it cannot be written, or the numbers of images, labels, pictures and scales differ.
    """
    target = report_path(path)
    _check_numbers(len(images), labels, columns)
    style = _style(1 + len(columns))
    script = asset("page.js") + asset("report.js")
    write = partial(
        render_to,
        template="report.html",
        generator=GENERATOR,
        style=Markup(style),
        style_hash=policy_hash(style),
        script=Markup(script),
        script_hash=policy_hash(script),
        title=title,
        facts=facts,
        verdict=verdict,
        answers=answers,
        notes=notes,
        table=table,
        figures=[_figure(each) for each in figures],
        columns=[
            {"title": each.title, "legend": _legend(each.legend) if each.legend and each.pictures else None}
            for each in columns
        ],
        wide=1 + len(columns) > MOST_SHARED,
        grid=_grid(head, images, labels, columns),
        count=len(labels),
        head=head,
        boxed=boxed,
        stacked=stacked,
    )
    with writing(target):
        atomic_write(target, write)
    return target


def report_path(name: str | Path) -> Path:
    """Return a name as a path to which :func:`write_report` can write.

    Raises
    ------
    InputError
        If the ending is none of :data:`PAGES`, the folder is missing, or the file cannot be written.
    """
    return checked_path(name, "page", PAGES)


def _check_numbers(images: int, labels: Sequence[str], columns: Sequence[ReportColumn]) -> None:
    counts = [("labels", len(labels))]
    counts += [(f"pictures of {column.title}", len(column.pictures)) for column in columns if column.pictures]
    counts += [(f"scales of {column.title}", len(column.scales)) for column in columns if column.scales]
    for what, number in counts:
        if number != images:
            raise InputError(f"expected {images} {what} for {images} images, got {number}")


# ------------------------------------------------------------------------------------------------ the content


def _grid(
    head: str, images: Sequence[Bytes], labels: Sequence[str], columns: Sequence[ReportColumn]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each image: label, image, and pictures; a failed method has one cell, in the first row."""
    every = [ReportColumn(head, images), *columns]
    pixels = sum(_pixels(column.pictures) for column in every)
    quality = QUALITY if pixels <= MOST_FINE else COARSE
    for number, label in enumerate(labels):
        cells = []
        for column in every:
            if column.pictures:
                scale = column.scales[number] if column.scales else ""
                picture = column.pictures[number]
                cells.append(_cell(column.title, picture, scale, exact=pixels <= MOST_EXACT, quality=quality))
            elif number == 0:
                cells.append({"title": column.title, "error": column.error or "no pictures"})
        yield {"label": label, "cells": cells}


def _pixels(pictures: Sequence[Bytes]) -> int:
    if isinstance(pictures, LazyPictures):
        return len(pictures) * _pixels([pictures[0]]) if pictures else 0
    return sum(picture.shape[0] * picture.shape[1] for picture in pictures)


def _legend(legend: ReportLegend) -> dict[str, Any]:
    _, content = encoded(legend.pixels, 0)
    return {
        "source": data_uri("image/png", content),
        "width": legend.pixels.shape[1],
        "ends": legend.ends,
        "caption": legend.caption,
    }


def _figure(figure: ReportFigure) -> dict[str, str]:
    light, dark = (data_uri("image/svg+xml", svg) for svg in (figure.light, figure.dark))
    return {"alternative": figure.alternative, "light": light, "dark": dark}


def _cell(title: str, picture: Bytes, scale: str, exact: bool, quality: int) -> dict[str, Any]:
    height, width, _ = picture.shape
    ending, content = encoded(picture, 0 if exact else max(height, width), quality)
    return {
        "title": title,
        "scale": scale,
        "source": data_uri(MIME[ending], content),
        "height": height,
        "width": width,
        "sharp": max(height, width) < SHARP,
    }


def _style(columns: int) -> str:
    return f":root {{ --columns: {columns}; }}\n{asset('page.css')}{asset('report.css')}"
