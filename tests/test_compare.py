import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deconv_attr import coverage
from deconv_attr.compare import METHODS, attributions, guided_backprop_misses
from deconv_attr.errors import DeconvError


class Net(nn.Module):
    """Convolution, rectifier, linear: small enough for a mirror by hand. Spelled with a module or without."""

    def __init__(self, functional=False):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3).double()
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(4 * 4 * 4, 5).double()
        self.functional = functional
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    def forward(self, x):
        x = self.conv(x)
        x = F.relu(x) if self.functional else self.relu(x)
        return self.linear(x.flatten(1))


class Noisy(Net):
    """With what a forward pass in training mode would change, or be changed by."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3).double()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return super().forward(self.drop(self.norm(x)))


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


TARGET = torch.tensor([4, 0, 2])


def by_hand(net, inputs):
    """The three methods of the literature, written as transposed filters."""
    signal = net.linear.weight[TARGET].reshape(3, 4, 4, 4)
    lit = net.conv(inputs) > 0
    below = {"ZFDeconv": signal.clamp(min=0), "Guided backprop": signal.clamp(min=0) * lit, "Saliency": signal * lit}
    return {title: F.conv_transpose2d(signal, net.conv.weight).detach() for title, signal in below.items()}


def test_each_method_is_what_the_literature_says(inputs):
    net = Net()
    maps = attributions(net, inputs, TARGET)
    expected = by_hand(net, inputs)
    assert list(maps) == list(expected) == list(METHODS)
    for title, attribution in maps.items():
        torch.testing.assert_close(attribution, expected[title])


def test_each_image_is_explained_alone(inputs):
    together = attributions(Net(), inputs, TARGET)
    for image in range(3):
        alone = attributions(Net(), inputs[image : image + 1], TARGET[image : image + 1])
        for title in METHODS:
            torch.testing.assert_close(alone[title][0], together[title][image])


def test_methods_can_be_chosen(inputs):
    maps = attributions(
        Net(), inputs, TARGET, {"twice the target": lambda model, x, target: x * target.view(-1, 1, 1, 1)}
    )
    assert list(maps) == ["twice the target"]
    assert torch.equal(maps["twice the target"][0], inputs[0] * 4)


def test_training_mode_does_not_show(inputs):
    model = Noisy()
    model.norm.running_mean += 0.5
    expected = attributions(copy.deepcopy(model).eval(), inputs, TARGET)
    maps = attributions(model.train(), inputs, TARGET)
    for title in METHODS:
        assert torch.equal(maps[title], expected[title])


def state(model):
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [len(getattr(module, kind)) for module in model.modules() for kind in hooks],
        [module.inplace for module in model.modules() if hasattr(module, "inplace")],
        [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()],
    )


@pytest.mark.parametrize("target", [TARGET, torch.tensor([9, 9, 9])], ids=["success", "bad target"])
def test_model_inputs_and_warnings_are_left_as_they_were(inputs, target):
    model = Noisy().train()
    model.norm.eval()
    model.conv.weight.requires_grad_(False)
    before, pixels, filters = state(model), inputs.clone(), list(warnings.filters)
    if target is TARGET:
        attributions(model, inputs, target)
    else:
        with pytest.raises(DeconvError):
            attributions(model, inputs, target)
    after = state(model)
    assert before[1:] == after[1:]
    assert all(torch.equal(before[0][key], after[0][key]) for key in before[0])
    assert torch.equal(inputs, pixels)
    assert not inputs.requires_grad
    assert inputs.grad is None
    assert list(warnings.filters) == filters


def test_inputs_are_left_alone_when_captum_fails(inputs):
    guided = {"Guided backprop": METHODS["Guided backprop"]}
    model = Net()
    with pytest.raises(Exception):  # noqa: B017, PT011 - Captum's own, of whatever kind
        attributions(model, inputs, torch.tensor([9, 9, 9]), guided)
    assert not inputs.requires_grad
    assert not any(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("title", METHODS)
def test_only_captums_notices_are_silenced(title, inputs):
    class Warns(Net):
        def forward(self, x):
            warnings.warn("look at me", UserWarning, stacklevel=1)
            return super().forward(x)

    with pytest.warns(UserWarning, match="look at me") as caught:
        attributions(Warns(), inputs, TARGET, {title: METHODS[title]})
    assert {str(warning.message) for warning in caught} == {"look at me"}


# ------------------------------------------------------------------- what Captum's guided backprop misses


def test_guided_backprop_misses_nothing_on_modules(inputs):
    assert guided_backprop_misses(coverage(Net(), inputs)) is None


def test_functional_rectifier_is_noted_and_really_missed(inputs):
    net = Net(functional=True)
    note = guided_backprop_misses(coverage(net, inputs))
    assert "at 1 of this model's 1 rectifiers" in note
    assert "the first is 'relu'" in note
    assert "test_compare.py:" in note
    maps, expected = attributions(net, inputs, TARGET), by_hand(net, inputs)
    torch.testing.assert_close(maps["Guided backprop"], expected["Saliency"])
    torch.testing.assert_close(maps["ZFDeconv"], expected["ZFDeconv"])


def test_only_the_missed_rectifiers_are_counted(inputs):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.relu6 = nn.ReLU(), nn.ReLU6()

        def forward(self, x):
            return torch.relu(self.relu6(self.relu(x))).flatten(1)

    note = guided_backprop_misses(coverage(Mixed(), inputs))
    assert "at 2 of this model's 3 rectifiers" in note
    assert "in module 'relu6'" in note
