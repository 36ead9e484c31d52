"""Random networks: chains, residual, pre-activation, concat, reuse, in-place and functional forms, mixed.

A network is a short program. `Random` runs it with whatever spelling of each operation the draw gave; the oracle
traces the same program in its plain spelling.
"""

import warnings

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import project, relative_error
from torch import nn

from deconv_attr import DeadSignalWarning, ZFDeconv

CHANNELS = 4
RECTIFIERS = {
    "module": lambda net, h: net.relu(h),
    "in-place module": lambda net, h: net.relu_in_place(h),
    "module by keyword": lambda net, h: net.relu(input=h),
    "module, result ignored": lambda net, h: [h, net.relu_in_place(h)][0],
    "F.relu": lambda net, h: F.relu(h),
    "F.relu in place": lambda net, h: F.relu(h, inplace=True),
    "torch.relu": lambda net, h: torch.relu(h),
    "x.relu": lambda net, h: h.relu(),
    "x.relu_, result ignored": lambda net, h: [h, h.relu_()][0],
    "clamp": lambda net, h: h.clamp(min=0),
    "clamp_": lambda net, h: h.clamp_(0, None),
    "relu6": lambda net, h: F.relu6(h),
    "threshold": lambda net, h: F.threshold(h, 0, 0),
    "maximum": lambda net, h: torch.maximum(h, torch.zeros_like(h)),
    "subclass": lambda net, h: net.halves(h),
}
IN_PLACE = {"in-place module", "module, result ignored", "F.relu in place", "x.relu_, result ignored", "clamp_"}
POOLS = {
    "module": lambda net, h: net.pool(h),
    "F.max_pool2d": lambda net, h: F.max_pool2d(h, 3, 2, 1),
    "with indices": lambda net, h: F.max_pool2d(h, 3, stride=2, padding=1, return_indices=True)[0],
    "torch.max_pool2d": lambda net, h: torch.max_pool2d(h, 3, 2, 1),
}


class Halves(nn.ReLU):
    """A rectifier that is reached by the functional calls its forward makes."""

    def forward(self, input):
        return torch.cat([F.relu(input[:, :1]), super().forward(input[:, 1:])], 1)


class Random(nn.Module):
    def __init__(self, program, plain=False, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.program, self.plain = program, plain
        self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(3))
        self.widths = nn.ModuleList(nn.Conv2d(2 * CHANNELS, CHANNELS, 1) for _ in range(2))
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.stem = nn.Conv2d(2, CHANNELS, 3, padding=1)
        self.head = nn.Conv2d(CHANNELS, 3, 1)
        self.relu, self.relu_in_place, self.halves = nn.ReLU(), nn.ReLU(inplace=True), Halves()
        self.pool = nn.MaxPool2d(3, 2, 1)
        with torch.no_grad():  # mostly positive filters: a signal that seldom dies
            for conv in [*self.convs, *self.widths, self.head]:
                conv.weight += 0.1

    def rectify(self, h, how):
        if self.plain:
            return F.relu6(h) if how == "relu6" else F.relu(h)
        return RECTIFIERS[how](self, h)

    def forward(self, x):
        h = self.stem(x)
        for step, which, how, pooled in self.program:
            if step == "conv":
                h = self.rectify(self.convs[which](h), how)
            elif step == "norm":
                h = self.rectify(self.norm(h), how)
            elif step == "residual":
                h = self.rectify(h + self.convs[which](h), how)
            elif step == "pre-activation":  # the rectifier's input goes on: no in-place form here
                h = h + self.convs[which](self.rectify(h, "F.relu" if how in IN_PLACE else how))
            elif step == "concat":
                h = self.widths[which % 2](torch.cat([h, self.rectify(self.convs[which](h), how)], 1))
            elif step == "branches":  # one rectifier, two interleaved branches
                u, v = self.convs[which](h), self.convs[(which + 1) % 3](h)
                h = self.rectify(u, how) + self.rectify(v, how)
            elif step == "twice":
                h = self.rectify(self.rectify(self.convs[which](h), how) * 1.5, how)
            elif step == "pool":
                h = F.max_pool2d(h, 3, 2, 1) if self.plain else POOLS[pooled](self, h)
        return self.head(self.rectify(h * 1.0, "F.relu")).mean((2, 3))


STEPS = ["conv", "norm", "residual", "pre-activation", "concat", "branches", "twice", "pool"]
PROGRAMS = st.lists(
    st.tuples(
        st.sampled_from(STEPS), st.integers(0, 2), st.sampled_from(list(RECTIFIERS)), st.sampled_from(list(POOLS))
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(program=PROGRAMS, seed=st.integers(0, 10_000), channels_last=st.booleans())
def test_random_networks_agree_with_the_oracle(program, seed, channels_last):
    net = Random(program, seed=seed).double().eval()
    plain = Random(program, plain=True, seed=seed).double().eval()
    x = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    (expected,) = project(plain, (x,), torch.tensor([[0.0, 1.0, 0.0]] * 2, dtype=torch.float64))
    if channels_last:
        x, net = x.to(memory_format=torch.channels_last), net.to(memory_format=torch.channels_last)
    before = x.clone()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = ZFDeconv(net).attribute(x, target=1)
    assert torch.equal(x, before)
    dead = ~expected.flatten(1).any(1)
    assert bool(dead.any()) == (DeadSignalWarning in [warning.category for warning in caught])
    assert not found[dead].any()
    assert dead.all() or relative_error(found, expected) < 1e-10


def test_most_random_networks_let_the_signal_live():
    """Lest the property above be empty."""
    alive = []

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(program=PROGRAMS, seed=st.integers(0, 10_000))
    def sample(program, seed):
        plain = Random(program, plain=True, seed=seed).double().eval()
        x = torch.randn(1, 2, 9, 8, dtype=torch.float64)
        alive.append(project(plain, (x,), torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64))[0].any().item())

    sample()
    assert sum(alive) > 0.9 * len(alive)
