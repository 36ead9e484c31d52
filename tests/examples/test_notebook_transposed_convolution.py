"""What the notebook of the transposed convolution says is so: each number and step against another way to it."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import oracle
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deconv_attr.demo import Shapes, load_model, normalise

pytest.importorskip("IPython", reason="needs ipykernel: pip install ipykernel")

(NOTEBOOK,) = (Path(__file__).parents[2] / "examples").glob("1_*.ipynb")
RANDOM, FEW, TRAINED, ORTHOGONAL = range(4)
GEOMETRIES = {
    "plain": (6, 1, 0),
    "padding": (6, 1, 1),
    "stride": (6, 2, 0),
    "stride and padding": (30, 3, 1),
    "too few filters": (1, 1, 1),
    "too few filters with a stride": (3, 2, 1),
}
every_geometry = pytest.mark.parametrize(("filters", "stride", "padding"), GEOMETRIES.values(), ids=GEOMETRIES)
STEPS = ["rectify", "filter", "pass on", "unpool", "rectify", "filter", "pass on", "unpool", "rectify", "filter"]


@pytest.fixture(scope="module")
def run():
    """Run the code of the notebook: its names, and what it prints."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names = {}
    with redirect_stdout(StringIO()) as printed:
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
    return names, printed.getvalue()


@pytest.fixture(scope="module")
def names(run):
    return run[0]


@pytest.fixture(scope="module")
def image():
    """The image of the first part."""
    return normalise(Shapes(4, seed=7)[3][0])[None].double()


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(3)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def error(found, expected):
    return float((found - expected).square().sum().sqrt() / expected.square().sum().sqrt())


def back(y, weight, stride, padding, x):
    """Send y to the pixels as autograd does."""
    x = x.clone().requires_grad_()
    (signal,) = torch.autograd.grad(F.conv2d(x, weight, None, stride, padding), x, y)
    return signal


def unfolded(weight, stride, padding, shape):
    """Write the matrix out by windows: which values of the image each window reads, times the filters."""
    positions = torch.arange(1.0, 1 + shape.numel(), dtype=torch.float64).view(1, *shape)
    read = F.unfold(positions, weight.shape[2:], padding=padding, stride=stride)[0].long()  # 0: padding
    filters = weight.flatten(1)
    w = torch.zeros(len(filters), read.shape[1], 1 + shape.numel(), dtype=torch.float64)
    for window, values in enumerate(read.T):
        w[:, window].index_add_(1, values, filters)
    return w.flatten(0, 1)[:, 1:]


# ------------------------------------------------------------------------------------------ adjoint and inverse


@every_geometry
def test_the_matrix_and_the_transposed_convolution_are_w_and_its_transpose(filters, stride, padding, names, draw):
    weight, x = draw(filters, 2, 3, 3), draw(1, 2, 7, 8)
    w = unfolded(weight, stride, padding, x[0].shape)
    written = names["matrix"](lambda z: F.conv2d(z, weight, None, stride, padding), torch.Size((2, 7, 8)))
    assert torch.allclose(written, w, rtol=0, atol=1e-14)
    y = draw(*F.conv2d(x, weight, None, stride, padding).shape)
    found = names["transpose"](y, weight, stride, padding, x.shape[2:])
    assert torch.allclose(found.flatten(), w.T @ y.flatten(), rtol=1e-10)


@every_geometry
def test_least_squares_is_the_smallest_solution_of_the_explicit_matrix(filters, stride, padding, names, draw):
    weight, x = draw(filters, 2, 3, 3), draw(1, 2, 7, 8)
    y = F.conv2d(x, weight, None, stride, padding)
    y = y + 0.1 * draw(*y.shape)  # not the answer to any image
    found = names["least_squares"](y, weight, stride, padding, x.shape[2:])
    w = unfolded(weight, stride, padding, x[0].shape)
    expected = torch.linalg.lstsq(w, y.flatten(), driver="gelsd").solution
    assert torch.allclose(found.flatten(), expected, rtol=0, atol=1e-8 * float(expected.abs().max()))
    if filters * stride < 6:
        assert error(found, x) > 0.3, "this case is to lose something"


def test_the_basis_is_orthonormal(names, draw):
    basis = names["orthonormal"](draw(18, 2, 3, 3)).flatten(1)
    for product in (basis @ basis.T, basis.T @ basis):
        assert torch.allclose(product, torch.eye(18, dtype=torch.float64), atol=1e-13)


def test_the_question_restores_the_shape_and_not_the_values(run, image):
    names, printed = run
    assert names["back_in_size"].shape == image.shape != names["back"].shape
    assert error(names["back_in_size"], back(names["y"], names["conv"].weight, 2, 2, image)) < 1e-14
    off = error(names["back_in_size"], image)
    assert off > 0.5
    assert f"relative error of the values: {off:.2f}" in printed


def test_the_other_names_are_the_same_operation(names, image):
    assert error(names["by_torch"], names["by_matrix"]) < 1e-14
    assert names["above"] == pytest.approx(names["below"], rel=1e-12)
    assert abs(names["above"]) > 1
    assert error(names["again"], image) < 1e-14
    assert error(names["flipped"], back(names["maps"], names["weight"], 1, 1, image)) < 1e-14
    ones = torch.ones_like(names["y"])
    assert error(names["leaf"].grad, back(ones, names["conv"].weight, 2, 2, image)) < 1e-14
    assert error(names["ones_back"], names["leaf"].grad) < 1e-14


