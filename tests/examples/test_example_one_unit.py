"""The example of one unit by hand: each step against the oracle, and the whole against the library."""

import runpy
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import oracle
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deconv_attr.demo import Shapes, load_model, normalise

EXAMPLE = Path(__file__).parents[2] / "examples" / "one_unit.py"
STEPS = (
    "9 rectify",
    "8 filter",
    "7 pass on",
    "6 unpool",
    "5 rectify",
    "4 filter",
    "3 pass on",
    "2 unpool",
    "1 rectify",
    "0 filter",
)


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def run(example):
    """Run the example once: what it gives, and what it prints."""
    with redirect_stdout(StringIO()) as printed:
        return example["main"](), printed.getvalue()


@pytest.fixture(scope="module")
def image():
    return normalise(Shapes(1, seed=7)[0][0])[None]


@pytest.fixture(scope="module")
def features():
    return load_model().features[:10]


# ------------------------------------------------------------------------------------------ its parts


def test_values_that_share_a_switch_add(example):
    """Two windows of 3x3, two columns apart: both have their maximum in the middle column, where 9 is."""
    x = torch.tensor([[1.0, 2, 0, 3, 4], [5, 0, 9, 0, 6], [7, 0, 0, 0, 8]]).view(1, 1, 3, 5)
    pooled, switches = F.max_pool2d(x, 3, 2, return_indices=True)
    assert pooled.flatten().tolist() == [9, 9]
    expected = torch.zeros(3, 5)
    expected[1, 2] = 10 - 4
    assert torch.equal(example["unpool"](torch.tensor([[[[10.0, -4]]]]), switches, x.shape)[0, 0], expected)


def test_rectifying_and_filtering_are_what_the_paper_says(example):
    assert example["rectify"](torch.tensor([-2.0, 0, 3])).tolist() == [0, 0, 3]
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    x = torch.randn(1, 2, 8, 9, dtype=torch.float64, requires_grad=True)
    signal = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    (expected,) = torch.autograd.grad(conv(x), x, signal)
    assert torch.allclose(example["filter_down"](signal, conv, x.shape), expected)


def test_a_layer_without_a_rule_is_refused(example):
    _, calls = example["up"](nn.Sequential(nn.Conv2d(1, 1, 1), nn.GELU()), torch.ones(1, 1, 2, 2))
    with pytest.raises(NotImplementedError, match=r"features.1: no rule for GELU"):
        example["down"](torch.ones(1, 1, 2, 2), calls)


# ------------------------------------------------------------------------------------------ what it finds


def test_the_signal_starts_at_the_strongest_unit_of_the_map(run, features, image):
    found, _ = run
    with torch.no_grad():
        maps = features(image)
    assert found.activation == pytest.approx(float(maps[0, 41].max()))
    assert found.start.count_nonzero() == 1
    assert found.start[0, 41].max() == found.activation
    assert torch.equal(found.start[0, 41] > 0, maps[0, 41] == maps[0, 41].max())


@pytest.mark.parametrize("number", range(len(STEPS)), ids=STEPS)
def test_each_step_is_the_oracles(number, run, features, image):
    found, _ = run
    step, below = found.steps[number], 9 - number
    assert f"{step.name.removeprefix('features.')} {step.what}" == STEPS[number]
    with torch.no_grad():
        values = features[:below](image) if below else image
    (expected,) = oracle.project(features[below:], (values,), found.start)
    assert expected.any()
    assert step.signal.shape == values.shape
    assert oracle.relative_error(step.signal, expected) < 1e-6


def test_it_is_the_map_of_the_library(run):
    found, _ = run
    assert found.by_hand is found.steps[-1].signal
    assert oracle.relative_error(found.in_one_line, found.by_hand) < 1e-6
    assert oracle.relative_error(found.from_project, found.by_hand) < 1e-6
    assert found.by_hand.min() < 0 < found.by_hand.max()


# ------------------------------------------------------------------------------------------ what it shows


def test_it_prints_how_many_values_each_step_leaves(run):
    found, printed = run
    lines = [line.split() for line in printed.splitlines() if line.startswith("  features.")]
    assert len(lines) == len(found.steps)
    for line, step in zip(lines, found.steps, strict=True):
        assert line[0] == step.name
        assert line[-4:] == [
            "x".join(map(str, step.signal[0].shape)),
            f"{sum(value != 0 for value in step.signal.flatten().tolist()):,}",
            f"{step.signal.min():.4f}",
            f"{step.signal.max():.4f}",
        ]
    assert f"activation of {found.activation:.3f}. All 9,215 others" in printed
    for found_in_one_line in (found.in_one_line, found.from_project):
        assert f"{(found_in_one_line - found.by_hand).abs().max():.0e}\n" in printed
