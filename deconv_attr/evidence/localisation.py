"""Whether maps lie on the object, for images with masks.

With ``s`` the number of a map at a pixel, ``sum_c M_c`` by value or ``max_c |M_c|`` by size (see :class:`Method`), and
``m`` the mask, 1 on the object::

    pointing game = m where s is largest        mask share = sum(m max(s, 0)) / sum(max(s, 0))
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from ..errors import InputError
from .checks import Case, Finding, Question, check
from .methods import Ranking, check_ranking
from .similarity import is_zero, ranked

__all__ = ["check_masks", "mask_share", "pointing_game"]


def pointing_game(maps: Tensor, masks: Tensor, *, rank_by: Ranking = "value") -> Tensor:
    """Return 1 where the map's first pixel lies on the object, else 0.

    Parameters
    ----------
    maps : Tensor
        (N, C, ...) or (N, 1, ...).
    masks : Tensor
        (N, ...) bool.
    rank_by : {"value", "size"}
        As for :func:`deletion`.

    Returns
    -------
    Tensor
        (N,); the share of the first pixels where there are several; NaN where the map is zero everywhere. A random map
        has the mask's share of the image on average.

    Raises
    ------
    InputError
        The masks have another shape or type.

    Source
    ------
    Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1; without its
    tolerance of 15 pixels.
    """
    numbers, on_object = _numbers(maps, masks, rank_by)
    first = numbers == numbers.amax(1, keepdim=True)
    hits = (first & on_object).sum(1).double() / first.sum(1)
    return torch.where(is_zero(maps), torch.nan, hits)


@check(
    "pointing game",
    columns={
        "pointing game": "how often the map's first pixel lies on the object",
        "pointing game, gain": "by how much more often than a random pixel would; 0: no better than chance",
    },
    needs_masks=True,
    question=Question("Does its first pixel lie on the object?", "pointing game, gain", yes=(0, inf), no=(-inf, 0)),
)
def _check_pointing(case: Case) -> Finding:
    found = pointing_game(case.maps, _masks(case), rank_by=case.method.ranking)
    return Finding([found, found - _by_chance(case)])


def mask_share(maps: Tensor, masks: Tensor, *, rank_by: Ranking = "value") -> Tensor:
    """Return the share of the map that lies on the object, between 0 and 1; by value, of what raises the score.

    Parameters
    ----------
    maps, masks, rank_by
        As for :func:`pointing_game`, which also tells the errors.

    Returns
    -------
    Tensor
        (N,); NaN where nothing of the map counts.

    Source
    ------
    Wang et al., "Score-CAM", CVPR workshops 2020, section 4.3 (energy-based pointing game).
    """
    numbers, on_object = _numbers(maps, masks, rank_by)
    numbers = numbers.clamp(min=0)
    return (numbers * on_object).sum(1) / numbers.sum(1)  # NaN for a zero map


@check(
    "mask share",
    columns={
        "mask share": "share of the map that lies on the object",
        "mask share, gain": "by how much more than that of an even map; 0: no better than chance",
    },
    needs_masks=True,
    question=Question("Does the map lie on the object?", "mask share, gain", yes=(0, inf), no=(-inf, 0)),
)
def _check_share(case: Case) -> Finding:
    found = mask_share(case.maps, _masks(case), rank_by=case.method.ranking)
    return Finding([found, found - _by_chance(case)])


def _by_chance(case: Case) -> Tensor:
    """Return the share of each image that the object covers, (N,)."""
    return _masks(case).flatten(1).double().mean(1)


def _masks(case: Case) -> Tensor:
    if case.masks is None:
        raise InputError("expected masks (N, ...) of bool, got none")
    return case.masks


def _numbers(maps: Tensor, masks: Tensor, rank_by: Ranking) -> tuple[Tensor, Tensor]:
    """Return the numbers by which pixels are ranked, and whether they are on the object, (N, pixels) both."""
    check_masks(masks, maps)
    return ranked(maps, check_ranking(rank_by)).flatten(1).double(), masks.flatten(1)


def check_masks(masks: object, images: Tensor) -> None:
    """Refuse what is no mask for each image.

    Parameters
    ----------
    masks : Tensor
        (N, ...) bool.
    images : Tensor
        Images or maps, (N, C, ...).

    Raises
    ------
    InputError
        The masks have another shape or type.
    """
    shape = (len(images), *images.shape[2:])
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool or tuple(masks.shape) != shape:
        found = f"{masks.dtype} {tuple(masks.shape)}" if isinstance(masks, Tensor) else type(masks).__name__
        raise InputError(f"expected masks {shape} of bool, got {found}")
