"""Correlations of maps with those of another class, with the image and its edges, and with those of other methods.

Maps are correlated image by image: by their values (Pearson) or by their ranks (Spearman), where equal values share
their mean rank.

Source: Spearman, "The Proof and Measurement of Association between Two Things", 1904; used on attribution maps by
Adebayo et al. 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attribution.base import as_tuple
from ..engine.restore import collect_dead_signals
from ..engine.undo import Undo
from ..errors import InputError
from .bootstrap import estimate
from .checks import Case, Finding, Question, check
from .late_imports import scipy_stats
from .methods import Ranking, as_method
from .table import ResultTable

__all__ = [
    "ALIKE",
    "APART",
    "edge_similarity",
    "input_recovery",
    "is_zero",
    "method_agreement",
    "pearson",
    "ranked",
    "spearman",
    "strength",
    "target_sensitivity",
]

APART = (-1.0, 0.5)  # correlations at which two maps are called different
ALIKE = (0.8, 1.0)  # correlations at which two maps are called alike


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation of values, image by image.

    Parameters
    ----------
    first, second : Tensor
        (N, ...), of one shape.

    Returns
    -------
    Tensor
        (N,) float64; NaN where one of the two is the same everywhere.
    """
    a, b = first.detach().flatten(1).double(), second.detach().flatten(1).double()
    constant = (a.amax(1) == a.amin(1)) | (b.amax(1) == b.amin(1))
    # Not scipy's pearsonr, which leaves the GPU, and warns of maps that are nearly constant or infinite.
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    correlation = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return torch.where(constant, torch.nan, correlation).clamp(-1, 1)


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation of ranks, image by image.

    Parameters
    ----------
    first, second : Tensor
        (N, ...), of one shape.

    Returns
    -------
    Tensor
        (N,) float64; NaN where one of the two is the same everywhere.
    """
    pairs = zip(first, second, strict=True)  # image by image: ranks take memory
    return torch.cat([pearson(_ranks(a), _ranks(b)) for a, b in pairs])


def target_sensitivity(
    model: nn.Module,
    method: object,
    inputs: Tensor,
    target: Tensor,
    other: Tensor,
    *,
    additional_forward_args: Any = None,
    maps: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the correlations of the maps of two classes: ``spearman(M_target, M_other)``, and the same of ``|M|``.

    1: the map does not depend on the class. Where the second number is 1, only signs differ.

    Parameters
    ----------
    model, method, inputs, target, additional_forward_args, maps
        As for :func:`parameter_randomisation`.
    other : Tensor
        (N,), another class of each image.

    Returns
    -------
    tuple of Tensor
        Signed and absolute correlations, (N,) each; NaN where a map is zero everywhere.

    Source
    ------
    Mahendran and Vedaldi, "Salient Deconvolutional Networks", ECCV 2016, section 3.3 (lack of class
    selectivity); the correlation is that of Adebayo et al. 2018. Quantus' ``RandomLogit`` compares with a class drawn
    at random, by structural similarity.
    """
    method, others = as_method(method), as_tuple(additional_forward_args)
    undo = Undo()
    with undo, undo:
        collect_dead_signals(undo)  # none is told: a map that is zero has no number
        first = method(model, inputs, target, others) if maps is None else maps
        second = method(model, inputs, other, others)
    return spearman(first, second), spearman(first.abs(), second.abs())


@check(
    "target sensitivity",
    columns={
        "target sensitivity": "rank correlation with the map of another class; 1: the same map for both",
        "target sensitivity, |map|": "the same without signs",
    },
    question=Question("Does the map depend on the class?", "target sensitivity", yes=APART, no=ALIKE),
    explains=1,
)
def _check_target(case: Case) -> Finding:
    if case.other is None or case.target is None:
        raise InputError("expected a model of at least 2 classes, to compare the maps of two, got one class")
    found = target_sensitivity(
        case.model,
        case.method,
        case.inputs,
        case.target,
        case.other,
        additional_forward_args=case.additional_forward_args,
        maps=case.maps,
    )
    return Finding(found)


def input_recovery(maps: Tensor, inputs: Tensor) -> Tensor:
    """Return the correlations of maps with their images: ``|pearson(M, x)|``.

    1: the map is the image, or its negative. A map of one channel is compared with the mean of the channels.

    Parameters
    ----------
    maps : Tensor
        (N, C, ...) or (N, 1, ...).
    inputs : Tensor
        (N, C, ...).

    Returns
    -------
    Tensor
        (N,); NaN where the map is the same everywhere.

    Source
    ------
    Nie, Zhang and Patel, "A Theoretical Explanation for Perplexing Behaviors of Backpropagation-based
    Visualizations", ICML 2018, who show that guided backprop and the deconvnet do (partial) image recovery.
    """
    image = inputs if maps.shape[1] == inputs.shape[1] else inputs.mean(1, keepdim=True)
    return pearson(maps, image).abs()


