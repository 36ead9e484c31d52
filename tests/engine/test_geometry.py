"""Convolutions and pools of every geometry, 1d to 3d, against the oracle."""

import numpy as np
import pytest
import torch
from oracle import max_pool, project, relative_error, switches_of, windows
from recording import pool_with_switches
from torch import nn

from deconv_attr import DECONVNET, Kind, Switches, ZFDeconv, coverage

CONV = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
POOL = [nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d]
ADAPTIVE = [nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d]
SIDES = {1: (23,), 2: (13, 10), 3: (8, 7, 9)}

CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "kernel 1": {"kernel_size": 1},
    "even kernel": {"kernel_size": 4, "padding": 1},
    "stride 2": {"kernel_size": 3, "stride": 2, "padding": 1},
    "stride over kernel": {"kernel_size": 2, "stride": 3},
    "dilation": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "dilation and stride": {"kernel_size": 3, "dilation": 2, "stride": 2},
    "groups": {"kernel_size": 3, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4, "stride": 2, "padding": 1},
    "same": {"kernel_size": 3, "padding": "same"},
    "without bias": {"kernel_size": 3, "bias": False},
}
POOLS = {
    "tiles": {"kernel_size": 2},
    "overlap": {"kernel_size": 3, "stride": 2},
    "heavy overlap": {"kernel_size": 3, "stride": 1, "padding": 1},
    "overlap and padding": {"kernel_size": 3, "stride": 2, "padding": 1},
    "ceil": {"kernel_size": 2, "stride": 2, "ceil_mode": True},
    "ceil and padding": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    "dilation": {"kernel_size": 2, "stride": 1, "dilation": 2},
    "gaps": {"kernel_size": 1, "stride": 2},
    "indices": {"kernel_size": 3, "stride": 2, "return_indices": True},
}


