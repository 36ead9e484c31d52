"""Which operation a PyTorch call is, and of which kind. The tables of rules speak of kinds only.

One operation has many spellings: ``F.relu(x)``, ``torch.relu(x)``, ``x.relu_()``, ``x.clamp(min=0)``,
``torch.maximum(x, zeros)``. :func:`identify` reduces a call to its canonical name and its :class:`Kind`.
A name that stands nowhere below is :attr:`Kind.UNKNOWN`: no rule, no guess.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "ARGUMENTS",
    "HOOKED_MODULES",
    "Kind",
    "Operation",
    "identify",
    "mapped",
    "named_arguments",
    "operation_name",
    "tensors_in",
    "writes_to",
]

_POSITIONS = {  # what a call's arguments are by their order
    "input weight bias stride padding dilation groups": "conv1d conv2d conv3d",
    "input weight bias stride padding output_padding groups dilation": """
        conv_transpose1d conv_transpose2d conv_transpose3d""",
    "input weight bias": "linear",
    "input kernel_size stride padding dilation ceil_mode return_indices": "max_pool1d max_pool2d max_pool3d",
    "input running_mean running_var weight bias training momentum eps": "batch_norm",
}
ARGUMENTS = {name: tuple(order.split()) for order, names in _POSITIONS.items() for name in names.split()}
_TORCH_BATCH_NORM = tuple("input weight bias running_mean running_var training momentum eps cudnn_enabled".split())


class Kind(enum.Enum):
    """The families of operations that a table of rules tells apart."""

    RECTIFIER = "rectifier"  # max(x, 0), also with a ceiling (ReLU6)
    MAX_POOL = "max-pool"
    CONTRAST_NORM = "contrast normalisation"  # local response normalisation
    BATCH_NORM = "batch norm"
    LINEAR = "linear"  # linear in the signal's tensor; biases, masks and dropout included
    GATE = "gate or head"  # smooth, or a product or a choice of two signals
    ACTIVATION = "activation"  # stands where a rectifier stands, but is none
    MASK = "mask"  # a comparison of activations: the makings of a hand-written rectifier
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Operation:
    """One call, as the rules see it.

    Parameters
    ----------
    name : str
        Canonical name, without in-place underscore, e.g. ``"relu"``.
    kind : Kind
        The row of the table of rules.
    ceiling : float or None
        Where a rectifier saturates (6 for ReLU6).
    """

    name: str
    kind: Kind
    ceiling: float | None = None


# The stock modules that carry their rule by a module hook. A subclass with a `forward` of its own is
# reached through the functional calls it makes.
HOOKED_MODULES: dict[object, str] = {
    nn.ReLU.forward: "relu",
    nn.MaxPool1d.forward: "max_pool1d",
    nn.MaxPool2d.forward: "max_pool2d",
    nn.MaxPool3d.forward: "max_pool3d",
    nn.AdaptiveMaxPool1d.forward: "adaptive_max_pool1d",
    nn.AdaptiveMaxPool2d.forward: "adaptive_max_pool2d",
    nn.AdaptiveMaxPool3d.forward: "adaptive_max_pool3d",
    nn.CrossMapLRN2d.forward: "local_response_norm",  # makes no functional call that could be seen
}

_NAMES: dict[Kind, str] = {
    Kind.RECTIFIER: "relu relu6",
    Kind.MAX_POOL: """
        max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        fractional_max_pool2d fractional_max_pool3d""",
    Kind.CONTRAST_NORM: "local_response_norm",
    Kind.BATCH_NORM: "batch_norm",
    Kind.LINEAR: """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution conv_tbc linear
        bilinear matmul mm bmm mv dot inner outer addmm addmv addbmm baddbmm einsum tensordot chain_matmul kron
        add sub rsub neg positive mul div lerp addcmul sum mean nansum nanmean cumsum trapezoid diff trace
        avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
        max_unpool1d max_unpool2d max_unpool3d interpolate upsample upsample_nearest upsample_bilinear
        grid_sample affine_grid pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle fold unfold
        im2col col2im pad constant_pad_nd dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout
        feature_alpha_dropout cat stack hstack vstack dstack column_stack row_stack block_diag split chunk
        unsafe_split unsafe_chunk tensor_split hsplit vsplit dsplit split_with_sizes unbind view view_as reshape
        reshape_as flatten unflatten ravel permute transpose swapaxes swapdims movedim moveaxis t adjoint T mT H mH
        squeeze unsqueeze expand expand_as broadcast_to broadcast_tensors repeat repeat_interleave tile narrow
        select getitem setitem index index_select index_add index_copy index_fill index_put gather take
        take_along_dim scatter scatter_add masked_select masked_fill masked_scatter where roll flip fliplr flipud
        rot90 diagonal diag diag_embed tril triu as_strided alias atleast_1d atleast_2d atleast_3d
        clone contiguous to type type_as float double half bfloat16 cpu cuda copy fill zero real imag
        view_as_real view_as_complex embedding_bag pin_memory""",
    Kind.GATE: """
        sigmoid hardsigmoid tanh softmax log_softmax softmin gumbel_softmax glu layer_norm group_norm instance_norm
        rms_norm normalize scaled_dot_product_attention multi_head_attention_forward lstm gru rnn_tanh lstm_cell
        gru_cell rnn_tanh_cell exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow float_power reciprocal
        abs std var std_mean var_mean norm vector_norm matrix_norm logsumexp cosine_similarity pairwise_distance
        cdist prod cumprod erf erfc sin cos tan sinh cosh atan max min amax amin aminmax maximum minimum fmax fmin
        topk sort kthvalue median nanmedian lp_pool1d lp_pool2d lp_pool3d addcdiv logaddexp""",
    Kind.ACTIVATION: """
        leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardtanh threshold clamp softplus softsign
        logsigmoid hardshrink softshrink tanhshrink""",
    Kind.MASK: "gt ge lt le sign sgn heaviside signbit",
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}

_ALIASES = {
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "true_divide": "div",
    "truediv": "div",
    "multiply": "mul",
    "subtract": "sub",
    "negative": "neg",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "absolute": "abs",
    "special_expit": "sigmoid",
    "special_softmax": "softmax",
    "special_log_softmax": "log_softmax",
    "linalg_vector_norm": "vector_norm",
    "linalg_norm": "norm",
    "log_sigmoid": "logsigmoid",
    "_threshold": "threshold",
    "_convolution": "convolution",
}
_TENSOR_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag"})  # those that add a node to the graph
# Linear in either argument alone; with a signal in both, a product of two signals.
_BILINEAR_NAMES = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution linear bilinear matmul
    mm bmm mv dot inner outer einsum tensordot chain_matmul kron mul div lerp addcmul grid_sample"""
