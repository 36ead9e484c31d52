"""The commands ``deconv-attr project`` and ``deconv-attr layers``."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from deconv_attr import NeuronZFDeconv, receptive_field
from deconv_attr.cli import main
from deconv_attr.cli import project as command
from deconv_attr.demo import embedded_images, load_model

NETS = """
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 27 * 27, 3))

def gelu():
    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.GELU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 53 * 53, 3))

class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(self.relu(self.conv(self.relu(self.conv(x)))).mean((2, 3)))

class Odd(nn.Module):
    def __init__(self, do):
        super().__init__()
        self.conv, self.do = nn.Conv2d(3, 3, 3), do

    def forward(self, x):
        self.do(x)
        return self.conv(x).relu().mean((2, 3))

def refuse(x):
    assert x.shape[2] == 32, "wrong height"

def asserts():
    return Odd(refuse)

def asks():
    return Odd(lambda x: {}[float(x[0, 0, 0, 0])])

def looks():
    return Odd(lambda x: float(x[0, 0, 0, 0]))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project_nets.py").write_text(NETS)
    pixels = np.random.default_rng(0).integers(0, 256, (256, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """What the command hands to the drawing."""
    seen = []

    def keep(*given, **options):
        seen.append((given, options))
        return Figure()

    monkeypatch.setattr(command, "projections_figure", keep)
    return seen


def said(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_without_arguments_it_draws_the_embedded_model(here, capsys):
    out = said(capsys, "project")
    assert "wrote project.png" in out
    with Image.open(here / "project.png") as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").getcolors(maxcolors=2**24)) > 1000


def test_it_draws_the_strongest_unit_of_each_map_in_each_image(here, drawn, capsys):
    out = said(capsys, "project", "--layer", "features.5", "--map", "3", "20", "--shared-scale")
    ((projections, images, boxes, labels), options) = drawn[0]
    pictures, names = embedded_images()
    assert options == {"shared_scale": True}
    assert len(projections) == len(images) == len(boxes) == len(labels) == 2 * len(pictures)
    x = pictures * 4 - 2
    for number, (feature_map, image) in enumerate((m, i) for m in (3, 20) for i in range(len(pictures))):
        expected = NeuronZFDeconv(load_model(), "features.5").attribute(
            x[image : image + 1], feature_map, start="activation"
        )
        top, left, bottom, right = boxes[number].tolist()
        torch.testing.assert_close(projections[number], expected[0, :, top:bottom, left:right], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(images[number], pictures[image], rtol=0, atol=1e-6)
        assert re.fullmatch(rf"map {feature_map} at \d+, \d+\nactivation [\d.]+", labels[number])
        assert names[image] in out


@pytest.mark.parametrize("spelling", ["--map", "--maps"])
def test_maps_are_listed_by_number_and_range(here, drawn, capsys, spelling):
    said(capsys, "project", "--image", "a.png", "--layer", "features.5", spelling, "7", "3-5", "4", "7-7")
    ((_, _, _, labels), _) = drawn[0]
    assert [label.split(" at ")[0] for label in labels] == ["map 7", "map 3", "map 4", "map 5"]


def test_a_position_names_the_unit_itself(here, drawn, capsys):
    said(capsys, "project", "--layer", "features.9", "--map", "7", "--position", "2", "11")
    ((_, _, boxes, labels), _) = drawn[0]
    field = receptive_field(load_model(), "features.9", (3, 96, 96))
    assert all(tuple(box.tolist()) == field.box(2, 11) for box in boxes)
    assert all(label.startswith("map 7 at 2, 11") for label in labels)


def test_it_serves_a_model_and_photographs_of_the_users(here, drawn, capsys):
    arguments = ["--model", "project_nets:plain", "--image", "a.png", "--layer", "1", "--map", "0", "2"]
    out = said(capsys, "project", *arguments, "--output", "mine.png")
    assert "as the factory made it" in out
    assert (here / "mine.png").exists()
    ((_, _, boxes, _), _) = drawn[0]
    assert [(box[2] - box[0], box[3] - box[1]) for box in boxes.tolist()] == [(5, 5), (5, 5)]


def test_a_choice_serves_activations_without_a_rule(here, drawn, capsys):
    arguments = ["--model", "project_nets:gelu", "--image", "a.png", "--layer", "2", "--map", "0"]
    assert "no rule for 'gelu'" in refused(capsys, "project", *arguments)
    said(capsys, "project", *arguments, "--activations", "rectify")


@pytest.mark.parametrize("kind", ["asserts", "asks"])
def test_an_error_of_the_model_s_own_is_one_sentence(here, drawn, capsys, kind):
    error = refused(
        capsys, "project", "--model", f"project_nets:{kind}", "--image", "a.png", "--layer", "conv", "--map", "0"
    )
    assert f"project_nets:{kind} raised" in error
    assert drawn == []


def test_layers_of_a_model_that_does_not_run_dry_are_listed_without_fields(here, capsys):
    rows = [line.split() for line in said(capsys, "layers", "--model", "project_nets:looks").splitlines()[4:]]
    assert rows == [
        ["name", "type", "output", "receptive", "field", "stride"],
        ["conv", "Conv2d", "3x222x222", "-", "-"],
    ]


def command_line(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "deconv_attr", *arguments], stderr=subprocess.PIPE, **options)


def test_a_reader_who_leaves_early_sees_no_traceback():
    with command_line("layers", stdout=subprocess.PIPE) as run:
        run.stdout.close()
        assert run.stderr.read() == b""
        assert run.wait(120) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence():
    with open("/dev/full", "w") as full, command_line("layers", stdout=full) as run:
        assert run.stderr.read() == b"error: cannot write to stdout: No space left on device\n"
        assert run.wait(120) == 1


BAD = {
    "a model without a layer": (
        ["--model", "project_nets:plain", "--image", "a.png"],
        "expected --layer and --map with --model project_nets:plain",
    ),
    "a layer without a map": (["--layer", "features.5"], "expected --map with --layer features.5"),
    "an unknown layer": (["--layer", "feature.5", "--map", "1"], "the nearest are features.5"),
    "a map out of range": (["--layer", "features.5", "--map", "48"], "(48, 23, 23)"),
    "a map that is no number": (["--maps", "4", "x"], "expected --maps as numbers of feature maps, got 4 x"),
    "a map below 0": (["--maps", "-1"], "expected --maps as numbers of feature maps, got -1"),
    "half a range": (["--maps", "4-"], "expected --maps as numbers of feature maps, got 4-"),
    "a range of three": (["--maps", "4-5-6"], "expected --maps as numbers of feature maps, got 4-5-6"),
    "a range downwards": (["--maps", "9-4"], "expected a range of feature maps as 100-104, upwards and of at most"),
    "a range of too many": (["--maps", "0-999999999999"], "upwards and of at most 65536, got 0-999999999999"),
    "a range out of range": (["--layer", "features.5", "--maps", "46-48"], "(48, 23, 23)"),
    "a position out of range": (["--layer", "features.5", "--map", "4", "--position", "3", "23"], "(48, 23, 23)"),
    "a layer of vectors with a position": (
        ["--layer", "classifier.2", "--map", "4", "--position", "3", "3"],
        "rows of",
    ),
    "too many units": (["--layer", "features.5", "--map", *map(str, range(11))], "at most 64 units"),
    "a model without images": (
        ["--model", "project_nets:plain", "--layer", "1", "--map", "0"],
        "expected --image with --model project_nets:plain",
    ),
    "a picture of no format": (["--output", "x.doc"], "to end in"),
}


@pytest.mark.parametrize(("arguments", "says"), BAD.values(), ids=BAD)
def test_bad_arguments_are_one_sentence(here, capsys, arguments, says):
    assert says in refused(capsys, "project", *arguments)
    assert not list(here.glob("project.*"))


def test_dead_units_are_reported_on_the_terminal(here, capsys):
    assert main(["project", "--layer", "features.9", "--map", "9"]) == 0
    assert "warning: The signal died for" in capsys.readouterr().err


def test_layers_lists_what_can_be_named(capsys):
    lines = said(capsys, "layers").splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("name"))
    assert lines[header].split() == ["name", "type", "output", "receptive", "field", "stride"]
    rows = {line.split()[0]: line.split() for line in lines[header + 1 :]}
    assert list(rows) == [name for name in rows if name in dict(load_model().named_modules())]
    assert set(rows) == {name for name, _ in load_model().named_modules() if name}
    assert rows["features.9"] == ["features.9", "ReLU", "64x12x12", "51x51", "8x8"]
    assert rows["classifier.1"] == ["classifier.1", "Linear", "64", "the", "whole", "image", "-"]


def test_a_module_that_runs_twice_is_listed_by_its_calls(here, drawn, capsys):
    lines = said(capsys, "layers", "--model", "project_nets:Twice").splitlines()
    assert [line.split()[0] for line in lines if "Conv2d" in line or "ReLU" in line] == [
        "conv#1",
        "relu#1",
        "conv#2",
        "relu#2",
    ]
    arguments = ["--model", "project_nets:Twice", "--image", "a.png", "--map", "0", "--layer"]
    assert "'relu#1' to 'relu#2'" in refused(capsys, "project", *arguments, "relu")
    said(capsys, "project", *arguments, "relu#2")
    ((_, _, boxes, _), _) = drawn[0]
    assert (boxes[0, 2:] - boxes[0, :2]).tolist() == [5, 5]
