"""Half precision, by the model's weights or by autocast: the map of single precision, to the digits that there are."""

import warnings

import pytest
import torch
from captum.attr import NoiseTunnel
from oracle import relative_error
from torch import nn

from deconv_attr import (
    DECONVNET,
    GUIDED_BACKPROP,
    DeadSignalWarning,
    LayerZFDeconv,
    NeuronZFDeconv,
    ZFDeconv,
    project,
)

# 16 rounding errors: of a few layers, and of a few switches and masks that stand elsewhere
HALVES = {str(dtype): (dtype, 16 * torch.finfo(dtype).eps) for dtype in (torch.bfloat16, torch.float16)}
half = pytest.mark.parametrize(("dtype", "tolerance"), HALVES.values(), ids=HALVES)


class Net(nn.Module):
    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner
        self.below = nn.Sequential(nn.Conv2d(3, 16, 5, 2), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2)
        self.above = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(16 * 9, 4)
        self.below[1].running_var.uniform_(0.5, 2)

    def forward(self, x):
        if self.inner is None:
            return self.scores(x)
        with torch.autocast("cpu", self.inner):
            return self.scores(x).float()

    def scores(self, x):
        h = self.pool(self.below(x))
        return self.head((self.above(h) + h[:, :, ::2, ::2][:, :, :3, :3]).flatten(1))


def net(inner=None):
    torch.manual_seed(0)
    return Net(inner).eval()


def images(count=3):
    torch.manual_seed(1)
    return torch.rand(count, 3, 32, 32)


def explain(kind, model, x):
    if kind == "neuron":
        return NeuronZFDeconv(model, "above.0").attribute(x, (3, 2, 2), start="activation")
    if kind == "layer":
        return LayerZFDeconv(model, "pool").attribute(x, [1, 2, 3])
    if kind == "guided":
        return ZFDeconv(model, rules=GUIDED_BACKPROP).attribute(x, target=[1, 2, 3])
    if kind == "project":
        found = project(model, x, "above.0", [(0, 3, 2, 2), (2, 5, 1, 1)])
        return torch.stack([found.full(0), found.full(1)])
    return ZFDeconv(model).attribute(x, target=[1, 2, 3])


KINDS = ["score", "neuron", "layer", "guided", "project"]


@half
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_and_inputs_in_half_precision(kind, dtype, tolerance):
    expected = explain(kind, net(), images())
    found = explain(kind, net().to(dtype), images().to(dtype))
    assert found.dtype == dtype
    assert relative_error(found.double(), expected.double()) < tolerance


@half
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_around_the_call(kind, dtype, tolerance):
    model, x = net(), images()
    expected = explain(kind, model, x)
    with torch.autocast("cpu", dtype):
        found = explain(kind, model, x)
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    if kind != "layer":  # there the signal has the layer's own precision
        assert found.dtype == torch.float32
    assert 0 < relative_error(found.double(), expected.double()) < tolerance


@half
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_within_the_model(kind, dtype, tolerance):
    expected = explain(kind, net(), images())
    found = explain(kind, net(inner=dtype), images())
    assert 0 < relative_error(found.double(), expected.double()) < tolerance


@half
def test_a_part_that_autocast_leaves_in_single_precision_goes_back_in_it(dtype, tolerance):
    class Exact(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                return self.net(x)

    model, x = Exact().eval(), images()
    expected = ZFDeconv(model).attribute(x, target=1)
    with torch.autocast("cpu", dtype):
        found = ZFDeconv(model).attribute(x, target=1)
    assert torch.equal(found, expected)


@half
def test_in_half_precision_too_the_map_is_the_one_of_autograds_own_backward(
    dtype, tolerance, pack_everywhere, autograds_own
):
    model, x = net().to(dtype), images().to(dtype)
    found = ZFDeconv(model).attribute(x, target=1)
    expected = autograds_own(lambda: ZFDeconv(model).attribute(x, target=1))
    assert relative_error(found.double(), expected.double()) < tolerance / 4


class AtTheDoor(nn.Module):
    """A noise tunnel draws its noise in single precision, and so turns the inputs into it."""

    def __init__(self, dtype):
        super().__init__()
        self.net, self.dtype = net().to(dtype), dtype

    def forward(self, x):
        return self.net(x.to(self.dtype))


@half
@pytest.mark.parametrize("by", ["weights", "autocast around", "autocast within"])
def test_a_noise_tunnel_in_half_precision(by, dtype, tolerance):
    def smooth(model, x):
        torch.manual_seed(4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tunnel = NoiseTunnel(ZFDeconv(model))
            return tunnel.attribute(x, target=1, nt_samples=4, stdevs=0.01, internal_batch_size=5)

    expected, x = smooth(net(), images().to(dtype).float()), images().to(dtype)
    if by == "autocast around":
        with torch.autocast("cpu", dtype):
            found = smooth(net(), x)
    else:
        found = smooth(AtTheDoor(dtype) if by == "weights" else net(inner=dtype), x)
    assert 0 < relative_error(found.double(), expected.double()) < tolerance


class Weak(nn.Module):
    """A signal of some strength."""

    def __init__(self, strength, dtype):
        super().__init__()
        self.head, self.dtype = nn.Linear(3, 2), dtype
        torch.nn.init.constant_(self.head.weight, strength)

    def forward(self, x):
        with torch.autocast("cpu", self.dtype):
            return self.head(x.relu().mean((2, 3)))


@pytest.mark.parametrize("by", ["weights", "autocast"])
def test_a_signal_too_weak_for_float16_is_reported(by):
    """Of 1e-4, a hundredth arrives, in float16 as a multiple of 6e-8."""

    def explain(strength, dtype):
        model, x = Weak(strength, dtype), torch.ones(2, 3, 10, 10)
        if by == "weights":
            model, x = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 10)).to(dtype), x.to(dtype)
            torch.nn.init.constant_(model[1].weight, strength / 100)
        return ZFDeconv(model).attribute(x, target=[0, 1], internal_batch_size=1)

    with pytest.warns(DeadSignalWarning, match=r"signal of 2 of 2 examples \(0, 1\) is so weak that float16"):
        explain(1e-4, torch.float16)
    with pytest.warns(DeadSignalWarning) as caught:
        assert not explain(1e-8, torch.float16).any()
    assert any("so weak that float16" in str(warning.message) for warning in caught)
    assert explain(1e-1, torch.float16).any()
    assert explain(1e-8, torch.bfloat16).any()


@pytest.mark.parametrize("table", [DECONVNET, GUIDED_BACKPROP])
def test_a_batch_norm_whose_variance_is_nothing_in_half_precision(table):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-8), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    model[1].running_var.zero_()
    torch.nn.init.constant_(model[1].weight, 1e-4)
    x = torch.rand(2, 3, 10, 10)
    expected = ZFDeconv(model.eval(), rules=table).attribute(x, target=0)
    found = ZFDeconv(model.half(), rules=table).attribute(x.half(), target=0)
    assert relative_error(found.double(), expected.double()) < 16 * torch.finfo(torch.float16).eps


def test_no_weights_stay_behind_in_the_callers_autocast():
    model, x = net(), images()
    with torch.autocast("cpu", torch.bfloat16):
        project(model, x, "above.0", [(0, 3, 2, 2)])
        model(x).float().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
