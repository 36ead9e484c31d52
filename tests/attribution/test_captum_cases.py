"""Captum's own test cases for Deconvolution, held against ZFDeconv.

The models and the table of cases ship with Captum, in ``captum.testing``. On all of these models Captum's
Deconvolution is right: every rectifier is an ``nn.ReLU`` that runs once in a forward pass and whose input nothing
else reads. So no case needs another reference. But the weights of the fixtures are ones, for which rectifying a
signal changes nothing; each case is therefore repeated with random weights.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from captum._utils.gradient import construct_neuron_grad_fn
from captum.attr import Deconvolution, NeuronDeconvolution, NoiseTunnel
from captum.testing.attr.helpers.gen_test_utils import get_target_layer
from captum.testing.attr.helpers.test_config import config
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv, BasicModel_MultiLayer
from state import snapshot
from test_captum_contract import close, quiet_captum
from torch import Tensor, nn

from deconv_attr import DeadSignalWarning, ZFDeconv
from deconv_attr.errors import TargetError

GOLDEN = torch.tensor([[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]], dtype=torch.float64).view(1, 1, 4, 4)
CASES = [case for case in config if Deconvolution in case["algorithms"]]
NEURON_CASES = [case for case in config if NeuronDeconvolution in case["algorithms"]]


def ramp() -> Tensor:
    return torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)


def in_double(value: Any) -> Any:
    """Copy arguments, with floating-point tensors in float64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value.clone()
    if isinstance(value, tuple):
        return tuple(map(in_double, value))
    return {key: in_double(item) for key, item in value.items()} if isinstance(value, dict) else value


def fixture(case: dict[str, Any], weights: str) -> tuple[nn.Module, dict[str, Any]]:
    """Copy a case's model and arguments; "random" weights are drawn for it, with signs."""
    model = copy.deepcopy(case["model"]).double()
    if weights == "random":
        generator = torch.Generator().manual_seed(7)
        for parameter in model.parameters():
            parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
    return model, in_double(case["attribute_args"])


def run(method: type[Any], case: dict[str, Any], model: nn.Module, arguments: dict[str, Any]) -> tuple[Tensor, ...]:
    explainer = NoiseTunnel(method(model)) if case.get("noise_tunnel") else method(model)
    torch.manual_seed(3)
    maps = explainer.attribute(**in_double(arguments))
    assert type(maps) is type(arguments["inputs"])
    return maps if isinstance(maps, tuple) else (maps,)


def by_name(case: Any) -> str | None:
    return case["name"] if isinstance(case, dict) else None


# ---------------------------------------------------------------------------------------- the golden values


@pytest.mark.parametrize("inplace", [False, True], ids=["relu", "relu in place"])
def test_one_image_through_one_convolution_has_captums_golden_map(inplace):
    model = BasicModel_ConvNet_One_Conv(inplace=inplace).double()
    assert torch.equal(ZFDeconv(model).attribute(ramp(), target=0), GOLDEN)
    (in_tuple,) = ZFDeconv(model).attribute((ramp(),), target=0)
    assert torch.equal(in_tuple, GOLDEN)


@pytest.mark.parametrize("inplace", [False, True], ids=["relu", "relu in place"])
def test_two_images_that_are_added_have_the_golden_map_both(inplace):
    model = BasicModel_ConvNet_One_Conv(inplace=inplace).double()
    maps = ZFDeconv(model).attribute((ramp(), torch.ones(1, 1, 4, 4, dtype=torch.float64)), target=0)
    assert len(maps) == 2
    assert torch.equal(maps[0], GOLDEN)
    assert torch.equal(maps[1], GOLDEN)


@pytest.mark.parametrize("inplace", [False, True], ids=["relu", "relu in place"])
@pytest.mark.parametrize("neuron", [(0,), (3,)], ids=["neuron 0", "neuron 3"])
def test_a_neuron_of_the_linear_layer_has_the_golden_map(neuron, inplace):
    model = BasicModel_ConvNet_One_Conv(inplace=inplace).double()
    method = ZFDeconv(model)
    method.gradient_func = construct_neuron_grad_fn(model.fc1, neuron)
    assert torch.equal(method.attribute(ramp()), GOLDEN)
    for one in method.attribute((ramp(), torch.ones(1, 1, 4, 4, dtype=torch.float64))):
        assert torch.equal(one, GOLDEN)


@pytest.mark.parametrize("weights", ["ones", "random"])
def test_a_target_is_the_same_as_the_neuron_of_the_last_relu(weights):
    torch.manual_seed(5)
    model = BasicModel_ConvNet_One_Conv().double()
    if weights == "random":
        for parameter in model.parameters():
            parameter.data.normal_()
    x = 100 * torch.randn(1, 1, 4, 4, dtype=torch.float64)
    for target in range(4):
        with quiet_captum():
            expected = NeuronDeconvolution(model, model.relu2).attribute(x, (target,))
        close(ZFDeconv(model).attribute(x, target=target), expected)


# ---------------------------------------------------------------------------------------- the table of cases


@pytest.mark.parametrize("weights", ["as given", "random"])
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_captums_case_gives_captums_numbers(case, weights):
    model, arguments = fixture(case, weights)
    before = snapshot(model)
    with quiet_captum():
        expected = run(Deconvolution, case, model, arguments)
    ours = run(ZFDeconv, case, model, arguments)
    assert snapshot(model) == before
    assert len(ours) == len(expected)
    for one, reference in zip(ours, expected, strict=True):
        close(one, reference)


