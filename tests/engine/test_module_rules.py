"""Rules for modules, by name, by type or by themselves; the mirror sends the signal layer by layer, by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from state import graphs_left, snapshot
from torch import Tensor, nn

from deconv_attr import DECONVNET, GRADIENT, Kind, LayerZFDeconv, NeuronZFDeconv, Rule, ZFDeconv, coverage, project
from deconv_attr.errors import InputError, RuleError
from deconv_attr.rules import GRADIENT_RULE, GUIDE, PASS_THROUGH, RECTIFY, unpooling


class Swish(nn.Module):
    """Several operations, of which one multiplies two signals."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class SwishFunction(torch.autograd.Function):
    """One node, which no call has made that could be seen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return signal * (gate + x * gate * (1 - gate))


class MemoryEfficientSwish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = SwishFunction.apply(x)
        return found


class LeakyInPlace(nn.Module):
    """Written into its input, which the caller goes on with."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(x, 0.1)


class Inside(nn.Module):
    """An activation inside of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Swish()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Reshaping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x.flatten(1)).view_as(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "PReLU": nn.PReLU,
    "GELU": nn.GELU,
    "ReLU": nn.ReLU,
    "ReLU in place": lambda: nn.ReLU(inplace=True),
    "LeakyReLU in place": LeakyInPlace,
    "of two signals": Swish,
    "custom function": MemoryEfficientSwish,
    "inside of another": Inside,
    "between views": Reshaping,
}


def chain(activation: Callable[[], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), activation(), nn.Conv2d(4, 5, 3), activation(), nn.Conv2d(5, 6, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6 * 9, 4)).double().eval()


def images() -> Tensor:
    return torch.randn(2, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_hand(model: nn.Sequential, x: Tensor, bodies: Mapping[int, Callable[[Tensor], Tensor]]) -> Tensor:
    """Send 1 from class 1 down a chain: through layer i by its body, by its own gradient where it has none."""
    inputs = [x]
    for layer in model:
        inputs.append(layer(inputs[-1].clone()).detach())
    signal = F.one_hot(torch.tensor([1] * len(x)), 4).to(x)
    for number in reversed(range(len(model))):
        if number in bodies:
            signal = bodies[number](signal)
            continue
        leaf = inputs[number].clone().requires_grad_()
        (signal,) = torch.autograd.grad(model[number](leaf.clone()), leaf, signal)
    return signal


def rectified(signal: Tensor) -> Tensor:
    return signal.clamp(min=0)


@pytest.mark.parametrize("key", ["name", "module"])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_an_activation_is_rectified_in_one_place_and_differentiated_in_another(kind, key):
    model, x = chain(ACTIVATIONS[kind]), images()
    before = snapshot(model, x)
    for rectify, differentiate in ((1, 3), (3, 1)):
        keys = [str(each) if key == "name" else model[each] for each in (rectify, differentiate)]
        rules = {**DECONVNET, keys[0]: RECTIFY, keys[1]: GRADIENT_RULE}
        ours, report = ZFDeconv(model, rules=rules).attribute(x, 1, return_coverage=True)
        torch.testing.assert_close(ours, by_hand(model, x, {rectify: rectified, 5: rectified}))
        named = {call.path.split(".")[0]: call.rule for call in report}
        assert named[str(rectify)] in ("rectify", "adjoint")  # the last of several: a view's
        assert "rectify" in [call.rule for call in report if call.path.startswith(str(rectify))]
        assert {call.rule for call in report if call.path.startswith(str(differentiate))} == {"gradient"}
    assert snapshot(model, x) == before


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_no_rule_for_a_module_leaves_a_graph_in_memory(kind):
    model, x = chain(ACTIVATIONS[kind]), images()
    with graphs_left() as left:
        ZFDeconv(model, rules={**DECONVNET, type(model[1]): RECTIFY}).attribute(x, 1)
    assert left == []


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_rule_for_a_type_holds_for_all_its_modules(kind):
    model, x = chain(ACTIVATIONS[kind]), images()
    rules = {**DECONVNET, type(model[1]): PASS_THROUGH}
    bodies = {1: torch.clone, 3: torch.clone, 5: torch.clone if type(model[5]) is type(model[1]) else rectified}
    torch.testing.assert_close(ZFDeconv(model, rules=rules).attribute(x, 1), by_hand(model, x, bodies))


def test_the_first_entry_that_matches_counts():
    model, x = chain(nn.PReLU), images()
    first = ZFDeconv(model, rules={**DECONVNET, "3": PASS_THROUGH, nn.PReLU: RECTIFY, "1": PASS_THROUGH})
    torch.testing.assert_close(first.attribute(x, 1), by_hand(model, x, {1: rectified, 3: torch.clone, 5: rectified}))
    other = ZFDeconv(model, rules={nn.Module: GRADIENT_RULE, "3": PASS_THROUGH, **DECONVNET})
    torch.testing.assert_close(other.attribute(x, 1), by_hand(model, x, {}))


def test_modules_come_before_operations_by_name_and_these_before_kinds():
    model, x = chain(nn.PReLU), images()
    rules = {**DECONVNET, "prelu": PASS_THROUGH, "1": RECTIFY}
    torch.testing.assert_close(
        ZFDeconv(model, rules=rules).attribute(x, 1),
        by_hand(model, x, {1: rectified, 3: torch.clone, 5: rectified}),
    )


def test_a_rule_for_a_part_holds_for_all_inside_of_it_and_an_earlier_one_inside_comes_first():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(*chain(nn.PReLU)[:4]), *chain(nn.ReLU)[4:]).double().eval()
    x, flat = images(), nn.Sequential(*model[0], *model[1:])
    rules = {**DECONVNET, "0.3": RECTIFY, "0": GRADIENT_RULE}
    torch.testing.assert_close(
        ZFDeconv(model, rules=rules).attribute(x, 1), by_hand(flat, x, {3: rectified, 5: rectified})
    )
    rules = {**DECONVNET, "0": GRADIENT_RULE, "0.3": RECTIFY}
    torch.testing.assert_close(ZFDeconv(model, rules=rules).attribute(x, 1), by_hand(flat, x, {5: rectified}))


def test_a_call_of_a_module_that_runs_twice_has_a_rule_of_its_own():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = chain(nn.ReLU)
            self.act = nn.PReLU().double()

        def forward(self, x: Tensor) -> Tensor:
            one, _, two, _, three, last, flat, head = self.layers
            return head(flat(last(three(self.act(two(self.act(one(x))))))))

    model, x = Twice().eval(), images()
    flat = nn.Sequential(*[model.act if number in (1, 3) else layer for number, layer in enumerate(model.layers)])
    rules = {**DECONVNET, "act#2": RECTIFY, "act": GRADIENT_RULE}
    torch.testing.assert_close(
        ZFDeconv(model, rules=rules).attribute(x, 1), by_hand(flat, x, {3: rectified, 5: rectified})
    )
    with pytest.raises(InputError, match="layer 'act#3' is call 3, and the module runs 2 times"):
        ZFDeconv(model, rules={**rules, "act#3": RECTIFY}).attribute(x, 1)


def test_a_rule_that_keeps_something_finds_the_call_of_its_module():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardshrink(0.3), nn.Conv2d(4, 4, 3), nn.Hardshrink(0.1), nn.ReLU())
    model = nn.Sequential(*model, nn.Flatten(), nn.Linear(100, 4)).double().eval()
    x, found = images(), []

    def keep(forward: Any) -> Tensor:
        found.append(dict(forward.arguments)["lambd"])
        return (forward.output != 0).to(forward.output)

    rule = Rule("only what was let through", lambda signal, kept: signal * kept, keep)
    rules = {**DECONVNET, "1": rule, nn.Hardshrink: GRADIENT_RULE}
    ours = ZFDeconv(model, rules=rules).attribute(x, 1)
    torch.testing.assert_close(ours, by_hand(model, x, {4: rectified}))  # whose gradient is just that
    assert found == [0.3]


def test_a_rule_before_autograds_own_holds_for_its_module():
    model, x = chain(nn.ReLU), images()
    rules = {**DECONVNET, "3": GUIDE}
    inputs = model[:3](x).detach()
    bodies = {1: rectified, 3: lambda signal: signal.clamp(min=0) * (inputs > 0), 5: rectified}
    torch.testing.assert_close(ZFDeconv(model, rules=rules).attribute(x, 1), by_hand(model, x, bodies))


def test_one_pool_of_two_is_unpooled_in_another_way():
    torch.manual_seed(0)
    net = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 1)]
    model = nn.Sequential(*net, nn.Flatten(), nn.Linear(64, 4)).double().eval()
    x = torch.randn(2, 3, 17, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def mean_of_windows(signal: Tensor) -> Tensor:
        """Put at each switch the mean of the signals of the windows that share it."""
        below = model[:5](x).detach()
        switches = F.max_pool2d(below, 3, 1, return_indices=True)[1].flatten(2)
        total, count = torch.zeros_like(below).flatten(2), torch.zeros_like(below).flatten(2)
        total.scatter_add_(2, switches, signal.flatten(2))
        count.scatter_add_(2, switches, torch.ones_like(signal).flatten(2))
        assert count.max() > 1
        return (total / count.clamp(min=1)).view_as(below)

    ours = ZFDeconv(model, rules={**DECONVNET, "5": unpooling("mean")}).attribute(x, 1)
    torch.testing.assert_close(ours, by_hand(model, x, {1: rectified, 4: rectified, 5: mean_of_windows}))


@pytest.mark.parametrize("pack", [False, True])
def test_no_rectifier_is_packed_as_one_where_its_module_is_differentiated(pack, request):
    if pack:
        request.getfixturevalue("pack_everywhere")
    model, x = chain(nn.ReLU), images()
    ours = ZFDeconv(model, rules={**DECONVNET, nn.ReLU: GRADIENT_RULE, Kind.RECTIFIER: RECTIFY}).attribute(x, 1)
    torch.testing.assert_close(ours, by_hand(model, x, {}))
    ours = ZFDeconv(model, rules={**GRADIENT, "3": RECTIFY}).attribute(x, 1)
    torch.testing.assert_close(ours, by_hand(model, x, {3: rectified}))


def test_layers_neurons_and_projections_follow_the_rules_for_modules():
    model, x = chain(nn.PReLU), images()
    rules = {**DECONVNET, "1": RECTIFY, "3": GRADIENT_RULE}
    whole = ZFDeconv(model, rules=rules).attribute(x, 1)
    at_first = LayerZFDeconv(model, "0", rules=rules).attribute(x, 1)
    torch.testing.assert_close(F.conv_transpose2d(at_first, model[0].weight), whole)
    unit = NeuronZFDeconv(model, "3", rules=rules).attribute(x, (2, 1, 1), start="activation")
    projected = project(model, x, "3", [(0, 2, 1, 1), (1, 2, 1, 1)], rules=rules)
    for number, patch in enumerate(projected.patches):
        top, left, bottom, right = projected.boxes[number].tolist()
        torch.testing.assert_close(patch, unit[number, :, top:bottom, left:right])
    assert unit.any()


def test_a_signal_that_dies_at_a_module_with_a_rule_is_seen_there():
    model, x = chain(nn.PReLU), images()
    with torch.no_grad():
        model[2].weight.copy_(-model[2].weight.abs())
    model[4].weight.data.abs_()
    model[7].weight.data.abs_()
    with pytest.warns(UserWarning, match="rectified away at 'prelu' in module '1'"):
        ZFDeconv(model, rules={**DECONVNET, "1": RECTIFY, "3": GRADIENT_RULE}).attribute(x, 1)


def test_a_rectifier_written_by_hand_is_no_fault_where_its_module_has_a_rule():
    class Hand(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (x > 0)

    model, x = chain(Hand), images()
    with pytest.raises(RuleError, match="rectifier written by hand"):
        ZFDeconv(model).attribute(x, 1)
    ours = ZFDeconv(model, rules={**DECONVNET, Hand: RECTIFY}).attribute(x, 1)
    torch.testing.assert_close(ours, by_hand(model, x, {1: rectified, 3: rectified, 5: rectified}))


class Add(nn.Module):
    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        return F.gelu(one + two)


class Residual(nn.Module):
    """A module that the signal enters by two arguments, or past its arguments, or leaves by two tensors."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu, self.head, self.kind = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Linear(3, 4), kind
        self.part = {"two arguments": Add(), "past its arguments": Past(), "two tensors": Two()}[kind]

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.conv(x))
        if self.kind == "two arguments":
            h = self.part(h, x)
        elif self.kind == "past its arguments":
            self.part.kept = [x]
            h = self.part(h)
        else:
            h = sum(self.part(h))
        found: Tensor = self.head(h.mean((2, 3)))
        return found


