"""Which scores or units are meant: Captum's ``target`` and ``neuron_selector``, and the signal that starts there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, ModelError, TargetError, shown
from .scored_model import described, reading_of

__all__ = ["Selector", "Target", "first_signal", "select_scores", "select_units"]

Target = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None
Selector = int | tuple[int | slice, ...] | list[int] | list[tuple[int, ...]] | Tensor | Callable[[Any], Tensor]


def select_scores(output: Any, target: Target, count: int | None = None) -> Tensor:
    """Pick one score an example, as Captum's ``target`` names it.

    Parameters
    ----------
    output : Tensor
        (N, ...), what the model returned.
    target
        None: (N,) or (N, 1) is taken as it is. int or one-element tensor: that class of (N, C). tuple of int:
        that unit of (N, ...). list or 1-D tensor of int: a class for each example; list of tuple: a unit each.
    count : int or None
        N, where that is known.

    Returns
    -------
    Tensor
        (N,).

    Raises
    ------
    ModelError
        The model did not return a tensor, or a single number, or another number of rows than there are examples.
    TargetError
        The target is missing, out of range, of the wrong length or type.
    """
    if not isinstance(output, Tensor):
        raise ModelError(
            f"expected the model to return one tensor (N, ...), got {described(output)}: say what the scores are, as "
            f"ScoredModel(model, lambda output: {reading_of(output)})"
        )
    if output.dim() == 0:
        raise ModelError("expected the model to return one score an example (N, ...), got a single number")
    if count is not None and len(output) != count and output.numel() > 1:  # one number may be of all examples
        alone = "; one example alone is x[None]" if output.dim() == 1 else ""
        raise ModelError(
            f"expected the model to return one row of scores for each of the {count} examples, got {len(output)} rows "
            f"{_shape(output)}: say what the scores are, as ScoredModel(model, lambda output: ...){alone}"
        )
    if target is None:
        if output[0].numel() != 1:
            raise TargetError(f"no target given, and the output {_shape(output)} has more than one score an example")
        return output.reshape(len(output))
    return _pick(output, _units(output, target, "target"), "target")


def select_units(output: Any, selector: Selector, count: int) -> Tensor:
    """Pick the units of a layer that Captum's ``neuron_selector`` names.

    Parameters
    ----------
    output : Tensor
        (N, ...), what the layer returned; a callable may be given anything.
    selector
        int: on a layer of feature maps (N, maps, ...) that map's strongest unit in each example; on one of vectors
        (N, C) that unit. tuple of int: that unit. tuple with slices: all the units that it covers. list or 1-D
        tensor: one of these for each example. callable: ``selector(output)`` gives (N,), or one number for all.
    count : int
        N, of the inputs.

    Returns
    -------
    Tensor
        (N,), or with slices (N, units); (1,) if a callable gives one number for all examples.

    Raises
    ------
    InputError
        The layer's output is not one tensor, or has not one row for each example.
    TargetError
        The selector is out of range, of the wrong length or type, or the callable gives another shape.
    """
    if callable(selector):
        return _checked_scores(selector(output), count)
    if not isinstance(output, Tensor):
        raise InputError(
            f"expected the layer to return one tensor (N, ...), got a {type(output).__name__}: "
            "give a neuron_selector that is a function of it"
        )
    if output.shape[:1] != (count,):
        raise InputError(
            f"expected one row for each of the {count} examples in the output of the layer, got the shape "
            f"{_shape(output)}: give a neuron_selector that is a function of it"
        )
    if isinstance(selector, tuple) and any(isinstance(index, slice) for index in selector):
        return _slices(output, selector)
    units = _units(output, selector, "neuron_selector")
    if output.dim() > 2 and all(len(unit) == 1 for unit in units):
        return _strongest(output, units)
    return _pick(output, units, "neuron_selector")


def _checked_scores(scores: Any, count: int) -> Tensor:
    if isinstance(scores, Tensor) and scores.is_floating_point() and (scores.shape == (count,) or scores.numel() == 1):
        return scores.reshape(-1)
    found = _shape(scores) if isinstance(scores, Tensor) else type(scores).__name__
    raise TargetError(
        f"expected the neuron_selector to return one number an example (N,) with N = {count}, or one for all, got "
        f"{found}"
    )


def first_signal(scores: Tensor, start: str, finite: bool = False) -> Tensor:
    """Return the signal that starts at some scores: 1, or as the paper has it the activation.

    Parameters
    ----------
    scores : Tensor
        (N,) or (N, units).
    start : {"one", "activation"}
        Which of the two.
    finite : bool
        Whether to start with 1 where the activation is no number, to see which call loses the signal.

    Raises
    ------
    InputError
        `start` is neither "one" nor "activation".
    """
    if start not in ("one", "activation"):
        raise InputError(f"expected start as 'one' or 'activation', got {shown(start)}")
    if start == "one":
        return torch.ones_like(scores)
    return scores.detach().where(scores.isfinite(), 1.0) if finite else scores.detach()


def _slices(output: Tensor, selector: tuple[int | slice, ...]) -> Tensor:
    if len(selector) > output.dim() - 1:
        raise TargetError(
            f"neuron_selector {shown(selector)} has {len(selector)} indices, the output {_shape(output)} has "
            f"{output.dim() - 1}"
        )
    for index, size in zip(selector, output.shape[1:], strict=False):
        if not (_is_slice(index) if isinstance(index, slice) else _is_index(index)):
            raise TargetError(
                "expected a neuron_selector with slices as a tuple of these, with steps of at least 1, and of int, got "
                f"{shown(index)} in it"
            )
        if not isinstance(index, slice) and not -size <= index < size:
            raise TargetError(
                f"neuron_selector {shown(selector)} is out of range: the output has the shape {_shape(output)}"
            )
    picked: tuple[Any, ...] = (slice(None), *selector)
    selected = output[picked].flatten(1)
    if selected.shape[1] == 0:
        raise TargetError(f"neuron_selector {shown(selector)} covers no unit of the output {_shape(output)}")
    return selected


def _strongest(output: Tensor, maps: list[tuple[int, ...]]) -> Tensor:
    """Find each example's strongest unit of its map; if several are equal, the first."""
    each = maps * len(output) if len(maps) == 1 else maps
    for (feature_map,) in each:
        if not -output.shape[1] <= feature_map < output.shape[1]:
            raise TargetError(
                f"feature map {shown(feature_map)} is out of range: the output has the shape {_shape(output)}"
            )
    examples = torch.arange(len(output), device=output.device)
    planes = output[examples, torch.tensor(each, device=output.device).flatten()].flatten(1)
    return planes[examples, planes.detach().argmax(1)]


