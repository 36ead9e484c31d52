"""After any exit the model, the tensors and the other threads are as they were."""

import copy
import gc
import sys
import threading
from collections import OrderedDict, deque
from types import SimpleNamespace

import pytest
import torch
from nets import DIFFICULT, FunctionalRelu, PlainModules, SharedPoolAndConvolution, build
from oracle import project_class, relative_error
from state import snapshot
from torch import nn

from deconv_attr import (
    DECONVNET,
    DeconvError,
    LayerZFDeconv,
    NeuronZFDeconv,
    Switches,
    ZFDeconv,
    coverage,
    project,
    receptive_field,
)
from deconv_attr.engine.fingerprint import fingerprint_of, memory_of
from deconv_attr.engine.forward_pass import ForwardPass
from deconv_attr.engine.saved_tensors import SavedTensors
from deconv_attr.engine.signal_path import SignalPath

SHAPE = (2, 3, 9, 9)


def images(seed=0):
    torch.manual_seed(seed)
    return torch.randn(SHAPE, dtype=torch.float64)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", DIFFICULT, ids=lambda kind: kind.__name__)
def test_success_changes_nothing(kind, training):
    net, x = build(kind).train(training), images()
    net.head.weight.grad = torch.ones_like(net.head.weight)
    net.conv1.requires_grad_(False)
    before = snapshot(net, x)
    ZFDeconv(net).attribute(x, target=1)
    coverage(net, x)
    assert snapshot(net, x) == before


class Stopped(PlainModules):
    """Runs into an exception between two rectifiers."""

    error: BaseException = RuntimeError("in the middle")

    def features(self, x):
        h = self.relu(self.conv1(x))
        if self.error is not None:
            raise self.error
        return self.relu2(self.conv2(h))


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_failing_forward_changes_nothing(error):
    net, x = build(Stopped), images()
    net.error = error
    before = snapshot(net, x)
    with pytest.raises(type(error)):
        ZFDeconv(net).attribute(x, target=1)
    assert snapshot(net, x) == before
    net.error = None
    (expected,) = project_class(build(PlainModules), (x,), 1)
    assert relative_error(ZFDeconv(net).attribute(x, target=1), expected) < 1e-10


def test_an_interrupt_during_the_backward_pass_changes_nothing():
    net, x = build(PlainModules), images()

    def interrupt(signal):
        raise KeyboardInterrupt

    def forward(module, args, output):
        output.register_hook(interrupt)

    net.conv1.register_forward_hook(forward)
    before = snapshot(net, x)
    with pytest.raises(KeyboardInterrupt):
        ZFDeconv(net).attribute(x, target=1)
    assert snapshot(net, x) == before


def test_a_bad_target_changes_nothing():
    net, x = build(FunctionalRelu), images().requires_grad_()
    before = snapshot(net, x)
    with pytest.raises(DeconvError):
        ZFDeconv(net).attribute(x, target=99)
    assert snapshot(net, x) == before


def test_an_operation_without_a_rule_changes_nothing():
    net, x = build(FunctionalRelu), images()
    net.conv2 = nn.Sequential(net.conv2, nn.GELU())
    before = snapshot(net, x)
    with pytest.raises(DeconvError):
        ZFDeconv(net).attribute(x, target=1)
    assert snapshot(net, x) == before


