"""Ctrl-C outside of the engine, too, leaves model, thread, process and files as promised, at every line of ours.

In the suite it strikes at some lines of each call, spread over all; ``EVERY_LINE=1`` takes each of them.
"""

import gc

import matplotlib.pyplot as plt
import pytest
import torch
from captum.attr import GuidedBackprop
from nets import Remembering
from striking import everything, strike

from deconv_attr import (
    Gallery,
    Strongest,
    ZFDeconv,
    compare,
    evolution,
    project,
    receptive_field,
    strongest,
)
from deconv_attr.evidence import faithfulness, parameter_randomisation
from deconv_attr.units.receptive_fields import layer_fields
from deconv_attr.visualize.files import save_figure

# A file that is struck as it is closed is closed with the traceback; it is removed all the same.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
LAYER = "body.2"
UNITS = [(0, 0), (1, 0)]
ZEROS = torch.zeros(2, dtype=torch.long)


@pytest.fixture(scope="module", autouse=True)
def closed_here():
    """Have such files closed before another module's tests run, in which the warning of it would be an error."""
    yield
    gc.collect()


class Files:
    """A folder, and what a call may have made of it when it was interrupted: the old files, or the new."""

    def __init__(self, folder, old):
        self.folder, self.old, self.seen = folder, old, {}
        self.prepare()

    def prepare(self):
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for name, content in self.old.items():
            (self.folder / name).write_bytes(content)

    def broken(self):
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        found, new = {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}, self.seen
        if not new:  # the first call, which nothing interrupts
            self.seen = found
        self.prepare()
        return [
            f"{name} is neither old nor new"
            for name, content in found.items()
            if new and content not in (self.old.get(name), new.get(name)) and not is_whole_page(content)
        ]


def is_whole_page(content):  # in which the time is another each time
    return content.startswith(b"<!doctype html>") and content.rstrip().endswith(b"</html>")


def built(training=False):
    torch.manual_seed(0)
    net = Remembering().double()
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
        net.body[1].bias.fill_(1)  # so that no unit is dead
    return net.train(training)


def images(count=2):
    return torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def deconvnet(model, inputs, target):
    return ZFDeconv(model).attribute(inputs, target)


METHODS = {"deconvnet": deconvnet}


class CheckSeveralTimes:
    """A comparison's checks, as if it was new each time."""

    def __init__(self, net, names):
        self.comparison, self.names = compare(net, images(), 0, METHODS), names

    def __call__(self):
        self.comparison._findings._found.clear()
        self.comparison._shared.clear()
        self.comparison._known_scores = None
        self.comparison.table(self.names)


def page_of_a_comparison(net, x, folder):
    comparison = compare(net, x, 0, METHODS)
    return lambda: comparison.to_html(folder / "a.html", checks=["deletion"])


def page_of_a_gallery(net, x, folder):
    gallery = Gallery(net, x, strongest(net, x, LAYER, 2))
    return lambda: gallery.to_html(folder)


def saved_search(net, x, folder):
    found = strongest(net, x, LAYER, 2)
    return lambda: found.save(folder / "a.npz")


def saved_figure(net, x, folder):
    figure = plt.Figure(figsize=(0.5, 0.5))
    figure.text(0, 0, "a")
    return lambda: save_figure(figure, folder / "a.png")


CALLS = {
    "project": lambda net, x, _: lambda: project(net, x, LAYER, UNITS),
    "receptive_field": lambda net, x, _: lambda: receptive_field(net, LAYER, x.shape),
    "layer_fields": lambda net, x, _: lambda: layer_fields(net, x.shape),
    "strongest": lambda net, x, _: lambda: strongest(net, x, LAYER, 2),
    "Gallery": lambda net, x, _: lambda: Gallery(net, x, strongest(net, x, LAYER, 2)).plot(LAYER),
    "evolution": lambda net, x, _: lambda: evolution(net, {"now": net.state_dict()}, x, LAYER, [0]),
    "parameter_randomisation": lambda net, x, _: lambda: parameter_randomisation(net, deconvnet, x, ZEROS, draws=1),
    "compare": lambda net, x, _: lambda: compare(net, x, 0, {**METHODS, "guided": GuidedBackprop(net)}),
    "randomisation": lambda net, x, _: CheckSeveralTimes(net, ["parameter randomisation"]),
    "deletion and insertion": lambda net, x, _: CheckSeveralTimes(net, ["deletion", "insertion"]),
    "infidelity": lambda net, x, _: CheckSeveralTimes(net, ["infidelity"]),
    "Comparison.to_html": page_of_a_comparison,
    "Gallery.to_html": page_of_a_gallery,
    "save_figure": saved_figure,
    "Strongest.save": saved_search,
}
IN_TRAINING = ("parameter_randomisation", "compare", "infidelity")  # which run in eval mode, whatever the caller's


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupt_at_any_line_leaves_nothing(call, tmp_path, monkeypatch):
    monkeypatch.setattr(faithfulness, "STEPS", 3)  # a step is like the other
    net, x = built(call in IN_TRAINING), images()
    files = Files(tmp_path, {"a.html": b"old", "a.png": b"old", "a.npz": b"old"})

    def facts():  # of a method that is not ours the numbers that it wrote are written back
        return {name: fact for name, fact in everything(net, x).items() if name != "model._buffers.runs: writes"}

    found = strike(CALLS[call](net, x, tmp_path), facts, 15, files.broken)
    print(f"{call}: {found}")
    assert found.strikes > 15
    assert found.faults == []


def test_an_interrupted_search_leaves_a_file_or_what_it_can_be_resumed_from(tmp_path):
    net, x, file = built(), images(4), tmp_path / "a.npz"
    whole = strongest(net, x, LAYER, 2)
    whole.save(tmp_path / "whole")
    expected = (tmp_path / "whole").read_bytes()

    def broken():
        left = {path.name for path in tmp_path.iterdir()} - {"whole"}
        wrong = sorted(left - {"a.npz", "a.npz.part0"})
        for part in tmp_path.glob("*.part0"):
            Strongest.load(part)
        if file.exists() and file.read_bytes() != expected:
            wrong.append("the file is not whole")
        strongest(net, x, LAYER, 2, file=file, resume=True)
        if file.read_bytes() != expected or list(tmp_path.glob("*.part*")):
            wrong.append("resumed, it is another file")
        file.unlink()
        return wrong

    found = strike(
        lambda: strongest(net, x, LAYER, 2, file=file, checkpoint_every=0), lambda: everything(net, x), 30, broken
    )
    print(found)
    assert found.strikes > 30
    assert found.faults == []
