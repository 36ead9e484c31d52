"""Which pixels the elements of a tensor read: one rule for each family of operations, on intervals.

For each axis of the image, an element reads pixels from `first` to `last`. Reading several elements reads the union
of their intervals: the smallest `first`, the largest `last`. A second interval, from `start` to `end`, goes on past
the image's border where padding is read; it has the same length everywhere, so size, stride and offset can be
read off it, and an element whose second interval leaves the image depends on where the border is.

All four are kept as (-first, last, -start, end), so that every union is a maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .operations import tensors_in

__all__ = ["Extent", "Reach", "Step", "follow", "is_pointwise", "no_pixel", "pixels", "whole_image"]


@dataclass(frozen=True, eq=False)
class Extent:
    """What a tensor reads along one axis of the image.

    Parameters
    ----------
    bounds : Tensor
        (4, *shape): -first, last, -start, end; -inf where nothing is read. `shape` is the tensor's, but 1 in every
        dimension along which the bounds do not change.
    stride : float
        Pixels from one element to the next.
    """

    bounds: Tensor
    stride: float


@dataclass(frozen=True, eq=False)
class Reach:
    """What a tensor reads of the image.

    Parameters
    ----------
    extents : tuple of Extent
        One for each axis of the image.
    mixer : str
        The first operation that mixed a whole axis of its input, "" if none did.
    obstacle : str
        The first operation whose result depends on the size of the image, or on the place in it, "" if none did.
    """

    extents: tuple[Extent, ...]
    mixer: str = ""
    obstacle: str = ""

    @cached_property
    def is_nothing(self) -> bool:
        """Whether no pixel is read: of a constant that is the same everywhere."""
        return all(float(extent.bounds[1].max()) == -inf for extent in self.extents)


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
        return list(tensors_in((self.args, self.kwargs)))

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


def pixels(shape: Sequence[int], axes: int) -> Reach:
    """Give the reach of an image (..., *axes) itself: each pixel reads itself."""
    extents = []
    for axis in range(axes):
        place = torch.arange(shape[axis - axes], dtype=torch.float64, device="cpu")
        across = place.view([-1 if dim - len(shape) == axis - axes else 1 for dim in range(len(shape))])
        extents.append(Extent(torch.stack([-across, across, -across, across]), 1.0))
    return Reach(tuple(extents))


def no_pixel(image: Reach, dims: int) -> Reach:
    """Give the reach of a tensor with so many dimensions that reads nothing and is the same everywhere."""
    nothing = torch.full((4, *[1] * dims), -inf, dtype=torch.float64, device="cpu")
    return Reach(tuple(Extent(nothing, extent.stride) for extent in image.extents))


def whole_image(image: Reach, dims: int, mixer: str) -> Reach:
    """Give the reach of a tensor with so many dimensions that reads all of an image."""
    return Reach(tuple(_all_of([extent], dims) for extent in image.extents), mixer)


def follow(step: Step) -> list[Reach]:
    """Give the reach of each output of a call that reads the image."""
    rule = _RULES.get(step.name, _unknown)
    carriers = [tensor for tensor in step.tensors if step.known(tensor) is not None]
    if rule not in _SEVERAL and (len(carriers) > 1 or step.tensors[0] is not carriers[0]):
        rule = _unknown  # a product of two signals, or an image in the place of a filter
    try:
        return rule(step)
    except (AttributeError, IndexError, RuntimeError, StopIteration, TypeError, ValueError):
        return _unknown(step)  # an argument that the rule does not know


def is_pointwise(name: str) -> bool:
    """Say whether a call makes of constants that are the same everywhere such a constant."""
    return _RULES.get(name) is _pointwise


# -------------------------------------------------------------------------------------------- the rules


def _pointwise(step: Step) -> list[Reach]:
    """Each element reads those at the same place."""
    united = _union(step, max(output.dim() for output in step.outputs))
    return [united] * len(step.outputs)


def _window(geometry: Callable[[Step, int, int, int], Tensor]) -> Rule:
    """Each element reads a window of the last dimensions, given by a table of positions (elements, window).

    ``geometry(step, axis, before, after)`` makes the table of one dimension of `before` and then `after` elements;
    NaN where there is nothing to read.
    """

    def rule(step: Step) -> list[Reach]:
        source, output = step.source, step.outputs[0]
        dims = _windowed_dims(step)
        reach, mixes, resized = _known(step, source), False, step.name.startswith(("adaptive", "interpolate"))
        for dim in range(-dims, 0):
            before, after = source.shape[dim], output.shape[dim]
            if _is_pointwise(step, dim + dims, before, after):
                continue
            table = geometry(step, dim + dims, before, after)
            mixes |= step.name.startswith("adaptive") and after == 1 < before and _varies(reach, dim)
            two_rows = table if after > 1 else geometry(step, dim + dims, before, 2)
            advance = _advance(two_rows)
            # Aligned to the coarser grid is not aligned to the finer; and padding may crop a transposed convolution.
            cropped = step.name.startswith("conv_transpose") and (
                table[0].nan_to_num(inf).min() > 0 or table[-1].nan_to_num(-inf).max() < before - 1
            )
            resized |= (advance < 1 or bool(cropped)) and _varies(reach, dim)
            reach = _read(reach, dim, before, table, dims, advance)
        extents = tuple(replace(extent, bounds=_over_channels(extent.bounds, dims)) for extent in reach.extents)
        reach = replace(reach, extents=extents)
        if mixes:
            reach = replace(reach, mixer=reach.mixer or step.place())
        elif resized:
            reach = _with_obstacle(reach, step)
        return [reach] * len(step.outputs)

    return rule


def _strided(arguments: str) -> Callable[[Step, int, int, int], Tensor]:
    """Windows at a regular distance; `arguments` names those of the function in their order."""
    positions = {name: position for position, name in enumerate(arguments.split())}

    def geometry(step: Step, axis: int, before: int, after: int) -> Tensor:
        def given(name: str, default: Any) -> Any:
            value = step.argument(positions[name], name, default=default) if name in positions else default
            return default if value is None or value == [] or value == () else value

        size = _entry(step.args[1].shape[2:], axis) if "weight" in positions else _entry(given("kernel_size", 1), axis)
        stride = _entry(given("stride", 1 if "weight" in positions else given("kernel_size", 1)), axis)
        dilation, padding = _entry(given("dilation", 1), axis), given("padding", 0)
        if isinstance(padding, str):
            padding = dilation * (size - 1) // 2 if padding == "same" else 0
        offset = torch.arange(size) * dilation - _entry(padding, axis)
        return (torch.arange(after)[:, None] * stride + offset).double()

    return geometry


def _is_pointwise(step: Step, axis: int, before: int, after: int) -> bool:
    """Recognise the many convolutions of size 1."""
    if not step.name.startswith("conv") or before != after or step.args[1].shape[2 + axis] != 1:
        return False
    stride, padding = step.argument(3, "stride", default=1), step.argument(4, "padding", default=0)
    return _entry(stride, axis) == 1 and (isinstance(padding, str) or _entry(padding, axis) == 0)


def _transposed_window(step: Step, axis: int, before: int, after: int) -> Tensor:
    size = step.args[1].shape[2 + axis]
    stride, padding, _, _, dilation = (
        _entry(step.argument(position, name, default=default), axis)
        for position, name, default in (
            (3, "stride", 1),
            (4, "padding", 0),
            (5, "output_padding", 0),
            (6, "groups", 1),
            (7, "dilation", 1),
        )
    )
    place = (torch.arange(after)[:, None] + padding - torch.arange(size) * dilation).double() / stride
    return torch.where(place == place.floor(), place, torch.nan)


def _adaptive_window(step: Step, axis: int, before: int, after: int) -> Tensor:
    begin = torch.arange(after) * before // after
    end = -((torch.arange(1, after + 1) * before).neg() // after)
    place = begin[:, None] + torch.arange(int((end - begin).max()))
    return torch.where(place < end[:, None], place.double(), torch.nan)


def _interpolation_window(step: Step, axis: int, before: int, after: int) -> Tensor:
    mode = step.argument(3, "mode", default="nearest")
    factor, of_the_sizes = step.argument(2, "scale_factor"), step.argument(5, "recompute_scale_factor", default=False)
    if step.argument(6, "antialias", default=False) or not (of_the_sizes or _is_whole(factor)):
        raise ValueError("a window that does not follow from the sizes")
    if mode == "area":
        return _adaptive_window(step, axis, before, after)
    element = torch.arange(after, dtype=torch.float64)
    if mode == "nearest":
        return (element * before / after).floor()[:, None]
    if step.argument(4, "align_corners", default=False):
        centre = element * (before - 1) / max(after - 1, 1)
    else:
        centre = (element + 0.5) * before / after - 0.5
    reads = torch.arange(-1, 3) if mode == "bicubic" else torch.arange(2)
    return (centre.floor()[:, None] + reads).clamp(0, before - 1)


def _is_whole(factor: Any) -> bool:
    factors = factor if isinstance(factor, (tuple, list)) else [factor]
    return all(each is None or float(each).is_integer() for each in factors)


def _pad(step: Step) -> list[Reach]:
    source, widths = step.source, step.argument(1, "pad")
    mode = step.argument(2, "mode", default="constant") if step.name == "pad" else "constant"
    reach = _known(step, source)
    for number in range(len(widths) // 2):
        dim, before = -1 - number, source.shape[-1 - number]
        if number >= len(reach.extents) and not _varies(reach, dim):
            continue  # channels
        table = torch.arange(-widths[2 * number], before + widths[2 * number + 1], dtype=torch.float64)[:, None]
        copies = None
        if mode != "constant":
            place = torch.arange(before, dtype=torch.float64).view(1, 1, -1)
            copies = F.pad(place, tuple(widths[2 * number : 2 * number + 2]), mode=mode).view(-1, 1)
        if min(widths[2 * number : 2 * number + 2]) < 0 and _varies(reach, dim):
            reach = _with_obstacle(reach, step)
        reach = _read(reach, dim, before, table, len(reach.extents), copies=copies)
    return [reach]


def _along(dims: Callable[[Step], Sequence[int]]) -> Rule:
    """Each element reads all of some dimensions."""

    def rule(step: Step) -> list[Reach]:
        source = step.source
        over = [dim if dim < 0 else dim - source.dim() for dim in dims(step)]
        reach, mixes = _known(step, source), False
        extents = []
        for extent in reach.extents:
            varying = [dim for dim in over if extent.bounds.size(dim) > 1]
            mixes |= bool(varying)
            bounds = extent.bounds.amax(varying, keepdim=True) if varying else extent.bounds
            if step.outputs[0].dim() < source.dim():
                bounds = bounds.squeeze(over)
            extents.append(replace(extent, bounds=bounds))
        mixer = reach.mixer or (step.place() if mixes else "")
        return [Reach(tuple(extents), mixer, reach.obstacle)] * len(step.outputs)

    return rule


def _extreme(step: Step) -> list[Reach]:
    """``max`` and ``min``: of two tensors, or along a dimension."""
    return _pointwise(step) if len(step.tensors) == 2 else _along(_dims_at(1))(step)


def _join(step: Step) -> list[Reach]:
    """``cat`` and ``stack``. Joined feature maps read the union, whichever of them is asked for."""
    parts = step.argument(0, "tensors")
    dim = step.argument(1, "dim", "axis", default=0)
    rank = step.outputs[0].dim()
    dim = dim if dim < 0 else dim - rank
    if step.name == "cat" and any(
        extent.bounds.dim() > -dim and extent.bounds.size(dim) > 1
        for part in parts
        if (reach := step.known(part)) is not None
        for extent in reach.extents
    ):
        return _moved(step)
    if step.name == "stack":
        united = _union(step, rank - 1)
        extents = tuple(replace(extent, bounds=extent.bounds.unsqueeze(dim)) for extent in united.extents)
        return [replace(united, extents=extents)]
    return [_union(step, rank)]


def _moved(step: Step) -> list[Reach]:
    """Elements change their places only: the call itself moves the bounds."""
    first = _known(step, step.source)
    moved = [_moved_axis(step, axis) for axis in range(len(first.extents))]
    reaches = [reach for tensor in step.tensors if (reach := step.known(tensor)) is not None]
    mixer = next((reach.mixer for reach in reaches if reach.mixer), "")
    obstacle = next((reach.obstacle for reach in reaches if reach.obstacle), "")
    found = []
    for extents in zip(*moved, strict=True):
        uneven = any(_drops(old, new) for old, new in zip(first.extents, extents, strict=True))
        found.append(Reach(extents, mixer, obstacle or (step.place() if uneven or _parts(step, extents) else "")))
    return found


def _drops(old: Extent, new: Extent) -> bool:
    """Say whether the first or last elements are gone, or the others stand closer: a cut-out has others there."""
    begin, end = old.bounds[3].min(), old.bounds[3].max()
    gone = new.bounds[3].min() > begin or new.bounds[3].max() <= end - new.stride
    return new.stride < old.stride or (bool(begin < end) and bool(gone))


def _parts(step: Step, extents: Sequence[Extent]) -> bool:
    """Say whether a call joins or separates parts of the image, which another image has elsewhere."""
    if step.name == "cat":
        return True
    spread = [extent.bounds.flatten(1).shape[1] for extent in _known(step, step.source).extents]
    return len(step.outputs) > 1 and spread != [extent.bounds.flatten(1).shape[1] for extent in extents]


def _moved_axis(step: Step, axis: int) -> list[Extent]:
    function: Callable[..., Any] = torch.Tensor.reshape if step.name == "view" else step.function
    stride = _known(step, step.source).extents[axis].stride

    def row(value: Any, number: int) -> Any:
        if isinstance(value, Tensor):
            reach = step.known(value)
            if reach is None:
                return torch.full(value.shape, -inf, dtype=torch.float64) if value.is_floating_point() else value
            return reach.extents[axis].bounds[number].expand(value.shape)
        if type(value) in (list, tuple):
            return type(value)(row(item, number) for item in value)
        return value

    rows = [
        list(tensors_in(function(*row(step.args, number), **{k: row(v, number) for k, v in step.kwargs.items()})))
        for number in range(4)
    ]
    extents = []
    for pieces in zip(*rows, strict=True):
        bounds = _compact(torch.stack([_unexpanded(piece) for piece in pieces]))
        varying = [dim for dim in range(1, bounds.dim()) if bounds.size(dim) > 1]
        if len(varying) == 1:
            ends = bounds[3].flatten()
            stride = float(ends[1] - ends[0])
        extents.append(Extent(bounds, stride))
    return extents


def _unknown(step: Step) -> list[Reach]:
    """Anything may have been read by anyone."""
    reaches = [reach for tensor in step.tensors if (reach := step.known(tensor)) is not None]
    mixer = next((reach.mixer for reach in reaches if reach.mixer), "") or step.place()
    parts = list(zip(*(reach.extents for reach in reaches), strict=True))
    return [Reach(tuple(_all_of(each, output.dim()) for each in parts), mixer) for output in step.outputs]


# -------------------------------------------------------------------------------------------- their parts


def _all_of(extents: Sequence[Extent], dims: int) -> Extent:
    bounds = torch.stack([extent.bounds.flatten(1).amax(1) for extent in extents]).amax(0)
    return Extent(bounds.view(4, *[1] * dims), extents[0].stride)


def _known(step: Step, tensor: Tensor) -> Reach:
    reach = step.known(tensor)
    assert reach is not None
    return reach


def _union(step: Step, rank: int) -> Reach:
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
    united = reduce(_either, reaches)
    constants = [tensor for tensor in step.tensors if step.known(tensor) is None]
    if any(_changes(constant, extent) for constant in constants for extent in united.extents):
        united = _with_obstacle(united, step)
    return united


def _either(one: Reach, other: Reach) -> Reach:
    extents = tuple(
        Extent(torch.maximum(a.bounds, b.bounds), max(a.stride, b.stride))
        for a, b in zip(one.extents, other.extents, strict=True)
    )
    return Reach(extents, one.mixer or other.mixer, one.obstacle or other.obstacle)


def _changes(constant: Tensor, extent: Extent) -> bool:
    """Say whether a constant changes along a dimension in which the place in the image changes."""
    shared = [
        dim
        for dim in range(-min(constant.dim(), extent.bounds.dim() - 1), 0)
        if constant.size(dim) > 1 and extent.bounds.size(dim) > 1
    ]
    return any(constant.is_meta or not bool((constant == constant.narrow(d, 0, 1)).all()) for d in shared)


def _with_obstacle(reach: Reach, step: Step) -> Reach:
    return replace(reach, obstacle=reach.obstacle or step.place())


def _read(
    reach: Reach,
    dim: int,
    before: int,
    table: Tensor,
    dims: int,
    advance: float = 1.0,
    copies: Tensor | None = None,
) -> Reach:
    """Let each element of a dimension read those that stand in its row of a table (elements, window).

    Beyond the ends of the dimension, `before` elements long, there is padding: nothing (or, with `copies`, another
    element) is read there, and the second interval goes on as if the image did. `advance` is the distance of rows.
    """
    extents = []
    for axis, extent in enumerate(reach.extents):
        bounds = extent.bounds
        if bounds.size(dim) != before:  # it does not change along this dimension
            extents.append(extent)
            continue
        varying = [d for d in range(-dims, 0) if bounds.size(d) > 1]
        own = dim in varying if varying else axis - len(reach.extents) == dim
        beyond = (table - table.clamp(0, before - 1)).view(*table.shape, *[1] * (-dim - 1))
        taken = _take(bounds, dim, table)
        read = taken[:2].where(beyond == 0, -inf) if copies is None else _take(bounds[:2], dim, copies)
        growth = beyond.nan_to_num() * (extent.stride if own else 0.0)
        grown = torch.stack([taken[2] - growth, taken[3] + growth]).where(~beyond.isnan(), -inf)
        stride = extent.stride * advance if own else extent.stride
        extents.append(Extent(torch.cat([read, grown]).amax(dim), stride))
    return replace(reach, extents=tuple(extents))


def _take(bounds: Tensor, dim: int, table: Tensor) -> Tensor:
    at = table.nan_to_num().long().clamp(0, bounds.size(dim) - 1)
    taken = bounds.index_select(dim, at.flatten())
    place = taken.dim() + dim
    return taken.view(*taken.shape[:place], *at.shape, *taken.shape[place + 1 :])


def _advance(table: Tensor) -> float:
    """How many elements further the next row of a table reads."""
    first, last = table[0], table[-1]
    if bool(first.isnan().any() | last.isnan().any()):  # a transposed convolution has rows with gaps
        return float((last.nanmean() - first.nanmean()) / (len(table) - 1))
    return float(last[0] - first[0]) / (len(table) - 1)


def _over_channels(bounds: Tensor, dims: int) -> Tensor:
    channel = bounds.dim() - dims - 1
    return bounds.amax(channel, keepdim=True) if channel > 0 else bounds


def _compact(bounds: Tensor) -> Tensor:
    """Keep one entry of every dimension along which nothing changes."""
    for dim in range(1, bounds.dim()):
        if bounds.size(dim) > 1 and bool((bounds == bounds.narrow(dim, 0, 1)).all()):
            bounds = bounds.narrow(dim, 0, 1)
    return bounds


def _unexpanded(piece: Tensor) -> Tensor:
    for dim in range(piece.dim()):
        if piece.stride(dim) == 0 and piece.size(dim) > 1:
            piece = piece.narrow(dim, 0, 1)
    return piece


def _varies(reach: Reach, dim: int) -> bool:
    return any(extent.bounds.size(dim) > 1 for extent in reach.extents)


def _windowed_dims(step: Step) -> int:
    """How many dimensions a window has: the digit in the operation's name, or all but batch and channels."""
    digits = [int(letter) for letter in step.name if letter in "123"]
    return digits[-1] if digits else step.source.dim() - 2


