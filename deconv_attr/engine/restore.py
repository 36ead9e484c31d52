"""Runs third-party code, such as another attribution method, and leaves model and thread as they were before it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import DeadSignalWarning
from .attributes import undisturbed
from .undo import to_the_end

__all__ = ["collected_dead_signals", "contained", "eval_mode", "without_dead_signals"]


@contextmanager
def contained(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run third-party code with the model in eval mode, with gradients, and with seeded generators.

    Afterwards the model's modes, tensors and attributes, the states of the generators and the filters of warnings are
    as before. The two warnings that Captum gives on every healthy call are not shown.

    Parameters
    ----------
    model : nn.Module
        Its parameters are not saved: attribution does not train.
    device : torch.device
        Of the inputs, whose generator is seeded too.
    """
    with (
        eval_mode(model),
        undisturbed(model),
        _same_buffers(model),
        _seeded(device),
        warnings.catch_warnings(),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations", UserWarning)
        warnings.filterwarnings("ignore", r"Input Tensor \d+ did not already require gradients", UserWarning)
        yield


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Run with a model in eval mode; then as it was."""
    modes = [(module, module.training) for module in model.modules()]

    def restore() -> None:
        for module, training in modes:
            module.training = training

    try:
        model.eval()
        yield
    finally:
        to_the_end(restore)


@contextmanager
def without_dead_signals() -> Iterator[None]:
    """Run without warnings of signals that die: for checks, in which a map that is zero has no number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        yield


@contextmanager
def collected_dead_signals() -> Iterator[list[DeadSignalWarning]]:
    """Collect warnings of signals that die, whatever the filters say; others are shown as ever."""
    found: list[DeadSignalWarning] = []
    with warnings.catch_warnings():  # not with record=True, which would take all warnings
        show = warnings.showwarning

        def collect(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if isinstance(message, DeadSignalWarning):
                found.append(message)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = collect
        warnings.simplefilter("always", DeadSignalWarning)
        yield found


@contextmanager
def _same_buffers(model: nn.Module) -> Iterator[None]:
    """Restore what is written into a model's tensors that are no parameters."""
    held = [tensor for module in model.modules() for tensor in _own_tensors(module)]
    copies = [tensor.detach().clone() for tensor in held]

    def restore() -> None:
        for tensor, copy in zip(held, copies, strict=True):
            if not torch.equal(tensor, copy):
                with torch.no_grad():
                    tensor.copy_(copy)

    try:
        yield
    finally:
        to_the_end(restore)


def _own_tensors(module: nn.Module) -> list[Tensor]:
    """Return a module's buffers and those of its plain attributes that are tensors."""
    found = [*module._buffers.values(), *vars(module).values()]
    return [tensor for tensor in found if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter)]


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    numbers, python = np.random.get_state(), random.getstate()  # noqa: NPY002 - the one that Captum draws from
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(numbers)  # noqa: NPY002
            random.setstate(python)
