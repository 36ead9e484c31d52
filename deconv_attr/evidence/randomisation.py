"""Cascading parameter randomisation: whether a map changes when the weights that it explains are destroyed.

From the top layer down, one layer after the other gets random weights; after each stage the map is compared with that
of the trained model. With ``M`` the map of an image and ``M_s`` that after stage ``s``::

    signed   = spearman(M, M_s)        absolute = spearman(|M|, |M_s|)

A method that ignores the model scores 1 at every stage. Each weight tensor is drawn from a normal distribution with
its own mean and standard deviation, so that activations keep their size; a tensor of equal values stays as it is.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, section 3 (model parameter randomization test).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..engine.copy_on_write import run_plainly
from ..engine.module_hooks import ModuleHooks
from ..errors import InputError
from .checks import Case, Curve, Finding, check
from .methods import as_method, to_the_end, without_dead_signals
from .similarity import spearman

__all__ = ["Randomisation", "cascade", "parameter_randomisation"]

STAGES = 8  # depths that the check compares: more take longer and tell little more


@dataclass(frozen=True, eq=False)
class Randomisation:
    """The correlations of a cascade.

    Parameters
    ----------
    layers : sequence of str
        For each of S stages the layer down to which weights were random.
    signed, absolute : Tensor
        (S, N), rank correlations with the trained model's map; NaN where one of the two maps is zero everywhere.
    """

    layers: Sequence[str]
    signed: Tensor
    absolute: Tensor


def parameter_randomisation(
    model: nn.Module, method: object, inputs: Tensor, target: Tensor, *, stages: int | None = None, seed: int = 0
) -> Randomisation:
    """Return the correlations of a method's maps with those under random weights, from the top layer down.

    The model has random weights meanwhile, also for other threads; its own are put back, bit for bit, after any exit.

    Parameters
    ----------
    model : nn.Module
        In eval mode.
    method : Method, Attribution or callable
        See :class:`deconv_attr.evidence.methods.Method`.
    inputs : Tensor
        (N, C, H, W).
    target : Tensor
        (N,), the class of each image.
    stages : int or None
        Number of depths at which maps are compared, evenly spread from the first to the last layer; None: all.
    seed : int
        Seed of the random weights.

    Raises
    ------
    InputError
        No module with weights runs, or `stages` is below 1.
    """
    method = as_method(method)
    with without_dead_signals():
        trained = method(model, inputs, target)
        layers = []
        signed = []
        absolute = []
        with cascade(model, inputs, stages, seed) as depths:
            for layer in depths:
                maps = method(model, inputs, target)
                layers.append(layer)
                signed.append(spearman(trained, maps))
                absolute.append(spearman(trained.abs(), maps.abs()))
    return Randomisation(layers, torch.stack(signed), torch.stack(absolute))


@check(
    "parameter randomisation",
    columns={
        "random weights": "rank correlation with the map under random weights, mean of a cascade from the top "
        "layer down; 1: the map ignores the model",
        "random weights, |map|": "the same without signs",
    },
    axes=("random down to", "rank correlation of |map|"),
)
def _check_randomisation(case: Case) -> Finding:
    found = parameter_randomisation(case.model, case.method, case.inputs, case.target, stages=STAGES, seed=case.seed)
    return Finding([found.signed.nanmean(0), found.absolute.nanmean(0)], Curve(found.absolute, found.layers))


@contextmanager
def cascade(model: nn.Module, inputs: Tensor, stages: int | None = None, seed: int = 0) -> Iterator[Iterator[str]]:
    """Yield an iterator over stages: each step sets further layers to random weights and yields the last one's name.

    Parameters
    ----------
    model, inputs, stages, seed
        As for :func:`parameter_randomisation`; the first input is run to record the order of layers.
    """
    layers = _layers(model, inputs)
    count = len(layers)
    if count == 0:
        raise InputError("expected a model with weights to randomise, got one without")
    if stages is not None and stages < 1:
        raise InputError(f"expected stages of at least 1, got {stages}")
    ends = torch.linspace(1, count, min(stages or count, count)).round().int().tolist() if stages != 1 else [count]
    generator = torch.Generator().manual_seed(seed)

    with _own_data([parameter for _, parameters in layers for parameter in parameters]):

        def descend() -> Iterator[str]:
            for start, end in pairwise([0, *ends]):
                for _, parameters in layers[start:end]:
                    for parameter in parameters:
                        parameter.data = _random_like(parameter, generator)
                yield layers[end - 1][0]

        yield descend()


@contextmanager
def _own_data(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Restore the data of parameters on exit; within, data is replaced by other tensors and never written."""
    own = [(parameter, parameter.data) for parameter in parameters]

    def restore() -> None:
        for parameter, data in own:
            parameter.data = data

    try:
        yield
    finally:
        to_the_end(restore)


def _layers(model: nn.Module, inputs: Tensor) -> list[tuple[str, list[nn.Parameter]]]:
    """Return the layers with weights by name, the last to run first; a shared weight belongs to its last user."""
    order = _order(model, inputs[:1])
    names = {module: name for name, module in model.named_modules()}
    ran = set(order)
    seen: set[int] = set()
    layers = []
    for module in dict.fromkeys(reversed(order)):  # by the last of its runs
        own = _weights(module)
        for weights in map(_weights, _silent_parts(module, ran)):
            own += weights if weights and _is_read(model, inputs[:1], weights) else []
        new = [parameter for parameter in own if id(parameter) not in seen]
        seen.update(map(id, new))
        if new:
            layers.append((names[module] or type(module).__name__, new))
    return layers


def _order(model: nn.Module, image: Tensor) -> list[nn.Module]:
    """Return the modules in the order in which they run."""
    order: list[nn.Module] = []
    hooks = ModuleHooks()
    with hooks, hooks:
        for module in model.modules():
            hooks.before(module, lambda module, _: order.append(module))
        run_plainly(model, model, image)
    return order


def _silent_parts(module: nn.Module, ran: set[nn.Module]) -> list[nn.Module]:
    """Return the submodules that never run; their parent may read their weights itself, as attention does."""
    silent = [child for child in module.children() if child not in ran]
    return [part for child in silent for part in (child, *_silent_parts(child, ran))]


def _is_read(model: nn.Module, image: Tensor, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether the scores of an image depend on parameters, by NaN in their stead; not on those of side heads."""
    with _own_data(parameters):
        for parameter in parameters:
            parameter.data = torch.full_like(parameter, torch.nan, requires_grad=False)
        return bool(run_plainly(model, model, image).isnan().any())


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module._parameters.values() if _is_number(parameter)]  # type: ignore[misc]


def _is_number(parameter: nn.Parameter | None) -> bool:
    return parameter is not None and parameter.is_floating_point() and parameter.numel() > 0


def _random_like(parameter: Tensor, generator: torch.Generator) -> Tensor:
    values = parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32))
    drawn = torch.randn(
        parameter.shape, generator=generator, dtype=values.dtype
    )  # on the CPU: the same numbers on every device
    spread, mean = torch.std_mean(values, correction=0)
    return torch.empty_like(parameter, requires_grad=False).copy_(drawn.to(values.device) * spread + mean)
