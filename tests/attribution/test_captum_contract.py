"""What Captum expects of an attribution method, and what a caller who errs is told.

The numbers come from :func:`by_hand`, which walks a plain chain upwards and down again with the functional
operations alone, or from Captum where Captum is right.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum._utils.gradient import construct_neuron_grad_fn
from captum.attr import Deconvolution, GradientAttribution, LayerAttribution, NeuronDeconvolution
from state import snapshot
from torch import Tensor, nn

from deconv_attr import GRADIENT, DeadSignalWarning, DeconvError, LayerZFDeconv, ZFDeconv
from deconv_attr.errors import InputError, ModelError, RuleError, SignalError, TargetError


def chain(activation: Callable[[], nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    """Build the plain chain of these tests: (N, 2, 8, 8) -> (N, 4), every rectifier a module used once."""
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv1=nn.Conv2d(2, 4, 3, padding=1),
        act1=activation(),
        pool=nn.MaxPool2d(2),
        conv2=nn.Conv2d(4, 5, 3),
        act2=activation(),
        flat=nn.Flatten(),
        fc=nn.Linear(20, 4),
    )
    return nn.Sequential(layers).double()


def images(count: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(count, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(
    model: nn.Sequential, x: Tensor, classes: list[int], activation: Callable[[Tensor], Tensor] = F.relu
) -> dict[str, Tensor]:
    """Send 1 from each example's class down the chain; give the signal at the output of every layer, and at 'x'."""
    with torch.no_grad():
        pooled_from = activation(model.conv1(x))
        _, switches = F.max_pool2d(pooled_from, 2, return_indices=True)
        at = {"fc": F.one_hot(torch.tensor(classes), 4).to(x)}
        at["flat"] = at["fc"] @ model.fc.weight
        at["act2"] = at["flat"].view(-1, 5, 2, 2)
        at["conv2"] = at["act2"].clamp(min=0)
        at["pool"] = F.conv_transpose2d(at["conv2"], model.conv2.weight)
        at["act1"] = F.max_unpool2d(at["pool"], switches, 2)  # the windows do not overlap
        at["conv1"] = at["act1"].clamp(min=0)
        at["x"] = F.conv_transpose2d(at["conv1"], model.conv1.weight, padding=1)
    return at


def close(ours: Tensor, reference: Tensor) -> None:
    assert reference.abs().max() > 1e-6, "a reference of zeros proves nothing"
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-13)


