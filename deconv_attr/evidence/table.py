"""A plain table of what checks found: a row for each method, a column for each number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from tabulate import tabulate

from ..errors import InputError, nearest
from ..visualize.html import ReportCell, ReportTable
from .bootstrap import Estimate

__all__ = ["Cell", "Failure", "ResultTable", "text", "value"]

WIDEST = 120  # characters of a line


@dataclass(frozen=True)
class Failure:
    """What stands in a cell whose number could not be computed: the kind of the error. The text is kept."""

    text: str

    def __str__(self) -> str:
        return self.text.split(":")[0]


Cell = str | float | Estimate | Failure
"""A name, a number, a mean over images, or an error."""


@dataclass(frozen=True)
class ResultTable:
    """A table that prints itself, and can be sorted.

    Parameters
    ----------
    header : sequence of str
        The columns' names.
    rows : sequence of sequence
        The cells, as many in each row as there are columns.
    legend : mapping of str to str
        What the columns mean, a line each.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    legend: Mapping[str, str] = field(default_factory=dict)

    def sorted(self, column: str, descending: bool = False) -> ResultTable:
        """Return the table with its rows in another order; errors and what is undefined come last.

        Raises
        ------
        InputError
            There is no such column.
        """
        place = self._place(column)
        known = [row for row in self.rows if isinstance(row[place], str) or value(row[place]) is not None]
        missing = [row for row in self.rows if row not in known]
        known.sort(key=lambda row: _key(row[place]), reverse=descending)
        return replace(self, rows=[*known, *missing])

    def column(self, name: str) -> list[Cell]:
        """Return the cells of a column.

        Raises
        ------
        InputError
            There is no such column.
        """
        place = self._place(name)
        return [row[place] for row in self.rows]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """The errors by row, each once."""
        found = ((text(row[0]), cell.text) for row in self.rows for cell in row if isinstance(cell, Failure))
        return list(dict.fromkeys(found))

    def transposed(self) -> ResultTable:
        """Return the table with a row for each column: what is many columns wide can be read so."""
        rows = [[name, *(row[place] for row in self.rows)] for place, name in enumerate(self.header)]
        return replace(self, header=["", *(text(row[0]) for row in self.rows)], rows=rows[1:])

    def to_markdown(self) -> str:
        """Return the table in Markdown, for a README."""
        header, *rows = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in self._texts())
        return _tabulated(rows, header, "github")

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``: of a mean over images its mean, of an error its text.

        Raises
        ------
        InputError
            pandas is not installed; nothing else here needs it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError("to_pandas needs pandas, which is not installed: pip install pandas") from error
        return pd.DataFrame([list(map(_plain, row)) for row in self.rows], columns=list(self.header))

    def for_page(self) -> ReportTable:
        """Return the table as plain cells, for :func:`write_report`."""
        rows = [list(map(_report_cell, row)) for row in self.rows]
        return ReportTable(self.header, rows, self.legend, self.failures)

    def __str__(self) -> str:
        """Print the table, or its transpose where it is too wide for a terminal and that is not."""
        lines, turned = self._lines(), self.transposed()._lines()
        shown = turned if max(map(len, lines)) > max(WIDEST, *map(len, turned)) else lines
        below = [f"{name}: {what}" for name, what in [*self.legend.items(), *self.failures]]
        return "\n".join([*shown, *([""] if below else []), *below])

    def _lines(self) -> list[str]:
        return _tabulated(self._texts(), (), "plain").split("\n")

    def _texts(self) -> list[list[str]]:
        """Return the header and the rows as they are read."""
        return [list(self.header), *([text(cell) for cell in row] for row in self.rows)]

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        header, *rows = self._texts()
        legend = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in self.legend.items())
        return _tabulated(rows, header, "html") + f"<dl>{legend}</dl>"

    def _place(self, column: str) -> int:
        if column not in self.header:
            raise InputError(f"the table has no column {column!r}{nearest(column, self.header)}")
        return list(self.header).index(column)


def _tabulated(rows: Sequence[Sequence[str]], header: Sequence[str], style: str) -> str:
    drawn: str = tabulate(rows, header, tablefmt=style, disable_numparse=True)
    return drawn


def text(cell: Cell) -> str:
    """Return a cell as it is read."""
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def value(cell: Cell) -> float | None:
    """Return the number of a cell, None where it has none."""
    if isinstance(cell, (str, Failure)):
        return None
    number = float(cell.mean if isinstance(cell, Estimate) else cell)
    return None if math.isnan(number) else number


def _report_cell(cell: Cell) -> ReportCell:
    whole, number = text(cell), value(cell)
    if isinstance(cell, Failure):
        return ReportCell(whole, "error")
    if isinstance(cell, str):
        return ReportCell(whole)
    if number is None:
        return ReportCell(whole, "undefined")
    mean = re.split(r"(?=[ ,])", whole)[0] if isinstance(cell, Estimate) else whole
    return ReportCell(mean, "number", number, whole.removeprefix(mean))


def _plain(cell: Cell) -> str | float:
    if isinstance(cell, Failure):
        return cell.text
    return cell.mean if isinstance(cell, Estimate) else cell


def _key(cell: Cell) -> tuple[bool, float, str]:
    """Numbers by size, then names by the alphabet."""
    return (True, 0.0, cell.casefold()) if isinstance(cell, str) else (False, value(cell) or 0.0, "")
