"""Ctrl-C at every line of ours leaves model and thread as they were, and arrives as what it is.

In the suite it strikes at every few lines; ``EVERY_LINE=1 pytest tests/engine/test_interrupts.py`` takes them all.
"""

import contextlib
import os
import sys
from pathlib import Path

import pytest
import torch
from state import snapshot
from torch import nn
from torch.overrides import _get_current_function_mode_stack, _pop_mode

import deconv_attr
from deconv_attr import LayerZFDeconv, NeuronZFDeconv, ZFDeconv, coverage
from deconv_attr.engine.undo import Undo

STEP = 1 if os.environ.get("EVERY_LINE") else 11
OURS = str(Path(deconv_attr.__file__).parent)
TRACED = (OURS, contextlib.__file__, torch.overrides.__file__)


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


class Strike:
    """Raises KeyboardInterrupt at the n-th line that runs of the traced files."""

    def __init__(self, at):
        self.at, self.seen = at, 0

    def __call__(self, frame, event, argument):
        if not any(place in frame.f_code.co_filename for place in TRACED):
            return None
        self.seen += event == "line"
        if event == "line" and self.seen == self.at:
            raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_interrupt_at_any_line_leaves_nothing(call):
    torch.manual_seed(0)
    net, x = Net().eval(), torch.rand(1, 1, 4, 4)
    with contextlib.suppress(deconv_attr.DeadSignalWarning):
        call(net, x)
    before, at, wrong = snapshot(net, x), 1, []
    while True:
        strike, came = Strike(at), None
        sys.settrace(strike)
        try:
            call(net, x)
        except BaseException as error:
            came = error
        finally:
            sys.settrace(None)
        if strike.seen < at:
            break
        if type(came) is not KeyboardInterrupt:
            wrong.append((at, f"came as {came!r}"))
        came = None
        after = snapshot(net, x)
        wrong += [(at, fact) for fact in before if before[fact] != after.get(fact)]
        for _ in _get_current_function_mode_stack():
            _pop_mode()
        at += STEP
    print(f"{at // STEP} interrupts")
    assert at > 1000
    assert wrong == []


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
