"""Everything about a model, and about the caller's tensors, that an explanation must leave as it was.

>>> before = snapshot(model, x)                 # doctest: +SKIP
>>> ZFDeconv(model).attribute(x, target=0)      # doctest: +SKIP
>>> assert snapshot(model, x) == before         # doctest: +SKIP
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_globals
from torch.overrides import _get_current_function_mode_stack

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_full_backward_hook",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_GLOBAL_HOOKS = tuple(name for name in vars(module_globals) if name.startswith("_global_") and name.endswith("hooks"))
_TABLES = ("_parameters", "_buffers", "_modules")


class Same:
    """An object for comparison by identity; holds it, so that its id is not given to another."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.held is other.held

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self.held).__name__} at {id(self.held):#x}>"


def snapshot(model: nn.Module, *tensors: Tensor) -> dict[str, Any]:
    """Record a model, some tensors and torch's global modes; two records are equal if nothing changed.

    Parameters
    ----------
    model : nn.Module
        Of every module: the hook dictionaries, parameters, buffers, submodules, and every plain attribute
        (``training`` and ``inplace`` among them) by identity, tensors bit for bit as well.
    *tensors : Tensor
        Tensors of the caller's, recorded like parameters.

    Returns
    -------
    dict
        One entry for each fact, named after its place, so that a failing comparison says what changed.
    """
    facts: dict[str, Any] = {
        "grad enabled": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "function modes": [Same(mode) for mode in _get_current_function_mode_stack()],
    }
    for name in _GLOBAL_HOOKS:
        facts[name] = _hooks(getattr(module_globals, name))
    for position, tensor in enumerate(tensors):
        facts |= _tensor(f"tensor {position}", tensor)
    for path, module in model.named_modules():
        facts |= _module(path or "model", module)
    return facts


def _module(path: str, module: nn.Module) -> dict[str, Any]:
    facts: dict[str, Any] = {f"{path}: attributes": list(vars(module)), f"{path}: class": Same(type(module))}
    for name, value in vars(module).items():
        place = f"{path}.{name}"
        if name in _HOOKS:
            facts[place] = _hooks(value)
        elif name in _TABLES:
            facts[f"{place}: names"] = list(value)
            for key, item in value.items():
                facts |= _tensor(f"{place}.{key}", item) if isinstance(item, Tensor) else {f"{place}.{key}": Same(item)}
        else:
            facts |= _plain(place, value)
    return facts


def _plain(place: str, value: Any) -> dict[str, Any]:
    """Record a plain attribute: its identity, and one level into a container."""
    if isinstance(value, Tensor):
        return _tensor(place, value)
    facts: dict[str, Any] = {place: Same(value)}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        facts |= _tensor(f"{place}[{key!r}]", item) if isinstance(item, Tensor) else {f"{place}[{key!r}]": Same(item)}
    return facts


def _hooks(hooks: Any) -> Any:
    if isinstance(hooks, dict):
        return Same(hooks), {key: Same(hook) for key, hook in hooks.items()}
    return Same(hooks)


def _tensor(place: str, tensor: Tensor) -> dict[str, Any]:
    facts = {
        place: Same(tensor),
        f"{place}: bits": _bits(tensor),
        f"{place}: layout": (tensor.dtype, tensor.device, tensor.shape, tensor.stride()),
        f"{place}: requires_grad": tensor.requires_grad,
        f"{place}: writes": None if tensor.is_inference() else tensor._version,
        f"{place}: tensor hooks": len(tensor._backward_hooks or ()),
    }
    if tensor.is_leaf:
        grad = tensor.grad
        facts[f"{place}: grad"] = Same(grad)
        facts[f"{place}: grad bits"] = None if grad is None else _bits(grad)
    return facts


def _bits(tensor: Tensor) -> bytes | None:
    if tensor.device.type == "meta":
        return None
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@contextmanager
def graphs_left() -> Iterator[list[tuple[int, ...]]]:
    """Give a list that, in the end, has the shapes of tensors still in memory at which a signal starts or ends."""
    gc.collect()
    before, left = _leaves(), []
    yield left
    gc.collect()
    left += [tuple(each.shape) for each in _leaves() if not any(each is known for known in before)]


def _leaves() -> list[Tensor]:
    return [each for each in gc.get_objects() if type(each) is Tensor and each.requires_grad]
