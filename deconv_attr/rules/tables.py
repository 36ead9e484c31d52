"""The tables that say which rule serves which operation.

A table's keys are kinds of operations, or the names of operations as they stand in a coverage report, which come
first: ``{**DECONVNET, "hardshrink": rule}``. Before both come modules of the model, by their names, their types or
themselves, the first that matches: ``{**DECONVNET, "features.3": rule, nn.PReLU: rule, model.head: rule}``. A name that
is an operation's is the operation.

Source: Zeiler and Fergus 2014, section 2.1; Mahendran and Vedaldi 2016; Springenberg et al. 2015.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypedDict

from torch import nn
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
    "changed_choices",
    "check_table",
    "choose",
    "is_of_module",
    "rule_for",
]

Key = Kind | str | type[nn.Module] | nn.Module
Table = Mapping[Key, Rule]
"""Which rule serves which operation, by its kind, its name, or the module that it runs in."""


class _NamedTable(Mapping[Key, Rule]):
    """A table that nobody can change, and that signatures and reprs show by its name."""

    def __init__(self, name: str, rules: Table) -> None:
        self._name = name
        self._rules = dict(rules)

    def __getitem__(self, key: Key) -> Rule:
        return self._rules[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __or__(self, other: Table) -> dict[Key, Rule]:
        return {**self, **other}

    def __ror__(self, other: Table) -> dict[Key, Rule]:
        return {**other, **self}

    def copy(self) -> dict[Key, Rule]:
        """Return the rules as a dict of the caller's own."""
        return dict(self._rules)

    def __repr__(self) -> str:
        return self._name


DECONVNET: Table = _NamedTable(
    "DECONVNET",
    {
        Kind.RECTIFIER: RECTIFY,
        Kind.MAX_POOL: unpooling("sum"),
        Kind.CONTRAST_NORM: PASS_THROUGH,
        Kind.BATCH_NORM: SCALE,
        Kind.LINEAR: ADJOINT,  # the paper's filtering
        Kind.GATE: GRADIENT_RULE,
        Kind.STEP: ZERO_GRADIENT,
        # ACTIVATION, MASK, CONSTANT, UNKNOWN: no rule. The paper has rectifiers only.
    },
)
"""The rules of Zeiler and Fergus: rectification of the signal, unpooling by switches, transposed filters."""

DESALINET: Table = _NamedTable("DESALINET", {**DECONVNET, Kind.RECTIFIER: GUIDE})
"""The deconvnet's rules, with the forward mask of rectifiers too (Mahendran and Vedaldi 2016)."""

GUIDED_BACKPROP: Table = _NamedTable("GUIDED_BACKPROP", {**DESALINET, Kind.CONTRAST_NORM: GRADIENT_RULE})
"""Guided backprop (Springenberg et al. 2015): DESALINET, with contrast normalisation by its gradient."""

GRADIENT: Table = _NamedTable(
    "GRADIENT", {**dict.fromkeys(Kind, GRADIENT_RULE), Kind.LINEAR: ADJOINT, Kind.STEP: ZERO_GRADIENT}
)
"""The plain gradient, which Mahendran and Vedaldi call SaliNet."""

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "DeconvNet": DECONVNET,
        "SaliNet (gradient)": GRADIENT,
        "DeSaliNet": DESALINET,
        "Guided backprop": GUIDED_BACKPROP,
    }
)
"""The tables by their names in the literature."""

_CHOICES: dict[str, dict[str, dict[Key, Rule]]] = {
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


_DEFAULTS = {"activations": "error", "unknown": "error", "batch_norm": "scale", "overlap": "sum"}


def changed_choices(choices: Choices) -> dict[str, Any]:
    """Return the choices that differ from the defaults, which leave a table as it is."""
    return {argument: choice for argument, choice in choices.items() if choice != _DEFAULTS[argument]}


def rule_for(table: Table, operation: Operation) -> Rule | None:
    """Return the rule of an operation: by its name, else by its kind; None where the table has none."""
    return table.get(operation.name) or table.get(operation.kind)


def is_of_module(key: object) -> bool:
    """Whether an entry of a table is for modules, not for operations."""
    return not isinstance(key, Kind) and not is_listed(key)


def check_table(table: object, model: nn.Module) -> None:
    """Refuse what is no table of rules for a model.

    Raises
    ------
    InputError
        An entry is of no kind of operation, of no known name, and of no module of the model; or is no rule.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"expected the rules as a mapping of Kind to Rule, got {type(table).__name__}")
    modules = dict(model.named_modules(remove_duplicate=False))
    for key, rule in table.items():
        if is_of_module(key) and not _is_module_of(key, modules):
            known = [*listed_names(), *filter(None, modules)]
            offer = nearest(key, known) if isinstance(key, str) else ""
            raise InputError(
                "expected the rules' keys as Kind, names of operations, or modules of the model by name or type, got "
                f"{key!r:.80}{offer}"
            )
        if not isinstance(rule, Rule):
            raise InputError(f"expected a Rule for {key if isinstance(key, Kind) else repr(key)}, got {rule!r}")


def _is_module_of(key: object, modules: Mapping[str, nn.Module]) -> bool:
    if isinstance(key, str):
        return bool(key) and key.split("#")[0] in modules
    if isinstance(key, type):
        return issubclass(key, nn.Module)
    return any(module is key for module in modules.values())


def choose(table: Table, model: nn.Module, **choices: Unpack[Choices]) -> Table:
    """Return a table with some rules replaced, by the names of the choices.

    Parameters
    ----------
    table : mapping of Kind to Rule
        The table to start from.
    model : nn.Module
        What it is for.
    **choices : Choices
        Those that are not given leave the table as it is.

    Raises
    ------
    InputError
        A choice that does not exist; what is no table of rules.
    """
    check_table(table, model)
    changed = dict(table)
    for argument, choice in choices.items():
        options = _CHOICES[argument]
        if choice not in options:
            raise InputError(f"expected {argument} as one of {', '.join(map(repr, options))}, got {choice!r}")
        changed.update(options[str(choice)])
    return changed
