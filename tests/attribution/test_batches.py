"""Batches that fit: parts of the examples at a time, one result, as if all had run at once."""

import re
import warnings

import pytest
import torch
from captum.attr import NoiseTunnel
from nets import DIFFICULT, build
from state import snapshot
from torch import nn

from deconv_attr import DeadSignalWarning, LayerZFDeconv, NeuronZFDeconv, ZFDeconv
from deconv_attr.errors import InputError, TargetError

COUNT = 5
SIZES = [1, 2, 4, 5, 99]


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)),
    ).double()


def images(count=COUNT):
    torch.manual_seed(1)
    return torch.randn(count, 3, 10, 10, dtype=torch.float64)


TARGETS = {
    "int": 2,
    "list": [0, 1, 2, 3, 0],
    "tensor": torch.tensor([3, 2, 1, 0, 3]),
    "one-element tensor": torch.tensor([1]),
    "tuple": (2,),
    "list of tuples": [(0,), (1,), (2,), (3,), (0,)],
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_parts_give_the_bits_of_the_whole(target, size):
    method, x = ZFDeconv(net()), images()
    found = method.attribute(x, target=target, internal_batch_size=size)
    assert torch.equal(found, method.attribute(x, target=target))
    assert found.is_contiguous()


@pytest.mark.parametrize("kind", DIFFICULT, ids=lambda kind: kind.__name__)
def test_difficult_graphs_in_parts(kind):
    model, x = build(kind), torch.randn(3, *kind.shape[1:], dtype=torch.float64)
    whole = ZFDeconv(model).attribute(x, target=[0, 1, 2])
    torch.testing.assert_close(
        ZFDeconv(model).attribute(x, target=[0, 1, 2], internal_batch_size=2), whole, rtol=1e-12, atol=1e-14
    )


SELECTORS = {
    "a map": 3,
    "a unit": (3, 1, 1),
    "a slice": (slice(2, 5), 1, 1),
    "a map each": [0, 1, 2, 3, 4],
    "a unit each": [(n, 1, 0) for n in range(COUNT)],
    "a function": lambda output: output.amax((1, 2, 3)),
}


@pytest.mark.parametrize("start", ["one", "activation"])
@pytest.mark.parametrize("selector", SELECTORS.values(), ids=SELECTORS)
def test_units_of_a_layer_in_parts(selector, start):
    method, x = NeuronZFDeconv(net(), "3"), images()
    found = method.attribute(x, selector, start=start, internal_batch_size=2)
    assert torch.equal(found, method.attribute(x, selector, start=start))


@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize("further", [{"target": [0, 1, 2, 3, 0]}, {"target": [4, 3, 2, 1, 0], "from_layer": "3"}])
def test_signals_at_a_layer_in_parts(further, at_input):
    method, x = LayerZFDeconv(net(), "1"), images()
    whole = method.attribute(x, **further, attribute_to_layer_input=at_input)
    found = method.attribute(x, **further, attribute_to_layer_input=at_input, internal_batch_size=2)
    assert whole.any()
    assert torch.equal(found, whole)


class Seen(nn.Module):
    """Notes what it is given; a sum of two inputs, weighted by row, times a number."""

    def __init__(self, note=lambda *rows: None):
        super().__init__()
        self.net, self.note = net(), note

    def forward(self, x, y, weights, factor, notes):
        self.note(len(x), len(y), len(weights), notes)
        return self.net(x * weights[:, None, None, None] + y) * factor


def test_inputs_and_further_tensors_are_divided_together():
    rows, x, y = [], images(), images().flip(0)
    model = Seen(lambda *given: rows.append(given))
    others = (torch.linspace(1, 2, COUNT, dtype=torch.float64), torch.tensor(3.0).double(), ["kept"])
    whole = ZFDeconv(model).attribute((x, y), 1, others)
    rows.clear()
    found = ZFDeconv(model).attribute((x, y), 1, others, internal_batch_size=2)
    assert rows == [(2, 2, 2, ["kept"])] * 2 + [(1, 1, 1, ["kept"])]
    assert isinstance(found, tuple)
    assert all(torch.equal(part, all_) for part, all_ in zip(found, whole, strict=True))


class Handed(nn.Module):
    def __init__(self, check):
        super().__init__()
        self.net, self.check = net(), check

    def forward(self, x, *further):
        self.check(further)
        return self.net(x)


def test_one_batch_is_handed_the_very_arguments():
    given = (torch.ones(COUNT), {"rows": torch.ones(COUNT)}, [1, 2])
    seen = []
    for size in (None, COUNT):
        ZFDeconv(Handed(seen.append)).attribute(images(), 1, given, internal_batch_size=size)
    assert all(mine is theirs for further in seen for mine, theirs in zip(further, given, strict=True))
    assert len(seen) == 2


def test_the_report_and_one_warning_speak_of_all_examples():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[3].weight.copy_(torch.tensor([[1.0] * 4, [-1.0] * 4]))  # the second class's signal dies
    x = torch.rand(COUNT, 1, 2, 2, dtype=torch.float64)
    with pytest.warns(DeadSignalWarning) as caught:
        found, report = ZFDeconv(model).attribute(
            x, target=[0, 1, 0, 1, 1], internal_batch_size=2, return_coverage=True
        )
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "died for 3 of 5 examples (1, 3, 4)" in str(caught[0].message)
    assert report.notes == (str(caught[0].message),)
    assert [call.operation for call in report] == ["conv2d", "relu", "flatten", "linear"]
    assert found.flatten(1).any(1).tolist() == [True, False, True, False, False]


def test_the_parts_run_one_after_the_other_and_no_larger():
    model, rows = net(), []
    model[0].register_forward_hook(lambda module, args, output: rows.append(len(output)))
    ZFDeconv(model).attribute(images(), target=0, internal_batch_size=2)
    assert rows == [2, 2, 1]
    rows.clear()
    NeuronZFDeconv(model, "3").attribute(images(), 0, internal_batch_size=2)
    assert rows[-3:] == [2, 2, 1]
    assert max(rows) == 2  # also of the runs that look for the layer and for its examples


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match=re.escape(f"expected internal_batch_size as a positive int, got {size!r}")):
        ZFDeconv(net()).attribute(images(), target=0, internal_batch_size=size)


