"""How families of operations read, but for windows; and :func:`follow`, which asks the family of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from ..arguments import is_training, tensors_in
from .call import ReadCall, Reads, all_but_batch, dims_at, last_dim, reach_of, reads_all, union
from .intervals import Extent, Reach, compact, unexpanded, varies

__all__ = [
    "along",
    "extremes",
    "first_alone",
    "follow",
    "joined",
    "matrices",
    "mixes_examples",
    "moved",
    "new_rows",
    "numbers_in",
    "per_channel",
    "pointwise",
    "takes_rows",
]

_ODD = (AttributeError, IndexError, RuntimeError, StopIteration, TypeError, ValueError)


def follow(call: ReadCall) -> list[Reach]:
    """Return the reach of each output of a call that reads the image."""
    try:
        return _reads(call).rule(call)
    except _ODD:
        return reads_all.rule(call)  # an argument that the rule does not know


def _reads(call: ReadCall) -> Reads:
    carriers = [tensor for tensor in call.tensors if call.known(tensor) is not None]
    if not call.reads.several and (len(carriers) > 1 or call.tensors[0] is not carriers[0]):
        return reads_all  # a product of two signals, or an image for a filter
    return call.reads


def mixes_examples(call: ReadCall) -> bool:
    """Whether the rows of a call's outputs, along the first dimension, may read other rows of its operands.

    The shapes of the outputs tell the rest: where they have another number of rows, the rows are no examples.
    """
    reads = _reads(call)
    if reads is reads_all or (reads.by_rows and _tells_rows_apart(call)):
        return True
    if call.reads.dims is None:
        return False
    try:
        return any(dim in (0, -call.source.dim()) for dim in call.reads.dims(call))
    except _ODD:
        return True


def _tells_rows_apart(call: ReadCall) -> bool:
    """Whether a constant has other values for each row, or is the number of rows."""
    rows = call.source.shape[:1]
    if any((value,) == rows for value in numbers_in((call.args, list(call.kwargs.values())))):
        return True
    constants = [tensor for tensor in call.tensors if call.known(tensor) is None]
    return any(
        tensor.dim() == call.source.dim() and tensor.shape[:1] == rows and not bool((tensor == tensor[:1]).all())
        for tensor in constants
        if rows > (1,) and not tensor.is_meta
    )


def numbers_in(values: Any) -> list[Any]:
    """Return the numbers in nested lists and tuples."""
    if isinstance(values, (list, tuple)):
        return [number for value in values for number in numbers_in(value)]
    return [values] if isinstance(values, (int, float)) and not isinstance(values, bool) else []


def takes_rows(call: ReadCall) -> Sequence[int]:
    """Return the first dimension, unless an index takes it as it is."""
    index = call.args[1]
    first = index[0] if isinstance(index, tuple) and index else index
    return () if first is Ellipsis or isinstance(first, slice) else (0,)


def new_rows(call: ReadCall) -> Sequence[int]:
    """Return the first dimension, if a broadcast puts a new one before it."""
    return (0,) if call.outputs[0].dim() > call.source.dim() else ()


# ---------------------------------------------------------------------------------- element by element


def _pointwise(call: ReadCall) -> list[Reach]:
    united = union(call, max(output.dim() for output in call.outputs))
    return [united] * len(call.outputs)


def _first_alone(call: ReadCall) -> list[Reach]:
    if call.tensors[0] is not call.source:
        return reads_all.rule(call)
    return [reach_of(call, call.source)] * len(call.outputs)


def _per_channel(call: ReadCall) -> list[Reach]:
    if call.name == "batch_norm" and is_training(call.args, call.kwargs):
        return along(all_but_batch).rule(call)  # the statistics of the map
    if varies(reach_of(call, call.source), 1 - call.source.dim()):
        return reads_all.rule(call)
    return [reach_of(call, call.source)] * len(call.outputs)


pointwise = Reads(_pointwise, several=True, by_rows=True)
"""Each element reads those at the same position."""

first_alone = Reads(_first_alone, several=True)
"""Each element reads the one at its position; another tensor gives only type and device."""

per_channel = Reads(_per_channel)
"""Each element reads the one at its position; further arguments have one entry a channel."""


# ---------------------------------------------------------------------------------- whole dimensions


def along(dims: Callable[[ReadCall], Sequence[int]]) -> Reads:
    """Each element reads all of some dimensions."""

    def rule(call: ReadCall) -> list[Reach]:
        source = call.source
        over = [dim if dim < 0 else dim - source.dim() for dim in dims(call)]
        reach, mixes = reach_of(call, source), False
        extents = []
        for extent in reach.extents:
            varying = [dim for dim in over if extent.bounds.size(dim) > 1]
            mixes |= bool(varying)
            bounds = extent.bounds.amax(varying, keepdim=True) if varying else extent.bounds
            if call.outputs[0].dim() < source.dim():
                bounds = bounds.squeeze(over)
            extents.append(replace(extent, bounds=bounds))
        mixer = reach.mixer or (call.locate() if mixes else "")
        return [Reach(tuple(extents), mixer, reach.obstacle)] * len(call.outputs)

    return Reads(rule, dims)


def _extremes(call: ReadCall) -> list[Reach]:
    return _pointwise(call) if len(call.tensors) == 2 else along(dims_at(1)).rule(call)


def _matrices(call: ReadCall) -> list[Reach]:
    return along(last_dim).rule(call) if call.tensors[1].dim() == 2 else reads_all.rule(call)


extremes = Reads(_extremes, lambda call: () if len(call.tensors) > 1 else dims_at(1)(call), several=True)
"""``max`` and ``min``: of two tensors, or along a dimension."""

matrices = Reads(_matrices)
"""A matrix from the right mixes the last dimension."""


# ---------------------------------------------------------------------------------- other positions


def _joined(call: ReadCall) -> list[Reach]:
    parts = call.argument(0, "tensors")
    dim = call.argument(1, "dim", "axis", default=0)
    rank = call.outputs[0].dim()
    dim = dim if dim < 0 else dim - rank
    if call.name == "cat" and any(
        extent.bounds.dim() > -dim and extent.bounds.size(dim) > 1
        for part in parts
        if (reach := call.known(part)) is not None
        for extent in reach.extents
    ):
        return _moved(call)
    if call.name == "stack":
        united = union(call, rank - 1)
        extents = tuple(replace(extent, bounds=extent.bounds.unsqueeze(dim)) for extent in united.extents)
        return [replace(united, extents=extents)]
    return [union(call, rank)]


joined = Reads(_joined, several=True, by_rows=True)
"""``cat`` and ``stack``. Joined feature maps read the union, whichever of them is asked for."""


def moved(dims: Callable[[ReadCall], Sequence[int]] | None = None) -> Reads:
    """Elements change their positions only, along some dimensions: the call itself moves the bounds."""
    return Reads(_moved, dims, several=True)


def _moved(call: ReadCall) -> list[Reach]:
    first = reach_of(call, call.source)
    axes = [_moved_axis(call, axis) for axis in range(len(first.extents))]
    mixer, obstacle = _first_words(call)
    if not axes:  # of vectors there is nothing to follow
        return [Reach((), mixer, obstacle)] * len(call.outputs)
    found = []
    for extents in zip(*axes, strict=True):
        uneven = any(map(_drops, first.extents, extents)) or _parts(call, extents)
        found.append(Reach(extents, mixer, obstacle or (call.locate() if uneven else "")))
    return found


def _first_words(call: ReadCall) -> tuple[str, str]:
    """Return the first mixer and the first obstacle among a call's inputs; "" where there is none."""
    reaches = [reach for tensor in call.tensors if (reach := call.known(tensor)) is not None]
    mixer = next((reach.mixer for reach in reaches if reach.mixer), "")
    obstacle = next((reach.obstacle for reach in reaches if reach.obstacle), "")
    return mixer, obstacle


