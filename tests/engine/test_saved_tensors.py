"""What autograd keeps, packed: the same signal, no activation kept, no signal changed that somebody else holds."""

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import DIFFICULT, build
from oracle import relative_error
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torchvision_nets import RIGHT_IN_CAPTUM, WRONG_IN_CAPTUM, images
from torchvision_nets import build as build_torchvision

from deconv_attr import DECONVNET, GRADIENT, TABLES, LayerZFDeconv, ZFDeconv
from deconv_attr.engine import saved_tensors
from deconv_attr.engine.signal_path import SignalPath, send
from deconv_attr.errors import ModelError, RuleError

pytestmark = pytest.mark.usefixtures("pack_everywhere")


# ---------------------------------------------------------------------------- the same signal


@pytest.mark.parametrize("rules", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("name", [*RIGHT_IN_CAPTUM, *WRONG_IN_CAPTUM])
def test_torchvisions_networks_have_the_map_of_autograds_own_backward(name, rules, autograds_own):
    method, x = ZFDeconv(build_torchvision(name), rules=rules), images(name)
    expected = autograds_own(lambda: method.attribute(x, target=3))
    assert expected.any()
    assert relative_error(method.attribute(x, target=3), expected) < 1e-12


@pytest.mark.parametrize("onednn", [False, True], ids=["plain layout", "signals channels last"])
@pytest.mark.parametrize("kind", DIFFICULT, ids=lambda kind: kind.__name__)
def test_difficult_graphs_have_the_map_of_autograds_own_backward(kind, onednn, autograds_own, monkeypatch):
    if onednn:  # as in single precision
        monkeypatch.setattr(saved_tensors, "_ONEDNN", (torch.float64,))
    method, x = ZFDeconv(build(kind)), torch.randn(kind.shape, dtype=torch.float64)
    expected = autograds_own(lambda: method.attribute(x, target=1))
    assert relative_error(method.attribute(x, target=1), expected) < 1e-12


class Of(nn.Module):
    """A function between a filter and a ReLU."""

    def __init__(self, function, dims=2):
        super().__init__()
        self.before = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](3, 4, 1)
        self.function = function

    def forward(self, x):
        return self.function(self.before(x).relu()).relu().flatten(1)


BY_SHAPE = {  # (dims, function)
    "avg_pool1d": (1, lambda h: F.avg_pool1d(h, 3, 2, 1)),
    "avg_pool2d": (2, lambda h: F.avg_pool2d(h, 3, 2, 1, ceil_mode=True, count_include_pad=False)),
    "avg_pool2d, divisor": (2, lambda h: F.avg_pool2d(h, (2, 3), divisor_override=5)),
    "avg_pool3d": (3, lambda h: F.avg_pool3d(h, 2)),
    "adaptive_avg_pool2d": (2, lambda h: F.adaptive_avg_pool2d(h, (3, 2))),
    "adaptive_avg_pool2d to one": (2, lambda h: F.adaptive_avg_pool2d(h, 1)),
    "pad by keyword": (2, lambda h: F.pad(input=h, pad=(1, 2, 0, 1))),
    "pad, cut": (2, lambda h: F.pad(h, (-1, 2, -2, 0))),
    "pad, reflect": (2, lambda h: F.pad(h, (1, 2, 2, 1), mode="reflect")),
    "pad, replicate": (3, lambda h: F.pad(h, (1, 0, 2, 1, 0, 1), mode="replicate")),
    "pad, circular": (2, lambda h: F.pad(h, (1, 2, 2, 1), mode="circular")),
    "twice from one tensor": (
        2,
        lambda h: F.avg_pool2d(h, 3, 1, 1) + F.pad(h, (1, 1, 1, 1), "reflect")[..., 1:-1, 1:-1],
    ),
}


@pytest.mark.parametrize(("dims", "function"), BY_SHAPE.values(), ids=BY_SHAPE)
def test_an_adjoint_that_needs_the_shape_only_is_autograds(dims, function, autograds_own):
    torch.manual_seed(0)
    net, x = Of(function, dims).double(), torch.randn(2, 3, *(6, 7, 8)[:dims], dtype=torch.float64)
    expected = autograds_own(lambda: ZFDeconv(net).attribute(x, target=3))
    assert expected.any()
    assert relative_error(ZFDeconv(net).attribute(x, target=3), expected) < 1e-12


# ---------------------------------------------------------------------------- nothing is kept


def kept_bytes(net: nn.Module, x: Tensor, rules=DECONVNET) -> int:
    """Run a network and give the memory that is taken afterwards, less that of the output and of the copied input."""
    leaf = x.clone().requires_grad_()
    path = SignalPath(net, rules)
    with path, profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        output = path.run(net, (leaf,), whole=False)
    taken = sum(event.self_cpu_memory_usage for event in profiler.key_averages())
    return taken - output.untyped_storage().nbytes()


