"""The file of a search: what it says of itself, what it refuses, and a search that was interrupted."""

import json
import os
import re
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from searching import same
from torch import nn
from torch.utils.data import Dataset

from deconv_attr import Strongest, strongest
from deconv_attr.errors import InputError, SearchError, SkippedImagesWarning
from deconv_attr.gallery.search import archive


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU()).eval()


class Pixels(Dataset):
    """Random pixels, a bad image, and what else happens when an image is read."""

    def __init__(self, count=200, bad=(), when=None):
        self.pixels = torch.randn(count, 3, 10, 10, generator=torch.Generator().manual_seed(1))
        self.bad, self.when = bad, when or {}

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, number):
        if number in self.bad:
            raise OSError("cannot identify image file")
        self.when.get(number, lambda: None)()
        return self.pixels[number], 0


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture
def net():
    return make_net()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "top.npz"


def parts(file):
    return sorted(path.name for path in file.parent.iterdir() if path != file)


def arrays(path):
    with np.load(path) as found:
        return {name: found[name].tobytes() for name in found.files}


# The file


def test_it_is_read_back_as_it_was(net, file):
    with pytest.warns(SkippedImagesWarning):
        found = strongest(net, Pixels(bad=[17]), k=5, file=file)
    assert parts(file) == []
    read = Strongest.load(file, net, Pixels(bad=[17]))
    assert same(read, found)
    assert read.k == 5
    assert read.origin == found.origin
    assert torch.equal(read.searched, found.searched)
    assert read.skipped == found.skipped
    assert read.skipped[0].number == 17
    assert repr(read) == "<Strongest: 5 of each of 10 maps in 2 layers of Sequential, from 200 of 200 images>"


def test_it_says_what_it_is(net, file):
    data = Pixels()
    data.transform = "Compose(ToTensor at 0x7f0123)"
    strongest(net, data, file=file)
    _, description = archive.read(file)
    assert description["format"] == "deconv_attr strongest activations"
    assert description["version"] == 1
    assert description["layers"] == ["1", "3"]
    origin = description["origin"]
    assert origin["model"] == "Sequential"
    assert origin["preprocessing"] == "Compose(ToTensor)"
    assert origin["images"] == 200
    assert re.fullmatch("[0-9a-f]{32}", origin["weights"])
    assert origin["computed"] == f"torch {torch.__version__}, cpu"
    with np.load(file) as plain:  # numpy alone reads it
        assert plain["3/values"].shape == (4, 9)


def test_a_layer_may_be_named_like_an_argument_of_numpys(file):
    model = nn.Module()
    model.file, model.relu = nn.Conv2d(3, 2, 3), nn.ReLU()
    model.forward = lambda x: model.relu(model.file(x))
    found = strongest(model.eval(), Pixels(), ["file", "relu"], file=file)
    assert same(Strongest.load(file), found)


def rewritten(file, **changes):
    found, description = archive.read(file)
    description |= {name: value for name, value in changes.items() if not isinstance(value, np.ndarray)}
    found |= {name.replace("_", "/"): value for name, value in changes.items() if isinstance(value, np.ndarray)}
    text = np.frombuffer(json.dumps(description).encode(), np.uint8)
    np.savez(file, description=text, **found)