def test_a_module_that_fails_inside_a_model_that_goes_on():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError

    class GoesOn(PlainModules):
        def __init__(self):
            super().__init__()
            self.fails = nn.Sequential(nn.ReLU(), Fails())

        def features(self, x):
            h = self.conv1(x)
            try:
                h = self.fails(h)
            except ValueError:
                h = self.relu(h)
            return self.relu2(self.conv2(h))

    class Outer(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return torch.add(self.net(x), 0)

    net, x = Outer(build(GoesOn)), images()
    before = snapshot(net, x)
    (expected,) = project_class(build(PlainModules), (x,), 1)
    found, report = ZFDeconv(net).attribute(x, target=1, return_coverage=True)
    assert relative_error(found, expected) < 1e-10
    assert snapshot(net, x) == before
    assert [call.path for call in report.calls][-2:] == ["net.head", ""]  # linear, add: the paths are right again


class Statistics(PlainModules):
    """Everything a forward pass may write: batch-norm statistics of each kind, a counter, a cache, an argument."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(12)
        self.cumulative = nn.BatchNorm2d(12, momentum=None)
        self.instance = nn.InstanceNorm2d(12, track_running_stats=True)
        self.register_buffer("runs", torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("average", torch.ones(2, 12))
        self.plain = torch.zeros(3)

    def forward(self, x, scale=None):
        self.runs += 1
        self.count = self.count + 1
        self.register_buffer("late", torch.zeros(1))
        self.plain.add_(1)
        if scale is not None:
            scale[1:].mul_(2)
        self.average.data.mul_(0.5).add_(1)
        self.average[0].add_(1)
        self.average.view(-1)[:2] = 7
        self.head.weight.data.clamp_(-1e-3, 1e-3)
        h = self.instance(self.cumulative(self.norm(self.conv1(x))))
        return self.head(self.relu2(self.conv2(self.relu(h))).mean((2, 3))) * self.runs


COPIES = {
    "copy": lambda net: copy.copy(net.first),
    "deepcopy": lambda net: copy.deepcopy(net.first),
    "fused": lambda net: torch.nn.utils.fuse_conv_bn_eval(net.first, net.norm),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_module_may_be_copied_while_it_runs_and_its_copy_is_free(name):
    made = []

    class Copying(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            made.append(COPIES[name](self))
            return self.last(made[-1](x).relu()).mean((2, 3))

    torch.manual_seed(0)
    net, x = Copying().double().eval(), images()
    attribution = ZFDeconv(net).attribute(x, target=1)
    factor = 1 / (1 + net.norm.eps) ** 0.5 if name == "fused" else 1.0
    same = nn.Sequential(net.first, nn.ReLU(), net.last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.testing.assert_close(attribution, factor * ZFDeconv(same).attribute(x, target=1))
    assert attribution.any()
    with SignalPath(net, DECONVNET) as path:  # the copies of an earlier pass take no part in this one
        path.run(lambda x: net(x) + 0 * made[0](x).mean((2, 3)), (x.clone().requires_grad_(),))
    leaf = x.clone().requires_grad_()
    assert all(each(leaf).grad_fn is not None for each in made)


class Diary(nn.Module):
    """Keeps what it computed: by size, in a queue between two layers, deeper down; and remembers where it is."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1)
        self.busy, self.ramps, self.queue, self.sizes = False, {}, [], set()
        self.deep = ({"all": [deque()]}, None)
        self.order, self.box = OrderedDict.fromkeys("abc"), SimpleNamespace(latest=None, all=[])

    def forward(self, x):
        assert not self.busy
        self.busy = True
        width = x.shape[-1]
        self.sizes.add(width)
        if width not in self.ramps:
            self.ramps[width] = torch.linspace(0, 1, width, dtype=x.dtype, device=x.device)
        h = self.first(x + self.ramps[width])
        self.queue.append(h)
        self.deep[0]["all"][0].append(h)
        self.deep[0][width] = h
        self.order["new"] = self.box.latest = h
        self.box.all.append(h)
        self.order.popitem(last=False)
        self.order.move_to_end("b")
        h = self.last(self.relu(h)) + self.queue.pop(0)
        self.busy, self.latest = False, h
        return h.mean((2, 3))


PASSES = {
    "from a score": lambda net, x: ZFDeconv(net).attribute(x, target=1),
    "coverage": lambda net, x: coverage(net, x),
    "a unit": lambda net, x: NeuronZFDeconv(net, "relu").attribute(x, 1),
    "at a layer": lambda net, x: LayerZFDeconv(net, "first").attribute(x, 1, from_layer="relu"),
    "projected": lambda net, x: project(net, x, "relu", [(0, 1), (1, 2)]),
    "projected, without a dry run": lambda net, x: project(hooked(net), x, "relu", [(0, 1), (1, 2)]),
    "receptive field": lambda net, x: receptive_field(net, "relu", x.shape),
}


def hooked(net):
    net.first.register_forward_hook(lambda module, args, output: None)
    return net


@pytest.mark.parametrize("name", PASSES)
def test_what_the_model_keeps_for_itself_is_as_it_was(name):
    torch.manual_seed(0)
    net, x = Diary().double(), images()
    net.queue.append(torch.zeros(1, 4, 9, 9, dtype=torch.float64))
    attributes, waiting = list(vars(net)), net.queue[0]
    PASSES[name](net, x)
    assert list(vars(net)) == attributes
    assert (net.busy, net.ramps, net.sizes, net.deep) == (False, {}, set(), ({"all": [deque()]}, None))
    assert list(net.order) == ["a", "b", "c"]
    assert net.box == SimpleNamespace(latest=None, all=[])
    assert len(net.queue) == 1
    assert net.queue[0] is waiting


def test_statistics_do_not_move_in_training_mode():
    net, x, scale = build(Statistics).train(), images(), torch.ones(3)
    before = snapshot(net, x, scale)
    ZFDeconv(net).attribute(x, target=1, additional_forward_args=scale)
    assert snapshot(net, x, scale) == before
    net(x, scale)
    assert snapshot(net, x, scale) != before


def test_what_it_wrote_by_one_view_it_reads_by_another():
    class Moves(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("factors", torch.ones(2, 2, dtype=torch.float64))

        def forward(self, x):
            self.factors[0].mul_(3)
            self.factors.data.view(-1)[3:] += 4
            return torch.relu(x) @ self.factors.T

    net, x = Moves(), torch.ones(1, 2, dtype=torch.float64)
    before = snapshot(net, x)
    assert ZFDeconv(net).attribute(x, target=0).tolist() == [[3, 3]]
    assert ZFDeconv(net).attribute(x, target=1).tolist() == [[1, 5]]
    assert snapshot(net, x) == before


def test_the_signal_passes_through_a_buffer_that_was_written():
    class Caches(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("cache", torch.zeros(1, 2, dtype=torch.float64))

        def forward(self, x):
            self.cache[:] = torch.relu(x)
            return self.cache * 2

    net, x = Caches(), torch.ones(1, 2, dtype=torch.float64)
    before = snapshot(net, x)
    assert ZFDeconv(net).attribute(x, target=1).tolist() == [[0, 2]]
    assert snapshot(net, x) == before


class Writer(nn.Module):
    """Writes on what it owns, then returns relu(x) times `factor`, shaped (N, 2)."""

    def __init__(self, write):
        super().__init__()
        self.write = write
        self.weight = nn.Parameter(torch.full((2,), 5.0, dtype=torch.float64))
        self.table = nn.Embedding(1, 2, max_norm=1.0, dtype=torch.float64)
        self.register_buffer("cache", torch.zeros(1, 2, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(2, dtype=torch.bool))
        self.plain = torch.zeros(1, 2, dtype=torch.float64)
        with torch.no_grad():
            self.table.weight.copy_(torch.tensor([[3.0, 4.0]]))

    def forward(self, x):
        return self.write(self, torch.relu(x))


def augmented_attribute(net, h):
    net.plain += h
    return net.plain


def augmented_mask(net, h):
    net.seen |= torch.ones(2, dtype=torch.bool)
    return h * net.seen


def assigned_data(net, h):
    net.weight.data = net.weight.data.clamp(max=2)
    return h * net.weight


def returned_buffer(net, h):
    net.cache[:] = h
    return net.cache


def renormalised_table(net, h):
    return h * net.table(torch.tensor([0]))


def many_at_once(net, h):
    torch._foreach_add_([net.cache, net.plain], 2.0)
    return h * net.cache


@pytest.mark.parametrize(
    ("write", "factors"),
    [
        (augmented_attribute, [1, 1]),
        (augmented_mask, [1, 1]),
        (assigned_data, [2, 2]),
        (returned_buffer, [1, 1]),
        (renormalised_table, [0.6, 0.8]),
        (many_at_once, [2, 2]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_way_to_write_goes_to_a_copy_which_is_read_again(write, factors):
    net, x = Writer(write), torch.ones(1, 2, dtype=torch.float64)
    before = snapshot(net, x)
    for target, factor in enumerate(factors):
        assert ZFDeconv(net).attribute(x, target=target)[0, target].item() == pytest.approx(factor, rel=1e-6)
    assert snapshot(net, x) == before


def test_a_layer_is_read_in_our_own_thread_only():
    net, x = build(PlainModules), images()
    expected = LayerZFDeconv(net, net.conv1).attribute(x, target=1)
    y, failures, done = images(1), [], threading.Event()

    def run():
        while not done.is_set():
            try:
                net(y)
            except BaseException as error:
                failures.append(error)

    other = threading.Thread(target=run)
    other.start()
    try:
        for _ in range(40):
            assert torch.equal(LayerZFDeconv(net, net.conv1).attribute(x, target=1), expected)
            found = LayerZFDeconv(net, net.relu).attribute(x, target=1, attribute_to_layer_input=True)
            assert torch.equal(found, expected)
    finally:
        done.set()
        other.join()
    assert failures == []


def test_what_the_model_wrote_it_reads_again():
    """`runs` is 1 within the pass, as in a run without us: the map is scaled by it."""
    net, x = build(Statistics).eval(), images()
    map_at_one = ZFDeconv(net).attribute(x, target=1)
    net.runs.fill_(2)
    assert relative_error(ZFDeconv(net).attribute(x, target=1), 3 * map_at_one) < 1e-12


def test_training_mode_scales_by_the_batch_statistics():
    norm = nn.BatchNorm2d(2).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 3.0]))
    net = nn.Sequential(nn.ReLU(), norm, nn.Flatten()).double().train()
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    variance = x.clamp(min=0).var((0, 2, 3), correction=0)
    expected = torch.zeros(4, 2, 9, dtype=torch.float64)
    expected[:, 1, 4] = 3 / torch.sqrt(variance[1] + norm.eps)
    assert torch.allclose(ZFDeconv(net).attribute(x, target=13), expected.view_as(x), rtol=1e-12)


@pytest.mark.parametrize(("choice", "factor"), [("scale", 3 / 2), ("pass through", 1.0), ("gradient", 3 / 2)])
def test_batch_norm_by_choice(choice, factor):
    norm = nn.BatchNorm1d(1, eps=0).double().eval()
    with torch.no_grad():
        norm.weight.fill_(3)
        norm.running_var.fill_(4)
    net = nn.Sequential(nn.ReLU(), norm)
    found = ZFDeconv(net, batch_norm=choice).attribute(torch.ones(1, 1, dtype=torch.float64), target=0)
    assert found.item() == pytest.approx(factor, rel=1e-12)


def test_other_hooks_stay_and_see_the_signal():
    net, x = build(PlainModules), images()
    seen = []
    net.relu.register_forward_pre_hook(lambda module, args: seen.append("before"))
    net.relu.register_forward_hook(lambda module, args, output: seen.append(output.requires_grad))
    net.head.register_full_backward_hook(lambda module, below, above: seen.append("back"))
    before = snapshot(net, x)
    (expected,) = project_class(build(PlainModules), (x,), 1)
    assert relative_error(ZFDeconv(net).attribute(x, target=1), expected) < 1e-10
    assert seen == ["before", True, "back"]
    assert snapshot(net, x) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_grad_mode_does_not_matter_and_stays(mode):
    net = build(PlainModules)
    with mode():
        x = images()
        before = snapshot(net, x)
        found = ZFDeconv(net).attribute(x, target=1)
        assert snapshot(net, x) == before
    assert relative_error(found, project_class(net, (images(),), 1)[0]) < 1e-10


@pytest.mark.parametrize("large", [0, 10**9], ids=["packed", "not packed"])
def test_nothing_is_kept_alive(large, monkeypatch):
    """The graph, its switches and activations go with the call, without waiting for the garbage collector."""

    def living():
        return [o for o in gc.get_objects() if type(o) in (SignalPath, Switches, ForwardPass, SavedTensors)]

    monkeypatch.setattr("deconv_attr.engine.forward_pass.LARGE", large)
    net, x = build(SharedPoolAndConvolution), images()
    gc.collect()
    gc.disable()
    before = len(living())  # pytest may hold some of another test's error
    try:
        ZFDeconv(net).attribute(x, target=1)
        with pytest.raises(DeconvError):
            ZFDeconv(net).attribute(x, target=99)
        assert len(living()) == before
    finally:
        gc.enable()


def test_two_threads_explain_and_run_one_model_at_once():
    net = build(FunctionalRelu)
    net.pool, net.extra = nn.MaxPool2d(2), nn.ReLU(inplace=True)
    net.head = nn.Sequential(net.extra, net.head)
    inputs = [images(seed) for seed in range(4)]
    expected = [ZFDeconv(net).attribute(x, target=1) for x in inputs]
    leaf = [x.clone().requires_grad_() for x in inputs]
    outputs = [net(x) for x in leaf]
    gradients = [torch.autograd.grad(y[:, 1].sum(), x)[0] for x, y in zip(leaf, outputs, strict=True)]
    before = snapshot(net)
    failures = []

    def repeatedly(work):
        def loop():
            try:
                for _ in range(25):
                    work()
            except BaseException as error:
                failures.append(error)

        return threading.Thread(target=loop)

    def explain(i):
        assert torch.equal(ZFDeconv(net).attribute(inputs[i], target=1), expected[i])

    def run(i):
        x = inputs[i].clone().requires_grad_()
        y = net(x)
        assert torch.equal(y, outputs[i])
        assert torch.equal(torch.autograd.grad(y[:, 1].sum(), x)[0], gradients[i])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [repeatedly(lambda i=i, work=work: work(i)) for i, work in enumerate([explain, explain, run, run])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    assert snapshot(net) == before


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
def test_a_compiled_model_runs_eagerly_and_right():
    net, x = build(FunctionalRelu), images()
    expected = ZFDeconv(net).attribute(x, target=1)
    compiled = torch.compile(net, backend="eager")
    assert torch.equal(ZFDeconv(compiled).attribute(x, target=1), expected)
    compiled(x)  # and it still compiles
    assert torch.equal(ZFDeconv(compiled).attribute(x, target=1), expected)
    inside = build(FunctionalRelu)
    inside.conv2.compile(backend="eager")
    assert torch.equal(ZFDeconv(inside).attribute(x, target=1), expected)


def test_nothing_pins_the_memory_of_parameters():
    """``tensor.numpy()`` does: the memory cannot be resized any more, which who shards parameters has to do."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Weighed(), nn.ReLU()).eval()
    fingerprint_of(net)
    project(net, torch.rand(2, 3, 16, 16), "3", [(0, 1)])
    assert all(parameter.untyped_storage().resizable() for parameter in net.parameters())
    image = torch.rand(3, 8, 8)
    memory_of(image)
    assert image.untyped_storage().resizable()


class Weighed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4))

    def forward(self, x):
        return x * self.weight[:, None, None]


class Marked(nn.Module):
    """Has one attribute, by a name of its own; while it runs, it exchanges and renames what it has."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        setattr(self, name, name)
        self.register_buffer("table", torch.ones(1))

    def forward(self, x):
        setattr(self, self.name, x)
        del self.table
        self.register_buffer("other", x)
        self.weight = nn.Parameter(torch.ones(1))
        del self.name
        self.renamed = "renamed"
        return torch.relu(x)


def test_modules_of_one_type_with_attributes_of_other_names():
    net, x = nn.Sequential(Marked("one"), Marked("two"), nn.Flatten()), torch.rand(2, 3)
    before = [(vars(module).copy(), module._buffers.copy()) for module in net[:2]]
    for _ in range(2):
        ZFDeconv(net).attribute(x, target=1)
        for module, (attributes, buffers) in zip(net[:2], before, strict=True):
            assert vars(module).keys() == attributes.keys()
            assert all(vars(module)[name] is value for name, value in attributes.items())
            assert list(module._buffers) == ["table"]
            assert module._buffers["table"] is buffers["table"]
            assert not module._parameters


def test_the_mode_of_a_module_is_put_back():
    class Switching(nn.Module):
        def forward(self, x):
            self.train(not self.training)
            return torch.relu(x)

    net = nn.Sequential(Switching(), nn.Dropout(), nn.Flatten()).eval()
    ZFDeconv(net).attribute(torch.rand(2, 3), target=1)
    assert not any(module.training for module in net.modules())
