"""The one table of operations: a row for a family, keyed by canonical names, with all that is known of it.

A name that stands in no row is :attr:`Kind.UNKNOWN`: no rule, no guess. :func:`register_operation` adds one.

Columns
-------
kind
    Which entry of a table of rules serves it.
reads
    Which elements of its input an element of its output reads; without it, any may read any.
either
    Whether it is linear in either of two arguments alone; with a signal in both it is a product of two signals, a gate.
decision
    Of operations whose kind their arguments decide: how.
adjoint
    How the signal of a single unit goes back; without it, and for all other signals, by autograd's own backward.
random
    Whether a call's result changes from run to run, or with the rest of the batch.
by_call
    Whether it leaves several nodes in autograd's graph, or one that others leave, too: its call has to be noted.
spares
    Whether much of what autograd keeps of it can be made small.
weighs, folds
    Which numbers it may weigh by their own signs; whether it has one value for x and -x, after which a sum may.
shape
    Of the output, where a dry run need not ask torch: "same" as the first argument's, or a function of the arguments.
values
    Whose values it reads, and not the shape alone: those of "all" tensors, of the "first", or of the "rest".
sized
    Whether its numbers are sizes of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from ..errors import InputError
from . import handwritten
from .arguments import ARGUMENTS, is_training
from .filtering import Filters
from .handwritten import Weighs
from .kinds import Kind
from .reads import (
    Reads,
    adaptive,
    all_but_batch,
    along,
    dims_at,
    extremes,
    first_alone,
    interpolated,
    its_own_statistics,
    joined,
    last_dim,
    matrices,
    moved,
    new_rows,
    normalized_dims,
    numbers_in,
    padded,
    per_channel,
    pointwise,
    reads_all,
    takes_rows,
    transposed,
    window,
)
from .rectifiers import ANGLE, BOUNDS, DIVISION, MAXIMUM, MINIMUM, QUANTISED, REDUCED, Decision

__all__ = ["OPERATIONS", "Row", "cached", "is_listed", "listed_names", "register_operation", "row_of"]


# ---------------------------------------------------------------------------------- the columns random and shape


def always(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the result of a call is random: it is."""
    return True


