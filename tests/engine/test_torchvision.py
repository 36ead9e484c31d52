"""torchvision's networks: equal to Captum where Captum is right, to the oracle everywhere."""

import warnings
from functools import partial

import captum.attr
import pytest
import torch
import torchvision
from oracle import project_class, relative_error
from torchvision_nets import RIGHT_IN_CAPTUM, WRONG_IN_CAPTUM, build, images

from deconv_attr import DESALINET, GRADIENT, GUIDED_BACKPROP, Kind, ZFDeconv, coverage


def captums(method, model, x, target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(captum.attr, method)(model).attribute(x.clone(), target=target)


@pytest.mark.parametrize("name", [*RIGHT_IN_CAPTUM, *WRONG_IN_CAPTUM])
def test_agrees_with_the_oracle(name):
    model, x = build(name), images(name)
    (expected,) = project_class(model, (x,), 3)
    assert expected.any()
    assert relative_error(ZFDeconv(model).attribute(x, target=3), expected) < 1e-10


@pytest.mark.parametrize("name", RIGHT_IN_CAPTUM)
def test_agrees_with_captum_in_single_precision(name):
    model, x = build(name, torch.float32), images(name, 2).float()
    expected = captums("Deconvolution", model, x, [3, 5])
    assert relative_error(ZFDeconv(model).attribute(x, target=[3, 5]), expected) < 1e-6


@pytest.mark.parametrize(("name", "rectifiers"), WRONG_IN_CAPTUM.items())
def test_captum_misses_functional_rectifiers_and_we_do_not(name, rectifiers):
    model, x = build(name), images(name)
    assert relative_error(captums("Deconvolution", model, x, 3), ZFDeconv(model).attribute(x, target=3)) > 0.1
    report = coverage(model, x)
    assert len(report.rectifiers) == rectifiers
    assert {call.rule for call in report.rectifiers} == {"rectify"}
    assert {call.rule for call in report.calls if call.kind is Kind.MAX_POOL} <= {"unpool"}


def test_captum_gives_the_plain_gradient_on_googlenet():
    model, x = build("googlenet"), images("googlenet")
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 3].sum(), x)
    assert relative_error(captums("Deconvolution", model, x.detach(), 3), gradient) < 1e-10


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1", "resnet18"])
def test_guided_backprop_is_another_table_over_the_same_engine(name):
    model, x = build(name), images(name)
    expected = captums("GuidedBackprop", model, x, 3)
    for rules in (GUIDED_BACKPROP, DESALINET):  # no contrast normalisation here, so these are one
        assert relative_error(ZFDeconv(model, rules=rules).attribute(x, target=3), expected) < 1e-10


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet", "mobilenet_v2", "densenet121"])
def test_the_plain_gradient_is_another_table_over_the_same_engine(name):
    model, x = build(name), images(name)
    x.requires_grad_()
    (expected,) = torch.autograd.grad(model(x)[:, 3].sum(), x)
    assert relative_error(ZFDeconv(model, rules=GRADIENT).attribute(x, target=3), expected) < 1e-12


def test_guided_backprop_with_ceilings_is_the_gradient_with_a_rectified_signal():
    """MobileNetV2 has ReLU6: rebuild guided backprop with one full backward hook on each."""
    model, x = build("mobilenet_v2"), 8 * images("mobilenet_v2")
    found = ZFDeconv(model, rules=GUIDED_BACKPROP).attribute(x, target=3)
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU6):
            module.inplace = False
            module.register_full_backward_hook(lambda module, below, above: (below[0].clamp(min=0),))
    x.requires_grad_()
    (expected,) = torch.autograd.grad(model(x)[:, 3].sum(), x)
    assert relative_error(found, expected) < 1e-10


def test_shufflenet_with_its_chunks_runs_and_is_covered():
    model, x = build("shufflenet_v2_x0_5"), images("shufflenet_v2_x0_5")
    report = coverage(model, x)
    assert report.uncovered == []
    assert ZFDeconv(model).attribute(x, target=3).any()


OTHER_ACTIVATIONS = {
    "efficientnet_b0": torchvision.models.efficientnet_b0,
    "mobilenet_v3_small": torchvision.models.mobilenet_v3_small,
    "a small vision transformer": partial(torchvision.models.VisionTransformer, 64, 16, 2, 2, 32, 64),
}


@pytest.mark.parametrize("name", OTHER_ACTIVATIONS)
def test_networks_with_other_activations_are_refused_by_name(name):
    torch.manual_seed(0)
    model, x = OTHER_ACTIVATIONS[name]().eval(), torch.randn(1, 3, 64, 64)
    first = coverage(model, x).uncovered[0]
    assert first.operation in ("silu", "hardswish", "gelu")
    with pytest.raises(NotImplementedError, match=f"'{first.operation}' in module '{first.path}'"):
        ZFDeconv(model).attribute(x, target=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a signal may die here
        ZFDeconv(model, activations="rectify").attribute(x, target=0)
