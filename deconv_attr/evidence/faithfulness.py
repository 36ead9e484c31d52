"""Whether the score depends on what a map marks: deletion, insertion and infidelity, by running changed images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from captum.metrics import infidelity as captums_infidelity
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from ..engine.copy_on_write import run_plainly
from ..errors import InputError
from .checks import Case, Curve, Finding, check
from .similarity import is_zero, strength

__all__ = [
    "SAMPLES",
    "area",
    "check_count",
    "deletion",
    "infidelity",
    "insertion",
    "perturbed_rows",
    "probabilities",
    "scores_of",
    "split_rows",
]

STEPS = 16  # parts in which pixels are deleted or inserted
SAMPLES = 10  # perturbations of an image
ROWS = 32  # images that run at a time
BLUR_WINDOW = 11  # pixels, as RISE's
BLUR_DEVIATION = 5.0  # pixels, as RISE's


def deletion(
    model: nn.Module, maps: Tensor, inputs: Tensor, target: Tensor, *, steps: int = STEPS, seed: int = 0
) -> Tensor:
    """Return the class's probability while pixels are deleted, those first at which the map is strongest.

    A pixel's strength is ``max_c |M_c|``; deleted pixels get the image's mean colour. Equally strong pixels are
    deleted in random order.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes), or probabilities.
    maps : Tensor
        (N, C, H, W) or (N, 1, H, W).
    inputs : Tensor
        (N, C, H, W).
    target : Tensor
        (N,), the class of each image.
    steps : int
        Number of equal parts in which the pixels are deleted.
    seed : int
        Seed of the order of equally strong pixels.

    Returns
    -------
    Tensor
        (steps + 1, N): the probability with 0, 1/steps, ..., all pixels deleted; NaN where the map is zero everywhere.
        Its :func:`area` is the usual score; the lower, the better.

    Source: Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation", BMVC 2018, section 4.
    """
    mean = inputs.mean((2, 3), keepdim=True).expand_as(inputs)
    return _curve(model, maps, inputs, mean, target, steps, seed)


def insertion(
    model: nn.Module, maps: Tensor, inputs: Tensor, target: Tensor, *, steps: int = STEPS, seed: int = 0
) -> Tensor:
    """Return the class's probability while a blurred image gets its pixels back, the strongest first.

    All else is as for :func:`deletion`; the higher the area, the better. The blur is Gaussian, 11 pixels wide, with a
    standard deviation of 5 pixels.
    """
    height, width = inputs.shape[2:]
    window = [min(BLUR_WINDOW, (size + 1) // 2 * 2 - 1) for size in (width, height)]
    blurred = gaussian_blur(inputs, window, [BLUR_DEVIATION, BLUR_DEVIATION])
    return _curve(model, maps, blurred, inputs, target, steps, seed)


def area(curve: Tensor) -> Tensor:
    """Return the area (N,) below curves (steps + 1, N) over the share of pixels, by the trapezoidal rule."""
    return torch.trapezoid(curve, dim=0) / (len(curve) - 1)


@check(
    "deletion",
    columns={"deletion": "mean probability of the class while the strongest pixels go; low: the map finds them"},
    axes=("share of pixels taken away", "probability of the class"),
)
def _check_deletion(case: Case) -> Finding:
    return _area_of(deletion(case.model, case.maps, case.inputs, case.target, seed=case.seed))


@check(
    "insertion",
    columns={
        "insertion": "mean probability of the class while the strongest pixels come back; high: the map finds them"
    },
    axes=("share of pixels back", "probability of the class"),
)
def _check_insertion(case: Case) -> Finding:
    return _area_of(insertion(case.model, case.maps, case.inputs, case.target, seed=case.seed))


def _area_of(curve: Tensor) -> Finding:
    return Finding([area(curve)], Curve(curve, torch.linspace(0, 1, len(curve)).tolist()))


def infidelity(
    model: nn.Module,
    maps: Tensor,
    inputs: Tensor,
    target: Tensor,
    *,
    noise: float = 0.1,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Tensor:
    """Return what maps leave unexplained of the score's change under noise: Captum's ``infidelity`` over a zero map's.

    With ``f`` the score, ``I`` normal noise and ``b`` the factor that fits the map best, since a map has no unit::

        E[(b <I, M> - (f(x) - f(x - I)))^2] / E[(f(x) - f(x - I))^2]

    1: the map explains nothing of the change; 0: all of it, as a linear model's saliency does. Since ``b`` is fitted to
    the same noise, a random map has about ``1 - 1 / samples``.

    Parameters
    ----------
    model, maps, inputs, target, seed
        As for :func:`deletion`; the score is used as it is, not as a probability.
    noise : float
        Standard deviation of the noise, in standard deviations of the image.
    samples : int
        Number of perturbations of each image.

    Returns
    -------
    Tensor
        (N,); NaN where the map is zero everywhere, the image has one colour, or the score does not change.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, definition 2.1, with the
    optimal scaling of its section 4.1.
    """
    check_count("samples", samples)
    # A map has no unit: scaled to 1 none of its squares overflows or vanishes.
    full = (maps / maps.abs().amax((1, 2, 3), keepdim=True)).expand_as(inputs).to(inputs.dtype)

    def forward(images: Tensor) -> Tensor:
        scores: Tensor = run_plainly(model, model, images)
        return scores

    def infidelity_of(attributions: Tensor, normalize: bool) -> Tensor:
        perturb = _perturbation(noise, seed)
        parts = [
            captums_infidelity(
                forward,
                perturb,
                part,
                attributions[rows],
                target=target[rows],
                n_perturb_samples=samples,
                max_examples_per_batch=perturbed_rows(part, samples),
                normalize=normalize,
            )
            for rows, part in split_rows(inputs)
        ]
        return torch.cat(parts)

    of_maps = infidelity_of(full, True)
    of_zero = infidelity_of(torch.zeros_like(full), False)
    flat = inputs.amax((1, 2, 3)) == inputs.amin((1, 2, 3))  # one colour: the noise is rounding only
    return torch.where(is_zero(maps) | flat | (of_zero == 0), torch.nan, of_maps / of_zero).clamp(0, 1).double()


@check(
    "infidelity",
    columns={"infidelity": "what the map leaves unexplained of the score's change under noise; 0: nothing, 1: all"},
)
def _check_infidelity(case: Case) -> Finding:
    return Finding([infidelity(case.model, case.maps, case.inputs, case.target, seed=case.seed)])


def probabilities(scores: Tensor) -> Tensor:
    """Return a model's scores (N, classes) as probabilities.

    Scores that are positive and sum to 1 are returned as they are; of others the softmax. Of a single class, scores
    between 0 and 1 are returned as they are; of others the sigmoid.
    """
    if scores.shape[1] == 1:
        return scores if bool(((scores >= 0) & (scores <= 1)).all()) else scores.sigmoid()
    sums = scores.sum(1)
    normalised = bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    return scores if normalised else scores.softmax(1)


def scores_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a model's scores, a part of the inputs at a time; neither is changed."""
    return torch.cat([run_plainly(model, model, part) for _, part in split_rows(inputs)])


