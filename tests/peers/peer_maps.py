"""Rows about a map from a class score, and about what the call leaves behind."""

import threading
import warnings
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache, partial
from importlib import import_module as load
from typing import NamedTuple

import pytest
import torch
from nets import DIFFICULT, FunctionalRelu, LocalResponseNorm, Net, PlainModules, build, killer
from oracle import project_class, relative_error
from peer_tools import CRP, DECONV_ATTR, TORCHRAYS, ZENNITS, Tool, ability, conditional, deconvnet
from peers import TARGET
from state import snapshot
from torch import Tensor, nn
from torchvision_nets import build as torchvisions
from torchvision_nets import images

from deconv_attr import DECONVNET, GRADIENT, DeconvError, Kind, ZFDeconv, coverage

Subject = str | type[Net]
"""A network of torchvision, or one of `nets.py`."""

SIDES = {"alexnet": 64, "squeezenet1_1": 64}  # others are smaller: the oracle is slow
FAILURES = (RuntimeError, TypeError, IndexError, AttributeError, AssertionError)


class Case(NamedTuple):
    model: nn.Module
    x: Tensor
    expected: Tensor  # the oracle's
    gradient: Tensor


@lru_cache(maxsize=4)  # the networks of a row, not of all
def case(subject: Subject) -> Case:
    if isinstance(subject, str):
        model, x = torchvisions(subject), images(subject)[..., : SIDES.get(subject, 32), : SIDES.get(subject, 32)]
    else:
        model, x = build(subject), torch.randn(subject.shape, dtype=torch.float64)
    (expected,) = project_class(model if isinstance(subject, str) else model.twin(), (x,), TARGET)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf.clone())[:, TARGET].sum(), leaf)
    assert relative_error(gradient, expected) > 1e-3, "the two must differ, or nothing is told"
    return Case(model, x, expected, gradient)


def same(found: Tensor, expected: Tensor) -> bool:
    return relative_error(found, expected) < 1e-6


def verdict(tool: Tool, subject: Subject) -> str:
    model, x, expected, gradient = case(subject)
    try:
        found = tool.explain(model, x.clone(), TARGET)
    except FAILURES:
        return "error"
    finally:
        model.requires_grad_()  # which some leave frozen; the model is shared
    return "right" if same(found, expected) else "gradient" if same(found, gradient) else "wrong"


def maps_of(*subjects: Subject) -> Callable[[Tool], str]:
    """Measure what a tool makes of networks that it should treat alike."""
    return lambda tool: " or ".join(dict.fromkeys(verdict(tool, subject) for subject in subjects))


def how_many(tool: Tool) -> str:
    seen = Counter(verdict(tool, kind) for kind in DIFFICULT)
    return f"{seen['right']} right" + (f", {seen['error']} error" if seen["error"] else "")


def contrast_norm(tool: Tool) -> str:
    model, x, expected, _ = case(LocalResponseNorm)
    found = tool.explain(deepcopy(model), x.clone(), TARGET)
    through = ZFDeconv(model, rules={**DECONVNET, Kind.CONTRAST_NORM: GRADIENT[Kind.CONTRAST_NORM]})
    by_gradient = through.attribute(x, target=TARGET)
    return "unchanged" if same(found, expected) else "by its gradient" if same(found, by_gradient) else "wrong"


class Gelu(PlainModules):
    def __init__(self) -> None:
        super().__init__()
        self.relu2 = nn.GELU()


def without_a_rule(tool: Tool) -> str:
    model, x = build(Gelu), torch.randn(Gelu.shape, dtype=torch.float64)
    try:
        found = tool.explain(model, x.clone(), TARGET)
    except DeconvError as error:
        return "an error that names it" if "'gelu' in module 'relu2'" in str(error) else "error"
    by_gradient = ZFDeconv(model, activations="gradient").attribute(x, target=TARGET)
    return "by its gradient" if same(found, by_gradient) else "wrong"


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = build(PlainModules)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(x + 2 * y)


