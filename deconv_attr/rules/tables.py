"""How a signal goes back through one operation, and the tables that say which rule serves which operation.

A rule is a pure function of the signal and of what was kept from the forward call. With ``r`` the signal that
arrives from above and ``x -> y`` the forward call:

=============  =======================================  ====================================
rule           signal below                             kept
=============  =======================================  ====================================
rectify        max(r, 0)                                nothing
guided         the local gradient times max(r, 0)       what autograd keeps
unpool         r placed at the switches, summed         the switches, which autograd keeps
pass through   r                                        nothing
scale          r * gamma / sqrt(var + eps)              one factor a channel
adjoint        the transposed linear operation          what autograd keeps of the filters
gradient       the local gradient times r               what autograd keeps
=============  =======================================  ====================================

A table's keys are kinds of operations, or the names of operations as they stand in a coverage report, which come
first: ``{**DECONVNET, "hardshrink": rule}``.

Source: Zeiler and Fergus 2014, section 2.1; for ``guided``, Springenberg et al. 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, nearest
from .operations import NAMES, Kind, Operation
from .switches import OVERLAPS, Switches

__all__ = [
    "ADJOINT",
    "DECONVNET",
    "DESALINET",
    "GRADIENT",
    "GUIDED_BACKPROP",
    "Forward",
    "Rule",
    "Table",
    "check_table",
    "choose",
    "rule_for",
]


@dataclass(frozen=True)
class Forward:
    """One forward call, for a rule that keeps something of it; its tensors are detached."""

    operation: Operation
    input: Tensor
    output: Tensor
    arguments: Mapping[str, Any]
    switches: Switches | None = None


@dataclass(frozen=True)
class Rule:
    """How the signal goes back through one kind of operation.

    Parameters
    ----------
    name : str
        As it stands in a coverage report.
    back : callable or None
        ``back(signal, kept) -> signal``, shaped as the operation's input. None: autograd's own backward serves.
    keep : callable or None
        ``keep(forward) -> kept``: what ``back`` needs of the forward call, a :class:`Forward`.
    rectifies : bool
        Whether the rule can rectify a signal away.
    before : bool
        Whether `back` changes the signal above, which then goes through autograd's own backward.
    """

    name: str
    back: Callable[[Tensor, Any], Tensor] | None = None
    keep: Callable[[Forward], Any] | None = None
    rectifies: bool = False
    before: bool = False


Table = Mapping[Kind | str, Rule]


def rule_for(table: Table, operation: Operation) -> Rule | None:
    """Look up the rule of an operation: by its name, else by its kind; None where the table has none."""
    return table.get(operation.name) or table.get(operation.kind)


def rectify(signal: Tensor, _: None = None) -> Tensor:
    """Rectify the signal itself; the forward activation plays no part."""
    return signal.relu()


def pass_through(signal: Tensor, _: None = None) -> Tensor:
    """Pass the signal unchanged."""
    return signal


def scale(signal: Tensor, factor: Tensor) -> Tensor:
    """Multiply each channel, the second dimension, by its factor (C,)."""
    return (signal * factor.view(1, -1, *[1] * (signal.dim() - 2))).to(signal.dtype)


def of_batch(given: Mapping[str, Any]) -> bool:
    """Whether a batch norm, by its arguments, normalises by the batch's own statistics."""
    return bool(given.get("training")) or given.get("running_var") is None


def _factor(forward: Forward) -> Tensor:
    """Compute gamma / sqrt(var + eps) of a batch norm, (C,), with the variance that the forward pass used."""
    given, image = forward.arguments, forward.input
    if of_batch(given):
        over = [d for d in range(image.dim()) if d != 1]
        variance = image.var(over, correction=0)
    else:
        variance = given["running_var"]
    variance = variance.to(torch.promote_types(variance.dtype, torch.float32))  # eps may be nothing in half precision
    factor = torch.rsqrt(variance + given.get("eps", 1e-5))
    return factor if given.get("weight") is None else factor * given["weight"]


def unpooling(overlap: str = "sum") -> Rule:
    """Make the rule of max-pools for one way of settling overlapping windows; their sum is the pool's adjoint."""
    if overlap == "sum":
        return Rule("unpool")
    return Rule(f"unpool ({overlap})", partial(_unpool, overlap=overlap), _switches)


def _unpool(signal: Tensor, switches: Switches, overlap: str) -> Tensor:
    return switches.unpool(signal, overlap)


def _switches(forward: Forward) -> Switches | None:
    return forward.switches


RECTIFY = Rule("rectify", rectify, rectifies=True)
GUIDE = Rule("guided", rectify, rectifies=True, before=True)
PASS_THROUGH = Rule("pass through", pass_through)
SCALE = Rule("scale", scale, _factor)
ADJOINT = Rule("adjoint")
GRADIENT_RULE = Rule("gradient")

DECONVNET: Table = MappingProxyType(
    {
        Kind.RECTIFIER: RECTIFY,
        Kind.MAX_POOL: unpooling("sum"),
        Kind.CONTRAST_NORM: PASS_THROUGH,
        Kind.BATCH_NORM: SCALE,
        Kind.LINEAR: ADJOINT,
        Kind.GATE: GRADIENT_RULE,
        # ACTIVATION, MASK, UNKNOWN: no rule. The paper has rectifiers only.
    }
)
DESALINET: Table = MappingProxyType({**DECONVNET, Kind.RECTIFIER: GUIDE})
GUIDED_BACKPROP: Table = MappingProxyType({**DESALINET, Kind.CONTRAST_NORM: GRADIENT_RULE})
GRADIENT: Table = MappingProxyType({**dict.fromkeys(Kind, GRADIENT_RULE), Kind.LINEAR: ADJOINT})

_CHOICES: dict[str, dict[str, dict[Kind | str, Rule]]] = {
    "activations": {
        "error": {},
        "rectify": {Kind.ACTIVATION: RECTIFY},
        "gradient": {Kind.ACTIVATION: GRADIENT_RULE, Kind.MASK: GRADIENT_RULE},
    },
    "unknown": {"error": {}, "gradient": {Kind.UNKNOWN: GRADIENT_RULE}},
    "batch_norm": {
        "scale": {},
        "gradient": {Kind.BATCH_NORM: GRADIENT_RULE},
        "pass through": {Kind.BATCH_NORM: PASS_THROUGH},
    },
    "overlap": {"sum": {}, **{name: {Kind.MAX_POOL: unpooling(name)} for name in OVERLAPS if name != "sum"}},
}


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
        if not isinstance(key, Kind) and key not in NAMES:
            offer = nearest(key, sorted(NAMES)) if isinstance(key, str) else ""
            raise InputError(f"expected the rules' keys as Kind or names of operations, got {key!r}{offer}")
        if not isinstance(rule, Rule):
            raise InputError(f"expected a Rule for {key if isinstance(key, Kind) else repr(key)}, got {rule!r}")


def choose(table: Table, **choices: str) -> Table:
    """Give a table with some rules replaced, by the names of the choices.

    Parameters
    ----------
    table : mapping of Kind to Rule
        The table to start from.
    **choices : str
        ``activations``: "error", "rectify" or "gradient"; ``unknown``: "error" or "gradient";
        ``batch_norm``: "scale", "gradient" or "pass through"; ``overlap``: "sum", "mean" or "overwrite".

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
            raise InputError(f"{argument} must be one of {', '.join(map(repr, options))}, not {choice!r}")
        changed.update(options[choice])
    return changed
