"""The deconvnet written a second time: slowly, explicitly, without autograd and without deconv_attr.

The model is traced to a list of operations. Forward, every value is kept. Backward, the list is walked from its
end, and each operation hands the signal to its arguments: transposed convolutions for convolutions, a rectified
signal for rectifiers, ``scatter_add`` at switches found by enumerating windows for max-pools.
"""

import itertools
import math
import operator
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


def project(model: nn.Module, inputs: tuple[Tensor, ...], start: Tensor, table: str = "DeconvNet") -> list[Tensor]:
    """Send `start`, a signal of the output's shape, down to each of the inputs, by one of :data:`TABLES`."""
    graph = fx.Tracer().trace(model)
    values = forward(model, graph, inputs)
    signals: dict[fx.Node, Tensor] = {}
    output = next(node for node in graph.nodes if node.op == "output")
    signals[output.args[0]] = start
    for node in reversed(graph.nodes):
        if node in signals and node.op in ("call_function", "call_method", "call_module"):
            for below, signal in backward(model, node, values, signals[node], TABLES[table]):
                if isinstance(below, fx.Node):
                    signals[below] = signals[below] + signal if below in signals else signal
    leaves = [node for node in graph.nodes if node.op == "placeholder"][: len(inputs)]
    return [signals.get(leaf, torch.zeros_like(value)) for leaf, value in zip(leaves, inputs, strict=True)]


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def project_class(
    model: nn.Module, inputs: tuple[Tensor, ...], target: int, others: tuple = (), table: str = "DeconvNet"
) -> list[Tensor]:
    """Start with 1 at one class of (N, C)."""
    with torch.no_grad():
        start = torch.zeros_like(model(*(x.clone() for x in inputs), *others))
    start[:, target] = 1
    return project(model, (*inputs, *others), start, table)[: len(inputs)]


def forward(model: nn.Module, graph: fx.Graph, inputs: tuple[Tensor, ...]) -> dict[fx.Node, object]:
    values: dict[fx.Node, object] = {}
    given = iter(inputs)
    for node in graph.nodes:
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: _copy(values[n]))
        if node.op == "placeholder":
            values[node] = next(given)
        elif node.op == "get_attr":
            values[node] = operator.attrgetter(node.target)(model).detach()
        elif node.op == "output":
            values[node] = args[0]
        else:
            with torch.no_grad():
                values[node] = _callable(model, node)(*args, **kwargs)
    return values


def backward(model, node, values, signal, rules):
    """Yield (argument, its signal) for one operation."""
    name, op = _name(model, node)
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
    given = module_arguments(op) if node.op == "call_module" else {"args": args[1:], **kwargs}
    below = node.args[0] if node.args else node.kwargs["input"]
    x = values[below] if isinstance(below, fx.Node) else None
    if name in ("add", "iadd", "sub"):
        for sign, operand in zip((1, -1 if name == "sub" else 1), node.args, strict=True):
            if isinstance(operand, fx.Node):
                yield operand, sign * _reduce_to(signal, values[operand].shape)
    elif name == "mul":
        a, b = node.args
        for one, other in ((a, b), (b, a)):
            if isinstance(one, fx.Node):
                factor = values[other] if isinstance(other, fx.Node) else other
                yield one, _reduce_to(signal * factor, values[one].shape)
    elif name == "cat":
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        parts = node.args[0]
        yield from zip(parts, signal.split([values[p].shape[dim] for p in parts], dim), strict=True)
    elif name == "getitem" and isinstance(x, tuple):
        if node.args[1] == 0:  # the pooled values, not their indices
            yield below, signal
    elif name == "getitem":
        placed = torch.zeros_like(x)
        placed[args[1]] = signal
        yield below, placed
    elif name in rules:
        yield below, rules[name](x, values[node], signal, given)
    elif name not in ("size", "dim", "getattr", "zeros_like"):
        raise NotImplementedError(name)


def module_arguments(module: nn.Module) -> dict:
    return (
        {key: value for key, value in vars(module).items() if not key.startswith("_")}
        | dict(module.named_parameters(recurse=False))
        | dict(module.named_buffers(recurse=False))
    )


# ------------------------------------------------------------------------------------------ the rules


