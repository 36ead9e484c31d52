"""No call leaves its graph in memory, however it ends: hooks on nodes must not lead back to them."""

from contextlib import suppress

import pytest
import torch
from state import graphs_left
from torch import nn
from torch.nn import functional as F

from deconv_attr import (
    DeadSignalWarning,
    DeconvError,
    LayerZFDeconv,
    NeuronZFDeconv,
    ZFDeconv,
    compare,
    coverage,
    project,
    strongest,
)

BODIES = {
    "living": lambda h: F.relu(h),
    "dead": lambda h: F.relu(h),  # below negative weights; it is run once more, watched
    "saturated": lambda h: (F.relu(h) * 1e4).softmax(1),
    "cast": lambda h: F.relu(h.double().float().half().float()),
    "pooled": lambda h: F.max_pool2d(F.local_response_norm(F.relu(h), 2), 2),
    "not finite": lambda h: F.relu(h) - torch.inf + torch.inf,
    "without a rule": lambda h: F.hardshrink(h),
    "by hand": lambda h: h * (h > 0),
}
CALLS = {
    "ZFDeconv": lambda net, x: ZFDeconv(net).attribute(x, target=0),
    "in parts": lambda net, x: ZFDeconv(net).attribute(x, target=0, internal_batch_size=1),
    "targets": lambda net, x: ZFDeconv(net).attribute_targets(x, [0, 1]),
    "NeuronZFDeconv": lambda net, x: NeuronZFDeconv(net, "conv").attribute(x, (0, 1, 1)),
    "LayerZFDeconv": lambda net, x: LayerZFDeconv(net, "conv").attribute(x, 0),
    "coverage": coverage,
    "project": lambda net, x: project(net, x, "conv", [(0, 0, 1, 1), (1, 0, 2, 2)]),
    "strongest": lambda net, x: strongest(net, x.detach(), "conv"),
    "compare": lambda net, x: compare(net, x, 0).table(["target"]),
}


class Net(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body, self.conv, self.last = body, nn.Conv2d(1, 2, 2), nn.Linear(2, 2)
        nn.init.constant_(self.last.weight, -1 if body is BODIES["dead"] else 1)

    def forward(self, x):
        x = x.double().to(x.dtype) if self.body is BODIES["cast"] else x  # below the layer, too
        return self.last(self.body(self.conv(x)).mean((2, 3)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", BODIES)
def test_no_call_leaves_its_graph_in_memory(body, call):
    torch.manual_seed(0)
    net, x = Net(BODIES[body]).eval(), torch.rand(2, 1, 5, 5)
    net.requires_grad_(False)
    with graphs_left() as left, suppress(DeconvError):
        CALLS[call](net, x)
    assert left == []


def test_a_signal_that_dies_is_run_twice():
    with pytest.warns(DeadSignalWarning):  # or the test above would not see the second run
        CALLS["ZFDeconv"](Net(BODIES["dead"]).eval(), torch.rand(2, 1, 5, 5))
    CALLS["ZFDeconv"](Net(BODIES["living"]).eval(), torch.rand(2, 1, 5, 5))