KEEPS_NOTHING = {
    "Conv1d": (1, lambda: nn.Conv1d(4, 4, 3, padding=1)),
    "Conv2d": (2, lambda: nn.Conv2d(4, 4, 3, padding=1)),
    "Conv2d, first": (2, lambda: nn.Conv2d(4, 4, 3, 2)),
    "Conv3d": (3, lambda: nn.Conv3d(4, 4, 3, padding=1)),
    "Conv2d, reflect": (2, lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
    "Conv2d, replicate": (2, lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate")),
    "Conv2d, circular": (2, lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")),
    "Conv2d, same": (2, lambda: nn.Conv2d(4, 4, 3, padding="same")),
    "ConvTranspose1d": (1, lambda: nn.ConvTranspose1d(4, 4, 3)),
    "ConvTranspose2d": (2, lambda: nn.ConvTranspose2d(4, 4, 3)),
    "ConvTranspose3d": (3, lambda: nn.ConvTranspose3d(4, 4, 3)),
    "BatchNorm2d": (2, lambda: nn.BatchNorm2d(4)),
    "Linear": (1, lambda: nn.Linear(6, 5)),
    "ReLU": (2, nn.ReLU),
    "ReLU6": (2, nn.ReLU6),
    "AvgPool2d": (2, lambda: nn.AvgPool2d(3)),
    "AdaptiveAvgPool2d": (2, lambda: nn.AdaptiveAvgPool2d(2)),
    "Dropout": (2, nn.Dropout),
}


@pytest.mark.parametrize(("dims", "make"), KEEPS_NOTHING.values(), ids=KEEPS_NOTHING)
def test_no_activation_is_kept(dims, make, autograds_own):
    torch.manual_seed(0)
    net = nn.Sequential((nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](3, 4, 1), make()).eval()
    x = torch.randn(50, 3, *(6, 6, 6)[:dims])
    assert kept_bytes(net, x) <= 4 * 4  # of batch norm, one factor a channel
    assert autograds_own(lambda: kept_bytes(net, x)) >= x.numel() * 4  # so that we know that it would be seen


def test_batch_norm_by_its_gradient_keeps_nothing_either():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    assert kept_bytes(net, torch.randn(50, 3, 6, 6), GRADIENT) <= 4 * 4


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_by_its_gradient_is_autograds(training, autograds_own):
    """In training mode the statistics are a function of the signal's tensor, too."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)).double()
    net[1].running_var.uniform_(0.5, 2)
    method, x = ZFDeconv(net.train(training), batch_norm="gradient"), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    expected = autograds_own(lambda: method.attribute(x, target=1))
    assert expected.any()
    assert relative_error(method.attribute(x, target=1), expected) < 1e-12


def test_a_pool_keeps_one_byte_for_each_maximum():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(3, 2)).eval()
    starts = 5 * 5 * 8
    assert kept_bytes(net, torch.randn(50, 3, 11, 11)) == 50 * 4 * 5 * 5 + starts


# ---------------------------------------------------------------------------- what somebody else holds stays


class Holding(nn.Module):
    """The signal at a ReLU's output is held by somebody."""

    def __init__(self, how):
        super().__init__()
        self.how, self.seen = how, []
        self.below, self.above = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        h = self.how(self, self.below(x))
        return self.above(h).mean((2, 3))


def _hook(keep):
    def how(net, h):
        h = h.relu()
        h.register_hook(lambda signal: net.seen.append(keep(signal)))
        return h

    return how


HELD = {
    "a hook keeps it": _hook(lambda signal: signal),
    "a hook keeps a view": _hook(lambda signal: signal.view(-1)),
    "a hook keeps a slice": _hook(lambda signal: signal[:, 1:]),
    "a hook keeps its memory": _hook(lambda signal: signal.untyped_storage()),
    "a hook keeps it in numpy": _hook(lambda signal: signal.numpy()),
    "a sum of two": lambda net, h: h.relu() + h,
    "a sum of two ReLUs": lambda net, h: h.relu() + (h - 1).relu(),
    "a sum, one a view": lambda net, h: h.relu() + (h - 1).flatten(1).relu().view_as(h),
    "a mean": lambda net, h: h.relu().mean((2, 3), keepdim=True).expand_as(h) + h,
    "halves": lambda net, h: torch.cat([part.relu() for part in h.chunk(2, 1)], 1) + h,
    "a ReLU of a ReLU": lambda net, h: h.relu().relu() + h,
}


@pytest.mark.parametrize("how", HELD.values(), ids=HELD)
def test_a_signal_that_somebody_else_holds_is_left_as_it_is(how, autograds_own):
    torch.manual_seed(0)
    net, x = Holding(how).double(), torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = autograds_own(lambda: ZFDeconv(net).attribute(x, target=0))
    held = [torch.as_tensor(list(s) if isinstance(s, torch.UntypedStorage) else s).clone() for s in net.seen]
    net.seen.clear()
    assert relative_error(ZFDeconv(net).attribute(x, target=0), expected) < 1e-12
    found = [torch.as_tensor(list(s) if isinstance(s, torch.UntypedStorage) else s) for s in net.seen]
    assert len(found) == len(held)
    for after, before in zip(found, held, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)


class Pair(nn.Module):
    def forward(self, h):
        return h, h.relu()


class WithPair(nn.Module):
    def __init__(self):
        super().__init__()
        self.below, self.pair, self.above = nn.Conv2d(3, 4, 3), Pair(), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        h, rectified = self.pair(self.below(x))
        return self.above(rectified + 0 * h).mean((2, 3))


def test_a_signal_that_is_read_at_a_layer_is_left_as_it_is(autograds_own):
    """Of the two tensors of the layer's output, the upper one's signal goes on down to the lower one."""
    torch.manual_seed(0)
    net, x = WithPair().double(), torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = autograds_own(lambda: LayerZFDeconv(net, "pair").attribute(x, target=1))
    found = LayerZFDeconv(net, "pair").attribute(x, target=1)
    assert (expected[1] < 0).any()
    for signal, own in zip(found, expected, strict=True):
        torch.testing.assert_close(signal, own, rtol=1e-12, atol=1e-12)


class InNumpy(torch.autograd.Function):
    weight = np.random.default_rng(0).normal(size=(2, 4, 7, 7)).astype(np.float32)

    @staticmethod
    def forward(ctx, h):
        return (h * torch.from_numpy(InNumpy.weight)).sum((1, 2, 3))[:, None]

    @staticmethod
    def backward(ctx, signal):
        return torch.from_numpy(InNumpy.weight)


def test_memory_of_another_library_is_not_written():
    net, before = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), InNumpy.weight.copy()
    net.forward = lambda x: InNumpy.apply(net[1](net[0](x)))
    ZFDeconv(net, unknown="gradient").attribute(torch.randn(2, 3, 9, 9), target=0)
    assert (before < 0).any()
    assert np.array_equal(InNumpy.weight, before)


class Overwritten(nn.Module):
    """Filters that change between two calls, or after the last."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.register_buffer("scratch", torch.randn(3, 3, 3, 3))

    def forward(self, x):
        return self.how(self, lambda h, w: F.conv2d(h, w, padding=1).relu(), x).mean((2, 3))


def _by(write):
    def how(net, filtered, x):
        w = net.weight.clone()
        h = filtered(x, w)
        write(w)
        return filtered(h, w)

    return how


def _buffer_twice(net, filtered, x):
    net.scratch.mul_(2)
    h = filtered(x, net.scratch)
    net.scratch.mul_(-1)
    return filtered(h, net.scratch)


def _buffer_by_a_view(net, filtered, x):
    net.scratch[0].mul_(2)
    h = filtered(x, net.scratch)
    net.scratch.view(-1)[:40].zero_()
    return filtered(h, net.scratch)


def _linear(net, filtered, x):
    w = net.weight.flatten(1)[:, :3].clone()
    h = F.linear(x.movedim(1, -1), w).relu()
    w.zero_()
    return h.movedim(-1, 1)


OVERWRITTEN = {
    "mul_": _by(lambda w: w.mul_(-1)),
    "copy_": _by(lambda w: w.copy_(torch.ones_like(w))),
    "setitem": _by(lambda w: w.__setitem__(0, 0.5)),
    "out": _by(lambda w: torch.sin(w.clone(), out=w)),
    "data": _by(lambda w: w.data.mul_(-1)),
    "data exchanged": _by(lambda w: setattr(w, "data", -w.detach().clone())),
    "a buffer twice": _buffer_twice,
    "a buffer by a view": _buffer_by_a_view,
    "linear": _linear,
}


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("how", OVERWRITTEN.values(), ids=OVERWRITTEN)
def test_a_filter_that_is_overwritten_later_goes_back_as_it_was_when_it_was_used_or_is_an_error(how, narrow):
    torch.manual_seed(0)
    net, x = Overwritten(how).double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    filters, conv2d, linear = [], F.conv2d, F.linear

    class Noting(torch.overrides.TorchFunctionMode):  # the forward pass with the filters as they were in each call
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in (conv2d, linear):
                filters.append(args[1].detach().clone())
            return func(*args, **(kwargs or {}))

    with Noting(), torch.no_grad():
        deepcopy(net)(x)

    def same(leaf):
        if how is _linear:
            return F.linear(leaf.movedim(1, -1), filters[0]).relu().movedim(-1, 1).mean((2, 3))
        return F.conv2d(F.conv2d(leaf, filters[0], padding=1).relu(), filters[1], padding=1).relu().mean((2, 3))

    plain = Overwritten(lambda net, filtered, x: None)
    plain.forward = same
    maps = []
    for each in (plain, net):
        path = SignalPath(each, DECONVNET, narrow=narrow)
        with path, path:
            leaf = x.clone().requires_grad_()
            try:
                output = path.run(each, (leaf,))
                maps.append(send(output[:, 1].sum(), [leaf], torch.ones((), dtype=torch.float64))[0])
            except (ModelError, RuleError) as error:
                maps.append(str(error))
    if isinstance(maps[1], str):
        assert "overw" in maps[1] or "exchanges" in maps[1]
        return
    assert maps[0].any()
    torch.testing.assert_close(*maps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("narrow", [False, True])
def test_a_filter_that_is_overwritten_before_the_signal_comes_is_an_error(narrow):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    path = SignalPath(net, DECONVNET, narrow=narrow)
    with path, path:
        leaf = torch.randn(1, 3, 5, 5, requires_grad=True)
        output = path.run(net, (leaf,))
        with torch.no_grad():
            net[0].weight.mul_(2)
        with pytest.raises(ModelError, match="overwritten"):
            send(output.sum(), [leaf], torch.ones(()))


COMPLEX = {
    "conv2d": lambda h, w: F.conv2d(h, w),
    "conv_transpose2d": lambda h, w: F.conv_transpose2d(h, w.transpose(0, 1)),
    "linear": lambda h, w: F.linear(h.movedim(1, -1), w[:, :, 0, 0]).movedim(-1, 1),
}


@pytest.mark.parametrize("function", COMPLEX.values(), ids=COMPLEX)
def test_complex_filters_are_conjugated(function, autograds_own):
    torch.manual_seed(0)
    w = torch.randn(4, 3, 3, 3, dtype=torch.complex128)
    net = Of(lambda h: function(h[:, :3].to(torch.complex128), w).imag, 2).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    active = net(x).argmax(1)
    expected = autograds_own(lambda: ZFDeconv(net).attribute(x, target=active))
    assert expected.any()
    assert relative_error(ZFDeconv(net).attribute(x, target=active), expected) < 1e-12


# ---------------------------------------------------------------------------- memory formats


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "squeezenet1_1", "densenet121"])
def test_each_output_stands_in_memory_as_without_us(name):
    model = build_torchvision(name).to(memory_format=torch.channels_last)
    x = images(name, 2).to(memory_format=torch.channels_last)
    strides = []
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: strides.append(_strides(output)))
    with torch.no_grad():
        model(x)
    plain, strides[:] = list(strides), []
    ZFDeconv(model).attribute(x, target=3)
    assert strides == plain


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="without oneDNN signals keep the model's order")
def test_on_a_cpu_signals_travel_channels_last_whatever_the_model_does():
    signals = []
    model = build_torchvision("vgg11", torch.float32)
    for module in model.features:
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, args, output: args[0].register_hook(signals.append) and None)
    ZFDeconv(model).attribute(images("vgg11", 2).float(), target=3)
    assert len(signals) > 5
    assert {signal.stride(1) for signal in signals} == {1}


def _strides(output):
    return output.stride() if isinstance(output, Tensor) else None


class Ordered(nn.Module):
    """A batch norm, or the same by arithmetic, whose input and signal stand in memory in given orders."""

    def __init__(self, channels, image_last, signal_last, norm):
        super().__init__()
        self.image_last, self.signal_last, self.norm = image_last, signal_last, norm
        self.bn = nn.BatchNorm2d(channels)
        nn.init.uniform_(self.bn.running_var, 0.5, 2)

    def forward(self, x):
        h = torch.relu(x)
        if self.image_last:
            h = h.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
        if self.norm:
            h = self.bn(h)
        else:
            h = h * (self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps))[:, None, None]
        if self.signal_last:
            h = h.permute(2, 0, 3, 1)
        return (h * torch.arange(1.0, h.numel() + 1).view(h.shape)).sum()[None]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("signal_last", [False, True])
@pytest.mark.parametrize("image_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 16, 1, 4), (1, 16, 1, 4), (2, 4, 5, 7), (1, 4, 5, 7)])
def test_a_batch_norm_scales_signals_in_any_order_in_memory(shape, image_last, signal_last, packed, autograds_own):
    torch.manual_seed(0)
    net, x = Ordered(shape[1], image_last, signal_last, True).eval(), torch.rand(shape)
    by_hand = Ordered(shape[1], image_last, signal_last, False).eval()
    by_hand.load_state_dict(net.state_dict())
    run = (lambda function: function()) if packed else autograds_own
    expected = autograds_own(lambda: ZFDeconv(by_hand).attribute(x))
    torch.testing.assert_close(run(lambda: ZFDeconv(net).attribute(x)), expected)
