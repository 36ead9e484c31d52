"""How a signal goes back through one operation, and the tables that say which rule serves which kind.

A rule is a pure function of the signal and of what was kept from the forward call. With ``r`` the signal that
arrives from above and ``x -> y`` the forward call:

=============  =======================================  ====================================
rule           signal below                             kept
=============  =======================================  ====================================
rectify        max(r, 0)                                nothing
guided         max(r, 0) where 0 < y < ceiling          a mask
unpool         r placed at the switches, summed         the switches
pass_through   r                                        nothing
scale          r * gamma / sqrt(var + eps)              one factor a channel
adjoint        the transposed linear operation          filters or shapes; see ``lean.py``
gradient       the local gradient times r               what autograd keeps
=============  =======================================  ====================================

Source: Zeiler and Fergus 2014, section 2.1; for ``guided``, Springenberg et al. 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .errors import InputError
from .operations import Kind, Operation
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
    "choose",
]


@dataclass(frozen=True)
class Forward:
    """One forward call, for a rule that keeps something of it."""

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
        ``back(signal, kept) -> signal``. None: autograd's own backward serves, or one that gives the same signal
        and keeps less.
    keep : callable or None
        ``keep(forward) -> kept``: what ``back`` needs of the forward call.
    rectifies : bool
        Whether the rule can rectify a signal away.
    """

    name: str
    back: Callable[[Tensor, Any], Tensor] | None = None
    keep: Callable[[Forward], Any] | None = None
    rectifies: bool = False


Table = Mapping[Kind, Rule]


def rectify(signal: Tensor, _: None = None) -> Tensor:
    """Rectify the signal itself; the forward activation plays no part."""
    return signal.clamp(min=0)


def guide(signal: Tensor, active: Tensor) -> Tensor:
    """Rectify the signal, and let it pass only where the forward unit was active."""
    return signal.clamp(min=0).mul_(active)


def pass_through(signal: Tensor, _: None = None) -> Tensor:
    """Pass the signal unchanged."""
    return signal


def scale(signal: Tensor, factor: Tensor) -> Tensor:
    """Multiply each channel, the second dimension, by its factor (C,)."""
    return signal * factor.view(1, -1, *[1] * (signal.dim() - 2))


def active_units(forward: Forward) -> Tensor:
    """Mark where a rectifier passes its input on: above zero and below its ceiling."""
    active = forward.output > 0
    if forward.operation.ceiling is not None:
        active &= forward.output < forward.operation.ceiling
    return active


def affine_factor(forward: Forward) -> Tensor:
    """Compute gamma / sqrt(var + eps), (C,), with the variance that the forward pass used."""
    given = forward.arguments
    if given.get("training") or given.get("running_var") is None:
        over = [d for d in range(forward.input.dim()) if d != 1]
        variance = forward.input.var(over, correction=0)
    else:
        variance = given["running_var"]
    variance = variance.to(torch.promote_types(variance.dtype, torch.float32))  # eps may be nothing in half precision
    factor = torch.rsqrt(variance + given.get("eps", 1e-5))
    return factor if given.get("weight") is None else factor * given["weight"]


def unpooling(overlap: str = "sum") -> Rule:
    """Make the rule of max-pools for one way of settling overlapping windows."""
    name = "unpool" if overlap == "sum" else f"unpool ({overlap})"
    return Rule(name, lambda signal, switches: switches.unpool(signal, overlap), lambda f: f.switches)


RECTIFY = Rule("rectify", rectify, rectifies=True)
GUIDE = Rule("guided", guide, active_units, rectifies=True)
PASS_THROUGH = Rule("pass through", pass_through)
SCALE = Rule("scale", scale, affine_factor)
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

_CHOICES: dict[str, dict[str, dict[Kind, Rule]]] = {
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
        A choice that does not exist.
    """
    changed = dict(table)
    for argument, choice in choices.items():
        if argument not in _CHOICES:
            raise TypeError(f"unexpected keyword argument {argument!r}, the choices are {', '.join(_CHOICES)}")
        options = _CHOICES[argument]
        if choice not in options:
            raise InputError(f"{argument} must be one of {', '.join(map(repr, options))}, not {choice!r}")
        changed.update(options[choice])
    return MappingProxyType(changed)
