"""The question this project began with: does ConvTranspose2d with a Conv2d's weights give the input back?

No. It is the adjoint, not the inverse. The four statements of the answer, over strides, paddings, dilations, groups.
"""

import pytest
import torch
import torch.nn.functional as F

GEOMETRIES = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 1},
    "stride and padding": {"stride": 3, "padding": 2},
    "dilation": {"dilation": 2},
    "groups": {"groups": 2},
    "everything": {"stride": 2, "padding": 1, "dilation": 2, "groups": 4},
}
every_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def weights(draw, geometry):
    return draw(8, 4 // geometry.get("groups", 1), 3, 3)


def leftover(x, y, weight, geometry):
    """The `output_padding` that brings back the shape of x: what a stride left undetermined."""
    smallest = F.conv_transpose2d(y, weight, **geometry).shape
    return [n - m for n, m in zip(x.shape[2:], smallest[2:], strict=True)]


def transposed(x, y, weight, geometry):
    return F.conv_transpose2d(y, weight, output_padding=leftover(x, y, weight, geometry), **geometry)


def matrix(weight, shape, geometry):
    """The convolution as a matrix W: column j is the convolution of the j-th unit image."""
    units = torch.eye(shape.numel(), dtype=torch.float64).view(-1, *shape)
    return F.conv2d(units, weight, **geometry).flatten(1).T


@every_geometry
def test_1_the_transposed_convolution_restores_the_shape_and_not_the_values(geometry, draw):
    weight, x = weights(draw, geometry), draw(2, 4, 11, 12)
    y = F.conv2d(x, weight, **geometry)
    back = transposed(x, y, weight, geometry)
    assert back.shape == x.shape
    assert (back - x).norm() > 0.5 * x.norm()


def test_1_without_output_padding_a_stride_leaves_the_size_open(draw):
    weight = draw(8, 4, 3, 3)
    outputs = [F.conv2d(draw(1, 4, n, n), weight, stride=2) for n in (11, 12)]
    assert outputs[0].shape == outputs[1].shape  # two input sizes, one output size
    assert F.conv_transpose2d(outputs[0], weight, stride=2).shape[-1] == 11
    assert F.conv_transpose2d(outputs[1], weight, stride=2, output_padding=1).shape[-1] == 12


@every_geometry
def test_1_it_is_the_adjoint(geometry, draw):
    """<W x, y> = <x, W^T y> for any x and y."""
    weight, x = weights(draw, geometry), draw(2, 4, 11, 12)
    y = torch.randn_like(F.conv2d(x, weight, **geometry))
    assert torch.allclose((F.conv2d(x, weight, **geometry) * y).sum(), (x * transposed(x, y, weight, geometry)).sum())


@every_geometry
def test_2_as_matrices_they_are_w_and_w_transposed(geometry, draw):
    weight, x = weights(draw, geometry), draw(1, 4, 7, 8)
    w = matrix(weight, x.shape[1:], geometry)
    y = F.conv2d(x, weight, **geometry)
    assert torch.allclose(w @ x.flatten(), y.flatten(), rtol=1e-10)
    assert torch.allclose(w.T @ y.flatten(), transposed(x, y, weight, geometry).flatten(), rtol=1e-10)
    assert not torch.allclose(w.T @ w, torch.eye(x.numel(), dtype=torch.float64), atol=0.1)


@pytest.mark.parametrize("groups", [1, 2])
def test_2_an_orthogonal_filter_brings_the_values_back(groups, draw):
    """Windows that tile the image, and filters that are an orthonormal basis of a window's values: W^T W = I."""
    size = 4 // groups * 9
    bases = [torch.linalg.qr(draw(size, size)).Q for _ in range(groups)]
    weight = torch.cat(bases).view(groups * size, 4 // groups, 3, 3)
    x = draw(2, 4, 12, 9)
    y = F.conv2d(x, weight, stride=3, groups=groups)
    assert torch.allclose(F.conv_transpose2d(y, weight, stride=3, groups=groups), x, rtol=0, atol=1e-12)
    w = matrix(weight, x[0].shape, {"stride": 3, "groups": groups})
    assert torch.allclose(w.T @ w, torch.eye(x[0].numel(), dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_3_it_is_a_full_convolution_with_the_flipped_and_swapped_filter(padding, dilation, groups, draw):
    weight, x = draw(8, 4 // groups, 3, 3), draw(2, 4, 11, 12)
    y = F.conv2d(x, weight, padding=padding, dilation=dilation, groups=groups)
    parts = weight.view(groups, 8 // groups, 4 // groups, 3, 3)
    flipped = parts.transpose(1, 2).reshape(4, 8 // groups, 3, 3).flip(2, 3)
    full = F.conv2d(y, flipped, padding=2 * dilation - padding, dilation=dilation, groups=groups)
    back = F.conv_transpose2d(y, weight, padding=padding, dilation=dilation, groups=groups)
    assert torch.allclose(full, back, rtol=1e-10)


@every_geometry
def test_4_it_is_the_gradient_of_the_convolution(geometry, draw):
    weight, x = weights(draw, geometry), draw(2, 4, 11, 12).requires_grad_()
    y = F.conv2d(x, weight, **geometry)
    y.sum().backward()
    assert torch.allclose(x.grad, transposed(x, torch.ones_like(y), weight, geometry), rtol=1e-10)
