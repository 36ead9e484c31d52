"""Which operation a PyTorch call or a node of autograd's graph is, and of which kind. Tables of rules speak of both.

One operation has many spellings: ``F.relu(x)``, ``torch.relu(x)``, ``x.relu_()``, ``x.clamp(min=0)``,
``torch.maximum(x, zeros)``. :func:`identify` reduces a call to its canonical name and its :class:`Kind`, and
:func:`identify_node` the node that such a call leaves in the graph: ``ReluBackward0`` is ``relu``.
A name that stands nowhere below is :attr:`Kind.UNKNOWN`: no rule, no guess.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import Node

from .torch_private import made_by, saved

__all__ = [
    "ARGUMENTS",
    "COMPOSITES",
    "NAMES",
    "Kind",
    "Operation",
    "Question",
    "gathered",
    "identify",
    "identify_node",
    "is_in_place",
    "kinds_of",
    "mapped",
    "named_arguments",
    "operation_name",
    "tells_all",
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
    MASK = "mask"  # the sign of activations as a factor, or another way to write a rectifier by hand
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
        logsigmoid hardshrink softshrink tanhshrink clamp_max""",
    Kind.MASK: "gt ge lt le sign sgn heaviside signbit",
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
NAMES = frozenset({*_KINDS, "clamp_min"})

# Calls that leave several nodes, or one that is not theirs alone: what they are is for the call to say.
COMPOSITES = frozenset(
    """local_response_norm softsign tanhshrink threshold normalize cosine_similarity pairwise_distance lp_pool1d
    lp_pool2d lp_pool3d instance_norm gumbel_softmax rnn_relu rnn_relu_cell""".split()
)


def _by_alias(text: str) -> dict[str, str]:
    """Read ``canonical: alias alias | canonical: alias``."""
    entries = [entry.split(":") for entry in text.split("|")]
    return {alias: canonical.strip() for canonical, aliases in entries for alias in aliases.split()}


_ALIASES = _by_alias("""
    clamp: clip | cat: concat concatenate | div: divide true_divide truediv | mul: multiply | sub: subtract |
    neg: negative | gt: greater | ge: greater_equal | lt: less | le: less_equal | abs: absolute |
    sigmoid: special_expit | softmax: special_softmax | log_softmax: special_log_softmax |
    vector_norm: linalg_vector_norm | norm: linalg_norm | logsigmoid: log_sigmoid | threshold: _threshold |
    convolution: _convolution
""")
_NODE_ALIASES = _by_alias("""
    convolution: conv_depthwise2d conv_depthwise3d conv3d conv_dilated2d conv_dilated3d conv2d
        nnpack_spatial_convolution convolution_overrideable convolution_transpose depthwise_convolution |
    batch_norm: batch_norm_legit batch_norm_legit_no_training batch_norm_with_update batch_norm_no_update |
    pad: reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d |
    grid_sample: grid_sampler grid_sampler2d grid_sampler3d grid_sampler2d_cpu_fallback |
    copy: copy_slices copy lazy_clone | getitem: slice unsafe_index unsafe_masked_index |
    reshape: reshape_alias reshape_copy | dropout: fused_dropout | lstm: rnn_layer lstm_mps |
    scaled_dot_product_attention: flash_attention efficient_attention cudnn_attention |
    softmax: masked_softmax safe_softmax | rrelu: rrelu_with_noise rrelu_with_noise_functional |
    prelu: prelu_kernel | logsigmoid: log_sigmoid_forward | affine_grid: affine_grid_generator |
    view: unsafe_view | split: unsafe_split_with_sizes | index_put: unsafe_index_put | to: to_copy |
    alias: lift_fresh | col2im: col2_im | im2col: im2_col | bilinear: trilinear |
    cdist: cdist_forward euclidean_dist | pairwise_distance: pdist_forward | rms_norm: fused_rms_norm |
    lstm_cell: fused_lstm_cell | gru_cell: fused_gru_cell | local_response_norm: cross_map_lrn2d
""")  # of nodes, without "Backward0", in lower case, without the libraries' prefixes
_PREFIXES = ("native_", "cudnn_", "miopen_", "mkldnn_", "linalg_", "slow_", "thnn_", "special_", "mps_")
_TENSOR_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag"})  # those that add a node to the graph
# Linear in either argument alone; with a signal in both, a product of two signals.
_BILINEAR_NAMES = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution linear bilinear matmul
    mm bmm mv dot inner outer einsum tensordot chain_matmul kron mul div lerp addcmul grid_sample addmm addmv baddbmm"""
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
def is_in_place(function: Callable[..., Any]) -> bool:
    """Whether a function writes into its first argument: ``x.relu_``, ``x += y``, ``x[i] = y``."""
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
    if is_in_place(function) or kwargs.get("inplace"):
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


def gathered(tensor: Tensor) -> Tensor:
    """Return a tensor as it is, but one that is divided among processes (DTensor) as a whole."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


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
    if name in ("max", "maximum", "fmax", "min", "minimum", "fmin"):
        return _extreme(name, args, kwargs, carriers)
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
        floor = 0
    elif name == "hardtanh":
        floor, ceiling = argument(1, "min_val", default=-1), argument(2, "max_val", default=1)
    elif name == "threshold":
        floor = argument(1, "threshold")
        if not _equals(argument(2, "value"), 0):
            floor = None
    else:
        floor = argument(1, "min", "min_val")
        ceiling = argument(2, "max", "max_val") if name == "clamp" else None
    rectifies = _equals(floor, 0) and (ceiling is None or _is_positive_number(ceiling))
    return Operation(name, Kind.RECTIFIER if rectifies else Kind.ACTIVATION)


