"""Reads a layer's output or input while a model runs, and the signal that comes down to it; or ends the run there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..rules.arguments import mapped, tensors_in
from .attributes import modules_of, sharded
from .layers import Layer
from .module_hooks import ModuleHooks
from .nodes import enter
from .signal_path import SignalPath, send

__all__ = ["LayerReached", "LayerReader"]


class LayerReached(BaseException):
    """Ends a forward pass; no ``except Exception`` of the model's may stop it."""


class LayerReader:
    """Keeps the output (or input) of one call of a layer.

    It hands on copies, which later in-place calls may overwrite. Like every hook of ours, it acts in the thread that
    made it only.

    Parameters
    ----------
    layer : Layer
        The layer; without a call it must run once.
    at_input : bool
        Whether to keep its input.
    last : bool
        Whether the forward pass ends there; the layer's call must then be named.

    Attributes
    ----------
    entry : Tensor or None
        Where the graph of the signal begins. If it is set, what is at the layer is joined to it, so that a signal can
        end there though nothing leads from there down to the inputs.
    """

    def __init__(self, layer: Layer, at_input: bool = False, last: bool = False) -> None:
        self._layer, self._at_input, self._last = layer, at_input, last
        self._runs = 0
        self._kept: Any = None
        self.entry: Tensor | None = None

    def until(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a forward function that ends at the layer and returns what is there.

        A model of FSDP2's runs to its end, for there it gives back the parameters that it has gathered.
        """
        if isinstance(forward, nn.Module) and sharded(modules_of(forward)):
            self._last = False

        def shorter(*args: Any) -> Any:
            with suppress(LayerReached):
                self._listen(forward, args)
            return self.value

        return shorter

    def within(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a forward function that runs to its end and returns what was at the layer."""

        def tapped(*args: Any) -> Any:
            self._listen(forward, args)
            return self.value

        return tapped

    def beside(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a forward function that keeps what is at the layer, and returns what the model does."""
        return lambda *args: self._listen(forward, args)

    def _listen(self, forward: Callable[..., Any], args: Any) -> Any:
        self._runs = 0
        self._kept = None
        hooks = ModuleHooks()
        with hooks, hooks:
            if self._at_input:
                hooks.before(self._layer.module, self._keep_input, prepend=True, with_kwargs=True)
            else:
                hooks.after(self._layer.module, self._keep_output)
            return forward(*args)

    @property
    def layer(self) -> Layer:
        """The layer with its call, once the model has run."""
        return self._layer.resolve_call(self._runs)

    @property
    def value(self) -> Any:
        """What the layer returned or received.

        Raises
        ------
        InputError
            It did not run as often as was expected.
        """
        self._layer.resolve_call(self._runs)
        return self._kept

    @property
    def is_single(self) -> bool:
        """Whether the layer has one tensor there, not a tuple."""
        return isinstance(self.value, Tensor)

    def signals(self, path: SignalPath, scores: Tensor, start: Tensor) -> tuple[Tensor, ...]:
        """Send a signal from the scores down to the layer."""
        tensors = [tensor for tensor in tensors_in(self.value) if path.carries(tensor)]
        if not tensors:
            raise InputError("the layer does not depend on the inputs, so no signal reaches it from them")
        signals = send(scores, tensors, start, allow_unused=True)
        if all(signal is None for signal in signals):
            raise InputError("the target does not depend on the layer, so no signal reaches it")
        return tuple(torch.zeros_like(t) if s is None else s for s, t in zip(signals, tensors, strict=True))

    def _keep_output(self, layer: nn.Module, args: Any, output: Any) -> Any:
        output = self._joined(output)
        return _cloned(output) if self._keep(output) else None

    def _keep_input(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        if kwargs is None:
            return None
        args, kwargs = self._joined((args, kwargs))
        given = (*args, *kwargs.values())
        return (_cloned(args), _cloned(kwargs)) if self._keep(given[0] if len(given) == 1 else given) else None

    def _joined(self, value: Any) -> Any:
        """Return what is at the layer, joined to the entry."""
        if self.entry is None:
            return value
        tensors = [each for each in tensors_in(value) if each.is_floating_point()]
        if not tensors:
            found = ", ".join(sorted({str(each.dtype) for each in tensors_in(value)})) or "no tensor"
            raise InputError(f"expected {self._layer} in floating point, got {found} there: choose a layer above")
        stand_ins = dict(zip(map(id, tensors), enter([self.entry, *tensors])[1:], strict=True))
        return mapped(lambda item: stand_ins.get(id(item), item), value)

    def _keep(self, value: Any) -> bool:
        """Count a run; whether it is the one to keep, and the pass goes on."""
        self._runs += 1
        if self._runs != (self._layer.call or 1):
            return False
        self._kept = value
        if self._last:
            raise LayerReached
        return True


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return type(value)(_cloned(item) for item in value) if type(value) in (list, tuple) else value
