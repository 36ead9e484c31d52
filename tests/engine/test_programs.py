"""Models as programs have them: views written in place, subclasses, hooks, other networks inside, wrappers."""

import copy
import pickle
import threading
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from oracle import relative_error
from state import snapshot
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from deconv_attr import (
    DECONVNET,
    GRADIENT,
    DeconvError,
    LayerZFDeconv,
    NeuronZFDeconv,
    ZFDeconv,
    coverage,
)
from deconv_attr.engine.forward_pass import ForwardPass
from deconv_attr.errors import InputError, ModelError, RuleError
from deconv_attr.rules import torch_private
from deconv_attr.rules.backward import Rule


class Rectify(torch.autograd.Function):
    """The rule, as a function of one's own."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, signal):
        return signal.clamp(min=0)


def expected_map(score, x, target=1):
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(leaf)[:, target].sum(), leaf)[0]


class Of(nn.Module):
    """A function of the image, which is given its rectifier, and some modules."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x, relu=torch.relu):
        return self.function(x, relu, *self.parts)


def agrees(function, x, *parts, relu=torch.relu, tolerance=1e-10):
    net = Of(function, *parts).double().eval()
    found = ZFDeconv(Of(lambda x, _, *p: function(x, relu, *p), *parts).double().eval()).attribute(x, target=1)
    expected = expected_map(lambda leaf: net(leaf, Rectify.apply), x)
    assert expected.any()
    assert relative_error(found, expected) < tolerance


# ------------------------------------------------------------------------------ in place, after a view