@check(
    "input recovery",
    columns={"input recovery": "correlation of map and image, without its sign; 1: the map is the image"},
    question=Question("Is it more than a copy of the image?", "input recovery", yes=APART, no=ALIKE),
)
def _check_recovery(case: Case) -> Finding:
    return Finding([input_recovery(case.maps, case.inputs)])


def edge_similarity(maps: Tensor, inputs: Tensor) -> Tensor:
    """Return the correlations of maps with the edges of the image: ``spearman(max_c |M_c|, |grad mean_c x_c|)``.

    The gradient is Sobel's, along one, two or three axes. A map can look right by marking edges,
    whatever they belong to.

    Parameters
    ----------
    maps, inputs
        As for :func:`input_recovery`.

    Returns
    -------
    Tensor
        (N,); NaN where one of the two is the same everywhere.

    Source
    ------
    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, section 5 (an edge detector in comparison).
    """
    grey = inputs.detach().double().mean(1, keepdim=True)
    axes = grey.dim() - 2
    padded = F.pad(grey, (1, 1) * axes, mode="replicate")
    edges = _CONVOLUTIONS[axes](padded, _sobel(axes).to(grey)).norm(dim=1, keepdim=True)
    # Without it flat regions would be ranked by rounding errors.
    rounding = 1e-6 * edges.flatten(1).amax(1).view(-1, *[1] * (axes + 1))
    return spearman(strength(maps), torch.where(edges > rounding, edges, 0))


_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _sobel(axes: int) -> Tensor:
    """Return Sobel's filters, one along each axis, (axes, 1, 3, ...): differences along it, smooth along all others."""
    filters = []
    for along in range(axes):
        weights = torch.ones([1] * axes, dtype=torch.float64)
        for axis in range(axes):
            line = torch.tensor([-1.0, 0.0, 1.0] if axis == along else [1.0, 2.0, 1.0], dtype=torch.float64)
            weights = weights * line.view([-1 if each == axis else 1 for each in range(axes)])
        filters.append(weights)
    return torch.stack(filters)[:, None]


@check(
    "edge similarity",
    columns={"edge similarity": "rank correlation of |map| and the image's edges; 1: the map is an edge detector"},
    question=Question("Is it more than the image's edges?", "edge similarity", yes=APART, no=ALIKE),
)
def _check_edges(case: Case) -> Finding:
    return Finding([edge_similarity(case.maps, case.inputs)])


def method_agreement(attributions: Mapping[str, Tensor], *, absolute: bool = False, seed: int = 0) -> ResultTable:
    """Return how well methods agree: the mean of ``spearman(M_a, M_b)`` over images, for each pair.

    Parameters
    ----------
    attributions : mapping of str to Tensor
        Maps (N, C, ...) or (N, 1, ...) of the same images by method.
    absolute : bool
        Whether to compare ``max_c |M_c|`` instead, which is always done where one map of a pair has a single channel.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    ResultTable
        Square; a row and a column for each method.
    """
    found = {}
    labels = list(attributions)
    for row, first in enumerate(labels):
        for second in labels[:row]:
            a, b = attributions[first], attributions[second]
            pair = (strength(a), strength(b)) if absolute or a.shape != b.shape else (a, b)
            found[first, second] = found[second, first] = estimate(spearman(*pair), seed)
    rows = [[first, *(1.0 if first == second else found[first, second] for second in labels)] for first in labels]
    return ResultTable(["method", *labels], rows)


def strength(maps: Tensor) -> Tensor:
    """Return the strength of maps at each pixel, ``max_c |M_c|``: (N, 1, ...)."""
    return maps.detach().abs().amax(1, keepdim=True)


def ranked(maps: Tensor, rank_by: Ranking) -> Tensor:
    """Return the numbers by which pixels are ranked, (N, 1, ...): by size `strength`, by value the sum of channels."""
    return strength(maps) if rank_by == "size" else maps.detach().sum(1, keepdim=True)


def is_zero(maps: Tensor) -> Tensor:
    """Return whether each map is zero everywhere, (N,) bool.

    Parameters
    ----------
    maps : Tensor
        (N, C, ...).
    """
    return ~maps.flatten(1).any(1)


@check(
    "zero maps",
    columns={"zero maps": "share of images whose map is zero; the other numbers are of the rest"},
    question=Question("Does every image have a map?", "zero maps", yes=(0.0, 0.05), no=(0.05, 1.0)),
)
def _check_zero(case: Case) -> Finding:
    return Finding([is_zero(case.maps).double()])


def _ranks(image: Tensor) -> Tensor:
    """Return the ranks of an image's values, (1, M) float64."""
    return torch.from_numpy(scipy_stats().rankdata(image.detach().double().cpu()))[None].to(image.device)
