"""Means over images and their intervals, against a loop, theory and numbers made by hand."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from deconv_attr.evidence import Estimate, estimate
from deconv_attr.evidence.bootstrap import RESAMPLES

NAN = float("nan")


def draws(count, seed=0, spread=1.0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


def percentile(ordered, percent):
    """Interpolate between the neighbours of a place in an ordered list."""
    place = percent / 100 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@pytest.mark.parametrize("seed", [0, 7])
def test_the_ends_are_percentiles_of_the_means_of_redrawn_images(seed):
    values = draws(9).tolist()
    drawn = np.random.default_rng(seed).integers(9, size=(RESAMPLES, 9))
    means = sorted(sum(values[place] for place in row) / 9 for row in drawn.tolist())
    found = estimate(torch.tensor(values, dtype=torch.float64), seed)
    assert found.mean == pytest.approx(sum(values) / 9)
    assert found.low == pytest.approx(percentile(means, 2.5))
    assert found.high == pytest.approx(percentile(means, 97.5))


def test_of_two_images_the_ends_are_the_two():
    # Means of two draws: both ends with a probability of 1/4 each, which is more than 2.5 %.
    found = estimate(torch.tensor([3.0, 5.0]))
    assert (found.mean, found.low, found.high) == (4.0, 3.0, 5.0)


def test_the_interval_of_normal_numbers_is_that_of_theory():
    values = draws(400, seed=3, spread=2.0)
    half = 1.96 * values.std().item() / 20
    found = estimate(values)
    assert found.low == pytest.approx(found.mean - half, abs=half / 10)
    assert found.high == pytest.approx(found.mean + half, abs=half / 10)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    found = [estimate(draws(40, seed)) for seed in range(300)]
    assert 0.90 < np.mean([each.low <= 0 <= each.high for each in found]) < 0.98


def test_the_interval_of_skewed_numbers_is_skewed():
    found = estimate(draws(20, seed=1).exp() ** 2)
    assert found.high - found.mean > 1.1 * (found.mean - found.low)


def test_the_interval_moves_and_grows_with_the_numbers():
    values = draws(12)
    found, moved = estimate(values), estimate(3 * values + 5)
    for end in ("mean", "low", "high"):
        assert getattr(moved, end) == pytest.approx(3 * getattr(found, end) + 5)


def test_equal_numbers_leave_no_doubt():
    found = estimate(torch.full((5,), 0.75))
    assert (found.mean, found.low, found.high) == (0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("values", "mean", "count"),
    [([], NAN, 0), ([NAN, NAN], NAN, 0), ([2.0], 2.0, 1), ([NAN, 2.0, NAN], 2.0, 1)],
    ids=["none", "none defined", "one", "one defined"],
)
def test_of_fewer_than_two_there_is_no_interval(values, mean, count):
    found = estimate(torch.tensor(values))
    assert found.mean == mean or (math.isnan(found.mean) and math.isnan(mean))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert (found.count, found.total) == (count, len(values))


def test_what_is_not_defined_is_left_out_and_counted():
    found = estimate(torch.tensor([1.0, NAN, 2.0, 4.0, NAN]))
    known = estimate(torch.tensor([1.0, 2.0, 4.0]))
    assert (found.mean, found.low, found.high) == (known.mean, known.low, known.high)
    assert (found.count, found.total) == (3, 5)


def test_the_seed_decides_and_nothing_else():
    values = draws(8)
    torch.manual_seed(1)
    first, before = estimate(values, 1), torch.get_rng_state()
    torch.manual_seed(2)
    assert estimate(values, 1) == first
    assert estimate(values, 2) != first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - this is the one that must not move
    estimate(values)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_numbers_are_added_in_double_precision(dtype):
    values = torch.full((3001,), 0.5, dtype=dtype)
    values[0] = 1.5
    found = estimate(values.requires_grad_())
    assert found.mean == pytest.approx(0.5 + 1 / 3001, rel=1e-12)
    assert all(type(number) is float for number in (found.mean, found.low, found.high))


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (Estimate(0.5, 0.25, 0.751, 10, 10), "0.50 (0.25 to 0.75)"),
        (Estimate(0.5, 0.25, 0.751, 9, 10), "0.50 (0.25 to 0.75), 9 of 10"),
        (Estimate(-0.5, -0.75, -0.25, 2, 2), "-0.50 (-0.75 to -0.25)"),
        (Estimate(0.5, NAN, NAN, 1, 1), "0.50"),
        (Estimate(0.5, NAN, NAN, 1, 3), "0.50, 1 of 3"),
        (Estimate(NAN, NAN, NAN, 0, 3), "undefined"),
    ],
)
def test_an_estimate_is_printed(found, shown):
    assert str(found) == shown


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (Estimate(250.31, 249.8, 251.0, 9, 9), "250 (250 to 251)"),
        (Estimate(12.34, 9.87, 15.0, 9, 9), "12.3 (9.9 to 15.0)"),
        (Estimate(1.234, 0.987, 1.5, 9, 9), "1.23 (0.99 to 1.50)"),
        (Estimate(0.0123, 0.0099, 0.015, 9, 9), "0.012 (0.010 to 0.015)"),
        (Estimate(0.00123, 0.00099, 0.0015, 9, 9), "0.0012 (0.0010 to 0.0015)"),
        (Estimate(-2e-7, -3e-7, 0.0, 9, 9), "-0.00000020 (-0.00000030 to 0.00000000)"),
        (Estimate(0.0, 0.0, 0.0, 9, 9), "0.00 (0.00 to 0.00)"),
    ],
)
def test_an_estimate_has_the_digits_that_its_size_asks_for(found, shown):
    assert str(found) == shown
    assert found.shown == shown.split()[0]


def test_images_of_one_draw_are_drawn_together():
    """Numbers that depend on the draw alone tell of as many draws, however many images have each."""
    of_draws = draws(5)
    draw = torch.arange(100) % 5
    found, alone = estimate(of_draws[draw], 3, draw), estimate(of_draws, 3)
    assert found.mean == pytest.approx(alone.mean)
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert estimate(of_draws[draw], 3).high - estimate(of_draws[draw], 3).low < 0.3 * (found.high - found.low)


def test_within_a_draw_images_are_drawn_too():
    values = torch.cat([draws(50, 1), draws(30, 2) + 1, draws(10, 3), torch.full((1,), NAN, dtype=torch.float64)])
    draw = torch.tensor([0] * 50 + [1] * 30 + [2] * 10 + [3])
    rng = np.random.default_rng(0)
    groups = [values[draw == g].numpy() for g in range(3)]
    means = []
    for _ in range(4000):
        redrawn = [rng.choice(groups[g], len(groups[g])) for g in rng.integers(3, size=3)]
        means.append(np.concatenate(redrawn).mean())
    found = estimate(values, 0, draw)
    assert found.low == pytest.approx(np.percentile(means, 2.5), abs=0.04)
    assert found.high == pytest.approx(np.percentile(means, 97.5), abs=0.04)
    assert (found.count, found.total) == (90, 91)


def test_the_interval_is_scipys():
    values = draws(30, 4)
    drawn = scipy.stats.bootstrap((values.numpy(),), np.mean, n_resamples=9999, method="percentile", rng=1)
    found = estimate(values)
    assert found.low == pytest.approx(drawn.confidence_interval.low, abs=0.03)
    assert found.high == pytest.approx(drawn.confidence_interval.high, abs=0.03)


def test_nothing_is_printed_as_minus_zero():
    assert str(Estimate(-0.001, -0.4, 0.3, 10, 10)) == "0.00 (-0.40 to 0.30)"
