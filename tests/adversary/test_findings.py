"""What fuzzing has found once, outside of search files: each was another exception, without end, or several lines."""

import argparse
import json
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from crafting import Images, net
from PIL import Image, ImageFile

from deconv_attr import NeuronZFDeconv, project
from deconv_attr.cli.arguments import feature_maps
from deconv_attr.cli.class_names import class_named, read_class_names
from deconv_attr.cli.preprocessing_options import Asked, add_preprocessing_arguments
from deconv_attr.engine.layers import find_layer
from deconv_attr.engine.state_dict import load_into
from deconv_attr.engine.weights_file import KEYS, read_weights
from deconv_attr.errors import InputError, TargetError, shown
from deconv_attr.gallery.images import read_image
from deconv_attr.units.selection import parse_units

DIGITS = "9" * 5000  # more than Python turns into an int
NET = net()
STATE = NET.state_dict()


def one_line(caught):
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def tree():
    """A small file: one dict under nine names, thirty times, so that it has 9 ** 30 paths."""
    content = dict(STATE)
    for _ in range(30):
        content = dict.fromkeys(KEYS, content)
    return content


def circle():
    content = dict(STATE)
    content["model"] = content
    return content


@pytest.mark.parametrize(
    ("make", "said"),
    [(tree, "do not fit net"), (circle, r"expected a state dict in .*w\.pt in at most 8 dicts, got more")],
)
def test_a_file_of_dicts_without_end_is_refused(tmp_path, make, said):
    file = tmp_path / "w.pt"
    torch.save(make(), file)
    with pytest.raises(InputError, match=said) as caught:
        load_into(net(), read_weights(str(file))[0], str(file), "net")
    one_line(caught)


def test_a_state_dict_in_eight_dicts_is_read(tmp_path):
    content = STATE
    for _ in range(8):
        content = {"model": content}
    torch.save(content, tmp_path / "w.pt")
    assert read_weights(str(tmp_path / "w.pt"))[0].keys() == STATE.keys()


def test_a_damaged_archive_is_one_sentence(tmp_path):
    file = tmp_path / "w.pt"
    torch.save(STATE, file)
    content = bytearray(file.read_bytes())
    content[content.rindex(b"PK\x01\x02")] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="must be a file that") as caught:
        read_weights(str(file))
    one_line(caught)


def quantised(tensor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's: it will drop these types
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (STATE["3.bias"].numpy(), r"1 that cannot be copied \(3\.bias: a ndarray\)"),
        (quantised(STATE["3.bias"]), r"1 that cannot be copied \(3\.bias: quantised\)"),
        (torch.zeros(1).expand(10**12), r"3\.bias: expected \(2,\), got \(1000000000000,\)"),
    ],
    ids=["an array", "quantised", "a huge view"],
)
def test_entries_that_torch_does_not_copy_are_named_and_nothing_is_loaded(value, said):
    model = net()
    other = OrderedDict((name, tensor + 1) for name, tensor in STATE.items()) | {"3.bias": value}
    with pytest.raises(InputError, match=said) as caught:
        load_into(model, other, "w.pt", "net")
    one_line(caught)
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in model.state_dict().items())


def test_names_of_entries_stay_on_their_line():
    with pytest.raises(InputError, match=r"1 unexpected \('a\\nb\\ud800'\)") as caught:
        load_into(net(), {**STATE, "a\nb\ud800": torch.zeros(1)}, "w.pt", "net")
    one_line(caught)


@pytest.mark.parametrize("word", [DIGITS, f"3-{DIGITS}", f"{DIGITS}-3", "3\n4", "3\x854"], ids=shown)
def test_numbers_of_feature_maps(word):
    with pytest.raises(InputError, match="expected --maps as numbers of feature maps, got ") as caught:
        feature_maps([word])
    one_line(caught)


