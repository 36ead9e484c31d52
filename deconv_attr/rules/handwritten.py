"""Rectifiers written by hand, found by what they do to the signal.

``x * (x > 0)`` leaves a plain product in autograd's graph: the mask is a number like any other, however it was computed
(from ``x.detach()``, under ``no_grad``, in numpy). What gives it away is that the factor of each number follows from
that number's own value: in the order of ``x`` the factors hardly change. So each call that may choose or weigh single
numbers (products with what carries no signal, ``where``, fills, maxima, sums of ``x`` and ``|x|``) is looked at on a
sample. What is suspicious there is examined as a whole, in a second run, and in a third on another input, in which a
factor that does not come from the activations stays as it was.

A comparison that only steers (a Python condition, a choice of rows, a constant region) makes no such factor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Weighs",
    "choice",
    "extreme",
    "factors_of",
    "fill",
    "index",
    "is_function_of_sign",
    "largest",
    "product",
    "total",
]

_SAMPLE = 16  # numbers along each axis

Pairs = list[tuple[Tensor, Tensor]]

Weighs = Callable[[list[Tensor], Any, Any], Pairs]
"""``weighs(operands, args, kwargs)``: the numbers that a call weighs, and the factors, in pairs."""


def factors_of(weighs: Weighs, args: Sequence[Any], kwargs: Mapping[str, Any], whole: bool) -> Pairs:
    """Return pairs of numbers and of the factors with which a call weighs them, as it seems, of one shape each.

    Parameters
    ----------
    weighs : callable
        What is known of the operation.
    args, kwargs
        The call's, before it runs: it may write into them.
    whole : bool
        Whether to look at all numbers, or at a sample.
    """
    with torch.no_grad():
        operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        pairs = [(_dense(x), _dense(factor)) for x, factor in weighs(operands, args, kwargs)]
        pairs = [(x, factor) for x, factor in pairs if x.shape == factor.shape and x.dtype.is_floating_point]
        return [(_seen(x, whole), _seen(factor, whole).to(x.dtype)) for x, factor in pairs]


def is_function_of_sign(x: Tensor, factor: Tensor) -> Tensor:
    """Whether each number's factor follows from its own value, as in ``x * (x > 0)``; (), bool, on the device.

    Parameters
    ----------
    x, factor : Tensor
        Of one shape.
        Without negative or positive numbers, nothing is said.
    """
    x, factor = x.flatten(), factor.flatten()
    if x.numel() < 2:
        return torch.zeros((), dtype=torch.bool, device=x.device)
    positive, negative = x > 0, x < 0
    low, high = torch.finfo(x.dtype).min, torch.finfo(x.dtype).max
    of_positive = factor.where(positive, high).amin(), factor.where(positive, low).amax()
    of_negative = factor.where(negative, high).amin(), factor.where(negative, low).amax()
    by_sign = (of_negative[1] < of_positive[0]) | (of_positive[1] < of_negative[0])
    by_sign = by_sign & positive.any() & negative.any()
    if x.numel() < _SAMPLE:
        return by_sign
    # A threshold elsewhere: in the order of x the factors change far less than in any other order.
    ordered = factor[x.argsort(stable=True)]
    span = ordered.amax() - ordered.amin()
    expected = 2 * ordered.var() / span.clamp(min=torch.finfo(x.dtype).tiny) * (x.numel() - 1)
    by_value = (span > 0) & (ordered.diff().abs().sum() < 0.35 * expected) & (x.amax() > x.amin()) & negative.any()
    return by_sign | by_value


def _dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.layout == torch.strided else tensor.detach().to_dense()


def _seen(tensor: Tensor, whole: bool) -> Tensor:
    part = () if whole else tuple(slice(None, None, max(1, size // _SAMPLE)) for size in tensor.shape)
    return tensor.detach()[part].clone()  # the call may write into it


# --------------------------------------------------------------------- what each call weighs, and with what


def product(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
    """Return what products weigh: a signal, by what carries none."""
    return [
        (x, factor)
        for x in operands
        for factor in operands
        if x is not factor and x.requires_grad and not factor.requires_grad and factor.dim()
    ]


def choice(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
    """Return what ``where`` weighs: signals, by its condition."""
    condition = next((each for each in operands if each.dtype == torch.bool), operands[0])
    return [(x, condition) for x in operands if x.requires_grad and x.shape == condition.shape]


def fill(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
    """Return what a fill weighs: a signal, by its mask."""
    x, mask = operands[:2] if len(operands) > 1 else (operands[0], operands[0])
    return [(x, mask)] if mask.dtype == torch.bool else []


def index(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
    """Return what ``x[mask]`` weighs, with a mask of x's own shape; of vectors such a mask chooses rows."""
    key = args[1] if len(args) > 1 else ()
    mask = key[0] if isinstance(key, (tuple, list)) and len(key) == 1 else key
    own = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == args[0].shape and mask.dim() > 1
    return [(args[0], mask)] if own else []


def extreme(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
    """Return what the larger or smaller of two signals weighs: each, by which it is; a constant is for the table."""
    if len(operands) != 2 or operands[0].shape != operands[1].shape:
        return largest()(operands, args, kwargs)
    one, other = operands
    return [(x, one > other) for x in operands] if one.requires_grad and other.requires_grad else []


def largest(position: int = 1, default: int | None = None) -> Weighs:
    """Return what extremes over a short dimension weigh: which is larger may follow from one of them alone.

    Parameters
    ----------
    position : int
        Of the argument that names the dimension; of ``topk`` and ``kthvalue`` another number comes before it.
    default : int or None
        The dimension where none is named; None for all together.
    """

    def weighs(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
        x = operands[0]
        dim = args[position] if len(args) > position else kwargs.get("dim", default)
        dim = dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim
        if not isinstance(dim, int) or not -x.dim() <= dim < x.dim() or x.dim() < 2 or x.shape[dim] > 4:
            return []
        slabs = x.unbind(dim)
        return [(one, one > other) for one in slabs for other in slabs if one is not other]

    return weighs


def scattered(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
    """Return what is reduced into the numbers of another tensor: each, by which of the two is larger."""
    named = dict(zip(("input", "dim", "index", "src", "reduce", "include_self"), args, strict=False)) | kwargs
    into = named.get("input", named.get("self"))
    source = named.get("src", named.get("source"))
    dim, index = named.get("dim"), named.get("index")
    if named.get("reduce") in ("sum", "mean") or named.get("include_self") is False:
        return []
    if not isinstance(dim, int) or not (into.dim() and source.dim()):
        return []
    carry = source.requires_grad, into.requires_grad
    if index.dim() == source.dim() > 1 or into.dim() == 1:
        source = source[tuple(map(slice, index.shape))]
        there = into[tuple(slice(n if at != dim % into.dim() else None) for at, n in enumerate(index.shape))]
        there = there.gather(dim, index)
    else:
        there = into.index_select(dim, index)
    return [(x, source > there) for x, carries in zip((source, there), carry, strict=True) if carries]


def total(operands: list[Tensor], args: Any, kwargs: Any) -> Pairs:
    """Return what a sum of x and |x| weighs: x, by whether both agree in sign."""
    if len(operands) != 2 or operands[0].shape != operands[1].shape:
        return []
    one, other = operands
    equal = torch.isclose(one.abs(), other.abs(), rtol=1e-3, atol=0).all()
    return [(x, ((one * other) > 0) & equal) for x in (one, other)]