def _curve(
    model: nn.Module, maps: Tensor, before: Tensor, after: Tensor, target: Tensor, steps: int, seed: int
) -> Tensor:
    """Return the probability (steps + 1, N) while pixels of `after` replace those of `before`, the strongest first."""
    check_count("steps", steps)
    positions = _positions_by_strength(maps, seed)
    pixels = positions.shape[1]
    scores = []
    for step in range(steps + 1):
        replaced = (positions < round(step * pixels / steps)).view(len(maps), 1, *maps.shape[2:])
        scores.append(scores_of(model, torch.where(replaced, after, before)))
    # All steps at once: whether scores are probabilities already is decided for all steps alike.
    found = probabilities(torch.cat(scores)).view(steps + 1, len(maps), -1)
    curve = found[:, torch.arange(len(maps)), target]
    return torch.where(is_zero(maps), torch.nan, curve.double())


def _positions_by_strength(maps: Tensor, seed: int) -> Tensor:
    """Return the position of each pixel in the order of strength, (N, H W)."""
    heat = strength(maps).flatten(1)
    shuffled = torch.randperm(heat.shape[1], generator=torch.Generator().manual_seed(seed)).to(heat.device)
    order = shuffled[heat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1)


def _perturbation(noise: float, seed: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return Captum's perturbation, a function from images to the noise and the images without it."""
    generator = torch.Generator().manual_seed(seed)

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        drawn = torch.randn(images.shape, generator=generator, dtype=torch.float64).to(images)
        change = drawn * noise * images.std((1, 2, 3), keepdim=True, correction=0)
        return change, images - change

    return perturb


def split_rows(inputs: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the images in parts of `ROWS`, each with its slice: Captum runs all it is given together, several times."""
    for start in range(0, len(inputs), ROWS):
        rows = slice(start, start + ROWS)
        yield rows, inputs[rows]


def perturbed_rows(images: Tensor, samples: int) -> int:
    """Return how many perturbed images run together; Captum expects a multiple of the images."""
    return len(images) * min(samples, max(1, ROWS // len(images)))


def check_count(what: str, number: int) -> None:
    """Refuse a number below 1."""
    if number < 1:
        raise InputError(f"expected {what} of at least 1, got {number}")
