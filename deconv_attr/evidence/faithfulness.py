"""Whether the score depends on what a map marks: deletion, insertion and infidelity, by running changed images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from captum.metrics import infidelity as captums_infidelity
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from ..engine.restore import run_plainly
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
    """Follow the class's probability while pixels are taken away, those first at which the map is strongest.

    A pixel's strength is ``max_c |M_c|``; what is taken away gets the image's mean colour. Equally strong pixels go in
    a random order.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes), or probabilities.
    maps : Tensor
        (N, C, H, W) or (N, 1, H, W).
    inputs : Tensor
        (N, C, H, W).
    target : Tensor
        (N,), the class of each.
    steps : int
        In how many equal parts the pixels are taken.
    seed : int
        Of the order of equals.

    Returns
    -------
    Tensor
        (steps + 1, N): the probability with 0, 1/steps, ..., all pixels gone. NaN where the map is zero everywhere.
        Its :func:`area` is the usual score; the lower, the better.

    Source: Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation", BMVC 2018, section 4.
    """
    mean = inputs.mean((2, 3), keepdim=True).expand_as(inputs)
    return _curve(model, maps, inputs, mean, target, steps, seed)


def insertion(
    model: nn.Module, maps: Tensor, inputs: Tensor, target: Tensor, *, steps: int = STEPS, seed: int = 0
) -> Tensor:
    """Follow the class's probability while a blurred image gets its pixels back, the strongest first.

    All else is as for :func:`deletion`; of the area, the higher, the better. The blur is Gaussian, 11 pixels wide,
    with a standard deviation of 5 pixels.
    """
    height, width = inputs.shape[2:]
    window = [min(BLUR_WINDOW, (size + 1) // 2 * 2 - 1) for size in (width, height)]
    blurred = gaussian_blur(inputs, window, [BLUR_DEVIATION, BLUR_DEVIATION])
    return _curve(model, maps, blurred, inputs, target, steps, seed)


def area(curve: Tensor) -> Tensor:
    """Integrate curves (steps + 1, N) over the share of pixels, by the trapezoidal rule: (N,), between 0 and 1."""
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
    """Compare what maps say of small changes with what these do: Captum's ``infidelity``, over that of an empty map.

    With ``f`` the score, ``I`` normal noise and ``b`` the factor that suits the map best, for a map has no unit::

        E[(b <I, M> - (f(x) - f(x - I)))^2] / E[(f(x) - f(x - I))^2]

    1: the map says nothing of what noise does; 0: all. A linear model's saliency has 0. As ``b`` is fitted to the same
    noise, a map of no meaning has about ``1 - 1 / samples``.

    Parameters
    ----------
    model, maps, inputs, target, seed
        As for :func:`deletion`; the model's scores are not made probabilities.
    noise : float
        The standard deviation of the noise, in that of the image.
    samples : int
        How many perturbations of each image.

    Returns
    -------
    Tensor
        (N,); NaN where the map is zero everywhere, the image has one colour, or the score does not change.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, definition 2.1, with the
    optimal scaling of its section 4.1.
    """
    check_count("samples", samples)
    # A map has no unit: at its own scale no square of it overflows, or vanishes.
    full = (maps / maps.abs().amax((1, 2, 3), keepdim=True)).expand_as(inputs).to(inputs.dtype)

    def forward(images: Tensor) -> Tensor:
        scores: Tensor = run_plainly(model, model, images)
        return scores

    def compared(given: Tensor, normalize: bool) -> Tensor:
        perturb = _noisy(noise, seed)
        parts = [
            captums_infidelity(
                forward,
                perturb,
                part,
                given[rows],
                target=target[rows],
                n_perturb_samples=samples,
                max_examples_per_batch=perturbed_rows(part, samples),
                normalize=normalize,
            )
            for rows, part in split_rows(inputs)
        ]
        return torch.cat(parts)

    found, empty = compared(full, True), compared(torch.zeros_like(full), False)
    flat = inputs.amax((1, 2, 3)) == inputs.amin((1, 2, 3))  # its noise is rounding
    return torch.where(is_zero(maps) | flat | (empty == 0), torch.nan, found / empty).clamp(0, 1).double()


@check(
    "infidelity",
    columns={"infidelity": "what the map leaves unexplained of the score's change under noise; 0: nothing, 1: all"},
)
def _check_infidelity(case: Case) -> Finding:
    return Finding([infidelity(case.model, case.maps, case.inputs, case.target, seed=case.seed)])


def probabilities(scores: Tensor) -> Tensor:
    """Return the probabilities that a model's scores (N, classes) stand for.

    That is their softmax, or they themselves where the model ends in a softmax already: are positive, and sum to 1.
    Of a single class it is their sigmoid, or they themselves where all lie between 0 and 1.
    """
    if scores.shape[1] == 1:
        return scores if bool(((scores >= 0) & (scores <= 1)).all()) else scores.sigmoid()
    sums = scores.sum(1)
    done = bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    return scores if done else scores.softmax(1)


def scores_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Run a model, a part of the inputs at a time; neither changes."""
    return torch.cat([run_plainly(model, model, part) for _, part in split_rows(inputs)])


def _curve(
    model: nn.Module, maps: Tensor, before: Tensor, after: Tensor, target: Tensor, steps: int, seed: int
) -> Tensor:
    """Follow the probability while the pixels of one image take the place of another's."""
    check_count("steps", steps)
    places = _in_order_of_strength(maps, seed)
    pixels = places.shape[1]
    scores = []
    for step in range(steps + 1):
        taken = (places < round(step * pixels / steps)).view(len(maps), 1, *maps.shape[2:])
        scores.append(scores_of(model, torch.where(taken, after, before)))
    chances = probabilities(torch.cat(scores)).view(steps + 1, len(maps), -1)  # of all steps alike
    curve = chances[:, torch.arange(len(maps)), target]
    return torch.where(is_zero(maps), torch.nan, curve.double())


def _in_order_of_strength(maps: Tensor, seed: int) -> Tensor:
    """Give the place of each pixel in the order of strength, (N, H W)."""
    heat = strength(maps).flatten(1)
    mixed = torch.randperm(heat.shape[1], generator=torch.Generator().manual_seed(seed)).to(heat.device)
    order = mixed[heat[:, mixed].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1)


def _noisy(noise: float, seed: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Make Captum's perturbation: the noise, and the image without it."""
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
