"""Maps against those of another class, the image, its edges and each other: where the answer is known."""

import warnings

import pytest
import torch
from captum.attr import Saliency
from state import snapshot
from torch import nn

from deconv_attr import DeadSignalWarning
from deconv_attr.evidence import (
    edge_similarity,
    estimate,
    input_recovery,
    method_agreement,
    pearson,
    spearman,
    target_sensitivity,
)
from deconv_attr.evidence.methods import Method, controls

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(3, 3, 5, 7, generator=GENERATOR)
MAPS = torch.randn(3, 3, 5, 7, generator=GENERATOR)
TARGET, OTHER = torch.tensor([0, 1, 3]), torch.tensor([2, 0, 1])
ONES = torch.ones(3, dtype=torch.float64)
NET = nn.Sequential(nn.Flatten(), nn.Linear(105, 4, bias=False)).eval()
with torch.no_grad():
    NET[1].weight.copy_(torch.randn(4, 105, generator=GENERATOR))


@pytest.fixture(autouse=True)
def _seed_each_test():
    GENERATOR.manual_seed(1)


# ---------------------------------------------------------------------------------- another class


def test_gradients_of_a_linear_model_differ_as_its_weights_do():
    before = snapshot(NET, X, TARGET, OTHER)
    saliency = Method(Saliency(NET), arguments={"abs": False})
    signed, absolute = target_sensitivity(NET, saliency, X, TARGET, OTHER)
    first, second = NET[1].weight[TARGET], NET[1].weight[OTHER]
    assert torch.equal(signed, spearman(first, second))
    assert torch.equal(absolute, spearman(first.abs(), second.abs()))
    assert snapshot(NET, X, TARGET, OTHER) == before


@pytest.mark.parametrize("method", controls(), ids=lambda method: method.label)
def test_a_method_that_ignores_the_class_scores_1(method):
    for found in target_sensitivity(NET, method, X, TARGET, OTHER):
        torch.testing.assert_close(found, ONES)


def test_of_two_probabilities_only_the_signs_differ():
    net = nn.Sequential(nn.Flatten(), nn.Linear(105, 2).double(), nn.Softmax(1))
    zeros = torch.zeros(3, dtype=torch.long)
    saliency = Method(Saliency(net), arguments={"abs": False})
    signed, absolute = target_sensitivity(net, saliency, X.double(), zeros, zeros + 1)
    torch.testing.assert_close(signed, -ONES)
    assert (absolute > 0.999).all()  # the two differ by rounding


def test_maps_that_are_zero_have_no_number_and_raise_no_warning():
    def dies(model, inputs, target):
        warnings.warn("dead", DeadSignalWarning, stacklevel=1)
        return MAPS * (target != 0).view(-1, 1, 1, 1)  # class 0 is the first image's, and the second's other

    for found in target_sensitivity(NET, dies, X, TARGET, OTHER):
        assert found.isnan().tolist() == [True, True, False]


# -------------------------------------------------------------------------------------- the image


@pytest.mark.parametrize("factor", [1, -1, 0.01, -300])
def test_a_copy_of_the_image_is_caught(factor):
    torch.testing.assert_close(input_recovery(factor * X, X), ONES)
    torch.testing.assert_close(input_recovery(factor * X.mean(1, keepdim=True), X), ONES)


def test_the_control_that_copies_is_caught_and_noise_is_not():
    noise, copy = (input_recovery(method(NET, X, TARGET), X) for method in controls())
    torch.testing.assert_close(copy, ONES)
    assert (noise < 0.3).all()


def test_recovery_is_a_correlation_of_values_without_sign():
    assert torch.equal(input_recovery(MAPS, X), pearson(MAPS, X).abs())
    single = MAPS[:, :1]
    assert torch.equal(input_recovery(single, X), pearson(single, (X[:, :1] + X[:, 1:2] + X[:, 2:]) / 3).abs())
    assert not torch.allclose(input_recovery(X.exp(), X), ONES, atol=0.05)


def test_recovery_of_nothing_has_no_number():
    maps, inputs = X.clone(), X.clone()
    maps[0], inputs[1] = 0, 0.3
    assert input_recovery(maps, inputs).isnan().tolist() == [True, True, False]


# -------------------------------------------------------------------------------------- the edges


def edges_by_hand(image):
    """Sobel's gradient of the mean channel, pixel by pixel; beyond the border its pixels go on."""
    grey = image.double().mean(0)
    height, width = grey.shape
    edges = torch.zeros(height, width, dtype=torch.float64)

    def at(i, j):
        return grey[min(max(i, 0), height - 1), min(max(j, 0), width - 1)].item()

    for i in range(height):
        for j in range(width):
            weighted = [(-1, 1), (0, 2), (1, 1)]
            across = sum(weight * (at(i + k, j + 1) - at(i + k, j - 1)) for k, weight in weighted)
            down = sum(weight * (at(i + 1, j + k) - at(i - 1, j + k)) for k, weight in weighted)
            edges[i, j] = (across**2 + down**2) ** 0.5
    return edges


