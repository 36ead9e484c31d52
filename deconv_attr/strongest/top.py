"""The k strongest activations of every feature map of one layer, at most one of each image.

In descending order; of equal ones the image with the lower number comes first, and within an image the first unit in
reading order. So the result depends on which images were offered, never on their order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..units import places_of_maxima

__all__ = ["NOBODY", "Top"]

NOBODY = -1
"""Stands for the image where there have been fewer than k."""


class Top:
    """A table that remembers the best of what it is offered.

    Parameters
    ----------
    values : Tensor
        (maps, k), float32 or float64; minus infinity where there is no image.
    images : Tensor
        (maps, k), int64; :data:`NOBODY` where there is none.
    positions : Tensor
        (maps, k, axes), int64: row and column of each unit.
    """

    def __init__(self, values: Tensor, images: Tensor, positions: Tensor) -> None:
        self.values, self.images, self.positions = values, images, positions

    @classmethod
    def empty(cls, maps: int, k: int, axes: int, dtype: torch.dtype, device: torch.device) -> Top:
        """Make a table of nobody; for activations in half precision in single precision, which holds them exactly."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return cls(
            torch.full((maps, k), -torch.inf, dtype=wide, device=device),
            torch.full((maps, k), NOBODY, device=device),
            torch.full((maps, k, axes), NOBODY, device=device),
        )

    def offer(self, output: Tensor, best: Tensor, numbers: Tensor) -> None:
        """Take what is strong enough of some images that have not been offered before.

        Parameters
        ----------
        output : Tensor
            (n, maps, *positions), the layer's output.
        best : Tensor
            (n, maps), the maximum of each map, finite.
        numbers : Tensor
            (n,), the images' numbers, ascending.
        """
        best = best.to(self.values.dtype)
        worst, latest = self.values[:, -1], self.images[:, -1]
        enters = (best > worst) | ((best == worst) & (numbers[:, None] < latest))
        rows = enters.any(0).nonzero().flatten()
        if not len(rows):
            return
        k = self.values.shape[1]
        values = torch.cat([self.values[rows], best.T[rows]], 1)
        images = torch.cat([self.images[rows], numbers.expand(len(rows), -1)], 1)
        order = _ranked(values, images)[:, :k]
        self.values[rows], self.images[rows] = values.gather(1, order), images.gather(1, order)
        positions = self.positions[rows]
        positions = positions.gather(1, order.clamp(max=k - 1)[..., None].expand_as(positions))
        which, place = (order >= k).nonzero(as_tuple=True)
        positions[which, place] = places_of_maxima(output[order[which, place] - k, rows[which]])
        self.positions[rows] = positions

    def merged(self, other: Top) -> Top:
        """Give the best of two tables; an image that is in both counts once."""
        values, images = torch.cat([self.values, other.values], 1), torch.cat([self.images, other.images], 1)
        k = self.values.shape[1]
        twice = (other.images[:, :, None] == self.images[:, None]).any(2) & (other.images != NOBODY)
        values[:, k:][twice], images[:, k:][twice] = -torch.inf, NOBODY
        order = _ranked(values, images)[:, :k]
        places = torch.cat([self.positions, other.positions], 1)
        places[:, k:][twice] = NOBODY
        return Top(
            values.gather(1, order),
            images.gather(1, order),
            places.gather(1, order[..., None].expand(*order.shape, places.shape[2])),
        )

    def cpu(self) -> Top:
        """Give a copy in the processor's memory."""
        return Top(*(tensor.cpu().clone() for tensor in (self.values, self.images, self.positions)))


def _ranked(values: Tensor, images: Tensor) -> Tensor:
    """Order each row: the stronger first, of equals the lower image number; who is nobody last."""
    by_image = images.sort(dim=1, stable=True).indices
    by_value = values.gather(1, by_image).sort(dim=1, descending=True, stable=True).indices
    return by_image.gather(1, by_value)
