"""Layers by name: ``"features.8"``, and ``"layer1.0.relu#2"`` for the second call of a module that runs twice."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import nn

from ..errors import InputError, nearest

__all__ = ["Layer", "find_layer"]

_CALL = re.compile(r"\d{1,18}")  # of more digits than 4300, Python makes no int


@dataclass(frozen=True, eq=False)
class Layer:
    """A module of a model, and which of its calls in one forward pass is meant.

    Parameters
    ----------
    name : str
        Dotted; "" for the model itself.
    module : nn.Module
        The module.
    call : int or None
        Counted from 1; None where the caller named none, which is right if the module runs once.
    """

    name: str
    module: nn.Module
    call: int | None = None

    def __str__(self) -> str:
        if not self.name:
            return "the model itself"
        return f"layer '{self.label}'"

    @property
    def label(self) -> str:
        """The name by which a caller would name it."""
        return self.name if self.call is None else f"{self.name}#{self.call}"

    def resolve_call(self, runs: int) -> Layer:
        """Return the layer with its call, now that the number of its runs in one forward pass is known.

        Raises
        ------
        InputError
            It did not run, or not that often, or several times while no call is named.
        """
        if runs == 0:
            raise InputError(f"{self} does not run in a forward pass of these inputs")
        if self.call is None and runs > 1:
            raise InputError(
                f"{self} runs {runs} times in one forward pass: name the call, '{self.name}#1' to '{self.name}#{runs}'"
            )
        if self.call is not None and self.call > runs:
            raise InputError(f"{self} is call {self.call}, and the module runs {_times(runs)} in one forward pass")
        return self if self.call is not None else replace(self, call=1)


def find_layer(model: nn.Module, layer: object) -> Layer:
    """Find a layer by its dotted name, with ``#2`` and so on for a later call, or by the module itself.

    Raises
    ------
    InputError
        The model has no such module; the error offers the nearest names.
    """
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer:
                return Layer(name, module)
        raise InputError(f"expected the layer as one of the model's modules, got another {type(layer).__name__}")
    if not isinstance(layer, str):
        raise InputError(f"expected the layer as a module or its dotted name, got {type(layer).__name__}")
    name, mark, call = layer.partition("#")
    modules = dict(model.named_modules(remove_duplicate=False))  # a module may have several names
    if name not in modules:
        raise InputError(f"the model has no layer {name!r:.200}{nearest(name, [known for known in modules if known])}")
    if mark and (not _CALL.fullmatch(call) or int(call) == 0):
        raise InputError(f"expected a call as '{name}#1', '{name}#2', ..., got {layer!r:.100}")
    return Layer(name, modules[name], int(call) if mark else None)


def _times(runs: int) -> str:
    return "once" if runs == 1 else f"{runs} times"