def _pick(scores: Tensor, units: list[tuple[int, ...]], name: str) -> Tensor:
    while scores.dim() > 1 + len(units[0]) and scores.shape[-1] == 1:  # (N, C, 1, 1) is as good as (N, C)
        scores = scores.squeeze(-1)
    for example, unit in enumerate(units):
        index = shown(unit[0] if len(unit) == 1 else unit)
        _check_unit(scores, unit, f"{name} {index}" if len(units) == 1 else f"{name} {example}, {shown(unit)},")
    if len(units) == 1:
        picked: tuple[Any, ...] = (slice(None), *units[0])
    else:
        examples = torch.arange(len(scores), device=scores.device)
        picked = (examples, *torch.tensor(units, device=scores.device).unbind(1))
    return scores[picked]


def _units(output: Tensor, target: Any, name: str) -> list[tuple[int, ...]]:
    """Reduce every spelling of a target to a list of index tuples: one for all examples, or one for each."""
    if isinstance(target, Tensor) and target.dim() == 1 and _holds_indices(target):
        target = target.tolist() if len(target) != 1 else int(target)
    if not isinstance(target, list):
        return [_unit(target, name)]
    if len(target) != len(output):
        raise TargetError(f"expected one {name} for each of the {len(output)} examples, got {len(target)}")
    return [_unit(item, name) for item in target]


def _unit(index: Any, name: str) -> tuple[int, ...]:
    if isinstance(index, Tensor) and index.numel() == 1 and _holds_indices(index):
        index = int(index)
    indices = index if isinstance(index, tuple) else (index,)
    if not all(map(_is_index, indices)):
        found = f"a tensor {_shape(index)} of {index.dtype}" if isinstance(index, Tensor) else shown(index)
        raise TargetError(f"expected the {name} as int, tuple, list or a 1-D tensor of int, got {found}")
    return tuple(int(i) for i in indices)


def _is_index(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_slice(value: slice) -> bool:
    """Whether tensors take a slice: of whole numbers, upwards."""
    bounds = (value.start, value.stop, value.step)
    return all(bound is None or _is_index(bound) for bound in bounds) and (value.step is None or value.step >= 1)


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