@contextmanager
def quiet_captum() -> Iterator[None]:
    """Captum's own methods warn on every healthy call; ours must not, so keep them out of here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU activations")
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
        yield


# ---------------------------------------------------------------------------------------- the class's face


def faces() -> list[Any]:
    model = chain()
    return [ZFDeconv(model), LayerZFDeconv(model, model.conv2)]


@pytest.mark.parametrize("method", faces(), ids=["ZFDeconv", "LayerZFDeconv"])
def test_the_methods_say_what_captum_asks_of_them(method):
    assert method.multiplies_by_inputs is False
    assert method.has_convergence_delta() is False
    assert method.get_name() == type(method).get_name() == type(method).__name__


@pytest.mark.parametrize("method", faces(), ids=["ZFDeconv", "LayerZFDeconv"])
def test_attribute_future_is_refused(method):
    with pytest.raises(NotImplementedError, match=f"attribute_future is not implemented for {method.get_name()}"):
        method.attribute_future()


def test_the_methods_are_captums_kind_and_keep_the_model():
    model = chain()
    method = ZFDeconv(model)
    assert isinstance(method, GradientAttribution)
    assert method.model is model
    assert method.forward_func is model
    assert callable(method.gradient_func)
    by_layer = LayerZFDeconv(model, model.conv2, device_ids=[0])
    assert isinstance(by_layer, LayerAttribution)
    assert by_layer.layer is model.conv2
    assert by_layer.device_ids == [0]


@pytest.mark.parametrize("method", faces(), ids=["ZFDeconv", "LayerZFDeconv"])
def test_attribute_is_wrapped_and_the_wrapped_one_gives_the_same(method):
    x = images()
    close(method.attribute.__wrapped__(method, x, target=1), method.attribute(x, target=1))


def test_the_map_is_the_one_computed_by_hand():
    model, x = chain(), images()
    close(ZFDeconv(model).attribute(x, target=2), by_hand(model, x, [2, 2, 2])["x"])


def test_the_arguments_may_be_given_by_position_as_in_captum():
    model, x = Scaled(), images()
    with quiet_captum():
        expected = Deconvolution(model).attribute(x, 1, (FACTOR, 3))
    close(ZFDeconv(model).attribute(x, 1, (FACTOR, 3)), expected)


# ---------------------------------------------------------------------------------------- tensors and tuples


class Sum(nn.Module):
    """Two images, added with weights 1 and 2, through the chain."""

    def __init__(self) -> None:
        super().__init__()
        self.net = chain()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(x + 2 * y)


def test_a_tensor_gives_a_tensor_and_a_one_tuple_a_one_tuple():
    model, x = chain(), images()
    expected = by_hand(model, x, [1, 1, 1])["x"]
    close(ZFDeconv(model).attribute(x, target=1), expected)
    (alone,) = in_tuple = ZFDeconv(model).attribute((x,), target=1)
    assert type(in_tuple) is tuple
    close(alone, expected)


def test_a_pair_of_images_gives_a_pair_of_maps_in_their_order():
    model, x, y = Sum(), images(), images(seed=2)
    expected = by_hand(model.net, x + 2 * y, [3, 3, 3])["x"]
    maps = ZFDeconv(model).attribute((x, y), target=3)
    assert type(maps) is tuple
    close(maps[0], expected)
    close(maps[1], 2 * expected)


def test_an_input_that_the_model_does_not_use_has_a_zero_map():
    class First(Sum):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.net(x)

    model, x, y = First(), images(), torch.ones(3, 7, dtype=torch.float64)
    used, unused = ZFDeconv(model).attribute((x, y), target=0)
    close(used, by_hand(model.net, x, [0, 0, 0])["x"])
    assert torch.equal(unused, torch.zeros_like(y))


# ---------------------------------------------------------------------------------------- targets

CLASSES = [2, 0, 3]
ONE_CLASS = {
    "int": 2,
    "negative int": -2,
    "numpy int": np.int64(2),
    "one-element tensor": torch.tensor([2]),
    "zero-dimensional tensor": torch.tensor(2),
    "two-dimensional one-element tensor": torch.tensor([[2]]),
    "one-tuple": (2,),
    "negative one-tuple": (-2,),
}
A_CLASS_EACH = {
    "list of int": CLASSES,
    "list with a negative int": [2, -4, -1],
    "1-D tensor": torch.tensor(CLASSES),
    "1-D tensor of int32": torch.tensor(CLASSES, dtype=torch.int32),
    "list of 1-tuples": [(2,), (0,), (3,)],
    "list of ints and tuples": [2, (0,), 3],
}


@pytest.mark.parametrize("target", ONE_CLASS.values(), ids=ONE_CLASS)
def test_every_spelling_of_one_class_gives_the_map_of_that_class(target):
    model, x = chain(), images()
    close(ZFDeconv(model).attribute(x, target=target), by_hand(model, x, [2, 2, 2])["x"])
    close(LayerZFDeconv(model, model.conv2).attribute(x, target=target), by_hand(model, x, [2, 2, 2])["conv2"])


@pytest.mark.parametrize("target", A_CLASS_EACH.values(), ids=A_CLASS_EACH)
def test_every_spelling_of_a_class_each_gives_each_example_its_own(target):
    model, x = chain(), images()
    close(ZFDeconv(model).attribute(x, target=target), by_hand(model, x, CLASSES)["x"])
    close(LayerZFDeconv(model, model.conv2).attribute(x, target=target), by_hand(model, x, CLASSES)["conv2"])


class Grid(nn.Module):
    """Scores in a (N, 2, 2) grid: class k stands at [k // 2, k % 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = chain()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).view(-1, 2, 2)


@pytest.mark.parametrize(
    ("target", "classes"),
    [((1, 0), [2, 2, 2]), ((-1, -2), [2, 2, 2]), ([(1, 0), (0, 0), (1, 1)], [2, 0, 3])],
    ids=["tuple", "negative tuple", "list of tuples"],
)
def test_a_tuple_names_a_unit_of_a_map_of_scores(target, classes):
    model, x = Grid(), images()
    close(ZFDeconv(model).attribute(x, target=target), by_hand(model.net, x, classes)["x"])


@pytest.mark.parametrize("width", [(), (1,), (1, 1)], ids=["(N,)", "(N, 1)", "(N, 1, 1)"])
def test_a_model_of_one_score_needs_no_target(width):
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = chain()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)[:, 1].reshape(len(x), *width)

    model, x = One(), images()
    close(ZFDeconv(model).attribute(x), by_hand(model.net, x, [1, 1, 1])["x"])