class First(nn.Module):
    """The pooled values of a pool that gives its indices too."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, x):
        return self.pool(x)[0] if self.pool.return_indices else self.pool(x)


def check(model, *sides, channels=4):
    """Compare the projection of single units, at corners and inside, and of all units at once."""
    model = model.double().eval()
    x = torch.randn(2, channels, *sides, dtype=torch.float64)
    with torch.no_grad():
        shape = model(x).shape
    flat = nn.Sequential(model, nn.Flatten())
    units = shape[1:].numel()
    for unit in {0, units // 3, units - 1}:
        start = torch.zeros(2, units, dtype=torch.float64)
        start[:, unit] = 1
        (expected,) = project(flat, (x,), start)
        found = ZFDeconv(flat).attribute(x, target=unit)
        assert expected.any()
        assert relative_error(found, expected) < 1e-10


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("geometry", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolutions_go_back_by_transposed_convolutions(geometry, dims):
    conv = CONV[dims - 1]
    check(nn.Sequential(conv(4, 8, 3, padding=1), nn.ReLU(), conv(8, 4, **geometry)), *SIDES[dims], channels=4)
    check(nn.Sequential(conv(4, 8, **geometry), nn.ReLU(), conv(8, 4, 1)), *SIDES[dims], channels=4)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "geometry", [{}, {"stride": 2}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2}]
)
def test_transposed_convolutions_go_back_by_convolutions(geometry, dims):
    up = TRANSPOSED[dims - 1](4, 6, 3, **geometry)
    check(nn.Sequential(up, nn.ReLU(), CONV[dims - 1](6, 8, 3)), *SIDES[dims])


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("geometry", POOLS.values(), ids=POOLS.keys())
def test_max_pools_go_back_by_their_switches(geometry, dims):
    conv, pool = CONV[dims - 1], POOL[dims - 1]
    net = nn.Sequential(
        conv(4, 8, 3, padding=1), nn.ReLU(), First(pool(**geometry)), conv(8, 6, 2), nn.ReLU(), conv(6, 5, 1)
    )
    check(net, *SIDES[dims])


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_adaptive_max_pools_go_back_by_their_switches(side, dims):
    conv = CONV[dims - 1]
    check(nn.Sequential(conv(4, 8, 3), nn.ReLU(), ADAPTIVE[dims - 1](side), conv(8, 5, 1)), *SIDES[dims])


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_average_pools_batch_norm_and_dropout_go_back_by_their_adjoint(dims):
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](8)
    norm.running_var.uniform_(0.5, 2)
    norm.running_mean.normal_()
    with torch.no_grad():
        norm.weight.normal_()
    average = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[dims - 1]
    adaptive = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1]
    conv = CONV[dims - 1]
    check(
        nn.Sequential(conv(4, 8, 3), norm, nn.ReLU(), nn.Dropout(0.5), average(2), conv(8, 5, 1), adaptive(2)),
        *SIDES[dims],
    )


def spelled(dims, pool):
    """A net around one spelling of a max-pool."""

    class Spelled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = CONV[dims - 1](4, 8, 3)

        def forward(self, x):
            return pool(nn.functional.relu(self.conv(x))).flatten(1)

    torch.manual_seed(0)
    return Spelled().double()


@pytest.mark.parametrize(
    ("dims", "spelling", "plain"),
    [
        (1, lambda h: torch.max_pool1d(h, 3, 2), lambda h: nn.functional.max_pool1d(h, 3, 2)),
        (1, lambda h: torch.max_pool1d_with_indices(h, 3, 2)[0], lambda h: nn.functional.max_pool1d(h, 3, 2)),
        (1, lambda h: torch.adaptive_max_pool1d(h, 4)[0], lambda h: nn.functional.adaptive_max_pool1d(h, 4)),
        (2, lambda h: torch.max_pool2d(h, 3, 2), lambda h: nn.functional.max_pool2d(h, 3, 2)),
        (
            2,
            lambda h: torch.ops.aten.max_pool2d_with_indices.default(h, [3, 3], [2, 2])[0],
            lambda h: nn.functional.max_pool2d(h, 3, 2),
        ),
        (
            2,
            lambda h: torch.ops.aten.adaptive_max_pool2d(h, [2, 3])[0],
            lambda h: nn.functional.adaptive_max_pool2d(h, (2, 3)),
        ),
        (
            2,
            lambda h: nn.functional.adaptive_max_pool2d(h, (2, 3), return_indices=True)[0],
            lambda h: nn.functional.adaptive_max_pool2d(h, (2, 3)),
        ),
    ],
)
def test_every_spelling_of_a_pool_goes_back_by_its_switches(dims, spelling, plain):
    x = torch.randn(2, 4, *SIDES[dims], dtype=torch.float64)
    units = spelled(dims, plain)(x).shape[1]
    start = torch.zeros(2, units, dtype=torch.float64)
    start[:, units // 2] = 1
    (expected,) = project(spelled(dims, plain), (x,), start)
    net = spelled(dims, spelling)
    assert relative_error(ZFDeconv(net).attribute(x, target=units // 2), expected) < 1e-10
    assert len(coverage(net, x).switches) == 1


def test_ties_are_broken_as_the_pooling_kernel_breaks_them():
    x = torch.randint(0, 3, (2, 3, 9, 9)).double()  # many equal values
    _, switches = pool_with_switches("max_pool2d", x, 3, 2, 1)
    tables = [windows(9, 3, 2, 1, 1, False)] * 2
    assert torch.equal(switches.indices.flatten(2).flatten(0, 1), torch.from_numpy(switches_of(x, tables)))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("geometry", POOLS.values(), ids=POOLS.keys())
def test_unpooling_is_the_adjoint_of_pooling(geometry, dims):
    """<pool(x), s> = <x, unpool(s)>, since pooling by fixed switches is linear."""
    x = torch.randn(2, 3, *SIDES[dims], dtype=torch.float64)
    pooled, switches = pool_with_switches(f"max_pool{dims}d", x, **geometry)
    signal = torch.randn_like(pooled)
    assert torch.allclose((pooled * signal).sum(), (x * switches.unpool(signal)).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("width", "size", "dtype"),
    [
        (253, 2, torch.uint8),
        (254, 2, torch.uint8),
        (255, 2, torch.int16),
        (32766, 2, torch.int16),
        (32767, 2, torch.int32),
    ],
)
def test_switches_take_the_smallest_integers_that_hold_them(width, size, dtype):
    """The last element of a window is the first one's, and (size - 1) rows and columns further: here, width + 1."""
    x = torch.randn(1, 1, 4, width)
    x[..., 1::2, 1::2] += 10  # the last of each window is its maximum
    pooled, switches = pool_with_switches("max_pool2d", x, size)
    assert switches.offsets.dtype == dtype
    assert int(switches.offsets.max()) == width + 1
    assert torch.equal(switches.indices, nn.functional.max_pool2d(x, size, return_indices=True)[1])
    signal, leaf = torch.randn_like(pooled), x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(nn.functional.max_pool2d(leaf, size), leaf, signal)
    assert torch.equal(switches.unpool(signal), expected)


