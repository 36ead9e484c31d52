"""The tables that say which rule serves which operation.

A table's keys are kinds of operations, or the names of operations as they stand in a coverage report, which come
first: ``{**DECONVNET, "hardshrink": rule}``.

Source: Zeiler and Fergus 2014, section 2.1; Mahendran and Vedaldi 2016; Springenberg et al. 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict

from typing_extensions import Unpack  # typing has it from Python 3.11 on

from ..errors import InputError, nearest
from .backward import ADJOINT, GRADIENT_RULE, GUIDE, PASS_THROUGH, RECTIFY, SCALE, ZERO_GRADIENT, Rule, unpooling
from .kinds import Kind, Operation
from .operations import is_listed, listed_names
from .switches import OVERLAPS

__all__ = [
    "DECONVNET",
    "DESALINET",
    "GRADIENT",
    "GUIDED_BACKPROP",
    "TABLES",
    "Choices",
    "Table",
    "check_table",
    "choose",
    "rule_for",
]

Table = Mapping[Kind | str, Rule]

DECONVNET: Table = MappingProxyType(
    {
        Kind.RECTIFIER: RECTIFY,
        Kind.MAX_POOL: unpooling("sum"),
        Kind.CONTRAST_NORM: PASS_THROUGH,
        Kind.BATCH_NORM: SCALE,
        Kind.LINEAR: ADJOINT,  # the paper's filtering
        Kind.GATE: GRADIENT_RULE,
        Kind.STEP: ZERO_GRADIENT,
        # ACTIVATION, MASK, CONSTANT, UNKNOWN: no rule. The paper has rectifiers only.
    }
)
DESALINET: Table = MappingProxyType({**DECONVNET, Kind.RECTIFIER: GUIDE})
GUIDED_BACKPROP: Table = MappingProxyType({**DESALINET, Kind.CONTRAST_NORM: GRADIENT_RULE})
GRADIENT: Table = MappingProxyType(
    {**dict.fromkeys(Kind, GRADIENT_RULE), Kind.LINEAR: ADJOINT, Kind.STEP: ZERO_GRADIENT}
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "DeconvNet": DECONVNET,
        "SaliNet (gradient)": GRADIENT,
        "DeSaliNet": DESALINET,
        "Guided backprop": GUIDED_BACKPROP,
    }
)
"""The tables by their names in the literature."""

_CHOICES: dict[str, dict[str, dict[Kind | str, Rule]]] = {
    "activations": {
        "error": {},
        "rectify": {Kind.ACTIVATION: RECTIFY},
        "gradient": {Kind.ACTIVATION: GRADIENT_RULE, Kind.MASK: GRADIENT_RULE},
    },
    "unknown": {"error": {}, "gradient": {Kind.UNKNOWN: GRADIENT_RULE, Kind.CONSTANT: GRADIENT_RULE}},
    "batch_norm": {
        "scale": {},
        "gradient": {Kind.BATCH_NORM: GRADIENT_RULE},
        "pass through": {Kind.BATCH_NORM: PASS_THROUGH},
    },
    "overlap": {"sum": {}, **{name: {Kind.MAX_POOL: unpooling(name)} for name in OVERLAPS if name != "sum"}},
}


class Choices(TypedDict, total=False):
    """The rules that a user chooses by a word; what each word does is said at :class:`ZFDeconv`."""

    activations: str  # "error", "rectify" or "gradient"
    unknown: str  # "error" or "gradient"
    batch_norm: str  # "scale", "gradient" or "pass through"
    overlap: str  # "sum", "mean" or "overwrite"


def rule_for(table: Table, operation: Operation) -> Rule | None:
    """Return the rule of an operation: by its name, else by its kind; None where the table has none."""
    return table.get(operation.name) or table.get(operation.kind)


def check_table(table: object) -> None:
    """Refuse what is no table of rules.

    Raises
    ------
    InputError
        An entry is of no kind of operation and of no known name, or is no rule.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"expected the rules as a mapping of Kind to Rule, got {type(table).__name__}")
    for key, rule in table.items():
        if not isinstance(key, Kind) and not is_listed(key):
            offer = nearest(key, listed_names()) if isinstance(key, str) else ""
            raise InputError(f"expected the rules' keys as Kind or names of operations, got {key!r}{offer}")
        if not isinstance(rule, Rule):
            raise InputError(f"expected a Rule for {key if isinstance(key, Kind) else repr(key)}, got {rule!r}")


def choose(table: Table, **choices: Unpack[Choices]) -> Table:
    """Return a table with some rules replaced, by the names of the choices.

    Parameters
    ----------
    table : mapping of Kind to Rule
        The table to start from.
    **choices : Choices
        Those that are not given leave the table as it is.

    Raises
    ------
    InputError
        A choice that does not exist; what is no table of rules.
    """
    check_table(table)
    changed = dict(table)
    for argument, choice in choices.items():
        if argument not in _CHOICES:
            raise TypeError(f"unexpected keyword argument {argument!r}, the choices are {', '.join(_CHOICES)}")
        options = _CHOICES[argument]
        if choice not in options:
            raise InputError(f"expected {argument} as one of {', '.join(map(repr, options))}, got {choice!r}")
        changed.update(options[str(choice)])
    return changed