def test_a_batch_is_explained_as_each_of_its_examples_alone():
    model, x = chain(), images()
    together = ZFDeconv(model).attribute(x, target=CLASSES)
    alone = [ZFDeconv(model).attribute(x[i : i + 1], target=CLASSES[i]) for i in range(3)]
    close(together, torch.cat(alone))


# ---------------------------------------------------------------------------------------- further arguments


class Scaled(nn.Module):
    """An image, a factor for each example, and a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.net = chain()

    def forward(self, x: Tensor, factor: Tensor | None = None, number: float = 1) -> Tensor:
        return self.net(x if factor is None else x * factor.view(-1, 1, 1, 1)) * number


FACTOR = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("others", "factor", "number"),
    [(None, 1, 1), (FACTOR, FACTOR, 1), ((FACTOR,), FACTOR, 1), ((FACTOR, 3), FACTOR, 3), ((None, 3), 1, 3)],
    ids=["none", "a tensor", "a tuple", "a tensor and a number", "None and a number"],
)
def test_additional_forward_args_reach_the_model_in_order(others, factor, number):
    model, x = Scaled(), images()
    spread = torch.as_tensor(factor, dtype=x.dtype).expand(3).view(3, 1, 1, 1)
    expected = number * spread * by_hand(model.net, x * spread, [1, 1, 1])["x"]
    close(ZFDeconv(model).attribute(x, target=1, additional_forward_args=others), expected)
    deep = number * by_hand(model.net, x * spread, [1, 1, 1])["conv2"]
    close(LayerZFDeconv(model, model.net.conv2).attribute(x, 1, others), deep)


def test_nothing_is_attributed_to_additional_forward_args():
    model, x, factor = Scaled(), images(), FACTOR.clone().requires_grad_()
    before = snapshot(model, x, factor)
    ZFDeconv(model).attribute(x, target=1, additional_forward_args=factor)
    assert snapshot(model, x, factor) == before


# ---------------------------------------------------------------------------------------- modes and layouts


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_it_works_where_gradients_are_off_and_leaves_them_off(mode):
    model, x = chain(), images()
    with mode():
        before = snapshot(model, x)
        ours = ZFDeconv(model).attribute(x, target=1)
        at_layer = LayerZFDeconv(model, model.conv2).attribute(x, target=1)
        assert snapshot(model, x) == before
    expected = by_hand(model, x, [1, 1, 1])
    close(ours, expected["x"])
    close(at_layer, expected["conv2"])
    assert not ours.requires_grad


def test_an_image_made_in_inference_mode_can_be_explained():
    model, x = chain(), images()
    with torch.inference_mode():
        made = x + 0
        inside = ZFDeconv(model).attribute(made, target=1)
    expected = by_hand(model, x, [1, 1, 1])["x"]
    close(inside, expected)
    close(ZFDeconv(model).attribute(made, target=1), expected)


def test_a_further_argument_made_in_inference_mode_is_no_obstacle():
    model, x = Scaled(), images()
    with torch.inference_mode():
        factor = FACTOR + 0
    expected = ZFDeconv(model).attribute(x, target=1, additional_forward_args=FACTOR)
    close(ZFDeconv(model).attribute(x, target=1, additional_forward_args=factor), expected)


@pytest.mark.parametrize("model_too", [False, True], ids=["image", "image and model"])
def test_channels_last_gives_the_same_map_contiguous(model_too):
    model, x = chain(), images()
    expected = by_hand(model, x, [1, 1, 1])
    if model_too:
        model.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    assert not x.is_contiguous()
    for ours, reference in [
        (ZFDeconv(model).attribute(x, target=1), expected["x"]),
        (LayerZFDeconv(model, model.conv2).attribute(x, target=1), expected["conv2"]),
    ]:
        assert ours.is_contiguous()
        close(ours.view(3, -1), reference.reshape(3, -1))


def test_an_image_that_requires_grad_stays_a_leaf_without_gradient():
    model, x = chain(), images().requires_grad_()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = snapshot(model, x)
    ours = ZFDeconv(model).attribute(x, target=1)
    LayerZFDeconv(model, model.act1).attribute(x, target=1)
    assert snapshot(model, x) == before
    assert x.grad is None
    close(ours, by_hand(model, x.detach(), [1, 1, 1])["x"])


def test_a_healthy_call_says_nothing():
    model, x = chain(), images()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ZFDeconv(model).attribute(x, target=1)
        LayerZFDeconv(model, model.conv2).attribute(x, target=1)
    assert said == []


def test_a_signal_that_dies_is_announced_with_the_place_and_the_map_is_zero_there_only():
    model, x = chain(), images()
    with torch.no_grad():
        model.fc.weight[1] = -model.fc.weight[1].abs()  # nothing of class 1 survives act2
    with pytest.warns(DeadSignalWarning, match=r"1 of 3 examples \(1\).*rectified away at 'relu' in module 'act2'"):
        maps = ZFDeconv(model).attribute(x, target=[0, 1, 2])
    expected = by_hand(model, x, [0, 1, 2])["x"]
    assert not expected[1].any()
    assert torch.equal(maps[1], torch.zeros_like(maps[1]))
    close(maps, expected)


# ---------------------------------------------------------------------------------------- Captum's neuron mechanism

AT_OUTPUT: dict[str, list[Any]] = {
    "conv1": [(1, 4, 5), (slice(0, 2), 3, slice(1, 8, 2)), lambda out: out[:, 2].sum((1, 2))],
    "act1": [(1, 4, 5)],
    "pool": [(3, 1, 2), (0, slice(0, 4), 1)],
    "conv2": [(4, 1, 0), lambda out: out.amax((1, 2, 3))],
    "act2": [(2, 0, 1)],
    "fc": [3, (3,), lambda out: out[:, 0] - out[:, 1]],
}
AT_INPUT: dict[str, list[Any]] = {
    "conv1": [(1, 4, 5)],
    "act1": [(1, 4, 5), lambda out: out.amax((1, 2, 3))],
    "pool": [(1, 4, 5)],
    "conv2": [(3, 1, 0)],
    "act2": [(2, 0, 1)],
    "fc": [7],
}
NEURONS = [
    pytest.param(layer, selector, at_input, id=f"{'input' if at_input else 'output'} of {layer}, {number}")
    for at_input, table in ((False, AT_OUTPUT), (True, AT_INPUT))
    for layer, selectors in table.items()
    for number, selector in enumerate(selectors)
]


@pytest.mark.parametrize(("layer", "selector", "at_input"), NEURONS)
def test_captums_neuron_mechanism_gives_captums_numbers(layer, selector, at_input):
    model, x = chain(), images()
    module = getattr(model, layer)
    with quiet_captum():
        expected = NeuronDeconvolution(model, module).attribute(x, selector, attribute_to_neuron_input=at_input)
    method = ZFDeconv(model)
    before = snapshot(model, x)
    method.gradient_func = construct_neuron_grad_fn(module, selector, None, at_input)
    ours = method.attribute.__wrapped__(method, x, None, None)
    assert snapshot(model, x) == before
    close(ours, expected)


# ---------------------------------------------------------------------------------------- what is refused


def with_output(give: Callable[[Any, Tensor], Any]) -> Callable[[], nn.Module]:
    """Make models that rectify, and then return what ``give`` makes of the scores (N, 4) and the images."""

    class Returning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = chain()

        def forward(self, x: Tensor) -> Any:
            return give(self.net, x)

    return Returning


def with_weight(layer: str, value: float) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = chain()
        with torch.no_grad():
            getattr(model, layer).weight.view(-1)[0] = value
        return model

    return build


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.head = chain(), nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.net(x)))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(108, 4)).double()


def spoilt(value: float) -> Tensor:
    x = images()
    x[1, 0, 2, 3] = value
    return x


@dataclass(frozen=True)
class Bad:
    """A call that is refused: the error's class, and what its message must hold."""

    name: str
    error: type[DeconvError]
    says: tuple[str, ...]
    model: Callable[[], nn.Module] = chain
    inputs: Callable[[], Any] = images
    target: Any = 0


