"""The mean over images, with its confidence interval.

The interval is that of the percentile bootstrap: images are drawn with replacement, as many as there are, `RESAMPLES`
times; its ends are the percentiles 2.5 and 97.5 of the means. For few images it is too narrow, for one undefined. Where
images share a random draw, draws are drawn with replacement, and images within them.

Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7, 1979; Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, section 13.3; Davison and Hinkley, "Bootstrap Methods and their Application",
1997, section 3.8 (hierarchical data).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["RESAMPLES", "Estimate", "estimate"]

Numbers = NDArray[Any]

RESAMPLES = 2_000  # means of redrawn images
LEVEL = 0.95  # of confidence


@dataclass(frozen=True)
class Estimate:
    """The mean of a number over images, with its interval.

    Parameters
    ----------
    mean : float
        NaN where the number is undefined for all images.
    low, high : float
        The ends of the interval of 95 %; NaN for fewer than two images.
    count : int
        Images for which the number is defined.
    total : int
        All images. The number is undefined where a map is zero, for instance.
    """

    mean: float
    low: float
    high: float
    count: int
    total: int

    def __str__(self) -> str:
        if self.count == 0:
            return "undefined"
        mean, low, high = (self._in_digits(number) for number in (self.mean, self.low, self.high))
        text = mean if self.count == 1 else f"{mean} ({low} to {high})"
        return text if self.count == self.total else f"{text}, {self.count} of {self.total}"

    @property
    def shown(self) -> str:
        """The mean alone, in as many digits as with its interval."""
        return self._in_digits(self.mean)

    def _in_digits(self, number: float) -> str:
        """Return a number with two decimals, as the largest of the three asks: fewer from 10 on, more below 0.1."""
        largest = np.nanmax(np.abs([self.mean, self.low, self.high]))
        place = math.floor(math.log10(largest)) if largest > 0 else 0
        decimals = max(2 - max(place, 0), 0) if place >= -1 else min(1 - place, 9)
        rounded = round(number, decimals) + 0.0  # without the minus of a zero
        return f"{rounded:.{decimals}f}"


def estimate(values: Tensor, seed: int = 0, draw: Tensor | None = None) -> Estimate:
    """Return the mean over images, with its interval of 95 %.

    Parameters
    ----------
    values : Tensor
        (N,), one for each image; NaN where it is undefined.
    seed : int
        Seed of the resampling.
    draw : Tensor or None
        (N,), the random draw that each image's number depends on, for instance of weights. Draws are drawn again, and
        then images of each: images of one draw tell little of another. None: every image stands for itself.

    Returns
    -------
    Estimate
        The interval is that of the percentile bootstrap; for few images it is too narrow.

    Source
    ------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3; Davison and Hinkley, "Bootstrap
    Methods and their Application", 1997, section 3.8 (hierarchical data).
    """
    numbers = values.detach().double().cpu().numpy()
    known = ~np.isnan(numbers)
    count, total = int(known.sum()), len(numbers)
    mean = float(numbers[known].mean()) if count else np.nan
    if count < 2:
        return Estimate(mean, np.nan, np.nan, count, total)
    groups = np.arange(total) if draw is None else draw.cpu().numpy()
    means = _means_of_redrawn(numbers[known], groups[known], np.random.default_rng(seed))
    low, high = np.percentile(means, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return Estimate(mean, float(low), float(high), count, total)


def _means_of_redrawn(numbers: Numbers, groups: Numbers, rng: np.random.Generator) -> Numbers:
    """Return the means of numbers redrawn `RESAMPLES` times: groups first, then as many members of each as it has."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    numbers = numbers[order]
    chosen = rng.integers(len(sizes), size=(RESAMPLES, len(sizes)))
    sums, counts = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for column in chosen.T:
        for member in range(int(sizes.max())):
            taken = member < sizes[column]
            places = starts[column] + rng.integers(sizes[column])
            sums += np.where(taken, numbers[places], 0)
            counts += taken
    return np.asarray(sums / counts)
