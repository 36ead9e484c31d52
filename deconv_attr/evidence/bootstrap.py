"""A mean over images, and how far it can be trusted.

The interval is the percentile bootstrap's: images are drawn with replacement, as many as there are, `RESAMPLES` times;
its ends are the percentiles 2.5 and 97.5 of the means. Of few images it is too narrow, of one there is none.

Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7, 1979; Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, section 13.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap
from torch import Tensor

__all__ = ["RESAMPLES", "Estimate", "estimate"]

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of one number an image.

    Parameters
    ----------
    mean : float
        NaN where no image has the number.
    low, high : float
        The ends of the interval of 95 %; NaN for fewer than two images.
    count : int
        How many images have the number.
    total : int
        How many there are: the others' maps are zero, or the number is not defined for them.
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
    """Estimate the mean over images, with an interval.

    Parameters
    ----------
    values : Tensor
        (N,), one for each image; NaN where it is not defined.
    seed : int
        Of the drawing; the same for the same values and seed.

    Returns
    -------
    Estimate
    """
    numbers = values.detach().double().cpu().numpy()
    known = numbers[~np.isnan(numbers)]
    count, total = len(known), len(numbers)
    if count < 2:
        return Estimate(float(known[0]) if count else np.nan, np.nan, np.nan, count, total)
    drawn = bootstrap(
        (known,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return Estimate(float(known.mean()), float(low), float(high), count, total)