@pytest.mark.parametrize("layer", [f"1#{DIGITS}", "1\n", "x" * 10**4], ids=shown)
def test_a_name_of_a_layer(layer):
    with pytest.raises(InputError, match=r"expected a call as '1#1'|the model has no layer") as caught:
        find_layer(NET, layer)
    one_line(caught)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**5,
        '{"0":' * 10**5,
        json.dumps({DIGITS: "a"}),
        '{"a": ' + DIGITS + "}",
        '{"a": false}',
        "[\n" + "3" * 4000,
    ],
    ids=shown,
)
def test_files_of_class_names(tmp_path, text):
    (tmp_path / "names").write_text(text)
    with pytest.raises(InputError) as caught:
        read_class_names(str(tmp_path / "names"))
    one_line(caught)


def test_a_name_of_a_class_is_one_line(tmp_path):
    (tmp_path / "names").write_text(json.dumps(["great\nwhite\u2028 shark", "white"]))
    names = read_class_names(str(tmp_path / "names"))
    assert names == ("great white shark", "white")
    with pytest.raises(TargetError, match="a part of 2: great white shark") as caught:
        class_named("wh", names, "net")
    one_line(caught)


@pytest.mark.parametrize(
    "selector",
    [
        (slice(None, None, 0),),
        (slice(None, None, -1),),
        (slice(0.5),),
        (slice("a"), 0),
        (None, slice(1)),
        (0.0, slice(1)),
        (True, slice(1)),
        (np.zeros((3, 3)), slice(1)),
    ],
    ids=shown,
)
def test_slices_that_no_tensor_takes(selector):
    with pytest.raises(TargetError, match="expected a neuron_selector with slices as a tuple of these, with") as caught:
        NeuronZFDeconv(NET, "1").attribute(Images.pixels, selector)
    one_line(caught)


def test_a_selector_of_an_array_is_named_on_one_line():
    with pytest.raises(TargetError, match=r"neuron_selector as int, .*, got array\(\[\[0\., 0\.\], \[") as caught:
        NeuronZFDeconv(NET, "1").attribute(Images.pixels, np.zeros((2, 2)))
    one_line(caught)


def test_a_picture_that_asks_for_memory(tmp_path, monkeypatch):
    def load(self):
        raise MemoryError  # as Pillow does where a PNG names a length of gigabytes

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(InputError, match=r"cannot read the image .*a\.png: ") as caught:
        read_image(str(tmp_path / "a.png"))
    one_line(caught)


def test_units_in_an_array_are_named_on_one_line():
    with pytest.raises(
        InputError, match=r"expected units as integers in rows of one length, got array\(\[\[1, 2\], \[3"
    ) as caught:
        parse_units(np.array([[1, 2], [3, None]]), 2)
    one_line(caught)


@pytest.mark.parametrize("option", ["--size", "--resize"])
def test_sizes_of_images(option):
    parser = argparse.ArgumentParser()
    add_preprocessing_arguments(parser)
    assert Asked.by(parser.parse_args([option, "8192"]))
    for size in ("8193", "9" * 30):
        with pytest.raises(InputError, match=f"expected {option} of at most 8192 pixels, got {size}"):
            Asked.by(parser.parse_args([option, size]))


def test_what_is_shown_of_a_value_is_one_short_line():
    deep = []
    for _ in range(10**5):
        deep = [deep]
    assert shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert shown("x" * 100, 10) == "'xxxxxx..."
    assert shown(deep) == "a list"
    assert shown(10**5000) == "a int"


@pytest.mark.parametrize(
    "units",
    [
        *([[0, 0, 0, 0], [1, -1, 0, 0]], [[0, 0, 0, 0], [1, 3, 0, 0]], [[0, 0, 0, 0], [1, 0, 3, 0]]),
        *([[0, 0, 0, 0], [1, 0, 0, -1]], [[0, 0], [1, -1]], [[0, 0], [1, 3]], [[1, 0], [0, 3]]),
    ],
    ids=str,
)
def test_units_of_any_image_are_in_range(units):
    with pytest.raises(TargetError, match=rf"^unit 1, \({', '.join(map(str, units[1]))}\), is out of range"):
        project(NET, Images.pixels, "1", units)
