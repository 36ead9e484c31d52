"""The command ``deconv-attr gallery``."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from searching import same

from deconv_attr import Photographs, Strongest, strongest
from deconv_attr.cli import gallery as command
from deconv_attr.cli import main
from deconv_attr.demo import GeneratedImages

NETS = """
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Conv2d(3, 5, 7, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 20, 3), nn.ReLU())

def gelu():
    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.GELU(), nn.Conv2d(4, 4, 3), nn.ReLU())
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "galnets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("galnets", None)


@pytest.fixture
def folder(here):
    generator = torch.Generator().manual_seed(0)
    (here / "photos").mkdir()
    for number in range(10):
        pixels = torch.randint(0, 256, (9, 8, 3), generator=generator, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).resize((80, 90)).save(here / "photos" / f"{number}.png")
    return here / "photos"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(command, "EMBEDDED_IMAGES", 40)


def test_without_arguments_pictures_page_and_result(here, small, capsys):
    assert main(["gallery", "--sample", "4"]) == 0
    said = capsys.readouterr()
    layers = ["features.1", "features.5", "features.9", "features.11", "features.13"]
    assert sorted(path.name for path in (here / "gallery").iterdir()) == sorted(
        ["files", "index.html", "strongest.npz", *(f"{layer}.png" for layer in layers)]
    )
    assert re.search(r"^40 images, 5 layers, 240 maps, \d+ s$", said.out, re.M)
    assert "wrote gallery/index.html" in said.out
    assert "MiniZFNet" in said.out
    assert len(list((here / "gallery" / "files" / "maps-features.9").iterdir())) == 4
    found = Strongest.load(here / "gallery" / "strongest.npz", data=GeneratedImages(40))
    assert list(found) == layers


def test_by_default_all_maps_of_the_embedded_model(here, small, capsys):
    assert main(["gallery", "--layers", "features.1", "--top", "4", "--output", "out"]) == 0
    assert len(list((here / "out" / "files" / "maps-features.1").iterdir())) == 16
    assert Strongest.load(here / "out" / "strongest.npz").k == 4


def test_the_users_own(folder, capsys):
    arguments = ["gallery", "--model", "galnets:plain", "--images", "photos", "--output", "out"]
    assert main([*arguments, "--maps", "0", "3", "--workers", "2", "--device", "cpu", "--share", "0.9"]) == 0
    here = folder.parent
    assert sorted(path.name for path in (here / "out" / "files" / "maps-4").iterdir()) == ["map-0.png", "map-3.png"]
    page = (here / "out" / "index.html").read_text()
    assert "galnets:plain" in page
    data = (here / "out" / "files" / "layer-1.js").read_text()
    assert "9.png" in data
    from galnets import plain

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = plain().eval()
    assert same(Strongest.load(here / "out" / "strongest.npz", model), strongest(model, Photographs(folder)))
    assert main([*arguments, "--resume"]) == 0  # the search is done; by default 16 maps of each layer, at random
    assert len(list((here / "out" / "files" / "maps-4").iterdir())) <= 16
    assert main([*arguments, "--resume", "--maps", "all"]) == 0
    active = (Strongest.load(here / "out" / "strongest.npz")["4"].values[:, 0] > 0).sum()
    assert len(list((here / "out" / "files" / "maps-4").iterdir())) == active > 16


def test_maps_of_a_gallery_are_listed_by_range(here, small, capsys):
    assert main(["gallery", "--layers", "features.5", "--maps", "20-22", "7", "--output", "out"]) == 0
    shown = {path.name for path in (here / "out" / "files" / "maps-features.5").iterdir()}
    assert shown == {f"map-{number}.png" for number in (7, 20, 21, 22)}


