"""What the Captum face accepts, and the one sentence it answers to anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError, ModelError, TargetError

__all__ = ["Target", "check_inputs", "check_model", "select_scores"]

Target = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None


def check_model(model: object) -> None:
    """Refuse what cannot be explained.

    Raises
    ------
    ModelError
        Not a Module, or one with TorchScript in it.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected the model as a torch.nn.Module, got {type(model).__name__}")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"module '{path}'" if path else "the model"
            raise ModelError(f"{where} is TorchScript, whose operations no rule can reach: give the original Module")


def check_inputs(inputs: Any, model: nn.Module) -> tuple[Tensor, ...]:
    """Give the inputs as a tuple of tensors.

    Raises
    ------
    InputError
        Not a tensor or a tuple of tensors; not floating point; empty; not finite; on another device than the model.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors:
        raise InputError("expected at least one input tensor, got an empty tuple")
    devices = {tensor.device for tensor in [*model.parameters(), *model.buffers()]}
    for position, tensor in enumerate(tensors):
        name = f"input {position}" if len(tensors) > 1 else "the input"
        if not isinstance(tensor, Tensor):
            raise InputError(f"expected {name} as a tensor, got {type(tensor).__name__}")
        if not tensor.is_floating_point():
            raise InputError(f"expected {name} in floating point, got {tensor.dtype}: a signal is a real number")
        if tensor.dim() == 0 or tensor.numel() == 0:
            raise InputError(f"expected {name} as a batch (N, ...) with at least one example, got {_shape(tensor)}")
        if devices and tensor.device not in devices:
            here = ", ".join(sorted(str(device) for device in devices))
            raise InputError(f"expected {name} on the model's device ({here}), got {tensor.device}")
        lost = int((~tensor.detach().isfinite()).sum())
        if lost:
            raise InputError(f"expected {name} finite, got {lost} values that are NaN or infinite")
    return tensors


def select_scores(output: Any, target: Target) -> Tensor:
    """Pick one score an example, as Captum's ``target`` names it.

    Parameters
    ----------
    output : Tensor
        (N, ...), what the model returned.
    target
        None: (N,) or (N, 1) is taken as it is. int or one-element tensor: that class of (N, C). tuple of int:
        that unit of (N, ...). list or 1-D tensor of int: a class for each example; list of tuple: a unit each.

    Returns
    -------
    Tensor
        (N,).

    Raises
    ------
    ModelError
        The model did not return a tensor, or a single number.
    TargetError
        The target is missing, out of range, of the wrong length or type.
    """
    if not isinstance(output, Tensor):
        what = f"a {type(output).__name__}"
        if isinstance(output, Mapping):
            what += f" with the keys {', '.join(map(repr, output))}"
        raise ModelError(
            f"expected the model to return one tensor (N, ...), got {what}: wrap the model to return the scores"
        )
    if output.dim() == 0:
        raise ModelError("expected the model to return one score an example (N, ...), got a single number")
    if target is None:
        if output[0].numel() != 1:
            raise TargetError(f"no target given, and the output {_shape(output)} has more than one score an example")
        return output.reshape(len(output))
    scores: Tensor = output
    units = _units(scores, target)
    while scores.dim() > 1 + len(units[0]) and scores.shape[-1] == 1:  # (N, C, 1, 1) is as good as (N, C)
        scores = scores.squeeze(-1)
    for example, unit in enumerate(units):
        _check_unit(scores, unit, f"target {target!r}" if len(units) == 1 else f"target {example}, {unit!r},")
    each = units * len(scores) if len(units) == 1 else units
    examples = torch.arange(len(scores), device=scores.device)
    index = (examples, *torch.tensor(each, device=scores.device).unbind(1))
    return scores[index]


def _units(output: Tensor, target: Any) -> list[tuple[int, ...]]:
    """Reduce every spelling of a target to a list of index tuples: one for all examples, or one for each."""
    if isinstance(target, Tensor) and target.dim() == 1 and _holds_indices(target):
        target = target.tolist() if len(target) > 1 else int(target)
    if not isinstance(target, list):
        return [_unit(target)]
    if len(target) != len(output):
        raise TargetError(f"expected one target for each of the {len(output)} examples, got {len(target)}")
    return [_unit(item) for item in target]


def _unit(index: Any) -> tuple[int, ...]:
    if isinstance(index, Tensor) and index.numel() == 1 and _holds_indices(index):
        index = int(index)
    indices = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(i, Integral) and not isinstance(i, bool) for i in indices):
        found = f"a tensor {_shape(index)} of {index.dtype}" if isinstance(index, Tensor) else repr(index)
        raise TargetError(f"expected the target as int, tuple, list or a 1-D tensor of int, got {found}")
    return tuple(int(i) for i in indices)


def _holds_indices(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool


def _check_unit(output: Tensor, unit: Sequence[int], name: str) -> None:
    sizes = output.shape[1:]
    if len(unit) != len(sizes):
        raise TargetError(f"{name} has {len(unit)} indices, the output {_shape(output)} needs {len(sizes)}")
    for index, size in zip(unit, sizes, strict=True):
        if not -size <= index < size:
            raise TargetError(f"{name} is out of range: the output has the shape {_shape(output)}")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
