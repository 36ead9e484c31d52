"""A checked-in file of version 1 of the format: every later version of this package reads it, and continues from it.

It was made once, by the code of the first version (torch 2.14), and is never made again:
``strongest(net(), Seven(), ["1", "3"], k=5, images=range(5), file=FILE)``.
"""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from deconv_attr import Strongest, strongest
from deconv_attr.errors import SkippedImagesWarning

FILE = Path(__file__).with_name("strongest-version-1.npz")

INF = float("inf")
SEARCHED = {  # layer: values, images, positions; by hand
    "1": (
        [[4, 4, 2, 0, -INF], [5, 2, 0, 0, -INF]],
        [[0, 2, 3, 1, -1], [3, 1, 0, 2, -1]],
        [[[1, 1], [0, 0], [1, 1], [0, 0], [-1, -1]], [[0, 0], [1, 0], [0, 0], [0, 0], [-1, -1]]],
    ),
    "3": (
        [[10, 8, 8, 3, -INF], [0, 0, -1, -4, -INF]],
        [[0, 2, 3, 1, -1], [1, 3, 0, 2, -1]],
        [[[]] * 5] * 2,
    ),
}
RESUMED = {
    "1": (
        [[9, 4, 4, 2, 0], [7, 5, 2, 0, 0]],
        [[5, 0, 2, 3, 1], [6, 3, 1, 0, 2]],
        [[[0, 0], [1, 1], [0, 0], [1, 1], [0, 0]], [[1, 1], [0, 0], [1, 0], [0, 0], [0, 0]]],
    ),
    "3": (
        [[10, 9, 8, 8, 7], [0, 0, 0, -1, -4]],
        [[0, 5, 2, 3, 6], [1, 3, 6, 0, 2]],
        [[[]] * 5] * 2,
    ),
}


def net():
    """Two maps, x and -x, rectified; of these the sum, and minus the first pixel of the first."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        model[3].weight.copy_(torch.tensor([[1.0] * 8, [-1.0] + [0.0] * 7]))
    return model.eval()


class Seven(Dataset):
    """Seven images of 2 x 2 pixels, of which one cannot be read."""

    pixels = ([1, 2, 3, 4], [0, -1, -2, 0], [4, 0, 0, 4], [-5, 1, 0, 2], None, [9, 0, 0, 0], [0, 0, 0, -7])

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, number):
        if self.pixels[number] is None:
            raise OSError("truncated")
        return torch.tensor(self.pixels[number], dtype=torch.float32).view(1, 2, 2)


def check(found, expected):
    assert list(found) == list(expected)
    for layer, parts in expected.items():
        for name, numbers in zip(("values", "images", "positions"), parts, strict=True):
            assert getattr(found[layer], name).tolist() == numbers, (layer, name)


def test_it_is_read():
    found = Strongest.load(FILE, net(), Seven())
    check(found, SEARCHED)
    assert found.k == 5
    assert found["1"].values.dtype == torch.float32
    assert found.searched.tolist() == [True] * 5 + [False] * 2
    assert found.skipped == ((4, "image 4", "OSError: truncated"),)
    assert found.origin.model == "Sequential"
    assert found.origin.images == 7


def test_it_is_resumed_from(tmp_path):
    file = tmp_path / "top.npz"
    shutil.copy(FILE, file)
    with pytest.warns(SkippedImagesWarning, match=r"1 of 7 images .*image 4: OSError: truncated"):
        found = strongest(net(), Seven(), ["1", "3"], k=5, file=file, resume=True)
    check(found, RESUMED)
    check(Strongest.load(file, net(), Seven()), RESUMED)


def test_this_version_writes_the_same(tmp_path):
    file = tmp_path / "top.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedImagesWarning)
        check(strongest(net(), Seven(), ["1", "3"], k=5, images=range(5), file=file), SEARCHED)
    check(Strongest.load(file), SEARCHED)
