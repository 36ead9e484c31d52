"""The same mathematics, kept lean: adjoints that keep no activation, and signals that are changed in place.

A table of rules says what the signal does. Where it leaves a linear call to autograd, autograd keeps the call's input;
here the call goes back by an adjoint of our own, which keeps filters, factors or shapes. And a signal that nobody
else holds is not copied to be rectified or scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .filtering import FILTERS, Filters, filter_back, filter_cone
from .operations import Kind, Operation, mapped, named_arguments
from .rules import Rule, affine_factor, guide, rectify, scale

__all__ = ["lean_rule", "send_back"]

_enabled = True  # whether; tests compare with autograd's own backward

# Linear operations that autograd keeps the input of, whose adjoints depend on its shape only.
_BY_SHAPE = frozenset(
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d pad".split()
)
_IN_PLACE: list[tuple[Callable[[Tensor, Any], Tensor], Callable[[Tensor, Any], Tensor]]] = [
    (rectify, lambda signal, _: signal.clamp_(min=0)),
    (guide, lambda signal, active: signal.clamp_(min=0).mul_(active)),
    (scale, lambda signal, factor: signal.mul_(factor.view(1, -1, *[1] * (signal.dim() - 2)))),
]


def lean_rule(
    rule: Rule,
    operation: Operation,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    carriers: Sequence[Tensor],
    narrow: bool = False,
) -> Rule:
    """Give a rule that sends the same signal and keeps less; where there is none, the rule itself.

    Parameters
    ----------
    rule : Rule
        The table's.
    operation, function, args, kwargs
        The call.
    carriers : sequence of Tensor
        Those of its tensors that carry the signal.
    narrow : bool
        Whether the signal is zero but for a small part.
    """
    image = args[0] if args else kwargs.get("input")
    if not _enabled or rule.back is not None or len(carriers) != 1 or carriers[0] is not image:
        return rule
    name = operation.name
    if name in _BY_SHAPE:
        return replace(rule, back=_adjoint_by_shape(function, args, kwargs, image))
    if name in FILTERS or operation.kind is Kind.BATCH_NORM:
        given = named_arguments(function, name, args, kwargs)
        if name in FILTERS and image.is_floating_point() and given["weight"].dim() > 1:
            return replace(rule, back=filter_cone if narrow else filter_back, keep=Filters.of)
        if name == "batch_norm" and not given.get("training") and given.get("running_var") is not None:
            return replace(rule, back=scale, keep=affine_factor)
    return rule


def send_back(rule: Rule, signal: Tensor, kept: Any, alone: bool) -> Tensor:
    """Send a signal by a rule that has a way back; `alone` says whether nobody else holds the signal."""
    back = rule.back
    assert back is not None
    if alone and _enabled:
        back = next((in_place for pure, in_place in _IN_PLACE if pure is back), back)
    return back(signal, kept)


def _adjoint_by_shape(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], image: Tensor
) -> Callable[[Tensor, Any], Tensor]:
    """Make the adjoint of a call by calling it again, on the way back, on memory that has only the image's shape."""
    here = object()
    args, kwargs = mapped(lambda value: here if value is image else value, (args, kwargs))
    shape, stride, dtype, device = image.shape, image.stride(), image.dtype, image.device

    def back(signal: Tensor, _: Any) -> Tensor:
        hollow = torch.empty_strided(shape, stride, dtype=dtype, device=device, requires_grad=True)
        with torch.enable_grad():
            positional, named = mapped(lambda value: hollow if value is here else value, (args, kwargs))
            output = function(*positional, **named)
        (below,) = torch.autograd.grad(output, hollow, signal)
        return below

    return back
