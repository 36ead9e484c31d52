"""The mean over images, with its confidence interval.

The interval is that of the percentile bootstrap: images are drawn with replacement, as many as there are, `RESAMPLES`
times; its ends are the percentiles 2.5 and 97.5 of the means. For few images it is too narrow, for one undefined.

Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7, 1979; Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, section 13.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .scipy_stats import scipy_stats

__all__ = ["RESAMPLES", "Estimate", "estimate"]

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
        mean, low, high = (f"{number:.2f}".replace("-0.00", "0.00") for number in (self.mean, self.low, self.high))
        text = mean if self.count == 1 else f"{mean} ({low} to {high})"
        return text if self.count == self.total else f"{text}, {self.count} of {self.total}"


def estimate(values: Tensor, seed: int = 0) -> Estimate:
    """Return the mean over images, with its interval of 95 %.

    Parameters
    ----------
    values : Tensor
        (N,), one for each image; NaN where it is undefined.
    seed : int
        Seed of the resampling.

    Returns
    -------
    Estimate
    """
    numbers = values.detach().double().cpu().numpy()
    known = numbers[~np.isnan(numbers)]
    count, total = len(known), len(numbers)
    if count < 2:
        return Estimate(float(known[0]) if count else np.nan, np.nan, np.nan, count, total)
    drawn = scipy_stats().bootstrap(
        (known,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return Estimate(float(known.mean()), float(low), float(high), count, total)
