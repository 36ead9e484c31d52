"""Cascading parameter randomisation: whether a map changes when the weights that it explains are destroyed.

From the top layer down, one layer after the other gets random weights (see ``cascade``); after each stage the map is
compared with that of the trained model. With ``M`` the map of an image and ``M_s`` that after stage ``s``::

    signed   = spearman(M, M_s)        absolute = spearman(|M|, |M_s|)

A method that ignores the model scores 1 at every stage.

What makes the numbers of methods, images and models comparable:

- *All stages and images count.* A map that has become zero has kept nothing, and counts as 0, as it would by structural
  similarity. Else a number would be of those stages that a method survives. The share of such maps is told beside.
- *Stages are evenly spread* from the first to the last layer: a mean is the area under a curve over depth.
- *Weights are drawn around 0*, as at initialisation, and few signals die. Around their own mean, which is below 0 in
  trained networks, they would: on trained SqueezeNet 4 of 8 maps by the last stage, and around 0 one.
- *Ranks* know no unit and no scale, so that no normalisation decides. Random weights may flip signs; so the correlation
  without them is told, too.
- *Several draws*: image i has draw ``i mod draws``, and intervals are over draws and images.

What they do not say: from the top down, lower layers pass on what they have learnt until their turn comes (Binder et
al. 2023). So read the curve as a whole, and its last stage, at which no order matters, for itself. Maps of noise are
unlike each other whatever the weights; a ``NoiseTunnel`` around the method is the remedy of smooth MPRT. Maps that are
zero outside of a receptive field are alike in that.

Quantus' ``MPRT(layer_order="top_down")`` is the same cascade, with each layer's ``reset_parameters`` as its draw and a
stage for each layer; efficient MPRT asks instead by how much a map's complexity rises.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, section 3 (model parameter randomization test);
Binder et al., "Shortcomings of Top-Down Randomization-Based Sanity Checks for Evaluations of Deep Neural Network
Explanations", CVPR 2023; Hedström et al., "A Fresh Look at Sanity Checks for Saliency Maps", 2024 (smooth and efficient
MPRT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.base import as_tuple
from ..attribution.batches import of_examples
from ..engine.restore import collect_dead_signals
from ..engine.undo import Undo
from ..errors import InputError
from .cascade import cascade, ends_of_stages, layers_from_the_top
from .checks import Case, Curve, Finding, Question, check
from .methods import Method, as_method
from .similarity import ALIKE, APART, is_zero, spearman

__all__ = ["DRAWS", "STAGES", "Randomisation", "parameter_randomisation"]

STAGES = 8  # depths that the check compares: more take longer and tell little more
DRAWS = 5  # of the weights; each image has one of them, so that they cost next to nothing


@dataclass(frozen=True, eq=False)
class Randomisation:
    """The correlations of a cascade.

    Parameters
    ----------
    layers : sequence of str
        For each of S stages the layer down to which weights were random.
    signed, absolute : Tensor
        (S, N), rank correlations with the trained model's map; 0 where the map has become zero everywhere, NaN where
        that of the trained model is.
    zero : Tensor
        (S, N) bool, where the map has become zero everywhere.
    draw : Tensor
        (N,), the draw of the weights that each image had.
    """

    layers: Sequence[str]
    signed: Tensor
    absolute: Tensor
    zero: Tensor
    draw: Tensor


def parameter_randomisation(
    model: nn.Module,
    method: object,
    inputs: Tensor,
    target: Tensor | None,
    *,
    additional_forward_args: Any = None,
    maps: Tensor | None = None,
    stages: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Randomisation:
    """Return the correlations of a method's maps with those under random weights, from the top layer down.

    With ``M`` the map of an image and ``M_s`` that after stage ``s``, they are ``spearman(M, M_s)``, and the same of
    ``|M|``, because random weights may flip signs. A map that has become zero has kept nothing and counts as 0.
    Weights are drawn as at initialisation, normally around 0 with their own size.

    The model has random weights meanwhile; its own are put back, bit for bit, after any exit. They are random for other
    threads, too: what these explain of the model is refused until then, but for what else they do with it nothing can
    be promised. A forward pass of theirs computes with random weights, a step of training is lost, and a
    ``state_dict()`` or a copy has random weights. Two randomisations, and comparisons, follow one another.

    Parameters
    ----------
    model : nn.Module
        In eval mode.
    method : Method, Attribution or callable
        See :class:`Method`.
    inputs : Tensor
        (N, C, ...).
    target : Tensor or None
        (N,), the class of each image; None for a model that returns one score, (N,).
    additional_forward_args
        What the model is given beside the images, as for Captum's methods.
    maps : Tensor, optional
        The method's maps of the trained model, where they are known.
    stages : int or None
        Number of depths at which maps are compared, evenly spread from the first to the last layer; None: all.
    draws : int
        Number of draws of the random weights: image i has draw ``i mod draws``.
    seed : int
        Seed of the random weights.

    Returns
    -------
    Randomisation
        Rank correlations, (S, N), at S stages.

    Raises
    ------
    InputError
        No module with weights runs, or `stages` or `draws` is below 1.

    Source
    ------
    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, the cascading randomization.
    """
    method, others = as_method(method), as_tuple(additional_forward_args)
    undo = Undo()
    with undo, undo:
        collect_dead_signals(undo)  # none is told: a map that is zero counts as 0; and no other thread changes weights
        own = method(model, inputs, target, others) if maps is None else maps
        (found,) = _randomised(model, [(method, own)], inputs, target, others, stages, draws, seed)
    if isinstance(found, Exception):
        raise found
    return found


@check(
    "parameter randomisation",
    columns={
        "parameter randomisation": "rank correlation with the map under random weights, mean of a cascade from the top "
        "layer down; 1: the map ignores the model",
        "parameter randomisation, |map|": "the same without signs",
        "parameter randomisation, zero": "share of maps that are zero under random weights; they count as 0 above",
    },
    axes=("random down to", "rank correlation of |map|"),
    question=Question(
        "Does it depend on the weights?",
        "parameter randomisation, |map|",
        yes=APART,
        no=ALIKE,
        dies="parameter randomisation, zero",
    ),
    explains=STAGES,
    together=True,
)
def _check_randomisation(cases: Sequence[Case]) -> list[Finding | Exception]:
    case = cases[0]
    found = _randomised(
        case.model,
        [(each.method, each.maps) for each in cases],
        case.inputs,
        case.target,
        case.additional_forward_args,
        STAGES,
        DRAWS,
        case.seed,
        case.tick,
    )
    return [each if isinstance(each, Exception) else _finding(each) for each in found]


def _finding(found: Randomisation) -> Finding:
    stages, draws = len(found.layers), len(set(found.draw.tolist()))
    known = ~found.signed.isnan()
    share = torch.where(known.any(0), found.zero.double().mean(0), torch.nan)
    return Finding(
        [found.signed.mean(0), found.absolute.mean(0), share],
        Curve(found.absolute, found.layers, found.zero),
        found.draw,
        f"{stages} stages x {len(found.draw)} images, {draws} draws of the weights",
        _note(found, known),
    )


def _note(found: Randomisation, known: Tensor) -> str:
    """Return how many maps are zero, and from which stage on all are."""
    dead, count = int((found.zero & known).sum()), int(known.sum())
    if not dead:
        return ""
    all_dead = (found.zero | ~known).all(1)
    first = next((stage for stage in range(len(all_dead)) if bool(all_dead[stage:].all())), None)
    since = "" if first is None else f", all of them from {found.layers[first]!r} on"
    return f"is zero for {dead} of {count} maps under random weights{since}"


def _randomised(
    model: nn.Module,
    methods: Sequence[tuple[Method, Tensor]],
    inputs: Tensor,
    target: Tensor | None,
    others: tuple[Any, ...],
    stages: int | None,
    draws: int,
    seed: int,
    tick: Callable[[float], object] = lambda share: None,
) -> list[Randomisation | Exception]:
    """Return the correlations of several methods, given with their maps, under the same weights; or their errors."""
    if draws < 1:
        raise InputError(f"expected draws of at least 1, got {draws}")
    count = len(inputs)
    layers = layers_from_the_top(model, inputs, others)
    ends = ends_of_stages(len(layers), stages)
    shape = len(ends), count
    signed = [torch.full(shape, torch.nan, dtype=torch.float64) for _ in methods]
    absolute = [torch.full(shape, torch.nan, dtype=torch.float64) for _ in methods]
    zero = [torch.zeros(shape, dtype=torch.bool) for _ in methods]
    errors: dict[int, Exception] = {}
    generator = torch.Generator().manual_seed(seed)
    groups = [slice(draw, count, draws) for draw in range(min(draws, count))]
    for rows in groups:
        own = None if target is None else target[rows]
        given = inputs[rows], own, of_examples(others, rows, count)
        undo = Undo()
        with undo, undo:
            collect_dead_signals(undo)
            for stage, _ in enumerate(cascade(layers, ends, generator, undo)):
                for number, (method, trained) in enumerate(methods):
                    tick(1 / len(ends) / len(groups))
                    if number in errors:
                        continue
                    kept = _correlations(method, model, given, trained[rows])
                    if isinstance(kept, Exception):
                        errors[number] = kept
                    else:
                        signed[number][stage, rows], absolute[number][stage, rows], zero[number][stage, rows] = kept
    names = [layers[end - 1][0] for end in ends]
    draw = torch.arange(count) % draws
    return [
        errors[number]
        if number in errors
        else Randomisation(names, signed[number], absolute[number], zero[number], draw)
        for number in range(len(methods))
    ]


def _correlations(
    method: Method, model: nn.Module, given: tuple[Any, ...], before: Tensor
) -> tuple[Tensor, Tensor, Tensor] | Exception:
    """Return how maps correlate with those before, signed and absolute, and which are zero, (N,) each; or the error."""
    try:
        maps = method(model, *given)
        dead = is_zero(maps)
        return _kept(before, maps, dead), _kept(before.abs(), maps.abs(), dead), dead.cpu()
    except Exception as error:
        return error


def _kept(before: Tensor, after: Tensor, dead: Tensor) -> Tensor:
    """Return the correlations of maps; 0 where the second is zero and the first is not."""
    found = spearman(before, after)
    return torch.where(dead & ~is_zero(before), 0.0, found).cpu()
