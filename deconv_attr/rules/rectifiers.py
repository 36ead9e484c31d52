"""Calls that are rectifiers or none, by their arguments: clippings, and maxima with a constant.

Each decision is made twice: of a call, by its arguments, and of the node that it leaves in autograd's graph, by what
that has saved. A node that has saved a tensor is a :class:`Question` until its values are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .kinds import Kind, Operation, Question
from .torch_private import saved

__all__ = ["BOUNDS", "MAXIMUM", "MINIMUM", "Decision"]


@dataclass(frozen=True)
class Decision:
    """How to tell of which kind an operation is.

    Parameters
    ----------
    kinds : tuple of Kind
        Those that it may be of.
    of_call : callable
        ``of_call(name, args, kwargs, carriers)``: by the call's arguments; `carriers` are its tensors that carry the
        signal.
    of_node : callable
        ``of_node(node, name, carriers)``: by its node; `carriers` is the number of such tensors.
    """

    kinds: tuple[Kind, ...]
    of_call: Callable[[str, Sequence[Any], Mapping[str, Any], Sequence[Tensor]], Operation]
    of_node: Callable[[Node, str, int], Operation | Question]


# ---------------------------------------------------------------------------------- clippings


def _bounded_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Return the operation of a clipping: a rectifier if its lower bound is 0 and its upper bound, if any, positive."""

    def argument(position: int, *keys: str, default: Any = None) -> Any:
        if len(args) > position:
            return args[position]
        return next((kwargs[key] for key in keys if key in kwargs), default)

    floor: Any = 0  # of relu6
    ceiling: Any = None
    if name == "hardtanh":
        floor, ceiling = argument(1, "min_val", default=-1), argument(2, "max_val", default=1)
    elif name == "threshold":
        floor = argument(1, "threshold") if _equals(argument(2, "value"), 0) else None
    elif name != "relu6":
        floor = argument(1, "min", "min_val")
        ceiling = argument(2, "max", "max_val") if name == "clamp" else None
    rectifies = _equals(floor, 0) and (ceiling is None or _is_positive_number(ceiling))
    return _rectifier(name) if rectifies else _activation(name)


def _bounded_node(node: Node, name: str, carriers: int) -> Operation | Question:
    floor, ceiling = _bounds(node, name)
    if carriers > 1 or floor is None or (isinstance(ceiling, Tensor) and ceiling.numel() > 1):
        return _activation(name)
    devices = [bound.device for bound in (floor, ceiling) if isinstance(bound, Tensor)]
    if not devices:  # numbers
        return _rectifier(name) if floor == 0 and (ceiling is None or ceiling > 0) else _activation(name)
    device = devices[0]
    rectifies = (torch.as_tensor(floor, device=device).detach() == 0).all()
    if ceiling is not None:
        rectifies = rectifies & (torch.as_tensor(ceiling, device=device) > 0).all()
    return Question(rectifies, _rectifier(name), _activation(name))


def _bounds(node: Node, name: str) -> tuple[Any, Any]:
    """Return the lower and the upper bound of a node; None for what it has not."""
    if name == "threshold":
        return saved(node, "threshold"), None
    if name == "hardtanh":
        return saved(node, "min_val"), saved(node, "max_val")
    return saved(node, "min"), saved(node, "max") if name == "clamp" else None


# ---------------------------------------------------------------------------------- max(x, zeros)


def _extreme_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Return the operation of a maximum or minimum: max(x, zeros) is a rectifier, one of two signals a gate."""
    operands = [v for v in (*args, kwargs.get("input"), kwargs.get("other")) if isinstance(v, Tensor)]
    if len(operands) != 2 or len(carriers) != 1:
        return Operation(name, Kind.GATE)
    constant = next(v for v in operands if v is not carriers[0])
    return _rectifier(name) if "max" in name and _equals(constant, 0) else _activation(name)


def _extreme_node(node: Node, name: str, carriers: int) -> Operation | Question:
    if carriers > 1 or len(node.next_functions) < 2:
        return Operation(name, Kind.GATE)
    if "max" not in name:
        return _activation(name)
    zero = [(saved(node, operand).detach() == 0).all() for operand in ("self", "other")]
    return Question(zero[0] | zero[1], _rectifier(name), _activation(name))


def _rectifier(name: str) -> Operation:
    return Operation(name, Kind.RECTIFIER)


def _activation(name: str) -> Operation:
    return Operation(name, Kind.ACTIVATION)


def _equals(value: Any, number: float) -> bool:
    if isinstance(value, Tensor):
        return bool((value.detach() == number).all())
    return value is not None and not isinstance(value, complex) and float(value) == number


def _is_positive_number(value: Any) -> bool:
    return (not isinstance(value, Tensor) or value.numel() == 1) and float(value) > 0


BOUNDS = Decision((Kind.RECTIFIER, Kind.ACTIVATION), _bounded_call, _bounded_node)
MAXIMUM = Decision((Kind.GATE, Kind.RECTIFIER, Kind.ACTIVATION), _extreme_call, _extreme_node)
MINIMUM = Decision((Kind.GATE, Kind.ACTIVATION), _extreme_call, _extreme_node)