def says_target(got: str) -> tuple[str, str]:
    return "expected the target as int, tuple, list or a 1-D tensor of int", f"got {got}"


BAD_TARGETS = [
    Bad("target missing", TargetError, ("no target given", "(3, 4)"), target=None),
    Bad("target too large", TargetError, ("target 4 is out of range", "(3, 4)"), target=4),
    Bad("target too negative", TargetError, ("target -5 is out of range", "(3, 4)"), target=-5),
    Bad("one of the targets too large", TargetError, ("target 2, (9,), is out of range", "(3, 4)"), target=[0, 1, 9]),
    Bad("tensor target too large", TargetError, ("out of range", "4", "(3, 4)"), target=torch.tensor([0, 4, 1])),
    Bad("list too short", TargetError, ("one target for each of the 3 examples", "got 2"), target=[0, 1]),
    Bad("list too long", TargetError, ("one target for each of the 3 examples", "got 4"), target=[0, 1, 2, 3]),
    Bad("empty list", TargetError, ("one target for each of the 3 examples", "got 0"), target=[]),
    Bad("tensor too short", TargetError, ("each of the 3 examples", "got 2"), target=torch.tensor([0, 1])),
    Bad("tuple too long", TargetError, ("(0, 1)", "has 2 indices", "(3, 4) needs 1"), target=(0, 1)),
    Bad("empty tuple", TargetError, ("()", "has 0 indices", "(3, 4) needs 1"), target=()),
    Bad("tuples too long", TargetError, ("(0, 1)", "has 2 indices", "needs 1"), target=[(0, 1)] * 3),
    Bad("int for a map of scores", TargetError, ("1 indices", "(3, 2, 2) needs 2"), model=Grid, target=1),
    Bad("float", TargetError, says_target("1.5"), target=1.5),
    Bad("string", TargetError, says_target("'cat'"), target="cat"),
    Bad("bool", TargetError, says_target("True"), target=True),
    Bad("list of floats", TargetError, says_target("0.5"), target=[0.5, 1, 2]),
    Bad("tuple of floats", TargetError, says_target("(1.0,)"), target=(1.0,)),
    Bad("list of lists", TargetError, says_target("[0]"), target=[[0], [1], [2]]),
    Bad("tuple of bool", TargetError, says_target("(True,)"), target=(True,)),
    Bad("list with a tensor of two", TargetError, says_target("a tensor (2,)"), target=[torch.tensor([0, 1]), 1, 2]),
    Bad("tensor of floats", TargetError, says_target("a tensor (3,) of torch.float32"), target=torch.zeros(3)),
    Bad("tensor of bools", TargetError, says_target("a tensor (3,) of torch.bool"), target=torch.zeros(3) > 0),
    Bad("2-D tensor", TargetError, says_target("a tensor (3, 1) of torch.int64"), target=torch.zeros(3, 1).long()),
]
BAD_INPUTS = [
    Bad("integers", InputError, ("floating point", "torch.int64"), inputs=lambda: images().long()),
    Bad("bytes", InputError, ("floating point", "torch.uint8"), inputs=lambda: images().to(torch.uint8)),
    Bad("bools", InputError, ("floating point", "torch.bool"), inputs=lambda: images() > 0),
    Bad("complex", InputError, ("floating point", "torch.complex128"), inputs=lambda: images().to(torch.complex128)),
    Bad("empty batch", InputError, ("at least one example", "(0, 2, 8, 8)"), inputs=lambda: images()[:0]),
    Bad("no dimensions", InputError, ("batch (N, ...)", "got ()"), inputs=lambda: torch.tensor(1.0)),
    Bad("other device", InputError, ("model's device (cpu)", "got meta"), inputs=lambda: images().to("meta")),
    Bad("other device than the model", InputError, ("(meta)", "got cpu"), model=lambda: chain().to("meta")),
    Bad("NaN", InputError, ("the input finite, got 1 values",), inputs=lambda: spoilt(float("nan"))),
    Bad("infinity", InputError, ("the input finite, got 1 values",), inputs=lambda: spoilt(float("-inf"))),
    Bad("NaN in the second", InputError, ("input 1", "NaN"), Sum, lambda: (images(), spoilt(float("nan")))),
    Bad("integers in the second", InputError, ("input 1", "torch.int64"), Sum, lambda: (images(), images().long())),
    Bad("a list", InputError, ("as a tensor", "got list"), inputs=lambda: [images()]),
    Bad("an array", InputError, ("as a tensor", "got ndarray"), inputs=lambda: images().numpy()),
    Bad("nothing", InputError, ("as a tensor", "got NoneType"), inputs=lambda: None),
    Bad("an empty tuple", InputError, ("at least one input tensor", "empty tuple"), inputs=lambda: ()),
]
BAD_MODELS = [
    Bad("no rectifier", ModelError, ("no rectifier", "plain gradient", "Saliency"), model=linear),
    Bad("sigmoids only", ModelError, ("no rectifier",), model=partial(chain, nn.Sigmoid)),
    Bad(
        "output a dict",
        ModelError,
        ("one tensor (N, ...)", "a dict with the keys 'scores', 'aux'"),
        model=with_output(lambda net, x: {"scores": net(x), "aux": x}),
    ),
    Bad("output a tuple", ModelError, ("one tensor", "a tuple"), model=with_output(lambda net, x: (net(x), x))),
    Bad("output a list", ModelError, ("one tensor", "a list"), model=with_output(lambda net, x: [net(x)])),
    Bad("output nothing", ModelError, ("one tensor", "NoneType"), model=with_output(lambda net, x: [net(x), None][1])),
    Bad(
        "output a scalar", ModelError, ("one score an example", "a single number"), with_output(lambda n, x: n(x).sum())
    ),
    Bad("output detached", ModelError, ("does not depend on its inputs",), with_output(lambda n, x: n(x).detach())),
    Bad(
        "output of something else",
        ModelError,
        ("does not depend on its inputs",),
        with_output(lambda net, x: net(torch.ones_like(x))),
    ),
    Bad(
        "output under no_grad",
        ModelError,
        ("does not depend on its inputs",),
        with_output(lambda net, x: torch.no_grad()(net)(x)),
    ),
]
BAD_RULES = [
    Bad(
        "LeakyReLU", RuleError, ("'leaky_relu' in module 'act1'", "activations='rectify'"), partial(chain, nn.LeakyReLU)
    ),
    Bad("GELU", RuleError, ("'gelu' in module 'act1'", "'gradient'"), partial(chain, nn.GELU)),
    Bad("F.gelu", RuleError, ("'gelu' in the model itself", "test_captum_contract.py:", "activations="), Functional),
]
BAD_SIGNALS = [
    Bad("NaN in conv1", SignalError, ("'conv2d' in module 'conv1'",), with_weight("conv1", float("nan"))),
    Bad("NaN in conv2", SignalError, ("'conv2d' in module 'conv2'",), with_weight("conv2", float("nan"))),
    Bad("NaN in fc", SignalError, ("'linear' in module 'fc'",), with_weight("fc", float("nan"))),
    Bad("infinity in conv2", SignalError, ("'conv2d' in module 'conv2'",), with_weight("conv2", float("inf"))),
    Bad("infinity in fc", SignalError, ("'linear' in module 'fc'",), with_weight("fc", float("inf"))),
    Bad(
        "NaN in a head",
        SignalError,
        ("'sqrt' in the model itself", "test_captum_contract.py:"),
        with_output(lambda net, x: (net(x) * 0).sqrt()),
    ),
]
BAD = [*BAD_TARGETS, *BAD_INPUTS, *BAD_MODELS, *BAD_RULES, *BAD_SIGNALS]