@pytest.mark.parametrize("number", [RANDOM, FEW, TRAINED, ORTHOGONAL])
def test_what_comes_back_by_the_transposed_filters_is_the_adjoint_at_its_best_scale(number, names, image):
    weight, stride, padding = list(names["convolutions"].values())[number]
    transposed, inverse = list(names["returned"].values())[number]
    y = F.conv2d(image, weight, None, stride, padding)
    adjoint = back(y, weight, stride, padding, image)
    best = torch.linalg.lstsq(adjoint.view(-1, 1), image.view(-1, 1)).solution.item()
    assert error(transposed, best * adjoint) < 1e-10
    if number != TRAINED:  # it comes close only
        # What is missing is seen by no filter, and orthogonal to all that is.
        assert error(F.conv2d(inverse, weight, None, stride, padding), y) < 1e-10
        assert abs((inverse * (image - inverse)).sum()) < 1e-9 * image.square().sum()


def test_what_is_lost_and_what_is_not(names, image):
    transposed, inverse = zip(
        *([error(one, image) for one in both] for both in names["returned"].values()), strict=True
    )
    assert all(transposed[number] > 0.3 for number in (RANDOM, FEW, TRAINED))
    assert inverse[RANDOM] < 1e-10
    assert max(transposed[ORTHOGONAL], inverse[ORTHOGONAL]) < 1e-10
    assert 0.5 < inverse[FEW] < transposed[FEW]
    assert 1e-3 < inverse[TRAINED] < 0.2


def test_the_picture_shows_what_came_back(names, image):
    drawn = [axes for axes in names["figure"].axes if axes.images]
    below = [pair[1] for pair in names["returned"].values()]
    above = [pair[0] for pair in names["returned"].values()]
    for axes, inputs in zip(drawn, [image, *above, *below], strict=True):
        colours = (inputs[0].permute(1, 2, 0) / 4 + 0.5).clamp(0, 1)
        assert torch.allclose(torch.as_tensor(axes.images[0].get_array()), colours, rtol=1e-12)
    assert [axes.get_title() for axes in drawn[8:]] == ["least squares, exact"]
    assert drawn[7].get_title() == f"least squares, {error(below[TRAINED], image):.0%} off"


# ------------------------------------------------------------------------------------------ one unit


def test_values_that_share_a_switch_add(names):
    """Two windows of 3x3, two columns apart: both have their maximum in the middle column, where 9 is."""
    x = torch.tensor([[1.0, 2, 0, 3, 4], [5, 0, 9, 0, 6], [7, 0, 0, 0, 8]]).view(1, 1, 3, 5)
    pooled, switches = F.max_pool2d(x, 3, 2, return_indices=True)
    assert pooled.flatten().tolist() == [9, 9]
    expected = torch.zeros(3, 5)
    expected[1, 2] = 10 - 4
    assert torch.equal(names["unpool"](torch.tensor([[[[10.0, -4]]]]), switches, x.shape)[0, 0], expected)


def test_rectifying_and_filtering_are_what_the_paper_says(names, draw):
    assert names["rectify"](torch.tensor([-2.0, 0, 3])).tolist() == [0, 0, 3]
    conv, x, signal = nn.Conv2d(2, 3, 3, stride=2, padding=1).double(), draw(1, 2, 8, 9), draw(1, 3, 4, 5)
    expected = back(signal, conv.weight, 2, 1, x)
    assert torch.allclose(names["filter_down"](signal, conv, x.shape), expected)


def test_the_signal_starts_at_the_strongest_unit_of_the_map(names):
    with torch.no_grad():
        maps = load_model().features[:10](names["x"])
    assert names["start"].count_nonzero() == 1
    assert torch.equal(names["start"][0, 41] > 0, maps[0, 41] == maps[0, 41].max())
    assert names["start"].max() == maps[0, 41].max()


@pytest.mark.parametrize("step", range(len(STEPS)), ids=lambda step: f"{9 - step} {STEPS[step]}")
def test_each_step_is_the_oracles(step, names):
    number, rule, signal = names["steps"][step]
    assert (number, rule) == (9 - step, STEPS[step])
    features = load_model().features[:10]
    with torch.no_grad():
        values = features[:number](names["x"])
    (expected,) = oracle.project(features[number:], (values,), names["start"])
    assert expected.any()
    assert oracle.relative_error(signal, expected) < 1e-6
    shape, count = names["rows"][step][2:]
    assert shape == " x ".join(map(str, values.shape[1:]))
    assert count == f"{sum(value != 0 for value in signal.flatten().tolist()):,}"


def test_it_is_the_map_of_the_library(names):
    assert names["by_hand"] is names["steps"][-1][2]
    assert oracle.relative_error(names["in_one_line"], names["by_hand"]) < 1e-6
    assert oracle.relative_error(names["found"].full(0)[None], names["by_hand"]) < 1e-6
    assert names["by_hand"].min() < 0 < names["by_hand"].max()