def damage(file, how):
    content = file.read_bytes()
    match how:
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("what is this?")
        case "truncated":
            file.write_bytes(content[: len(content) // 2])
        case "a bit":
            place = content.index(b"3/values.npy") + 200  # in the member, which has 272 bytes
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        case "another archive":
            np.savez(file, something=np.zeros(3))
        case "a pickle":
            np.savez(file, description=np.array([{"format": 1}], dtype=object))
        case "a weights file":
            torch.save({"a": torch.zeros(3)}, file)
        case "a member lacks":
            with zipfile.ZipFile(file) as old:
                members = {name: old.read(name) for name in old.namelist() if "positions" not in name}
            with zipfile.ZipFile(file, "w") as new:
                for name, member in members.items():
                    new.writestr(name, member)
        case "another format":
            rewritten(file, format="poems")
        case "another version":
            rewritten(file, version=2)
        case "no origin":
            rewritten(file, origin={})
        case "shapes":
            rewritten(file, **{"3_images": np.zeros((4, 8), np.int64)})
        case "types":
            rewritten(file, **{"3_images": np.zeros((4, 9))})
        case "numbers":
            rewritten(file, **{"3_images": np.full((4, 9), 200)})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "is no file of strongest activations, or it is damaged"),
        ("text", "is no file of strongest activations, or it is damaged"),
        ("truncated", "is no file of strongest activations, or it is damaged"),
        ("a bit", "is no file of strongest activations, or it is damaged: BadZipFile: Bad CRC-32"),
        ("another archive", "is no file of strongest activations, or it is damaged"),
        ("a pickle", "is no file of strongest activations, or it is damaged"),
        ("a weights file", "is no file of strongest activations, or it is damaged"),
        ("a member lacks", r"is damaged: expected arrays with '[13]/positions', got none"),
        ("another format", "is no file of strongest activations but of 'poems'"),
        ("another version", "has version 2 of its format, expected version 1"),
        ("no origin", r"is damaged: expected fields of the origin with '\w+', got none"),
        ("shapes", r"is damaged: expected images of layer '3' as \(4, 9\) of int64, got \(4, 8\) of int64"),
        ("types", r"is damaged: expected images of layer '3' as \(4, 9\) of int64, got \(4, 9\) of float64"),
        ("numbers", "is damaged: expected images of layer '3' from 0 to 199, got 200 in map 0"),
    ],
)
def test_what_is_no_such_file_is_one_sentence(net, file, how, message):
    strongest(net, Pixels(), file=file)
    damage(file, how)
    for read in (lambda: Strongest.load(file), lambda: strongest(net, Pixels(), file=file, resume=True)):
        with pytest.raises(InputError, match=message) as caught:
            read()
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_there_is_no_file(file):
    with pytest.raises(InputError, match="there is no file"):
        Strongest.load(file)


def test_another_model_or_data_set_is_refused(net, file):
    strongest(net, Pixels(), file=file)
    with torch.no_grad():
        net[2].bias[1] += 1e-6
    with pytest.raises(InputError, match=r"top\.npz is of another model: a Sequential with the fingerprint \w{8}, and"):
        Strongest.load(file, net)
    strided = make_net()
    strided[2].stride = (2, 2)
    with pytest.raises(InputError, match="is of another model"):
        Strongest.load(file, strided)
    with pytest.raises(InputError, match=r"is of another data set: 200 images with .*, and these 199 have"):
        Strongest.load(file, data=Pixels(199))
    changed = Pixels()
    changed.pixels[0, 0, 0, 0] += 1e-6
    with pytest.raises(InputError, match="is of another data set"):
        Strongest.load(file, data=changed)
    with pytest.raises(InputError, match="is of another data set"):
        strongest(make_net(), changed, file=file, resume=True)


def test_of_files_names_and_sizes_count(net, file, tmp_path):
    class Files(Pixels):
        samples = tuple((str(tmp_path / f"{n}.txt"), 0) for n in range(200))

    for path, _ in Files.samples:
        Path(path).write_text("pixels")
    strongest(net, Files(), file=file)
    Strongest.load(file, data=Files())
    Path(Files.samples[5][0]).write_text("other pixels")  # none of those that are looked at
    with pytest.raises(InputError, match="is of another data set"):
        Strongest.load(file, data=Files())


# Going on


@pytest.mark.parametrize("how", [interrupt, lambda: 1 / 0])
def test_an_interrupted_search_ends_with_the_same_file(net, tmp_path, file, how):
    whole = tmp_path / "whole"
    whole.mkdir()
    strongest(net, Pixels(), file=whole / "top.npz")
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        strongest(net, Pixels(when={133: how}), file=file)
    assert parts(file) == ["top.npz.part0", "whole"]
    assert Strongest.load(f"{file}.part0").searched.sum() == 119  # seven blocks of 17 are complete
    read = []
    data = Pixels(when={number: lambda number=number: read.append(number) for number in range(1, 200)})
    found = strongest(net, data, file=file, resume=True)
    ours = [number for number in (13, 26, 39, 53, 66, 79, 92, 106, 119) for _ in range(2)]  # of the fingerprint
    assert sorted(read)[:20] == [*ours, 119, 120]  # and the rest
    assert parts(file) == ["whole"]
    assert arrays(file) == arrays(whole / "top.npz")
    assert found.searched.all()


def test_checkpoints_are_written_on_the_way(net, file):
    seen = []

    def look():
        seen.append(parts(file))

    strongest(net, Pixels(when={40: look, 190: look}), file=file, checkpoint_every=0)
    assert seen == [["top.npz.part0"], ["top.npz.part0"]]
    assert parts(file) == []


def test_a_finished_file_is_the_result(net, file):
    found = strongest(net, Pixels(), file=file)
    before = file.read_bytes()
    assert same(strongest(net, Pixels(), file=file, resume=True), found)
    assert file.read_bytes() == before


