"""Ctrl-C at every line of ours leaves model and thread as they were, and arrives as what it is.

In the suite it strikes at every few lines; ``EVERY_LINE=1 pytest tests/engine/test_interrupts.py`` takes them all.
"""

import pytest
import torch
from striking import everything, strike
from torch import nn

from deconv_attr import LayerZFDeconv, NeuronZFDeconv, ZFDeconv, coverage
from deconv_attr.engine.undo import Undo


class Net(nn.Module):
    """It writes a buffer, keeps what it computed, rectifies in place on a view, and has a call that is a region."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.LocalResponseNorm(2))
        self.register_buffer("runs", torch.zeros(()))
        self.pool, self.last, self.seen = nn.MaxPool2d(2), None, []

    def forward(self, x):
        self.runs += 1
        self.last = x
        h = self.body(x)
        self.seen.append(h)
        h.flatten(1)[:, :3].relu_()
        return self.pool(h).mean((2, 3)) * (1 + 0 * self.runs)


CALLS = {
    "ZFDeconv": lambda net, x: ZFDeconv(net).attribute(x, target=0),
    "targets": lambda net, x: ZFDeconv(net).attribute_targets(x, [0, 1]),
    "NeuronZFDeconv": lambda net, x: NeuronZFDeconv(net, "body.2#1").attribute(x, (1, 1, 1)),
    "LayerZFDeconv": lambda net, x: LayerZFDeconv(net, "body.0#1").attribute(x, 1, from_layer="body.2#1"),
    "coverage": lambda net, x: coverage(net, x),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_interrupt_at_any_line_leaves_nothing(call):
    torch.manual_seed(0)
    net, x = Net().eval(), torch.rand(1, 1, 4, 4)
    found = strike(lambda: call(net, x), lambda: everything(net, x), 150)
    print(found)
    assert found.lines > 1000
    assert found.faults == []


def test_ctrl_c_while_things_are_put_back_is_late_and_not_lost():
    done, presses = [], iter([KeyboardInterrupt, KeyboardInterrupt])

    def restore():
        done.append("begun")
        error = next(presses, None)
        if error is not None:
            raise error
        done.append("ended")

    undo = Undo()
    with pytest.raises(KeyboardInterrupt), undo:
        undo.later(restore)
    assert done == ["begun", "begun", "begun", "ended"]
