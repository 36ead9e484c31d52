"""What a caller is told whose map is zero, changes from call to call, or is of another thing than he meant."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from state import snapshot
from torch import Tensor, nn

from deconv_attr import DeadSignalWarning, LayerZFDeconv, NeuronZFDeconv, RandomModelWarning, ScoredModel, ZFDeconv
from deconv_attr.errors import DeconvError, InputError, ModelError


def body(classes: int = 3) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)]


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Tensor:
        return self.function(*args)


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------------------------- saturated heads

HEADS: dict[str, tuple[nn.Module, str, int]] = {
    "softmax": (nn.Softmax(1), "'softmax' in module '5'", 3),
    "sigmoid": (nn.Sigmoid(), "'sigmoid' in module '5'", 1),
    "log_softmax": (nn.LogSoftmax(1), "'log_softmax' in module '5'", 3),
    "tanh": (nn.Tanh(), "'tanh' in module '5'", 1),
    "hardsigmoid": (nn.Hardsigmoid(), "'hardsigmoid' in module '5'", 1),
    "a functional softmax": (Call(lambda x: F.softmax(x, 1)), "'softmax' in module '5'", 3),
    "a method": (Call(lambda x: x.sigmoid()), "'sigmoid' in module '5'", 1),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_saturated_head_is_named_with_the_remedy(head):
    module, where, classes = HEADS[head]
    net = body(classes)
    net[4].weight.data *= 3e4
    model, x = nn.Sequential(*net, module).eval(), images()
    best = int(nn.Sequential(*net)(x)[0].argmax())
    assert ZFDeconv(nn.Sequential(*net)).attribute(x, best)[0].any()
    with pytest.warns(DeadSignalWarning, match=rf"it became 0 at {where}.*, which is saturated: .* the logits"):
        maps = ZFDeconv(model).attribute(x, best)
    assert not maps[0].any()


def test_examples_are_told_apart_and_one_that_is_not_saturated_keeps_its_map():
    net = body()
    model, x = nn.Sequential(*net, nn.Softmax(1)).eval(), images()
    x[0] *= 1e4
    best = int(model(x)[0].argmax())
    assert model(x)[0, best] == 1
    assert model(x)[1, best] < 0.9
    with pytest.warns(DeadSignalWarning, match=r"1 of 2 examples \(0\).*'softmax' in module '5', which is saturated"):
        maps = ZFDeconv(model).attribute(x, best)
    assert [bool(each.any()) for each in maps] == [False, True]


def test_another_call_that_silences_the_signal_is_named_but_not_as_a_head():
    model, x = nn.Sequential(*body(1), Call(lambda s: (s * 0 + 2).cos() * (s * 0).pow(2))).eval(), images()
    with pytest.warns(DeadSignalWarning, match=r"it became 0 at '\w+' in module '5' \(.*test_advice\.py:\d+\)\. Start"):
        ZFDeconv(model).attribute(x)


def test_what_is_rectified_away_is_still_said_to_be():
    net = body()
    net[4].weight.data = -net[4].weight.data.abs()
    model = nn.Sequential(*net, nn.Softmax(1)).eval()
    with pytest.warns(DeadSignalWarning, match="rectified away at 'relu' in module '1'"):
        ZFDeconv(nn.Sequential(*net)).attribute(images(), 0)
    assert model(images()).max() < 1


# ---------------------------------------------------------------------------------------- random models

RANDOM: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "Dropout": (lambda: nn.Dropout(0.5), r"\(module '1' is in training mode\).*: call model\.eval\(\)"),
    "Dropout2d": (lambda: nn.Dropout2d(0.5), r"\(module '1' is in training mode\).*: call model\.eval\(\)"),
    "RReLU": (nn.RReLU, r"\(it is in training mode\).*: call model\.eval\(\)"),
    "functional": (lambda: Call(lambda x: F.dropout(x, 0.5)), r"\(it is in training mode\)"),
    "drop path": (lambda: Call(lambda x: x * x.new_empty(len(x), 1, 1, 1).bernoulli_(0.5)), "draws random numbers"),
}


def with_chance(kind: str) -> nn.Sequential:
    net = body()
    return nn.Sequential(net[0], RANDOM[kind][0](), *net[1:])


METHODS: dict[str, Callable[[nn.Module], Any]] = {
    "ZFDeconv": lambda model: ZFDeconv(model, activations="gradient").attribute(images(), 1),
    "NeuronZFDeconv": lambda model: NeuronZFDeconv(model, "2", activations="gradient").attribute(images(), (1, 2, 2)),
    "LayerZFDeconv": lambda model: LayerZFDeconv(model, "2", activations="gradient").attribute(images(), 1),
    "several targets": lambda model: ZFDeconv(model, activations="gradient").attribute_targets(images(), [1, 2]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", RANDOM)
def test_a_map_that_follows_from_chance_is_announced_in_training_mode(kind, method):
    model = with_chance(kind).train()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        METHODS[method](model)
    said = [str(each.message) for each in caught if issubclass(each.category, RandomModelWarning)]
    assert said
    assert re.search(RANDOM[kind][1], said[0])
    assert __file__ in {each.filename for each in caught if issubclass(each.category, RandomModelWarning)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["Dropout", "Dropout2d", "RReLU"])
def test_in_eval_mode_nothing_is_said(kind, method):
    METHODS[method](with_chance(kind).eval())  # a warning would be an error


def test_chance_in_eval_mode_is_announced_without_a_remedy_that_is_none():
    with pytest.warns(RandomModelWarning, match="numbers, in eval mode, too, so that each call gives another map$"):
        ZFDeconv(with_chance("functional").eval()).attribute(images(), 1)


def test_batch_norm_in_training_mode_draws_nothing():
    net = body()
    model = nn.Sequential(net[0], nn.BatchNorm2d(8), *net[1:]).train()
    ZFDeconv(model).attribute(images(), 1)


# ---------------------------------------------------------------------------------------- outputs without a batch


class Reader(nn.Module):
    """Scores (time, N, classes), as recurrent networks of torch return them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu, self.lstm, self.head = nn.Conv1d(1, 8, 5), nn.ReLU(), nn.LSTM(8, 4), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.lstm(self.relu(self.conv(x)).permute(2, 0, 1))[0])
        return found


