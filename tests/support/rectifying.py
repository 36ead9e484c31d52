"""The deconvnet a third time: autograd, but that each rectifier which runs is one whose backward rectifies the signal.

Nothing of deconv_attr is used. In eval mode, and without contrast normalisation, this is the whole method: a
max-pool's own backward is unpooling, that of a filter the transposed filter. Batch norm is done by arithmetic, for its
own backward is wrong where input and signal stand in memory in different orders (torch 2.14.1, CPU).
"""

import re
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, run, in_place):
        if in_place:
            ctx.mark_dirty(x)
        return run(x)

    @staticmethod
    def backward(ctx, signal):
        return torch.where(signal > 0, signal, torch.zeros_like(signal)), None, None


def _relu(input, inplace=False):
    return True, inplace


def _relu6(input, inplace=False):
    return True, inplace


def _hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    return min_val == 0, inplace


def _clamp(input, min=None, max=None):
    return isinstance(min, (int, float)) and min == 0, False


def _threshold(input, threshold, value, inplace=False):
    return threshold == 0 and value == 0, inplace


def _batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training:  # of filters that are standardised: not on the signal's way
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    mean, variance, weight, bias = (
        None if each is None else each.reshape(1, -1, *[1] * (input.dim() - 2))
        for each in (running_mean, running_var, weight, bias)
    )
    normed = (input - mean) / (variance + eps).sqrt()
    scaled = normed if weight is None else normed * weight
    return scaled if bias is None else scaled + bias


RECTIFIERS = {  # by the arguments of a call: whether it is a rectifier, and whether in place
    "relu": _relu,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "threshold": _threshold,
    "_threshold": _threshold,
}
ACTIVATIONS = set("celu elu gelu hardswish leaky_relu mish prelu selu silu softplus".split())


class Rectifying(TorchFunctionMode):
    """Replaces the rectifiers that run in its context; those of `ACTIVATIONS` too, if these are to be rectified."""

    def __init__(self, activations: bool = False) -> None:
        super().__init__()
        self.activations = activations
        self.replaced = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        written = getattr(function, "__name__", "")
        name = written.rstrip("_")
        if written == "batch_norm":
            return _batch_norm(*args, **kwargs)
        rectifies, in_place = False, False
        if name in RECTIFIERS:
            rectifies, in_place = RECTIFIERS[name](*args, **kwargs)
        elif name in ACTIVATIONS and self.activations:
            rectifies, in_place = True, kwargs.get("inplace", False)
        x = args[0] if args else kwargs.get("input")
        if not rectifies or not x.requires_grad:
            return function(*args, **kwargs)
        self.replaced += 1
        further = {key: value for key, value in kwargs.items() if key != "input"}

        def run(x):
            return function(x, *args[1:], **further)

        return _Rectified.apply(x, run, in_place or (written.endswith("_") and not written.startswith("_")))


def project_score(
    model: nn.Module, score: Callable[[object], Tensor], inputs: tuple[Tensor, ...], activations: bool = False
) -> list[Tensor]:
    """Send 1 from each example's score, a function of the model's output that gives (N,), down to the inputs."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    with Rectifying(activations) as mode:
        scores = score(model(*leaves))
    assert mode.replaced, "the model ran no rectifier"
    assert not left_over(scores), f"not replaced: {left_over(scores)}"
    return list(torch.autograd.grad(scores.sum(), leaves))


def left_over(scores: Tensor) -> set[str]:
    """Return the rectifiers that are still autograd's own, by their nodes."""
    return {node.name() for node in nodes(scores.grad_fn) if re.match(r"(Relu|Threshold)\w*Backward", node.name())} | {
        node.name()
        for node in nodes(scores.grad_fn)
        if node.name() in ("ClampBackward1", "ClampBackward0", "ClampMinBackward0", "HardtanhBackward0")
        and 0 in (getattr(node, "_saved_min", None), getattr(node, "_saved_min_val", None))
    }


def nodes(node: Node) -> Iterator[Node]:
    seen, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [below for below, _ in node.next_functions]
