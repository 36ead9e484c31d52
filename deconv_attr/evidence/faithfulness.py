"""Whether the score depends on what a map marks: deletion, insertion and infidelity, by running changed images."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attribution.base import as_tuple
from ..attribution.batches import of_examples
from ..errors import InputError
from .checks import Case, Curve, Finding, Question, check
from .methods import Ranking, check_ranking
from .outputs import Outputs, kind_of_outputs, parts, probabilities, scores_of
from .similarity import is_zero, ranked

__all__ = ["SAMPLES", "area", "check_count", "deletion", "infidelity", "insertion"]

STEPS = 16  # parts in which pixels are deleted or inserted
SAMPLES = 10  # perturbations of an image
BLUR_WINDOW = 11  # pixels, as RISE's
BLUR_DEVIATION = 5.0  # pixels, as RISE's
NOISE = 0.1  # standard deviations of the image


def deletion(
    model: nn.Module,
    maps: Tensor,
    inputs: Tensor,
    target: Tensor | None,
    *,
    additional_forward_args: Any = None,
    rank_by: Ranking = "value",
    outputs: Outputs | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> Tensor:
    """Return the class's probability while pixels are deleted, the first in the map's ranking first.

    Deleted pixels get the image's mean colour. Equally ranked pixels are deleted in random order.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes), or one score for each image, (N,).
    maps : Tensor
        (N, C, ...) or (N, 1, ...).
    inputs : Tensor
        (N, C, ...).
    target : Tensor or None
        (N,), the class of each image; None for a model that returns one score.
    additional_forward_args
        What the model is given beside the images, as for Captum's methods.
    rank_by : {"value", "size"}
        ``"value"``: by the sum over channels, for maps of contributions; pixels that lower the score go last.
        ``"size"``: by the largest size over channels, for gradients, guided backprop and the deconvnet; see
        :class:`Method`.
    outputs : str, optional
        What the model returns, one of :data:`OUTPUTS`, by default as :func:`kind_of_outputs` sees it; the curve of
        "values" is of the score itself.
    steps : int
        Number of equal parts in which the pixels are deleted.
    seed : int
        Seed of the order of equally ranked pixels.

    Returns
    -------
    Tensor
        (steps + 1, N): the probability with 0, 1/steps, ..., all pixels deleted; NaN where the map is zero everywhere.
        Its :func:`area` is the usual score; the lower, the better.

    Raises
    ------
    InputError
        There is no such ranking, or no such outputs; `steps` is below 1.

    Source
    ------
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation", BMVC 2018, section 4. Quantus'
    ``PixelFlipping`` is the same for images of one channel with ``perturb_baseline="mean"``; of more channels it flips
    each value of a pixel for itself.
    """
    mean = inputs.flatten(2).mean(2).view(*inputs.shape[:2], *[1] * (inputs.dim() - 2)).expand_as(inputs)
    others = as_tuple(additional_forward_args)
    return _curve(model, maps, inputs, (inputs, mean), target, others, rank_by, outputs, steps, seed)


def insertion(
    model: nn.Module,
    maps: Tensor,
    inputs: Tensor,
    target: Tensor | None,
    *,
    additional_forward_args: Any = None,
    rank_by: Ranking = "value",
    outputs: Outputs | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> Tensor:
    """Return the class's probability while a blurred image gets its pixels back, the first in the map's ranking first.

    The higher the area, the better. The blur is Gaussian, 11 pixels wide, with a standard deviation of 5 pixels.

    Parameters
    ----------
    model, maps, inputs, target, additional_forward_args, rank_by, outputs, steps, seed
        As for :func:`deletion`.

    Returns
    -------
    Tensor
        (steps + 1, N): the probability with 0, 1/steps, ..., all pixels back; NaN where the map is zero everywhere.

    Raises
    ------
    InputError
        As for :func:`deletion`.

    Source
    ------
    Petsiuk et al. 2018, section 4.
    """
    others = as_tuple(additional_forward_args)
    return _curve(model, maps, inputs, (_blurred(inputs), inputs), target, others, rank_by, outputs, steps, seed)


def area(curve: Tensor) -> Tensor:
    """Return the area below curves, by the trapezoidal rule: the mean of a curve over the share of pixels.

    Parameters
    ----------
    curve : Tensor
        (steps + 1, N), as :func:`deletion` returns it.

    Returns
    -------
    Tensor
        (N,), in the unit of the curve.
    """
    return torch.trapezoid(curve, dim=0) / (len(curve) - 1)


@check(
    "deletion",
    columns={
        "deletion": "mean probability of the class (or score, of a regression) while the first pixels go; low: the map "
        "finds them",
        "deletion, gain": "by how much that is lower than for the same map moved by half the image; 0: not lower",
    },
    axes=("share of pixels taken away", "probability of the class"),
    question=Question("Do the pixels that it marks carry the score?", "deletion, gain", yes=(0, inf), no=(-inf, 0)),
    runs=2 * (STEPS + 1),
)
def _check_deletion(case: Case) -> Finding:
    curve, elsewhere = _followed(deletion, case)
    return Finding([area(curve), elsewhere - area(curve)], _drawn(curve, case.outputs))


@check(
    "insertion",
    columns={
        "insertion": "mean probability of the class (or score) while the first pixels come back to a blurred image; "
        "high: the map finds them",
        "insertion, gain": "by how much that is higher than for the same map moved by half the image; 0: not higher",
    },
    axes=("share of pixels back", "probability of the class"),
    question=Question("Do they bring the score back?", "insertion, gain", yes=(0, inf), no=(-inf, 0)),
    runs=2 * (STEPS + 1),
)
def _check_insertion(case: Case) -> Finding:
    curve, elsewhere = _followed(insertion, case)
    return Finding([area(curve), area(curve) - elsewhere], _drawn(curve, case.outputs))


def _followed(follow: Any, case: Case) -> tuple[Tensor, Tensor]:
    """Return the curve of a case, and the area below that of its map moved by half the image along each axis.

    The moved map is as scattered or as compact as the map; pixels in random order are not, and a network may lose its
    score by scattered pixels wherever they are.
    """
    axes = tuple(range(2, case.maps.dim()))
    moved = case.maps.roll([case.maps.shape[axis] // 2 for axis in axes], axes)
    curve, elsewhere = (
        follow(
            case.model,
            maps,
            case.inputs,
            case.target,
            additional_forward_args=case.additional_forward_args,
            rank_by=case.method.ranking,
            outputs=case.outputs,
            seed=case.seed,
        )
        for maps in (case.maps, moved)
    )
    return curve, area(elsewhere)


def _drawn(curve: Tensor, outputs: Outputs | None) -> Curve:
    return Curve(curve, torch.linspace(0, 1, len(curve)).tolist(), up="score" if outputs == "values" else "")


def infidelity(
    model: nn.Module,
    maps: Tensor,
    inputs: Tensor,
    target: Tensor | None,
    *,
    additional_forward_args: Any = None,
    multiplies_by_inputs: bool = False,
    noise: float = NOISE,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Tensor:
    """Return what maps leave unexplained of the score's change under noise.

    With ``f`` the score, ``I`` normal noise and ``b`` the factor that fits the map best, since a map has no unit::

        E[(b <I, M> - (f(x) - f(x - I)))^2] / E[(f(x) - f(x - I))^2]

    1: the map explains nothing of the change; 0: all of it, as a linear model's saliency does. Since ``b`` is fitted to
    the same noise, a random map has about ``1 - 1 / samples``.

    Parameters
    ----------
    model, maps, inputs, target, additional_forward_args, seed
        As for :func:`deletion`; the score is used as it is, not as a probability.
    multiplies_by_inputs : bool
        Whether the map is of contributions, such as integrated gradients': it is divided by the inputs then.
    noise : float
        Standard deviation of the noise, in standard deviations of the image.
    samples : int
        Number of perturbations of each image.

    Returns
    -------
    Tensor
        (N,); NaN where the map is zero everywhere, the image has one colour, or the score does not change.

    Raises
    ------
    InputError
        `samples` is below 1.

    Source
    ------
    Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, definition 2.1, with the
    optimal scaling of its section 4.1. It is Captum's ``infidelity(normalize=True)`` over that of a map of zeros, for
    the same noise. Quantus' ``Infidelity`` differs: it sets squares of the image to a constant, and has neither ``b``
    nor a denominator, so its numbers have the square of the score's unit.
    """
    check_count("samples", samples)
    others = as_tuple(additional_forward_args)
    changes = _score_changes(model, inputs, target, others, noise, samples, seed)
    return _unexplained(maps, inputs, changes, multiplies_by_inputs, noise, seed)


@check(
    "infidelity",
    columns={"infidelity": "what the map leaves unexplained of the score's change under noise; 0: nothing, 1: all"},
    question=Question("Does it explain small changes of the score?", "infidelity", yes=(0, 0.5), no=(0.8, 1)),
    runs=2,  # for each of some methods: all have the same noise
)
def _check_infidelity(case: Case) -> Finding:
    others = case.additional_forward_args
    changes = case.once(
        "score changes",
        lambda: _score_changes(case.model, case.inputs, case.target, others, NOISE, SAMPLES, case.seed),
    )
    multiplied = case.method.multiplies_by_inputs
    return Finding([_unexplained(case.maps, case.inputs, changes, multiplied, NOISE, case.seed)])


def _score_changes(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None,
    others: tuple[Any, ...],
    noise: float,
    samples: int,
    seed: int,
) -> Tensor:
    """Return by how much each noise lowers the score, (samples, N)."""

    def score(images: Tensor, rows: slice) -> Tensor:
        own = None if target is None else target[rows]
        return _of_target(scores_of(model, images, of_examples(others, rows, len(inputs))), own).double()

    plain = score(inputs, slice(0, len(inputs)))
    changes = torch.empty(samples, len(inputs), dtype=torch.float64, device=inputs.device)
    for sample, rows, drawn in _noises(inputs, noise, samples, seed):
        changes[sample, rows] = plain[rows] - score(inputs[rows] - drawn, rows)
    return changes


def _unexplained(
    maps: Tensor, inputs: Tensor, changes: Tensor, multiplies_by_inputs: bool, noise: float, seed: int
) -> Tensor:
    """Return the infidelity (N,) of maps for the changes of the score under the same noise."""
    # A map has no unit: scaled to 1 none of its squares overflows or vanishes.
    scaled = maps.double() / _by_image(maps.double().abs().flatten(1).amax(1), maps)
    if multiplies_by_inputs:
        scaled = scaled / torch.where(inputs == 0, 1, inputs)
    said = torch.empty_like(changes)
    for sample, rows, drawn in _noises(inputs, noise, len(changes), seed):
        said[sample, rows] = (scaled[rows] * drawn).flatten(1).sum(1)
    factor = (said * changes).sum(0) / said.square().sum(0)
    left, whole = (factor * said - changes).square().sum(0), changes.square().sum(0)
    pixels = inputs.flatten(1)
    flat = pixels.amax(1) == pixels.amin(1)  # one colour: the noise is rounding only
    return torch.where(is_zero(maps) | flat | (whole == 0), torch.nan, left / whole).clamp(0, 1)


def _noises(inputs: Tensor, noise: float, samples: int, seed: int) -> Iterator[tuple[int, slice, Tensor]]:
    """Yield normal noise for parts of the images: the number of the sample, the rows, and the noise.

    It is drawn again for each method rather than kept: it is as large as the images, for each sample.
    """
    generator = torch.Generator().manual_seed(seed)
    deviations = noise * inputs.flatten(1).std(1, correction=0)
    for sample in range(samples):
        for rows in parts(len(inputs)):
            part = inputs[rows]
            drawn = torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
            yield sample, rows, drawn * _by_image(deviations[rows], part)


def _by_image(numbers: Tensor, images: Tensor) -> Tensor:
    """Return numbers (N,) in a shape that goes with images."""
    return numbers.view(-1, *[1] * (images.dim() - 1))


def _curve(
    model: nn.Module,
    maps: Tensor,
    inputs: Tensor,
    ends: tuple[Tensor, Tensor],
    target: Tensor | None,
    others: tuple[Any, ...],
    rank_by: Ranking,
    outputs: Outputs | None,
    steps: int,
    seed: int,
) -> Tensor:
    """Return the probability (steps + 1, N) while pixels of the second end replace those of the first, in order."""
    check_count("steps", steps)
    check_ranking(rank_by)
    outputs = kind_of_outputs(model, inputs, others) if outputs is None else outputs
    curve = torch.full((steps + 1, len(maps)), torch.nan, dtype=torch.float64, device=inputs.device)
    rows = (~is_zero(maps)).nonzero()[:, 0]
    if not len(rows):
        return curve
    before, after = (end[rows] for end in ends)
    own = None if target is None else target[rows]
    given = of_examples(others, rows, len(maps))
    positions = _positions(ranked(maps[rows], rank_by), seed)
    pixels = positions.shape[1]
    for step in range(steps + 1):
        replaced = (positions < round(step * pixels / steps)).view(len(rows), 1, *maps.shape[2:])
        scores = scores_of(model, torch.where(replaced, after, before), given)
        curve[step, rows] = _of_target(probabilities(scores, outputs), own).double()
    return curve


def _of_target(scores: Tensor, target: Tensor | None) -> Tensor:
    return scores[:, 0] if target is None else scores.gather(1, target[:, None])[:, 0]


def _positions(numbers: Tensor, seed: int) -> Tensor:
    """Return the position of each pixel from the largest number to the smallest, (N, pixels)."""
    flat = numbers.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1)


def _blurred(inputs: Tensor) -> Tensor:
    """Return images under a Gaussian along each of their axes, mirrored at their borders."""
    for axis in range(2, inputs.dim()):
        lines = inputs.movedim(axis, -1)
        size = lines.shape[-1]
        reach = (min(BLUR_WINDOW, (size + 1) // 2 * 2 - 1) - 1) // 2
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weights = torch.exp(-(offsets**2) / (2 * BLUR_DEVIATION**2))
        padded = F.pad(lines.reshape(-1, 1, size), (reach, reach), mode="reflect")
        blurred = F.conv1d(padded, (weights / weights.sum()).to(inputs).view(1, 1, -1))
        inputs = blurred.view(lines.shape).movedim(-1, axis)
    return inputs.contiguous()


def check_count(what: str, number: int) -> None:
    """Refuse a number below 1."""
    if number < 1:
        raise InputError(f"expected {what} of at least 1, got {number}")
