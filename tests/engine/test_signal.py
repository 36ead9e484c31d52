"""Signals that die, and signals that are no numbers."""

import warnings

import pytest
import torch
from nets import killer
from state import snapshot
from torch import nn
from torch.utils.checkpoint import checkpoint

from deconv_attr import DECONVNET, GRADIENT, DeadSignalWarning, ZFDeconv, coverage
from deconv_attr.errors import ModelError, RuleError, SignalError
from deconv_attr.rules.tables import choose


def test_a_dead_signal_warns_where_and_gives_zeros():
    net, x = killer(), torch.rand(3, 1, 4, 4)
    with pytest.warns(DeadSignalWarning) as caught:
        attributions, report = ZFDeconv(net).attribute(x, target=[0, 1, 0], return_coverage=True)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "2 of 3 examples (0, 2)" in message
    assert "rectified away at 'relu' in module 'early_relu'" in message
    assert "NeuronZFDeconv(model, layer)" in message
    assert attributions.flatten(1).any(1).tolist() == [False, True, False]
    assert report.notes == (message,)
    assert message in str(report)


def test_the_warning_points_to_the_caller():
    with pytest.warns(DeadSignalWarning) as caught:
        ZFDeconv(killer()).attribute(torch.rand(1, 1, 4, 4), target=0)
    assert caught[0].filename == __file__


def test_signals_that_die_at_different_places_are_told_apart():
    net = killer()
    net.add_module("last", nn.Linear(2, 3))
    with torch.no_grad():  # class 0 dies at late_relu, class 1 at early_relu, class 2 lives
        net.last.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]]))
    with pytest.warns(DeadSignalWarning) as caught:
        ZFDeconv(net).attribute(torch.rand(3, 1, 4, 4), target=[0, 1, 2])
    messages = sorted(str(warning.message) for warning in caught)
    assert len(messages) == 2
    assert "examples (0), their maps are zero: it was rectified away at 'relu' in module 'late_relu'" in messages[0]
    assert "examples (1), their maps are zero: it was rectified away at 'relu' in module 'early_relu'" in messages[1]


def test_a_signal_that_a_linear_operation_kills_is_last_seen_above_it():
    net = killer()
    with torch.no_grad():
        net.early.weight.zero_()
    with pytest.warns(DeadSignalWarning, match="last seen below 'relu' in module 'early_relu'"):
        ZFDeconv(net).attribute(torch.rand(1, 1, 4, 4), target=1)


def test_a_living_signal_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ZFDeconv(killer()).attribute(torch.rand(2, 1, 4, 4), target=1).all()


def test_an_unused_second_input_is_not_a_death():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = killer()

        def forward(self, x, y):
            return self.net(x)

    ZFDeconv(Two()).attribute((torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)), target=1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_signal_that_is_no_number_names_the_operation(bad):
    net = killer()
    with torch.no_grad():
        net.late.weight[1, 0] = bad
    with pytest.raises(SignalError, match="from 'conv2d' in module 'late' on"):
        ZFDeconv(net).attribute(torch.rand(1, 1, 4, 4), target=1)


def test_a_gate_that_is_no_number_is_named_with_its_line():
    class Gate(nn.Module):
        def forward(self, x):
            return torch.sqrt(torch.relu(x)).sum((1, 2, 3))  # the slope of the root at zero is infinite

    with pytest.raises(SignalError, match=r"from 'sqrt' in the model itself \(.*test_signal.py:\d+\) on"):
        ZFDeconv(Gate()).attribute(torch.tensor([[[[1.0, -1.0]]]]))


