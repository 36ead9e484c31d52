"""The kinds of operations that a table of rules tells apart, and what one call is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Kind", "Operation", "Question"]


class Kind(enum.Enum):
    """The families of operations that a table of rules tells apart."""

    RECTIFIER = "rectifier"
    """max(x, 0), also with a ceiling (ReLU6)."""

    MAX_POOL = "max-pool"
    """A maximum over windows, which records its switches."""

    CONTRAST_NORM = "contrast normalisation"
    """Local response normalisation."""

    BATCH_NORM = "batch norm"
    """Batch normalisation."""

    LINEAR = "linear"
    """Linear in the signal's tensor; biases, masks and dropout included."""

    GATE = "gate or head"
    """Smooth (sigmoid, softmax, layer norm), or a product or a choice of two signals."""

    STEP = "step"
    """Piecewise constant, as rounding: its gradient is 0 wherever it has one."""

    ACTIVATION = "activation"
    """An activation that is no rectifier: LeakyReLU, GELU, SiLU."""

    MASK = "mask"
    """The sign of activations as a factor, or another way to write a rectifier by hand."""

    CONSTANT = "constant"
    """Its result carries no signal."""

    UNKNOWN = "unknown"
    """An operation that the table of operations does not list."""


@dataclass(frozen=True)
class Operation:
    """One call, as the rules see it.

    Parameters
    ----------
    name : str
        Canonical name, without in-place underscore, e.g. ``"relu"``.
    kind : Kind
        The entry of the table of rules.
    """

    name: str
    kind: Kind


@dataclass(frozen=True)
class Question:
    """What only the values of a tensor tell: which of two operations a node is.

    Parameters
    ----------
    answer : Tensor
        (), bool, on the model's device; many are read at once.
    yes, no : Operation
        What the node is.
    """

    answer: Tensor
    yes: Operation
    no: Operation
