"""Signals that die in a comparison: one warning for each method, and the reason of each map that is zero."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from captum.attr import NoiseTunnel
from torch import nn

from deconv_attr import DeadSignalWarning, Method, NeuronZFDeconv, ZFDeconv, compare, default_methods

SCORE, UNIT = "ZFDeconv from the score", "ZFDeconv from a unit of act"
TARGET = torch.tensor([0, 1, 2, 0, 1])
IMAGES = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ADVICE = "Start from a single unit instead, as the paper does: NeuronZFDeconv(model, layer)"


class Net(nn.Module):
    """The signals of class 1 die at the lower rectifier, those of class 2 at the upper one.

    Those of units live, unless the second map, whose signals die, is the stronger one.
    """

    def __init__(self, functional=False, stronger=0):
        super().__init__()
        self.low, self.conv = nn.ReLU(), nn.Conv2d(1, 2, 1).double()
        self.act, self.linear = nn.ReLU(), nn.Linear(2, 3).double()
        self.functional = functional
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.conv.bias.fill_(9)
            self.conv.bias[stronger] = 20
            self.linear.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 2.0], [-1.0, -1.0]]))

    def forward(self, x):
        x = self.conv(self.low(x))
        x = F.relu(x) if self.functional else self.act(x)
        return self.linear(x.mean((2, 3)))


def defaults(**options):
    return default_methods(Net(**options), IMAGES)


def heard(*given, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        comparison = compare(*given, **options, show_progress=False)
    return comparison, [str(each.message) for each in caught]


def test_a_method_is_told_of_once_and_the_column_that_helps_is_named():
    comparison, (text,) = heard(Net(), IMAGES, TARGET, defaults()[:2])
    assert text == (
        f"{SCORE}: the signal died for 3 of 5 images (1, 2, 4), their maps are zero: rectified away at low (1, 4); "
        f"rectified away at act (2). Look at {UNIT} instead."
    )
    died = {1: "rectified away at low", 2: "rectified away at act", 4: "rectified away at low"}
    assert comparison.zero_reasons == {SCORE: died, UNIT: {}}


@pytest.mark.parametrize(
    ("methods", "stronger"),
    [(lambda: defaults()[:1], 0), (lambda: defaults(stronger=1)[:2], 1)],
    ids=["no unit is compared", "the unit's signal dies too"],
)
def test_without_a_column_that_helps_the_advice_stands(methods, stronger):
    _, texts = heard(Net(stronger=stronger), IMAGES, TARGET, methods())
    assert ADVICE in texts[0]
    assert [text.split(":")[0] for text in texts] == [SCORE, UNIT][: 1 + stronger]
    if stronger:
        assert texts[1].endswith(
            "the signal died for 5 of 5 images (0, 1, 2, 3, 4), their maps are zero: rectified away at low. "
            "Choose another unit, or a layer further down."
        )


def test_a_class_of_captums_interface_helps_too():
    net = Net()
    neuron = Method(NeuronZFDeconv(net, "act"), "Mine", arguments={"neuron_selector": 0})
    _, (text,) = heard(net, IMAGES, TARGET, [neuron, Method(ZFDeconv(net), "Score")])
    assert text.startswith("Score: ")
    assert text.endswith(" Look at Mine instead.")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_images_are_counted_through_all_batches(batch_size):
    comparison, (text,) = heard(Net(), IMAGES, TARGET, defaults()[:1], batch_size=batch_size)
    assert "died for 3 of 5 images (1, 2, 4)" in text
    assert {image: each.split()[-1] for image, each in comparison.zero_reasons[SCORE].items()} == {
        1: "low",
        2: "act",
        4: "low",
    }


def one_by_one(model, inputs, target):
    return torch.cat([ZFDeconv(model).attribute(inputs[n : n + 1], target[n : n + 1]) for n in range(len(inputs))])


def test_examples_of_other_calls_are_not_taken_for_images():
    net = Net()
    tunnel = Method(NoiseTunnel(ZFDeconv(net)), "Tunnel", arguments={"nt_samples": 2, "stdevs": 0.0})
    comparison, texts = heard(net, IMAGES, TARGET, [Method(one_by_one), tunnel])
    zero = dict.fromkeys((1, 2, 4), "zero everywhere")
    assert comparison.zero_reasons == {"one_by_one": zero, "Tunnel": zero}
    assert [text.split(":")[0] for text in texts] == ["one_by_one", "Tunnel"]
    assert "1 of 1 examples (0)" in texts[0]
    assert texts[0].endswith("(And 1 more.)")
    assert "4 of 10 examples" in texts[1]


def test_a_map_that_lives_by_another_is_not_called_zero():
    def sum_of(model, inputs, target):
        return ZFDeconv(model).attribute(inputs, target) + 1

    comparison, (text,) = heard(Net(), IMAGES, TARGET, [sum_of])
    assert comparison.zero_reasons == {"sum_of": {}}
    assert text.startswith("sum_of: The signal died for 2 of 5 examples (1, 4)")


def test_a_method_that_says_nothing_is_zero_without_a_reason():
    comparison, texts = heard(Net(), IMAGES, TARGET, [Method(lambda model, x, target: 0 * x, "Zero")])
    assert texts == []
    assert comparison.zero_reasons == {"Zero": dict.fromkeys(range(5), "zero everywhere")}


def test_a_method_that_fails_has_no_reasons():
    def fails(model, x, target):
        raise ValueError("no")

    comparison, texts = heard(Net(), IMAGES, TARGET, [fails])
    assert (comparison.zero_reasons, texts) == ({}, [])


def test_a_functional_call_is_named_by_its_file_without_the_folders():
    comparison, (text,) = heard(Net(functional=True), IMAGES[2:3], 2, defaults(functional=True)[:1])
    (reason,) = comparison.zero_reasons[SCORE].values()
    assert reason.startswith("rectified away at relu, test_dead_signals.py:")
    assert f"zero: {reason}. Start" in text


def test_a_long_name_is_cut_to_its_end():
    net = nn.Sequential()
    inner = net
    for _ in range(9):
        inner.layer_of_some_depth = nn.Sequential()
        inner = inner.layer_of_some_depth
    inner.the_last = Net()
    comparison, _ = heard(net, IMAGES[2:3], 2, defaults()[:1])
    (reason,) = comparison.zero_reasons[SCORE].values()
    assert reason.startswith("rectified away at ...")
    assert reason.endswith("some_depth.the_last.act")
    assert len(reason) == 60


# ------------------------------------------------------------------------------------- warnings and filters


def test_it_can_be_ignored_and_the_reasons_are_there():
    with warnings.catch_warnings():  # any warning is an error
        warnings.simplefilter("ignore", DeadSignalWarning)
        comparison = compare(Net(), IMAGES, TARGET, defaults()[:1], show_progress=False)
    assert len(comparison.zero_reasons[SCORE]) == 3


def test_it_can_be_an_error():
    with pytest.raises(DeadSignalWarning, match=f"^{SCORE}: the signal died"):
        compare(Net(), IMAGES, TARGET, defaults()[:1], show_progress=False)


def test_a_method_may_ignore_its_own_and_is_heard():
    def quiet(model, inputs, target):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ZFDeconv(model).attribute(inputs, target)

    comparison, texts = heard(Net(), IMAGES, TARGET, [quiet])
    assert texts == []
    assert len(comparison.zero_reasons["quiet"]) == 3


@pytest.mark.parametrize("action", ["always", "default", "once", "ignore", "error"])
def test_other_warnings_pass_as_they_would(action):
    def says(model, inputs, target):
        for _ in range(2):
            warnings.warn("look at me", FutureWarning, stacklevel=1)
        return inputs

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        comparison = compare(Net(), IMAGES, TARGET, [says], show_progress=False)
    times = {"always": 2, "default": 1, "once": 1}.get(action, 0)
    assert [str(each.message) for each in caught] == ["look at me"] * times
    assert list(comparison.errors) == (["says"] if action == "error" else [])


@pytest.mark.parametrize(
    "through", [copy.copy, lambda each: pickle.loads(pickle.dumps(each))], ids=["copied", "pickled"]
)
def test_a_warning_keeps_its_data(through):
    again = through(DeadSignalWarning("text", {"rectified away at a": [1]}, 3, "advice"))
    assert (str(again), again.where, again.count, again.advice) == ("text", {"rectified away at a": [1]}, 3, "advice")


def test_a_call_says_which_examples_died():
    with pytest.warns(DeadSignalWarning) as caught:
        ZFDeconv(Net()).attribute(IMAGES, TARGET, internal_batch_size=2)
    found = {caption: each.message.where[caption] for each in caught for caption in each.message.where}
    assert found == {"rectified away at low": [1, 4], "rectified away at act": [2]}
    assert {each.message.count for each in caught} == {5}
