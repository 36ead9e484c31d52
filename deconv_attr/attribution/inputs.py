"""Which models and inputs the Captum classes accept; for anything else, one sentence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import InputError, ModelError

__all__ = ["check_inputs", "check_model", "name_of"]

_TOKENS = (torch.int32, torch.int64)
_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def check_model(model: object) -> None:
    """Refuse what cannot be explained.

    Raises
    ------
    ModelError
        Not a Module, one with TorchScript in it, or a quantised one.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected the model as a torch.nn.Module, got {_kind_of(model)}")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"module '{path}'" if path else "the model"
            raise ModelError(f"{where} is TorchScript, whose operations no rule can reach: give the original Module")
        if type(module).__module__.startswith(_QUANTISED):
            where = f"module '{path}'" if path else "the model"
            raise ModelError(
                f"{where} is quantised ({type(module).__name__}): it computes in integers and has no gradient, so no "
                "signal goes back through it; give the model as it was before"
            )
        if any(map(is_lazy, (*module._parameters.values(), *module._buffers.values()))):
            where = f"module '{path}'" if path else "the model"
            raise ModelError(f"expected a model with all its weights, {where} has none yet: run the model once before")


def _kind_of(model: object) -> str:
    """Return what is given in a model's place, and what is to be given instead."""
    name = type(model).__name__
    if hasattr(model, "graph_module"):
        return f"{name}, an exported program: give its module, as program.module()"
    if isinstance(getattr(model, "model", None), nn.Module):
        return f"{name}, which has a Module as its attribute 'model': give that"
    if callable(model):
        return f"{name}: give the Module that it runs, as ScoredModel(module, forward_func=...)"
    return name


def check_inputs(inputs: Any, model: nn.Module, *, integers: bool = False) -> tuple[Tensor, ...]:
    """Return the inputs as a tuple of tensors.

    Parameters
    ----------
    inputs : Tensor or tuple of Tensor
        (N, ...).
    model : nn.Module
        What they are for.
    integers : bool
        Whether they may be of int32 or int64, to which no signal comes: tokens.

    Raises
    ------
    InputError
        Not a tensor or a tuple of tensors; not floating point; empty; not finite; on another device than the model.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors:
        raise InputError("expected at least one input tensor, got an empty tuple")
    devices = _devices_of(model, tensors)
    for position, tensor in enumerate(tensors):
        _check_tensor(tensor, name_of(position, tensors), devices, _TOKENS if integers else ())
    return tensors


def name_of(position: int, tensors: tuple[Tensor, ...]) -> str:
    """Return what an input is called in an error."""
    return f"input {position}" if len(tensors) > 1 else "the input"


def _devices_of(model: nn.Module, tensors: tuple[Any, ...]) -> set[torch.device]:
    """Return the model's devices: that of its first weight, and all of them if an input is on another."""
    first = next(model.parameters(), None)
    devices = set() if first is None else {first.device}
    if any(isinstance(tensor, Tensor) and tensor.device not in devices for tensor in tensors):  # it may be spread
        devices = {tensor.device for tensor in [*model.parameters(), *model.buffers()]}
        if any(module._forward_pre_hooks or "forward" in vars(module) for module in model.modules()):
            devices -= {torch.device("meta")}  # such a hook may bring the weights when a module runs, as accelerate's
    return devices


def _check_tensor(tensor: Any, name: str, devices: set[torch.device], integers: tuple[torch.dtype, ...]) -> None:
    if not isinstance(tensor, Tensor):
        raise InputError(f"expected {name} as a tensor, got {type(tensor).__name__}")
    if not tensor.is_floating_point() and tensor.dtype not in integers:
        tokens = "; above tokens it can be read by LayerZFDeconv" if tensor.dtype in _TOKENS else ""
        raise InputError(f"expected {name} in floating point, got {tensor.dtype}: a signal is a real number{tokens}")
    if tensor.dim() == 0 or tensor.numel() == 0:
        shape = tuple(tensor.shape)
        raise InputError(f"expected {name} as a batch (N, ...) with at least one example, got {shape}")
    if devices and tensor.device not in devices:
        here = ", ".join(sorted(str(device) for device in devices))
        raise InputError(f"expected {name} on the model's device ({here}), got {tensor.device}")
    lost = int((~tensor.detach().isfinite()).sum())
    if lost:
        raise InputError(f"expected {name} finite, got {lost} values that are NaN or infinite")
