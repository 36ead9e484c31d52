"""Rectifiers written by hand are found by what they do, and nothing else is taken for one."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from oracle import relative_error
from state import snapshot
from torch import nn
from torch.nn.utils import prune

from deconv_attr import DeconvError, ZFDeconv, coverage
from deconv_attr.errors import RuleError

pytestmark = pytest.mark.filterwarnings("ignore:index_reduce")
ZERO = torch.zeros((), dtype=torch.float64)


def under_no_grad(x):
    with torch.no_grad():
        mask = (x > 0).double()
    return x * mask


def in_numpy(x):
    return x * torch.from_numpy((x.detach().numpy() > 0).astype("float64"))


def by_assignment(x):
    y = x.clone()
    y[y.detach() < 0] = 0
    return y


def into_zeros(x):
    y = torch.zeros_like(x)
    y[x > 0] = x[x > 0]
    return y


def of_negatives(x):
    return x - x * (x.detach() < 0)


def by_a_loop(x):
    return torch.stack([row * (row.detach() > 0) for row in x])


BY_HAND = {
    "x * (x > 0)": lambda x: x * (x > 0),
    "(x > 0) * x": lambda x: (x > 0) * x,
    "(x > 0).float().mul(x)": lambda x: (x > 0).double().mul(x),
    "x.mul(x.gt(0))": lambda x: x.mul(x.gt(0)),
    "x * (x >= 0)": lambda x: x * (x >= 0),
    "x * (x.detach() > 0)": lambda x: x * (x.detach() > 0),
    "x * (x.data > 0)": lambda x: x * (x.data > 0),
    "under no_grad": under_no_grad,
    "in numpy": in_numpy,
    "in place": lambda x: (x + 0).mul_(x.detach() > 0),
    "heaviside": lambda x: x * torch.heaviside(x.detach(), ZERO),
    "sign": lambda x: x * (x.detach().sign() + 1) / 2,
    "einsum": lambda x: torch.einsum("nchw,nchw->nchw", x, (x > 0).double()),
    "addcmul": lambda x: torch.addcmul(torch.zeros_like(x), x, (x > 0).double()),
    "where": lambda x: torch.where(x > 0, x, ZERO),
    "where, detached": lambda x: torch.where(x.detach() > 0, x, torch.zeros_like(x)),
    "x.where": lambda x: x.where(x > 0, 0.0),
    "where not": lambda x: torch.where(x <= 0, 0.0, x),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.0),
    "masked_fill_": lambda x: (x + 0).masked_fill_(x.detach() < 0, 0.0),
    "by assignment": by_assignment,
    "into zeros": into_zeros,
    "without its negatives": of_negatives,
    "in a loop": by_a_loop,
    "maximum(x, 0 * x)": lambda x: torch.maximum(x, 0 * x),
    "fmax": lambda x: torch.fmax(0 * x, x),
    "-minimum(-x, 0)": lambda x: -torch.minimum(-x, ZERO),
    "-minimum(-x, 0 * x)": lambda x: -torch.minimum(-x, 0 * x),
    "x - minimum(x, 0)": lambda x: x - torch.minimum(x, ZERO),
    "(x + |x|) / 2": lambda x: (x + x.abs()) / 2,
    "|x| by a root": lambda x: (x + (x * x).sqrt()) / 2,
    "|x| by a power": lambda x: (x + (x**2) ** 0.5) / 2,
    "x - (-|x|)": lambda x: (x - (-x.abs())) / 2,
    "in place sum": lambda x: x.abs().add_(x) / 2,
    "amax": lambda x: torch.stack([x, torch.zeros_like(x)]).amax(0),
    "max over a dimension": lambda x: torch.stack([torch.zeros_like(x), x], -1).max(-1)[0],
    "topk": lambda x: torch.stack([x, torch.zeros_like(x)], 1).topk(1, 1)[0][:, 0],
    "leaky": lambda x: x * torch.where(x.detach() > 0, 1.0, 0.1).double(),
    "leaky by maximum": lambda x: torch.maximum(x, 0.1 * x),
    "threshold elsewhere": lambda x: x * (x.detach() > 0.1),
    "by a detached sigmoid": lambda x: x * x.detach().sigmoid(),
    "clamp(max=0)": lambda x: x - x.clamp(max=0),
    "clamp_max": lambda x: x - x.clamp_max(1e-3),
    "ceil": lambda x: x * x.tanh().ceil(),
    "trunc": lambda x: x * (x.sigmoid() + 0.5).trunc(),
    "ceil, through linear operations": lambda x: x * (2 * x.tanh().ceil().flip(3).flip(3) - 1).add(1).div(2),
    "a rounded division": lambda x: x * (1 + x.div(1e9, rounding_mode="floor")),
    "angle": lambda x: x * (1 - x.angle() / torch.pi),
    "scatter_reduce": lambda x: torch.zeros_like(x).scatter_reduce(3, torch.arange(14).expand(x.shape), x, "amax"),
    "scatter_reduce of zeros": lambda x: x.scatter_reduce(3, torch.arange(14).expand(x.shape), 0 * x.detach(), "amax"),
    "index_reduce": lambda x: torch.zeros_like(x).index_reduce(3, torch.arange(14), x, "amax"),
    "sort": lambda x: torch.stack([x, torch.zeros_like(x)], -1).sort()[0][..., 1],
    "msort": lambda x: torch.stack([x, torch.zeros_like(x)]).msort()[1],
    "kthvalue": lambda x: torch.stack([x, torch.zeros_like(x)], 1).kthvalue(2, 1)[0],
    "cummax": lambda x: torch.stack([torch.zeros_like(x), x]).cummax(0)[0][1],
    "median": lambda x: torch.stack([x, torch.zeros_like(x), torch.full_like(x, 1e9)]).median(0)[0],
    "quantile": lambda x: torch.stack([x, torch.zeros_like(x)]).quantile(1.0, 0),
    "|x| as a loss": lambda x: (x + F.l1_loss(x, torch.zeros_like(x), reduction="none")) / 2,
    "|x| by copysign": lambda x: (x + x.copysign(torch.ones_like(x))) / 2,
}


class Net(nn.Module):
    """Two filters, and something between them."""

    def __init__(self, between):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)
        self.between = between

    def forward(self, x):
        return self.fc(torch.relu(self.b(self.between(self.a(x)))).mean((2, 3)))


def build(between, seed=0):
    torch.manual_seed(seed)
    return Net(between).double().eval(), torch.randn(2, 3, 16, 16, dtype=torch.float64)


@pytest.mark.parametrize("between", BY_HAND.values(), ids=BY_HAND)
def test_a_rectifier_written_by_hand_is_an_error_with_its_line(between):
    net, x = build(between)
    before = snapshot(net, x)
    with pytest.raises(RuleError, match=r"test_handwritten.py:\d+\).*'gradient'"):
        ZFDeconv(net).attribute(x, target=1)
    assert snapshot(net, x) == before
    leaf = x.clone().requires_grad_()  # by choice, it is autograd's own
    signal = torch.autograd.grad(net.b(net.between(net.a(leaf))).clamp(min=0).mean((2, 3)).sum(), leaf)[0]
    assert signal.any()
    assert ZFDeconv(net, activations="gradient").attribute(x, target=1).shape == x.shape


def test_a_division_that_autograd_does_not_know_is_a_step_as_one_that_it_knows():
    net, x = build(lambda x: x * (1 + x // 1e9))
    with pytest.raises(RuleError, match=r"'mul' .*written by hand"):
        ZFDeconv(net).attribute(x, target=1)
    net, x = build(lambda x: x + 2 // (x + 9) + x // 2)
    assert relative_error(ZFDeconv(net).attribute(x, target=1), ZFDeconv(build(torch.positive)[0]).attribute(x, 1)) == 0
    assert [call.rule for call in coverage(net, x) if call.operation == "floor_divide"] == ["zero gradient"] * 2


@pytest.mark.parametrize("between", [BY_HAND["x * (x.detach() > 0)"], BY_HAND["amax"]])
def test_coverage_lists_it_as_uncovered(between):
    net, x = build(between)
    (call,) = coverage(net, x).uncovered
    assert call.kind.value == "mask"
    assert "test_handwritten.py" in call.source


def hidden(write):
    def between(x):
        write(x)
        return x

    return between


def _no_grad_assignment(x):
    with torch.no_grad():
        x[x < 0] = 0


def _no_grad_clamp(x):
    with torch.no_grad():
        x.clamp_(min=0)


def _no_grad_view(x):
    with torch.no_grad():
        x[:, :4].relu_()


def _exchanged(x):
    x.data = x.detach().clamp(min=0)


def _numpy(x):
    array = x.detach().numpy()
    array[array < 0] = 0


UNSEEN = {
    "assigned under no_grad": _no_grad_assignment,
    "clamped under no_grad": _no_grad_clamp,
    "a view under no_grad": _no_grad_view,
    "x.detach()": lambda x: x.detach().relu_(),
    "x.data": lambda x: x.data.clamp_(min=0),
    "a view of x.data": lambda x: x.data.view(-1).relu_(),
    "exchanged data": _exchanged,
    "out": lambda x: torch.clamp(x.detach(), min=0, out=x.detach()),
    "numpy": _numpy,
}


@pytest.mark.parametrize("write", UNSEEN.values(), ids=UNSEEN)
def test_what_is_written_into_the_signal_unseen_by_autograd_is_refused(write):
    net, x = build(hidden(write))
    before = snapshot(net, x)
    with pytest.raises(RuleError, match="unseen by autograd"):
        ZFDeconv(net).attribute(x, target=1)
    assert snapshot(net, x) == before


def _numpy_before_a_rectifier_in_place(x):
    array = x.detach().numpy()
    array[array < 0.1] = 0
    x.relu_()


def _numpy_after_a_rectifier_in_place(x):
    array = x.detach().numpy()
    x.relu_()
    array[array < 0.1] = 0


@pytest.mark.parametrize("write", [_numpy_before_a_rectifier_in_place, _numpy_after_a_rectifier_in_place])
def test_numpys_writes_are_refused_beside_those_that_autograd_sees(write):
    net, x = build(hidden(write))
    with pytest.raises(RuleError, match="with numpy"):
        ZFDeconv(net).attribute(x, target=1)


# ------------------------------------------------------------------------------ what is none


LOOKS = {
    "numpy": lambda x: x.detach().numpy(),
    "a copy in numpy": lambda x: x.detach().cpu().numpy().copy(),
    "data": lambda x: x.data.numpy(),
    "a copy": lambda x: x.detach().clone(),
    "a shape": lambda x: x.detach().shape,
}
IN_PLACE = {
    "relu_": lambda x: x.relu_(),
    "nn.ReLU": nn.ReLU(inplace=True),
    "nn.ReLU6": nn.ReLU6(inplace=True),
    "add_": lambda x: x.add_(x.flip(1)).relu_(),
    "of a view": lambda x: (x[:, :4].relu_(), x[:, 4:].relu_(), x)[-1],
}


@pytest.mark.parametrize("rectify", IN_PLACE.values(), ids=IN_PLACE)
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_hook_that_looks_at_what_is_then_rectified_in_place_changes_nothing(look, rectify):
    net, x = build(rectify)
    expected = ZFDeconv(net).attribute(x, target=1)
    seen = []
    net.a.register_forward_hook(lambda module, args, output: seen.append(look(output)))
    assert torch.equal(ZFDeconv(net).attribute(x, target=1), expected)
    assert seen
    assert coverage(net, x).uncovered == []


def _asserts(x):
    assert x.min() > -1000
    return x


def _if(x):
    return x / 2 if x.max() > 100 or (x < -50).any() else x


def _rows(x):
    return torch.stack([row for row in x if row.mean() > -100])


def _strongest_rows(x):
    flat = x.flatten(2).transpose(1, 2)  # (N, positions, channels)
    kept = [row[row[:, 0].sigmoid() > 0.5] for row in flat]
    return torch.stack([row.mean(0) for row in kept])[:, :, None, None].expand(-1, -1, 14, 14)


def _indexed_rows(x):
    flat = x.flatten(2).transpose(1, 2)
    kept = [row[(row[:, 1] > row[:, 1].mean()).nonzero()[:, 0]] for row in flat]
    return torch.stack([row.mean(0) for row in kept])[:, :, None, None].expand(-1, -1, 14, 14)


def _constant_region(x):
    y = x.clone()
    y[:, :, 3:7, 3:7] = 0
    return y


REGION = torch.zeros(14, 14, dtype=torch.float64)
REGION[3:9, 2:12] = 1
SIGNS = torch.randn(8, 14, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).sign()


def _dropped(x):
    return x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.5)


def _siamese(x):
    return (x - x.flip(0)).abs()


def _gated(x):
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


def _attention(x):
    tokens = x.flatten(2).transpose(1, 2)
    scores = tokens @ tokens.transpose(1, 2) / 8
    masked = scores.masked_fill(torch.ones(196, 196).triu(1).bool(), float("-inf"))
    return (masked.softmax(-1) @ tokens).transpose(1, 2).reshape(x.shape)


def _beside(x):
    F.normalize(F.gelu(x * x.clamp(max=0)))  # as the boxes of a detector, of which only the scores are looked at
    return x


def _strongest_of_those_kept(x):
    kept = x[x.amax((1, 2, 3)) > -1e9]
    return kept.gather(3, kept.topk(14)[1].sort(3)[0])


NONE = {
    "beside the way": _beside,
    "the strongest of those kept": _strongest_of_those_kept,
    "the strongest, by position": lambda x: x.topk(14, 3)[0],
    "rounded": lambda x: x + (4 * x).floor(),
    "rounded, and weighed": lambda x: x * (4 * x.mean((2, 3), keepdim=True)).round(),
    "a straight-through rounding": lambda x: x + (x.round() - x).detach(),
    "a ceiling that is not reached": lambda x: x.clamp_max(1e3) + x.clamp(-1e3, 1e3) + x.clamp(min=-1e3),
    "scattered": lambda x: torch.zeros_like(x).scatter_reduce(3, torch.arange(14).expand(x.shape), x, "sum"),
    "reduced to the largest of some": lambda x: x.scatter_reduce(
        3, torch.arange(14).expand(x.shape), x.flip(1), "amax", include_self=False
    ),
    "times a sparse matrix": lambda x: torch.sparse.mm(REGION.to_sparse(), x.flatten(0, 2).T).T.reshape(x.shape),
    "Fourier": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 2),
    "assert": _asserts,
    "if": _if,
    "rows": _rows,
    "rows by a threshold": _strongest_rows,
    "rows by their numbers": _indexed_rows,
    "a constant region": _constant_region,
    "times a region": lambda x: x * REGION.expand_as(x),
    "times constant signs": lambda x: x * SIGNS.expand_as(x),
    "where a region": lambda x: torch.where(REGION.bool().expand_as(x), x, ZERO),
    "fill a region": lambda x: x.masked_fill(~REGION.bool(), 0.0),
    "dropout by hand": _dropped,
    "a siamese net": _siamese,
    "a gate": _gated,
    "causal attention": _attention,
    "maximum of two": lambda x: torch.maximum(x, x.flip(1)),
    "maxout": lambda x: torch.stack(x.chunk(2, 1)).amax(0).repeat(1, 2, 1, 1),
    "a residual": lambda x: x + x,
    "a residual of a square": lambda x: x + x**2,
    "pooled": lambda x: F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).amax((-1, -2)),
    "sorted": lambda x: x.sort(1)[0],
    "ones": lambda x: x * torch.ones_like(x),
}


@pytest.mark.parametrize("between", NONE.values(), ids=NONE)
def test_a_comparison_that_only_steers_and_constant_factors_pass(between):
    net, x = build(between)
    found = ZFDeconv(net).attribute(x, target=1)
    leaf = x.clone().requires_grad_()
    hidden_ = net.b(between(net.a(leaf)))
    signal = (net.fc.weight[1].clamp(min=0) / hidden_[0, 0].numel()).view(1, 8, 1, 1).expand_as(hidden_)
    (expected,) = torch.autograd.grad(hidden_, leaf, signal)
    assert expected.any()
    assert relative_error(found, expected) < 1e-10
    assert coverage(net, x).uncovered == []


def test_pruned_weights_and_masks_of_weights_are_none():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)).eval()
    prune.custom_from_mask(net[0], "weight", net[0].weight > 0)
    assert ZFDeconv(net).attribute(torch.randn(2, 3, 8, 8), target=1).any()


def test_a_mask_of_another_tensors_sign_is_no_rectifier_of_this_one():
    class Two(Net):
        def forward(self, x):
            h = self.a(x)
            return self.fc(torch.relu(self.b(h * (h.flip(1).detach() > 0))).mean((2, 3)))

    torch.manual_seed(0)
    net, x = Two(None).double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert ZFDeconv(net).attribute(x, target=1).any()


def test_small_vectors_give_no_false_alarm():
    """Of two numbers, a constant factor follows their order every second time."""
    for seed in range(30):
        torch.manual_seed(seed)
        factor = torch.rand(1, 4)
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        net.forward = lambda x, net=net, factor=factor: net[2](net[1](net[0](x) * factor))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some signals die
                ZFDeconv(net).attribute(torch.randn(1, 3), target=1)
        except DeconvError as error:
            raise AssertionError(f"seed {seed}") from error
