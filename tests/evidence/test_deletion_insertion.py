"""Deletion and insertion against a loop over pixels, and where the best order is known."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from state import snapshot
from torch import nn

from deconv_attr.errors import InputError
from deconv_attr.evidence import area, deletion, insertion, scores_of

GENERATOR = torch.Generator().manual_seed(0)
CURVES = {"deletion": deletion, "insertion": insertion}


def noise(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def classifier(end=None):
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)
    )
    for parameter in net.parameters():
        parameter.data = noise(*parameter.shape)
    return net.append(end).eval() if end else net.eval()


def recorded(net):
    seen = []
    net.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    return seen


NET = classifier()
TARGET = torch.tensor([3, 0])


def mean_colour(image):
    return image.mean((1, 2), keepdim=True).expand_as(image)


def blurred(image):
    """Weigh the neighbours by a Gaussian of 5 pixels, in a window of 11 or less; beyond the border is a mirror."""
    for axis in (1, 2):
        size = image.shape[axis]
        reach = min(11, size if size % 2 else size - 1) // 2
        weights = np.exp(-np.square(np.arange(-reach, reach + 1)) / 50)
        weights /= weights.sum()
        padded = np.pad(image.numpy(), [(reach, reach) if each == axis else (0, 0) for each in range(3)], "reflect")
        shifted = [np.take(padded, range(start, start + size), axis) for start in range(2 * reach + 1)]
        image = torch.from_numpy(sum(weight * part for weight, part in zip(weights, shifted, strict=True)))
    return image


RANKS = {"value": lambda values: values.sum(0), "size": lambda values: values.abs().amax(0)}


def by_hand(name, image, heat, target, steps):
    """Follow the probability for one image, pixel by pixel."""
    before, after = (image, mean_colour(image)) if name == "deletion" else (blurred(image), image)
    height, width = heat.shape
    order = sorted(((i, j) for i in range(height) for j in range(width)), key=lambda place: -heat[place].item())
    curve = []
    for step in range(steps + 1):
        shown = before.clone()
        for i, j in order[: round(step * len(order) / steps)]:
            shown[:, i, j] = after[:, i, j]
        curve.append(NET(shown[None]).softmax(1)[0, target].item())
    return curve


@pytest.fixture(autouse=True)
def _seed_each_test():
    GENERATOR.manual_seed(1)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(
    ("size", "steps"), [((6, 8), 16), ((5, 7), 4), ((13, 4), 1), ((3, 3), 20), ((1, 2), 2), ((1, 1), 3)]
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rank_by", RANKS)
def test_a_curve_is_that_of_a_loop_over_pixels(name, size, steps, channels, rank_by):
    inputs, maps = noise(2, 3, *size), noise(2, channels, *size)
    found = CURVES[name](NET, maps, inputs, TARGET, steps=steps, rank_by=rank_by)
    assert found.shape == (steps + 1, 2)
    assert found.dtype == torch.float64
    for image in range(2):
        expected = by_hand(name, inputs[image], RANKS[rank_by](maps[image]), TARGET[image], steps)
        assert found[:, image].tolist() == pytest.approx(expected, abs=1e-12)


def test_pixels_go_in_equal_parts_and_channels_together():
    net, inputs, maps = classifier(), noise(1, 3, 5, 7), noise(1, 3, 5, 7)
    seen = recorded(net)
    deletion(net, maps, inputs, TARGET[:1], steps=4, outputs="logits")
    gone = [(shown != inputs).all(1).sum().item() for shown in seen]
    assert gone == [0, 9, 18, 26, 35]
    assert all(torch.equal((shown != inputs).any(1), (shown != inputs).all(1)) for shown in seen)


def evidence():
    """Make a linear model, an image, and what each pixel adds to the score; nothing where it has the mean colour."""
    inputs = noise(1, 1, 6, 6)
    inputs -= inputs.mean()
    weight = noise(1, 36).abs() * inputs.flatten(1).sign()
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False).double())
    with torch.no_grad():
        net[1].weight.copy_(torch.cat([weight, 0 * weight]) / 3)
    return net, inputs, (weight.view_as(inputs) * inputs / 3)


def test_the_best_map_of_a_linear_model_is_found_best_by_deletion():
    net, inputs, shares = evidence()
    zero = torch.tensor([0])
    found = deletion(net, shares, inputs, zero, steps=36)[:, 0]
    left = shares.sum() - torch.cat([torch.zeros(1), shares.flatten().sort(descending=True).values.cumsum(0)])
    torch.testing.assert_close(found, left.sigmoid())
    best, worst = area(found), area(deletion(net, 1 / shares, inputs, zero, steps=36))[0]
    others = [area(deletion(net, noise(1, 1, 6, 6), inputs, zero, steps=36))[0] for _ in range(20)]
    assert best < min(others)
    assert worst > max(others)


def contributions():
    """Make a linear model, an image, and what each pixel adds to the score or takes from it, exactly."""
    inputs = noise(1, 3, 6, 6)
    inputs -= inputs.mean((2, 3), keepdim=True)  # so that a deleted pixel adds nothing
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 1, bias=False).double(), nn.Sigmoid())
    net[1].weight.data = noise(1, 108) / 5
    return net, inputs, net[1].weight.detach().view(1, 3, 6, 6) * inputs


def test_an_exact_signed_map_beats_its_positive_part_and_its_size():
    net, inputs, exact = contributions()
    pixels = exact.sum(1, keepdim=True)
    zero = torch.tensor([0])
    best = area(deletion(net, exact, inputs, zero, steps=36))[0]
    assert best < area(deletion(net, pixels.clamp(min=0), inputs, zero, steps=36))[0] - 0.005
    assert best < area(deletion(net, exact, inputs, zero, steps=36, rank_by="size"))[0] - 0.005
    assert best <= min(area(deletion(net, noise(1, 1, 6, 6), inputs, zero, steps=36))[0] for _ in range(50))
    left = pixels.sum() - torch.cat([torch.zeros(1), pixels.flatten().sort(descending=True).values.cumsum(0)])
    torch.testing.assert_close(deletion(net, exact, inputs, zero, steps=36)[:, 0], left.sigmoid())


@pytest.mark.parametrize("run", [deletion, insertion])
def test_another_ranking_is_refused(run):
    with pytest.raises(InputError, match="expected rank_by as 'value' or 'size', got 'rank'"):
        run(NET, noise(1, 3, 4, 4), noise(1, 3, 4, 4), TARGET[:1], rank_by="rank")


def test_an_object_alone_is_found_best_by_insertion():
    inputs = torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    inputs[..., 4:8, 5:9] = 1
    net = nn.Sequential(nn.MaxPool2d(20), nn.Flatten(), nn.Linear(1, 2).double())
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[20.0], [0.0]]))
        net[2].bias.copy_(torch.tensor([-10.0, 0.0]))
    found, anti = (insertion(net, maps, inputs, torch.tensor([0]), steps=25)[:, 0] for maps in (inputs, 1 - inputs))
    assert (found[1:] > 0.99).all()
    assert (anti[:-1] < 0.01).all()


# --------------------------------------------------------------------------------------------- ties


@pytest.mark.parametrize("name", CURVES)
def test_equally_strong_pixels_go_in_a_random_order(name):
    net, inputs = classifier(), noise(1, 3, 16, 16)
    seen = recorded(net)
    first = CURVES[name](net, torch.ones_like(inputs), inputs, TARGET[:1], steps=2, seed=1, outputs="logits")
    changed = (seen[1] != seen[0]).any(1)[0]
    assert changed.sum() == 128
    for half in (changed[:8], changed[8:], changed[:, :8], changed[:, 8:]):
        assert 44 < half.sum() < 84  # 64 and 3.5 standard deviations
    again, other = (
        CURVES[name](net, torch.ones_like(inputs), inputs, TARGET[:1], steps=2, seed=seed) for seed in (1, 2)
    )
    assert torch.equal(again, first)
    assert not torch.equal(other, first)


def test_random_order_is_for_equals_only():
    net, inputs = classifier(), noise(1, 3, 8, 8)
    maps = torch.zeros(1, 1, 8, 8)
    maps[..., 5:7, 2:6] = torch.tensor([-2.0, 1.0]).view(2, 1)
    seen = recorded(net)
    before = torch.get_rng_state()
    deletion(net, maps, inputs, TARGET[:1], steps=16, rank_by="size", outputs="logits")
    assert torch.equal(torch.get_rng_state(), before)
    gone = [(shown != inputs).any(1)[0] for shown in seen]
    assert torch.equal(gone[1], maps[0, 0] == -2)
    assert torch.equal(gone[2], maps[0, 0] != 0)
    assert all((later | earlier).equal(later) for earlier, later in pairwise(gone))


@pytest.mark.parametrize("name", CURVES)
def test_a_zero_map_has_no_curve(name):
    inputs, maps = noise(2, 3, 6, 6), noise(2, 3, 6, 6)
    both = CURVES[name](NET, maps, inputs, TARGET)
    maps[0] = 0
    found = CURVES[name](NET, maps, inputs, TARGET)
    assert found[:, 0].isnan().all()
    torch.testing.assert_close(found[:, 1], both[:, 1])
    assert CURVES[name](NET, 0 * maps, inputs, TARGET).isnan().all()
    assert area(found).isnan().tolist() == [True, False]


# ------------------------------------------------------------------------------- area, scores, state


def test_area_is_that_of_trapezia():
    assert area(torch.tensor([[1.0, 0.2], [0.0, 0.2]])).tolist() == pytest.approx([0.5, 0.2])
    curve = torch.tensor([0.9, 0.5, 0.1, 0.4, 0.0], dtype=torch.float64)[:, None]
    assert area(curve).item() == pytest.approx((0.9 / 2 + 0.5 + 0.1 + 0.4) / 4)


@pytest.mark.parametrize("name", CURVES)
def test_a_model_that_ends_in_a_softmax_has_the_same_curve(name):
    inputs, maps = noise(2, 3, 6, 6), noise(2, 3, 6, 6)
    ended = nn.Sequential(NET, nn.Softmax(1))
    found = CURVES[name](ended, maps, inputs, TARGET)
    torch.testing.assert_close(found, CURVES[name](NET, maps, inputs, TARGET))


def test_a_model_of_scores_has_scores_at_each_step():
    class Brightness(nn.Module):
        def forward(self, x):
            bright = x.flatten(1).sum(1, keepdim=True)
            return torch.cat([bright, 0 * bright], 1)

    inputs = torch.tensor([0.5, 0.5, 0.5, 0.5, -0.5, -0.5, -0.5, -0.5]).view(1, 1, 2, 4)
    # The bright ones first.
    found = deletion(Brightness(), inputs + 1, inputs, torch.tensor([0]), steps=8, outputs="logits")[:, 0]
    bright = torch.tensor([0, -0.5, -1, -1.5, -2, -1.5, -1, -0.5, 0], dtype=torch.float64)
    torch.testing.assert_close(found, bright.sigmoid())
    brighter = deletion(Brightness(), 1 - inputs, inputs, torch.tensor([0]), steps=8, outputs="logits")[:, 0]
    torch.testing.assert_close(brighter, (-bright).sigmoid())
    values = deletion(Brightness(), inputs + 1, inputs, torch.tensor([0]), steps=8, outputs="values")[:, 0]
    torch.testing.assert_close(values, bright)


def test_images_run_in_parts_and_each_alone():
    net, inputs, maps = classifier(), noise(70, 3, 4, 4), noise(70, 3, 4, 4)
    target, scores = torch.arange(70) % 4, net(inputs)
    seen = recorded(net)
    torch.testing.assert_close(scores_of(net, inputs), scores)
    assert list(map(len, seen)) == [32, 32, 6]
    found = deletion(net, maps, inputs, target, steps=3)
    alone = [deletion(net, maps[i, None], inputs[i, None], target[i, None], steps=3) for i in (0, 31, 32, 69)]
    torch.testing.assert_close(found[:, [0, 31, 32, 69]], torch.cat(alone, 1))


class Writes(nn.Module):
    """In training mode, with statistics that move, and a first operation that writes into its input."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm2d(3).double()
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        return self.norm(self.relu(x)).mean((2, 3))


