"""The kinds of operations that a table of rules tells apart, and what one call is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Kind", "Operation", "Question"]


class Kind(enum.Enum):
    """The families of operations that a table of rules tells apart."""

    RECTIFIER = "rectifier"  # max(x, 0), also with a ceiling (ReLU6)
    MAX_POOL = "max-pool"
    CONTRAST_NORM = "contrast normalisation"  # local response normalisation
    BATCH_NORM = "batch norm"
    LINEAR = "linear"  # linear in the signal's tensor; biases, masks and dropout included
    GATE = "gate or head"  # smooth, or a product or a choice of two signals
    STEP = "step"  # piecewise constant, as rounding: its gradient is 0 wherever it has one
    ACTIVATION = "activation"  # stands where a rectifier stands, but is none
    MASK = "mask"  # the sign of activations as a factor, or another way to write a rectifier by hand
    CONSTANT = "constant"  # its result carries no signal
    UNKNOWN = "unknown"


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
