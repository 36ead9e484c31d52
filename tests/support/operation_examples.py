"""For each operation of the table a tiny call, in float64: ``EXAMPLES["avg_pool2d"](x)``.

Key is the operation's name, with a variant after a comma. A call may write into its argument. Its constants are
made here, for the making of one inside of the call would be a call, too.
"""

import torch
import torch.nn.functional as F
import torchvision

_GENERATOR = torch.Generator().manual_seed(0)
INPUT = (2, 2, 6, 6)  # unless SHAPES, or the digit in the name, say otherwise
BY_DIGIT = {"1": (2, 2, 6), "2": INPUT, "3": (2, 2, 4, 4, 4)}


def c(*shape):
    """A constant, in sixteenths, so that half precision keeps it; not 0, not 1."""
    return torch.randint(2, 15, shape, generator=_GENERATOR, dtype=torch.float64) / 16


def every(names, *args, **kwargs):
    """The same call for many names; of the functional ones, torch's and a tensor's, the first that there is."""
    calls = called((F, torch, torch.Tensor), names)
    return {name: lambda x, call=call: call(x, *args, **kwargs) for name, call in calls.items()}


def of(place, names, *args):
    """The same call for many names of one place, of which the first result counts."""
    calls = called((place,), names)
    return {name: lambda x, call=call: first(call(x, *args)) for name, call in calls.items()}


def called(places, names):
    """Functions by their names, from the first place that has one; LACKING are those that none has."""
    found = {
        name: next(filter(callable, [getattr(place, name, None) for place in places]), None) for name in names.split()
    }
    LACKING.update(name for name, call in found.items() if call is None)
    return {name: call for name, call in found.items() if call is not None}


def fourier(names):
    return {f"fft_{name}": call for name, call in of(torch.fft, names).items()}


def of_boxes(names, *args):
    return {f"torchvision::{name}": call for name, call in of(torchvision.ops, names, BOXES, *args).items()}


def first(result):
    return result if isinstance(result, torch.Tensor) else result[0]


LACKING: set[str] = set()  # what this version of torch has not


aten = torch.ops.aten
LINE, SQUARE, SQUARES, MAPS, PAIR = c(6), c(6, 6), c(2, 6, 6), c(*INPUT), c(2)
K1, K2, K3, K_TBC, GRID = c(2, 2, 3), c(2, 2, 3, 3), c(2, 2, 2, 2, 2), c(3, 2, 2), c(2, 3, 3, 2)
BOXES = [torch.tensor([[0.0, 0.5, 4.0, 4.5]], dtype=torch.float64)] * 2
OFFSETS, MASKS, EYE = c(2, 18, 4, 4), c(2, 9, 4, 4), torch.eye(6, dtype=torch.float64)
SPARSE, WHOLE = c(6, 6).where(c(6, 6) > 0.5, 0).to_sparse(), torch.tensor([2, 5]).int()
TARGETS = torch.tensor([3, 1])
PAIRS, PIVOTS = [PAIR] * 4, torch.tensor([3, 2, 3, 4, 6, 6]).int()
ZEROS, MASK, NUMBERS = torch.zeros(6), MAPS > 0.5, torch.tensor([4, 0, 2])
BACKWARDS = torch.arange(6).flip(0).expand(INPUT)
SWITCHES = {
    d: getattr(F, f"max_pool{d}d")(
        c(*[2 * size if at > 1 else size for at, size in enumerate(BY_DIGIT[d])]), 2, return_indices=True
    )[1]
    for d in "123"
}
STATE, CELL, BIASES, HEADS = c(2, 2, 3), c(2, 3), c(12), c(4, 4)  # of two layers, or of a cell


def layers(gates, count=1):
    """The parameters of a recurrent network of 3 units on 6 numbers."""
    of_each = [[c(3 * gates, 3 if layer else 6), c(3 * gates, 3), c(3 * gates), c(3 * gates)] for layer in range(count)]
    return [weights for layer in of_each for weights in layer]


RNN, GRU, LSTM, GRU_2, LSTM_2 = layers(1), layers(3), layers(4), layers(3, 2), layers(4, 2)
PACKED = torch.tensor([2, 2])  # two steps, of two examples


def attention(dropout, training):
    weights = c(12, 4)

    def call(x):
        last = (dropout, HEADS, PAIR.repeat(2), training)
        return F.multi_head_attention_forward(x, x, x, 4, 2, weights, BIASES, None, None, False, *last)[0]

    return call


ONES = torch.ones(2)
quantize, quantize_channels = torch.fake_quantize_per_tensor_affine, torch.fake_quantize_per_channel_affine

