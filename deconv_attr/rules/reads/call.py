"""One call of a forward pass, and what its operands read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

from torch import Tensor

from ..operations import tensors_in
from .intervals import Extent, Reach, all_of, either

__all__ = [
    "Rule",
    "Step",
    "all_but_batch",
    "anything",
    "dims_at",
    "entry",
    "last_dim",
    "normalized_dims",
    "reach_of",
    "union",
    "with_obstacle",
]


@dataclass(frozen=True, eq=False)
class Step:
    """One call of the forward pass.

    Parameters
    ----------
    name : str
        Canonical name of the operation.
    function, args, kwargs
        The call.
    outputs : sequence of Tensor
        The tensors that it returned, of which only the shapes count.
    known : callable
        The reach of a tensor; None for a constant, which reads nothing.
    place : callable
        What and where the call is, in words.
    """

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    outputs: Sequence[Tensor]
    known: Callable[[Tensor], Reach | None]
    place: Callable[[], str]

    @cached_property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return tensors_in((self.args, self.kwargs))

    @cached_property
    def source(self) -> Tensor:
        """The operand: the first tensor that reads the image."""
        return next(tensor for tensor in self.tensors if self.known(tensor) is not None)

    def argument(self, position: int, *names: str, default: Any = None) -> Any:
        """Find an argument by its position or one of its names."""
        if position < len(self.args):
            return self.args[position]
        return next((self.kwargs[name] for name in names if name in self.kwargs), default)


Rule = Callable[[Step], list[Reach]]


def reach_of(step: Step, tensor: Tensor) -> Reach:
    """Give the reach of an operand that has one."""
    reach = step.known(tensor)
    assert reach is not None
    return reach


def union(step: Step, rank: int) -> Reach:
    """Unite what the operands read, broadcast to one rank; see whether a constant depends on the place."""
    reaches = []
    for tensor in step.tensors:
        reach = step.known(tensor)
        if reach is not None:
            lead = rank - tensor.dim()
            extents = tuple(
                replace(e, bounds=e.bounds.reshape(4, *[1] * lead, *e.bounds.shape[1:])) for e in reach.extents
            )
            reaches.append(replace(reach, extents=extents))
    united = reduce(either, reaches)
    constants = [tensor for tensor in step.tensors if step.known(tensor) is None]
    if any(_changes(constant, extent) for constant in constants for extent in united.extents):
        united = with_obstacle(united, step)
    return united


def _changes(constant: Tensor, extent: Extent) -> bool:
    """Say whether a constant changes along a dimension in which the place in the image changes."""
    shared = [
        dim
        for dim in range(-min(constant.dim(), extent.bounds.dim() - 1), 0)
        if constant.size(dim) > 1 and extent.bounds.size(dim) > 1
    ]
    return any(constant.is_meta or not bool((constant == constant.narrow(d, 0, 1)).all()) for d in shared)


def with_obstacle(reach: Reach, step: Step) -> Reach:
    """Note the first call that makes a cut-out another image."""
    return replace(reach, obstacle=reach.obstacle or step.place())


def entry(value: Any, axis: int) -> int:
    """Give one dimension's entry of an argument that may be a number for all."""
    if isinstance(value, (tuple, list)):
        return int(value[axis] if len(value) > 1 else value[0])
    return int(value)


def dims_at(position: int, name: str = "dim", default: Any = None) -> Callable[[Step], Sequence[int]]:
    """Find the argument that names the dimensions; all of them where it is None."""

    def dims(step: Step) -> Sequence[int]:
        given = step.argument(position, name, "axis", default=default)
        if given is None or given in ([], ()):
            return range(-step.source.dim(), 0)
        return given if isinstance(given, (tuple, list)) else (given,)

    return dims


def last_dim(step: Step) -> Sequence[int]:
    """Name the last dimension."""
    return (-1,)


def normalized_dims(step: Step) -> Sequence[int]:
    """Name the dimensions of a layer norm."""
    return range(-len(step.argument(1, "normalized_shape")), 0)


def all_but_batch(step: Step) -> Sequence[int]:
    """Name all dimensions but the first."""
    return range(1, step.source.dim())


def anything(step: Step) -> list[Reach]:
    """Anything may have been read by anyone."""
    reaches = [reach for tensor in step.tensors if (reach := step.known(tensor)) is not None]
    mixer = next((reach.mixer for reach in reaches if reach.mixer), "") or step.place()
    parts = list(zip(*(reach.extents for reach in reaches), strict=True))
    return [Reach(tuple(all_of(each, output.dim()) for each in parts), mixer) for output in step.outputs]