def some_layer(model: nn.Module) -> nn.Module:
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


def refused(bad: Bad, explain: Callable[[nn.Module], Any]) -> None:
    model, inputs = bad.model(), bad.inputs()
    tensors = [tensor for tensor in (inputs if isinstance(inputs, tuple) else (inputs,)) if isinstance(tensor, Tensor)]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = snapshot(model, *tensors)
    with pytest.raises(bad.error) as raised:
        explain(model).attribute(inputs, target=bad.target)
    after = snapshot(model, *tensors)
    assert after == before
    missing = [part for part in bad.says if part not in str(raised.value)]
    assert not missing, f"{raised.value} lacks {missing}"


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_zfdeconv_refuses_by_name_and_changes_nothing(bad):
    refused(bad, ZFDeconv)


# Signals that fail below the layer are not noticed at the layer; the last one, below the input, is no fault there.
# Integers are none either where the model takes them, as this one takes those that it adds: they may be tokens.
@pytest.mark.parametrize(
    "bad", [bad for bad in BAD if bad.name not in ("NaN in conv1", "integers in the second")], ids=lambda bad: bad.name
)
def test_layerzfdeconv_refuses_by_name_and_changes_nothing(bad):
    refused(bad, lambda model: LayerZFDeconv(model, some_layer(model)))


