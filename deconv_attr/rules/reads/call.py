"""One call of a forward pass, and what its operands read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

from torch import Tensor

from ..arguments import tensors_in
from .intervals import Extent, Reach, all_of, either

__all__ = [
    "ReadCall",
    "Reads",
    "all_but_batch",
    "dims_at",
    "entry",
    "its_own_statistics",
    "last_dim",
    "normalized_dims",
    "reach_of",
    "reads_all",
    "union",
    "with_obstacle",
]


@dataclass(frozen=True, eq=False)
class ReadCall:
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
    locate : callable
        What and where the call is, in words.
    reads : Reads
        What is known of the operation.
    """

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    outputs: Sequence[Tensor]
    known: Callable[[Tensor], Reach | None]
    locate: Callable[[], str]
    reads: Reads

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments."""
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


@dataclass(frozen=True, eq=False)
class Reads:
    """How the elements of an operation's outputs read its operands: the column of the table of operations.

    Parameters
    ----------
    rule : callable
        ``rule(call)``: the reach of each output.
    dims : callable or None
        ``dims(call)``: the dimensions of which each element reads all, or along which elements change positions.
    several : bool
        Whether it may read the image by several arguments.
    by_rows : bool
        Whether a constant among the arguments may treat the examples of a batch differently.
    """

    rule: Callable[[ReadCall], list[Reach]]
    dims: Callable[[ReadCall], Sequence[int]] | None = None
    several: bool = False
    by_rows: bool = False


def reach_of(call: ReadCall, tensor: Tensor) -> Reach:
    """Return the reach of an operand that has one."""
    reach = call.known(tensor)
    assert reach is not None
    return reach


def union(call: ReadCall, rank: int) -> Reach:
    """Unite what the operands read, broadcast to one rank; a constant that changes with the position is an obstacle."""
    reaches = []
    for tensor in call.tensors:
        reach = call.known(tensor)
        if reach is not None:
            lead = rank - tensor.dim()
            extents = tuple(
                replace(e, bounds=e.bounds.reshape(4, *[1] * lead, *e.bounds.shape[1:])) for e in reach.extents
            )
            reaches.append(replace(reach, extents=extents))
    united = reduce(either, reaches)
    constants = [tensor for tensor in call.tensors if call.known(tensor) is None]
    if any(_changes(constant, extent) for constant in constants for extent in united.extents):
        united = with_obstacle(united, call)
    return united


def _changes(constant: Tensor, extent: Extent) -> bool:
    """Whether a constant changes along a dimension in which the position in the image changes."""
    shared = [
        dim
        for dim in range(-min(constant.dim(), extent.bounds.dim() - 1), 0)
        if constant.size(dim) > 1 and extent.bounds.size(dim) > 1
    ]
    return any(constant.is_meta or not bool((constant == constant.narrow(d, 0, 1)).all()) for d in shared)


def with_obstacle(reach: Reach, call: ReadCall) -> Reach:
    """Note the first call that makes a crop another image."""
    return replace(reach, obstacle=reach.obstacle or call.locate())


def entry(value: Any, axis: int) -> int:
    """Return one dimension's entry of an argument that may be a number for all."""
    if isinstance(value, (tuple, list)):
        return int(value[axis] if len(value) > 1 else value[0])
    return int(value)


def dims_at(position: int, name: str = "dim", default: Any = None) -> Callable[[ReadCall], Sequence[int]]:
    """Return a function that finds the argument that names the dimensions; all of them where it is None."""

    def dims(call: ReadCall) -> Sequence[int]:
        given = call.argument(position, name, "axis", default=default)
        if given is None or given in ([], ()):
            return range(-call.source.dim(), 0)
        return given if isinstance(given, (tuple, list)) else (given,)

    return dims


def last_dim(call: ReadCall) -> Sequence[int]:
    """Name the last dimension."""
    return (-1,)


def normalized_dims(call: ReadCall) -> Sequence[int]:
    """Name the dimensions of a layer norm."""
    return range(-len(call.argument(1, "normalized_shape")), 0)


def all_but_batch(call: ReadCall) -> Sequence[int]:
    """Name all dimensions but the first."""
    return range(1, call.source.dim())


def its_own_statistics(call: ReadCall) -> Sequence[int]:
    """Name the dimensions of an instance norm: all but the first, unless it is written as a batch norm."""
    by_batch = getattr(call.function, "__name__", "").endswith(".no_stats")
    return range(-call.source.dim(), 0) if by_batch else all_but_batch(call)


def _follow_all(call: ReadCall) -> list[Reach]:
    reaches = [reach for tensor in call.tensors if (reach := call.known(tensor)) is not None]
    mixer = next((reach.mixer for reach in reaches if reach.mixer), "") or call.locate()
    parts = list(zip(*(reach.extents for reach in reaches), strict=True))
    return [Reach(tuple(all_of(each, output.dim()) for each in parts), mixer) for output in call.outputs]


reads_all = Reads(_follow_all, several=True)
"""Every output element may read every input element: true of all operations, and all that is known of some."""
