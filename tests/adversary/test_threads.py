"""Threads that overlap on one model, at the worst moment: each waits until the other is where it does most harm.

A thread that waits for another sleeps; the tests are told so, and let the other go on. So nothing here is left to luck.
"""

import copy
import threading
import time
import warnings
from types import SimpleNamespace

import pytest
import torch
from nets import Remembering
from state import snapshot
from striking import NOTED
from torch import nn

from deconv_attr import Method, ZFDeconv, compare, project, strongest
from deconv_attr.engine import threads
from deconv_attr.engine.undo import Undo
from deconv_attr.errors import ModelError
from deconv_attr.evidence import parameter_randomisation, sensitivity_max
from deconv_attr.visualize.files import atomic_write

TIMEOUT = 60  # seconds, after which a test fails
TARGET = torch.tensor([0, 1])


class Net(Remembering):
    """It keeps a list, too, counts its runs by other tensors, and calls what `AT` has in the midst of them."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.runs = self.runs + 1
        self.last = h = self.body(x)
        self.seen.append(h)
        AT.get(threading.current_thread().name, lambda: None)()
        return self.head(h.mean((2, 3)))


AT = {}  # by the name of a thread


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net().double().eval()
    nn.init.ones_(net.body[1].bias)  # so that no unit is dead
    return net


@pytest.fixture
def x():
    return torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def waits(monkeypatch):
    """Return an event that is set when a thread waits for another."""
    event = threading.Event()

    def told(seconds):
        event.set()
        time.sleep(seconds)

    monkeypatch.setattr(threads, "time", SimpleNamespace(sleep=told))  # no one else's sleep
    return event


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    AT.clear()
    assert [held for held in NOTED if held] == []


def together(**works):
    """Run functions in threads of these names, and return what each returned or raised."""
    found = {}

    def run(name, work):
        try:
            found[name] = work()
        except BaseException as error:
            found[name] = error

    started = [threading.Thread(target=run, args=each, name=each[0], daemon=True) for each in works.items()]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    return found


def wait(event):
    assert event.wait(TIMEOUT)


def deconvnet(model, inputs, target):
    return ZFDeconv(model).attribute(inputs, target)


class Overlapping:
    """A method for thread `first`, which ends when `second` is there, too, or waits; and one for that, which ends last.

    `inside` is asked whether a call of the first is the one to stop at.
    """

    def __init__(self, waits, inside):
        self._inside, self._second_is_there = inside, waits
        self.first_is_there, self.first_ended = threading.Event(), threading.Event()

    def first(self, model, inputs, target):
        if self._inside(model) and not self.first_is_there.is_set():
            self.first_is_there.set()
            wait(self._second_is_there)
        return deconvnet(model, inputs, target)

    def second(self, model, inputs, target):
        if not self._second_is_there.is_set():  # it has not waited: the worst case
            self._second_is_there.set()
            wait(self.first_ended)
        return deconvnet(model, inputs, target)

    def run(self, call_first, call_second):
        def first():
            try:
                return call_first(self.first)
            finally:
                self.first_ended.set()

        def second():
            wait(self.first_is_there)
            return call_second(self.second)

        found = together(first=first, second=second)
        assert not [each for each in found.values() if isinstance(each, BaseException)], found
        return found


def test_two_randomisations_leave_the_models_own_weights(net, x, waits):
    own, before, filters = net.head.weight.clone(), snapshot(net, x), list(warnings.filters)
    maps = deconvnet(net, x, TARGET)

    def randomise(method):
        return parameter_randomisation(net, method, x, TARGET, maps=maps, draws=1)

    alone = randomise(deconvnet)
    found = Overlapping(waits, lambda model: not torch.equal(model.head.weight, own)).run(randomise, randomise)
    assert snapshot(net, x) == before
    assert warnings.filters == filters
    for each in found.values():
        assert torch.equal(each.signed, alone.signed)


def test_two_comparisons_leave_the_models_own_modes_and_generators(net, x, waits):
    net.train()
    before, random = snapshot(net, x), torch.get_rng_state()

    def run(method):
        return compare(net, x, 0, {"a": method})

    alone = run(deconvnet)
    found = Overlapping(waits, lambda model: True).run(run, run)
    assert snapshot(net, x) == before
    assert torch.equal(torch.get_rng_state(), random)
    for each in found.values():
        assert torch.equal(each.attributions["a"], alone.attributions["a"])


def test_two_methods_of_different_models_have_the_same_random_numbers_each(net, x, waits):
    other = copy.deepcopy(net)

    def noisy(act):
        def explain(model, inputs, target):
            first = torch.rand(())
            act(model, inputs, target)
            return deconvnet(model, inputs, target) * first * torch.rand(())

        return explain

    alone = Method(noisy(deconvnet))(net, x, TARGET)
    found = Overlapping(waits, lambda model: True).run(
        lambda method: Method(noisy(method))(net, x, TARGET), lambda method: Method(noisy(method))(other, x, TARGET)
    )
    assert torch.equal(found["first"], alone)


def test_filters_of_warnings_are_put_back_by_two_threads(net, x, waits):
    filters, shown = list(warnings.filters), warnings.showwarning

    def run(method):
        return sensitivity_max(net, method, x, TARGET, samples=1)

    Overlapping(waits, lambda model: True).run(run, run)
    assert warnings.filters == filters
    assert warnings.showwarning is shown


EXPLAIN = {
    "ZFDeconv": lambda net, x: ZFDeconv(net).attribute(x, TARGET),
    "ZFDeconv of a part": lambda net, x: ZFDeconv(net.body).attribute(x, (0, 0, 0)),
    "project": lambda net, x: project(net, x, "body.2", [(0, 0)]),
    "strongest": lambda net, x: strongest(net, x, "body.2", 1),
}


@pytest.mark.parametrize("explain", EXPLAIN.values(), ids=EXPLAIN)
def test_random_weights_are_not_explained_in_another_thread(explain, net, x):
    own, unlike, refused = net.head.weight.clone(), copy.deepcopy(net), []

    def method(model, inputs, target):
        if not torch.equal(model.head.weight, own) and not refused:
            refused.append(together(other=lambda: explain(net, x))["other"])
            refused.append(together(other=lambda: explain(unlike, x))["other"])
        return deconvnet(model, inputs, target)

    parameter_randomisation(net, method, x, TARGET, draws=1)
    assert isinstance(refused[0], ModelError)
    assert "expected the model with its own weights, got those of a parameter randomisation" in str(refused[0])
    assert not isinstance(refused[1], BaseException)
    explain(net, x)


def test_a_map_that_another_thread_has_begun_is_of_the_models_own_weights(net, x, waits):
    expected, inside = ZFDeconv(net).attribute(x, TARGET), threading.Event()

    def stop():
        inside.set()
        wait(waits)

    def randomised(model, inputs, target):
        waits.set()  # it has not waited: the worst case
        return deconvnet(model, inputs, target)

    def randomise():
        wait(inside)
        return parameter_randomisation(net, randomised, x, TARGET, maps=expected, draws=1)

    AT["explain"] = stop
    found = together(explain=lambda: ZFDeconv(net).attribute(x, TARGET), randomise=randomise)
    assert torch.equal(found["explain"], expected)
    assert not isinstance(found["randomise"], BaseException)


@pytest.mark.parametrize("explain", ["ZFDeconv", "project", "strongest"])
def test_what_two_overlapping_passes_assign_is_put_back(explain, net, x):
    before = snapshot(net, x)
    first_is_there, second_is_there, first_ended = (threading.Event() for _ in range(3))

    def first():
        EXPLAIN[explain](net, x)
        first_ended.set()

    def second():
        wait(first_is_there)
        EXPLAIN[explain](net, x)

    def stop_first():
        first_is_there.set()
        wait(second_is_there)

    def stop_second():
        second_is_there.set()
        wait(first_ended)

    AT.update(first=stop_first, second=stop_second)
    found = together(first=first, second=second)
    assert not [each for each in found.values() if isinstance(each, BaseException)], found
    assert snapshot(net, x) == before


def test_compiled_parts_run_eagerly_until_the_last_pass_has_ended(net, x):
    frames = pytest.importorskip("torch._dynamo.eval_frame")
    net.body.compile(backend="eager")
    first_is_there, second_is_there, first_ended = (threading.Event() for _ in range(3))
    stances = []

    def first():
        ZFDeconv(net).attribute(x, TARGET)
        stances.append(frames._stance.stance)
        first_ended.set()

    def second():
        wait(first_is_there)
        ZFDeconv(net).attribute(x, TARGET)

    AT["first"] = lambda: (first_is_there.set(), wait(second_is_there))
    AT["second"] = lambda: (second_is_there.set(), wait(first_ended))
    found = together(first=first, second=second)
    assert found == {"first": None, "second": None}
    assert [*stances, frames._stance.stance] == ["force_eager", "default"]


def test_two_threads_that_write_one_file_leave_it_whole(tmp_path):
    begun, second_ended = threading.Event(), threading.Event()

    def write_slowly(file):
        file.write(b"first, ")
        file.flush()
        begun.set()
        wait(second_ended)
        file.write(b"whole")

    def second():
        wait(begun)
        try:
            atomic_write(tmp_path / "a", b"second")
            return (tmp_path / "a").read_bytes()
        finally:
            second_ended.set()

    found = together(first=lambda: atomic_write(tmp_path / "a", write_slowly), second=second)
    assert found == {"first": None, "second": b"second"}
    assert (tmp_path / "a").read_bytes() == b"first, whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


WAITING = {"run_alone": threads.run_alone, "replace_weights": lambda undo: threads.replace_weights([], undo)}


@pytest.mark.parametrize("wait", WAITING.values(), ids=WAITING)
def test_ctrl_c_while_a_thread_waits_takes_nothing_from_the_other(wait, monkeypatch):
    undo, other = Undo(), Undo()
    with undo, undo:
        together(other=lambda: threads.run_alone(other))
        (owner,) = threads._RUNNING_ALONE.values()

        def press(seconds):
            raise KeyboardInterrupt

        monkeypatch.setattr(threads, "time", SimpleNamespace(sleep=press))
        with pytest.raises(KeyboardInterrupt), undo, undo:
            wait(undo)
        assert [*threads._RUNNING_ALONE.values()] == [owner]
        with other:
            pass
    assert threads._RUNNING_ALONE == {}


def test_a_thread_that_runs_alone_may_do_so_again_within(net, x):
    def nested(model, inputs, target):
        return compare(model, inputs, 0, {"inner": deconvnet}).attributions["inner"]

    expected = ZFDeconv(net).attribute(x, 0)
    assert torch.equal(compare(net, x, 0, {"outer": nested}).attributions["outer"], expected)