def test_target_errors_are_assertion_errors_and_the_others_the_builtin_kind():
    for error, builtin in {
        TargetError: AssertionError,
        InputError: ValueError,
        ModelError: TypeError,
        RuleError: NotImplementedError,
        SignalError: ArithmeticError,
    }.items():
        assert issubclass(error, DeconvError)
        assert issubclass(error, builtin)


def test_after_a_refusal_the_same_method_explains_as_before():
    model, x = chain(), images()
    method = ZFDeconv(model)
    for bad in [*BAD_TARGETS, *BAD_INPUTS]:
        if bad.model is chain:
            with pytest.raises(bad.error):
                method.attribute(bad.inputs(), target=bad.target)
    close(method.attribute(x, target=1), by_hand(model, x, [1, 1, 1])["x"])


NO_MODELS = {"a function": (lambda x: x, "function"), "a class": (nn.ReLU, "type"), "None": (None, "NoneType")}


@pytest.mark.parametrize(("thing", "kind"), NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_module_is_refused_at_once(thing, kind):
    with pytest.raises(ModelError, match=rf"expected the model as a torch\.nn\.Module, got {kind}"):
        ZFDeconv(thing)
    with pytest.raises(ModelError, match=rf"expected the model as a torch\.nn\.Module, got {kind}"):
        LayerZFDeconv(thing, nn.ReLU())


def scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))