SWITCHES = {
    "adaptive, does not divide": lambda x: ("adaptive_max_pool2d", x, (3, 4)),
    "adaptive, to one": lambda x: ("adaptive_max_pool2d", x, 1),
    "adaptive 1d": lambda x: ("adaptive_max_pool1d", x[0], 4),
    "adaptive 3d": lambda x: ("adaptive_max_pool3d", x, 2),
    "fractional": lambda x: ("fractional_max_pool2d", x, 2, (4, 5)),
    "dilated, padded, uneven": lambda x: ("max_pool2d", x, (2, 3), (3, 1), 1, (2, 3)),
    "no batch": lambda x: ("max_pool2d", x[0], 3, 2),
}


@pytest.mark.parametrize("arguments", SWITCHES.values(), ids=SWITCHES)
def test_indices_are_those_of_the_pool(arguments):
    name, x, *rest = arguments(torch.randn(2, 3, 11, 13))
    torch.manual_seed(1)
    pooled, switches = pool_with_switches(name, x, *rest)
    torch.manual_seed(1)
    expected, indices = getattr(nn.functional, f"{name}_with_indices")(x, *rest)
    assert torch.equal(pooled, expected)
    assert torch.equal(switches.indices, indices)
    assert switches.offsets.dtype == torch.uint8  # none below 0: the windows begin where we say