def test_edges_are_sobels():
    expected = [spearman(m.abs().amax(0)[None], edges_by_hand(x)[None]).item() for m, x in zip(MAPS, X, strict=True)]
    assert edge_similarity(MAPS, X).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_map_of_the_edges_is_caught_whatever_its_sign_and_channel():
    edges = torch.stack([edges_by_hand(image) for image in X])
    maps = torch.zeros_like(X)
    maps[:, 1] = -(edges**3)
    torch.testing.assert_close(edge_similarity(maps, X), ONES)
    torch.testing.assert_close(edge_similarity(edges[:, None], X), ONES)


@pytest.mark.parametrize("turn", [False, True], ids=["upright", "level"])
def test_a_step_has_its_edge_on_both_sides(turn):
    step, marked = torch.zeros(1, 3, 6, 8), torch.zeros(1, 1, 6, 8)
    step[..., 4:] = 1
    marked[..., 3:5] = 1
    if turn:
        step, marked = step.transpose(2, 3), marked.transpose(2, 3)
    assert edge_similarity(marked, step).item() == pytest.approx(1)
    assert edge_similarity(1 - marked, step).item() == pytest.approx(-1)
    assert edge_similarity(step, step).item() == pytest.approx(0)  # half of the edge is on each side


def test_flat_images_and_maps_have_no_number():
    maps, inputs = MAPS.clone(), X.clone()
    maps[0] = 0
    inputs[1] = torch.tensor([0.1, 0.2, 0.7]).view(3, 1, 1)
    assert edge_similarity(maps, inputs).isnan().tolist() == [True, True, False]


def test_flat_regions_have_no_edges_whatever_their_colour():
    step = torch.zeros(8, 3, 32, 32)
    step[..., 16:] = 1
    colours = torch.rand(2, 8, 3, 1, 1, generator=GENERATOR)
    maps = step + torch.rand(step.shape, generator=GENERATOR)
    painted = torch.where(step > 0, *colours)
    torch.testing.assert_close(edge_similarity(maps, painted), edge_similarity(maps, step))


def test_edges_of_a_signal_are_its_slopes():
    signal = torch.tensor([[[0.0, 0, 0, 1, 3, 3, 3, 2]]])
    slopes = torch.tensor([[[0.0, 0, 1, 3, 2, 0, 1, 1]]])
    assert edge_similarity(slopes**3, signal).item() == pytest.approx(1)
    assert edge_similarity(slopes.expand(1, 3, 8), signal.expand(1, 3, 8)).item() == pytest.approx(1)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_edges_of_a_volume_that_is_even_along_an_axis_are_those_of_the_image(axis):
    volume, maps = (tensor.unsqueeze(axis).expand([-1, -1, *[6 if a == axis else -1 for a in (2, 3, 4)]])
                    for tensor in (X, MAPS))  # fmt: skip
    torch.testing.assert_close(edge_similarity(maps, volume), edge_similarity(MAPS, X))


@pytest.mark.parametrize("size", [(35,), (5, 1, 7)], ids=["signals", "volumes"])
def test_signals_and_volumes_are_compared_as_images_are(size):
    maps, inputs = MAPS.view(3, 3, *size), X.view(3, 3, *size)
    torch.testing.assert_close(input_recovery(maps, inputs), input_recovery(MAPS, X))
    torch.testing.assert_close(input_recovery(maps[:, :1], inputs), input_recovery(MAPS[:, :1], X))
    found = method_agreement({"a": maps, "b": inputs[:, :1]}).rows[0][2]
    assert found == method_agreement({"a": MAPS, "b": X[:, :1]}).rows[0][2]


def test_known_maps_are_not_made_again():
    calls = []
    method = Method(lambda model, inputs, target: calls.append(1) or MAPS * (1 + target.view(3, 1, 1, 1)))
    expected = target_sensitivity(NET, method, X, TARGET, OTHER)
    found = target_sensitivity(NET, method, X, TARGET, OTHER, maps=method(NET, X, TARGET))
    assert len(calls) == 4
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


# ------------------------------------------------------------------------------------ each other


def test_methods_are_compared_in_pairs():
    first, second = torch.randn(2, 9, 3, 5, 7, generator=GENERATOR)
    found = method_agreement({"a": first, "b": second, "c": -first}, seed=3)
    assert found.header == ["method", "a", "b", "c"]
    expected = estimate(spearman(first, second), 3)
    assert [list(row) for row in found.rows][:2] == [
        ["a", 1.0, expected, estimate(spearman(first, -first), 3)],
        ["b", expected, 1.0, estimate(spearman(second, -first), 3)],
    ]
    assert method_agreement({"a": first, "b": second}, seed=4).rows[0][2] != expected


def test_methods_can_be_compared_without_signs():
    found = method_agreement({"a": MAPS, "b": X, "c": -MAPS}, absolute=True)
    assert found.rows[0][3].mean == pytest.approx(1)
    assert found.rows[0][2] == estimate(spearman(MAPS.abs().amax(1), X.abs().amax(1)))


def test_a_map_of_one_channel_is_compared_by_strength():
    single = -MAPS.abs().amax(1, keepdim=True)
    found = method_agreement({"a": MAPS, "one": single, "two": single})
    assert found.rows[0][2].mean == pytest.approx(1)
    assert found.rows[1][3].mean == pytest.approx(1)
    assert found.rows[1][3] == estimate(spearman(single, single))


def test_zero_maps_are_counted_out():
    dead = MAPS.clone()
    dead[1] = 0
    cell = method_agreement({"a": dead, "b": X}).rows[1][1]
    assert (cell.count, cell.total) == (2, 3)
