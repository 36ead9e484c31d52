"""Whether a map depends on small noise in the image: sensitivity."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.base import as_tuple
from ..engine.restore import collect_dead_signals
from ..engine.undo import Undo
from .checks import Case, Finding, Question, check
from .faithfulness import SAMPLES, check_count
from .methods import as_method
from .similarity import is_zero

__all__ = ["sensitivity_max"]


def sensitivity_max(
    model: nn.Module,
    method: object,
    inputs: Tensor,
    target: Tensor | None,
    *,
    additional_forward_args: Any = None,
    maps: Tensor | None = None,
    radius: float = 0.02,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Tensor:
    """Return the largest change of the map under small noise, as Captum's ``sensitivity_max``.

    ``max_d |M(x + d) - M(x)| / |M(x)|`` over `samples` of ``d``, uniform between `-radius` and `radius`.

    Parameters
    ----------
    model, method, inputs, target, additional_forward_args, maps
        As for :func:`parameter_randomisation`.
    radius : float
        Largest noise, in the units of the inputs.
    samples : int
        Number of perturbations of each image.
    seed : int
        Seed of the noise.

    Returns
    -------
    Tensor
        (N,); NaN where the map is zero everywhere.

    Raises
    ------
    InputError
        `samples` is below 1.

    Source
    ------
    Yeh et al. 2019, definition 2.2.
    """
    check_count("samples", samples)
    method, others = as_method(method), as_tuple(additional_forward_args)
    generator = torch.Generator().manual_seed(seed)
    undo = Undo()
    with undo, undo:
        collect_dead_signals(undo)  # none is told: a map that is zero has no number
        maps = method(model, inputs, target, others) if maps is None else maps
        own = maps.double()  # in which no square of a map overflows or vanishes
        largest = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
        for _ in range(samples):
            drawn = torch.rand(inputs.shape, generator=generator, dtype=torch.float64).to(inputs)
            changed = method(model, inputs + radius * (2 * drawn - 1), target, others).double()
            largest = torch.maximum(largest, (changed - own).flatten(1).norm(dim=1) / own.flatten(1).norm(dim=1))
    return torch.where(is_zero(maps), torch.nan, largest)


@check(
    "sensitivity",
    columns={"sensitivity": "largest relative change of the map under small noise; 0: none"},
    question=Question("Is it stable under small noise?", "sensitivity", yes=(0, 0.5), no=(1, inf)),
    explains=SAMPLES,
)
def _check_sensitivity(case: Case) -> Finding:
    found = sensitivity_max(
        case.model,
        case.method,
        case.inputs,
        case.target,
        additional_forward_args=case.additional_forward_args,
        maps=case.maps,
        seed=case.seed,
    )
    return Finding([found])