def _drops(old: Extent, new: Extent) -> bool:
    """Whether the first or last elements are gone, or the others stand closer: a crop has others there."""
    begin, end = old.bounds[3].min(), old.bounds[3].max()
    gone = new.bounds[3].min() > begin or new.bounds[3].max() <= end - new.stride
    return new.stride < old.stride or (bool(begin < end) and bool(gone))


def _parts(call: ReadCall, extents: Sequence[Extent]) -> bool:
    """Whether a call joins or separates parts of the image, which another image has elsewhere."""
    if call.name == "cat" or any(sum(size > 1 for size in extent.bounds.shape[1:]) > 1 for extent in extents):
        return True  # or divides rows into groups of rows, which another image begins elsewhere
    spread = [extent.bounds.flatten(1).shape[1] for extent in reach_of(call, call.source).extents]
    return len(call.outputs) > 1 and spread != [extent.bounds.flatten(1).shape[1] for extent in extents]


def _moved_axis(call: ReadCall, axis: int) -> list[Extent]:
    function: Callable[..., Any] = torch.Tensor.reshape if call.name == "view" else call.function
    stride = reach_of(call, call.source).extents[axis].stride

    def row(value: Any, number: int) -> Any:
        if isinstance(value, Tensor):
            reach = call.known(value)
            if reach is None and value.is_meta:
                raise ValueError("a position that is not known")
            if reach is None:
                return torch.full(value.shape, -inf, dtype=torch.float64) if value.is_floating_point() else value.cpu()
            return reach.extents[axis].bounds[number].expand(value.shape)
        if type(value) in (list, tuple):
            return type(value)(row(item, number) for item in value)
        return value

    rows = [
        tensors_in(function(*row(call.args, number), **{k: row(v, number) for k, v in call.kwargs.items()}))
        for number in range(4)
    ]
    extents = []
    for pieces in zip(*rows, strict=True):
        bounds = compact(torch.stack([unexpanded(piece) for piece in pieces]))
        varying = [dim for dim in range(1, bounds.dim()) if bounds.size(dim) > 1]
        if len(varying) == 1:
            ends = bounds[3].flatten()
            stride = float(ends[1] - ends[0])
        extents.append(Extent(bounds, stride))
    return extents
