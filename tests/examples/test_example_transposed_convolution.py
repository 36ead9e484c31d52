"""What the example of the transposed convolution says is so: each number against another way to it."""

import runpy
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

EXAMPLE = Path(__file__).parents[2] / "examples" / "transposed_convolution.py"
RANDOM, FEW, TRAINED, ORTHOGONAL = (
    "12 random filters, 5x5, stride 1",
    "4 random filters, 5x5, stride 2",
    "16 trained filters, 7x7, stride 2",
    "48 orthogonal filters, 4x4, stride 4",
)
GEOMETRIES = {
    "plain": (6, 1, 0),
    "padding": (6, 1, 1),
    "stride": (6, 2, 0),
    "stride and padding": (30, 3, 1),
    "too few filters": (1, 1, 1),
    "too few filters with a stride": (3, 2, 1),
}
every_geometry = pytest.mark.parametrize(("filters", "stride", "padding"), GEOMETRIES.values(), ids=GEOMETRIES)


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return tmp_path_factory.mktemp("example") / "picture.png"


@pytest.fixture(scope="module")
def run(example, picture):
    """Run the example once: what it gives, and what it prints."""
    with redirect_stdout(StringIO()) as printed:
        return example["main"](picture), printed.getvalue()


@pytest.fixture(scope="module")
def answer(run):
    return run[0]


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(3)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def error(found, expected):
    return float((found - expected).square().sum().sqrt() / expected.square().sum().sqrt())


def back(convolution, y, x):
    """Send y to the pixels as autograd does."""
    x = x.clone().requires_grad_()
    (signal,) = torch.autograd.grad(
        F.conv2d(x, convolution.weight, None, convolution.stride, convolution.padding), x, y
    )
    return signal


def unfolded(convolution, shape):
    """Write the matrix out by windows: which values of the image each window reads, times the filters."""
    window = convolution.weight.shape[2:]
    places = torch.arange(1.0, 1 + shape.numel(), dtype=torch.float64).view(1, *shape)
    read = F.unfold(places, window, padding=convolution.padding, stride=convolution.stride)[0].long()  # 0: padding
    filters = convolution.weight.flatten(1)
    w = torch.zeros(len(filters), read.shape[1], 1 + shape.numel(), dtype=torch.float64)
    for number, places_of_window in enumerate(read.T):
        w[:, number].index_add_(1, places_of_window, filters)
    return w.flatten(0, 1)[:, 1:]


# ------------------------------------------------------------------------------------------ its parts


@every_geometry
def test_the_matrix_and_the_transposed_convolution_are_w_and_its_transpose(filters, stride, padding, example, draw):
    convolution = example["Convolution"](draw(filters, 2, 3, 3), stride, padding)
    x = draw(1, 2, 7, 8)
    w = unfolded(convolution, x.shape[1:])
    y = draw(*convolution.forward(x).shape)
    assert torch.allclose(example["matrix"](convolution, (2, 7, 8)), w, rtol=0, atol=1e-14)
    assert torch.allclose(convolution.transposed(y, x.shape[2:]).flatten(), w.T @ y.flatten(), rtol=1e-10)


@every_geometry
def test_least_squares_is_the_smallest_solution_of_the_explicit_matrix(filters, stride, padding, example, draw):
    convolution = example["Convolution"](draw(filters, 2, 3, 3), stride, padding)
    x = draw(1, 2, 7, 8)
    w = unfolded(convolution, x.shape[1:])
    y = convolution.forward(x) + 0.1 * draw(*convolution.forward(x).shape)  # not the answer to any image
    found = example["least_squares"](convolution, y, x.shape[2:])
    expected = torch.linalg.lstsq(w, y.flatten(), driver="gelsd").solution
    assert torch.allclose(found.flatten(), expected, rtol=0, atol=1e-8 * float(expected.abs().max()))
    if filters * stride < 6:
        assert error(found, x) > 0.3, "this case is to lose something"


def test_the_basis_is_orthonormal_and_spans_what_the_filters_spanned(example, draw):
    filters = draw(18, 2, 3, 3)
    basis = example["orthonormal"](filters).flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(18, dtype=torch.float64), atol=1e-13)
    assert torch.allclose(basis.T @ basis, torch.eye(18, dtype=torch.float64), atol=1e-13)


# ------------------------------------------------------------------------------------------ what it finds


def test_the_question_as_asked_restores_the_shape_and_not_the_values(answer):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 16, 5, stride=2, padding=2, bias=False).double()
    x = answer.image.clone().requires_grad_()
    y = conv(x)
    (signal,) = torch.autograd.grad(y, x, y)
    assert answer.as_asked == pytest.approx(error(signal, answer.image), rel=1e-10)
    assert answer.as_asked > 0.5