def _entry(value: Any, axis: int) -> int:
    if isinstance(value, (tuple, list)):
        return int(value[axis] if len(value) > 1 else value[0])
    return int(value)


def _dims_at(position: int, name: str = "dim", default: Any = None) -> Callable[[Step], Sequence[int]]:
    """Find the argument that names the dimensions; all of them where it is None."""

    def dims(step: Step) -> Sequence[int]:
        given = step.argument(position, name, "axis", default=default)
        if given is None or given in ([], ()):
            return range(-step.source.dim(), 0)
        return given if isinstance(given, (tuple, list)) else (given,)

    return dims


def _last(step: Step) -> Sequence[int]:
    return (-1,)


def _normalized(step: Step) -> Sequence[int]:
    return range(-len(step.argument(1, "normalized_shape")), 0)


def _all_but_batch(step: Step) -> Sequence[int]:
    return range(1, step.source.dim())


def _matmul(step: Step) -> list[Reach]:
    """Let a matrix from the right mix the last dimension."""
    return _along(_last)(step) if step.tensors[1].dim() == 2 else _unknown(step)


def _per_channel(step: Step) -> list[Reach]:
    """Each element reads the one at its place; further arguments have one entry a channel."""
    if step.name == "batch_norm" and step.argument(5, "training", default=False):
        return _along(_all_but_batch)(step)  # the statistics of the map
    if _varies(_known(step, step.source), 1 - step.source.dim()):
        return _unknown(step)
    return [_known(step, step.source)] * len(step.outputs)


