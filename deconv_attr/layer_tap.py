"""Reads a layer's output or input while a model runs, and the signal that comes down to it."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError
from .operations import tensors_in

__all__ = ["LayerTap"]


class LayerTap:
    """Keeps the output (or input) of a layer, and hands on copies, which later in-place calls may overwrite.

    Like every hook of ours, it acts in the thread that made it only.
    """

    def __init__(self, layer: nn.Module, at_input: bool) -> None:
        if not isinstance(layer, nn.Module):
            raise InputError(f"expected the layer as one of the model's modules, got {type(layer).__name__}")
        self._layer, self._at_input = layer, at_input
        self._values: list[Any] = []
        self._thread = threading.get_ident()

    def __enter__(self) -> LayerTap:
        self._values.clear()
        if self._at_input:
            self._handle = self._layer.register_forward_pre_hook(self._keep_input, prepend=True, with_kwargs=True)
        else:
            self._handle = self._layer.register_forward_hook(self._keep_output)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._handle.remove()

    @property
    def is_single(self) -> bool:
        """Whether the layer has one tensor there, not a tuple."""
        return isinstance(self._value, Tensor)

    def signals(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Send 1 from each score down to the layer."""
        tensors = [tensor for tensor in tensors_in(self._value) if tensor.requires_grad]
        if not tensors:
            raise InputError("the layer does not depend on the inputs, so no signal reaches it from them")
        signals = torch.autograd.grad(scores, tensors, torch.ones_like(scores), allow_unused=True)
        if all(signal is None for signal in signals):
            raise InputError("the target does not depend on the layer, so no signal reaches it")
        return tuple(torch.zeros_like(t) if s is None else s for s, t in zip(signals, tensors, strict=True))

    @property
    def _value(self) -> Any:
        if len(self._values) != 1:
            raise InputError(f"expected the layer to run once in a forward pass, it ran {len(self._values)} times")
        return self._values[0]

    def _keep_output(self, layer: nn.Module, args: Any, output: Any) -> Any:
        if threading.get_ident() != self._thread:
            return None
        self._values.append(output)
        return _cloned(output)

    def _keep_input(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        if threading.get_ident() != self._thread or kwargs is None:  # None: another thread, while we are removed
            return None
        given = (*args, *kwargs.values())
        self._values.append(given[0] if len(given) == 1 else given)
        return _cloned(args), _cloned(kwargs)


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return type(value)(_cloned(item) for item in value) if type(value) in (list, tuple) else value