def _extreme(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """max(x, zeros) is a rectifier; another constant has no rule; a maximum or minimum of signals is a choice."""
    operands = [v for v in (*args, kwargs.get("input"), kwargs.get("other")) if isinstance(v, Tensor)]
    if len(operands) != 2 or len(carriers) != 1:
        return Operation(name, Kind.GATE)
    constant = next(v for v in operands if v is not carriers[0])
    rectifies = "max" in name and _equals(constant, 0)
    return Operation(name, Kind.RECTIFIER if rectifies else Kind.ACTIVATION)


def kinds_of(name: str) -> tuple[Kind, ...]:
    """Return of which kinds a call of some name may be, the usual one first."""
    if name in ("clamp", "clamp_min", "hardtanh", "threshold", "relu6"):
        return Kind.RECTIFIER, Kind.ACTIVATION
    if name in ("max", "maximum", "fmax"):
        return Kind.GATE, Kind.RECTIFIER, Kind.ACTIVATION
    return (_KINDS.get(name, Kind.UNKNOWN),)


def _equals(value: Any, number: float) -> bool:
    if isinstance(value, Tensor):
        return bool((value.detach() == number).all())
    return value is not None and not isinstance(value, complex) and float(value) == number


def _is_positive_number(value: Any) -> bool:
    return (not isinstance(value, Tensor) or value.numel() == 1) and float(value) > 0


# ---------------------------------------------------------------------------------- nodes of autograd's graph


def identify_node(node: Node, carriers: int) -> Operation | Question:
    """Say what the call that made a node was.

    Parameters
    ----------
    node : Node
        Of autograd's graph.
    carriers : int
        How many of the tensors that the call read carry the signal.
    """
    name = node.name()
    if name in _CUSTOM and made_by(node).split(".")[0] not in _OWN_OR_TORCHS:  # somebody else's, of that name
        return Operation(name, Kind.UNKNOWN)
    name = _canonical(name)
    look = _AMBIGUOUS.get(name)
    if look is not None:
        return look(node, name, carriers)
    kind = _KINDS.get(name, Kind.UNKNOWN)
    return Operation(name, Kind.GATE if carriers > 1 and name in _BILINEAR else kind)


def tells_all(node: Node) -> bool:
    """Whether all nodes of a node's type, with as many carriers, are one operation."""
    return type(node).__name__ != "CppFunction" and _canonical(node.name()) not in _AMBIGUOUS


@lru_cache(maxsize=4096)
def _canonical(node_name: str) -> str:
    """Reduce a node's name to the canonical name of its operation.

    >>> _canonical("MaxPool2DWithIndicesBackward0"), _canonical("torch::autograd::CopySlices")
    ('max_pool2d', 'copy')
    """
    name = node_name.split("::")[-1]
    if name != "CrossMapLRN2dBackward" and not re.search(r"Backwards?\d|^CopySlices$|^CopyBackwards$", name):
        return _CUSTOM.get(name, name)  # a custom Function: what it is called says nothing of what it does
    name = re.sub(r"Backwards?\d*$", "", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    name = re.sub(r"(?<=\d)_(?=[a-z](_|$))", "", name).removesuffix("_with_indices").strip("_")
    while True:
        known = _NODE_ALIASES.get(name) or _ALIASES.get(name, name)
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        if known in NAMES or not prefix:
            break
        name = name.removeprefix(prefix).strip("_")
    if name.startswith("upsample_"):
        return "interpolate"
    return "scaled_dot_product_attention" if name.startswith("scaled_dot_product") else known


_OWN_OR_TORCHS = (__name__.split(".")[0], "torch")
_CUSTOM = {  # of our own Function, and of torch's: for module hooks, FSDP2 and DTensor, which bring numbers elsewhere
    "EnteringBackward": "clone",
    **dict.fromkeys(("BackwardHookFunctionBackward", "RegisterPostBackwardFunctionBackward"), "alias"),
    **dict.fromkeys(("_FromTorchTensorBackward", "_ToTorchTensorBackward", "RedistributeBackward"), "alias"),
}


def _node_of_bounds(node: Node, name: str, carriers: int) -> Operation | Question:
    if name == "threshold":
        floor, ceiling = saved(node, "threshold"), None
    elif name == "hardtanh":
        floor, ceiling = saved(node, "min_val"), saved(node, "max_val")
    else:
        floor, ceiling = saved(node, "min"), saved(node, "max") if name == "clamp" else None
    if carriers > 1 or (ceiling is not None and isinstance(ceiling, Tensor) and ceiling.numel() > 1):
        return Operation(name, Kind.ACTIVATION)
    bounds = [bound for bound in (floor, ceiling) if isinstance(bound, Tensor)]
    yes, no = Operation(name, Kind.RECTIFIER), Operation(name, Kind.ACTIVATION)
    if bounds and floor is not None:
        zero = (torch.as_tensor(floor, device=bounds[0].device).detach() == 0).all()
        return Question(
            zero if ceiling is None else zero & (torch.as_tensor(ceiling, device=zero.device) > 0).all(), yes, no
        )
    return yes if floor is not None and floor == 0 and (ceiling is None or ceiling > 0) else no


def _node_of_extreme(node: Node, name: str, carriers: int) -> Operation | Question:
    if carriers > 1 or len(node.next_functions) < 2:
        return Operation(name, Kind.GATE)
    if name in ("minimum", "fmin", "min"):
        return Operation(name, Kind.ACTIVATION)
    zero = [(saved(node, operand).detach() == 0).all() for operand in ("self", "other")]
    return Question(zero[0] | zero[1], Operation(name, Kind.RECTIFIER), Operation(name, Kind.ACTIVATION))


_AMBIGUOUS: dict[str, Callable[[Node, str, int], Operation | Question]] = {
    **dict.fromkeys(("threshold", "hardtanh", "clamp", "clamp_min"), _node_of_bounds),
    **dict.fromkeys(("maximum", "fmax", "max", "minimum", "fmin", "min"), _node_of_extreme),
}
