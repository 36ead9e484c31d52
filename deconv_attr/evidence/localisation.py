"""Whether maps lie on the object, for images with masks.

With ``s = max_c |M_c|`` the strength of a map and ``m`` the mask, 1 on the object::

    pointing game = m at the strongest pixel        share inside = sum(m s) / sum(s)
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from .checks import Case, Finding, check
from .similarity import strength

__all__ = ["check_masks", "mask_share", "pointing_game"]


def pointing_game(maps: Tensor, masks: Tensor) -> Tensor:
    """Return 1 where the strongest pixel lies on the object, else 0.

    Parameters
    ----------
    maps : Tensor
        (N, C, H, W) or (N, 1, H, W).
    masks : Tensor
        (N, H, W) bool.

    Returns
    -------
    Tensor
        (N,); the share of the strongest pixels where there are several; NaN where the map is zero everywhere. A random
        map has the mask's share of the image on average.

    Raises
    ------
    InputError
        The masks have another shape or type.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1; without its
    tolerance of 15 pixels.
    """
    heat = _heat(maps, masks)
    strongest = heat == heat.amax((1, 2), keepdim=True)
    hits = (strongest & masks).sum((1, 2)).double() / strongest.sum((1, 2))
    return torch.where(heat.amax((1, 2)) == 0, torch.nan, hits)


@check(
    "pointing game",
    columns={"pointing game": "how often the strongest pixel lies on the object"},
    needs_masks=True,
)
def _check_pointing(case: Case) -> Finding:
    return Finding([pointing_game(case.maps, _masks(case))])


def mask_share(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of the map's strength that lies on the object, between 0 and 1.

    Parameters, returns and errors are those of :func:`pointing_game`.

    Source: Wang et al., "Score-CAM", CVPR workshops 2020, section 4.3 (energy-based pointing game).
    """
    heat = _heat(maps, masks)
    return (heat * masks).sum((1, 2)) / heat.sum((1, 2))  # NaN for a zero map


@check(
    "mask share",
    columns={"inside mask": "share of the map's strength that lies on the object"},
    needs_masks=True,
)
def _check_share(case: Case) -> Finding:
    return Finding([mask_share(case.maps, _masks(case))])


def _masks(case: Case) -> Tensor:
    if case.masks is None:
        raise InputError("expected masks (N, H, W) of bool, got none")
    return case.masks


def _heat(maps: Tensor, masks: Tensor) -> Tensor:
    check_masks(masks, maps)
    return strength(maps)[:, 0].double()


def check_masks(masks: object, images: Tensor) -> None:
    """Raise InputError unless masks are (N, H, W) of bool, for images or maps (N, C, H, W)."""
    shape = (len(images), *images.shape[2:])
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool or tuple(masks.shape) != shape:
        found = f"{masks.dtype} {tuple(masks.shape)}" if isinstance(masks, Tensor) else type(masks).__name__
        raise InputError(f"expected masks {shape} of bool, got {found}")
