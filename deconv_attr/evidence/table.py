"""Tables of results: a row for each method, a column for each number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import fill
from typing import Any

from tabulate import tabulate

from ..engine.reprs import html_table, one_line
from ..errors import InputError, nearest
from ..visualize.html import ReportCell, ReportTable
from .bootstrap import Estimate

__all__ = ["Answer", "Cell", "Failure", "ResultTable", "text", "value"]

WIDEST = 120  # characters in a line of text
HEADER = 24  # characters in a line of a header


@dataclass(frozen=True)
class Failure:
    """The error of a cell whose number could not be computed.

    Parameters
    ----------
    text : str
        Type and text of the error: the cell shows the type, the table below the whole.
    """

    text: str

    def __str__(self) -> str:
        return self.text.split(":")[0]


@dataclass(frozen=True)
class Answer:
    """An answer to a question, and the number behind it.

    Parameters
    ----------
    mark : {"yes", "no", "?"}
        "?": that cannot be said.
    number : str
        As it is printed.
    """

    mark: str
    number: str

    def __str__(self) -> str:
        return f"{self.mark} ({self.number})"


Cell = str | float | Estimate | Failure | Answer
"""A name, a number, a mean over images, an error, or an answer."""


@dataclass(frozen=True)
class ResultTable:
    """A table that prints itself and can be sorted.

    Parameters
    ----------
    header : sequence of str
        The names of the columns.
    rows : sequence of sequence
        The cells, as many in each row as there are columns.
    legend : mapping of str to str
        What the columns mean, a line each.
    notes : sequence of str
        What is to be known of single rows, a sentence each.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    legend: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def sorted(self, column: str, descending: bool = False) -> ResultTable:
        """Return the table with its rows sorted by a column; errors and undefined numbers come last.

        Parameters
        ----------
        column : str
            Its name.
        descending : bool
            Whether the largest number comes first.

        Raises
        ------
        InputError
            The table has no such column.
        """
        index = self._index(column)
        known = [row for row in self.rows if isinstance(row[index], (str, Answer)) or value(row[index]) is not None]
        missing = [row for row in self.rows if row not in known]
        known.sort(key=lambda row: _key(row[index]), reverse=descending)
        return replace(self, rows=[*known, *missing])

    def column(self, name: str) -> list[Cell]:
        """Return the cells of a column, one for each row.

        Parameters
        ----------
        name : str
            The column's.

        Raises
        ------
        InputError
            The table has no such column.
        """
        index = self._index(name)
        return [row[index] for row in self.rows]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """The names of rows and their errors, each pair once."""
        found = ((text(row[0]), cell.text) for row in self.rows for cell in row if isinstance(cell, Failure))
        return list(dict.fromkeys(found))

    def transposed(self) -> ResultTable:
        """Return the table with a row for each column, as it is printed where it has too many columns."""
        rows = [[name, *(row[index] for row in self.rows)] for index, name in enumerate(self.header)]
        return replace(self, header=["", *(text(row[0]) for row in self.rows)], rows=rows[1:])

    def to_markdown(self) -> str:
        """Return the table in Markdown, for a README."""
        header, *rows = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in self._texts())
        return _tabulated(rows, header, "github")

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``, with means without their intervals, and errors as text.

        Raises
        ------
        InputError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError("expected pandas to be installed, got no such package; pip install pandas") from error
        return pd.DataFrame([list(map(_plain, row)) for row in self.rows], columns=list(self.header))

    def for_page(self) -> ReportTable:
        """Return the table as plain cells, for a page."""
        rows = [list(map(_report_cell, row)) for row in self.rows]
        return ReportTable(self.header, rows, self.legend, self.failures)

    def __repr__(self) -> str:
        return one_line(self, f"{len(self.rows)} rows of {', '.join(self.header)}")

    def __str__(self) -> str:
        """Return the table as text, or its transpose where the table is wider than `WIDEST` and than its transpose."""
        lines, turned = self._lines(), self.transposed()._lines()
        shown = turned if max(map(len, lines)) > max(WIDEST, *map(len, turned)) else lines
        below = self._below()
        return "\n".join([*shown, *([""] if below else []), *below])

    def narrow(self, widths: tuple[int, int, int]) -> str:
        """Return the table alone as text.

        Parameters
        ----------
        widths : tuple of int
            To how many characters cells are broken: those of the first column, of further ones, of the last.
        """
        first, further, last = widths
        columns = [first, *[further] * (len(self.header) - 2), last]
        lines = [[fill(cell, width) for cell, width in zip(row, columns, strict=True)] for row in self._texts()]
        return _tabulated(lines, (), "plain")

    def _lines(self) -> list[str]:
        header, *rows = self._texts()
        # Not as tabulate's header, which would be wider than its text.
        return _tabulated([[fill(name, HEADER) for name in header], *rows], (), "plain").split("\n")

    def _texts(self) -> list[list[str]]:
        """Return the texts of the header and the rows."""
        return [list(self.header), *([text(cell) for cell in row] for row in self.rows)]

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return self.in_html()

    def in_html(self, caption: str = "") -> str:
        """Return the table for a notebook, all its rows, below a caption."""
        header, *rows = self._texts()
        return html_table(caption, header, rows, self._below(), most=len(rows))

    def _below(self) -> list[str]:
        """Return what is said below the table: legend, errors and notes."""
        return [f"{name}: {what}" for name, what in [*self.legend.items(), *self.failures]] + list(self.notes)

    def _index(self, column: str) -> int:
        if column not in self.header:
            raise InputError(f"expected a column of the table, got {column!r}{nearest(column, self.header)}")
        return list(self.header).index(column)


def _tabulated(rows: Sequence[Sequence[str]], header: Sequence[str], style: str) -> str:
    drawn: str = tabulate(rows, header, tablefmt=style, disable_numparse=True)
    return drawn


def text(cell: Cell) -> str:
    """Return the text of a cell."""
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def value(cell: Cell) -> float | None:
    """Return the number of a cell; None for names, answers, errors and NaN."""
    if isinstance(cell, (str, Failure, Answer)):
        return None
    number = float(cell.mean if isinstance(cell, Estimate) else cell)
    return None if math.isnan(number) else number


def _report_cell(cell: Cell) -> ReportCell:
    whole, number = text(cell), value(cell)
    if isinstance(cell, Failure):
        return ReportCell(whole, "error")
    if isinstance(cell, Answer):
        return ReportCell(cell.mark, {"yes": "yes", "no": "no"}.get(cell.mark, "unsaid"), beside=f"({cell.number})")
    if isinstance(cell, str):
        return ReportCell(whole)
    if number is None:
        return ReportCell(whole, "undefined")
    mean = re.split(r"(?=[ ,])", whole)[0] if isinstance(cell, Estimate) else whole
    return ReportCell(mean, "number", whole.removeprefix(mean).lstrip(" ,"))


def _plain(cell: Cell) -> str | float:
    if isinstance(cell, Failure):
        return cell.text
    if isinstance(cell, Answer):
        return str(cell)
    return cell.mean if isinstance(cell, Estimate) else cell


def _key(cell: Cell) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by size, then names by the alphabet."""
    number = value(cell)
    return (True, 0.0, str(cell).casefold()) if number is None else (False, number, "")