@pytest.mark.parametrize("target", [3, (1, 5), [1, 2], None])
def test_an_output_of_other_rows_than_examples_is_refused(target):
    model, x = Reader().eval(), torch.randn(2, 1, 40)
    before = snapshot(model, x)
    for method in (ZFDeconv(model), LayerZFDeconv(model, "conv")):
        with pytest.raises(ModelError, match=r"each of the 2 examples, got 36 rows \(36, 2, 10\): .*ScoredModel"):
            method.attribute(x, target)
    with pytest.raises(ModelError, match="36 rows"):
        ZFDeconv(model).attribute_targets(x, [target])
    assert snapshot(model, x) == before


def test_with_the_batch_first_the_same_reader_is_explained():
    model, x = Reader().eval(), torch.randn(2, 1, 40)
    scored = ScoredModel(model, lambda output: output.transpose(0, 1))
    at_one_time = ScoredModel(model, lambda output: output[7])
    torch.testing.assert_close(ZFDeconv(scored).attribute(x, (7, 5)), ZFDeconv(at_one_time).attribute(x, 5))


def test_inputs_of_different_numbers_of_rows_are_not_held_against_the_output():
    class Compared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(*body())

        def forward(self, images: Tensor, weights: Tensor) -> Tensor:
            found: Tensor = self.net(images) * weights
            return found

    model = Compared().eval()
    maps = ZFDeconv(model).attribute((images(), torch.ones(3)), 1)
    torch.testing.assert_close(maps[0], ZFDeconv(model.net).attribute(images(), 1))


# ---------------------------------------------------------------------------------------- images without a batch

UNBATCHED: dict[str, Callable[[], nn.Module]] = {
    "linear head": lambda: nn.Sequential(*body()),
    "batch norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), *body()[1:]),
    "an assertion": lambda: nn.Sequential(Call(of_four), *body()),
    "a head over positions": lambda: nn.Sequential(*body()[:2], Call(lambda x: x.mean((-2, -1))), nn.Linear(8, 5)),
}


def of_four(x: Tensor) -> Tensor:
    assert x.dim() == 4, "four dimensions"
    return x


@pytest.mark.parametrize("kind", UNBATCHED)
def test_one_image_without_a_batch_is_one_sentence(kind):
    model, image = UNBATCHED[kind]().eval(), images()[0]
    before = snapshot(model, image)
    with pytest.raises(DeconvError, match=r"x\[None\]") as raised:
        ZFDeconv(model).attribute(image, 1)
    assert "(3, 16, 16)" in str(raised.value) or "each of the 3 examples" in str(raised.value)
    assert snapshot(model, image) == before


# ---------------------------------------------------------------------------------------- what is no Module


class Pipeline:
    def __init__(self) -> None:
        self.model = nn.Sequential(*body())

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(x)
        return found


def function(x: Tensor) -> Tensor:
    return x


def exported(model: nn.Module) -> Any:
    return torch.export.export(model.eval(), (images(),))


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (
            lambda: exported(nn.Sequential(*body())),
            r"ExportedProgram, .*program\.module",
        ),
        (Pipeline, "got Pipeline, which has a Module as its attribute 'model': give that"),
        (lambda: function, r"got function: give the Module that it runs, as ScoredModel\(module, forward_func="),
        (lambda: nn.ReLU, "got type"),
        (lambda: None, "got NoneType$"),
    ],
    ids=["exported", "a pipeline", "a function", "a class", "nothing"],
)
def test_what_is_no_module_is_named_with_what_to_give(thing, says):
    for method in (ZFDeconv, lambda model: NeuronZFDeconv(model, "1"), lambda model: LayerZFDeconv(model, "1")):
        with pytest.raises(ModelError, match=says):
            method(thing())


def test_the_module_of_an_exported_program_is_explained():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), *body()[1:]).eval()
    ours = ZFDeconv(exported(model).module()).attribute(images(), 1)
    torch.testing.assert_close(ours, ZFDeconv(model).attribute(images(), 1))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # torch's, of TorchScript
def test_torchscript_in_a_scored_model_is_named_by_its_own_path():
    model = nn.Sequential(nn.Identity(), torch.jit.trace(nn.Sequential(*body()).eval(), images()))
    with pytest.raises(ModelError, match="module '1' is TorchScript"):
        ZFDeconv(ScoredModel(model, lambda output: output))


def test_integers_are_refused_with_where_tokens_can_be_explained():
    for dtype, tokens in ((torch.int64, True), (torch.uint8, False)):
        with pytest.raises(InputError, match="expected the input in floating point") as raised:
            ZFDeconv(nn.Sequential(*body())).attribute(images().to(dtype), 1)
        assert ("LayerZFDeconv" in str(raised.value)) == tokens
