"""Files of a search that somebody damaged or made up: one sentence and little memory, never a wrong result."""

import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch
from crafting import LAYERS, Images, K, header, net, npy, put_together, search, taken_apart
from searching import same

from deconv_attr import Strongest, strongest
from deconv_attr.errors import InputError, SkippedImagesWarning

pytestmark = pytest.mark.filterwarnings("ignore::deconv_attr.errors.SkippedImagesWarning")

HUGE = 10**13


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    file = tmp_path_factory.mktemp("honest") / "top.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedImagesWarning)
        search(file)
    return taken_apart(file)


def refused(file, match):
    """Load a file and continue from it: both are refused in one sentence that names it, with little memory."""
    size = file.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=match) as caught:
            Strongest.load(file)
        assert tracemalloc.get_traced_memory()[1] < 20 * size + 3 * 10**6  # numpy parses a header as code
    finally:
        tracemalloc.stop()
    with pytest.raises(InputError) as resumed:
        search(file, resume=True)
    assert str(resumed.value) == str(caught.value)
    assert str(file) in str(caught.value)
    assert str(caught.value).isprintable()  # no newline, no surrogate
    assert len(str(caught.value)) < len(str(file)) + 500


DESCRIPTIONS = {  # what of the description is changed, and what is said
    "k is a float": ({"k": 4.0}, "expected k as a whole number of at least 1, got 4.0"),
    "k is true": ({"k": True}, "k as a whole number of at least 1, got True"),
    "k is null": ({"k": None}, "k as a whole number"),
    "k is 0": ({"k": 0}, "k as a whole number of at least 1, got 0"),
    "k is negative": ({"k": -4}, "k as a whole number"),
    "k is NaN": ({"k": float("nan")}, "k as a whole number of at least 1, got nan"),
    "k is infinite": ({"k": float("inf")}, "k as a whole number of at least 1, got inf"),
    "k is huge": ({"k": HUGE}, r"expected values of layer '1' as \(3, 10000000000000\) of float32 or float64, got"),
    "k is beyond 64 bits": ({"k": 10**400}, "expected values of layer '1' as"),
    "k is one less": ({"k": K - 1}, r"as \(3, 3\) of float32 or float64, got \(3, 4\) of float32"),
    "layers are a text": ({"layers": "13"}, "expected layers as a list of names, each once, got '13'"),
    "layers are numbers": ({"layers": [1, 3]}, "expected layers as a list of names"),
    "no layers": ({"layers": []}, "expected layers as a list of names"),
    "a layer twice": ({"layers": ["1", "1"]}, "expected layers as a list of names, each once"),
    "a layer more": ({"layers": ["1", "3", "5"]}, "expected arrays with '5/images', got none"),
    "a layer less": ({"layers": ["1"]}, "expected arrays without '3/images', got one"),
    "a layer with a surrogate": ({"layers": ["1", "\ud800\n"]}, r"expected arrays with '\\ud800\\n/images', got none"),
    "skipped is an object": ({"skipped": {}}, "expected skipped images as a list, got {}"),
    "skipped numbers alone": ({"skipped": [6]}, "skipped images in order, as number, name and reason, got 6"),
    "skipped without a reason": ({"skipped": [[6, "a"]]}, "skipped images in order, as number, name and reason"),
    "skipped as a float": ({"skipped": [[6.0, "a", "b"]]}, "skipped images in order"),
    "skipped beyond": ({"skipped": [[10, "a", "b"]]}, "skipped images in order"),
    "skipped before": ({"skipped": [[-1, "a", "b"]]}, "skipped images in order"),
    "skipped twice": ({"skipped": [[6, "a", "b"]] * 2}, "skipped images in order"),
    "skipped unsearched": ({"skipped": [[6, "a", "b"], [9, "a", "b"]]}, "expected skipped images among those searched"),
    "skipped and found": ({"skipped": [[n, "a", "b"] for n in range(7)]}, "expected -1 as images of layer '1' after"),
    "origin is a list": ({"origin": []}, r"expected fields of the origin by name, got \[\]"),
    "another field": ({"more": 1}, "expected fields without 'more', got one"),
    "another format": ({"format": "\ud800\npoems" * 99}, "is no file of strongest activations but of "),
    "another version": ({"version": 2}, "has version 2 of its format, expected version 1"),
    "version true": ({"version": True}, "has version True of its format, expected version 1"),
    "version 1.0": ({"version": 1.0}, r"has version 1\.0 of its format, expected version 1"),
    "version huge": ({"version": 10**400}, "of its format, expected version 1"),
}
ORIGINS = {
    "images huge": ({"images": HUGE}, r"expected searched as \(1250000000000,\) of uint8, got \(2,\) of uint8"),
    "images beyond 64 bits": ({"images": 10**30}, "expected searched as"),
    "images as a text": ({"images": "10"}, "expected the number of images as at least 1, got '10'"),
    "no images": ({"images": 0}, "expected the number of images as at least 1, got 0"),
    "images true": ({"images": True}, "expected the number of images"),
    "fewer images": ({"images": 7}, r"expected searched as \(1,\) of uint8"),
    "padding": ({"images": 9}, None),  # as the bits after the eighth are 0, all is well but for the data set
    "weights as a number": ({"weights": 1}, "expected weights as text, got 1"),
    "weights too short": ({"weights": "0f"}, "expected weights as 32 hexadecimal digits, got '0f'"),
    "pixels no digits": ({"pixels": "\n" * 32}, "expected pixels as 32 hexadecimal digits"),
    "model as a list": ({"model": ["a"]}, r"expected model as text, got \['a'\]"),
    "another field": ({"more": ""}, "expected fields of the origin without 'more', got one"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_description(honest, tmp_path, case):
    description, arrays = honest
    change, message = DESCRIPTIONS[case]
    put_together(tmp_path / "top.npz", {**description, **change}, arrays)
    refused(tmp_path / "top.npz", message)


@pytest.mark.parametrize("case", ORIGINS)
def test_an_origin(honest, tmp_path, case):
    description, arrays = honest
    change, message = ORIGINS[case]
    file = tmp_path / "top.npz"
    put_together(file, {**description, "origin": {**description["origin"], **change}}, arrays)
    if message is None:
        Strongest.load(file)
        with pytest.raises(InputError, match=r"is of another data set: 9 images with .*, and these 10 have"):
            search(file, resume=True)
    else:
        refused(file, message)


TEXTS = {
    "nothing": b"",
    "no JSON": b"what is this?",
    "no UTF-8": b'{"k": "\xff"}',
    "a list": b"[]",
    "a number": b"1e400",
    "deep": b"[" * 10**5,
    "deep and closed": b'{"k":' * 10**5 + b"1" + b"}" * 10**5,
    "many digits": b'{"k": ' + b"9" * 5000 + b"}",
    "a field twice": b'{"k": 4, "k": 4}',
    "an inner field twice": b'{"origin": {"a": 1, "a": 1}}',
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_that_is_no_description(honest, tmp_path, case):
    put_together(tmp_path / "top.npz", TEXTS[case], honest[1])
    refused(tmp_path / "top.npz", "is no file of strongest activations, or it is damaged: ")


@pytest.mark.parametrize("field", ["format", "version", "k", "layers", "origin", "skipped"])
def test_a_field_that_lacks(honest, tmp_path, field):
    description, arrays = honest
    put_together(tmp_path / "top.npz", {name: value for name, value in description.items() if name != field}, arrays)
    said = {"format": "but of None", "version": "has version None"}
    refused(tmp_path / "top.npz", said.get(field, f"expected fields with '{field}', got none"))


@pytest.mark.parametrize("field", ["weights", "pixels", "images", "model", "data", "preprocessing", "computed"])
def test_a_field_of_the_origin_that_lacks(honest, tmp_path, field):
    description, arrays = honest
    origin = {name: value for name, value in description["origin"].items() if name != field}
    put_together(tmp_path / "top.npz", {**description, "origin": origin}, arrays)
    refused(tmp_path / "top.npz", f"expected fields of the origin with '{field}', got none")


def changed(array, *indices, to):
    array = array.copy()
    array[indices] = to
    return array


def swapped(array, row=0, first=0, second=1):
    array = array.copy()
    array[row, [first, second]] = array[row, [second, first]]
    return array


ARRAYS = {  # the member that is changed, how, and what is said
    "value NaN": (
        "1/values",
        lambda a: changed(a, 2, 3, to=np.nan),
        "expected finite values of layer '1', got nan in map 2",
    ),
    "value inf": (
        "3/values",
        lambda a: changed(a, 0, 0, to=np.inf),
        "expected finite values of layer '3', got inf in map 0",
    ),
    "value -inf": ("1/values", lambda a: changed(a, 1, 3, to=-np.inf), "expected finite values of layer '1', got -inf"),
    "ascending": (
        "1/values",
        swapped,
        "expected values of layer '1' in descending order, of equals the lower image first",
    ),
    "equals": ("1/values", lambda a: 0 * a, "in descending order, of equals the lower image first"),
    "values of half": ("1/values", lambda a: a.astype(np.float16), "of float32 or float64, got .* of float16"),
    "values of integers": ("1/values", lambda a: a.astype(np.int32), "of float32 or float64, got .* of int32"),
    "values complex": ("1/values", lambda a: a.astype(np.complex64), "got .* of complex64"),
    "values of a map less": (
        "1/values",
        lambda a: a[1:],
        r"expected images of layer '1' as \(2, 4\) of int64, got \(3, 4\)",
    ),
    "values of no map": ("1/values", lambda a: a[:0], r"expected values of layer '1' as \(1, 4\)"),
    "values flat": ("1/values", lambda a: a.ravel(), r"expected values of layer '1' as \(12, 4\)"),
    "values scalar": ("1/values", lambda a: a[0, 0], r"expected values of layer '1' as \(1, 4\)"),
    "image -5": (
        "1/images",
        lambda a: changed(a, 0, 0, to=-5),
        "expected images of layer '1' from 0 to 9, got -5 in map 0",
    ),
    "image -1": ("1/images", lambda a: changed(a, 0, 3, to=-1), "expected images of layer '1' from 0 to 9, got -1"),
    "image beyond": (
        "3/images",
        lambda a: changed(a, 1, 0, to=10),
        "expected images of layer '3' from 0 to 9, got 10 in map 1",
    ),
    "image far beyond": ("3/images", lambda a: changed(a, 1, 0, to=2**63 - 1), "from 0 to 9, got 9223372036854775807"),
    "image least": ("3/images", lambda a: changed(a, 1, 0, to=-(2**63)), "from 0 to 9, got -9223372036854775808"),
    "image not searched": (
        "1/images",
        lambda a: changed(a, 0, 0, to=9),
        "of layer '1' among those searched and read, got 9",
    ),
    "image skipped": ("1/images", lambda a: changed(a, 0, 0, to=6), "among those searched and read, got 6 in map 0"),
    "image twice": (
        "1/images",
        lambda a: changed(a, 0, 0, to=a[0, 1]),
        "expected each image of layer '1' once in a map",
    ),
    "images of int32": ("1/images", lambda a: a.astype(np.int32), r"as \(3, 4\) of int64, got \(3, 4\) of int32"),
    "images of bytes": ("1/images", lambda a: a.astype(np.uint8), "got .* of uint8"),
    "images of dates": ("1/images", lambda a: a.view("M8[s]"), "got .* of datetime64"),
    "images of texts": ("1/images", lambda a: a.astype("U5"), "got .* of <U5"),
    "images of records": ("1/images", lambda a: a.view([("a\n", "i8")]), "got .* of"),
    "position -1": (
        "1/positions",
        lambda a: changed(a, 2, 1, 1, to=-1),
        "expected positions of layer '1' from 0 on, got -1 in map 2",
    ),
    "positions without axes": (
        "1/positions",
        lambda a: a[:, :, 0],
        r"expected positions of layer '1' as \(maps, k, axes\)",
    ),
    "positions of more axes": (
        "1/positions",
        lambda a: a[..., None],
        r"expected positions of layer '1' as \(3, 4, 2\)",
    ),
    "positions of floats": ("1/positions", lambda a: a.astype(float), "of int64, got .* of float64"),
    "searched less": ("searched", lambda a: a[:1], r"expected searched as \(2,\) of uint8, got \(1,\) of uint8"),
    "searched more": ("searched", lambda a: np.append(a, a), r"expected searched as \(2,\) of uint8, got \(4,\)"),
    "searched bool": ("searched", lambda a: np.ones(10, bool), r"got \(10,\) of bool"),
    "searched padding": ("searched", lambda a: a | np.uint8(1), "expected zeros after the bits of 10 images, got"),
    "searched none": ("searched", lambda a: 0 * a, "expected skipped images among those searched"),
    "searched fewer than found": (
        "searched",
        lambda a: changed(a, 0, to=0b00001110),
        "expected -1 as images of layer '1' after",
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_an_array(honest, tmp_path, case):
    description, arrays = honest
    name, change, message = ARRAYS[case]
    put_together(tmp_path / "top.npz", description, {**arrays, name: change(arrays[name])})
    refused(tmp_path / "top.npz", message)


MEMBERS = {  # members that are added or changed, and what is said
    "huge": (
        {"1/values": header("<f4", (HUGE, 4))},
        r"expected an array in 0 bytes, got \(10000000000000, 4\) of float32",
    ),
    "huge and superfluous": ({"more": header("<f4", (HUGE, 4))}, "expected an array in 0 bytes"),
    "beyond 64 bits": ({"1/values": header("<f4", (10**30, 0), b"")}, "or it is damaged: "),
    "negative": ({"1/values": header("<f4", (-3, -4), bytes(48))}, "or it is damaged: ValueError: negative dimensions"),
    "more bytes": ({"1/values": header("<f4", (3, 4), bytes(49))}, r"expected an array in 49 bytes, got \(3, 4\)"),
    "fewer bytes": ({"1/values": header("<f4", (3, 4), bytes(47))}, r"expected an array in 47 bytes, got \(3, 4\)"),
    "objects": ({"1/values": header("|O", (1, 4), bytes(32))}, "got .* of object"),
    "objects inside": ({"1/values": header([("a", "|O")], (1, 4), bytes(32))}, "expected an array in 32 bytes"),
    "a subarray": ({"1/values": header(("<f4", (3,)), (4,), bytes(48))}, "or it is damaged|is damaged"),
    "no bytes": ({"1/values": b""}, "or it is damaged: ValueError"),
    "no npy": ({"1/values": b"hello"}, "or it is damaged: ValueError"),
    "another version of npy": ({"1/values": b"\x93NUMPY\x02\x00" + bytes(200)}, "expected arrays in version 1.0"),
    "a header that is code": (
        {"1/values": b"\x93NUMPY\x01\x00\x20\x00" + b"__import__('os')".ljust(32)},
        "or it is damaged",
    ),
    "a deep header": ({"1/values": b"\x93NUMPY\x01\x00\x10\x27" + b"[" * 10000}, "or it is damaged"),
    "superfluous": ({"more": npy(np.zeros(3))}, "is damaged: expected arrays without 'more', got one"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_a_member(honest, tmp_path, case):
    description, arrays = honest
    members, message = MEMBERS[case]
    put_together(tmp_path / "top.npz", description, {**arrays, **members})
    refused(tmp_path / "top.npz", message)


def test_a_member_without_its_ending(honest, tmp_path):
    file = tmp_path / "top.npz"
    put_together(file, *honest)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("note\n", b"hello")
    refused(file, r"expected arrays \(\*\.npy\) alone, got 'note\\n'")


def test_a_member_twice(honest, tmp_path):
    file = tmp_path / "top.npz"
    put_together(file, *honest)
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("1/values.npy", npy(honest[1]["1/values"] + 1))
    refused(file, "expected each member once, got one twice")


def test_compressed_members(honest, tmp_path):
    description, arrays = honest
    file = tmp_path / "top.npz"
    put_together(
        file, description, {**arrays, "1/values": header("<f4", (10**6, 4), bytes(16 * 10**6))}, zipfile.ZIP_DEFLATED
    )
    assert file.stat().st_size < 30_000
    refused(file, "expected members without compression, as numpy.savez writes them")


def test_a_directory_that_lies_about_sizes(honest, tmp_path):
    file = tmp_path / "top.npz"
    put_together(file, *honest)
    content = bytearray(file.read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of the last member
    for offset in (20, 24):
        content[entry + offset : entry + offset + 4] = (2**31).to_bytes(4, "little")
    file.write_bytes(content)
    refused(file, r"expected members of \d+ bytes at most, which the file has, got more")


def test_an_encrypted_member(honest, tmp_path):
    file = tmp_path / "top.npz"
    put_together(file, *honest)
    content = bytearray(file.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    refused(file, "or it is damaged: RuntimeError: File .*3/positions.npy.* is encrypted")


@pytest.mark.parametrize("length", [0, 1, 100, 2000, -100, -1])
def test_a_part_of_a_file(honest, tmp_path, length):
    file = tmp_path / "top.npz"
    put_together(file, *honest)
    file.write_bytes(file.read_bytes()[:length])
    refused(file, "or it is damaged")


@pytest.mark.parametrize("change", ["<", ">", "F"])
def test_any_order_of_bytes_and_memory_is_read(honest, tmp_path, change):
    description, arrays = honest
    file = tmp_path / "top.npz"
    put_together(file, description, arrays)
    expected = Strongest.load(file)
    reordered = {
        name: np.asfortranarray(array) if change == "F" else array.astype(array.dtype.newbyteorder(change))
        for name, array in arrays.items()
    }
    put_together(file, description, reordered)
    found = Strongest.load(file)
    assert same(found, expected)
    assert found["1"].values.is_contiguous()


def test_what_is_continued_has_the_tables_of_the_search(honest, tmp_path):
    description, arrays = honest
    file = tmp_path / "top.npz"
    for part, change, said in (
        ("", lambda a: a[:2], "expected 3 with 2 axes in torch.float32, got 2 with 2 axes"),
        ("positions", lambda a: a[..., :1], "expected 3 with 2 axes in torch.float32, got 3 with 1 axes"),
        ("values", lambda a: a.astype(np.float64), "expected .*, got 3 with 2 axes in torch.float64"),
    ):
        changes = {name: change(array) for name, array in arrays.items() if name.startswith(f"1/{part}")}
        put_together(file, description, {**arrays, **changes})
        Strongest.load(file)
        with pytest.raises(InputError, match=f"the file to continue from has other maps of '1': {said}"):
            search(file, resume=True)


def test_of_checkpoints_that_differ_one_is_named(honest, tmp_path):
    description, arrays = honest
    put_together(tmp_path / "top.npz.part0", description, arrays)
    put_together(
        tmp_path / "top.npz.part1", {**description, "origin": {**description["origin"], "weights": "0" * 32}}, arrays
    )
    with pytest.raises(InputError, match=r"top\.npz\.part1 is of another model"):
        search(tmp_path / "top.npz", resume=True)


def test_words_of_a_file_stay_on_their_line(honest, tmp_path):
    description, arrays = honest
    file = tmp_path / "top.npz"
    put_together(file, {**description, "origin": {**description["origin"], "model": "a\nb\x1b[31m"}}, arrays)
    with pytest.raises(InputError, match="is of another model: a 'a") as caught:
        Strongest.load(file, torch.nn.ReLU())
    assert str(caught.value).isprintable()


# Honest files are read, whatever wrote them.


class Odd(torch.nn.Module):
    """Layers with names that would be members of their own, one that is half precision's, and the model itself."""

    def __init__(self):
        super().__init__()
        self.add_module("searched", torch.nn.Conv2d(1, 2, 2))
        self.add_module("a/ä b", torch.nn.ReLU())
        self.add_module("description", torch.nn.Conv3d(1, 1, 1))

    def forward(self, images):
        maps = dict(self.named_children())["a/ä b"](self.searched(images))
        return self.description(maps[:, None])


@pytest.mark.parametrize("k", [1, 3, 30])
def test_what_a_search_writes_is_read(tmp_path, k):
    model = Odd().eval()
    layers = ["searched", "a/ä b", "description", model]
    left = strongest(model, Images(), layers, k, images=range(4), file=tmp_path / "left.npz")
    right = strongest(model, Images(), layers, k, images=[2, 3, 5, 6, 9], file=tmp_path / "right.npz")
    for found in (left, right, left.merge(right), right.merge(left), left.merge(left)):
        found.save(tmp_path / "found.npz")
        read = Strongest.load(tmp_path / "found.npz", model, Images())
        assert same(read, found)
        assert torch.equal(read.searched, found.searched)
        assert read.skipped == found.skipped


def test_a_search_in_double_precision_is_read(tmp_path):
    found = strongest(net().double(), Images.pixels.double(), LAYERS, K, file=tmp_path / "top.npz")
    assert same(Strongest.load(tmp_path / "top.npz"), found)


def test_a_field_may_hold_any_text(honest, tmp_path):
    description, arrays = honest
    file = tmp_path / "top.npz"
    skipped = [[6, "caf\udce9\n.jpg", ""]]
    put_together(file, {**description, "skipped": skipped, "origin": {**description["origin"], "data": ""}}, arrays)
    found = Strongest.load(file)
    assert [list(image) for image in found.skipped] == [[6, r"caf\xe9\x0a.jpg", ""]]
    found.save(file)
    assert Strongest.load(file).skipped == found.skipped