_BILINEAR = frozenset(_BILINEAR_NAMES.split())


@lru_cache(maxsize=4096)
def operation_name(function: Callable[..., Any]) -> str | None:
    """Give the canonical name of a callable that ``__torch_function__`` receives; None for a plain attribute.

    >>> operation_name(torch.Tensor.relu_), operation_name(torch.clip)
    ('relu', 'clamp')
    """
    name: str = getattr(function, "__name__", type(function).__name__)
    if name in ("__get__", "__set__"):  # an attribute: only those that give a tensor of the graph matter
        attribute = getattr(getattr(function, "__self__", None), "__name__", "")
        return attribute if attribute in _TENSOR_ATTRIBUTES else None
    name = name.split(".")[0]  # torch.ops: "relu.default"
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        if name[0] in "ri" and (name[1:] in _KINDS or name[1:] in _ALIASES):
            name = name[1:]  # __radd__, __iadd__
    name = name.rstrip("_").removesuffix("_with_indices")
    return _ALIASES.get(name, name)


@lru_cache(maxsize=4096)
def _is_in_place(function: Callable[..., Any]) -> bool:
    name: str = getattr(function, "__name__", "").split(".")[0]
    if name.startswith("__"):
        return name == "__setitem__" or _is_augmented(name)
    return name.endswith("_")


def _is_augmented(name: str) -> bool:
    """Tell ``__iadd__``, which has an ``__add__`` beside it, from ``__index__``."""
    return name.startswith("__i") and hasattr(Tensor, f"__{name[3:]}")


