"""The checks by name: what each asks, and its numbers for one method, image by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..errors import InputError, nearest
from .faithfulness import area, deletion, infidelity, insertion, sensitivity_max
from .localisation import mask_share, pointing_game
from .methods import Method
from .randomisation import parameter_randomisation
from .similarity import edge_similarity, input_recovery, is_zero, target_sensitivity

__all__ = ["CHECKS", "Case", "Check", "Curve", "Finding", "chosen_checks"]

STAGES = 8  # of a cascade: more take longer, and say little more


@dataclass(frozen=True, eq=False)
class Case:
    """A method's maps, and what they are to be held against.

    Parameters
    ----------
    model : nn.Module
        In eval mode.
    method : Method
        To be asked again.
    maps, inputs : Tensor
        (N, C, H, W).
    target : Tensor
        (N,), the class of each.
    other : Tensor or None
        (N,), another class, if there is one.
    masks : Tensor or None
        (N, H, W) bool, where the object is, if that is known.
    seed : int
        Of all that is drawn.
    """

    model: nn.Module
    method: Method
    maps: Tensor
    inputs: Tensor
    target: Tensor
    other: Tensor | None = None
    masks: Tensor | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Curve:
    """Numbers (S, N) at S steps, and what the steps are."""

    values: Tensor
    steps: Sequence[float] | Sequence[str]


@dataclass(frozen=True, eq=False)
class Finding:
    """For each of a check's columns a number for each image (N,), NaN where there is none; or the curve they are of."""

    values: Sequence[Tensor]
    curve: Curve | None = None


@dataclass(frozen=True, eq=False)
class Check:
    """One check.

    Parameters
    ----------
    columns : mapping of str to str
        The names of its numbers in a table, and what they mean.
    run : callable
        From a case to a finding with as many values as there are columns.
    needs_masks : bool
        Whether it can be had only where the truth is known.
    """

    columns: Mapping[str, str]
    run: Callable[[Case], Finding]
    needs_masks: bool = field(default=False, kw_only=True)


def _zero_maps(case: Case) -> Finding:
    return Finding([is_zero(case.maps).double()])


def _target_sensitivity(case: Case) -> Finding:
    if case.other is None:
        raise InputError("expected a model of several classes, to compare the maps of two, got one class")
    return Finding(target_sensitivity(case.model, case.method, case.inputs, case.target, case.other))


def _randomisation(case: Case) -> Finding:
    found = parameter_randomisation(case.model, case.method, case.inputs, case.target, stages=STAGES, seed=case.seed)
    return Finding([found.signed.nanmean(0), found.absolute.nanmean(0)], Curve(found.absolute, found.layers))


def _deletion(case: Case) -> Finding:
    return _area(deletion(case.model, case.maps, case.inputs, case.target, seed=case.seed))


def _insertion(case: Case) -> Finding:
    return _area(insertion(case.model, case.maps, case.inputs, case.target, seed=case.seed))


def _area(curve: Tensor) -> Finding:
    return Finding([area(curve)], Curve(curve, torch.linspace(0, 1, len(curve)).tolist()))


def _infidelity(case: Case) -> Finding:
    return Finding([infidelity(case.model, case.maps, case.inputs, case.target, seed=case.seed)])


def _sensitivity(case: Case) -> Finding:
    return Finding([sensitivity_max(case.model, case.method, case.inputs, case.target, seed=case.seed)])


def _masks(case: Case) -> Tensor:
    if case.masks is None:
        raise InputError("expected masks (N, H, W) of bool, got none")
    return case.masks


CHECKS: Mapping[str, Check] = {
    "zero maps": Check(
        {"zero maps": "share of images whose map is zero; the other numbers are of the rest"}, _zero_maps
    ),
    "target sensitivity": Check(
        {
            "other class": "rank correlation with the map of another class; 1: the map does not depend on the class",
            "other class, |map|": "the same without signs",
        },
        _target_sensitivity,
    ),
    "parameter randomisation": Check(
        {
            "random weights": "rank correlation with the map under random weights, mean of a cascade from the top "
            "layer down; 1: the map ignores the model",
            "random weights, |map|": "the same without signs",
        },
        _randomisation,
    ),
    "input recovery": Check(
        {"image": "correlation of map and image; 1: the map is the image"},
        lambda case: Finding([input_recovery(case.maps, case.inputs)]),
    ),
    "edge similarity": Check(
        {"edges": "rank correlation of |map| and the image's edges; 1: the map is an edge detector"},
        lambda case: Finding([edge_similarity(case.maps, case.inputs)]),
    ),
    "deletion": Check(
        {"deletion": "mean probability of the class while the strongest pixels go; low: the map finds them"},
        _deletion,
    ),
    "insertion": Check(
        {"insertion": "mean probability of the class while the strongest pixels come back; high: the map finds them"},
        _insertion,
    ),
    "infidelity": Check(
        {"infidelity": "what the map leaves unexplained of the score's change under noise; 0: nothing, 1: all"},
        _infidelity,
    ),
    "sensitivity": Check(
        {"sensitivity": "largest relative change of the map under small noise; 0: none"}, _sensitivity
    ),
    "pointing game": Check(
        {"pointing game": "how often the strongest pixel lies on the object"},
        lambda case: Finding([pointing_game(case.maps, _masks(case))]),
        needs_masks=True,
    ),
    "mask share": Check(
        {"inside mask": "share of the map's strength that lies on the object"},
        lambda case: Finding([mask_share(case.maps, _masks(case))]),
        needs_masks=True,
    ),
}
"""All checks, in the order of a table."""


def chosen_checks(names: Sequence[str] | None, masks: Tensor | None) -> list[str]:
    """Give the names of the checks to run; None: all that can be had.

    Raises
    ------
    InputError
        There is no such check, or it needs masks.
    """
    if names is None:
        return [name for name, check in CHECKS.items() if masks is not None or not check.needs_masks]
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in names:
        if name not in CHECKS:
            raise InputError(f"there is no check {name!r}{nearest(str(name), list(CHECKS))}")
        if CHECKS[name].needs_masks and masks is None:
            raise InputError(f"the check {name!r} needs masks (N, H, W) of bool, got none")
    return names