@pytest.mark.parametrize("pool", ["max_pool3d", "adaptive_max_pool3d"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pool_of_three_axes_without_a_batch(pool, dtype):
    x = torch.randn(3, 4, 6, 5, dtype=dtype, requires_grad=True)
    pooled, switches = pool_with_switches(pool, x.detach(), 2)
    signal = torch.randn_like(pooled)
    (expected,) = torch.autograd.grad(getattr(nn.functional, pool)(x, 2), x, signal)
    assert torch.equal(switches.unpool(signal), expected)


def test_a_window_of_nothing_in_channels_last_3d():
    """There torch gives a place before the window."""
    x = torch.randn(1, 2, 16, 8, 8)
    x[:, :, 6:8] = -float("inf")
    x = x.to(memory_format=torch.channels_last_3d).requires_grad_()
    pooled, switches = pool_with_switches("max_pool3d", x.detach(), 2)
    (expected,) = torch.autograd.grad(nn.functional.max_pool3d(x, 2), x, torch.ones_like(pooled))
    assert torch.equal(switches.unpool(torch.ones_like(pooled)), expected)


@pytest.mark.parametrize("size", [np.int64(2), (np.int32(2), 2)])
def test_sizes_in_numpys_integers(size):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(size), nn.Flatten(), nn.Linear(36, 2))
    x = torch.randn(1, 3, 8, 8)
    found = ZFDeconv(net).attribute(x, target=1)
    net[2] = nn.MaxPool2d(2)
    assert torch.equal(found, ZFDeconv(net).attribute(x, target=1))


def test_overlapping_windows_by_hand():
    """5 is the maximum of both windows [1, 5] and [5, 2]."""
    x = torch.tensor([[[1.0, 5.0, 2.0, 4.0]]])
    _, switches = pool_with_switches("max_pool1d", x, 2, 1)
    signal = torch.tensor([[[1.0, 3.0, 10.0]]])
    assert switches.indices.tolist() == [[[1, 1, 3]]]
    assert switches.unpool(signal).tolist() == [[[0, 4, 0, 10]]]
    assert switches.unpool(signal, "mean").tolist() == [[[0, 2, 0, 10]]]
    assert switches.unpool(signal, "overwrite").tolist() == [[[0, 3, 0, 10]]]


def test_overwriting_is_what_max_unpool2d_does():
    x = torch.randn(2, 3, 9, 9)
    pooled, switches = pool_with_switches("max_pool2d", x, 3, 2)
    signal = torch.randn_like(pooled)
    expected = nn.functional.max_unpool2d(signal, switches.indices, 3, 2, output_size=x.shape)
    assert torch.equal(switches.unpool(signal, "overwrite"), expected)


def test_the_overlap_rule_can_be_chosen():
    net = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.MaxPool1d(2, 1), nn.Flatten(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[0].bias.fill_(0)
        net[4].weight.copy_(torch.tensor([[1.0, 3.0, 10.0]]))
    x = torch.tensor([[[1.0, 5.0, 2.0, 4.0]]])
    for overlap, expected in (("sum", [0, 4, 0, 10]), ("mean", [0, 2, 0, 10]), ("overwrite", [0, 3, 0, 10])):
        assert ZFDeconv(net, overlap=overlap).attribute(x, target=0).flatten().tolist() == expected


def test_a_user_can_look_at_the_switches():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
    x = torch.randn(1, 1, 10, 10)
    switches = coverage(net, x).switches
    assert list(switches) == ["2", "5"]
    h = net[1](net[0](x))
    assert isinstance(switches["2"], Switches)
    assert switches["2"].input_shape == h.shape
    assert torch.equal(switches["2"].indices, nn.MaxPool2d(2, return_indices=True)(h)[1])
    _, report = ZFDeconv(net).attribute(x, target=(0, 1, 1), return_coverage=True)
    assert torch.equal(report.switches["5"].indices, switches["5"].indices)


def test_a_reused_pool_records_the_switches_of_each_call():
    pool = nn.MaxPool2d(2)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pool, pool)
    switches = coverage(net, torch.randn(1, 1, 10, 10)).switches
    assert {name: tuple(s.input_shape) for name, s in switches.items()} == {"2": (1, 2, 8, 8), "2#2": (1, 2, 4, 4)}


def test_the_oracles_own_pool_agrees_with_a_pool_by_hand():
    x = torch.tensor([[[3.0, 1.0, 4.0, 1.0, 5.0]]], dtype=torch.float64)
    below = max_pool(1)(x, None, torch.tensor([[[7.0, 9.0]]], dtype=torch.float64), {"kernel_size": 3, "stride": 2})
    assert below.tolist() == [[[0, 0, 7, 0, 9]]]


def test_an_unpooling_rule_of_the_users_own_in_the_table():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 2)).double()
    x = torch.randn(1, 1, 10, 10, dtype=torch.float64)
    rules = {**DECONVNET, Kind.MAX_POOL: DECONVNET[Kind.LINEAR]}  # autograd's own: the same map
    assert torch.allclose(
        ZFDeconv(net, rules=rules).attribute(x, target=1), ZFDeconv(net).attribute(x, target=1), rtol=1e-12
    )