def test_a_part_of_the_images_is_gone_on_with(net, file, tmp_path):
    strongest(net, Pixels(), images=range(96), file=file)
    found = strongest(net, Pixels(), file=file, resume=True)
    assert same(found, strongest(net, Pixels()))
    with pytest.raises(InputError, match="expected to continue a search of the chosen images alone, got image 0 too"):
        strongest(net, Pixels(), images=range(96, 200), file=file, resume=True)


def test_an_unfinished_search_is_not_overwritten_unasked(net, file):
    with pytest.raises(KeyboardInterrupt):
        strongest(net, Pixels(when={133: interrupt}), file=file)
    before = Path(f"{file}.part0").read_bytes()
    with pytest.raises(
        InputError,
        match=r"expected no unfinished search, got the checkpoint .*top\.npz\.part0; continue it with resume",
    ):
        strongest(net, Pixels(), file=file)
    assert Path(f"{file}.part0").read_bytes() == before
    with pytest.raises(InputError, match="the file to continue from has other k: expected 3, got 9"):
        strongest(net, Pixels(), k=3, file=file, resume=True)


def test_skipped_images_are_remembered(net, file):
    with pytest.raises(KeyboardInterrupt):
        strongest(net, Pixels(bad=[3], when={133: interrupt}), file=file)
    with pytest.warns(SkippedImagesWarning, match="1 of 200 images"):
        found = strongest(net, Pixels(bad=[3]), file=file, resume=True)
    assert [image.number for image in found.skipped] == [3]


def test_images_that_could_not_be_read_are_tried_again(net, file):
    with pytest.warns(SkippedImagesWarning):
        part = strongest(net, Pixels(bad=[3]), file=file)
    whole = strongest(net, Pixels())
    found = strongest(net, Pixels(), file=file, resume=True, strict=True)
    assert found.skipped == ()
    assert all(torch.equal(found[layer].images, whole[layer].images) for layer in whole)
    assert part.merge(whole).skipped == whole.merge(part).skipped == ()
    assert part.merge(part).skipped == part.skipped


def test_a_model_is_known_by_all_its_tensors(net):
    net.scale = torch.ones(3)
    net[0].register_buffer("sparse", torch.eye(3).to_sparse())
    found = strongest(net, Pixels(), "1")
    found.check(net)
    net.scale = torch.ones(3) * 2
    with pytest.raises(InputError, match="is of another model"):
        found.check(net)


@pytest.mark.slow
def test_writers_of_one_file_do_not_meet(net, file):
    found = strongest(net, Pixels())
    script = f"""
import sys
from test_search_file import make_net, Pixels
from deconv_attr import strongest
found = strongest(make_net(), Pixels())
for _ in range(100):
    found.save({str(file)!r})
"""
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"PYTHONPATH": path}
    others = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    while any(other.poll() is None for other in others):
        if file.exists():
            assert same(Strongest.load(file), found)
        time.sleep(0.01)
    assert [other.returncode for other in others] == [0, 0]


def test_a_full_disk_leaves_the_last_checkpoint(net, file, monkeypatch):
    write, count = archive.atomic_write, []

    def half(target):
        target.write(b"half of it")
        raise OSError(28, "No space left on device")

    def full_later(path, save):
        count.append(1)
        write(path, save if len(count) <= 2 else half)

    monkeypatch.setattr(archive, "atomic_write", full_later)
    with pytest.raises(SearchError, match=r"cannot write .*top\.npz\.part0: No space left on device"):
        strongest(net, Pixels(), file=file, checkpoint_every=0)
    monkeypatch.undo()
    assert parts(file) == ["top.npz.part0"]
    assert Strongest.load(f"{file}.part0").searched.sum() == 34
    assert same(strongest(net, Pixels(), file=file, resume=True), strongest(net, Pixels()))


SCRIPT = textwrap.dedent(
    """
    import sys, time
    from test_search_file import Pixels, make_net
    from deconv_attr import strongest
    slow = {number: lambda: time.sleep(0.03) for number in range(200)}
    strongest(make_net(), Pixels(when=slow), file=sys.argv[1], resume=True, checkpoint_every=0)
    """
)


def test_a_killed_process_is_gone_on_with(file):
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file)], env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.DEVNULL
    )
    part, begin = Path(f"{file}.part0"), time.monotonic()
    while not part.exists() and time.monotonic() - begin < 60:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert process.returncode != 0
    assert 0 < Strongest.load(part).searched.sum() < 200
    found = strongest(make_net(), Pixels(), file=file, resume=True)
    assert same(found, strongest(make_net(), Pixels()))
    assert parts(file) == []
