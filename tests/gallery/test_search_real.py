"""The search on a trained network and photographs; skipped where the folder with them is missing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from searching import brute_force, rows, same
from test_search_distributed import needs_gloo, torchrun
from torch.utils.data import DataLoader, Subset
from torchvision.transforms.functional import center_crop, resize
from trained import DATA, WEIGHTS, squeezenet

from deconv_attr import Gallery, Photographs, Strongest, strongest
from deconv_attr.gallery.images import read_image

pytestmark = [
    pytest.mark.skipif(not WEIGHTS.exists(), reason="the trained weights are not here"),
    pytest.mark.slow,
]

COUNT = 96

NET = f"""
import sys
sys.path.append({str(Path(__file__).parents[1] / "support")!r})
from torch.utils.data import Subset
from trained import squeezenet
from deconv_attr import Photographs
def photographs():
    return Subset(Photographs({str(DATA / "imagenet_sample")!r}), range({COUNT}))
"""


@pytest.fixture(scope="module")
def model():
    return squeezenet()


@pytest.fixture(scope="module")
def data():
    return Subset(Photographs(DATA / "imagenet_sample"), range(COUNT))


@pytest.fixture(scope="module")
def found(model, data):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return strongest(model, data)
    finally:
        torch.set_num_threads(threads)


def test_all_layers_equal_brute_force(model, data, found):
    assert len(found) == 26
    images = torch.stack([data[number] for number in range(COUNT)])
    for layer, expected in brute_force(model, images, list(found), 9).items():
        assert rows(found[layer]) == expected, layer


@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (7, 2), (32, 0)])
def test_batches_and_workers_play_no_part(model, data, found, batch, workers):
    assert same(strongest(model, DataLoader(data, batch, num_workers=workers, shuffle=True)), found)


@needs_gloo
def test_two_processes_find_the_same_whatever_their_threads(tmp_path, found):
    """``torchrun`` gives each process one thread."""
    file = tmp_path / "top.npz"
    done = torchrun(NET + "\nstrongest(squeezenet(), photographs(), file=file)", file)
    assert done.returncode == 0, done.stderr
    assert same(Strongest.load(file), found)


def test_patches_are_crops_of_the_photographs(model, data, found):
    """The photograph is resized and cropped by other means, and the box cut out of it."""
    borders = 0
    for tiles in Gallery(model, data, found, maps=6).tiles("features.4.expand3x3_activation"):
        for place, (number, (top, left, bottom, right)) in enumerate(zip(tiles.images, tiles.boxes, strict=True)):
            picture = center_crop(
                resize(read_image(str(DATA / "imagenet_sample" / data.dataset.names[number])), 256), 224
            )
            crop = np.asarray(picture)[top:bottom, left:right].astype(int)
            tile = tiles.patches[place].astype(int)
            inside = [
                (row, column)
                for row in range(tile.shape[0] - crop.shape[0] + 1)
                for column in range(tile.shape[1] - crop.shape[1] + 1)
                if abs(tile[row : row + crop.shape[0], column : column + crop.shape[1]] - crop).max() <= 1
            ]
            assert inside
            borders += crop.shape != tile.shape
            assert number in range(COUNT)
    assert borders


def test_the_command_reads_a_folder(tmp_path):
    """The whole of it, in a process of its own: the model by its factory, three layers, four maps of each."""
    (tmp_path / "trained_net.py").write_text(NET)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for path in sorted((DATA / "imagenet_sample").iterdir())[:20]:
        (folder / path.name).symlink_to(path)
    arguments = (
        "gallery --model trained_net:squeezenet --images photographs --sample 4 --layers features.1 features.5".split()
    )
    done = subprocess.run(
        [sys.executable, "-m", "deconv_attr", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "20 images, 2 layers, 352 maps" in done.stdout
    assert (tmp_path / "gallery" / "features.5.png").stat().st_size > 10_000