VIEWS = {
    "linear on tokens": ((2, 4, 8), lambda h: F.linear(h, torch.ones(8, 8, dtype=h.dtype).tril())),
    "max_pool1d": ((2, 4, 9), lambda h: F.max_pool1d(h, 2)),
    "avg_pool1d": ((2, 4, 9), lambda h: F.avg_pool1d(h, 2)),
    "adaptive_avg_pool1d": ((2, 4, 9), lambda h: F.adaptive_avg_pool1d(h, 3)),
    "conv1d": ((2, 4, 9), lambda h: F.conv1d(h, torch.ones(3, 4, 2, dtype=h.dtype).cumsum(1) - 2)),
    "flatten": ((2, 4, 3, 3), lambda h: h.flatten(1)),
    "transpose": ((2, 4, 8), lambda h: h.transpose(1, 2)),
    "select": ((2, 4, 8), lambda h: h[:, 1]),
    "slice": ((2, 4, 8), lambda h: h[:, 1:3]),
    "expand_as copy": ((2, 4, 8), lambda h: h.unsqueeze(1).squeeze(1)),
    "narrow of a view": ((2, 4, 3, 3), lambda h: h.view(2, 4, 9).narrow(2, 1, 5)),
    "einsum": ((2, 4, 8), lambda h: torch.einsum("ncl,dc->ndl", h, torch.ones(3, 4, dtype=h.dtype).cumsum(1) - 2)),
}
IN_PLACE = {
    "relu_": lambda h: h.relu_(),
    "F.relu": lambda h: F.relu(h, inplace=True),
    "clamp_": lambda h: h.clamp_(min=0),
    "threshold_": lambda h: F.threshold_(h, 0, 0),
    "hardtanh_": lambda h: F.hardtanh(h, 0, 1e9, inplace=True),
    "module": nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("in_place", IN_PLACE.values(), ids=IN_PLACE)
def test_a_rectifier_writes_into_what_torch_gives_as_a_view(view, in_place):
    torch.manual_seed(0)
    shape, function = view
    x = torch.randn(shape, dtype=torch.float64)

    def net(x, relu):
        h = relu(function(x * 2 - x.abs().mean()))
        return (h * torch.arange(h[0].numel(), dtype=h.dtype).view(h[0].shape).sub(3)).flatten(1).cumsum(1)[:, -2:]

    agrees(net, x, relu=in_place)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_arithmetic_in_place_on_a_view(view):
    torch.manual_seed(0)
    shape, function = view

    def net(x, relu):
        h = function(x * 1.5)
        h += 1
        h.mul_(2).sub_(0.5)
        return relu(h).flatten(1)[:, :3]

    agrees(net, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("activation", [F.leaky_relu_, F.elu_, lambda h: F.silu(h, inplace=True)])
def test_an_activation_in_place_on_a_view_is_not_hidden(activation):
    net = Of(lambda x, relu: relu(activation((x * 2).flatten(1))))
    with pytest.raises(RuleError, match=r"activations='rectify'"):
        ZFDeconv(net).attribute(torch.randn(2, 3, 4), target=1)


# ------------------------------------------------------------------------------ tensors of other kinds


class Image(torch.Tensor):
    pass


class Picky(torch.Tensor):
    """As MONAI's and fastai's: it carries metadata along."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, cls):
            result.meta = "kept"
        return result


def small(inplace=True):
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.ReLU(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    ).eval()


@pytest.mark.parametrize("kind", [Image, Picky])
def test_an_image_of_a_subclass(kind):
    net, x = small(), torch.randn(2, 3, 16, 16)
    expected = ZFDeconv(net).attribute(x, target=1)
    image = x.clone().as_subclass(kind)
    found = ZFDeconv(net).attribute(image, target=1).as_subclass(torch.Tensor)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert type(image) is kind
    assert torch.equal(image.as_subclass(torch.Tensor), x)
    assert not image.requires_grad


def test_parameters_of_a_subclass():
    class Weight(torch.Tensor):
        pass

    net, x = small(), torch.randn(2, 3, 16, 16)
    expected = ZFDeconv(net).attribute(x, target=1)
    for module in net:
        if isinstance(module, nn.Conv2d):
            module.weight = nn.Parameter(module.weight.detach().as_subclass(Weight))
    found = ZFDeconv(net).attribute(x, target=1)
    torch.testing.assert_close(found.as_subclass(torch.Tensor), expected, rtol=1e-5, atol=1e-6)


def test_an_ensemble_by_vmap():
    torch.manual_seed(0)
    weights = torch.randn(3, 4, 12, dtype=torch.float64)

    def ensemble(x, relu):
        flat = x.flatten(1)[:, :12]
        hidden = torch.vmap(lambda w: flat @ w.T)(weights)
        return relu(hidden).mean(0)

    agrees(ensemble, torch.randn(2, 3, 4, dtype=torch.float64))


def test_a_rectifier_inside_vmap():
    torch.manual_seed(0)
    weights, x = torch.randn(3, 4, 12, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    net = Of(lambda x, relu: torch.vmap(lambda w: torch.relu(x.flatten(1) @ w.T))(weights).mean(0))
    expected = expected_map(lambda leaf: Rectify.apply(leaf.flatten(1) @ weights.transpose(1, 2)).mean(0), x)
    assert relative_error(ZFDeconv(net).attribute(x, target=1), expected) < 1e-10


# ------------------------------------------------------------------------------ what else runs meanwhile


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
def test_a_users_backward_hook_sees_tensors(number):
    net, x, norms = small(inplace=False), torch.randn(2, 3, 16, 16), []
    expected = ZFDeconv(net).attribute(x, target=1)
    net[number].register_full_backward_hook(lambda module, below, above: norms.append(float(below[0].norm())))
    torch.testing.assert_close(ZFDeconv(net).attribute(x, target=1), expected)
    assert len(norms) == 1


def test_other_networks_are_explained_and_trained_inside():
    outer, inner, x = small(), small(), torch.randn(2, 3, 16, 16)
    of_outer, of_inner = ZFDeconv(outer).attribute(x, target=1), ZFDeconv(inner).attribute(x, target=2)
    inner(x).sum().backward()
    gradient, found = inner[0].weight.grad.clone(), []

    def inside(*_):
        found.append(torch.equal(ZFDeconv(inner).attribute(x, target=2), of_inner))
        inner.zero_grad()
        inner(x).sum().backward()
        found.append(torch.equal(inner[0].weight.grad, gradient))

    outer[3].register_forward_hook(inside)
    assert torch.equal(ZFDeconv(outer).attribute(x, target=1), of_outer)
    assert found == [True, True]


class Forces(nn.Module):
    """It adds to its scores what a gradient inside of its forward pass is."""

    def __init__(self, width):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, width, 3), nn.Conv2d(width, 4, 3), nn.Linear(4, 2)
        self.seen = None

    def forward(self, x):
        x = x if x.requires_grad else x.detach().requires_grad_()
        with torch.enable_grad():
            energy = self.fc(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))
            force = torch.autograd.grad(energy[:, 0].sum(), x, retain_graph=True)[0]
        self.seen(force.detach().clone())
        return energy + 100 * force.mean((2, 3))[:, :2]


@pytest.mark.parametrize(("width", "side"), [(4, 8), (64, 64)], ids=["small", "large"])
def test_a_gradient_inside_the_forward_pass_is_the_models_own(width, side):
    torch.manual_seed(0)
    net, x, seen = Forces(width).eval(), torch.randn(2, 3, side, side), []
    net.seen = seen.append
    net(x)
    found = ZFDeconv(net).attribute(x, target=0)
    torch.testing.assert_close(seen[-1], seen[0])
    plain = nn.Sequential(net.a, nn.ReLU(), net.b, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.fc)
    torch.testing.assert_close(found, ZFDeconv(plain).attribute(x, target=0))  # the force is a constant


def captured_graph(net, x):
    """Explain a model whose hook keeps what it returned, and return that with the image that entered."""
    kept = []
    handles = [
        net.register_forward_pre_hook(lambda module, args: kept.append(args[0])),
        net.register_forward_hook(lambda module, args, output: kept.append(output)),
    ]
    ZFDeconv(net).attribute(x, target=1)
    for handle in handles:
        handle.remove()
    return kept


def test_a_graph_that_the_user_has_kept_is_autograds_own_again(autograds_own):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(64, 2))
    x = torch.randn(2, 3, 8, 8)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    with pytest.MonkeyPatch.context() as patch:  # else autograd frees the graph with our signal
        patch.setattr("deconv_attr.engine.signal_path._sent", partial(_retaining, torch.autograd.grad))
        entered, output = autograds_own(lambda: captured_graph(net, x))  # nothing packed
    assert torch.equal(torch.autograd.grad(output[:, 1].sum(), entered)[0], expected)


def _retaining(grad, scores, tensors, start, **options):
    return grad(scores, tensors, start, **{**options, "retain_graph": True})


def test_a_packed_graph_that_the_user_has_kept_says_so(pack_everywhere):
    net, x = small(), torch.randn(2, 3, 16, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deconv_attr.engine.signal_path._sent", partial(_retaining, torch.autograd.grad))
        entered, output = captured_graph(net, x)
    with pytest.raises(RuntimeError, match="keeps only what its signal needs"):
        torch.autograd.grad(output[:, 1].sum(), entered)


def test_a_model_may_be_pickled_and_copied_by_another_thread():
    net, x, failures, done = small(), torch.randn(2, 3, 16, 16), [], threading.Event()
    expected = ZFDeconv(net).attribute(x, target=1)

    def run():
        while not done.is_set():
            try:
                again = pickle.loads(pickle.dumps(copy.deepcopy(net)))
                assert torch.equal(again[0].weight, net[0].weight)
            except BaseException as error:
                failures.append(error)

    other = threading.Thread(target=run)
    other.start()
    try:
        for _ in range(30):
            assert torch.equal(ZFDeconv(net).attribute(x, target=1), expected)
            coverage(net, x)
    finally:
        done.set()
        other.join()
    assert failures == []


# ------------------------------------------------------------------------------ names, rules, errors


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, signal):
        return signal


class Swish(nn.Module):
    def forward(self, x):
        return Straight.apply(x)


def test_a_custom_function_is_named_where_it_ran_and_where_it_is_written():
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(3, 4, 3))
    net.add_module("relu", nn.ReLU())
    net.add_module("swish", Swish())
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(RuleError, match=r"'StraightBackward' in module 'swish' \(.*test_programs.py:\d+\)"):
        ZFDeconv(net).attribute(x, target=1)
    assert [call.path for call in coverage(net, x).uncovered] == ["swish"]


def test_a_rule_by_name_comes_before_one_by_kind():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardshrink(), nn.Conv2d(4, 4, 3), nn.GELU(), nn.Flatten()).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    double = Rule("double", lambda signal, kept: 2 * signal * kept, lambda forward: (forward.output != 0).double())
    half = Rule("half", lambda signal, _: signal / 2)
    rules = {**DECONVNET, "hardshrink": double, "gelu": half}
    leaf = x.clone().requires_grad_()
    h = net[0](leaf)
    shrunk = net[1](h.detach()).requires_grad_()
    (above,) = torch.autograd.grad(net[2](shrunk).flatten(1)[:, 3].sum() / 2, shrunk)
    (expected,) = torch.autograd.grad(h, leaf, 2 * above * (shrunk != 0))
    method = NeuronZFDeconv(net, "4", rules=rules)
    assert relative_error(method.attribute(x, 3), expected) < 1e-10
    assert [call.rule for call in coverage(net, x, rules=rules).calls] == [
        "adjoint",
        "double",
        "adjoint",
        "half",
        "adjoint",
    ]


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"hardshrnk": Rule("x")}, "hardshrink"),
        ({"relu": "rectify"}, "rectify"),
        ({7: Rule("x")}, "7"),
    ],
)
def test_a_table_is_checked(entry, word):
    net, x = small(), torch.randn(2, 3, 16, 16)
    for call in (
        lambda rules: ZFDeconv(net, rules=rules),
        lambda rules: NeuronZFDeconv(net, "2", rules=rules),
        lambda rules: LayerZFDeconv(net, "2", rules=rules),
        lambda rules: coverage(net, x, rules=rules),
    ):
        with pytest.raises(InputError, match=word):
            call({**DECONVNET, **entry})
    with pytest.raises(InputError, match="mapping"):
        ZFDeconv(net, rules=[1])


class Conditional(nn.Module):
    """The weight of its batch norm is a function of the image, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.weight = nn.Conv2d(3, 4, 3), nn.Linear(3, 4)

    def forward(self, x):
        h, weight = torch.relu(self.conv(x)), self.weight(x.mean((0, 2, 3)))
        return F.batch_norm(h, torch.zeros(4).to(x), torch.ones(4).to(x), weight).mean((2, 3))


def test_a_batch_norm_whose_weight_carries_the_signal():
    torch.manual_seed(0)
    net, x = Conditional().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(RuleError, match=r"'batch_norm'.* by more than one argument: 'scale' takes one"):
        ZFDeconv(net).attribute(x, target=1)
    expected = expected_map(net, x)
    assert relative_error(ZFDeconv(net, rules=GRADIENT).attribute(x, target=1), expected) < 1e-10


def test_a_pickled_explainer_looks_at_no_more_calls_than_the_original():
    net, x, looked = small(), torch.randn(2, 3, 16, 16), []
    for method in (ZFDeconv(net), pickle.loads(pickle.dumps(ZFDeconv(net)))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ForwardPass, "perform", spy(ForwardPass.perform, runs := []))
            method.attribute(x, target=1)
        looked.append(len(runs))
    assert looked[1] == looked[0]


def spy(function, runs):
    return lambda *args: (runs.append(1), function(*args))[1]


def test_an_image_without_a_batch_is_one_sentence():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)).eval()
    with pytest.raises(InputError, match=r"\(N, C, H, W\)"):
        ZFDeconv(net).attribute(torch.randn(3, 8, 8), target=1)