def rectified(x, y, signal, given):
    return torch.where(signal > 0, signal, torch.zeros_like(signal))


def masked(x, y, signal, given):
    """The gradient of a rectifier."""
    return torch.where((y > 0) & (y == x), signal, torch.zeros_like(signal))


def guided(x, y, signal, given):
    return masked(x, y, rectified(x, y, signal, given), given)


def contrast_gradient(x, y, signal, given):
    """The gradient of y[c] = x[c] d[c] ** -beta, d[c] = k + alpha / n times the sum of x ** 2 over n channels by c."""
    n = given["args"][0] if "args" in given else given["size"]
    alpha, beta, k = (given.get(name, default) for name, default in (("alpha", 1e-4), ("beta", 0.75), ("k", 1.0)))
    near = [[j for j in range(c - n // 2, c + (n - 1) // 2 + 1) if 0 <= j < x.shape[1]] for c in range(x.shape[1])]
    d = torch.stack([k + alpha / n * sum(x[:, j] ** 2 for j in window) for window in near], 1)
    below = signal * d**-beta
    for c, window in enumerate(near):
        for j in window:
            below[:, j] -= 2 * alpha * beta / n * signal[:, c] * x[:, c] * d[:, c] ** (-beta - 1) * x[:, j]
    return below


def transposed_convolution(x, y, signal, given):
    weight = given["weight"].detach()
    dims = weight.dim() - 2
    mode = given.get("padding_mode", "zeros")
    if mode != "zeros":
        raise NotImplementedError(mode)
    stride, dilation = given["stride"], given["dilation"]
    padding = given["padding"]
    if padding in ("same", "valid"):
        assert padding == "valid" or all(k % 2 for k in weight.shape[2:])
        padding = [
            d * (k - 1) // 2 if padding == "same" else 0 for k, d in zip(weight.shape[2:], dilation, strict=True)
        ]
    # What a stride leaves undetermined of the input's size.
    output_padding = [
        n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, o, s, p, d, k in zip(
            x.shape[-dims:], signal.shape[-dims:], stride, padding, dilation, weight.shape[2:], strict=True
        )
    ]
    # conv_transpose wants output_padding < stride or dilation: pad the rest, rows that no window has read.
    spare = [max(0, p - (max(s, d) - 1)) for p, s, d in zip(output_padding, stride, dilation, strict=True)]
    output_padding = [p - q for p, q in zip(output_padding, spare, strict=True)]
    transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
    below = transpose(signal, weight, None, stride, padding, output_padding, given["groups"], dilation)
    return F.pad(below, [v for q in reversed(spare) for v in (0, q)])


def plain_convolution(x, y, signal, given):
    """The adjoint of a transposed convolution."""
    weight = given["weight"].detach()
    convolve = (F.conv1d, F.conv2d, F.conv3d)[weight.dim() - 3]
    below = convolve(signal, weight, None, given["stride"], given["padding"], given["dilation"], given["groups"])
    return below[(..., *(slice(n) for n in x.shape[2:]))]


def _tuple(value, dims):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims


def pool_geometry(given: dict, dims: int) -> dict:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = {**dict(zip(names, given.get("args", ()), strict=False)), **given}
    kernel = _tuple(given["kernel_size"], dims)
    stride = given.get("stride")
    return {
        "kernel": kernel,
        "stride": kernel if stride is None or stride == [] else _tuple(stride, dims),
        "padding": _tuple(given.get("padding", 0), dims),
        "dilation": _tuple(given.get("dilation", 1), dims),
        "ceil": given.get("ceil_mode", False),
    }


def windows(length, kernel, stride, padding, dilation, ceil) -> np.ndarray:
    """The positions (outputs, kernel) that each window reads along one dimension; some lie outside."""
    span = length + 2 * padding - dilation * (kernel - 1) - 1
    count = (math.ceil if ceil else math.floor)(span / stride) + 1
    if ceil and (count - 1) * stride >= length + padding:
        count -= 1
    return np.arange(count)[:, None] * stride - padding + np.arange(kernel)[None] * dilation


def adaptive_windows(length, count) -> np.ndarray:
    starts = [(i * length) // count for i in range(count)]
    ends = [-(-((i + 1) * length) // count) for i in range(count)]
    widest = max(e - s for s, e in zip(starts, ends, strict=True))
    table = np.full((count, widest), -1)
    for i, (s, e) in enumerate(zip(starts, ends, strict=True)):
        table[i, : e - s] = np.arange(s, e)
    return table


def switches_of(x: Tensor, tables: list[np.ndarray]) -> np.ndarray:
    """For each window, the flat position of its first maximum, by looking at all of it."""
    dims = len(tables)
    shape = x.shape[-dims:]
    outputs = [len(table) for table in tables]
    kernel = [table.shape[1] for table in tables]
    flat = np.zeros((*outputs, *kernel), dtype=np.int64)
    inside = np.ones((*outputs, *kernel), dtype=bool)
    for dim, (table, length) in enumerate(zip(tables, shape, strict=True)):
        placed = table.reshape(
            [len(table) if i == dim else table.shape[1] if i == dim + dims else 1 for i in range(2 * dims)]
        )
        flat = flat * length + placed
        inside &= (placed >= 0) & (placed < length)
    flat = np.where(inside, flat, 0).reshape(math.prod(outputs), -1)
    plane = x.detach().reshape(-1, math.prod(shape)).numpy()
    seen = np.where(inside.reshape(flat.shape), plane[:, flat], -np.inf)
    first = seen.argmax(-1)
    return np.take_along_axis(np.broadcast_to(flat, seen.shape), first[..., None], -1)[..., 0]


def unpool(x: Tensor, signal: Tensor, tables: list[np.ndarray]) -> Tensor:
    where = torch.from_numpy(switches_of(x, tables))
    below = torch.zeros(where.shape[0], math.prod(x.shape[-len(tables) :]), dtype=signal.dtype)
    return below.scatter_add(1, where, signal.reshape(where.shape)).reshape(x.shape)


def max_pool(dims: int) -> Callable:
    def rule(x, y, signal, given):
        g = pool_geometry(given, dims)
        tables = [
            windows(n, k, s, p, d, g["ceil"])
            for n, k, s, p, d in zip(
                x.shape[-dims:], g["kernel"], g["stride"], g["padding"], g["dilation"], strict=True
            )
        ]
        return unpool(x, signal, tables)

    return rule


def adaptive_max_pool(dims: int) -> Callable:
    def rule(x, y, signal, given):
        return unpool(
            x, signal, [adaptive_windows(n, o) for n, o in zip(x.shape[-dims:], signal.shape[-dims:], strict=True)]
        )

    return rule


def spread(x: Tensor, signal: Tensor, tables: list[np.ndarray], divisors) -> Tensor:
    """The adjoint of averaging: each value goes in equal parts to the window it came from."""
    below = torch.zeros_like(x)
    dims = len(tables)
    for place in itertools.product(*(range(len(table)) for table in tables)):
        inside = [
            [p for p in table[i] if 0 <= p < n] for table, i, n in zip(tables, place, x.shape[-dims:], strict=True)
        ]
        share = signal[(..., *place)] / divisors(inside)
        for position in itertools.product(*inside):
            below[(..., *position)] += share
    return below


def avg_pool(dims: int) -> Callable:
    def rule(x, y, signal, given):
        g = pool_geometry({**given, "args": given.get("args", ())[:3], "dilation": 1}, dims)
        assert not g["ceil"]
        tables = [
            windows(n, k, s, p, 1, False)
            for n, k, s, p in zip(x.shape[-dims:], g["kernel"], g["stride"], g["padding"], strict=True)
        ]
        return spread(x, signal, tables, lambda inside: math.prod(g["kernel"]))

    return rule


def adaptive_avg_pool(dims: int) -> Callable:
    def rule(x, y, signal, given):
        tables = [adaptive_windows(n, o) for n, o in zip(x.shape[-dims:], signal.shape[-dims:], strict=True)]
        return spread(x, signal, tables, lambda inside: math.prod(map(len, inside)))

    return rule


def batch_norm(x, y, signal, given):
    assert not given["training"]
    factor = given["weight"].detach() / torch.sqrt(given["running_var"] + given["eps"])
    return signal * factor.reshape(1, -1, *[1] * (x.dim() - 2))


def zero_pad(x, y, signal, given):
    pads = list(given["args"][0])
    keep = [slice(None)] * x.dim()
    for i in range(len(pads) // 2):
        dim = x.dim() - 1 - i
        keep[dim] = slice(pads[2 * i], pads[2 * i] + x.shape[dim])
    return signal[tuple(keep)]


def mean(x, y, signal, given):
    dims = given["args"][0] if given["args"] else given["dim"]
    dims = [d % x.dim() for d in _tuple(dims, 1)]
    kept = signal.reshape([1 if d in dims else n for d, n in enumerate(x.shape)])
    return kept.expand(x.shape) / math.prod(x.shape[d] for d in dims)


def unchanged(x, y, signal, given):
    return signal


def reshaped(x, y, signal, given):
    return signal.reshape(x.shape)


RULES: dict[str, Callable] = {
    **dict.fromkeys(
        "relu relu6 clamp clip clamp_min threshold _threshold hardtanh maximum ReLU ReLU6 Threshold Hardtanh".split(),
        rectified,
    ),
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), transposed_convolution),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), plain_convolution),
    "Linear": lambda x, y, signal, given: signal @ given["weight"].detach(),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), batch_norm),
    **dict.fromkeys(
        "LocalResponseNorm local_response_norm Dropout Dropout2d dropout Identity clone contiguous".split(), unchanged
    ),
    **dict.fromkeys("flatten Flatten view reshape squeeze unsqueeze".split(), reshaped),
    **{name: rule(d) for d in (1, 2, 3) for name, rule in ((f"MaxPool{d}d", max_pool), (f"max_pool{d}d", max_pool))},
    **{f"AdaptiveMaxPool{d}d": adaptive_max_pool(d) for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d": adaptive_max_pool(d) for d in (1, 2, 3)},
    **{name: avg_pool(d) for d in (1, 2, 3) for name in (f"AvgPool{d}d", f"avg_pool{d}d")},
    **{name: adaptive_avg_pool(d) for d in (1, 2, 3) for name in (f"AdaptiveAvgPool{d}d", f"adaptive_avg_pool{d}d")},
    "sigmoid": lambda x, y, signal, given: signal * y * (1 - y),
    "Sigmoid": lambda x, y, signal, given: signal * y * (1 - y),
    "pad": zero_pad,
    "mean": mean,
    "neg": lambda x, y, signal, given: -signal,
    "permute": lambda x, y, signal, given: signal.permute(*np.argsort(given["args"]).tolist()),
    "transpose": lambda x, y, signal, given: signal.transpose(*given["args"]),
}

_GRADIENT_OF_NORM = dict.fromkeys(("LocalResponseNorm", "local_response_norm"), contrast_gradient)


def _with_rectifiers(rule: Callable) -> dict[str, Callable]:
    return {name: rule if known is rectified else known for name, known in RULES.items()}


TABLES: dict[str, dict[str, Callable]] = {  # by the names of the package's own
    "DeconvNet": RULES,
    "SaliNet (gradient)": {**_with_rectifiers(masked), **_GRADIENT_OF_NORM},
    "DeSaliNet": _with_rectifiers(guided),
    "Guided backprop": {**_with_rectifiers(guided), **_GRADIENT_OF_NORM},
}


# ------------------------------------------------------------------------------------------ the trace


def _copy(value):
    return value.clone() if isinstance(value, Tensor) else value


def _callable(model, node):
    if node.op == "call_module":
        return model.get_submodule(node.target)
    if node.op == "call_method":
        return lambda first, *args, **kwargs: getattr(first, node.target)(*args, **kwargs)
    return node.target


def _name(model, node) -> tuple[str, object]:
    if node.op == "call_module":
        module = model.get_submodule(node.target)
        return type(module).__name__, module
    name = node.target if isinstance(node.target, str) else node.target.__name__
    return name.rstrip("_").removesuffix("_with_indices"), None


def _reduce_to(signal: Tensor, shape) -> Tensor:
    """Undo broadcasting by summing."""
    while signal.dim() > len(shape):
        signal = signal.sum(0)
    for dim, n in enumerate(shape):
        if n == 1 and signal.shape[dim] != 1:
            signal = signal.sum(dim, keepdim=True)
    return signal