@pytest.mark.parametrize("run", [deletion, insertion, lambda net, maps, x, target: scores_of(net, x)])
def test_model_and_tensors_are_left_as_they_were(run):
    net, inputs, maps = Writes().train(), noise(40, 3, 4, 4).requires_grad_(), noise(40, 3, 4, 4)
    target = torch.zeros(40, dtype=torch.long)
    before = snapshot(net, inputs, maps, target)
    found = run(net, maps, inputs, target)
    assert not found.requires_grad
    assert snapshot(net, inputs, maps, target) == before


@pytest.mark.parametrize("name", CURVES)
def test_no_steps_are_refused(name):
    with pytest.raises(InputError, match="expected steps of at least 1, got 0"):
        CURVES[name](NET, noise(1, 3, 4, 4), noise(1, 3, 4, 4), TARGET[:1], steps=0)


# ------------------------------------------------------------------------- signals, volumes, other arguments


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("size", [(12,), (7, 2, 5)], ids=["signals", "volumes"])
def test_signals_and_volumes_have_curves_as_images_of_one_row_have(name, size):
    """A signal is an image of one row; of a volume that is even along an axis, so is the image without it."""
    axes = len(size)
    inputs, maps = noise(2, 3, *size), noise(2, 3, *size)
    weights = noise(4, 3, *size)

    class Linear(nn.Module):
        def forward(self, x):
            return (x[:, None] * weights.view(1, 4, 3, *x.shape[2:])).flatten(2).sum(2)

    found = CURVES[name](Linear(), maps, inputs, TARGET, steps=5)
    assert found.shape == (6, 2)
    if name == "deletion" or axes == 1:  # a blur along three axes is no blur along one
        flat = [each.view(2, 3, 1, -1) for each in (maps, inputs)]
        torch.testing.assert_close(found, CURVES[name](Linear(), *flat, TARGET, steps=5))