EXAMPLES = {
    # ---- rectifiers, and what stands in their place
    **every("relu relu6 celu elu gelu hardshrink hardswish leaky_relu logsigmoid mish selu silu softplus softshrink"),
    **every("softsign tanhshrink hardtanh"),
    "hardtanh, rectifier": lambda x: F.hardtanh(x, 0, 1),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp, rectifier": lambda x: x.clamp(0, 6),
    "clamp_min": lambda x: x.clamp_min(0.1),
    "clamp_min, rectifier": lambda x: x.clamp_min(0),
    "clamp_max": lambda x: x.clamp_max(0.5),
    "fake_quantize_per_tensor_affine, rectifier": lambda x: quantize(x.float(), 0.25, 3, 3, 99),
    "fake_quantize_per_tensor_affine, gate": lambda x: quantize(x.float(), 0.25, 0, -9, 9),
    "fake_quantize_per_channel_affine": lambda x: quantize_channels(x.float(), 0.25 * ONES, WHOLE, 1, 2, 99),
    "fake_quantize_per_channel_affine, rectifier": lambda x: quantize_channels(x.float(), ONES, 0 * WHOLE, 1, 0, 99),
    "fake_quantize_per_channel_affine, gate": lambda x: quantize_channels(x.float(), 0.25 * ONES, WHOLE, 1, -9, 9),
    "threshold": lambda x: F.threshold(x, 0.5, 0.25),
    "threshold, another value": lambda x: F.threshold(x, 0, 0.25),
    "threshold, rectifier": lambda x: F.threshold(x, 0, 0),
    **every("maximum fmax minimum fmin max min", LINE - 0.5),
    **{f"{name}, rectifier": call for name, call in every("maximum fmax max", ZEROS).items()},
    "maximum, of two signals": lambda x: torch.maximum(x, x.flip(3)),
    "minimum, of two signals": lambda x: torch.minimum(x, x.flip(3)),
    "max, of two signals": lambda x: torch.max(x, x.flip(3)),
    "max, over a dimension": lambda x: x.max(1)[0],
    "min, over a dimension": lambda x: x.min(3, True)[0],
    "rrelu": lambda x: F.rrelu(x),
    "rrelu, training": lambda x: F.rrelu(x, training=True),
    "prelu": lambda x: F.prelu(x, PAIR),
    **every("ge gt le lt", 0),
    "eq": lambda x: x.eq(x.abs()),
    "ne": lambda x: x.ne(x.abs()),
    **every("heaviside", LINE),
    **every("sgn sign signbit"),
    # ---- pools and normalisations
    **every("max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d", 3, 1),
    "max_pool2d, ceil, padded": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool2d, padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
    **every("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", 3),
    **every("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", 3),
    "fractional_max_pool2d": lambda x: F.fractional_max_pool2d(x, 2, output_ratio=(0.7, 0.7)),
    "fractional_max_pool3d": lambda x: F.fractional_max_pool3d(x, 2, output_ratio=(0.7, 0.7, 0.7)),
    **every("lp_pool1d lp_pool2d lp_pool3d", 2, 2),
    **{f"max_unpool{d}d": lambda x, d=d: getattr(F, f"max_unpool{d}d")(x, SWITCHES[d], 2) for d in "123"},
    "batch_norm": lambda x: F.batch_norm(x, PAIR, PAIR, PAIR, PAIR),
    "batch_norm, torch's": lambda x: torch.batch_norm(x, PAIR, PAIR, PAIR, PAIR, False, 0.1, 1e-5, False),
    **every("local_response_norm", 3),
    **every("layer_norm rms_norm", (6,)),
    **every("group_norm", 1),
    **every("instance_norm normalize"),
    "batch_norm, torch.export's": lambda x: aten._native_batch_norm_legit_no_training(x, *PAIRS, 0.1, 1e-5)[0],
    "instance_norm, torch.export's": lambda x: aten._native_batch_norm_legit.no_stats(x, *PAIRS[:2], True, 0.1, 0.1)[0],
    "layer_norm, aten's": lambda x: aten.native_layer_norm(x, (6,), None, None, 1e-5)[0],
    "group_norm, aten's": lambda x: aten.native_group_norm(x, None, None, 2, 2, 36, 1, 1e-5)[0],
    **of_boxes("roi_align roi_pool", 2),
    **of_boxes("ps_roi_align ps_roi_pool", 1),
    # ---- filters and products
    "conv1d": lambda x: F.conv1d(x, K1, None, 2, 1),
    "conv2d": lambda x: F.conv2d(x, K2, None, 2, 1),
    "conv2d, by a module": lambda x: F.conv2d(x, K2, None, (2, 1), (1, 0), (1, 2), 1),
    "conv2d, same": lambda x: F.conv2d(x, K2, padding="same", dilation=2),
    "conv3d": lambda x: F.conv3d(x, K3),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x, K1, None, 2),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, K2, None, 2, 1, 1),
    "conv_transpose3d": lambda x: F.conv_transpose3d(x, K3, dilation=2),
    "convolution": lambda x: torch.convolution(x, K2, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1),
    "linear": lambda x: F.linear(x, SQUARE),
    "matmul": lambda x: x @ SQUARE,
    "mm": lambda x: x.flatten(0, 1).mm(SQUARE),
    "addmm": lambda x: torch.addmm(SQUARE, x, SQUARE),
    "addmv": lambda x: torch.addmv(LINE, SQUARE, x),
    "baddbmm": lambda x: torch.baddbmm(SQUARES, x, SQUARES),
    "bilinear": lambda x: F.bilinear(x, MAPS, SQUARES),
    "bmm": lambda x: x.bmm(SQUARES),
    "chain_matmul": lambda x: torch.chain_matmul(SQUARE, x, SQUARE),
    "dot": lambda x: x.dot(LINE),
    "grid_sample": lambda x: F.grid_sample(x, GRID, align_corners=False),
    **every("inner", LINE),
    **every("kron", PAIR),
    "mv": lambda x: SQUARE.mv(x),
    **every("outer", LINE),
    **every("tensordot", SQUARE, 1),
    "einsum": lambda x: torch.einsum("nchw,wv->nchv", x, SQUARE),
    **every("mul div", LINE),
    "div, by a number": lambda x: x / 4,
    "addcmul": lambda x: torch.addcmul(x, LINE, LINE),
    "addcmul, factor": lambda x: torch.addcmul(LINE, x, LINE),
    "lerp": lambda x: torch.lerp(x, LINE, 0.25),
    "addbmm": lambda x: torch.addbmm(SQUARE, x, SQUARES),
    "affine_grid": lambda x: F.affine_grid(x, (2, 1, 3, 3), align_corners=False),
    "conv_tbc": lambda x: torch.conv_tbc(x, K_TBC, PAIR),
    "embedding_bag": lambda x: F.embedding_bag(NUMBERS[None] // 4, x),
    "addr": lambda x: torch.addr(SQUARE, x, LINE),
    "cross": lambda x: torch.linalg.cross(x, MAPS[..., :3]),
    "multi_dot": lambda x: torch.linalg.multi_dot([SQUARE, x, SQUARE]),
    **every("vdot", LINE),
    "vecdot": lambda x: torch.linalg.vecdot(x, MAPS),
    "sparse_mm": lambda x: torch.sparse.mm(SPARSE, x),
    "sparse_mm, the largest": lambda x: torch.sparse.mm(SPARSE.to_sparse_csr(), x, "amax"),
    "sparse_addmm": lambda x: torch.sparse.addmm(SQUARE, SPARSE, x),
    "mm, sparse": lambda x: SPARSE.mm(x[0]),
    "mv, sparse": lambda x: SPARSE.mv(x),
    "torchvision::deform_conv2d": lambda x: torchvision.ops.deform_conv2d(x, OFFSETS, K2, mask=MASKS),
    **every("ldexp", NUMBERS.repeat(2) / 2),
    "embedding": lambda x: F.embedding(NUMBERS // 4, x),
    **fourier("fft fft2 fftn hfft hfft2 hfftn ifft ifft2 ifftn"),
    **fourier("ihfft ihfft2 ihfftn irfft irfft2 irfftn rfft rfft2 rfftn"),
    "fft_r2c": lambda x: aten._fft_r2c(x, [3], 0, True),
    "fft_c2c": lambda x: aten._fft_c2c(torch.view_as_complex(x), [2], 0, True),
    "fft_c2r": lambda x: aten._fft_c2r(torch.view_as_complex(x), [2], 0, 10),
    "stft": lambda x: torch.stft(x, 4, window=LINE[:4], return_complex=True),
    "lu_unpack": lambda x: torch.lu_unpack(x, PIVOTS)[1],
    "istft": lambda x: torch.istft(torch.view_as_complex(x), 4),
    # ---- sums
    **every("add sub", LINE),
    **every("cumulative_trapezoid trapz"),
    "gradient": lambda x: torch.gradient(x, dim=2)[0],
    "sparse_sum": lambda x: torch.sparse.sum(x.to_sparse(), (0, 1, 2, 3)),
    "sum_to_size": lambda x: x.sum_to_size(1, 2, 6, 6),
    "nll_loss": lambda x: F.nll_loss(x, TARGETS, reduction="none"),
    "kl_div": lambda x: F.kl_div(x, MAPS, reduction="none"),
    "index_reduce": lambda x: x.index_reduce(3, NUMBERS, MAPS[..., :3], "mean"),
    "index_reduce, the largest": lambda x: x.index_reduce(3, NUMBERS, MAPS[..., :3] - 0.5, "amax"),
    "scatter_reduce": lambda x: MAPS.scatter_reduce(3, BACKWARDS, x, "sum"),
    "scatter_reduce, the largest": lambda x: MAPS.scatter_reduce(3, BACKWARDS, x, "amax"),
    "rsub": lambda x: torch.rsub(x, 1),
    **every("neg positive trace"),
    **every("cumsum", 3),
    **every("mean nanmean nansum sum", (2, 3)),
    "sum, of all": lambda x: x.sum(),
    "mean, keepdim": lambda x: x.mean(dim=1, keepdim=True),
    **every("diff"),
    **every("trapezoid"),
    # ---- dropout
    **every("dropout dropout1d dropout2d dropout3d"),
    "dropout, eval": lambda x: F.dropout(x, training=False),
    "dropout2d, eval": lambda x: F.dropout2d(x, 0.5, False),
    "dropout, of nothing": lambda x: F.dropout(x, 0.0),
    "dropout, torch's": lambda x: torch.dropout(x, 0.5, True),
    "dropout, torch's, eval": lambda x: torch.dropout(x, p=0.5, train=False),
    "alpha_dropout, eval": F.alpha_dropout,
    "alpha_dropout, torch's": lambda x: torch.alpha_dropout(x, p=0.5, train=True),
    **every("alpha_dropout feature_alpha_dropout", training=True),
    "feature_dropout": lambda x: torch.feature_dropout(x, 0.5, True),
    "native_dropout": lambda x: torch.native_dropout(x, 0.5, True)[0],
    # ---- choices, and constants in the place of some elements
    "where": lambda x: torch.where(MASK, x, LINE),
    "masked_fill": lambda x: x.masked_fill(MASK, 0.5),
    **every("masked_select", MASK),
    "index_put": lambda x: x.index_put_((NUMBERS[1:2],), SQUARE),
    "setitem": lambda x: x.__setitem__((..., 0), 0.5) or x,
    "copy": lambda x: torch.zeros_like(x).copy_(x),
    "fill": lambda x: x.fill_(0.5),
    "zero": lambda x: x.zero_(),
    "index_add": lambda x: x.index_add(3, NUMBERS, MAPS[..., :3]),
    "index_copy": lambda x: x.index_copy(3, NUMBERS, MAPS[..., :3]),
    "index_fill": lambda x: x.index_fill(3, NUMBERS, 0.5),
    "diagonal_scatter": lambda x: x.diagonal_scatter(MAPS[0, 0, 0].expand(2, 2, 6), 0, 2, 3),
    "put": lambda x: x.put(NUMBERS, LINE[:3]),
    "select_scatter": lambda x: x.select_scatter(MAPS[..., 0], 3, 1),
    "slice_scatter": lambda x: x.slice_scatter(MAPS[..., :2], 3, 1, 3),
    "masked_scatter": lambda x: x.masked_scatter(MASK, MAPS),
    **every("scatter scatter_add", 3, BACKWARDS, MAPS),
    "scatter, as source": lambda x: MAPS.scatter(3, BACKWARDS, x),
    **every("tril triu"),
    # ---- other positions
    "cat": lambda x: torch.cat([x, MAPS], 1),
    "cat, in space": lambda x: torch.cat([MAPS, x], 2),
    "stack": lambda x: torch.stack([x, MAPS], 1),
    "column_stack": lambda x: torch.column_stack([x, MAPS]),
    "dstack": lambda x: torch.dstack([x, MAPS]),
    "hstack": lambda x: torch.hstack([x, MAPS]),
    "row_stack": lambda x: torch.row_stack([x, MAPS]),
    "vstack": lambda x: torch.vstack([x, MAPS]),
    "block_diag": lambda x: torch.block_diag(x, SQUARE),
    "getitem": lambda x: x[:, :, 1:4, ::2],
    "getitem, numbers": lambda x: x[..., NUMBERS],
    "getitem, rows": lambda x: x[1:],
    "view": lambda x: x.view(2, 2, 36),
    "reshape": lambda x: x.reshape(2, 2, 3, 2, 6),
    "expand": lambda x: x.expand(3, 2, 2, 6, 6),
    "broadcast_to": lambda x: x.broadcast_to(2, 2, 2, 6, 6),
    "expand_as": lambda x: x.expand_as(MAPS),
    "reshape_as": lambda x: x.reshape_as(SWITCHES["1"].new_empty(12, 12)),
    "view_as": lambda x: x.view_as(SQUARE.new_empty(2, 72)),
    "T": lambda x: x.T,
    "adjoint": lambda x: x.adjoint(),
    **every("channel_shuffle", 2),
    "chunk": lambda x: x.chunk(2, 2)[1],
    "flatten": lambda x: x.flatten(1),
    **every("fliplr flipud"),
    "mT": lambda x: x.mT,
    "H": lambda x: x.H,
    "mH": lambda x: x.mH,
    **every("moveaxis movedim swapaxes swapdims transpose", 1, 3),
    **every("t ravel clone"),
    "narrow": lambda x: x.narrow(3, 1, 2),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    **every("pixel_shuffle", 2),
    **every("pixel_unshuffle", 2),
    "repeat": lambda x: x.repeat(1, 1, 2, 1),
    **every("repeat_interleave", 2, 3),
    **every("select", 3, 1),
    "split": lambda x: x.split(2, 3)[1],
    "split_with_sizes": lambda x: x.split_with_sizes((2, 4), 3)[1],
    **every("squeeze", 1),
    **every("unsqueeze", 1),
    "tensor_split": lambda x: x.tensor_split(4, 3)[1],
    **every("tile", (2, 1)),
    "unbind": lambda x: x.unbind(3)[1],
    "unflatten": lambda x: x.unflatten(3, (3, 2)),
    "unsafe_chunk": lambda x: x.unsafe_chunk(2, 3)[1],
    "unsafe_split": lambda x: x.unsafe_split(2, 3)[1],
    **every("index_select", 3, NUMBERS),
    **every("flip", (3,)),
    **every("roll", 2, 3),
    **every("rot90", 1, (2, 3)),
    "rot90, of examples": lambda x: x.rot90(),
    "pad": lambda x: F.pad(x, (1, 2, -1, 0)),
    "pad, reflect": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "pad, circular": lambda x: F.pad(x, (1, 2, 0, 1), mode="circular"),
    **every("constant_pad_nd", (1, 2, 0, 1), 0.5),
    **every("interpolate", scale_factor=2),
    "interpolate, bilinear": lambda x: F.interpolate(x, size=(4, 9), mode="bilinear"),
    "interpolate, bicubic": lambda x: F.interpolate(x, size=(9, 9), mode="bicubic", align_corners=True),
    "as_strided": lambda x: x.as_strided((2, 3), (1, 2)),
    **every("atleast_1d atleast_2d atleast_3d"),
    "broadcast_tensors": lambda x: torch.broadcast_tensors(x, SQUARES[:, None])[0],
    "col2im": lambda x: aten.col2im(x, (3, 3), (1, 2), (1, 1), (0, 0), (1, 1)),
    **every("diag"),
    **every("diag_embed diagonal"),
    "dsplit": lambda x: x.dsplit(2)[1],
    "hsplit": lambda x: x.hsplit(2)[1],
    "vsplit": lambda x: x.vsplit(2)[1],
    "fold": lambda x: F.fold(x, (3, 3), (1, 2)),
    "gather": lambda x: x.gather(3, BACKWARDS),
    "take_along_dim": lambda x: x.take_along_dim(BACKWARDS, 3),
    "im2col": lambda x: aten.im2col(x, (2, 2), (1, 1), (0, 0), (1, 1)),
    "index": lambda x: aten.index.Tensor(x, [None, None, NUMBERS]),
    "take": lambda x: x.take(NUMBERS),
    "unfold": lambda x: F.unfold(x, 3),
    "unfold, a tensor's": lambda x: x.unfold(3, 2, 1),
    "real": lambda x: torch.view_as_complex(x).real,
    "imag": lambda x: torch.view_as_complex(x).imag,
    "view_as_complex": torch.view_as_complex,
    "view_as_real": lambda x: torch.view_as_real(torch.view_as_complex(x)),
    **every("cartesian_prod", LINE),
    **every("combinations diagflat"),
    **fourier("fftshift ifftshift"),
    "meshgrid": lambda x: torch.meshgrid(x, LINE, indexing="ij")[0],
    "unfold_backward": lambda x: aten.unfold_backward(x, (2, 2, 6, 7), 3, 2, 1),
    "pack_padded_sequence": lambda x: torch._pack_padded_sequence(x, PACKED, False)[0],
    "pad_packed_sequence": lambda x: torch._pad_packed_sequence(x, PACKED, False, 0.0, 2)[0],
    # ---- the same numbers
    "complex": lambda x: torch.complex(x, MAPS),
    **every("cdouble cfloat deg2rad nan_to_num rad2deg resolve_conj resolve_neg"),
    "conj": lambda x: torch.view_as_complex(x).conj(),
    "neg_view": torch._neg_view,
    "to_dense": lambda x: x.to_sparse().to_dense(),
    # ---- steps
    **every("ceil floor round trunc"),
    "floor_divide": lambda x: x // 0.25,
    "floor_divide, reversed": lambda x: 3 // x,
    "floor_divide, in place": lambda x: x.floor_divide_(0.25),
    "div, rounded": lambda x: x.div(0.25, rounding_mode="floor"),
    "angle": torch.angle,
    "angle, gate": lambda x: torch.view_as_complex(x).angle(),
    # ---- the same numbers
    "alias": lambda x: aten.alias(x),
    **every("bfloat16 contiguous cpu double float half"),
    "type": lambda x: x.type(torch.float32),
    "to": lambda x: x.to(torch.float32),
    "type_as": lambda x: x.type_as(LINE.float()),
    # ---- smooth functions, gates and heads
    **every("atan cos cosh erf erfc exp exp2 expm1 hardsigmoid log log10 log1p log2 reciprocal rsqrt sigmoid sin sinh"),
    **every("tan tanh abs sqrt square"),
    "addcdiv": lambda x: torch.addcdiv(LINE, LINE, x),
    **every("acos asin asinh atanh digamma frac i0 lgamma sinc"),
    **of(torch, "frexp"),
    **of(torch.special, "entr erfcx erfinv i0e i1 i1e log_ndtr ndtr"),
    "acosh": lambda x: (x + 3).acosh(),
    "logit": lambda x: x.abs().logit(),
    "mvlgamma": lambda x: (x + 3).mvlgamma(2),
    "ndtri": lambda x: torch.special.ndtri(x.abs()),
    "polygamma": lambda x: torch.polygamma(1, x),
    "igamma": lambda x: torch.igamma(LINE, x.abs()),
    "igammac": lambda x: torch.igammac(LINE, x.abs()),
    "zeta": lambda x: torch.special.zeta(LINE + 1, x.abs()),
    **every("atan2 logaddexp2", LINE),
    "xlogy": lambda x: torch.xlogy(LINE, x.abs()),
    "xlog1py": lambda x: torch.special.xlog1py(LINE, x.abs()),
    **every("copysign", 1.0),
    **every("fmod remainder", 0.75),
    "polar": lambda x: torch.polar(MAPS, x),
    **every("dist huber_loss l1_loss mse_loss smooth_l1_loss", MAPS),
    "mse_loss, of each": lambda x: F.mse_loss(x, MAPS, reduction="none"),
    **every("binary_cross_entropy_with_logits poisson_nll_loss", MAPS),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(x.abs() / 4, MAPS),
    "cross_entropy": lambda x: F.cross_entropy(x, TARGETS),
    "gaussian_nll_loss": lambda x: F.gaussian_nll_loss(x, MAPS, MAPS),
    "multilabel_soft_margin_loss": lambda x: F.multilabel_soft_margin_loss(x, SQUARE[:2].round()),
    "soft_margin_loss": lambda x: F.soft_margin_loss(x, MAPS.sign()),
    "ctc_loss": lambda x: F.ctc_loss(x, TARGETS[:, None], TARGETS * 0 + 6, TARGETS * 0 + 1),
    **of(torch.linalg, "cond det eig eigh pinv qr svd"),
    "inv": lambda x: (x + EYE).inverse(),
    "lu": lambda x: torch.linalg.lu(x)[1],
    "lu_factor": lambda x: torch.linalg.lu_factor(x + EYE)[0],
    "slogdet": lambda x: torch.linalg.slogdet(x)[1],
    "solve": lambda x: torch.linalg.solve(x + EYE, LINE),
    "tensorsolve": lambda x: torch.linalg.tensorsolve(x + EYE, LINE),
    **of(torch.linalg, "lstsq", SQUARE),
    **of(torch.linalg, "matrix_exp vander"),
    **of(torch.linalg, "matrix_power", 3),
    "tensorinv": lambda x: torch.linalg.tensorinv(x + EYE, 1),
    "solve_triangular": lambda x: torch.linalg.solve_triangular(x, SQUARE, upper=True),
    "triangular_solve": lambda x: torch.triangular_solve(SQUARE, x)[0],
    "cholesky": lambda x: torch.linalg.cholesky_ex(x @ x.T + EYE)[0],
    "cholesky_inverse": lambda x: torch.cholesky_inverse(x + EYE),
    "cholesky_solve": lambda x: torch.cholesky_solve(SQUARE, x),
    "householder_product": lambda x: torch.linalg.householder_product(x, LINE),
    "ormqr": lambda x: torch.ormqr(x, LINE, SQUARE),
    "logdet": lambda x: (x @ x.T).logdet(),
    "lu_solve": lambda x: torch.linalg.lu_solve(x, PIVOTS, SQUARE),
    "pdist": F.pdist,
    **every("cov corrcoef"),
    "renorm": lambda x: x.renorm(2, 0, 0.5),
    "weight_norm": lambda x: torch._weight_norm(x, PAIR[:, None, None, None]),
    "standard_gamma": torch._standard_gamma,
    **every("logaddexp hypot", LINE),
    **every("float_power pow", 3),
    **every("norm", dim=1),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),
    "aminmax": lambda x: x.aminmax(dim=1)[1],
    **every("cumprod log_softmax logsumexp prod softmax softmin glu", 1),
    "glu, the last": lambda x: F.glu(x),
    **every("amax amin", (2, 3)),
    **of(torch, "cummax cummin logcumsumexp mode", 1),
    **every("msort"),
    **every("quantile nanquantile", 0.3, 1),
    "kthvalue": lambda x: x.kthvalue(2, 3)[0],
    "sort": lambda x: x.sort()[0],
    "topk": lambda x: x.topk(2)[0],
    "gumbel_softmax": F.gumbel_softmax,
    **every("cosine_similarity pairwise_distance", MAPS),
    **every("cdist", MAPS),
    "matrix_norm": torch.linalg.matrix_norm,
    **every("median nanmedian std var"),
    "std_mean": lambda x: torch.std_mean(x, 1)[0],
    "var_mean": lambda x: torch.var_mean(x, 1)[0],
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, MAPS, MAPS),
    "scaled_dot_product_attention, dropout": lambda x: F.scaled_dot_product_attention(x, MAPS, MAPS, dropout_p=0.5),
    "multi_head_attention_forward": attention(0.0, True),
    "multi_head_attention_forward, dropout": attention(0.5, True),
    "multi_head_attention_forward, dropout, eval": attention(0.5, False),
    "gru": lambda x: torch.gru(x, STATE[:1], GRU, True, 1, 0.0, False, False, True)[0],
    "gru, dropout": lambda x: torch.gru(x, STATE, GRU_2, True, 2, 0.5, True, False, True)[0],
    "gru, dropout, eval": lambda x: torch.gru(x, STATE, GRU_2, True, 2, 0.5, False, False, True)[0],
    "gru, packed": lambda x: torch.gru(x, PACKED, STATE, GRU_2, True, 2, 0.5, False, False)[0],
    "gru, packed, dropout": lambda x: torch.gru(x, PACKED, STATE, GRU_2, True, 2, 0.5, True, False)[0],
    "gru_cell": lambda x: torch.gru_cell(x, CELL, *GRU),
    "lstm": lambda x: torch.lstm(x, (STATE[:1], STATE[:1]), LSTM, True, 1, 0.0, False, False, True)[0],
    "lstm, dropout": lambda x: torch.lstm(x, (STATE, STATE), LSTM_2, True, 2, 0.5, True, False, True)[0],
    "lstm_cell": lambda x: torch.lstm_cell(x, (CELL, CELL), *LSTM)[0],
    "rnn_tanh": lambda x: torch.rnn_tanh(x, STATE[:1], RNN, True, 1, 0.0, False, False, True)[0],
    "rnn_tanh_cell": lambda x: torch.rnn_tanh_cell(x, CELL, *RNN),
    "rnn_relu": lambda x: torch.rnn_relu(x, STATE[:1], RNN, True, 1, 0.0, False, False, True)[0],
    "rnn_relu_cell": lambda x: torch.rnn_relu_cell(x, CELL, *RNN),
    # ---- no signal
    "detach": lambda x: x.detach(),
    **every("empty_like ones_like zeros_like rand_like randn_like"),
    "full_like": lambda x: torch.full_like(x, 2),
    "randint_like": lambda x: torch.randint_like(x, 9),
    **every("new_empty new_ones new_zeros", (2, 3)),
    "new_full": lambda x: x.new_full((2, 3), 2.0),
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
    "bernoulli": lambda x: x.bernoulli_(0.5),
    "cauchy": lambda x: x.cauchy_(),
    "exponential": lambda x: x.exponential_(),
    "geometric": lambda x: x.geometric_(0.5),
    "log_normal": lambda x: x.log_normal_(),
    "multinomial": lambda x: x.multinomial(4),
    "normal": lambda x: x.normal_(),
    "poisson": torch.poisson,
    "random": lambda x: x.random_(9),
    "uniform": lambda x: x.uniform_(),
    "rand": lambda x: torch.rand(2, 3),
    "randn": lambda x: torch.randn(2, 3),
    "randint": lambda x: torch.randint(9, (2, 3)),
    "randperm": lambda x: torch.randperm(9),
}

