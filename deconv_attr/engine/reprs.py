"""What objects show of themselves: a line for a terminal, a small table for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["html_lines", "html_table", "in_html", "one_line"]

ROWS = 20
LINE = 200  # characters of a line in a terminal
CELL = 300  # characters of a cell


def one_line(shown: object, text: str) -> str:
    """Return ``<Name: text>``, on one line and not too long, as the ``repr`` of an object."""
    return f"<{type(shown).__name__}: {_cut(' '.join(_printable(text).split()), LINE)}>"


def html_table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    notes: Sequence[str] = (),
    count: int | None = None,
    most: int = ROWS,
) -> str:
    """Return a table for a notebook; nothing that is given becomes markup.

    Parameters
    ----------
    caption : str
        A line above it.
    header : sequence of str
        The names of the columns; none for a table of names and values.
    rows : sequence of sequence
        The cells: numbers, or what is shown as ``str``. The first of a row is its name.
    notes : sequence of str
        Lines below it.
    count : int, optional
        The number of rows where `rows` has the first of them only.
    most : int
        The number of rows to show; the table says how many more there are.
    """
    count = len(rows) if count is None else count
    shown = "".join(f"<tr>{_cell(row[0], 'row')}{''.join(map(_cell, row[1:]))}</tr>" for row in rows[:most])
    head = f"<thead><tr>{''.join(_cell(name, 'col') for name in header)}</tr></thead>" if header else ""
    more = [f"and {count - most} more"] if count > most else []
    # Not the table's own caption, which would be broken to the width of the table.
    above = f"<figcaption>{in_html(caption)}</figcaption>" if caption else ""
    table = f"<table>{head}<tbody>{shown}</tbody></table>"
    return f'<figure style="{_FIGURE}">{above}{table}{html_lines([*more, *notes])}</figure>'


def html_lines(lines: Sequence[str]) -> str:
    """Return a paragraph of lines for a notebook; nothing for none."""
    return f"<p>{'<br>'.join(map(in_html, lines))}</p>" if lines else ""


def in_html(value: object) -> str:
    """Return a text with what is markup escaped."""
    return escape(_printable(str(value)))


_FIGURE = "margin: 0; font-size: smaller"  # as small as notebooks write tables
_LEFT = "text-align: left"  # notebooks have all cells at the right


def _cell(value: object, heads: str = "") -> str:
    tag, scope = ("th", f' scope="{heads}"') if heads else ("td", "")
    if isinstance(value, (int, float)):
        return f"<{tag}{scope}>{value if isinstance(value, int) else f'{value:.4g}'}</{tag}>"
    return f'<{tag}{scope} style="{_LEFT}">{in_html(_cut(str(value), CELL))}</{tag}>'


def _printable(text: str) -> str:
    """Replace bytes that are not Unicode, as a file name may have."""
    return text.encode(errors="replace").decode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