def test_the_numbers_of_the_parts_are_those_of_the_answer(answer):
    above, below = answer.adjoint
    assert above == pytest.approx(below, rel=1e-12)
    assert abs(above) > 1
    assert answer.gaps["orthogonal"] < 1e-14
    assert 0.5 < answer.gaps["random"] < 2
    assert answer.flipped < 1e-14
    assert answer.gradient < 1e-14


@pytest.mark.parametrize("part", ["adjoint", "flipped_filters", "gradient"])
def test_the_numbers_of_the_parts_are_measured(part, example, answer, monkeypatch):
    right = example["Convolution"].transposed
    monkeypatch.setattr(example["Convolution"], "transposed", lambda *given: right(*given).flip(3))
    found = example[part](answer.image)
    difference = abs(found[0] / found[1] - 1) if part == "adjoint" else found
    assert difference > 0.1


@pytest.mark.parametrize("name", [RANDOM, FEW, TRAINED, ORTHOGONAL])
def test_what_comes_back_by_the_transposed_filters_is_the_adjoint_at_its_best_scale(name, answer):
    case, x = answer.cases[name], answer.image
    y = F.conv2d(x, case.convolution.weight, None, case.convolution.stride, case.convolution.padding)
    adjoint = back(case.convolution, y, x)
    scales = case.transposed / adjoint
    assert torch.allclose(case.transposed, scales.median() * adjoint, rtol=0, atol=1e-10)
    best = torch.linalg.lstsq(adjoint.view(-1, 1), x.view(-1, 1)).solution.item()
    assert scales.median().item() == pytest.approx(best, rel=1e-9)
    assert case.numbers == y.numel() / x.numel()
    expected = [error(z, x) for z in (adjoint, best * adjoint, case.inverse)]
    assert case.errors == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", [RANDOM, FEW, ORTHOGONAL])
def test_least_squares_gives_what_the_filters_see_of_the_image_and_nothing_else(name, answer):
    case, x = answer.cases[name], answer.image
    of_the_inverse, of_the_image = case.convolution.forward(case.inverse), case.convolution.forward(x)
    assert error(of_the_inverse, of_the_image) < 1e-10
    # What is missing is seen by no filter, and orthogonal to all that is.
    assert abs((case.inverse * (x - case.inverse)).sum()) < 1e-9 * x.square().sum()


def test_what_is_lost_and_what_is_not(answer):
    of_transposed = {name: case.errors[1] for name, case in answer.cases.items()}
    of_inverse = {name: case.errors[2] for name, case in answer.cases.items()}
    assert all(of_transposed[name] > 0.3 for name in (RANDOM, FEW, TRAINED))
    assert of_inverse[RANDOM] < 1e-10
    assert max(answer.cases[ORTHOGONAL].errors) < 1e-10
    assert 0.5 < of_inverse[FEW] < of_transposed[FEW]
    assert 1e-3 < of_inverse[TRAINED] < 0.2


# ------------------------------------------------------------------------------------------ what it shows


def test_the_picture_shows_what_came_back(example, answer, picture):
    figure = example["draw"](answer.image, answer.cases)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    expected = [answer.image] + [z for case in answer.cases.values() for z in (case.transposed, case.inverse)]
    assert len(shown) == len(expected) == 9
    for found, inputs in zip(shown, expected, strict=True):
        np.testing.assert_allclose(found, (inputs[0].permute(1, 2, 0).numpy() / 4 + 0.5).clip(0, 1), rtol=1e-12)
    assert titles[7:] == ["transposed: exact", "least squares: exact"]
    assert titles[5:7] == [
        f"{kind}: {100 * e:.0f}% off"
        for kind, e in zip(("transposed", "least squares"), answer.cases[TRAINED].errors[1:], strict=True)
    ]
    with Image.open(picture) as written:
        assert written.size == (1740, 810)


def test_it_prints_the_numbers_that_it_gives(run):
    found, printed = run
    assert f"relative error {found.as_asked:.2f}" in printed
    assert f"<W x, y> = {found.adjoint[0]:.6f} and <x, W^T y> = {found.adjoint[1]:.6f}" in printed
    for name, case in found.cases.items():
        (line,) = (line for line in printed.splitlines() if line.strip().startswith(name))
        written = [float(part) for part in line.strip().removeprefix(name).split()]
        assert written == pytest.approx([case.numbers, *case.errors], rel=0.06)
    assert "does not invert the network" in printed
