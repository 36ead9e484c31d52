"""Which operation a PyTorch call or a node of autograd's graph is.

One operation has many spellings: ``F.relu(x)``, ``torch.relu(x)``, ``x.relu_()``, ``x.clamp(min=0)``,
``torch.maximum(x, zeros)``. :func:`operation_name` and :func:`identify` reduce a call to its canonical name and its
:class:`Kind`, and :func:`identify_node` the node that such a call leaves in the graph: ``ReluBackward0`` is ``relu``.
What is known of a name stands in :data:`OPERATIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from .kinds import Kind, Operation, Question
from .operations import cached, is_listed, row_of
from .torch_private import made_by

__all__ = ["identify", "identify_node", "operation_name", "tells_all"]


def _by_alias(text: str) -> dict[str, str]:
    """Read ``canonical: alias alias | canonical: alias``."""
    entries = [entry.split(":") for entry in text.split("|")]
    return {alias: canonical.strip() for canonical, aliases in entries for alias in aliases.split()}


_ALIASES = _by_alias("""
    clamp: clip | cat: concat concatenate | div: divide true_divide truediv | mul: multiply | sub: subtract |
    neg: negative | gt: greater | ge: greater_equal | lt: less | le: less_equal | ne: not_equal | abs: absolute |
    acos: arccos | acosh: arccosh | asin: arcsin | asinh: arcsinh | atan: arctan | atan2: arctan2 | atanh: arctanh |
    trunc: fix | floor_divide: floordiv | remainder: mod | sigmoid: expit | digamma: psi | lgamma: gammaln |
    mvlgamma: multigammaln | logsigmoid: log_sigmoid | batch_norm: batch_norm_legit batch_norm_legit_no_training |
    conj: conj_physical | to_sparse: to_sparse_bsc to_sparse_bsr to_sparse_csc to_sparse_csr | eig: eigvals |
    eigh: eigvalsh | svd: svdvals | cholesky: cholesky_ex | inv: inv_ex inverse | lu_factor: lu_factor_ex |
    pinv: pinverse | solve: solve_ex |
    fake_quantize_per_tensor_affine: fake_quantize_learnable_per_tensor_affine |
    fake_quantize_per_channel_affine: fake_quantize_learnable_per_channel_affine
""")
_NODE_ALIASES = _by_alias("""
    convolution: conv_depthwise2d conv_depthwise3d conv3d conv_dilated2d conv_dilated3d conv2d
        nnpack_spatial_convolution convolution_overrideable convolution_transpose depthwise_convolution |
    batch_norm: batch_norm_with_update batch_norm_no_update |
    pad: reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d |
    grid_sample: grid_sampler grid_sampler2d grid_sampler3d grid_sampler2d_cpu_fallback |
    copy: copy_slices copy lazy_clone | getitem: slice slice_inverse unsafe_index unsafe_masked_index |
    reshape: reshape_alias reshape_copy | dropout: fused_dropout | lstm: rnn_layer lstm_mps |
    scaled_dot_product_attention: flash_attention efficient_attention cudnn_attention |
    softmax: masked_softmax safe_softmax | rrelu: rrelu_with_noise rrelu_with_noise_functional |
    prelu: prelu_kernel | logsigmoid: log_sigmoid_forward | affine_grid: affine_grid_generator |
    view: unsafe_view | split: unsafe_split_with_sizes | to: to_copy | alias: lift lift_fresh |
    index_put: unsafe_index_put index_put_impl unsafe_masked_index_put_accumulate | narrow: narrow_copy |
    col2im: col2_im | im2col: im2_col | bilinear: trilinear |
    cdist: cdist_forward euclidean_dist | pairwise_distance: pdist_forward | rms_norm: fused_rms_norm |
    lstm_cell: fused_lstm_cell | gru_cell: fused_gru_cell | local_response_norm: cross_map_lrn2d |
    deg2rad: deg2_rad | rad2deg: rad2_deg | xlog1py: xlog1_py | nll_loss: nll_loss2d |
    sparse_mm: sparse_mm_reduce_impl | weight_norm: weight_norm_interface |
    sparse_coo_tensor: sparse_coo_tensor_with_dims_and_tensors sparse_compressed_tensor |
    fake_quantize_per_tensor_affine: fake_quantize_per_tensor_affine_cachemask
        fake_quantize_per_tensor_affine_cachemask_tensor_qparams |
    fake_quantize_per_channel_affine: fake_quantize_per_channel_affine_cachemask
