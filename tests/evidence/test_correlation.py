"""Correlations against their definitions, written as double loops, and against scipy."""

import math

import pytest
import torch
from scipy import stats

from deconv_attr.evidence import pearson, spearman

GENERATOR = torch.Generator().manual_seed(0)
SMOOTH = torch.randn(4, 3, 5, 7, generator=GENERATOR, dtype=torch.float64)
OTHER = torch.randn(4, 3, 5, 7, generator=GENERATOR, dtype=torch.float64) + SMOOTH / 2
TIED = torch.randint(-3, 3, (4, 3, 5, 7), generator=GENERATOR).double()
SPARSE = SMOOTH * (SMOOTH > 1)  # as maps often are: zero nearly everywhere

PAIRS = [(SMOOTH, OTHER), (TIED, OTHER), (SPARSE, TIED), (SPARSE, SPARSE.abs()), (TIED, -TIED)]
IDS = ["smooth", "ties", "ties in both", "sparse", "opposite"]


def ranks_by_definition(values):
    """How many are smaller, and half of the others that are equal."""
    return [sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2 for a in values]


def pearson_by_definition(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))


def flat(maps):
    return [image.flatten().tolist() for image in maps]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=IDS)
def test_pearson_is_its_definition(first, second):
    expected = [pearson_by_definition(a, b) for a, b in zip(flat(first), flat(second), strict=True)]
    assert pearson(first, second).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=IDS)
def test_spearman_is_pearson_of_ranks(first, second):
    pairs = zip(flat(first), flat(second), strict=True)
    expected = [pearson_by_definition(ranks_by_definition(a), ranks_by_definition(b)) for a, b in pairs]
    assert spearman(first, second).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=IDS)
def test_scipy_agrees(first, second):
    for found, measure in ((spearman, stats.spearmanr), (pearson, stats.pearsonr)):
        expected = [measure(a, b).statistic for a, b in zip(flat(first), flat(second), strict=True)]
        assert found(first, second).tolist() == pytest.approx(expected, abs=1e-12)


def test_ranks_do_not_see_what_keeps_the_order():
    assert torch.equal(spearman(SMOOTH.exp() ** 3, OTHER), spearman(SMOOTH, OTHER))
    assert not torch.allclose(pearson(SMOOTH.exp() ** 3, OTHER), pearson(SMOOTH, OTHER), atol=0.05)


@pytest.mark.parametrize("correlate", [pearson, spearman])
def test_a_map_correlates_with_itself_and_its_negative(correlate):
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(correlate(SPARSE, 3 * SPARSE + 2), ones)
    torch.testing.assert_close(correlate(SPARSE, -SPARSE), -ones)
    assert correlate(SMOOTH, 7 * SMOOTH).max() <= 1


@pytest.mark.parametrize("correlate", [pearson, spearman])
@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 0.7, 1 / 3, 1e-9, 1e9 + 1 / 7])  # some means are not exact
def test_a_constant_correlates_with_nothing(correlate, constant):
    first, second = SMOOTH.clone(), OTHER.clone()
    first[1] = constant
    second[2] = constant
    found = correlate(first, second)
    assert found.isnan().tolist() == [False, True, True, False]
    assert torch.equal(found[[0, 3]], correlate(SMOOTH, OTHER)[[0, 3]])


def test_what_scipy_warns_of_raises_no_warning():
    """Nearly constant values, and infinite ones: a warning would be an error here."""
    nearly, infinite = torch.full((1, 9), 1e9, dtype=torch.float64), SMOOTH[0].reshape(1, -1)[:, :9].clone()
    nearly[0, 4] += 1e-6
    infinite[0, 2] = torch.inf
    assert pearson(nearly, infinite).isnan().all()
    assert spearman(nearly, infinite).isfinite().all()
    assert pearson(nearly, nearly).item() == pytest.approx(1)


@pytest.mark.parametrize("correlate", [pearson, spearman])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_correlations_are_computed_in_double_precision(correlate, dtype):
    first, second = SMOOTH.to(dtype), OTHER.to(dtype).requires_grad_()
    found = correlate(first, second)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    assert torch.equal(found, correlate(first.double(), second.detach().double()))


def test_channels_are_pixels_of_one_map():
    turned = SMOOTH.permute(0, 2, 3, 1)
    torch.testing.assert_close(spearman(turned, OTHER.permute(0, 2, 3, 1)), spearman(SMOOTH, OTHER))
    last = SMOOTH.contiguous(memory_format=torch.channels_last)
    assert torch.equal(spearman(last, OTHER), spearman(SMOOTH, OTHER))


@pytest.mark.parametrize("correlate", [pearson, spearman])
def test_each_image_is_correlated_alone(correlate):
    alone = [correlate(a[None], b[None]).item() for a, b in zip(TIED, OTHER, strict=True)]
    assert correlate(TIED, OTHER).tolist() == pytest.approx(alone, abs=1e-15)


def test_maps_of_other_images_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        spearman(SMOOTH, OTHER[:3])