class OneActivation(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
        self.activation = activation

    def forward(self, x):
        return self.block(self.activation(self.conv(x))).mean((2, 3))


WITHOUT_RULE = {
    "leaky_relu": nn.LeakyReLU(0.1),
    "prelu": nn.PReLU(),
    "rrelu": nn.RReLU(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "celu": nn.CELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "hardtanh": nn.Hardtanh(-1, 1),
    "threshold": nn.Threshold(0.1, 0.0),
    "hardshrink": nn.Hardshrink(),
    "tanhshrink": nn.Tanhshrink(),
    "logsigmoid": nn.LogSigmoid(),
}


@pytest.mark.parametrize(("name", "module"), WITHOUT_RULE.items(), ids=WITHOUT_RULE)
def test_an_activation_without_a_rule_is_an_error_unless_one_is_chosen(name, module):
    torch.manual_seed(0)
    net, x = OneActivation(module).eval().double(), torch.randn(2, 1, 9, 9, dtype=torch.float64)
    with pytest.raises(RuleError, match=f"no rule for '{name}' in module 'activation'.*activations='rectify'"):
        ZFDeconv(net).attribute(x, target=1)
    assert [call.operation for call in coverage(net, x).uncovered] == [name]

    start = torch.zeros(2, 4, dtype=torch.float64)
    start[:, 1] = 1
    signal = start[:, :, None, None].expand(2, 4, 5, 5) / 25
    signal = nn.functional.conv_transpose2d(signal.clamp(min=0), net.block[0].weight.detach())
    h = net.conv(x).detach().requires_grad_()
    (local,) = torch.autograd.grad(module(h).sum(), h)
    for choice, below in (("rectify", signal.clamp(min=0)), ("gradient", signal * local)):
        expected = nn.functional.conv_transpose2d(below, net.conv.weight.detach())
        found = ZFDeconv(net, activations=choice).attribute(x, target=1)
        assert torch.allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h * (h > 0),
        lambda h: torch.where(h > 0, h, torch.zeros_like(h)),
        lambda h: h.masked_fill(h.lt(0), 0.0),
        lambda h: h * ((h.sign() + 1) / 2),
    ],
)
def test_a_hand_written_rectifier_is_an_error(function):
    class Lambda(nn.Module):
        def forward(self, h):
            return function(h)

    net, x = OneActivation(Lambda()), torch.randn(1, 1, 9, 9)
    with pytest.raises(RuleError, match=r"in module 'activation' \(.*test_signal.py:\d+\): it weighs activations"):
        ZFDeconv(net).attribute(x, target=0)
    ZFDeconv(net, activations="gradient").attribute(x, target=0)


class CustomRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h > 0)
        return h.clamp(min=0)

    @staticmethod
    def backward(ctx, signal):
        return signal * ctx.saved_tensors[0]


def test_a_custom_autograd_function_is_an_error():
    class Custom(nn.Module):
        def forward(self, h):
            return CustomRelu.apply(h)

    net, x = OneActivation(Custom()), torch.randn(1, 1, 9, 9)
    with pytest.raises(RuleError, match=r"no rule for 'CustomReluBackward'.*unknown='gradient'"):
        ZFDeconv(net).attribute(x, target=0)
    ZFDeconv(net, unknown="gradient").attribute(x, target=0)
    assert [call.operation for call in coverage(net, x).uncovered] == ["CustomReluBackward"]


def test_a_custom_function_at_the_very_end_is_an_error_too():
    class Custom(nn.Module):
        def forward(self, x):
            return CustomRelu.apply(torch.relu(x).sum((1, 2, 3)))

    with pytest.raises(RuleError, match="CustomReluBackward"):
        ZFDeconv(Custom()).attribute(torch.randn(1, 1, 9, 9))


