"""A cascade of random weights: from the last layer that runs to the first, one after the other loses what it learnt.

Filters and matrices are drawn as at initialisation, normally around 0, with their own size (root mean square); biases
and the factors of norms with their own mean and deviation. So activations keep their size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.batches import of_examples
from ..engine.copy_on_write import run_plainly
from ..engine.module_hooks import ModuleHooks
from ..engine.threads import replace_weights
from ..engine.undo import Undo
from ..errors import InputError

__all__ = ["cascade", "ends_of_stages", "layers_from_the_top"]


def ends_of_stages(count: int, stages: int | None) -> list[int]:
    """Return the numbers of layers that are random at each stage."""
    if count == 0:
        raise InputError("expected a model with weights to randomise, got one without")
    if stages is not None and stages < 1:
        raise InputError(f"expected stages of at least 1, got {stages}")
    if stages == 1:
        return [count]
    ends: list[int] = torch.linspace(1, count, min(stages or count, count)).round().int().tolist()
    return ends


def cascade(
    layers: Sequence[tuple[str, list[nn.Parameter]]], ends: Sequence[int], generator: torch.Generator, undo: Undo
) -> Iterator[str]:
    """Set further layers to random weights at each stage, and yield the last one's name; one thread at a time.

    Parameters
    ----------
    layers : sequence
        Names and parameters, from :func:`layers_from_the_top`.
    ends : sequence of int
        The numbers of layers that are random at each stage.
    generator : torch.Generator
        Of the random weights.
    undo : Undo
        Where it is noted that the weights are put back.
    """
    replace_weights([parameter for _, parameters in layers for parameter in parameters], undo)
    return _descend(layers, ends, generator)


def _descend(
    layers: Sequence[tuple[str, list[nn.Parameter]]], ends: Sequence[int], generator: torch.Generator
) -> Iterator[str]:
    for start, end in pairwise([0, *ends]):
        for _, parameters in layers[start:end]:
            for parameter in parameters:
                parameter.data = _random_like(parameter, generator)
        yield layers[end - 1][0]


def layers_from_the_top(
    model: nn.Module, inputs: Tensor, additional_forward_args: tuple[Any, ...] = ()
) -> list[tuple[str, list[nn.Parameter]]]:
    """Return the layers with weights by name, the last to run first; a shared weight belongs to its last user.

    The first image is run to record the order.
    """
    given = (inputs[:1], *of_examples(additional_forward_args, slice(0, 1), len(inputs)))
    order = _order(model, given)
    names = {module: name for name, module in model.named_modules()}
    ran = set(order)
    seen: set[int] = set()
    layers = []
    for module in dict.fromkeys(reversed(order)):  # by the last of its runs
        own = _weights(module)
        for weights in map(_weights, _silent_parts(module, ran)):
            own += weights if weights and _is_read(model, given, weights) else []
        new = [parameter for parameter in own if id(parameter) not in seen]
        seen.update(map(id, new))
        if new:
            layers.append((names[module] or type(module).__name__, new))
    return layers


def _order(model: nn.Module, given: tuple[Any, ...]) -> list[nn.Module]:
    """Return the modules in the order in which they run."""
    order: list[nn.Module] = []
    hooks = ModuleHooks()
    with hooks, hooks:
        for module in model.modules():
            hooks.before(module, lambda module, _: order.append(module))
        run_plainly(model, model, *given)
    return order


def _silent_parts(module: nn.Module, ran: set[nn.Module]) -> list[nn.Module]:
    """Return the submodules that never run; their parent may read their weights itself, as attention does."""
    silent = [child for child in module.children() if child not in ran]
    return [part for child in silent for part in (child, *_silent_parts(child, ran))]


def _is_read(model: nn.Module, given: tuple[Any, ...], parameters: Sequence[nn.Parameter]) -> bool:
    """Whether the scores of an image depend on parameters, by NaN in their stead; not on those of side heads."""
    undo = Undo()
    with undo, undo:
        replace_weights(parameters, undo)
        for parameter in parameters:
            parameter.data = torch.full_like(parameter, torch.nan, requires_grad=False)
        return bool(run_plainly(model, model, *given).isnan().any())


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module._parameters.values() if _is_number(parameter)]  # type: ignore[misc]


def _is_number(parameter: nn.Parameter | None) -> bool:
    return parameter is not None and parameter.is_floating_point() and parameter.numel() > 0


def _random_like(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Return normal numbers of a tensor's size: filters and matrices around 0, vectors around their own mean."""
    values = parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32))
    # On the CPU: the same numbers on every device.
    drawn = torch.randn(parameter.shape, generator=generator, dtype=values.dtype).to(values.device)
    spread, mean = torch.std_mean(values, correction=0)
    if values.dim() > 1:
        spread, mean = values.square().mean().sqrt(), torch.zeros_like(mean)
    return torch.empty_like(parameter, requires_grad=False).copy_(drawn * spread + mean)