SHAPES = {  # of what the examples of some names take, or of one example
    name: shape
    for names, shape in {
        "addmv | dot | inner | mv | outer | diag": (6,),
        "addr | vdot | cartesian_prod | combinations | meshgrid": (6,),
        "multi_dot | sparse_mm | sparse_addmm | corrcoef | cov | pdist": (6, 6),
        "cholesky | cholesky_inverse | cholesky_solve | cond | det | eig | eigh | householder_product | inv": (6, 6),
        "logdet | lstsq | lu | lu_factor | lu_solve | lu_unpack | matrix_exp | matrix_power | ormqr | pinv | qr": (
            6,
            6,
        ),
        "slogdet | solve | solve_triangular | svd | tensorinv | tensorsolve | triangular_solve": (6, 6),
        "mm, sparse": (2, 6, 6),
        "mv, sparse | vander": (6,),
        "cross": (2, 2, 6, 3),
        "embedding": (2, 6),
        "diagflat": (2, 3),
        "logcumsumexp": INPUT,
        "nll_loss | cross_entropy | multilabel_soft_margin_loss": (2, 6),
        "stft": (2, 9),
        "istft": (2, 3, 5, 2),
        "fft_c2c | fft_c2r | conj | angle, gate": (2, 2, 6, 2),
        "unfold_backward": (2, 2, 6, 6, 2),
        "pack_padded_sequence": (2, 2, 3),
        "pad_packed_sequence": (4, 3),
        "ctc_loss": (6, 2, 4),
        "fft_ihfft2 | fft_ihfftn": INPUT,
        "multinomial | addmm | chain_matmul | T | H | t | trace | kron | block_diag": (6, 6),
        "mm | baddbmm | bmm | addbmm | lstm | gru | rnn_tanh | rnn_relu": (2, 6, 6),
        "lstm_cell | gru_cell | rnn_tanh_cell | rnn_relu_cell | embedding_bag": (2, 6),
        "lstm, packed | gru, packed | gru, packed, dropout": (4, 6),
        "pixel_shuffle": (2, 8, 3, 3),
        "fractional_max_pool3d": (2, 2, 6, 6, 6),
        "affine_grid": (2, 2, 3),
        "conv_tbc": (6, 2, 2),
        "col2im": (2, 4, 6),
        "fold": (2, 4, 6),
        "real | imag | view_as_complex | view_as_real": (2, 2, 6, 2),
        "multi_head_attention_forward": (6, 2, 4),
    }.items()
    for name in names.split(" | ")
}


def shape_of(key):
    """The shape of what an example takes."""
    name = key.split(",")[0]
    digit = next((letter for letter in name[-2:-1] if letter in BY_DIGIT), "2")
    return SHAPES.get(key, SHAPES.get(name, BY_DIGIT[digit]))


NOT_OFFERED = {  # why there is no example
    "cuda": "moves to another device",
    "pin_memory": "asks for one",
    "native_channel_shuffle": "has no gradient",
    **dict.fromkeys(
        "coalesce sparse_coo_tensor sparse_log_softmax sparse_sampled_addmm sparse_softmax".split(),
        "its result is sparse",
    ),
    **dict.fromkeys(("sparse_sparse_matmul", "to_sparse"), "its result is sparse"),
    "values": "the size of its result depends on the values",
    "chalf": "half precision computes hardly anything of complex numbers",
    "to_mkldnn": "its result is of another layout",
    "grouped_mm": "of bfloat16 on few devices",
    **dict.fromkeys(("linalg_polar", "matrix_sqrth", "ldl_solve"), "of the latest torch, or without a gradient"),
    **dict.fromkeys(LACKING, "not in this version of torch"),
    **dict.fromkeys(("upsample", "upsample_bilinear", "upsample_nearest"), "call interpolate"),
}