def test_a_scripted_function_inside_the_model_is_ruled_or_an_error():
    """TorchScript may leave the nodes of its calls, or one node that stands for all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated

        @torch.jit.script
        def scripted(h):
            return torch.relu(h) * 2

    class Scripted(nn.Module):
        def forward(self, h):
            return scripted(h)

    class Plain(nn.Module):
        def forward(self, h):
            return torch.relu(h) * 2

    torch.manual_seed(0)
    net, x = OneActivation(Scripted()), torch.randn(1, 1, 9, 9)
    expected = None
    for _ in range(4):  # it is optimised after a few runs
        try:
            found = ZFDeconv(net).attribute(x, target=0)
        except RuleError:
            continue
        net.activation, scripted_module = Plain(), net.activation
        expected = ZFDeconv(net).attribute(x, target=0)
        net.activation = scripted_module
        torch.testing.assert_close(found, expected)
    assert expected is not None


BLOCKS = {
    "conv first": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()),
    "norm first": lambda: nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 4, 3)),
    "sigmoid last": lambda: nn.Sequential(nn.ReLU(), nn.Sigmoid()),  # its output is saved once more in the second run
    "in place on a view": lambda: nn.Sequential(
        nn.Flatten(2), nn.Linear(64, 9), nn.ReLU(inplace=True), nn.Linear(9, 4)
    ),
    "contrast norm": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.LocalResponseNorm(3), nn.ReLU()),
    "large": lambda: nn.Sequential(nn.Conv2d(1, 800, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(800, 2, 1)),
}


class Checkpointed(nn.Module):
    def __init__(self, block, reentrant):
        super().__init__()
        self.block, self.reentrant = block, reentrant

    def forward(self, x):
        h = torch.relu(x)
        h = self.block(h) if self.reentrant is None else checkpoint(self.block, h, use_reentrant=self.reentrant)
        return h.flatten(1)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_activation_checkpointing_simply_works(block):
    """Its second run, during the backward pass, gives the nodes of the first what they would have saved."""
    torch.manual_seed(0)
    net, x = Checkpointed(block().double(), False).eval(), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    before = snapshot(net)
    expected = ZFDeconv(Checkpointed(net.block, None).eval()).attribute(x, target=3)
    assert expected.any()
    torch.testing.assert_close(ZFDeconv(net).attribute(x, target=3), expected, rtol=1e-12, atol=1e-12)
    assert snapshot(net) == before


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("unknown", ["error", "gradient"])
def test_reentrant_checkpointing_is_refused(block, unknown):
    """Its second run, during the backward pass, is out of the rules' reach."""
    net = Checkpointed(block(), True).eval()
    before = snapshot(net)
    with pytest.raises(ModelError, match="use_reentrant=True"):
        ZFDeconv(net, unknown=unknown).attribute(torch.randn(1, 1, 8, 8), target=0)
    assert snapshot(net) == before


def test_hooks_on_saved_tensors_around_a_healthy_call_are_left_alone():
    x = torch.rand(1, 1, 4, 4)
    expected = ZFDeconv(killer()).attribute(x, target=1)
    with torch.autograd.graph.save_on_cpu():
        assert torch.equal(ZFDeconv(killer()).attribute(x, target=1), expected)


def test_an_operation_that_is_not_listed_is_an_error():
    class Segments(nn.Module):
        def forward(self, h):  # each of one number
            return torch.segment_reduce(h.flatten(), "sum", lengths=torch.ones(h.numel(), dtype=torch.int64)).view_as(h)

    net, x = OneActivation(Segments()), torch.randn(1, 1, 9, 9)
    with pytest.raises(
        RuleError, match=r"no rule for 'segment_reduce' in module 'activation' \(.*test_signal.py:\d+\)"
    ):
        ZFDeconv(net).attribute(x, target=0)
    assert torch.allclose(
        ZFDeconv(net, unknown="gradient").attribute(x, target=0),
        ZFDeconv(OneActivationOf(net)).attribute(x, target=0),
        atol=1e-6,
    )


class OneActivationOf(nn.Module):
    """The same net with an identity in the place of the activation."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.block(self.net.conv(x)).mean((2, 3))


def test_no_rectifier_is_an_error():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Sigmoid(), nn.Flatten())
    with pytest.raises(ModelError, match="no rectifier"):
        ZFDeconv(net).attribute(torch.randn(1, 1, 9, 9), target=0)
    report = coverage(net, torch.randn(1, 1, 9, 9))
    assert "No rectifier" in str(report)
    assert coverage(net, torch.randn(1, 1, 9, 9), rules=GRADIENT).notes == ()


def test_a_model_whose_activations_are_rectified_by_choice_has_a_rectifier():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.Flatten())
    assert (
        coverage(net, torch.randn(1, 1, 9, 9), rules=choose(DECONVNET, nn.Identity(), activations="rectify")).notes
        == ()
    )
    assert ZFDeconv(net, activations="rectify").attribute(torch.randn(1, 1, 9, 9), target=0).any()
