"""Whether a map depends on small noise in the image: sensitivity."""

from __future__ import annotations

import torch
from captum.metrics import sensitivity_max as captums_sensitivity
from torch import Tensor, nn

from .checks import Case, Finding, check
from .faithfulness import SAMPLES, check_count, perturbed_rows, split_rows
from .methods import as_method, without_dead_signals
from .similarity import is_zero

__all__ = ["sensitivity_max"]


def sensitivity_max(
    model: nn.Module,
    method: object,
    inputs: Tensor,
    target: Tensor,
    *,
    radius: float = 0.02,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Tensor:
    """Return the largest change of the map under small noise: Captum's ``sensitivity_max``.

    ``max_d |M(x + d) - M(x)| / |M(x)|`` over `samples` of ``d``, uniform between `-radius` and `radius`.

    Parameters
    ----------
    model, method, inputs, target
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

    Source: Yeh et al. 2019, definition 2.2.
    """
    check_count("samples", samples)
    method = as_method(method)
    generator = torch.Generator().manual_seed(seed)

    # In float64, where no square of a map overflows or vanishes.
    def explain(images: Tensor | tuple[Tensor], target: Tensor) -> Tensor | tuple[Tensor]:
        if isinstance(images, tuple):  # Captum passes the images in a tuple, and those with noise as a tensor
            return (method(model, images[0], target).double().contiguous(),)
        return (
            method(model, images, target.expand(len(images))).double().contiguous()
        )  # a single target is not repeated

    def perturb(images: Tensor, _: float) -> Tensor:
        drawn = torch.rand(images.shape, generator=generator, dtype=torch.float64).to(images)
        return images + radius * (2 * drawn - 1)

    with without_dead_signals():
        zero = is_zero(method(model, inputs, target))
        changes = [
            captums_sensitivity(
                explain,
                part,
                perturb,
                radius,
                samples,
                max_examples_per_batch=perturbed_rows(part, samples),
                target=target[rows],
            )
            for rows, part in split_rows(inputs)
        ]
    return torch.where(zero, torch.nan, torch.cat(changes)).double()


@check("sensitivity", columns={"sensitivity": "largest relative change of the map under small noise; 0: none"})
def _check_sensitivity(case: Case) -> Finding:
    return Finding([sensitivity_max(case.model, case.method, case.inputs, case.target, seed=case.seed)])