def test_a_quantised_model_is_named_as_such():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), {nn.Linear})
        with pytest.raises(ModelError, match="quantised"):
            ZFDeconv(net)


class HostReads(TorchDispatchMode):
    """Counts the numbers that Python reads from tensors."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        HostReads.count += any(
            word in name for word in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.default")
        )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("depth", [1, 12])
@pytest.mark.parametrize("relu", [torch.relu, lambda h: torch.maximum(h, torch.zeros_like(h))])
def test_however_deep_a_network_few_numbers_are_read_from_the_device(depth, relu):
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(3, 1, 1)) for _ in range(depth)))
    torch.manual_seed(0)
    x, reads = torch.randn(2, 3, 8, 8), []

    class Deep(nn.Module):
        def forward(self, x):
            for part in net:
                x = relu(part(x)) + 0.1 * x
            return x.mean((2, 3))

    lists, scalars = torch.Tensor.tolist, torch.Tensor.item
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "tolist", lambda t: (reads.append(t), lists(t))[1])
        patch.setattr(torch.Tensor, "item", lambda t: (reads.append(t), scalars(t))[1])
        HostReads.count = 0
        with HostReads():
            ZFDeconv(Deep()).attribute(x, target=1)
    assert HostReads.count + len(reads) <= 4


# ------------------------------------------------------------------------------ maps to be differentiated; many targets


def gated():
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.LocalResponseNorm(2)),
        *(nn.Conv2d(4, 4, 2), nn.Sigmoid(), nn.Flatten(), nn.Linear(16, 3)),
    )
    net[1].running_var.uniform_(0.5, 2)
    return net.double().eval()


def test_a_map_can_be_differentiated():
    """By the weights, and by the image, against finite differences."""
    net, x = gated(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    method = ZFDeconv(net)

    def energy(image):
        return (method.attribute(image, target=1, create_graph=True) ** 2).sum()

    leaf = x.clone().requires_grad_()
    before = snapshot(net)
    variables = [leaf, net[0].weight, net[1].weight, net[5].weight, net[8].weight]
    gradients = torch.autograd.grad(energy(leaf), variables)
    assert snapshot(net) == before
    for variable, gradient in zip(variables, gradients, strict=True):
        place, step = gradient.abs().flatten().argmax(), 1e-6
        ends = []
        for sign in (1, -2):
            with torch.no_grad():
                variable.view(-1)[place] += sign * step
            ends.append(energy(leaf.detach()).item())
        with torch.no_grad():
            variable.view(-1)[place] += step
        assert gradient.flatten()[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)
    assert torch.equal(method.attribute(x, target=1), method.attribute(x, target=1, create_graph=True).detach())


def test_training_with_a_map_moves_it():
    net, x = gated(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    optimiser, losses = torch.optim.SGD(net.parameters(), lr=1e4), []
    for _ in range(5):
        loss = (ZFDeconv(net).attribute(x, target=1, create_graph=True) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("make", [small, gated])
def test_many_targets_from_one_forward_pass(make):
    net = make().double()
    x, runs = torch.randn(2, 3, 16 if make is small else 8, 16 if make is small else 8, dtype=torch.float64), []
    targets = [0, 2, [1, 0], torch.tensor([2, 2]), 1]
    net[0].register_forward_hook(lambda *_: runs.append(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some signals die
        expected = torch.stack([ZFDeconv(net).attribute(x, target=target) for target in targets])
        runs.clear()
        found = ZFDeconv(net).attribute_targets(x, targets)
    assert found.shape == (5, *x.shape)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if not (expected.flatten(2).any(2) == 0).any():
        assert len(runs) == 1
    (in_tuple,) = ZFDeconv(net).attribute_targets((x,), [1])
    torch.testing.assert_close(in_tuple, expected[-1:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("targets", [[], 3, [99], None])
def test_bad_targets_are_refused(targets):
    net, x = small(), torch.randn(2, 3, 16, 16)
    before = snapshot(net, x)
    with pytest.raises(DeconvError):
        ZFDeconv(net).attribute_targets(x, targets)
    assert snapshot(net, x) == before


# ------------------------------------------------------------------------------ private names of torch


def test_without_torchs_private_names_maps_are_the_same(monkeypatch, pack_everywhere):
    net, x = small(), torch.randn(2, 3, 16, 16)
    expected = ZFDeconv(net).attribute(x, target=1)
    monkeypatch.setattr(
        "deconv_attr.engine.saved_tensors.saved_tensor", lambda node, name: None
    )  # nothing can be packed
    monkeypatch.setattr(
        "deconv_attr.engine.forward_pass.is_view", lambda tensor: True
    )  # every tensor is treated as a view
    monkeypatch.setattr("deconv_attr.engine.forward_pass.base_of", lambda tensor: None)
    torch.testing.assert_close(ZFDeconv(net).attribute(x, target=1), expected, rtol=1e-5, atol=1e-6)


def test_a_name_that_torch_has_no_more_is_an_error():
    node = torch.relu(torch.ones(1, requires_grad=True)).grad_fn
    with pytest.raises(ModelError, match=r"saves nothing by the name of 'nonsense'"):
        torch_private.saved(node, "nonsense")