def writes_to(function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """List the tensor arguments that a call may change: in-place targets, ``out=``, running statistics."""
    targets: list[Any] = []
    if _is_in_place(function) or kwargs.get("inplace"):
        targets.append(args[0] if args else kwargs.get("input"))
    if kwargs.get("max_norm") is not None:  # an embedding renormalises its table
        targets.append(args[1])
    if name in ("batch_norm", "instance_norm"):
        flag = kwargs.get("training", kwargs.get("use_input_stats", name == "instance_norm"))
        if args[5] if len(args) > 5 else flag:
            # F.batch_norm has the statistics at 1 and 2, torch.batch_norm at 3 and 4: weight and bias beside
            # them are never written, so copying all four is safe.
            targets += [*args[1:5], kwargs.get("running_mean"), kwargs.get("running_var")]
    return tensors_in((targets, kwargs.get("out")))


def tensors_in(value: Any) -> list[Tensor]:
    """List the tensors in nested lists, tuples and dicts."""
    found: list[Tensor] = []
    _collect((value,), found)
    return found


_NUMBERS = frozenset({int, float, bool, str, type(None)})  # of which a call has many, and which are quick to tell


def _collect(values: Iterable[Any], found: list[Tensor]) -> None:
    for value in values:
        if type(value) in _NUMBERS:
            continue
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            _collect(value, found)
        elif isinstance(value, dict):
            _collect(list(value.values()), found)  # a list, for another thread may be writing


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to all that is in nested lists, tuples and dicts, and give the same nest of the results."""
    if type(value) in (list, tuple):
        return type(value)([mapped(change, item) for item in value])
    if type(value) is dict:
        return {key: mapped(change, item) for key, item in value.items()}
    return change(value)


def named_arguments(function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Give a call's arguments by their names; where :data:`ARGUMENTS` lacks it, only the first and the keywords."""
    order = ARGUMENTS.get(name, ("input",))
    if name == "batch_norm" and function is not F.batch_norm:  # torch.batch_norm has another order
        order = _TORCH_BATCH_NORM
    return {**dict(zip(order, args, strict=False)), **kwargs}


def identify(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Say what a call is.

    Parameters
    ----------
    name : str
        As :func:`operation_name` gives it.
    args, kwargs
        The call's arguments.
    carriers : sequence of Tensor
        Those of its tensors that carry the signal.
    """
    if name in ("clamp", "clamp_min", "hardtanh", "threshold", "relu6"):
        return _bounded(name, args, kwargs)
    if name in ("max", "maximum", "fmax"):
        return _maximum(name, args, kwargs, carriers)
    kind = _KINDS.get(name, Kind.UNKNOWN)
    if name in _BILINEAR and len(carriers) > 1:
        kind = Kind.GATE
    return Operation(name, kind)


def _bounded(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Operation:
    """Tell a rectifier, whose lower bound is 0 and whose upper bound, if any, is positive, from other clippings."""

    def argument(position: int, *keys: str, default: Any = None) -> Any:
        if len(args) > position:
            return args[position]
        return next((kwargs[key] for key in keys if key in kwargs), default)

    ceiling = None
    if name == "relu6":
        floor, ceiling = 0, 6
    elif name == "hardtanh":
        floor, ceiling = argument(1, "min_val", default=-1), argument(2, "max_val", default=1)
    elif name == "threshold":
        floor = argument(1, "threshold")
        if not _equals(argument(2, "value"), 0):
            floor = None
    else:
        floor = argument(1, "min", "min_val")
        ceiling = argument(2, "max", "max_val") if name == "clamp" else None
    if _equals(floor, 0) and (ceiling is None or _is_positive_number(ceiling)):
        return Operation(name, Kind.RECTIFIER, None if ceiling is None else float(ceiling))
    return Operation(name, Kind.ACTIVATION)


def _maximum(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """max(x, zeros) is a rectifier; max(x, constant) has no rule; a maximum of signals is a choice."""
    operands = [v for v in (*args, kwargs.get("input"), kwargs.get("other")) if isinstance(v, Tensor)]
    if len(operands) != 2 or len(carriers) != 1:
        return Operation(name, Kind.GATE)
    constant = next(v for v in operands if v is not carriers[0])
    return Operation(name, Kind.RECTIFIER if _equals(constant, 0) else Kind.ACTIVATION)


def _equals(value: Any, number: float) -> bool:
    if isinstance(value, Tensor):
        return bool((value.detach() == number).all())
    return value is not None and not isinstance(value, complex) and float(value) == number


def _is_positive_number(value: Any) -> bool:
    return (not isinstance(value, Tensor) or value.numel() == 1) and float(value) > 0
