"""FORMAT.md is exact: who follows it, with zipfile, numpy and json alone, reads what this package reads."""

import json
import math
import re
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from crafting import search

import deconv_attr.gallery.search
from deconv_attr import Strongest

PAGE = (files(deconv_attr.gallery.search) / "FORMAT.md").read_text(encoding="utf-8")
VERSION_1 = Path(__file__).with_name("strongest-version-1.npz")


def rows(section):
    """The cells of the tables in a section of the page; code without its marks."""
    text = re.search(rf"^## {section}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("| ").split("|")] for line in lines]


def read_by_the_page(file):
    """The members by name, and the description."""
    with zipfile.ZipFile(file) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert sum(member.file_size for member in archive.infolist()) <= Path(file).stat().st_size
        members = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                assert np.lib.format.read_magic(member) == (1, 0)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
                array = np.frombuffer(member.read(), dtype, math.prod(shape))
                members[name] = array.reshape(shape, order="F" if fortran else "C")
    return members, json.loads(members["description.npy"].tobytes().decode("utf-8"))


@pytest.fixture(scope="module", params=["version 1", "today's"])
def file(request, tmp_path_factory):
    if request.param == "version 1":
        return VERSION_1
    file = tmp_path_factory.mktemp("format") / "top.npz"
    with pytest.warns(deconv_attr.errors.SkippedImagesWarning):
        search(file)
    return file


def test_members_and_fields_are_those_of_the_page(file):
    members, description = read_by_the_page(file)
    names = {"count": description["origin"]["images"], "k": description["k"], "ceil": math.ceil}
    expected = {}
    for name, dtype, shape, _ in rows("Bytes"):
        for layer in description["layers"]:
            expected[name.replace("LAYER", layer)] = dtype, shape, layer
    assert members.keys() == expected.keys()
    for name, (dtypes, shape, layer) in expected.items():
        array = members[name]
        maps, _, axes = members[f"{layer}/positions.npy"].shape
        assert array.dtype.name in dtypes.split(" or ")
        assert array.shape == eval(shape, {**names, "maps": maps, "axes": axes, "bytes": array.size})
    fields = [name for names, _ in rows("Description") for name in names.split("`, `")]
    assert {*fields} == {*description, *description["origin"]}


def test_it_is_read_as_the_page_says(file):
    members, description = read_by_the_page(file)
    found = Strongest.load(file)
    assert (description["format"], description["version"]) == ("deconv_attr strongest activations", 1)
    assert description["k"] == found.k
    assert description["layers"] == list(found)
    count = description["origin"]["images"]
    bits = [bool(members["searched.npy"][number // 8] >> (7 - number % 8) & 1) for number in range(count)]
    assert bits == found.searched.tolist()
    assert tuple(map(tuple, description["skipped"])) == found.skipped
    read = {number for number in range(count) if bits[number]} - {number for number, _, _ in description["skipped"]}
    filled = min(found.k, len(read))
    for layer, top in found.items():
        values, images, positions = (members[f"{layer}/{part}.npy"] for part in ("values", "images", "positions"))
        assert torch.equal(top.values, torch.tensor(values))
        assert torch.equal(top.images, torch.tensor(images))
        assert torch.equal(top.positions, torch.tensor(positions))
        for row, numbers, places in zip(values.tolist(), images.tolist(), positions.tolist(), strict=True):
            assert {*numbers[:filled]} <= read
            slots = list(zip(row, numbers, strict=True))[:filled]
            assert slots == sorted(slots, key=lambda slot: (-slot[0], slot[1]))
            assert all(least >= 0 for place in places[:filled] for least in place)
            assert row[filled:] == [-math.inf] * (found.k - filled)
            assert numbers[filled:] == [-1] * (found.k - filled)
            assert places[filled:] == [[-1] * positions.shape[2]] * (found.k - filled)