""")  # of nodes, without "Backward0", in lower case, without the libraries' prefixes
_PREFIXES = ("native_", "cudnn_", "miopen_", "mkldnn_", "linalg_", "slow_", "thnn_", "special_", "mps_")
_SPACES = ("special_", "linalg_", "native_", "_")  # of calls: torch.special.i0e is special_i0e, its node i0e
_TENSOR_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag"})  # those that add a node to the graph

_OWN_OR_TORCHS = (__name__.split(".")[0], "torch")
_CUSTOM = {  # of our own Function, and of torch's: for module hooks, FSDP2 and DTensor, which bring numbers elsewhere
    "EnteringBackward": "clone",
    **dict.fromkeys(("BackwardHookFunctionBackward", "RegisterPostBackwardFunctionBackward"), "alias"),
    **dict.fromkeys(("_FromTorchTensorBackward", "_ToTorchTensorBackward", "RedistributeBackward"), "alias"),
}


# ---------------------------------------------------------------------------------- calls


@cached
def operation_name(function: Callable[..., Any]) -> str | None:
    """Return the canonical name of a callable that ``__torch_function__`` receives; None for a plain attribute.

    >>> operation_name(torch.Tensor.relu_), operation_name(torch.clip)
    ('relu', 'clamp')
    """
    name: str = getattr(function, "__name__", type(function).__name__)
    if name in ("__get__", "__set__"):  # an attribute: only those that return a tensor of the graph matter
        attribute = getattr(getattr(function, "__self__", None), "__name__", "")
        return attribute if attribute in _TENSOR_ATTRIBUTES else None
    if name.endswith(".no_stats"):  # a batch norm without statistics: an instance norm, as torch.export writes it
        return "instance_norm"
    name = name.split(".")[0]  # torch.ops: "relu.default"
    space = _namespace(function)
    if space not in ("", "aten"):
        return f"{space}::{name}"
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        if name[0] in "ri" and (is_listed(name[1:]) or name[1:] in _ALIASES):
            name = name[1:]  # __radd__, __iadd__
    return _of_its_node(name.rstrip("_").removesuffix("_with_indices"))


def _of_its_node(name: str) -> str:
    """Return the canonical name of a call, without the space in which torch has it and without ``_copy``.

    >>> _of_its_node("linalg_inv_ex"), _of_its_node("_softmax"), _of_its_node("view_copy"), _of_its_node("index_copy")
    ('inv', 'softmax', 'view', 'index_copy')
    """
    known = _ALIASES.get(name, name)
    if is_listed(known):
        return known
    space = next((space for space in _SPACES if name.startswith(space)), "")
    short = name.removeprefix(space) if space else name.removesuffix("_copy")
    found = short if short == name else _of_its_node(short)
    return found if is_listed(found) else name


def _namespace(function: Callable[..., Any]) -> str:
    """Return the namespace of an operation of ``torch.ops``, "" of any other function."""
    qualified = str(getattr(function, "_qualified_op_name", "") or getattr(function, "namespace", ""))
    return qualified.split("::")[0]


def identify(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], carriers: Sequence[Tensor]) -> Operation:
    """Return what a call is.

    Parameters
    ----------
    name : str
        From :func:`operation_name`.
    args, kwargs
        The call's arguments.
    carriers : sequence of Tensor
        Those of its tensors that carry the signal.
    """
    row = row_of(name)
    if row.decision is not None:
        return row.decision.of_call(name, args, kwargs, carriers)
    return Operation(name, Kind.GATE if row.either and len(carriers) > 1 else row.kind)


# ---------------------------------------------------------------------------------- nodes of autograd's graph


def identify_node(node: Node, carriers: int) -> Operation | Question:
    """Return what the call that made a node was.

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
    row = row_of(name)
    if row.decision is not None:
        return row.decision.of_node(node, name, carriers)
    return Operation(name, Kind.GATE if row.either and carriers > 1 else row.kind)


def tells_all(node: Node) -> bool:
    """Whether all nodes of a node's type, with as many carriers, are one operation."""
    return type(node).__name__ != "CppFunction" and row_of(_canonical(node.name())).decision is None


@cached
def _canonical(node_name: str) -> str:
    """Reduce a node's name to the canonical name of its operation.

    >>> _canonical("MaxPool2DWithIndicesBackward0"), _canonical("torch::autograd::CopySlices")
    ('max_pool2d', 'copy')
    """
    name = node_name.split("::")[-1]
    if name != "CrossMapLRN2dBackward" and not re.search(r"Backwards?\d|^CopySlices$|^CopyBackwards$", name):
        return _CUSTOM.get(name, name)  # a custom Function: what it is called says nothing of what it does
    name = re.sub(r"Backwards?\d*(_copy)?$", "", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    name = re.sub(r"(?<=\d)_(?=[a-z](_|$))", "", name).removesuffix("_with_indices").strip("_")
    while True:
        known = _NODE_ALIASES.get(name) or _ALIASES.get(name, name)
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        if is_listed(known) or not prefix:
            break
        name = name.removeprefix(prefix).strip("_")
    if name.startswith("upsample_"):
        return "interpolate"
    return "scaled_dot_product_attention" if name.startswith("scaled_dot_product") else known