def test_a_volume_is_blurred_along_all_its_axes():
    inputs = torch.zeros(1, 1, 9, 9, 9, dtype=torch.float64)
    inputs[0, 0, 4, 4, 4] = 1
    line = blurred(torch.eye(9, dtype=torch.float64)[4].view(1, 9, 1))[0, :, 0]
    expected = line.view(9, 1, 1) * line.view(1, 9, 1) * line
    seen = []

    class Sees(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1).sum(1)

    insertion(Sees(), inputs, inputs, None, steps=1, outputs="values")
    torch.testing.assert_close(seen[0][0, 0], expected)
    assert torch.equal(seen[1], inputs)


@pytest.mark.parametrize("name", CURVES)
def test_a_model_of_one_score_has_no_target(name):
    class Single(nn.Module):
        def forward(self, x):
            return NET(x)[:, 3]

    class Column(nn.Module):
        def forward(self, x):
            return NET(x)[:, 3:4]

    inputs, maps = noise(2, 3, 6, 6), noise(2, 3, 6, 6)
    found = CURVES[name](Single(), maps, inputs, None)
    torch.testing.assert_close(found, CURVES[name](Column(), maps, inputs, torch.tensor([0, 0])))
    torch.testing.assert_close(found[-1 if name == "insertion" else 0], NET(inputs)[:, 3])  # a value, no probability


@pytest.mark.parametrize("name", CURVES)
def test_each_image_has_its_own_further_arguments(name):
    class Shifted(nn.Module):
        def forward(self, x, shift, factor):
            assert len(x) == len(shift)
            return factor * NET(x + shift.view(-1, 1, 1, 1))

    inputs, maps, shift = noise(40, 3, 4, 4), noise(40, 3, 4, 4), noise(40)
    target = torch.arange(40) % 4
    maps[3] = 0  # so that others are chosen
    found = CURVES[name](Shifted(), maps, inputs, target, additional_forward_args=(shift, 2.0), steps=3)
    for image in (0, 4, 39):
        one = slice(image, image + 1)
        alone = CURVES[name](
            Shifted(), maps[one], inputs[one], target[one], additional_forward_args=(shift[one], 2.0), steps=3
        )
        torch.testing.assert_close(found[:, one], alone)
