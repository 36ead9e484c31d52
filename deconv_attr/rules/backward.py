"""How a signal goes back through one operation: the rules, each with its body.

A rule is a pure function of the signal and of what was kept from the forward call. With ``r`` the signal that
arrives from above and ``x -> y`` the forward call:

=============  =======================================  ====================================
rule           signal below                             kept
=============  =======================================  ====================================
rectify        max(r, 0)                                nothing
guided         the local gradient times max(r, 0)       what autograd keeps
unpool         r placed at the switches, summed         the switches
pass through   r                                        nothing
scale          r * gamma / sqrt(var + eps)              one factor a channel
adjoint        the transposed linear operation          the filters
gradient       the local gradient times r               what autograd keeps
zero gradient  0                                        nothing
=============  =======================================  ====================================

Autograd's own backward of a pool *is* unpooling, that of a convolution *is* filtering with the transposed filters. Such
a rule says so (`by_autograd`), and its body runs only where it is cheaper, as :func:`adjoint` for single units.

Source: Zeiler and Fergus 2014, section 2.1; for ``guided``, Springenberg et al. 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .filtering import Filters, filter_cone
from .kinds import Operation
from .operations import row_of
from .switches import Switches

__all__ = [
    "ADJOINT",
    "GRADIENT_RULE",
    "GUIDE",
    "PASS_THROUGH",
    "RECTIFY",
    "SCALE",
    "ZERO_GRADIENT",
    "Forward",
    "Rule",
    "adjoint",
    "of_batch",
    "pass_through",
    "rectify",
    "scale",
    "unpooling",
]


@dataclass(frozen=True)
class Forward:
    """One forward call, for a rule that keeps something of it.

    Parameters
    ----------
    operation : Operation
        What it is.
    input, output : Tensor
        Detached: the tensor that carries the signal, and the (first) result.
    arguments : mapping of str to any
        Those that were given, by the names of the function's parameters, of which the first is ``"input"``.
    switches : Switches or None
        Of a max-pool.
    """

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
        ``back(signal, kept) -> signal``, shaped as the operation's input. None: autograd's own backward is the rule.
    keep : callable or None
        ``keep(forward) -> kept``: what ``back`` needs of the forward call, a :class:`Forward`.
    rectifies : bool
        Whether the rule can rectify a signal away.
    before : bool
        Whether `back` changes the signal above, which then goes through autograd's own backward.
    by_autograd : bool
        Whether autograd's own backward does what `back` does.
    """

    name: str
    back: Callable[[Tensor, Any], Tensor] | None = None
    keep: Callable[[Forward], Any] | None = None
    rectifies: bool = False
    before: bool = False
    by_autograd: bool = False

    def __post_init__(self) -> None:
        if self.back is None:
            object.__setattr__(self, "by_autograd", True)


# ---------------------------------------------------------------------------------- rectifiers, contrast


def rectify(signal: Tensor, _: None = None) -> Tensor:
    """Rectify the signal itself; the forward activation plays no part."""
    return signal.relu()


def pass_through(signal: Tensor, _: None = None) -> Tensor:
    """Pass the signal unchanged."""
    return signal


# ---------------------------------------------------------------------------------- filtering


def adjoint(signal: Tensor, filters: Filters) -> Tensor:
    """Filter with the transposed filters; only the cone of the signal is computed."""
    return filter_cone(signal, filters)


def adjoint_of(forward: Forward) -> Filters | None:
    """Return what the operation's adjoint needs; None where autograd's own backward is all there is."""
    of = row_of(forward.operation.name).adjoint
    return None if of is None else of(forward.operation.name, forward.arguments)


# ---------------------------------------------------------------------------------- unpooling


def unpool(signal: Tensor, switches: Switches, overlap: str) -> Tensor:
    """Return the signal unpooled by the switches."""
    return switches.unpool(signal, overlap)


def switches_kept(forward: Forward) -> Switches | None:
    """Return the switches of a max-pool."""
    return forward.switches


def unpooling(overlap: str = "sum") -> Rule:
    """Return the rule of max-pools.

    Parameters
    ----------
    overlap : {"sum", "mean", "overwrite"}
        As for :meth:`Switches.unpool`; the sum is the pool's adjoint.
    """
    name = "unpool" if overlap == "sum" else f"unpool ({overlap})"
    return Rule(name, partial(unpool, overlap=overlap), switches_kept, by_autograd=overlap == "sum")


# ---------------------------------------------------------------------------------- batch norm


def scale(signal: Tensor, factor: Tensor) -> Tensor:
    """Multiply each channel, the second dimension, by its factor (C,)."""
    return (signal * factor.view(1, -1, *[1] * (signal.dim() - 2))).to(signal.dtype)


def factor_of(forward: Forward) -> Tensor:
    """Return gamma / sqrt(var + eps) of a batch norm, (C,), with the variance that the forward pass used."""
    given, image = forward.arguments, forward.input
    if of_batch(given):
        over = [d for d in range(image.dim()) if d != 1]
        variance = image.var(over, correction=0)
    else:
        variance = given["running_var"]
    variance = variance.to(torch.promote_types(variance.dtype, torch.float32))  # eps may be nothing in half precision
    factor = torch.rsqrt(variance + given.get("eps", 1e-5))
    return factor if given.get("weight") is None else factor * given["weight"]


def of_batch(given: Mapping[str, Any]) -> bool:
    """Whether a batch norm, by its arguments, normalises by the batch's own statistics."""
    return bool(given.get("training")) or given.get("running_var") is None


RECTIFY = Rule("rectify", rectify, rectifies=True)
"""The deconvnet's rule of rectifiers: max(signal, 0). The forward mask plays no part."""

GUIDE = Rule("guided", rectify, rectifies=True, before=True)
"""Guided backprop's rule of rectifiers: the local gradient times max(signal, 0)."""

PASS_THROUGH = Rule("pass through", pass_through)
"""The signal as it is: the paper's rule of contrast normalisation."""

SCALE = Rule("scale", scale, factor_of)
"""The signal times gamma / sqrt(var + eps), one factor a channel: a batch norm, as if folded into the filters."""

ADJOINT = Rule("adjoint", adjoint, adjoint_of, by_autograd=True)
"""The transposed linear operation, without the bias: of a convolution the paper's filtering."""

GRADIENT_RULE = Rule("gradient")
"""Autograd's own backward: the local gradient times the signal."""

ZERO_GRADIENT = Rule("zero gradient")  # the same, of a step
