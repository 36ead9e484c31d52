"""The table: which rule serves which operation, and the rules that are not windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from ..operations import ARGUMENTS, tensors_in
from .call import ReadCall, Rule, all_but_batch, dims_at, last_dim, normalized_dims, reach_of, reads_all, union
from .intervals import Extent, Reach, compact, unexpanded, varies
from .windows import adaptive_window, interpolation_window, padded, strided_window, transposed_window, windowed

__all__ = ["follow", "mixes_examples"]

_ODD = (AttributeError, IndexError, RuntimeError, StopIteration, TypeError, ValueError)


def follow(call: ReadCall) -> list[Reach]:
    """Give the reach of each output of a call that reads the image."""
    try:
        return _rule(call)(call)
    except _ODD:
        return reads_all(call)  # an argument that the rule does not know


def _rule(call: ReadCall) -> Rule:
    rule = _RULES.get(call.name, reads_all)
    carriers = [tensor for tensor in call.tensors if call.known(tensor) is not None]
    if rule not in _SEVERAL and (len(carriers) > 1 or call.tensors[0] is not carriers[0]):
        return reads_all  # a product of two signals, or an image in the place of a filter
    return rule


def mixes_examples(call: ReadCall) -> bool:
    """Say whether the rows of a call's outputs, along the first dimension, may read other rows of its operands.

    The shapes of the outputs tell the rest: where they have another number of rows, the rows are no examples.
    """
    rule = _rule(call)
    if rule is reads_all or (rule in (_pointwise, _join) and _tells_rows_apart(call)):
        return True
    if call.name not in _DIMS or (call.name in ("max", "min") and len(call.tensors) > 1):
        return False
    try:
        return any(dim in (0, -call.source.dim()) for dim in _DIMS[call.name](call))
    except _ODD:
        return True


def _tells_rows_apart(call: ReadCall) -> bool:
    """Say whether a constant has other values for each row, or is the number of rows."""
    rows = call.source.shape[:1]
    if any((value,) == rows for value in _flat((call.args, list(call.kwargs.values())))):
        return True
    constants = [tensor for tensor in call.tensors if call.known(tensor) is None]
    return any(
        tensor.dim() == call.source.dim() and tensor.shape[:1] == rows and not bool((tensor == tensor[:1]).all())
        for tensor in constants
        if rows > (1,) and not tensor.is_meta
    )


def _flat(values: Any) -> list[Any]:
    """List the numbers in nested lists and tuples."""
    if isinstance(values, (list, tuple)):
        return [number for value in values for number in _flat(value)]
    return [values] if isinstance(values, (int, float)) and not isinstance(values, bool) else []


def _padded_dims(call: ReadCall) -> list[int]:
    widths = call.argument(1, "pad")
    return [-1 - number for number in range(len(widths) // 2) if any(widths[2 * number : 2 * number + 2])]


def _takes_all(index: Any) -> bool:
    """Say whether an index takes the first dimension as it is."""
    first = index[0] if isinstance(index, tuple) and index else index
    return first is Ellipsis or isinstance(first, slice)


def _pointwise(call: ReadCall) -> list[Reach]:
    """Each element reads those at the same place."""
    united = union(call, max(output.dim() for output in call.outputs))
    return [united] * len(call.outputs)


def _along(dims: Callable[[ReadCall], Sequence[int]]) -> Rule:
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
        mixer = reach.mixer or (call.place() if mixes else "")
        return [Reach(tuple(extents), mixer, reach.obstacle)] * len(call.outputs)

    return rule


def _first_alone(call: ReadCall) -> list[Reach]:
    """Each element reads the one at its place; another tensor gives only type and device."""
    if call.tensors[0] is not call.source:
        return reads_all(call)
    return [reach_of(call, call.source)] * len(call.outputs)


def _extreme(call: ReadCall) -> list[Reach]:
    """``max`` and ``min``: of two tensors, or along a dimension."""
    return _pointwise(call) if len(call.tensors) == 2 else _along(dims_at(1))(call)


def _join(call: ReadCall) -> list[Reach]:
    """``cat`` and ``stack``. Joined feature maps read the union, whichever of them is asked for."""
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


def _moved(call: ReadCall) -> list[Reach]:
    """Elements change their positions only: the call itself moves the bounds."""
    first = reach_of(call, call.source)
    moved = [_moved_axis(call, axis) for axis in range(len(first.extents))]
    reaches = [reach for tensor in call.tensors if (reach := call.known(tensor)) is not None]
    mixer = next((reach.mixer for reach in reaches if reach.mixer), "")
    obstacle = next((reach.obstacle for reach in reaches if reach.obstacle), "")
    found = []
    for extents in zip(*moved, strict=True):
        uneven = any(_drops(old, new) for old, new in zip(first.extents, extents, strict=True))
        found.append(Reach(extents, mixer, obstacle or (call.place() if uneven or _parts(call, extents) else "")))
    return found


def _drops(old: Extent, new: Extent) -> bool:
    """Say whether the first or last elements are gone, or the others stand closer: a crop has others there."""
    begin, end = old.bounds[3].min(), old.bounds[3].max()
    gone = new.bounds[3].min() > begin or new.bounds[3].max() <= end - new.stride
    return new.stride < old.stride or (bool(begin < end) and bool(gone))


def _parts(call: ReadCall, extents: Sequence[Extent]) -> bool:
    """Say whether a call joins or separates parts of the image, which another image has elsewhere."""
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
                raise ValueError("a place that is not known")
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


def _matmul(call: ReadCall) -> list[Reach]:
    """Let a matrix from the right mix the last dimension."""
    return _along(last_dim)(call) if call.tensors[1].dim() == 2 else reads_all(call)


def _per_channel(call: ReadCall) -> list[Reach]:
    """Each element reads the one at its place; further arguments have one entry a channel."""
    if call.name == "batch_norm" and call.argument(5, "training", default=False):
        return _along(all_but_batch)(call)  # the statistics of the map
    if varies(reach_of(call, call.source), 1 - call.source.dim()):
        return reads_all(call)
    return [reach_of(call, call.source)] * len(call.outputs)


_AVG_POOL = "input kernel_size stride padding".split()
_LP_POOL = "input norm_type kernel_size stride".split()

_OVER: list[tuple[Callable[[ReadCall], Sequence[int]], str]] = [  # the dimensions of which all is read
    (dims_at(1), "mean sum nansum nanmean amax amin prod logsumexp softmax log_softmax softmin cumsum cumprod"),
    (dims_at(1, default=-1), "glu"),
    (dims_at(2, default=1), "normalize"),
    (normalized_dims, "layer_norm rms_norm"),
    (all_but_batch, "group_norm instance_norm"),
    (last_dim, "linear"),
]

_FAMILIES: list[tuple[Rule, str]] = [
    (
        _pointwise,
        """relu relu6 leaky_relu rrelu elu selu celu gelu silu mish hardswish hardtanh threshold clamp clamp_min
        clamp_max softplus softsign logsigmoid hardshrink softshrink tanhshrink sigmoid hardsigmoid tanh exp exp2
        expm1 log log2 log10 log1p sqrt rsqrt square pow float_power reciprocal abs erf erfc sin cos tan sinh cosh
        atan gt ge lt le eq ne sign sgn signbit heaviside add sub rsub neg positive mul div lerp addcmul addcdiv
        logaddexp maximum minimum fmax fmin where masked_fill clone contiguous detach alias type float double
        half bfloat16 cpu cuda dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout
        feature_alpha_dropout""",
    ),
    (_first_alone, "to type_as"),
    (_per_channel, "batch_norm prelu local_response_norm"),
    (windowed(strided_window(ARGUMENTS["conv2d"])), "conv1d conv2d conv3d"),
    (windowed(transposed_window), "conv_transpose1d conv_transpose2d conv_transpose3d"),
    (windowed(strided_window(ARGUMENTS["max_pool2d"])), "max_pool1d max_pool2d max_pool3d"),
    (windowed(strided_window(_AVG_POOL)), "avg_pool1d avg_pool2d avg_pool3d"),
    (windowed(strided_window(_LP_POOL)), "lp_pool1d lp_pool2d lp_pool3d"),
    (
        windowed(adaptive_window),
        """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d""",
    ),
    (windowed(interpolation_window), "interpolate"),
    (padded, "pad constant_pad_nd"),
    *((_along(dims), names) for dims, names in _OVER),
    (_matmul, "matmul mm"),
    (_extreme, "max min"),
    (_join, "cat stack"),
    (
        _moved,
        """split chunk unsafe_split unsafe_chunk tensor_split split_with_sizes unbind view view_as reshape reshape_as
        flatten unflatten ravel permute transpose swapaxes swapdims movedim moveaxis t adjoint T mT squeeze unsqueeze
        expand expand_as broadcast_to repeat repeat_interleave tile narrow select getitem index_select roll flip
        fliplr flipud rot90 pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle""",
    ),
]

_RULES: dict[str, Rule] = {name: rule for rule, names in _FAMILIES for name in names.split()}

# The dimensions along which elements change their positions, or in which all is read.
_DIMS: dict[str, Callable[[ReadCall], Sequence[int]]] = {
    **{name: dims for dims, names in _OVER for name in names.split()},
    "max": dims_at(1),
    "min": dims_at(1),
    "flip": lambda call: _flat((*call.args[1:], call.kwargs.get("dims", ()))),
    "pad": _padded_dims,
    "constant_pad_nd": _padded_dims,
    "roll": dims_at(2, "dims"),
    "index_select": dims_at(1),
    "flipud": lambda call: (0,),
    "rot90": dims_at(2, "dims", default=(0, 1)),
    "getitem": lambda call: () if _takes_all(call.args[1]) else (0,),
}

_SEVERAL = (_pointwise, _first_alone, _join, _moved, _extreme, reads_all)  # may read the image by several arguments