class Past(nn.Module):
    kept: list[Tensor]

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.kept[0])


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.gelu(x), x * 2


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("two arguments", "the signal enters module 'part' by several tensors: 'rectify' takes one"),
        ("past its arguments", "the signal enters module 'part' past its arguments: 'rectify' takes one"),
        ("two tensors", "the signal leaves module 'part' by several tensors: 'rectify' takes one"),
    ],
)
def test_a_module_that_is_not_one_step_of_the_signal_cannot_be_replaced_by_one(kind, says):
    model, x = Residual(kind).eval(), torch.randn(2, 3, 6, 6)
    before = snapshot(model, x)
    with pytest.raises(RuleError, match=says):
        ZFDeconv(model, rules={**DECONVNET, "part": RECTIFY}).attribute(x, 1)
    assert ZFDeconv(model, rules={**DECONVNET, "part": GRADIENT_RULE}).attribute(x, 1).any()
    if kind != "past its arguments":  # which keeps the caller's own attribute
        assert snapshot(model, x) == before


def test_a_rule_that_makes_another_shape_is_named():
    model, x = chain(nn.PReLU), images()
    halved = Rule("halved", lambda signal, _: signal[:, :2])
    with pytest.raises(RuleError, match="from the rule 'halved', got"):
        ZFDeconv(model, rules={**DECONVNET, "1": halved, "3": RECTIFY}).attribute(x, 1)


