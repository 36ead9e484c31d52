"""Names of files that are no UTF-8, steer a terminal or span lines: readable in errors, on pages, figures and files."""

import json
import os
import pickle
import warnings
from pathlib import Path

import crafting
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deconv_attr import Gallery, Photographs, Strongest, compare, errors, strongest
from deconv_attr.cli import main
from deconv_attr.cli.class_names import read_class_names
from deconv_attr.errors import DeadSignalWarning, InputError, SkippedImagesWarning, readable, reason
from deconv_attr.gallery.dataset import NumberedImages
from deconv_attr.gallery.images import read_image, standard_preprocessing
from deconv_attr.visualize import projections_figure

HOSTILE = {
    "Latin-1": (b"caf\xe9", r"caf\xe9"),
    "newline": (b"a\nb\r", r"a\x0ab\x0d"),
    "escape": (b"\x1b[2J\x07", r"\x1b[2J\x07"),
    "backwards": ("\u202egnp.exe".encode(), r"\u202egnp.exe"),
    "separators": ("a\u2028b\u0085c\x7f".encode(), r"a\u2028b\x85c\x7f"),
    "half a character": (b"\xe7\x8c", r"\xe7\x8c"),
}
SMALL = standard_preprocessing(12, 12, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.parametrize(("name", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_shown_is_written_by_its_number(name, shown):
    assert readable(os.fsdecode(name)) == shown


@pytest.mark.parametrize("name", ["plain", "café", "猫 кот 🐱", "a\u200cb", "日本\u3000語", "a\\b", ""])
def test_all_other_names_stay_as_they_are(name):
    assert readable(name) == name
    assert readable(Path(f"folder/{name}")) == str(Path(f"folder/{name}"))


@pytest.mark.parametrize("number", range(0xD800, 0xE000, 37))
def test_no_half_of_a_pair_is_left(number):
    readable(chr(number)).encode()


def test_every_error_of_ours_is_one_line():
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DeconvError)
    ] + [SkippedImagesWarning]
    assert len(kinds) == 8
    for kind in kinds:
        error = kind("cannot read a\nb\x1b\udce9")
        assert str(error) == r"cannot read a\x0ab\x1b\xe9"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert str(kind()) == ""


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def test_the_reason_of_anothers_error_is_short_and_readable():
    assert reason(ValueError("a\x1b[2J\udce9\nb")) == r"ValueError: a\x1b[2J\xe9"
    assert reason(ValueError("x" * 10**6)) == f"ValueError: {'x' * 500} ..."
    assert reason(MuteError()) == "MuteError"
    assert reason(SystemExit()) == "SystemExit"


@pytest.fixture
def folder(tmp_path):
    """Photographs with hostile names, every second of which is damaged."""
    for number, (name, _) in enumerate(HOSTILE.values()):
        path = tmp_path / f"{number}{os.fsdecode(name)}.png"
        try:
            Image.fromarray(np.full((20, 20, 3), 40 * number, np.uint8)).save(path)
        except (OSError, UnicodeError):
            pytest.skip("a file system that does not take any bytes as a name")
        if number % 2:
            path.write_bytes(b"no image")
    return tmp_path


def shown(number):
    return f"{number}{list(HOSTILE.values())[number][1]}.png"


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()


def test_an_unreadable_image_is_named_readably(folder):
    for number, name in enumerate(Photographs(folder).names):
        if number % 2:
            with pytest.raises(InputError) as caught:
                read_image(str(folder / name))
            assert str(caught.value).startswith(f"cannot read the image {folder}/{shown(number)}: ")


def test_a_search_finds_reads_and_names_them(folder, net, tmp_path_factory):
    data, file = Photographs(folder, SMALL), tmp_path_factory.mktemp("out") / os.fsdecode(b"top\xff\n.npz")
    with pytest.warns(SkippedImagesWarning) as caught:
        found = strongest(net, data, k=2, file=file)
    assert "\n" not in str(caught[0].message)
    assert [image.name for image in found.skipped] == [shown(1), shown(3), shown(5)]
    assert [NumberedImages(data).name(number) for number in range(6)] == [shown(number) for number in range(6)]
    assert Strongest.load(file, net, data).skipped == found.skipped
    file.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"top\\xff\\x0a\.npz is no file of strongest activations"):
        Strongest.load(file)


