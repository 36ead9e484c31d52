"""The arguments of a call: their names, the tensors among them, and which of these it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .torch_private import parameter_names

__all__ = [
    "ARGUMENTS",
    "gathered",
    "is_in_place",
    "is_training",
    "mapped",
    "named_arguments",
    "tensors_in",
    "writes_to",
]

_ORDERS = {  # what a call's arguments are by their order
    "input weight bias stride padding dilation groups": "conv1d conv2d conv3d",
    "input weight bias stride padding output_padding groups dilation": """
        conv_transpose1d conv_transpose2d conv_transpose3d""",
    "input weight bias": "linear",
    "input kernel_size stride padding dilation ceil_mode return_indices": "max_pool1d max_pool2d max_pool3d",
    "input output_size return_indices": "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
    "input kernel_size output_size output_ratio return_indices": "fractional_max_pool2d fractional_max_pool3d",
    "input running_mean running_var weight bias training momentum eps": "batch_norm",
}
ARGUMENTS = {name: tuple(order.split()) for order, names in _ORDERS.items() for name in names.split()}
_TORCH_BATCH_NORM = tuple("input weight bias running_mean running_var training momentum eps cudnn_enabled".split())
_BATCH_NORM_TO_EXPLAIN = tuple("input weight bias running_mean running_var momentum eps".split())  # torch.export's


def named_arguments(function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return a call's arguments by their names; the first is the input. Fewer than were given if some have no name."""
    return {**dict(zip(_order(function, name), args, strict=False)), **kwargs}


@lru_cache(maxsize=4096)
def _order(function: Callable[..., Any], name: str) -> tuple[str, ...]:
    """Return the names of a function's parameters, by their order."""
    if name == "batch_norm" and function is not F.batch_norm:  # torch.batch_norm has another order
        return _BATCH_NORM_TO_EXPLAIN if "no_training" in function.__name__ else _TORCH_BATCH_NORM
    if name in ARGUMENTS:
        return ARGUMENTS[name]
    try:
        parameters = signature(function).parameters.values()
        names = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    except (TypeError, ValueError):  # a built-in
        names = parameter_names(function)
    return ("input", *names[1:])


@lru_cache(maxsize=4096)
def is_in_place(function: Callable[..., Any]) -> bool:
    """Whether a function writes into its first argument: ``x.relu_``, ``x += y``, ``x[i] = y``."""
    name: str = getattr(function, "__name__", "").split(".")[0]
    if name.startswith("__"):
        return name == "__setitem__" or _is_augmented(name)
    return name.endswith("_")


def _is_augmented(name: str) -> bool:
    """Whether a name is one such as ``__iadd__``, which has an ``__add__`` beside it; ``__index__`` is none."""
    return name.startswith("__i") and hasattr(Tensor, f"__{name[3:]}")


def writes_to(function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Return the tensor arguments that a call may change: in-place targets, ``out=``, running statistics."""
    targets: list[Any] = []
    if is_in_place(function) or kwargs.get("inplace"):
        targets.append(args[0] if args else kwargs.get("input"))
    if kwargs.get("max_norm") is not None:  # an embedding renormalises its table
        targets.append(args[1])
    if name in ("batch_norm", "instance_norm") and is_training(args, kwargs, default=name == "instance_norm"):
        # F.batch_norm has the statistics at 1 and 2, torch.batch_norm at 3 and 4: weight and bias beside
        # them are never written, so copying all four is safe.
        targets += [*args[1:5], kwargs.get("running_mean"), kwargs.get("running_var")]
    return tensors_in((targets, kwargs.get("out")))


def is_training(args: Sequence[Any], kwargs: Mapping[str, Any], default: bool = False) -> bool:
    """Whether a batch norm, or an instance norm, by its sixth argument, writes into its running statistics."""
    flag = args[5] if len(args) > 5 else kwargs.get("training", kwargs.get("use_input_stats", default))
    return bool(flag) and not isinstance(flag, float)  # of torch.export's batch norm in eval mode that is the momentum


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in nested lists, tuples, dicts and dataclasses."""
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
        elif hasattr(value, "__dataclass_fields__"):
            _collect([getattr(value, name) for name in value.__dataclass_fields__], found)


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Return nested lists, tuples and dicts with a function applied to all that is in them."""
    if type(value) in (list, tuple):
        return type(value)([mapped(change, item) for item in value])
    if type(value) is dict:
        return {key: mapped(change, item) for key, item in value.items()}
    return change(value)


def gathered(tensor: Tensor) -> Tensor:
    """Return a tensor as it is, but one that is divided among processes (DTensor) as a whole."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()