def test_the_signal_is_that_of_the_output_which_the_module_returns():
    class Second(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.chunk(2, 1)[1]

    torch.manual_seed(0)
    net = [nn.Conv2d(3, 4, 3), Second(), nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(125, 4)]
    model, x = nn.Sequential(*net).double().eval(), images()

    def both(signal: Tensor, _: None = None) -> Tensor:
        return torch.cat([signal, -signal], 1)

    ours = ZFDeconv(model, rules={**DECONVNET, Second: Rule("both", both)}).attribute(x, 1)
    torch.testing.assert_close(ours, by_hand(model, x, {1: both, 3: rectified}))


def test_a_module_that_fails_and_is_caught_is_left_behind():
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("for other images")

    class Catching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fails = Failing()

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.fails(x)
            except ValueError:
                return F.gelu(x)

    model, x = chain(Catching), images()
    rules = {**DECONVNET, "1.fails": GRADIENT_RULE, "3.fails": GRADIENT_RULE, "1": RECTIFY, "3": PASS_THROUGH}
    ours = ZFDeconv(model, rules=rules).attribute(x, 1)
    torch.testing.assert_close(ours, by_hand(model, x, {1: rectified, 3: torch.clone, 5: rectified}))


def test_a_pass_that_ends_inside_of_what_a_rule_replaces_is_refused():
    model, x = nn.Sequential(chain(nn.ReLU)), images()
    rules = {**DECONVNET, "0": PASS_THROUGH}
    with pytest.raises(
        RuleError, match="'pass through' replaces module '0' as a whole, and the forward pass ends inside"
    ):
        NeuronZFDeconv(model, "0.3", rules=rules).attribute(x, (0, 1, 1))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("features.3", "got 'features.3'"),
        ("1.inner", "got '1.inner'"),
        ("", "got ''"),
        ("rellu", "got 'rellu'; the nearest are relu"),
        (nn.ReLU(), r"got ReLU\(\)"),
        (int, "got <class 'int'>"),
        (3, "got 3"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", [ZFDeconv, lambda m, **k: NeuronZFDeconv(m, "3", **k)], ids=["whole", "neuron"])
def test_a_rule_for_a_module_that_does_not_exist_is_refused_at_once(method, key, says):
    with pytest.raises(InputError, match=f"names of operations, or modules of the model by name or type, {says}"):
        method(chain(nn.PReLU), rules={**DECONVNET, key: RECTIFY})


def test_a_call_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="expected a call as '1#1'"):
        ZFDeconv(chain(nn.PReLU), rules={**DECONVNET, "1#x": RECTIFY}).attribute(images(), 1)


def test_the_report_lists_what_modules_are_given():
    model = chain(nn.PReLU)
    report = coverage(model, images(), rules={**DECONVNET, "1": RECTIFY})
    assert [(call.path, call.rule) for call in report if call.operation == "prelu"] == [
        ("1", "rectify"),
        ("3", "no rule"),
    ]