def when(position: int, keyword: str, default: Any, unless_zero: tuple[int, str, Any] | None = None) -> Any:
    """Return a column `random`: it is if an argument, by one of its names, is true, and another, a share, is not 0."""

    def random(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        def given(position: int, keyword: str, default: Any) -> Any:
            if len(args) > position:
                return args[position]
            return next((kwargs[key] for key in keyword.split() if key in kwargs), default)

        return bool(given(position, keyword, default)) and (unless_zero is None or bool(given(*unless_zero)))

    return random


def convolved(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the shape of a convolution's output; None where torch had better look."""
    if len(args) != 7 or kwargs:
        return None
    source, weight, _, stride, padding, dilation, groups = args
    spelled_out = all(isinstance(each, tuple) for each in (stride, padding, dilation))
    if not spelled_out or source.dim() != weight.dim() or source.shape[1] != weight.shape[1] * groups:
        return None
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(source.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    ]
    if min(sizes) <= 0:  # some versions of torch give an empty output on the meta device
        image, kernel = tuple(source.shape[2:]), tuple(weight.shape[2:])
        raise RuntimeError(f"a convolution of kernel size {kernel} has no output for an input of size {image}")
    return (len(source), len(weight), *sizes)


def in_channels(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the shape of feature maps side by side; None where torch had better look."""
    if len(args) != 2 or args[1] != 1 or not args[0][0].is_meta:
        return None
    first, parts = args[0][0], args[0]
    if any(part.shape[0] != first.shape[0] or part.shape[2:] != first.shape[2:] for part in parts):
        return None
    return (len(first), sum(part.shape[1] for part in parts), *first.shape[2:])


# ---------------------------------------------------------------------------------- the table


@dataclass(frozen=True, eq=False)
class Row:
    """What is known of a family of operations; see the head of this file for the columns."""

    names: tuple[str, ...]
    kind: Kind
    reads: Reads = reads_all
    either: bool = False
    decision: Decision | None = None
    adjoint: Callable[[str, Mapping[str, Any]], Filters] | None = None
    random: Callable[[Sequence[Any], Mapping[str, Any]], bool] | None = None
    by_call: bool = False
    spares: bool = False
    weighs: Weighs | None = None
    folds: bool = False
    shape: Literal["same"] | Callable[[Sequence[Any], Mapping[str, Any]], Sequence[int] | None] | None = None
    values: Literal["all", "first", "rest"] = "all"
    sized: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that a call may be of."""
        kinds = (self.kind,) if self.decision is None else self.decision.kinds
        return (*kinds, Kind.GATE) if self.either else kinds


def row(names: str, kind: Kind, reads: Reads = reads_all, **known: Any) -> Row:
    """Return a row, for names that are divided by spaces."""
    return Row(tuple(names.split()), kind, reads, **known)


RECTIFIER, MAX_POOL, BATCH_NORM, LINEAR = Kind.RECTIFIER, Kind.MAX_POOL, Kind.BATCH_NORM, Kind.LINEAR
GATE, STEP, ACTIVATION, MASK, CONSTANT = Kind.GATE, Kind.STEP, Kind.ACTIVATION, Kind.MASK, Kind.CONSTANT
AVG_POOL, LP_POOL = ("input kernel_size stride padding".split(), "input norm_type kernel_size stride".split())

OPERATIONS: list[Row] = [
    # ---- rectifiers, and what is used instead
    row("relu", RECTIFIER, pointwise, spares=True, shape="same"),
    row("relu6", RECTIFIER, pointwise, decision=BOUNDS, spares=True),
    row("clamp clamp_max clamp_min", ACTIVATION, pointwise, decision=BOUNDS),
    row("hardtanh", ACTIVATION, pointwise, decision=BOUNDS, spares=True),
    row("threshold", ACTIVATION, pointwise, decision=BOUNDS, by_call=True),
    row("maximum fmax", GATE, pointwise, decision=MAXIMUM, weighs=handwritten.extreme, folds=True),
    row("minimum fmin", GATE, pointwise, decision=MINIMUM, weighs=handwritten.extreme),
    row("max", GATE, extremes, decision=MAXIMUM, weighs=handwritten.extreme, folds=True),
    row("min", GATE, extremes, decision=MINIMUM, weighs=handwritten.extreme),
    row("celu elu gelu hardshrink hardswish leaky_relu logsigmoid mish", ACTIVATION, pointwise),
    row("selu silu softplus softshrink", ACTIVATION, pointwise),
    row("softsign tanhshrink", ACTIVATION, pointwise, by_call=True),
    row("rrelu", ACTIVATION, pointwise, random=when(3, "training", False)),
    row("prelu", ACTIVATION, per_channel),
    row("eq ge gt heaviside le lt ne sgn sign signbit", MASK, pointwise),
    row(
        "fake_quantize_per_channel_affine fake_quantize_per_tensor_affine",
        ACTIVATION,
        per_channel,
        decision=QUANTISED,
        by_call=True,
        shape="same",
    ),
    # ---- pools and normalisations
    row("max_pool1d max_pool2d max_pool3d", MAX_POOL, window(ARGUMENTS["max_pool2d"]), spares=True),
    row("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", MAX_POOL, adaptive, spares=True),
    row("fractional_max_pool2d fractional_max_pool3d", MAX_POOL, random=always),
    row("avg_pool1d avg_pool2d avg_pool3d", LINEAR, window(AVG_POOL), spares=True),
    row("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", LINEAR, adaptive, spares=True),
    row("lp_pool1d lp_pool2d lp_pool3d", GATE, window(LP_POOL), by_call=True),
    row("max_unpool1d max_unpool2d max_unpool3d", LINEAR),
    row("torchvision::ps_roi_align torchvision::ps_roi_pool torchvision::roi_align", LINEAR, either=True, by_call=True),
    row("torchvision::roi_pool", GATE, by_call=True),  # a maximum, and the boxes are rounded
    row("batch_norm", BATCH_NORM, per_channel, random=is_training, spares=True, shape="same"),
    row("local_response_norm", Kind.CONTRAST_NORM, per_channel, by_call=True),
    row("layer_norm rms_norm", GATE, along(normalized_dims)),
    row("group_norm", GATE, along(all_but_batch)),
    row("instance_norm", GATE, along(its_own_statistics), by_call=True),
    row("normalize", GATE, along(dims_at(2, default=1)), by_call=True),
    # ---- filters and products
    row(
        "conv1d conv2d conv3d",
        LINEAR,
        window(ARGUMENTS["conv2d"]),
        either=True,
        adjoint=Filters.of,
        spares=True,
        shape=convolved,
    ),
    row("conv_transpose1d conv_transpose2d conv_transpose3d", LINEAR, transposed, either=True, spares=True),
    row("convolution", LINEAR, either=True, spares=True),
    row("linear", LINEAR, along(last_dim), either=True, spares=True),
    row("matmul mm", LINEAR, matrices, either=True),
    row("addbmm addmm addmv baddbmm bilinear bmm chain_matmul conv_tbc dot grid_sample", LINEAR, either=True),
    row("addr cross grouped_mm inner kron multi_dot mv outer tensordot vdot vecdot", LINEAR, either=True),
    row("sparse_addmm sparse_sampled_addmm sparse_sparse_matmul", LINEAR, either=True),
    row("sparse_mm", LINEAR, decision=REDUCED),
    row("torchvision::deform_conv2d", LINEAR, either=True, by_call=True),
    row("einsum", LINEAR, either=True, weighs=handwritten.product),
    row("mul", LINEAR, pointwise, either=True, weighs=handwritten.product, folds=True),
    row("addcmul", LINEAR, pointwise, either=True, weighs=handwritten.product),
    row("div", LINEAR, pointwise, either=True, decision=DIVISION),
    row("ldexp lerp", LINEAR, pointwise, either=True),
    row("affine_grid embedding embedding_bag", LINEAR),
    row("fft_fft fft_fft2 fft_fftn fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn", LINEAR),
    row("fft_ihfft fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn", LINEAR),
    row("fft_c2c fft_c2r fft_r2c istft lu_unpack", LINEAR),
    row("stft", LINEAR, either=True),
    # ---- sums
    row("add rsub sub", LINEAR, pointwise, weighs=handwritten.total),
    row("neg positive", LINEAR, pointwise),
    row("cumsum mean nanmean nansum sum", LINEAR, along(dims_at(1))),
    row("cumulative_trapezoid diff gradient sparse_sum sum_to_size trace trapezoid trapz", LINEAR),
    row("nll_loss", LINEAR),
    row("kl_div", LINEAR, pointwise, either=True),
    row("index_reduce scatter_reduce", LINEAR, decision=REDUCED, weighs=handwritten.scattered),
    # ---- dropout
    row("dropout", LINEAR, pointwise, random=when(2, "training train", True, unless_zero=(1, "p", 0.5)), shape="same"),
    row(
        "dropout1d dropout2d dropout3d",
        LINEAR,
        pointwise,
        random=when(2, "training train", True, unless_zero=(1, "p", 0.5)),
    ),
    row(
        "alpha_dropout feature_alpha_dropout feature_dropout",
        LINEAR,
        pointwise,
        random=when(2, "training train", False, unless_zero=(1, "p", 0.5)),
    ),
    row("native_dropout", LINEAR, pointwise, random=when(2, "train", True, unless_zero=(1, "p", 0.5))),
    # ---- choices, and constants instead of some elements
    row("where", LINEAR, pointwise, weighs=handwritten.choice, folds=True),
    row("masked_fill", LINEAR, pointwise, weighs=handwritten.fill),
    row("masked_select", LINEAR, weighs=handwritten.fill),
    row("index_put setitem", LINEAR, weighs=handwritten.index),
    row("copy fill index_add index_copy index_fill masked_scatter scatter scatter_add tril triu zero", LINEAR),
    row("diagonal_scatter put select_scatter slice_scatter", LINEAR),
    # ---- other positions
    row("cat", LINEAR, joined, shape=in_channels),
    row("stack", LINEAR, joined),
    row("block_diag column_stack dstack hstack row_stack vstack", LINEAR),
    row("getitem", LINEAR, moved(takes_rows), weighs=handwritten.index),
    row("view reshape", LINEAR, moved(), sized=True),
    row("expand broadcast_to", LINEAR, moved(new_rows), sized=True),
    row("reshape_as view_as", LINEAR, moved(), values="first"),
    row("expand_as", LINEAR, moved(new_rows), values="first"),
    row("T adjoint channel_shuffle chunk flatten fliplr mT moveaxis movedim narrow", LINEAR, moved()),
    row("native_channel_shuffle permute pixel_shuffle pixel_unshuffle ravel repeat", LINEAR, moved()),
    row("repeat_interleave select split split_with_sizes squeeze swapaxes swapdims", LINEAR, moved()),
    row("t tensor_split tile transpose unbind unflatten unsafe_chunk unsafe_split unsqueeze", LINEAR, moved()),
    row("index_select", LINEAR, moved(dims_at(1))),
    row("flip", LINEAR, moved(lambda call: numbers_in((*call.args[1:], call.kwargs.get("dims", ()))))),
    row("flipud", LINEAR, moved(lambda call: (0,))),
    row("roll", LINEAR, moved(dims_at(2, "dims"))),
    row("rot90", LINEAR, moved(dims_at(2, "dims", default=(0, 1)))),
    row("pad", LINEAR, padded, spares=True),
    row("constant_pad_nd", LINEAR, padded),
    row("interpolate", LINEAR, interpolated),
    row("upsample upsample_bilinear upsample_nearest", LINEAR),
    row("H as_strided atleast_1d atleast_2d atleast_3d broadcast_tensors col2im diag diag_embed", LINEAR),
    row("diagonal dsplit fold gather hsplit im2col imag index mH real take take_along_dim unfold", LINEAR),
    row("view_as_complex view_as_real vsplit", LINEAR),
    row("cartesian_prod combinations diagflat fft_fftshift fft_ifftshift meshgrid unfold_backward", LINEAR),
    row("pack_padded_sequence pad_packed_sequence", LINEAR),
    # ---- the same numbers
    row("alias bfloat16 clone contiguous cpu cuda double float half type", LINEAR, pointwise),
    row("to type_as", LINEAR, first_alone, values="first"),
    row("pin_memory", LINEAR),
    row("cdouble cfloat chalf complex conj deg2rad nan_to_num neg_view rad2deg", LINEAR, pointwise),
    row("resolve_conj resolve_neg", LINEAR, pointwise),
    row("coalesce sparse_coo_tensor to_dense to_mkldnn to_sparse values", LINEAR),
    # ---- steps
    row("ceil floor floor_divide round trunc", STEP, pointwise),
    row("angle", STEP, pointwise, decision=ANGLE),
    # ---- smooth functions, gates and heads
    row("addcdiv atan cos cosh erf erfc exp exp2 expm1 hardsigmoid log log10 log1p log2", GATE, pointwise),
    row("logaddexp reciprocal rsqrt sigmoid sin sinh tan tanh", GATE, pointwise),
    row("acos acosh asin asinh atan2 atanh digamma entr erfcx erfinv i0 i0e i1 i1e igamma igammac", GATE, pointwise),
    row("lgamma log_ndtr logaddexp2 logit mvlgamma ndtr ndtri polar polygamma sinc", GATE, pointwise),
    row("xlog1py xlogy zeta", GATE, pointwise),
    row("fmod frac frexp remainder", GATE, pointwise),  # what a step leaves over
    row("copysign", GATE, pointwise, folds=True),
    row("abs float_power hypot pow sqrt square", GATE, pointwise, folds=True),
    row("dist norm svd vector_norm", GATE, folds=True),
    row("huber_loss l1_loss mse_loss smooth_l1_loss", GATE, folds=True),
    row("binary_cross_entropy binary_cross_entropy_with_logits cross_entropy ctc_loss", GATE),
    row("gaussian_nll_loss poisson_nll_loss soft_margin_loss", GATE),
    row("multilabel_soft_margin_loss", GATE, by_call=True),
    row("cumprod log_softmax logsumexp prod softmax softmin", GATE, along(dims_at(1))),
    row("logcumsumexp", GATE, along(dims_at(1))),
    row("amax amin cummax cummin", GATE, along(dims_at(1)), weighs=handwritten.largest()),
    row("aminmax median nanmedian mode", GATE, weighs=handwritten.largest()),
    row("kthvalue topk", GATE, weighs=handwritten.largest(2, -1)),
    row("msort", GATE, weighs=handwritten.largest(1, 0)),
    row("nanquantile quantile", GATE, weighs=handwritten.largest(2)),
    row("sort", GATE, weighs=handwritten.largest(1, -1)),
    row("glu", GATE, along(dims_at(1, default=-1))),
    row("gumbel_softmax", GATE, random=always, by_call=True),
    row("corrcoef cosine_similarity pairwise_distance", GATE, by_call=True),
    row("cdist cov matrix_norm pdist renorm std std_mean var var_mean weight_norm", GATE),
    row("sparse_log_softmax sparse_softmax tensorinv tensorsolve triangular_solve vander", GATE),
    row("cholesky cholesky_inverse cholesky_solve cond det eig eigh householder_product inv ldl_solve", GATE),
    row("logdet lstsq lu lu_factor lu_solve matrix_exp matrix_power matrix_sqrth ormqr", GATE),
    row("linalg_polar pinv qr slogdet solve solve_triangular", GATE),
    row("standard_gamma", GATE, pointwise, random=always),
    row("scaled_dot_product_attention", GATE, random=when(4, "dropout_p", 0.0)),
    row("multi_head_attention_forward", GATE, random=when(13, "training", True, unless_zero=(10, "dropout_p", 0.0))),
    row("gru gru_cell lstm lstm_cell rnn_tanh rnn_tanh_cell", GATE),
    row("rnn_relu rnn_relu_cell", Kind.UNKNOWN, by_call=True),  # rectifiers inside, which no rule reaches
    # ---- no signal
    row("detach", CONSTANT, pointwise),
    row("empty_like full_like new_empty new_full new_ones new_tensor new_zeros ones_like", CONSTANT, values="rest"),
    row("zeros_like", CONSTANT, values="rest"),
    row("rand_like randint_like randn_like", CONSTANT, random=always, values="rest"),
    row("bernoulli cauchy exponential geometric log_normal multinomial normal poisson rand", CONSTANT, random=always),
    row("randint randn random randperm uniform", CONSTANT, random=always),
]
"""The table of operations: a row for each family, of which the head of this module explains the columns."""

_ROWS = {name: known for known in OPERATIONS for name in known.names}
_LISTED = frozenset(_ROWS)
_UNKNOWN = row("", Kind.UNKNOWN)
_CACHES: list[Any] = []  # of functions that ask the table


def row_of(name: str) -> Row:
    """Return what is known of an operation, by its canonical name; a row of kind UNKNOWN for one that is not listed."""
    return _ROWS.get(name, _UNKNOWN)


def is_listed(name: object) -> bool:
    """Whether an operation stands in the table."""
    return name in _ROWS


def cached(function: Any) -> Any:
    """Return a function that remembers its results, until an operation is registered."""
    _CACHES.append(lru_cache(maxsize=4096)(function))
    return _CACHES[-1]


def listed_names() -> list[str]:
    """Return the names of all operations in the table, sorted."""
    return sorted(_ROWS)


def register_operation(name: str, *, kind: Kind, reads: Reads | None = None, either: bool = False) -> None:
    """Add an operation of your own to the table, for all models; one that was added before is replaced.

    Parameters
    ----------
    name : str
        ``"my_ns::op"`` of ``torch.library``; of a custom ``autograd.Function`` the name of its node,
        ``"MyFunctionBackward"``; else the function's own.
    kind : Kind
        Which rule serves it: of :attr:`Kind.LINEAR` its own backward is the adjoint.
    reads : Reads, optional
        Which elements of its input an element of its output reads: ``pointwise`` (the one at the same index),
        ``per_channel`` (those of the same channel) or another of ``deconv_attr.rules.reads``. By default every element
        may read every other, and receptive fields behind the operation are whole images.
    either : bool
        Whether it is linear in either of two arguments alone, as a product is.

    Raises
    ------
    InputError
        The name is no string, or one that the table has itself; `kind` or `reads` is of another type.
    """
    if not isinstance(name, str) or not name:
        raise InputError(f"expected the name of an operation, got {name!r}")
    if not isinstance(kind, Kind):
        raise InputError(f"expected a Kind for {name!r}, got {kind!r}")
    reads = reads_all if reads is None else reads
    if not isinstance(reads, Reads):
        raise InputError(f"expected Reads for {name!r}, as those in deconv_attr.rules.reads, got {reads!r}")
    if name in _LISTED:
        raise InputError(f"expected a new operation, got {name!r}, which is listed as {_ROWS[name].kind.value}")
    _ROWS[name] = Row((name,), kind, reads, either, by_call="::" in name)  # whatever nodes it leaves
    for cache in _CACHES:
        cache.cache_clear()
