"""What the parsers of foreign text and bytes are fed: valid input that is changed a little, and plain noise.

Each target takes an example and returns what became of it: "accepted" (after a look at the result), or the kind of the
DeconvError that refused it. Anything else that is raised is a finding.
"""

import argparse
import contextlib
import io
import json
import re
import resource
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import crafting
import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from deconv_attr import NeuronZFDeconv, Strongest, project
from deconv_attr.cli.arguments import MOST_MAPS, feature_maps
from deconv_attr.cli.class_names import class_named, read_class_names
from deconv_attr.cli.preprocessing import Recipe, by_recipe
from deconv_attr.cli.preprocessing_options import Asked, add_preprocessing_arguments
from deconv_attr.engine.layers import Layer, find_layer
from deconv_attr.engine.state_dict import load_into
from deconv_attr.engine.weights_file import KEYS, read_weights
from deconv_attr.errors import DeconvError
from deconv_attr.gallery.images import IMAGENET, Photographs, read_image

MEMORY = 4 * 2**30  # bytes that a target may take beyond what the process has


@dataclass(frozen=True)
class Target:
    """A parser, and what it is fed."""

    examples: st.SearchStrategy
    parse: Callable
    cost: int = 1  # about how many milliseconds an example takes


@contextlib.contextmanager
def limited_memory():
    """Let no allocation succeed that is not bounded by what was read; it would be a MemoryError, and so a finding."""
    size = Path("/proc/self/statm")
    if not size.exists():  # another system than Linux
        yield
        return
    mapped = int(size.read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def outcome(target, example):
    """Return "accepted", or the kind of the refusal; raise what is neither."""
    try:
        target.parse(example)
    except DeconvError as error:
        text = str(error)
        if len(text.splitlines()) != 1 or len(text) > 2000:
            raise AssertionError(f"expected one sentence, got {text!r:.2500}") from error
        expected = re.split(r", got | \(|; ", text.encode("unicode_escape").decode())[0]
        without_values = re.sub(r"'.*'|\".*\"|\S*/\S+|[\d.]+|\[.*\]", "_", expected)
        return f"{type(error).__name__}: {without_values:.60}"
    return "accepted"


FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-")


def file_of(content, name):
    """Return the path of a file with this content."""
    path = Path(FOLDER.name, name)
    path.write_bytes(content)
    return path


# Strategies

WHOLE = st.integers(-3, 12) | st.sampled_from([2**31, 2**63, 10**13, -(2**63), 10**30]) | st.integers()
TEXTS = st.text(max_size=20) | st.text(st.characters(), max_size=20) | st.just("\ud800\n\x1b[31m\0")
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def damaged(draw, contents):
    """Some bytes with bits flipped, cut out, repeated, or put in."""
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        # near either end as often as anywhere: there stand headers and directories
        first = draw(st.integers(0, min(200, len(content) - 1)) | st.integers(0, len(content) - 1))
        place = draw(st.sampled_from([first, len(content) - 1 - first]))
        match draw(st.sampled_from(["flip", "set", "number", "cut", "end", "repeat", "insert"])):
            case "flip":
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                content[place] = draw(st.sampled_from([0, 1, 127, 128, 255]))
            case "number":
                content[place : place + 4] = draw(
                    st.sampled_from([b"\0\0\0\0", b"\xff" * 4, b"\0\0\0\x80", b"\1\0\0\0"])
                )
            case "cut":
                del content[place : place + draw(st.integers(1, 64))]
            case "end":
                del content[place:]
            case "repeat":
                content[place:place] = content[place : place + draw(st.integers(1, 64))]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(content)


def noise_or(strategy):
    """Mostly a strategy, sometimes plain bytes."""
    return st.integers(0, 19).flatmap(lambda number: strategy if number else st.binary(max_size=200))


# Search files


@cache
def search_parts():
    file = Path(FOLDER.name, "honest.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crafting.search(file)
    return file.read_bytes(), *crafting.taken_apart(file)


@st.composite
def replaced(draw, value):
    """A value of JSON with one of its parts, however deep, replaced or left out."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 3)):
        copy = value.copy()
        key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        if draw(st.integers(0, 5)):
            copy[key] = draw(replaced(value[key]))
        else:
            del copy[key]
        return copy
    return draw(JSON)


@st.composite
def changed_array(draw, array):
    """An array with other numbers, another type or shape; or any header before any bytes."""
    match draw(st.sampled_from(["numbers", "dtype", "shape", "header", "bytes"])):
        case "numbers":
            array = array.copy()
            numbers = [-1, 0, 1, 7, 255] if array.dtype.kind == "u" else [-2, -1, 0, 1, 7, 2**31]
            numbers = [number for number in numbers if array.dtype.kind != "u" or number >= 0]
            special = [np.nan, np.inf, -np.inf, -0.0] if array.dtype.kind == "f" else []
            for _ in range(draw(st.integers(1, 3))):
                if array.size:
                    array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from(numbers + special))
            return array
        case "dtype":
            dtype = draw(st.sampled_from(["<f2", "<f4", ">f4", "<f8", ">f8", "<i8", ">i8", "<i4", "u1", "?", "<c8"]))
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return array.astype(dtype)
        case "shape":
            axis = draw(st.integers(0, array.ndim - 1))
            return draw(st.sampled_from([array[:0], array[:1], array[..., :1], array.swapaxes(0, axis), array[None]]))
        case "header":
            descr = draw(
                st.sampled_from(["<f4", "<f8", "<i8", "|u1", "|O", "|V0", "<U4", [("a", "<i8")], "x", 3, None])
            )
            shape = tuple(draw(st.lists(WHOLE, max_size=3)))
            return crafting.header(descr, shape, draw(st.binary(max_size=96)), draw(st.booleans()))
    return draw(damaged(st.just(crafting.npy(array))))


@st.composite
def search_files(draw):
    content, description, arrays = search_parts()
    how = draw(st.sampled_from(["bytes", "description", "text", "array", "members"]))
    if how == "bytes":
        return draw(damaged(st.just(content)))
    text, arrays = json.dumps(description).encode(), {**arrays}
    if how == "description":
        text = json.dumps(draw(replaced(description))).encode()
    elif how == "text":
        text = draw(damaged(st.just(text)))
    elif how == "array":
        name = draw(st.sampled_from(sorted(arrays)))
        arrays[name] = draw(changed_array(arrays[name]))
    else:
        arrays.pop(draw(st.sampled_from(sorted(arrays))))
        arrays |= draw(
            st.dictionaries(
                st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.just(np.zeros(3)), max_size=2
            )
        )
    file = io.BytesIO()
    crafting.put_together(file, text, arrays, draw(st.sampled_from([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED])))
    return file.getvalue()


def load_search(content):
    found = Strongest.load(file_of(content, "top.npz"))
    read = found.searched.clone()
    read[[image.number for image in found.skipped]] = False
    filled = min(found.k, int(read.sum()))
    assert len(found.searched) == found.origin.images
    for top in found.values():
        assert top.values.shape == top.images.shape == top.positions.shape[:2] == (len(top.values), found.k)
        assert bool(torch.isfinite(top.values[:, :filled]).all())
        assert bool((top.values[:, filled:] == -torch.inf).all())
        assert bool((top.images[:, filled:] == -1).all())
        assert bool((top.positions[:, :filled] >= 0).all())
        for values, images in zip(top.values[:, :filled].tolist(), top.images[:, :filled].tolist(), strict=True):
            assert len({*images}) == filled
            assert all(read[image] for image in images)
            slots = list(zip(values, images, strict=True))
            assert slots == sorted(slots, key=lambda slot: (-slot[0], slot[1]))
    found.merge(found)


# State dicts


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)).eval()


NAMES = [*small_net().state_dict()]


def saved(content, legacy=False):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


TENSORS = {
    "double": lambda t: t.double(),
    "half": lambda t: t.half(),
    "int": lambda t: t.long(),
    "bool": lambda t: t.bool(),
    "complex": lambda t: t.to(torch.complex64),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "NaN": lambda t: t * torch.nan,
    "sparse": lambda t: t.to_sparse(),
    "meta": lambda t: t.to("meta"),
    "quantised": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8),
    "parameter": lambda t: nn.Parameter(t.float()),
    "array": lambda t: t.numpy(),
    "list": lambda t: t.tolist(),
    "number": lambda t: 3,
    "None": lambda t: None,
    "text": lambda t: "weights\n",
    "flat": lambda t: t.flatten(),
    "longer": lambda t: torch.cat([t.reshape(-1), t.reshape(-1)]),
    "scalar": lambda t: torch.zeros(()),
    "huge": lambda t: torch.zeros(1).expand(10**12),
}


@st.composite
def state_dicts(draw):
    """A state dict with some entries changed, under any prefix, in dicts as training scripts make them."""
    state = small_net().state_dict()
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
        make = TENSORS[draw(st.sampled_from(sorted(TENSORS)))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of types that it will drop
            state[name] = make(small_net().state_dict()[name])
    if draw(st.integers(0, 2)) == 0:
        state.pop(draw(st.sampled_from(NAMES)))
    for name in draw(st.lists(TEXTS | st.integers(0, 3) | st.sampled_from(NAMES).map("module.{}".format), max_size=2)):
        state[name] = draw(st.sampled_from([torch.zeros(2), 1, None, {}, {"a": torch.zeros(1)}]))
    prefix = draw(st.sampled_from(["", "", "module.", "_orig_mod.", "a.b.", "\n."]))
    content = {prefix + name if isinstance(name, str) else name: value for name, value in state.items()}
    for key in draw(st.lists(st.sampled_from([*KEYS, "other", 7]), max_size=3)):
        content = {key: content, **draw(st.sampled_from([{}, {"epoch": 3}, {"ema": content}, {"args": ["\n"]}]))}
    return content


def tangled(content, how):
    """A dict that holds itself; or a small one whose branches are shared, so that it has 9 ** 30 paths."""
    if how == "circle":
        content["model"] = content
    if how == "tree":
        for _ in range(30):
            content = dict.fromkeys(KEYS, content)
    return content


@st.composite
def weight_files(draw):
    match draw(st.sampled_from(["states", "states", "zip", "pickle", "old", "safetensors"])):
        case "states":
            content = tangled(draw(state_dicts()), draw(st.sampled_from([*[""] * 18, "circle", "tree"])))
            return "zip", saved(content, legacy=draw(st.booleans()))
        case "zip":
            return "zip", draw(noise_or(damaged(st.just(saved(small_net().state_dict())))))
        case "pickle":
            return "zip", draw(pickles())
        case "old":
            return "zip", draw(noise_or(damaged(st.just(saved(small_net().state_dict(), legacy=True)))))
    from safetensors.torch import save

    return "safetensors", draw(noise_or(damaged(st.just(save(small_net().state_dict())))))


@st.composite
def pickles(draw):
    """An archive of torch.save whose pickle is damaged, while the archive itself is whole."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(small_net().state_dict()))) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, draw(damaged(st.just(member))) if name.endswith("data.pkl") else member)
    return file.getvalue()


def load_weights(example):
    kind, content = example
    path = str(file_of(content, "weights.safetensors" if kind == "safetensors" else "weights.pt"))
    model = small_net()
    before = model.state_dict()
    kept = {name: tensor.clone() for name, tensor in before.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of types that it will drop
            load_into(model, read_weights(path)[0], path, "net")
    except DeconvError:
        assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items()), "half of it"
        raise
    for name, tensor in model.state_dict().items():
        assert (tensor.shape, tensor.dtype) == (kept[name].shape, kept[name].dtype)


# Images


@cache
def pictures():
    """Small images in several formats and modes."""
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    rgb = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    kinds = [
        (rgb, "PNG", {}),
        (rgb.convert("P"), "PNG", {}),
        (rgb.convert("LA"), "PNG", {}),
        (Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "PNG", {}),
        (rgb, "JPEG", {"exif": exif}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("P"), "GIF", {}),
        (rgb, "GIF", {"save_all": True, "append_images": [rgb.rotate(90)]}),
        (rgb, "TIFF", {}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (Image.fromarray(pixels[..., 0].astype(np.float32)), "TIFF", {}),
        (rgb, "WEBP", {}),
        (rgb, "BMP", {}),
        (rgb.convert("1"), "BMP", {}),
    ]
    contents = []
    for image, form, options in kinds:
        file = io.BytesIO()
        image.save(file, form, **options)
        contents.append((form.lower(), file.getvalue()))
    return contents


@st.composite
def image_files(draw):
    ending, content = draw(st.sampled_from(pictures()))
    ending = draw(st.sampled_from([ending, ending, ending, "png", "jpg", "tiff", "xbm", "ppm", "eps"]))
    return ending, draw(noise_or(damaged(st.just(content)) | st.just(content)))


def load_image(example):
    ending, content = example
    folder = Path(FOLDER.name, "images")
    folder.mkdir(exist_ok=True)
    path = folder / f"image.{ending}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of metadata that it does without
        try:
            assert Photographs(folder).names == [path.name]
            image = read_image(str(path))
        finally:
            path.unlink()
    assert image.mode == "RGB"
    assert 0 < image.width * image.height <= 2 * Image.MAX_IMAGE_PIXELS


# Text

DIGITS = st.sampled_from(
    ["0", "7", "12", "-", "--", " ", "²", "٣", "1_0", "\n", "9" * 25, "9" * 5000, "65535", "+", "x"]
)
WORDS = st.lists(DIGITS, max_size=4).map("".join) | st.text(max_size=8)


def list_maps(words):
    numbers = feature_maps(words)
    assert len({*numbers}) == len(numbers) <= MOST_MAPS * len(words)
    assert all(number >= 0 for number in numbers)


@st.composite
def class_files(draw):
    names = draw(st.lists(TEXTS | st.just("tench, Tinca tinca"), max_size=5))
    numbered = {str(number): name for number, name in enumerate(names)}
    content = draw(
        st.sampled_from(
            [
                "\n".join(names),
                json.dumps(names),
                json.dumps(numbered),
                json.dumps({number: ["n01", name] for number, name in numbered.items()}),
                json.dumps({name: number for number, name in enumerate(names)}),
                "[" * 10**5,
                '{"0":' * 10**5,
                '{"' + "1" * 5000 + '": "a"}',
                '{"a": ' + "1" * 5000 + "}",
            ]
        )
        | JSON.map(json.dumps)
        | replaced(numbered).map(json.dumps)
    ).encode(errors="surrogatepass")
    return draw(st.just(content) | damaged(st.just(content or b" "))), draw(TEXTS | st.sampled_from(["tench", "0", ""]))


def name_classes(example):
    content, word = example
    names = read_class_names(str(file_of(content, "classes.txt")))
    assert names
    assert all(isinstance(name, str) and name.strip() == name != "" for name in names)
    assert 0 <= class_named(word, names, "net") < len(names)


MODEL = small_net()
LAYER_NAMES = (
    st.sampled_from(
        ["0", "2", "4", "", "2#1", "2#2", "2#0", "2#-1", "2#²", "2#1#1", "2#" + "9" * 5000, "2.", "x" * 9999]
    )
    | st.text(max_size=8)
    | st.text("0123456789.#\n", max_size=6)
)


def name_layer(name):
    layer = find_layer(MODEL, name)
    assert isinstance(layer, Layer)
    assert layer.resolve_call(1).call == 1


# Units

NUMBERS = st.integers(-3, 4) | WHOLE
ODD = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.complex_numbers()
    | TEXTS
    | st.binary(max_size=4)
    | st.sampled_from(
        [
            *(
                slice(None),
                range(2),
                {1, 2},
                {1: 2},
                {},
                object(),
                Ellipsis,
                torch.float32,
                np.float32(1),
                np.int8(1),
            ),
            *(torch.zeros(2), torch.zeros(0), torch.ones(2, 3, 2).long(), torch.ones(1, 2).long().to_sparse()),
            *(torch.zeros(2).long().to("meta"), torch.zeros(2, dtype=torch.uint64), torch.ones(2).bool()),
            *(np.zeros((2, 2)), np.array([[1, 2], [3, 4]], object), np.array(["a\n"]), np.array(["2020"], "M8[Y]")),
            *(
                np.array([1, 2], ">i8"),
                np.array([2**63], np.uint64),
                np.zeros((0, 4), int),
                np.array([0, 1], np.uint16),
            ),
        ]
    )
)
TABLES = st.recursive(NUMBERS | ODD, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=10)
ROWS = st.lists(st.lists(st.integers(-1, 3), min_size=4, max_size=4) | st.lists(NUMBERS, max_size=5), max_size=3)
SLICES = st.slices(4) | st.builds(slice, *[NUMBERS | ODD] * 3)
SELECTORS = TABLES | ROWS | st.lists(SLICES | st.integers(-3, 3) | ODD, max_size=4).map(tuple) | st.integers(-3, 3)
INPUTS = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def project_units(units):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of signals that died
        found = project(MODEL, INPUTS, "2", units)
    assert found.units.shape[1] == 4


def select_neurons(selector):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = NeuronZFDeconv(MODEL, "2").attribute(INPUTS, selector)
    assert found.shape == INPUTS.shape


# Options

FIGURES = st.sampled_from(["224", "1", "0", "-1", "0.5", "1e400", "nan", "inf", "9" * 30, "9" * 5000, "1_0", "", "x\n"])
OPTION = st.one_of(
    st.tuples(st.sampled_from(["--size", "--resize"]), FIGURES).map(list),
    st.tuples(st.sampled_from(["--mean", "--std"]), st.lists(FIGURES | st.just("0.4"), max_size=4)).map(
        lambda pair: [pair[0], *pair[1]]
    ),
    st.tuples(st.just("--interpolation"), st.sampled_from(["bicubic", "x"])).map(list),
)
OPTIONS = st.lists(OPTION | st.lists(st.text(max_size=5), max_size=2), max_size=4).map(
    lambda parts: list(chain(*parts))
)


def read_options(words):
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    add_preprocessing_arguments(parser)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            options = parser.parse_args(words)
    except (argparse.ArgumentError, SystemExit) as error:  # argparse's own sentence
        raise DeconvError("argparse") from error
    resize, size, mean, std = IMAGENET
    preprocessing, _ = by_recipe(Recipe(resize, size, mean, std), "ImageNet", Asked.by(options), "net", nn.Identity())
    picture = preprocessing.transform(Image.new("RGB", (30, 20)))
    assert picture.shape == preprocessing.shape
    assert bool(picture.isfinite().all())


TARGETS = {
    "search file": Target(noise_or(search_files()), load_search, 3),
    "state dict file": Target(weight_files(), load_weights, 6),
    "image file": Target(image_files(), load_image, 3),
    "list of feature maps": Target(st.lists(WORDS, max_size=4), list_maps),
    "file of class names": Target(class_files(), name_classes, 2),
    "layer": Target(LAYER_NAMES, name_layer),
    "units": Target(TABLES | ROWS, project_units, 10),
    "neuron selector": Target(SELECTORS, select_neurons, 5),
    "preprocessing options": Target(OPTIONS, read_options, 3),
}
