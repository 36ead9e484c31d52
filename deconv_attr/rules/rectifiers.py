"""Calls whose arguments tell what they are: clippings, maxima with a constant, and a few more.

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

__all__ = ["ANGLE", "BOUNDS", "DIVISION", "MAXIMUM", "MINIMUM", "QUANTISED", "REDUCED", "Decision"]


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
    elif name == "clamp_max":
        floor = None
    elif name != "relu6":
        floor = argument(1, "min", "min_val")
        ceiling = argument(2, "max", "max_val") if name == "clamp" else None
    rectifies = _equals(floor, 0) and (ceiling is None or _is_positive_number(ceiling))
    return _rectifier(name) if rectifies else _activation(name)


def _bounded_node(node: Node, name: str, carriers: int) -> Operation | Question:
    floor, ceiling = _bounds(node, name)
    if carriers == 1 and floor is None:
        return _unless_it_clips(node, name, floor, ceiling)
    if carriers > 1 or (isinstance(ceiling, Tensor) and ceiling.numel() > 1):
        return _activation(name)
    devices = [bound.device for bound in (floor, ceiling) if isinstance(bound, Tensor)]
    if not devices:  # numbers
        rectifies = floor == 0 and (ceiling is None or ceiling > 0)
        return _rectifier(name) if rectifies else _unless_it_clips(node, name, floor, ceiling)
    device = devices[0]
    rectifies = (torch.as_tensor(floor, device=device).detach() == 0).all()
    if ceiling is not None:
        rectifies = rectifies & (torch.as_tensor(ceiling, device=device) > 0).all()
    return Question(rectifies, _rectifier(name), _activation(name))


def _unless_it_clips(node: Node, name: str, floor: Any, ceiling: Any) -> Operation | Question:
    """Return what a clamp is: a safeguard that no number reaches changes none, and is no activation function."""
    if not name.startswith("clamp") or isinstance(ceiling, Tensor):
        return _activation(name)
    try:
        x = saved(node, "self").detach()
    except RuntimeError:  # it has been overwritten
        return _activation(name)
    inside = torch.ones_like(x, dtype=torch.bool) if floor is None else x >= floor
    inside = inside if ceiling is None else inside & (x <= ceiling)
    return Question(inside.all(), Operation(name, Kind.GATE), _activation(name))


def _bounds(node: Node, name: str) -> tuple[Any, Any]:
    """Return the lower and the upper bound of a node; None for what it has not."""
    if name == "threshold":
        return saved(node, "threshold"), None
    if name == "hardtanh":
        return saved(node, "min_val"), saved(node, "max_val")
    return (
        None if name == "clamp_max" else saved(node, "min"),
        None if name == "clamp_min" else saved(node, "max"),
    )


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


# ---------------------------------------------------------------------------------- by a word, a type, a range


def _reduced_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Return the operation of a reduction that is named by an argument: sums and means are linear."""
    position = 2 if name == "sparse_mm" else 4
    word = args[position] if len(args) > position else kwargs.get("reduce", "sum")
    return _reduction(name, word, len(carriers))


def _reduced_node(node: Node, name: str, carriers: int) -> Operation:
    return _reduction(name, saved(node, "reduce"), carriers)


def _reduction(name: str, word: str, carriers: int) -> Operation:
    is_product = name == "sparse_mm" and carriers > 1
    return Operation(name, Kind.LINEAR if word in ("sum", "mean") and not is_product else Kind.GATE)


def _angle_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Return the operation of an angle: that of a real number is 0 or pi."""
    return Operation(name, Kind.GATE if any(map(torch.is_complex, carriers)) else Kind.STEP)


def _angle_node(node: Node, name: str, carriers: int) -> Operation:
    return Operation(name, Kind.GATE if saved(node, "self").is_complex() else Kind.STEP)


def _division_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Return the operation of a division, which may round its result."""
    return _division(name, kwargs.get("rounding_mode"), len(carriers))


def _division_node(node: Node, name: str, carriers: int) -> Operation:
    return _division(name, getattr(node, "_saved_rounding_mode", None), carriers)  # most overloads have none


def _division(name: str, rounding: str | None, carriers: int) -> Operation:
    if rounding is not None:
        return Operation(name, Kind.STEP)
    return Operation(name, Kind.GATE if carriers > 1 else Kind.LINEAR)


def _quantised_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Return the operation of a rounding that lets the signal pass: a rectifier if its range begins at 0."""
    by_channel = "channel" in name

    def argument(position: int, key: str) -> Any:
        return args[position] if len(args) > position else kwargs[key]

    scale, zero = argument(1, "scale"), argument(2, "zero_point")
    floor = (argument(4 if by_channel else 3, "quant_min") - torch.as_tensor(zero)) * torch.as_tensor(scale)
    if len(carriers) == 1 and bool((floor == 0).all()):
        return _rectifier(name)
    return Operation(name, Kind.GATE) if bool((floor < 0).all()) else _activation(name)  # of some channels


def _quantised_node(node: Node, name: str, carriers: int) -> Operation:
    return Operation(name, Kind.UNKNOWN)  # it has saved no range: its call must tell


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
REDUCED = Decision((Kind.LINEAR, Kind.GATE), _reduced_call, _reduced_node)
DIVISION = Decision((Kind.LINEAR, Kind.STEP), _division_call, _division_node)
ANGLE = Decision((Kind.STEP, Kind.GATE), _angle_call, _angle_node)
QUANTISED = Decision((Kind.RECTIFIER, Kind.GATE, Kind.ACTIVATION), _quantised_call, _quantised_node)