def test_a_page_shows_them(folder, net, tmp_path_factory):
    data, out = Photographs(folder, SMALL), tmp_path_factory.mktemp("out")
    with pytest.warns(SkippedImagesWarning):
        found = strongest(net, data, k=2)
    gallery = Gallery(net, data, found, picture=SMALL.picture)
    gallery.to_html(out / "page", facts=[("images", os.fsdecode(b"caf\xe9"))])
    written = [path for path in (out / "page").rglob("*") if path.suffix in (".html", ".js")]
    text = "".join(path.read_text(encoding="utf-8") for path in written)
    for number in (0, 2, 4):
        assert json.dumps(shown(number))[1:-1] in text
    assert "\x1b" not in text


@pytest.mark.parametrize(("name", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_figures_and_pages_take_them_as_labels(net, tmp_path, name, shown):
    model = nn.Sequential(net, nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    label = f"{os.fsdecode(name)}\nimage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        comparison = compare(model, torch.rand(1, 3, 8, 8), [0], labels=[label])
        for ending in ("png", "pdf", "svg"):
            comparison.plot().savefig(tmp_path / f"a.{ending}")
        comparison.to_html(tmp_path / "a.html", checks=["zero maps"])
    assert comparison.labels == [shown.replace(r"\x0a", "\n") + "\nimage"]
    tile, image = torch.rand(3, 4, 4), torch.rand(3, 8, 8)
    projections_figure([tile], [image], [(0, 0, 4, 4)], [label]).savefig(tmp_path / "b.png")


def test_class_names_are_readable(tmp_path):
    (tmp_path / "names.json").write_text(json.dumps(["cat\x1b[2J", "dog\nhound", "\ud83d", "猫"]))
    assert read_class_names(str(tmp_path / "names.json")) == (r"cat\x1b[2J", "dog hound", r"\ud83d", "猫")
    (tmp_path / "names.txt").write_text("cat\x1b[2J\n\u202edog\n")
    assert read_class_names(str(tmp_path / "names.txt")) == (r"cat\x1b[2J", r"\u202edog")


def test_the_command_prints_lines_that_steer_no_terminal(folder, capsys, monkeypatch, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    monkeypatch.chdir(out)
    (out / "names_net.py").write_text(
        "import torch; make = lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 2, 5, 4), torch.nn.ReLU())"
    )
    arguments = ["--model", "names_net:make", "--size", "24", "--images", str(folder), "--top", "2"]
    assert main(["gallery", *arguments, "--output", os.fsdecode(b"out\xe9\x1b")]) == 0
    printed = capsys.readouterr().out
    for number in (1, 3, 5):
        assert f"\n  {shown(number)}: " in printed
    assert r"wrote out\xe9\x1b" in printed
    assert all(line.isprintable() for line in printed.split("\n"))
    first = str(folder / Photographs(folder).names[0])
    arguments = ["--model", "names_net:make", "--size", "24", "--image", first, "--layer", "1", "--map", "0"]
    assert main(["project", *arguments]) == 0
    assert shown(0) in capsys.readouterr().out


def test_a_search_file_of_a_stranger_names_images_readably(tmp_path):
    file = tmp_path / "top.npz"
    with pytest.warns(SkippedImagesWarning):
        crafting.search(file)
    description, members = crafting.taken_apart(file)
    description["skipped"] = [[6, "a\x1b[2J\nb\udce9", "bad\r"]]
    crafting.put_together(file, description, members)
    found = Strongest.load(file)
    assert found.skipped == ((6, r"a\x1b[2J\x0ab\xe9", r"bad\x0d"),)
    assert "\n" not in found.skipped_in_words