def test_the_table_has_the_cases_that_were_looked_at():
    names = {case["name"] for case in CASES}
    assert {"basic_single_target", "basic_multi_input", "basic_multiple_tuple_target"} <= names
    assert len(CASES) >= 13
    assert sum(bool(case.get("noise_tunnel")) for case in CASES) >= 6
    assert len(NEURON_CASES) >= 5


@pytest.mark.parametrize("weights", ["as given", "random"])
@pytest.mark.parametrize("case", NEURON_CASES, ids=by_name)
def test_captums_neuron_case_gives_captums_numbers(case, weights):
    model, arguments = fixture(case, weights)
    layer = get_target_layer(model, case["layer"])
    with quiet_captum():
        expected = NeuronDeconvolution(model, layer).attribute(**in_double(arguments))
    method = ZFDeconv(model)
    method.gradient_func = construct_neuron_grad_fn(layer, arguments.pop("neuron_selector"))
    ours = method.attribute(**arguments)
    for one, reference in zip(
        *(maps if isinstance(maps, tuple) else (maps,) for maps in (ours, expected)), strict=True
    ):
        close(one, reference)


# ---------------------------------------------------------------------------------------- the cases for targets


def example(value: Any, number: int) -> Any:
    """Cut one example out of an argument."""
    if isinstance(value, tuple):
        return tuple(example(item, number) for item in value)
    return value[number : number + 1] if isinstance(value, Tensor) else value


@pytest.mark.parametrize("spelling", ["its target", "a list of its target"])
@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case["attribute_args"]["target"], list | Tensor)], ids=by_name
)
def test_each_example_with_its_own_target_is_explained_as_in_the_batch(case, spelling):
    model, arguments = fixture(case, "random")
    inputs, targets = arguments["inputs"], arguments["target"]
    count = len(inputs[0] if isinstance(inputs, tuple) else inputs)
    together = run(ZFDeconv, case, model, arguments)
    for number in range(count):
        each = len(targets) == count
        its_own = targets if not each else targets[number] if spelling == "its target" else targets[number : number + 1]
        single = {**arguments, "inputs": example(inputs, number), "target": its_own}
        if "additional_forward_args" in arguments:
            single["additional_forward_args"] = example(arguments["additional_forward_args"], number)
        alone = run(ZFDeconv, case, model, single)
        for one, all_of_them in zip(alone, together, strict=True):
            torch.testing.assert_close(one, all_of_them[number : number + 1], rtol=1e-10, atol=1e-13)


def test_a_missing_target_and_a_target_for_too_many_dimensions_are_assertion_errors():
    model, x = BasicModel_MultiLayer().double(), torch.zeros(1, 3, dtype=torch.float64)
    with pytest.raises(AssertionError, match=r"no target given, and the output \(1, 2\)"):
        ZFDeconv(model).attribute(x)
    with pytest.raises(AssertionError, match=r"has 2 indices, the output \(1, 2, 2, 2\) needs 3"):
        ZFDeconv(model).attribute(x, additional_forward_args=(None, True), target=(1, 0))


# ---------------------------------------------------------------------------------------- no hooks are left


class Raises(nn.Module):
    """In the place of a module; runs once, and fails."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        raise AssertionError("raised in forward")


def one_of_each() -> list[dict[str, Any]]:
    return [next(case for case in CASES if bool(case.get("noise_tunnel")) is tunnel) for tunnel in (False, True)] + [
        next(case for case in CASES if isinstance(case["attribute_args"]["inputs"], tuple))
    ]


@pytest.mark.parametrize("mode", ["normal", "incorrect target", "a module that raises"])
@pytest.mark.parametrize("case", one_of_each(), ids=by_name)
def test_no_hook_is_left_behind(case, mode):
    model, arguments = fixture(case, "as given")
    if mode == "incorrect target":
        arguments["target"] = (9999,) * 20
    if mode == "a module that raises":
        (model.model if hasattr(model, "model") else model).relu = Raises()
    before = snapshot(model)
    if mode == "normal":
        run(ZFDeconv, case, model, arguments)
    else:
        says = "has 20 indices" if mode == "incorrect target" else "raised in forward"
        with pytest.raises(AssertionError, match=says) as raised:
            run(ZFDeconv, case, model, arguments)
        assert isinstance(raised.value, TargetError) == (mode == "incorrect target")
    assert snapshot(model) == before
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks


# ---------------------------------------------------------------------------------------- where the signal dies


def test_where_captums_map_is_zero_without_a_word_ours_is_zero_with_one():
    torch.manual_seed(0)
    model, x = BasicModel_MultiLayer().double(), torch.randn(4, 3, dtype=torch.float64)
    with torch.no_grad():
        model.linear2.weight[1] = -1  # the signal of class 1 is negative everywhere above the ReLU
    with quiet_captum():
        expected = Deconvolution(model).attribute(x, target=[0, 1, 1, 0])
    assert expected.flatten(1).any(1).tolist() == [True, False, False, True]
    with pytest.warns(DeadSignalWarning, match=r"2 of 4 examples \(1, 2\).*'relu' in module 'relu'"):
        ours = ZFDeconv(model).attribute(x, target=[0, 1, 1, 0])
    close(ours, expected)
