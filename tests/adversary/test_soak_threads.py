"""Eight threads explain, compare, randomise, train, save and copy one model at once, for seconds; or for minutes.

``SOAK_SECONDS=180 pytest -s tests/adversary/test_soak_threads.py`` prints how often each did so. What must come out is
known beforehand, bit for bit: it has been computed alone.
"""

import collections
import copy
import faulthandler
import io
import os
import pickle
import sys
import threading
import time

import pytest
import torch
from striking import everything
from torch import nn

from deconv_attr import LayerZFDeconv, NeuronZFDeconv, ZFDeconv, compare, project, receptive_field
from deconv_attr.errors import ModelError
from deconv_attr.evidence import parameter_randomisation

SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))
HANGS = 120  # seconds after the end
TARGET = torch.tensor([0, 1])


class Net(nn.Module):
    """It rectifies in place and in a function, pools, normalises, and has a buffer."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm, self.relu = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.pool, self.conv2 = nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = self.pool(self.relu(self.norm(self.conv1(x))))
        return self.head(torch.relu(self.conv2(h)).mean((2, 3)))


class CopyAgain(Exception):  # noqa: N818
    """A copy was not made, and another may be."""


def deconvnet(model, inputs, target):
    return ZFDeconv(model).attribute(inputs, target)


class Soak:
    """One model, and what threads do with it; each work returns tensors that are known."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = Net().double().eval()
        nn.init.ones_(self.net.conv2.bias)  # so that no unit is dead
        self.x = torch.rand(2, 1, 10, 10, dtype=torch.float64)
        self.trained = copy.deepcopy(self.net).train()
        self.optimiser = torch.optim.SGD(self.trained.parameters(), 0.1)
        self.randomised = 0  # odd while the weights are random
        works = (self.explain, self.explain_a_neuron, self.explain_a_layer, self.project, self.compare, self.randomise)
        self.expected = {work.__name__: work() for work in works}
        self.own = {name: value.clone() for name, value in self.net.state_dict().items()}

    def explain(self):
        return [ZFDeconv(self.net).attribute(self.x, TARGET), *ZFDeconv(self.net).attribute_targets(self.x, [0, 2])]

    def explain_a_neuron(self):
        return [NeuronZFDeconv(self.net, "conv2").attribute(self.x, (1, 0, 0))]

    def explain_a_layer(self):
        field = receptive_field(self.net, "conv2", (1, 1, 10, 10))
        return [LayerZFDeconv(self.net, self.net.pool).attribute(self.x, TARGET), torch.tensor(field.size)]

    def project(self):
        return [project(self.net, self.x, "conv2", [(0, 1), (1, 2)]).maps]

    def compare(self):
        return [compare(self.net, self.x, TARGET, {"a": deconvnet}).attributions["a"]]

    def randomise(self):
        self.randomised += 1
        found = parameter_randomisation(self.net, deconvnet, self.x, TARGET, stages=2, draws=1)
        self.randomised += 1
        return [found.signed, found.absolute]

    def train(self):
        self.net(self.x).sum().backward()
        self.net.zero_grad()
        self.optimiser.zero_grad()
        nn.functional.cross_entropy(self.trained(self.x), TARGET).backward()
        self.optimiser.step()

    def save(self):
        before = self.randomised
        file = io.BytesIO()
        torch.save(self.net.state_dict(), file)
        file.seek(0)
        self.check_weights(torch.load(file), before)

    def copy(self):
        before = self.randomised
        try:
            copies = copy.deepcopy(self.net), pickle.loads(pickle.dumps(self.net))
        except RuntimeError as error:  # it met a hook that was put there or taken off: see engine/module_hooks.py
            raise (CopyAgain if "mutated during iteration" in str(error) else error) from None
        for copied in copies:
            for module in copied.modules():
                for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
                    assert hook.__name__ == "_do_nothing", hook
            self.check_weights(copied.state_dict(), before)

    def check_weights(self, found, before):
        if before % 2 == 0 and self.randomised == before:  # no randomisation meanwhile
            for name, value in self.own.items():
                assert torch.equal(found[name], value), name


def test_eight_threads_on_one_model():
    soak, counts, faults = Soak(), collections.Counter(), []
    before = everything(soak.net, soak.x)
    threads = [
        ("explain",),
        ("explain",),
        ("explain_a_neuron", "explain_a_layer"),
        ("project",),
        ("compare", "compare", "randomise"),
        ("train",),
        ("save",),
        ("copy",),
    ]
    end = time.monotonic() + SECONDS

    def run(names):
        while time.monotonic() < end:
            for name in names:
                try:
                    found = getattr(soak, name)()
                    for each, expected in zip(found or [], soak.expected.get(name, []), strict=True):
                        assert torch.equal(each, expected)
                    counts[name] += 1
                except CopyAgain:
                    counts["copy, again"] += 1
                except ModelError as error:
                    if "parameter randomisation that another thread runs" not in str(error):
                        faults.append((name, error))
                    counts[f"{name}, refused"] += 1
                    time.sleep(0.001)
                except BaseException as error:
                    faults.append((name, error))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    started = [threading.Thread(target=run, args=(names,), daemon=True) for names in threads]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(SECONDS + HANGS)
    sys.setswitchinterval(interval)
    if any(thread.is_alive() for thread in started):
        faulthandler.dump_traceback()
        pytest.fail("a thread hangs")
    print(dict(counts))
    print(len(faults), collections.Counter((name, repr(error)[:150]) for name, error in faults))
    assert faults == []
    assert counts["copy, again"] <= counts["copy"] / 100
    assert min(counts[name] for names in threads for name in names) > 0
    soak.net.zero_grad()
    after = everything(soak.net, soak.x)
    assert [fact for fact in before if before[fact] != after[fact]] == []
