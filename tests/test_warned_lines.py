"""Warnings name the user's line, however many lines of ours, of Captum's and of torch's are between."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from captum.attr import NoiseTunnel
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

import deconv_attr
from deconv_attr import (
    DeadSignalWarning,
    Gallery,
    LayerZFDeconv,
    NeuronZFDeconv,
    RandomModelWarning,
    ZFDeconv,
    compare,
    evolution,
    project,
    strongest,
)
from deconv_attr.errors import SkippedImagesWarning

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def dying():
    """A model of two maps and classes that are active, and whose signals are rectified away at the first ReLU."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    with torch.no_grad():
        for layer in (net[2], net[5]):
            layer.weight.abs_()
        net[2].weight.neg_()
        net[2].bias.fill_(9)
    return net.eval()


def random():
    return nn.Sequential(nn.Dropout(0.5), dying()).train()


def gallery():
    return Gallery(dying(), IMAGES, strongest(dying(), IMAGES, ["3"], 1), picture=torch.sigmoid)


def own(model, inputs, target):
    return ZFDeconv(nn.Sequential(Draws(), model)).attribute(inputs, target)


class Draws(nn.Module):
    def forward(self, x):
        return x + 0 * torch.rand(1)


class Damaged(Dataset):
    """Images of which one cannot be read."""

    def __len__(self):
        return 3

    def __getitem__(self, number):
        if number == 1:
            raise OSError("truncated")
        return IMAGES[number]


# Each on one line, which is the line to be named.
DEAD = {
    "attribute": lambda: ZFDeconv(dying()).attribute(IMAGES, 1),
    "attribute in parts": lambda: ZFDeconv(dying()).attribute(IMAGES, 1, internal_batch_size=2),
    "attribute_targets": lambda: ZFDeconv(dying()).attribute_targets(IMAGES, [0, 1]),
    "NeuronZFDeconv": lambda: NeuronZFDeconv(dying(), "3").attribute(IMAGES, 1),
    "LayerZFDeconv": lambda: LayerZFDeconv(dying(), "0").attribute(IMAGES, 1),
    "several layers": lambda: LayerZFDeconv(dying(), ["0", "1"]).attribute(IMAGES, 1, from_layer="3"),
    "NoiseTunnel": lambda: NoiseTunnel(ZFDeconv(dying())).attribute(IMAGES, nt_samples=2, target=1),
    "project": lambda: project(dying(), IMAGES, "3", [(0, 1), (1, 0)]),
    "Gallery.plot": lambda: gallery().plot("3"),
    "Gallery.tiles": lambda: list(gallery().tiles("3")),
    "tiles in a bar": lambda: list(tqdm(gallery().tiles("3"), disable=True)),
    "evolution": lambda: evolution(dying(), {"a": dying()}, IMAGES, "3", 2),
    "compare": lambda: compare(dying(), IMAGES, 1, show_progress=False),
}
RANDOM = {
    "attribute": lambda: ZFDeconv(random()).attribute(IMAGES, 1),
    "attribute_targets": lambda: ZFDeconv(random()).attribute_targets(IMAGES, [0, 1]),
    "NoiseTunnel": lambda: NoiseTunnel(ZFDeconv(random())).attribute(IMAGES, nt_samples=2, target=1),
}


def heard(function, category):
    """The warnings of a category that a function issues, as file and line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return {(each.filename, each.lineno) for each in caught if issubclass(each.category, category)}


def line_of(function):
    return {(__file__, function.__code__.co_firstlineno)}


@pytest.mark.parametrize("call", DEAD)
def test_a_dead_signal_is_announced_at_the_line_of_the_call(call):
    assert heard(DEAD[call], DeadSignalWarning) == line_of(DEAD[call])


@pytest.mark.parametrize("call", RANDOM)
def test_a_random_model_is_announced_at_the_line_of_the_call(call):
    assert heard(RANDOM[call], RandomModelWarning) == line_of(RANDOM[call])


def test_skipped_images_are_announced_at_the_line_of_the_search():
    def search():
        strongest(dying(), Damaged(), ["1"], 1)

    ((file, line),) = heard(search, SkippedImagesWarning)
    assert (file, line) == (__file__, search.__code__.co_firstlineno + 1)


def test_a_generator_names_the_line_that_iterates():
    def iterate():
        tiles = gallery().tiles("3")
        next(tiles)

    ((file, line),) = heard(iterate, DeadSignalWarning)
    assert (file, line) == (__file__, iterate.__code__.co_firstlineno + 2)


def test_a_function_that_is_compared_is_the_users():
    found = heard(lambda: compare(dying(), IMAGES, 1, [own], show_progress=False), RandomModelWarning)
    assert found == {(__file__, own.__code__.co_firstlineno + 1)}


def test_a_line_warns_once_by_default():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            ZFDeconv(dying()).attribute(IMAGES, 1)
    assert len(caught) == 1


def test_filters_see_the_module_of_the_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module=__name__)
        ZFDeconv(dying()).attribute(IMAGES, 1)
    assert caught == []


def test_code_without_a_module_of_its_own_has_a_line_too():
    code = compile("\n\nZFDeconv(model).attribute(x, 1)", "<cell>", "exec")
    names = {"ZFDeconv": ZFDeconv, "model": dying(), "x": IMAGES}
    assert heard(lambda: exec(code, names), DeadSignalWarning) == {("<cell>", 3)}


def test_an_interactive_session_is_warned_too():
    program = "from deconv_attr.engine.call_site import warn_caller\nwarn_caller(UserWarning('hello'))"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "<string>:2: UserWarning: hello" in run.stderr


def test_no_level_is_counted():
    files = Path(deconv_attr.__file__).parent.rglob("*.py")
    assert [file.name for file in files if "stacklevel" in file.read_text()] == []