def test_unreadable_images_are_named_at_the_end(folder, capsys):
    (folder / "3.png").write_text("no image")
    arguments = ["gallery", "--model", "galnets:plain", "--images", "photos", "--sample", "1"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "9 images, 2 layers, 25 maps" in said
    assert re.search(
        r"1 of 10 images could not be read and were skipped:\n  3\.png: .*no image in a format that is read", said
    )
    assert main([*arguments, "--strict", "--output", "other"]) == 2
    assert "error: cannot read image 3 (3.png)" in capsys.readouterr().err


def test_an_interrupted_search_is_resumed(folder, capsys):
    script = "import signal, sys, time, torch\nfrom deconv_attr import cli\nfrom deconv_attr.gallery import images\n"
    script += "read = images.read_image\n"
    script += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
    script += "def slow(path):\n    time.sleep(0.1)\n    return read(path)\n"
    script += "images.read_image = slow\nsys.exit(cli.main(sys.argv[1:]))"
    arguments = ["gallery", "--model", "galnets:plain", "--images", "photos", "--sample", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "model" in process.stdout.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert main([*arguments, "--resume"]) == 0
    assert "10 images, 2 layers, 25 maps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model galnets:plain", "expected --images with --model galnets:plain, got none"),
        ("--model galnets:plain --images nowhere", "expected a folder of images at nowhere, got none"),
        ("--model galnets:plain --images galnets.py", "expected a folder of images at galnets.py, got a file"),
        ("--model galnets:plain --images empty", "expected images in empty or its subfolders, got none"),
        ("--model galnets:plain --images photos --layers 7", "the model has no layer '7'"),
        ("--model galnets:plain --images photos --layers 1 --maps 5", "expected maps of 1 from 0 to 4, got map 5"),
        ("--maps 1 --sample 2", "expected one of --maps and --sample, got both"),
        ("--maps 4-2", "expected a range of feature maps as 100-104, upwards and of at most 65536, got 4-2"),
        ("--model galnets:plain --images photos --layers 1 --maps 3-6", "expected maps of 1 from 0 to 4, got map 5"),
        ("--maps one", "expected --maps as numbers of feature maps, or all, got one"),
        ("--top 0", "expected --top from 1 to 100, got 0"),
        ("--share 2", "expected --share above 0 and at most 1, got 2"),
        ("--device cuda:99", "expected --device as a device of this machine, got cuda:99"),
        ("--device toaster", "expected --device as a device of this machine, got toaster"),
        ("--output no/where", "cannot write no/where: there is no folder no"),
        ("--output galnets.py", "cannot write galnets.py: File exists"),
        ("--output others", "cannot write others/index.html: there is one already that is not a gallery's"),
        (
            "--model galnets:plain --images photos --output photos/out",
            "expected --output outside of --images, got photos/out",
        ),
        ("--sample 0", "expected --sample of at least 1, got 0"),
        ("--seed -1", "expected --seed of at least 0, got -1"),
        ("--model galnets:gelu --images photos --layers 3", "gelu"),
    ],
)
def test_what_cannot_be_is_one_sentence(folder, small, capsys, arguments, message):
    Path("empty").mkdir()
    Path("others").mkdir()
    Path("others/index.html").write_text("my own page")
    assert main(["gallery", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", ["--layers 7 --output new", "--output photos/new"])
def test_a_refused_command_leaves_no_folder(folder, capsys, arguments):
    assert main(["gallery", *"--model galnets:plain --images photos".split(), *arguments.split()]) == 2
    assert not list(folder.parent.rglob("new"))


def test_an_activation_is_chosen(folder, capsys):
    arguments = "--model galnets:gelu --images photos --layers 3 --activations rectify --sample 1"
    assert main(["gallery", *arguments.split()]) == 0


def test_a_picture_of_one_pixel(here, capsys):
    (here / "dots").mkdir()
    for number in range(3):
        Image.new("RGB", (1, 1), (80 * number, 10, 10)).save(here / "dots" / f"{number}.png")
    assert main(["gallery", "--model", "galnets:plain", "--images", "dots", "--sample", "2"]) == 0