def several_inputs(tool: Tool) -> str:
    model, (x, y) = Sum(), torch.randn(2, *PlainModules.shape, dtype=torch.float64).requires_grad_()
    calls = {
        ZENNITS: lambda pair: load("zennit.attribution").Gradient(model, deconvnet())(pair),
        CRP: lambda pair: conditional(model)(pair, [{"y": [TARGET]}] * 2, deconvnet()),
        TORCHRAYS: lambda pair: tool.documented(model, pair, TARGET),
    }
    if tool in calls:
        with pytest.raises(AttributeError, match="'tuple' object"):
            calls[tool]((x, y))
        return "no"
    found = tool.explain(model, (x.detach(), y.detach()), TARGET)
    (expected,) = project_class(model.net, ((x + 2 * y).detach(),), TARGET)
    return "yes" if same(found[0], expected) and same(found[1], 2 * expected) else "no"


def call_and_listen(tool: Tool, model: nn.Module, x: Tensor, target: int) -> tuple[Tensor, int]:
    """Return the map, and the number of warnings that Python shows by default."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)
        return tool.explain(model, x, target), len(heard)


def dead_signal(tool: Tool) -> str:
    _, always = call_and_listen(tool, killer(), torch.rand(2, 1, 4, 4), 1)
    found, now = call_and_listen(tool, killer(), torch.rand(2, 1, 4, 4), 0)
    return ("not zero" if found.any() else "zeros") + (" and a warning" if now > always else "")


def warnings_of_a_healthy_call(tool: Tool) -> str:
    _, heard = call_and_listen(tool, build(PlainModules), torch.randn(PlainModules.shape, dtype=torch.float64), TARGET)
    return str(heard) if heard else "none"


# ---------------------------------------------------------------------------------------- what is left behind


class Stopped(PlainModules):
    def features(self, x: Tensor) -> Tensor:
        super().features(x)
        raise ZeroDivisionError


def as_before(kind: type[Net], tool: Tool) -> str:
    """Whether all is as it was after the documented call, or what is not."""
    model, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    before = snapshot(model, x)
    try:
        tool.documented(model, x, TARGET)
    except ZeroDivisionError:
        assert kind is Stopped
    after = snapshot(model, x)
    changed = {fact for fact in before | after if before.get(fact) != after.get(fact)}
    of_image = {fact for fact in changed if fact.startswith("tensor 0")}
    frozen = {fact for fact in changed if "._parameters." in fact and after[fact] is False}
    assert changed == of_image | frozen
    said = ["image requires grad"] * x.requires_grad + ["weights frozen"] * bool(frozen)
    return f"no: {', '.join(said)}" if changed else "yes"


AS_BEFORE, AS_BEFORE_AFTER_AN_ERROR = partial(as_before, PlainModules), partial(as_before, Stopped)


class Normed(PlainModules):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(12)

    def features(self, x: Tensor) -> Tensor:
        return self.relu2(self.conv2(self.relu(self.norm(self.conv1(x)))))


def statistics_in_training_mode(tool: Tool) -> str:
    model = build(Normed).train()
    before = model.norm.running_mean.clone()
    tool.documented(model, torch.randn(Normed.shape, dtype=torch.float64), TARGET)
    return "yes" if torch.equal(model.norm.running_mean, before) else "no"


def gradient_in_another_thread(tool: Tool) -> str:
    """Take the model's gradient in a thread of its own, while the model runs for a map."""
    model, x, _, gradient = case(PlainModules)
    model, here, taken = deepcopy(model), threading.get_ident(), []

    def take() -> None:
        leaf = x.clone().requires_grad_()
        taken.extend(torch.autograd.grad(model(leaf)[:, TARGET].sum(), leaf))

    def meanwhile(module: nn.Module, args: tuple[Tensor]) -> None:
        if threading.get_ident() == here:
            thread = threading.Thread(target=take)
            thread.start()
            thread.join()

    model.conv2.register_forward_pre_hook(meanwhile)
    try:
        tool.documented(model, x.clone(), TARGET)
    except FAILURES:
        return "error"
    return "right" if taken and same(taken[0], gradient) else "wrong"


def lists_what_each_operation_was_given() -> bool:
    report = coverage(build(FunctionalRelu), torch.randn(FunctionalRelu.shape, dtype=torch.float64))
    given = [(call.operation, call.rule) for call in report.calls]
    return given[:4] == [("conv2d", "adjoint"), ("relu", "rectify")] * 2


COVERAGE = ability("coverage|report", {DECONV_ATTR: lists_what_each_operation_was_given})
