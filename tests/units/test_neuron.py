"""``NeuronZFDeconv`` and ``LayerZFDeconv(from_layer=...)``: any unit of any layer, by the oracle and by Captum."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from captum.attr import NeuronDeconvolution, NoiseTunnel
from nets import DIFFICULT, build
from oracle import relative_error
from state import snapshot
from test_projection import (
    alone,
    by_hand,
    corners_edges_middle,
    image,
    outputs,
    together,
    whole,
    window,
    wrong,
)
from torch import Tensor, fx, nn
from torchvision_nets import build as build_torchvision

from deconv_attr import Coverage, DeadSignalWarning, LayerZFDeconv, NeuronZFDeconv
from deconv_attr.errors import InputError, SignalError, TargetError

# ---------------------------------------------------------------------------------------- every layer of small nets


class Everything(nn.Module):
    """All that is local, in 1, 2 or 3 dimensions."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        conv, norm, pool, mean = (getattr(nn, f"{n}{dims}d") for n in ("Conv", "BatchNorm", "MaxPool", "AvgPool"))
        self.conv1, self.relu, self.lrn = conv(2, 6, 4, 2, 2), nn.ReLU(), nn.LocalResponseNorm(3, alpha=0.5)
        self.pool = pool(3, 2, 1, ceil_mode=True)
        self.conv2, self.norm = conv(6, 6, 3, padding=2, dilation=2, groups=2), norm(6)
        self.conv3, self.mean = conv(12, 8, (3, 1, 2)[:dims], padding=1, stride=(1, 2, 1)[:dims]), mean(2, 1)
        self.flat, self.head = nn.Flatten(), nn.LazyLinear(3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        h = self.pool(self.lrn(self.relu(self.conv1(x))))
        h = self.relu(torch.cat([h + self.norm(self.conv2(h)), F.relu(h - 0.1)], 1))
        return self.head(self.flat(self.mean(self.conv3(h))))


def everything(dims: int) -> nn.Module:
    torch.manual_seed(0)
    model = Everything(dims).double()
    model(SMALL[dims][None])
    return model.eval()


SMALL = {d: image(2, *(41, 30, 25)[:d] if d < 3 else (17, 14, 15), dtype=torch.float64) - 0.3 for d in (1, 2, 3)}
LAYERS = "conv1 relu#1 lrn pool conv2 norm relu#2 conv3 mean flat head".split()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dims", [1, 2, 3], ids="{}-D".format)
def test_every_layer_of_a_small_net_agrees_with_the_oracle(dims, layer):
    model, x = everything(dims), SMALL[dims]
    output = outputs(model, x, layer)
    units = [*corners_edges_middle(output), *corners_edges_middle(output, weakest=True)][:: 1 if dims < 3 else 11]
    expected = by_hand(model, x, layer, units)
    assert expected.flatten(1).any(1).sum() >= len(units) / 3
    result = alone(model, x, layer, units)
    assert result.from_crop.all() == (layer not in ("flat", "head"))
    assert wrong(result, expected, 1e-10) == {}
    assert wrong(together(model, x, layer, units * 9), expected.repeat(9, *[1] * x.dim()), 1e-10) == {}
    assert relative_error(whole(model, x, layer, units), expected) < 1e-10
    for number, want in enumerate(expected):
        outside = want.clone()
        outside[window(result, number)] = 0
        assert not outside.any()


TRACEABLE = [net for net in DIFFICULT if net.__name__ not in ("AtenRelu", "CrossMapNorm")]


@pytest.mark.parametrize("kind", TRACEABLE, ids=lambda kind: kind.__name__)
def test_every_layer_of_a_difficult_graph_agrees_with_the_oracle(kind):
    model, x = build(kind), torch.randn(3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    twin = model.twin()
    calls = [node.target for node in fx.Tracer().trace(twin).nodes if node.op == "call_module"]
    for number, name in enumerate(calls):
        layer = f"{name}#{calls[: number + 1].count(name)}"
        there = layer.removeprefix("net.") if twin is not model else layer
        output = outputs(twin, x, layer)
        units = [*corners_edges_middle(output)[::3], *corners_edges_middle(output, weakest=True)[::5]]
        expected = by_hand(twin, x, layer, units)
        assert wrong(alone(model, x, there, units), expected, 1e-10) == {}
        torch.testing.assert_close(whole(model, x, there, units), expected, rtol=1e-10, atol=1e-13)


# ---------------------------------------------------------------------------------------- selectors, and Captum's


SELECTORS = {
    "alexnet": [
        ("features.0", (3, 2, 4), False),
        ("features.5", (slice(0, 9), 1, slice(0, 2)), False),
        ("features.5", (slice(0, 9), 1, slice(0, 2)), True),
        ("features.8", lambda out: out.amax((1, 2, 3)), False),
        ("features.12", (4, 0, 1), True),
        ("classifier.4", 7, False),
        ("classifier.6", 3, True),
    ],
    "squeezenet1_0": [("features.3", (5, 2, 2), True), ("features.7.expand3x3", (3, -1, 1), False)],
    "resnet18": [
        ("layer1.0.conv1", (3, 4, 4), True),
        ("layer2", (slice(5, 7),), False),
        ("layer3.0.downsample", (1, 1, 1), False),
        ("fc", 3, False),
    ],
}
CAPTUMS = [(name, *case) for name, cases in SELECTORS.items() for case in cases]


@pytest.mark.parametrize(
    ("name", "layer", "selector", "at_input"), CAPTUMS, ids=[f"{n}, {c[0]}{', input' * c[2]}" for n, *c in CAPTUMS]
)
def test_it_gives_captums_numbers_where_captum_is_right(name, layer, selector, at_input):
    model, x = (
        build_torchvision(name),
        torch.stack([image(3, 66, 70, seed=s, dtype=torch.float64) for s in (1, 2)]),
    )
    module = model.get_submodule(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = NeuronDeconvolution(model, module)
        expected = reference.attribute(x.clone(), selector, attribute_to_neuron_input=at_input)
    assert expected.flatten(1).any(1).all()
    for given in (layer, module):
        found = NeuronZFDeconv(model, given).attribute(x, selector, attribute_to_neuron_input=at_input)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


class Chain(nn.Module):
    """Runs one ReLU and one pool several times."""

    def __init__(self, tail=lambda h: h) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool, self.fc, self.tail = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(16, 5), tail
        self.double().eval()

    def forward(self, x):
        h = self.pool(self.relu(self.conv1(x)))
        h = self.pool(self.relu(self.conv2(h)))
        return self.fc(self.tail(self.relu(self.conv2(h) - 0.1)).flatten(1))


class Scaled(Chain):
    def forward(self, x, scale):
        return super().forward(x * scale)


X = torch.stack([image(2, 8, 8, seed=seed, dtype=torch.float64) for seed in range(3)])
NAMED = {  # selectors of "conv2#1", (3, 4, 4, 4), and the units that they mean
    "a tuple for all": ((2, 1, 3), [(2, 1, 3)] * 3),
    "negative": ((-2, -3, -1), [(2, 1, 3)] * 3),
    "a tuple each": ([(0, 1, 2), (3, 0, 0), (2, 3, 3)], [(0, 1, 2), (3, 0, 0), (2, 3, 3)]),
    "a map for all": (1, [1, 1, 1]),
    "a map for all, as a tuple": ((1,), [1, 1, 1]),
    "a map each": ([0, 3, -1], [0, 3, 3]),
    "a map each, as a tensor": (torch.tensor([0, 3, 1]), [0, 3, 1]),
    "a callable": (lambda out: out[:, 2, 1, 3], [(2, 1, 3)] * 3),
}


@pytest.mark.parametrize("start", ["one", "activation"])
@pytest.mark.parametrize(("selector", "meant"), NAMED.values(), ids=NAMED)
def test_a_selector_means_these_units(selector, meant, start):
    model, maps, units = Chain(), [outputs(Chain(), x, "conv2#1") for x in X], []
    for unit, values in zip(meant, maps, strict=True):
        place = torch.unravel_index(values[unit].argmax(), values[unit].shape) if isinstance(unit, int) else None
        units.append(unit if place is None else (unit, *map(int, place)))
    expected = torch.stack([by_hand(model, x, "conv2#1", [u])[0] for x, u in zip(X, units, strict=True)])
    if start == "one":
        values = torch.stack([values[unit] for unit, values in zip(units, maps, strict=True)])
        negative = torch.stack([by_hand_of_one(model, x, unit) for x, unit in zip(X, units, strict=True)])
        scaled = expected / values.view(3, 1, 1, 1)
        expected = torch.where((values > 0).view(3, 1, 1, 1), scaled, negative)
    found = NeuronZFDeconv(model, "conv2#1").attribute(X, selector, start=start)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def by_hand_of_one(model, x, unit) -> Tensor:
    """Start with 1 at a unit of conv2#1, whatever its sign; walk down with the functional operations."""
    with torch.no_grad():
        h = F.relu(model.conv1(x[None]))
        switches = F.max_pool2d(h, 2, return_indices=True)[1]
        signal = torch.zeros(1, 4, 4, 4, dtype=x.dtype)
        signal[(0, *unit)] = 1
        signal = F.max_unpool2d(F.conv_transpose2d(signal, model.conv2.weight, padding=1), switches, 2)
        return F.conv_transpose2d(signal.clamp(min=0), model.conv1.weight, padding=1)[0]


def test_of_equals_the_first_is_the_strongest():
    model, x = Chain(), torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    values = outputs(model, x[0], "conv2#1")[2]
    assert (values == values.max()).sum() > 1 or values.argmax() == values.flatten().argmax()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        first = NeuronZFDeconv(model, "conv1").attribute(x, 1)  # a constant inside
        inner = outputs(model, x[0], "conv1")[1]
        row, column = (int(i) for i in torch.unravel_index(inner.argmax(), inner.shape))
        assert torch.equal(first, NeuronZFDeconv(model, "conv1").attribute(x, (1, row, column)))


@pytest.mark.parametrize(("layer", "runs"), [("relu", 3), ("pool", 2), ("conv2", 2)])
def test_a_module_that_runs_several_times_is_asked_for_by_the_call(layer, runs):
    model = Chain()
    with pytest.raises(InputError, match=f"layer '{layer}' runs {runs} times .* '{layer}#1' to '{layer}#{runs}'"):
        NeuronZFDeconv(model, layer).attribute(X, 1)
    with pytest.raises(InputError, match=f"'{layer}#{runs + 1}' is call {runs + 1}, and the module runs {runs} times"):
        NeuronZFDeconv(model, f"{layer}#{runs + 1}").attribute(X, 1)
    for call in range(1, runs + 1):
        name = f"{layer}#{call}"
        units = corners_edges_middle(outputs(model, X[0], name))
        expected = by_hand(model, X[0], name, units)
        assert expected.any()
        assert relative_error(whole(model, X[0], name, units), expected) < 1e-10


def test_what_comes_after_the_layer_does_not_run():
    def must_not_run(h):
        assert h.is_meta, "the tail ran"
        return h

    model = Chain(must_not_run)
    for layer in ("conv1", "pool#2", "relu#3"):
        units = [max(corners_edges_middle(v), key=v.__getitem__) for v in (outputs(Chain(), x, layer) for x in X)]
        found = NeuronZFDeconv(model, layer).attribute(X, units, start="activation")
        expected = torch.stack([by_hand(Chain(), x, layer, [unit])[0] for x, unit in zip(X, units, strict=True)])
        assert expected.flatten(1).any(1).all()
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)
    below = LayerZFDeconv(model, "conv1").attribute(X, 1, from_layer="relu#3")
    assert below.any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_works_where_gradients_are_off(mode):
    expected = NeuronZFDeconv(Chain(), "conv2#2").attribute(X, 2)
    with mode():
        assert torch.equal(NeuronZFDeconv(Chain(), "conv2#2").attribute(X + 0, 2), expected)


def test_tuples_further_arguments_and_the_report():
    model = Chain()
    expected = NeuronZFDeconv(model, "conv2#1").attribute(X * 2, (2, 1, 3)) * 2
    (found,), report = NeuronZFDeconv(Scaled(), "conv2#1").attribute((X,), (2, 1, 3), 2.0, return_coverage=True)
    torch.testing.assert_close(found, expected)
    assert isinstance(report, Coverage)
    assert [call.operation for call in report.calls if call.rule != "adjoint"] == ["relu", "max_pool2d"]


def test_a_noise_tunnel_averages_it():
    model, noise = Chain(), {"nt_samples": 4, "nt_type": "smoothgrad", "stdevs": 0.0}
    method = NeuronZFDeconv(model, "conv2#1")
    expected = method.attribute(X, (2, 1, 3))
    found = NoiseTunnel(method).attribute(X, neuron_selector=(2, 1, 3), **noise)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("obstacle", ["hook", "control flow"])
def test_without_a_dry_run_it_is_right_too(obstacle):
    tail = (lambda h: h if float(h.detach().sum()) > 0 else h * 2) if obstacle == "control flow" else (lambda h: h)
    model, expected = Chain(tail), NeuronZFDeconv(Chain(), "conv1").attribute(X, 2)
    if obstacle == "hook":
        model.fc.register_forward_hook(lambda module, args, out: None)
    assert torch.equal(NeuronZFDeconv(model, "conv1").attribute(X, 2), expected)
    with pytest.raises(InputError, match="layer 'relu' runs 3 times"):
        NeuronZFDeconv(model, "relu").attribute(X, 2)


@pytest.mark.parametrize("at_input", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("start", ["one", "activation"])
def test_the_signal_of_a_unit_further_up_is_read_at_a_layer(start, at_input):
    model = Chain()
    found = LayerZFDeconv(model, "conv2#1").attribute(X, (1, 0, 0), None, at_input, from_layer="conv2#2", start=start)
    with torch.no_grad():
        one = F.relu(model.conv2(F.max_pool2d(F.relu(model.conv1(X)), 2)))
        pooled, switches = F.max_pool2d(one, 2, return_indices=True)
        signal = torch.zeros_like(pooled)
        signal[:, 1, 0, 0] = 1 if start == "one" else model.conv2(pooled)[:, 1, 0, 0]
        signal = F.max_unpool2d(F.conv_transpose2d(signal, model.conv2.weight, padding=1), switches, 2).clamp(min=0)
        below = F.conv_transpose2d(signal, model.conv2.weight, padding=1)
    torch.testing.assert_close(found, below if at_input else signal, rtol=1e-10, atol=1e-14)


# ---------------------------------------------------------------------------------------- what is refused


def spoilt(model):
    with torch.no_grad():
        model.conv1.weight[0, 0, 0, 0] = torch.nan
    return model


BAD = {  # the layer, the selector, options; the error and what it says
    "unknown layer": ("conv3", 1, {}, InputError, ("no layer 'conv3'", "nearest are conv")),
    "not a module of it": (nn.ReLU(), 1, {}, InputError, ("one of the model's modules", "another ReLU")),
    "no layer at all": (3, 1, {}, InputError, ("a module or its dotted name", "int")),
    "call 0": ("relu#0", 1, {}, InputError, ("'relu#1'", "'relu#0'")),
    "call x": ("relu#x", 1, {}, InputError, ("'relu#1'", "'relu#x'")),
    "does not run": ("spare", 1, {}, InputError, ("layer 'spare' does not run",)),
    "no tensor": ("pair", 1, {}, InputError, ("one tensor", "a tuple")),
    "map out of range": ("conv1", 4, {}, TargetError, ("feature map 4 is out of range", "(3, 4, 8, 8)")),
    "one of the maps out of range": ("conv1", [0, 9, 1], {}, TargetError, ("feature map 9", "(3, 4, 8, 8)")),
    "position out of range": ("conv1", (1, 8, 0), {}, TargetError, ("(1, 8, 0) is out of range", "(3, 4, 8, 8)")),
    "one index too few": ("conv1", (1, 8), {}, TargetError, ("has 2 indices", "needs 3")),
    "unit out of range": ("fc", 5, {}, TargetError, ("neuron_selector 5 is out of range", "(3, 5)")),
    "too few": ("conv1", [1, 2], {}, TargetError, ("one neuron_selector for each of the 3 examples", "got 2")),
    "a float": ("conv1", 1.5, {}, TargetError, ("int, tuple, list or a 1-D tensor of int", "1.5")),
    "slices out of range": ("conv1", (9, slice(0, 2)), {}, TargetError, ("out of range", "(3, 4, 8, 8)")),
    "slices of nothing": ("conv1", (slice(7, 9), 0), {}, TargetError, ("covers no unit", "(3, 4, 8, 8)")),
    "too many slices": ("conv1", (slice(1),) * 4, {}, TargetError, ("has 4 indices", "has 3")),
    "callable of another shape": ("conv1", lambda out: out[0], {}, TargetError, ("(N,)", "(4, 8, 8)")),
    "callable of another length": ("conv1", lambda out: out[:2, 0, 0, 0], {}, TargetError, ("N = 3", "(2,)")),
    "callable of no tensor": ("conv1", lambda out: 3, {}, TargetError, ("(N,)", "int")),
    "start": ("conv1", 1, {"start": "two"}, InputError, ("'one' or 'activation'", "'two'")),
    "NaN weights": ("conv2#1", 1, {"prepare": spoilt}, SignalError, ("'conv2d' in module 'conv1'",)),
    "NaN weights, started with NaN": (
        "conv2#1",
        1,
        {"prepare": spoilt, "start": "activation"},
        SignalError,
        ("'conv2d' in module 'conv1'",),
    ),
    "NaN image": ("conv1", 1, {"x": X / 0}, InputError, ("finite", "NaN or infinite")),
    "integers": ("conv1", 1, {"x": X.long()}, InputError, ("floating point", "torch.int64")),
}


class Pair(nn.Module):
    def forward(self, h):
        return h, h


@pytest.mark.parametrize(("layer", "selector", "options", "error", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_sentence_and_nothing_is_changed(layer, selector, options, error, says):
    options = dict(options)
    model = Chain(lambda h: model.pair(h)[0])
    model.spare, model.pair = nn.ReLU(), Pair()
    model, x = options.pop("prepare", nn.Module.eval)(model), options.pop("x", X)
    before = snapshot(model, x)
    with pytest.raises(error) as raised:
        NeuronZFDeconv(model, layer).attribute(x, selector, **options)
    assert snapshot(model, x) == before
    assert "\n" not in str(raised.value)
    assert [part for part in says if part not in str(raised.value)] == [], raised.value


def test_an_interruption_leaves_nothing_behind():
    def interrupt(h):
        if h.is_meta:
            model.last = h
        raise KeyboardInterrupt

    model = Chain(interrupt)
    model.last = None
    before = snapshot(model, X)
    for explain in (NeuronZFDeconv(model, "fc"), NeuronZFDeconv(model, "fc#1")):
        with pytest.raises(KeyboardInterrupt):
            explain.attribute(X, 1)
        assert snapshot(model, X) == before


def test_a_signal_that_dies_is_announced_with_the_example_and_the_place():
    model = Chain()
    with torch.no_grad():
        model.conv2.weight[1] = -model.conv2.weight[1].abs()
    with pytest.warns(DeadSignalWarning, match=r"1 of 3 examples \(1\).*rectified away at 'relu' in module 'relu'"):
        found = NeuronZFDeconv(model, "conv2#1").attribute(X, [(0, 1, 1), (1, 1, 1), (2, 1, 1)])
    assert found.flatten(1).any(1).tolist() == [True, False, True]


@pytest.mark.parametrize("hooked", [False, True], ids=["dry run", "no dry run"])
def test_the_pass_ends_at_the_layer_whether_the_model_runs_dry_or_not(hooked):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.GELU()).eval()
    x = image(2, 3, 20, 20)
    expected = NeuronZFDeconv(net[:2], "1").attribute(x, 1)
    if hooked:
        net[0].register_forward_hook(lambda *given: None)
    assert torch.equal(NeuronZFDeconv(net, "1").attribute(x, 1), expected)
    at_first = LayerZFDeconv(net, "0").attribute(x, 1, from_layer="1")
    assert torch.equal(at_first, LayerZFDeconv(net[:2], "0").attribute(x, 1, from_layer="1"))
    with pytest.raises(InputError, match="runs 2 times"):
        NeuronZFDeconv(nn.Sequential(net, net), "0.1").attribute(x, 1)