def traced() -> nn.Module:
    return torch.jit.trace(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.ones(1, 3))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compile_it", [scripted, traced], ids=["scripted", "traced"])
def test_torchscript_is_refused_as_a_whole_and_in_a_part(compile_it):
    whole = compile_it()
    part = nn.Sequential(OrderedDict(stem=nn.Linear(3, 3), body=whole))
    for explain in (ZFDeconv, lambda model: LayerZFDeconv(model, model)):
        with pytest.raises(ModelError, match="the model is TorchScript"):
            explain(whole)
        with pytest.raises(ModelError, match="module 'body' is TorchScript"):
            explain(part)


@pytest.mark.parametrize("argument", ["activations", "unknown", "batch_norm", "overlap"])
def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(argument):
    model = chain()
    for explain in (ZFDeconv, lambda model, **choice: LayerZFDeconv(model, model.fc, **choice)):
        with pytest.raises(InputError, match=rf"expected {argument} as one of '.*', '.*', got 'maybe'"):
            explain(model, **{argument: "maybe"})


# ---------------------------------------------------------------------------------------- the two explicit choices


def test_rectify_treats_an_activation_without_a_rule_as_a_relu():
    model, x = chain(partial(nn.LeakyReLU, 0.1)), images()
    expected = by_hand(model, x, [1, 1, 1], F.leaky_relu)  # of the forward pass it sees the switches only
    close(ZFDeconv(model, activations="rectify").attribute(x, target=1), expected["x"])
    close(LayerZFDeconv(model, model.conv2, activations="rectify").attribute(x, target=1), expected["conv2"])


def test_gradient_differentiates_an_activation_without_a_rule_and_still_rectifies_at_the_relus():
    model, x = chain(), images()
    model.act1 = nn.GELU()
    leaf = x.clone().requires_grad_()
    below = F.max_pool2d(F.gelu(model.conv1(leaf)), 2)
    (reference,) = torch.autograd.grad(below, leaf, by_hand(model, x, [1, 1, 1])["pool"])
    close(ZFDeconv(model, activations="gradient").attribute(x, target=1), reference)


def test_gradient_everywhere_is_autograd():
    model, x = chain(nn.GELU), images()
    leaf = x.clone().requires_grad_()
    (reference,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    close(ZFDeconv(model, rules=GRADIENT).attribute(x, target=1), reference)


def test_gradient_leaves_a_model_without_any_rectifier_and_is_refused():
    with pytest.raises(ModelError, match="no rectifier"):
        ZFDeconv(chain(nn.GELU), activations="gradient").attribute(images(), target=1)