def test_a_wrong_number_of_targets_is_refused_before_any_part_runs():
    model = net()
    model[0].register_forward_hook(lambda *_: pytest.fail("it ran"))
    with pytest.raises(TargetError, match="expected one target for each of the 5 examples, got 4"):
        ZFDeconv(model).attribute(images(), target=[0, 1, 2, 3], internal_batch_size=2)


def test_inputs_of_several_lengths_cannot_be_divided():
    model = Seen()
    with pytest.raises(InputError, match=r"one number of examples .*got \[5, 1\]"):
        ZFDeconv(model).attribute((images(), images(1)), 0, (torch.ones(5), 1.0, []), internal_batch_size=2)


class Turned(nn.Module):
    """Its layer has the examples in the second dimension, or in none."""

    def __init__(self, change, back):
        super().__init__()
        self.first, self.net, self.layer = nn.Conv2d(3, 3, 1).double(), net(), nn.ReLU()
        self.change, self.back = change, back

    def forward(self, x):
        return self.net(x + self.back(self.layer(self.change(self.first(x)))))


TURNED = {
    "second": Turned(lambda x: x.transpose(0, 1), lambda h: h.transpose(0, 1)),
    "second of three, the first is one": Turned(lambda x: x.flatten(1)[None], lambda h: h[0].unflatten(1, (3, 10, 10))),
    "none": Turned(lambda x: x.mean(0), lambda h: h),
    "several rows for each": Turned(lambda x: x.flatten(0, 1), lambda h: h.unflatten(0, (-1, 3))),
}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("model", TURNED.values(), ids=TURNED)
def test_a_layer_whose_first_dimension_is_not_the_examples_is_refused(model, size):
    for explain in (
        lambda: LayerZFDeconv(model, "layer").attribute(images(), 0, internal_batch_size=size),
        lambda: LayerZFDeconv(model, "first").attribute(images(), (0,), from_layer="layer", internal_batch_size=size),
        lambda: NeuronZFDeconv(model, "layer").attribute(images(), (0,), internal_batch_size=size),
    ):
        with pytest.raises(InputError, match="expected a layer whose first dimension is the examples"):
            explain()


def test_a_batch_norm_in_training_mode_cannot_run_in_parts():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)).double()
    with pytest.raises(InputError, match=r"expected a model in eval mode .*: module '1' computes with the statistics"):
        ZFDeconv(model).attribute(images(), target=0, internal_batch_size=2)
    ZFDeconv(model).attribute(images(), target=0, internal_batch_size=COUNT)


def test_a_target_that_does_not_exist_is_found_in_its_part():
    with pytest.raises(TargetError, match=r"of the examples 2 to 3: target 1, \(9,\), is out of range"):
        ZFDeconv(net()).attribute(images(), target=[0, 1, 2, 9, 3], internal_batch_size=2)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x, further):
        (scale, (shift,)), kept = further["both"], further["kept"]
        return self.net(x * scale + shift) * kept.sum()


def test_tensors_within_further_arguments_are_divided_too():
    rows = torch.rand(COUNT, 1, 1, 1, dtype=torch.float64)
    further = {"both": (rows, [rows.flip(0)]), "kept": torch.ones(3, dtype=torch.float64)}
    whole = ZFDeconv(Nested()).attribute(images(), 1, further)
    for size in (1, 2):
        assert torch.equal(ZFDeconv(Nested()).attribute(images(), 1, further, internal_batch_size=size), whole)


class FailsAtLast(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.net, self.error = net(), error

    def forward(self, x):
        output = self.net(x)
        if len(x) == 1:
            raise self.error
        return output


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_nothing_is_changed_by_an_error_in_a_later_part(error):
    model, x = FailsAtLast(error), images()
    before = snapshot(model, x)
    with pytest.raises(error):
        ZFDeconv(model).attribute(x, target=0, internal_batch_size=2)
    assert snapshot(model, x) == before


def test_a_noise_tunnel_hands_it_on():
    tunnel, x = NoiseTunnel(ZFDeconv(net())), images()
    found = []
    for further in ({}, {"internal_batch_size": 3}):
        torch.manual_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadSignalWarning)
            found.append(tunnel.attribute(x, target=1, nt_samples=4, stdevs=0.1, **further))
    assert torch.equal(*found)
