"""Correlations of maps, image by image: of values (Pearson) and of ranks (Spearman), equal values sharing a mean rank.

Source: Spearman, "The Proof and Measurement of Association between Two Things", 1904; used on attribution maps by
Adebayo et al. 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pearson", "ranks", "spearman"]


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Correlate values.

    Parameters
    ----------
    first, second : Tensor
        (N, ...), of one shape.

    Returns
    -------
    Tensor
        (N,) float64; NaN where one of the two is the same everywhere.
    """
    a, b = _flat(first), _flat(second)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    products, lengths = (a * b).sum(1), a.norm(dim=1) * b.norm(dim=1)
    constant = _is_constant(first) | _is_constant(second)
    return torch.where(constant, torch.nan, products / lengths).clamp(-1, 1)


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Correlate ranks; as :func:`pearson` otherwise."""
    pairs = zip(first, second, strict=True)  # image by image: ranks take memory
    return torch.cat([pearson(ranks(a[None]), ranks(b[None])) for a, b in pairs])


def ranks(values: Tensor) -> Tensor:
    """Rank the values of each image from 0; equal values have the mean of their ranks.

    Parameters
    ----------
    values : Tensor
        (N, ...).

    Returns
    -------
    Tensor
        (N, M) float64.
    """
    ordered, order = values.flatten(1).sort(dim=1)
    differs = ordered[:, 1:] != ordered[:, :-1]
    edge = differs.new_ones(len(ordered), 1)
    place = torch.arange(ordered.shape[1], device=ordered.device).expand_as(ordered)
    first = torch.where(torch.cat([edge, differs], 1), place, 0).cummax(1).values
    last = torch.where(torch.cat([differs, edge], 1), place, ordered.shape[1]).flip(1).cummin(1).values.flip(1)
    return torch.empty(ordered.shape, dtype=torch.float64, device=ordered.device).scatter_(
        1, order, (first + last).double() / 2
    )


def _flat(maps: Tensor) -> Tensor:
    return maps.detach().flatten(1).double()


def _is_constant(maps: Tensor) -> Tensor:
    flat = maps.detach().flatten(1)
    return flat.amax(1) == flat.amin(1)