_CONV = "input weight bias stride padding dilation groups"
_MAX_POOL = "input kernel_size stride padding dilation ceil_mode"
_AVG_POOL = "input kernel_size stride padding"
_LP_POOL = "input norm_type kernel_size stride"

_FAMILIES: list[tuple[Rule, str]] = [
    (
        _pointwise,
        """relu relu6 leaky_relu rrelu elu selu celu gelu silu mish hardswish hardtanh threshold clamp clamp_min
        clamp_max softplus softsign logsigmoid hardshrink softshrink tanhshrink sigmoid hardsigmoid tanh exp exp2
        expm1 log log2 log10 log1p sqrt rsqrt square pow float_power reciprocal abs erf erfc sin cos tan sinh cosh
        atan gt ge lt le eq ne sign sgn signbit heaviside add sub rsub neg positive mul div lerp addcmul addcdiv
        logaddexp maximum minimum fmax fmin where masked_fill clone contiguous detach alias to type float double
        half bfloat16 cpu cuda dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout
        feature_alpha_dropout""",
    ),
    (
        _per_channel,
        "batch_norm prelu local_response_norm",
    ),
    (_window(_strided(_CONV)), "conv1d conv2d conv3d"),
    (_window(_transposed_window), "conv_transpose1d conv_transpose2d conv_transpose3d"),
    (_window(_strided(_MAX_POOL)), "max_pool1d max_pool2d max_pool3d"),
    (_window(_strided(_AVG_POOL)), "avg_pool1d avg_pool2d avg_pool3d"),
    (_window(_strided(_LP_POOL)), "lp_pool1d lp_pool2d lp_pool3d"),
    (
        _window(_adaptive_window),
        """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d""",
    ),
    (_window(_interpolation_window), "interpolate"),
    (_pad, "pad constant_pad_nd"),
    (
        _along(_dims_at(1)),
        "mean sum nansum nanmean amax amin prod logsumexp softmax log_softmax softmin cumsum cumprod",
    ),
    (_along(_dims_at(1, default=-1)), "glu"),
    (_along(_dims_at(2, default=1)), "normalize"),
    (_along(_normalized), "layer_norm rms_norm"),
    (_along(_all_but_batch), "group_norm instance_norm"),
    (_along(_last), "linear"),
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
_SEVERAL = (_pointwise, _join, _moved, _extreme, _unknown)  # may read the image by several arguments
