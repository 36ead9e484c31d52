"""The coverage report: what every operation of a forward pass was given, or lacked.

>>> print(coverage(model, x))          # doctest: +SKIP
module      operation   rule     source
features.0  conv2d      adjoint
features.1  relu        rectify
            flatten     adjoint  alexnet.py:49
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..rules.kinds import Kind
from ..rules.switches import Switches
from .reprs import html_table, one_line

__all__ = ["NO_RULE", "Call", "Coverage"]

NO_RULE = "no rule"


@dataclass(eq=False)
class Call:
    """One call of the forward pass through which the signal goes back.

    Parameters
    ----------
    path : str
        Dotted name of the module that made the call; "" for the model itself.
    operation : str
        Canonical name, e.g. ``"relu"``, ``"max_pool2d"``, ``"add"``.
    kind : Kind
        Its row in the table of rules.
    rule : str
        The rule's name; "no rule" where the table has none.
    source : str
        ``path/to/file:line`` of a functional call, "" for a call that a stock ``torch.nn`` module makes.
    switches : Switches or None
        What a max-pool recorded.
    lowest, highest : Tensor or None
        (N,): of a rectifier that sent a signal, its least value before and its greatest value after rectification.
    """

    path: str
    operation: str
    kind: Kind
    rule: str
    source: str = ""
    switches: Switches | None = None
    lowest: Tensor | None = field(default=None, repr=False)
    highest: Tensor | None = field(default=None, repr=False)

    @property
    def location(self) -> str:
        """Where the call is, for a sentence: operation, module path, source line."""
        parts = [f"'{self.operation}'", f"in module '{self.path}'" if self.path else "in the model itself"]
        return " ".join([*parts, f"({self.source})"] if self.source else parts)

    @property
    def short_location(self) -> str:
        """Where the call is, for a caption: module path, file and line; or the operation, where it has no path."""
        name = self.path or self.operation
        return f"{name}, {Path(self.source).name}" if self.source else name


class Coverage:
    """The calls of one forward pass, in order; prints as a table.

    Parameters
    ----------
    calls : sequence of Call
        As they ran. Calls that do not touch the signal are not listed.
    notes : sequence of str
        Lines below the table, e.g. where the signal died.
    """

    def __init__(self, calls: Sequence[Call], notes: Sequence[str] = ()) -> None:
        self.calls = tuple(calls)
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    @property
    def rectifiers(self) -> list[Call]:
        """The rectifier calls, whatever rule they were given."""
        return [call for call in self.calls if call.kind is Kind.RECTIFIER]

    @property
    def uncovered(self) -> list[Call]:
        """The calls for which the table has no rule."""
        return [call for call in self.calls if call.rule == NO_RULE]

    @property
    def switches(self) -> dict[str, Switches]:
        """The switches of every max-pool: module path, with ``#2`` and so on for its later calls."""
        found: dict[str, Switches] = {}
        for call in self.calls:
            if call.switches is not None:
                base = call.path or call.operation
                again = sum(key.split("#")[0] == base for key in found)
                found[f"{base}#{again + 1}" if again else base] = call.switches
        return found

    def summary(self) -> str:
        """Return how many calls each kind and rule has, in one line."""
        counts = Counter((call.kind, call.rule) for call in self.calls)
        parts = [f"{count} {kind.value}: {rule}" for (kind, rule), count in counts.items()]
        return f"{len(self.calls)} calls ({'; '.join(parts)})"

    def __str__(self) -> str:
        header = ("module", "operation", "rule", "source")
        rows = [header, *((c.path, c.operation, c.rule, Path(c.source).name) for c in self.calls)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, self.summary(), *self.notes])

    def __repr__(self) -> str:
        return one_line(self, self.summary())

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        rows = [[n, c.path, c.operation, c.rule, Path(c.source).name] for n, c in enumerate(self.calls)]
        return html_table(repr(self)[1:-1], ["call", "module", "operation", "rule", "source"], rows, self.notes)
