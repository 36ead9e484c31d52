"""Runs third-party code, such as another attribution method, and leaves model and process as they were before it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DeadSignalWarning
from .attributes import keep_model
from .modes import keep_filters_of_warnings, leave_inference_mode, seed_generators, set_gradients
from .threads import run_alone
from .undo import Undo

__all__ = ["collect_dead_signals", "contain", "set_eval_mode"]


def contain(model: nn.Module, device: torch.device, undo: Undo) -> None:
    """Have third-party code run with the model in eval mode, with gradients, and with seeded generators.

    Afterwards the model's modes, tensors and attributes, the states of the generators and the filters of warnings are
    as before. The two warnings that Captum gives on every healthy call are not shown. One thread at a time does so.

    Parameters
    ----------
    model : nn.Module
        Its parameters are not saved: attribution does not train.
    device : torch.device
        Of the inputs, whose generator is seeded too.
    undo : Undo
        Where it is noted.
    """
    set_eval_mode(model, undo)
    keep_model(model, undo)
    _keep_buffers(model, undo)
    seed_generators(device, undo)
    keep_filters_of_warnings(undo)
    leave_inference_mode(undo)
    set_gradients(True, undo)
    warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations", UserWarning)
    warnings.filterwarnings("ignore", r"Input Tensor \d+ did not already require gradients", UserWarning)


def set_eval_mode(model: nn.Module, undo: Undo) -> None:
    """Have a model in eval mode, then as it was; one thread at a time."""
    run_alone(undo)
    undo.later(partial(_set_modes, [(module, module.training) for module in model.modules()]))
    model.eval()


def _set_modes(modes: Iterable[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


def collect_dead_signals(undo: Undo) -> list[DeadSignalWarning]:
    """Collect this thread's warnings of signals that die, whatever the filters say, and return where they will be.

    Other warnings, and those of other threads, are shown as ever. One thread at a time does so, for the filters of
    warnings are those of all.
    """
    run_alone(undo)
    keep_filters_of_warnings(undo)
    found: list[DeadSignalWarning] = []
    here, show = _OfThread(), warnings.showwarning

    def collect(message: Warning | str, *more: Any, **options: Any) -> None:
        if isinstance(message, DeadSignalWarning) and here.match(""):
            found.append(message)
        else:
            show(message, *more, **options)

    warnings.showwarning = collect
    always: Any = ("always", here, DeadSignalWarning, None, 0)
    warnings.filters.insert(0, always)  # type: ignore[attr-defined]  # a list, declared as a sequence
    return found


class _OfThread:
    """In the place of a filter's pattern: it matches all that the thread warns of which made it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def match(self, text: str) -> bool:
        """Whether that thread is the one that asks."""
        return threading.get_ident() == self._thread


def _keep_buffers(model: nn.Module, undo: Undo) -> None:
    """Have restored what is written into a model's tensors that are no parameters."""
    held = [tensor for module in model.modules() for tensor in _own_tensors(module)]
    undo.later(partial(_write_back, [(tensor, tensor.detach().clone()) for tensor in held]))


def _write_back(copies: Iterable[tuple[Tensor, Tensor]]) -> None:
    for tensor, copy in copies:
        if not torch.equal(tensor, copy):
            tensor.detach().copy_(copy)


def _own_tensors(module: nn.Module) -> list[Tensor]:
    """Return a module's buffers and those of its plain attributes that are tensors."""
    found = [*module._buffers.values(), *vars(module).values()]
    return [tensor for tensor in found if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter)]
