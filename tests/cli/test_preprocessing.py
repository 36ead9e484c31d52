"""Photographs become a model's inputs by options, by what the model brings along, or as for ImageNet."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from deconv_attr.cli import main
from deconv_attr.cli.models import load_classifier
from deconv_attr.cli.preprocessing_options import Asked
from deconv_attr.evidence import comparison

NETS = '''
"""Networks of one's own; each keeps the shapes of what it is given."""
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

SEEN = []

class Net(nn.Module):
    def __init__(self, channels, first=None):
        super().__init__()
        first = nn.Conv2d(channels, 4, 3) if first is None else first
        self.body = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(9))
        self.body[:4](torch.zeros(1, channels, 8, 8))
        self.body[4] = nn.Linear(self.body[:4](torch.zeros(1, channels, 8, 8)).shape[1], 9)

    def forward(self, x):
        SEEN.append(tuple(x.shape[1:]))
        return self.body(x)

def gray(): return Net(1)
def colour(): return Net(3)
def space_to_depth(): return Net(3, nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1)))

class Repeats(Net):
    def forward(self, x):
        return super().forward(x.expand(-1, 3, -1, -1))

def repeats(): return Repeats(3)

def configured(**changes):
    model = Net(3)
    model.pretrained_cfg = {
        "input_size": (3, 64, 64), "crop_pct": 0.8, "interpolation": "bicubic",
        "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3), **changes,
    }
    return model

def oblong(): return configured(input_size=(3, 64, 48))
def by_default_cfg():
    model = configured()
    model.default_cfg = model.__dict__.pop("pretrained_cfg")
    return model
def gray_configured():
    model = Net(1)
    model.pretrained_cfg = configured().pretrained_cfg
    return model

GRAY = [transforms.Grayscale(), transforms.Resize((28, 20)), transforms.ToTensor()]
def pair(): return Net(1), transforms.Compose([*GRAY, transforms.Normalize((0.25,), (0.5,))])
def pair_v2():
    steps = [v2.Resize(30), v2.CenterCrop(24), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return Net(3), v2.Compose([*steps, v2.Normalize([0.5] * 3, [0.25] * 3)])
def plain_pair(): return Net(1), transforms.Compose(GRAY)
def uncropped(): return Net(3), transforms.Compose([transforms.Resize(24), transforms.ToTensor()])
def four(): return Net(4), lambda image: torch.zeros(4, 8, 8)
def bytes_(): return Net(3), transforms.PILToTensor()
def pictures(): return Net(3), lambda image: image
def fails(): return Net(3), lambda image: {}["a"]
def fails_later(): return Net(3), lambda image: torch.zeros(3, 8, 8) if image.width == 640 else {}["a"]
def no_transform(): return Net(3), "resize"
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with networks and photographs, one of them gray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_nets.py").write_text(NETS)
    (tmp_path / "photos").mkdir()
    photograph().save(tmp_path / "photos" / "a.png")
    photograph().convert("L").save(tmp_path / "photos" / "b.png")
    yield tmp_path
    sys.modules.pop("own_nets", None)


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(comparison, "comparison_figure", lambda *given, **_: Figure())


def photograph():
    smooth = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(smooth).resize((160, 120), Image.Resampling.BICUBIC)


def resized(side, crop, how=Image.Resampling.BILINEAR, mode="RGB"):
    """What Pillow makes of the photograph of 160 x 120: pixels (C, H, W) between 0 and 1."""
    wide = int(side * 160 / 120)
    left, top = round((wide - crop) / 2), round((side - crop) / 2)
    image = photograph().convert(mode).resize((wide, side), how).crop((left, top, left + crop, top + crop))
    return torch.from_numpy(np.array(image) / 255).float().view(crop, crop, -1).permute(2, 0, 1)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BICUBIC, NEAREST, LANCZOS = (Image.Resampling[name] for name in ("BICUBIC", "NEAREST", "LANCZOS"))
GIVEN = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
GIVEN_GRAY = {"mean": (0.1,), "std": (0.5,)}

CASES = {  # the model; the options; the pixels; mean and std; where they come from
    "nothing is known": ("colour", {}, resized(256, 224), IMAGENET, "assumed, as for ImageNet"),
    "a gray model": (
        "gray",
        {},
        resized(256, 224, mode="L"),
        ((0.449,), (0.226,)),
        "assumed, as for ImageNet, in gray by its first convolution",
    ),
    "12 channels are no colours": ("space_to_depth", {}, resized(256, 224), IMAGENET, "assumed, as for ImageNet"),
    "a size": ("colour", {"size": 32}, resized(32, 32), IMAGENET, "by --size, else assumed, as for ImageNet"),
    "a size and a side": (
        "colour",
        {"size": 32, "resize": 40},
        resized(40, 32),
        IMAGENET,
        "by --size, --resize, else assumed, as for ImageNet",
    ),
    "a side": ("colour", {"resize": 300}, resized(300, 224), IMAGENET, "by --resize, else assumed, as for ImageNet"),
    "all": (
        "colour",
        {"size": 32, "resize": 40, "interpolation": "nearest", **GIVEN},
        resized(40, 32, NEAREST),
        (GIVEN["mean"], GIVEN["std"]),
        "by --size, --resize, --mean, --std, --interpolation",
    ),
    "bicubic": ("colour", {"size": 32, "interpolation": "bicubic"}, resized(32, 32, BICUBIC), IMAGENET, ""),
    "lanczos": ("colour", {"size": 32, "interpolation": "lanczos"}, resized(32, 32, LANCZOS), IMAGENET, ""),
    "bilinear over a recipe's": (
        "configured",
        {"interpolation": "bilinear"},
        resized(80, 64),
        ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
        "by --interpolation, else by its pretrained_cfg",
    ),
    "one number each": (
        "gray",
        {"size": 28, **GIVEN_GRAY},
        resized(28, 28, mode="L"),
        (GIVEN_GRAY["mean"], GIVEN_GRAY["std"]),
        "by --size, --mean, --std",
    ),
    "gray images of a model that repeats them": (
        "repeats",
        {"size": 28, **GIVEN_GRAY},
        resized(28, 28, mode="L"),
        (GIVEN_GRAY["mean"], GIVEN_GRAY["std"]),
        "by --size, --mean, --std",
    ),
    "timm's": (
        "configured",
        {},
        resized(80, 64, BICUBIC),
        ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
        "by its pretrained_cfg",
    ),
    "timm's of old": ("by_default_cfg", {}, resized(80, 64, BICUBIC), ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)), ""),
    "timm's, of another size": (
        "configured",
        {"size": 32},
        resized(32, 32, BICUBIC),
        ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
        "by --size, else by its pretrained_cfg",
    ),
    "timm's, oblong, with a size": ("oblong", {"size": 32}, resized(32, 32, BICUBIC), None, ""),
    "timm's with in_chans=1": (
        "gray_configured",
        {},
        resized(80, 64, BICUBIC, "L"),
        ((0.449,), (0.226,)),
        "by its pretrained_cfg, in gray by its first convolution",
    ),
}


@pytest.mark.parametrize(("name", "options", "pixels", "moments", "origin"), CASES.values(), ids=CASES)
def test_a_photograph_becomes_the_input_that_was_asked_for(name, options, pixels, moments, origin, here):
    classifier = load_classifier(f"own_nets:{name}", None, Asked(**options))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in moments or ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    inputs = classifier.preprocessing.transform(photograph())
    assert classifier.preprocessing.shape == inputs.shape
    torch.testing.assert_close(inputs * std + mean, pixels, rtol=0, atol=1.01 / 255)  # a rounded grey
    assert (inputs * std + mean - pixels).abs().mean() < 1e-3
    torch.testing.assert_close(classifier.preprocessing.picture(inputs), inputs * std + mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier.preprocessing.normalise(pixels), (pixels - mean) / std)
    assert classifier.origin == origin or not origin
    assert classifier.scores(inputs[None]).shape == (1, 9)


def test_torchvision_s_own_is_changed_by_options_only(here):
    plain = load_classifier("efficientnet_b1", "random")
    assert plain.preprocessing.shape == (3, 240, 240)
    assert plain.facts[2] == (
        "input",
        "shorter side to 255, centre 240 x 240, mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225); torchvision's",
    )
    small = load_classifier("efficientnet_b1", "random", Asked(size=64, mean=(0.5,) * 3, std=(0.5,) * 3))
    assert small.origin == "by --size, --mean, --std"
    torch.testing.assert_close(
        small.preprocessing.transform(photograph()), 2 * resized(64, 64) - 1, rtol=0, atol=2.01 / 255
    )
    assert "bicubic" in str(load_classifier("efficientnet_b0", "random").preprocessing)


TRANSFORMS = {  # the model; the shape of its inputs; mean and std; what is printed
    "gray": ("pair", (1, 28, 20), (0.25, 0.5), "28 x 20, gray, mean (0.25), std (0.5); by the transform that the fac"),
    "version 2": ("pair_v2", (3, 24, 24), (0.5, 0.25), "24 x 24, mean (0.5, 0.5, 0.5), std (0.25, 0.25, 0.25); by "),
    "without a normalisation": (
        "plain_pair",
        (1, 28, 20),
        (0, 1),
        "; by the transform that the factory returned, which has no step with ",
    ),
}


@pytest.mark.parametrize(("name", "shape", "moments", "printed"), TRANSFORMS.values(), ids=TRANSFORMS)
def test_the_transform_that_a_factory_returns_is_used(name, shape, moments, printed, here):
    classifier = load_classifier(f"own_nets:{name}")
    transform = getattr(sys.modules["own_nets"], name)()[1]
    inputs = classifier.preprocessing.transform(photograph())
    assert torch.equal(inputs, transform(photograph()))
    assert classifier.preprocessing.shape == shape
    mean, std = moments
    torch.testing.assert_close(classifier.preprocessing.picture(inputs), (inputs * std + mean).clamp(0, 1))
    assert printed in classifier.facts[2][1]


REFUSED = {
    "size 0": ("colour", {"size": 0}, "expected --size of at least 1 pixel, got 0"),
    "resize -1": ("colour", {"resize": -1}, "expected --resize of at least 1 pixel, got -1"),
    "a crop larger than the side": (
        "colour",
        {"size": 32, "resize": 28},
        "expected --resize of at least the 32 pixels that own_nets:colour sees, got 28",
    ),
    "a side smaller than what is assumed": ("colour", {"resize": 28}, "expected --resize of at least the 224 pixels"),
    "mean alone": ("colour", {"mean": (0.5,) * 3}, "expected --mean and --std together, got --mean alone"),
    "std alone": ("colour", {"std": (0.5,) * 3}, "expected --mean and --std together, got --std alone"),
    "two numbers": (
        "colour",
        {"mean": (0.5,) * 2, "std": (0.5,) * 2},
        "expected --mean with 3 numbers, red green blue, or 1 for gray, got 2",
    ),
    "four numbers": ("colour", {"mean": (0.5,), "std": (0.5,) * 4}, "expected --std with 3 numbers, red green blue, "),
    "three and one": (
        "colour",
        {"mean": (0.5,) * 3, "std": (0.5,)},
        "expected as many numbers after --std as after --mean, 3, got 1",
    ),
    "std 0": ("gray", {"mean": (0.5,), "std": (0.0,)}, "expected --std above 0 and at most 1, as pixels are, got 0"),
    "std nan": ("gray", {"mean": (0.5,), "std": (float("nan"),)}, "as pixels are, got nan"),
    "std of bytes": ("gray", {"mean": (0.5,), "std": (51.0,)}, "got 51; of pixels from 0 to 255, it is 0.2"),
    "mean of bytes": (
        "gray",
        {"mean": (127.5,), "std": (0.2,)},
        "expected --mean from 0 to 1, as pixels are, got 127.5; of pixels from 0 to 255, it is 0.5",
    ),
    "mean below 0": ("gray", {"mean": (-0.1,), "std": (0.2,)}, "expected --mean from 0 to 1, as pixels are, got -0.1"),
    "one number for three channels": (
        "colour",
        {"size": 32, **GIVEN_GRAY},
        "expected --mean and --std with 3 numbers, as the first convolution of own_nets:colour has channels, got 1: ",
    ),
    "three numbers for one channel": (
        "gray",
        {"size": 32, **GIVEN},
        "expected --mean and --std with 1 number, as the first convolution of own_nets:gray has channels, got 3: ",
    ),
    "options beside a transform": (
        "pair",
        {"size": 28, **GIVEN_GRAY},
        "expected the preprocessing of own_nets:pair by --size, --mean, --std or by its factory, got both",
    ),
    "an oblong recipe": ("oblong", {}, "square input_size in the pretrained_cfg of own_nets:oblong, got (3, 64, 48); "),
    "four channels": ("four", {}, "images of 1 or 3 channels from the preprocessing of own_nets:four, got 4"),
    "bytes": ("bytes_", {}, "(C, H, W) in floating point from the preprocessing of own_nets:bytes_, got (3, 480, 640)"),
    "a picture": ("pictures", {}, "floating point from the preprocessing of own_nets:pictures, got Image"),
    "a transform that fails": ("fails", {}, "the preprocessing of own_nets:fails raised KeyError: 'a'"),
    "a transform that is none": (
        "no_transform",
        {},
        "expected a transform of images beside the model that own_nets:no_transform returns, got a str",
    ),
}


def as_words(options):
    for name, value in options.items():
        yield f"--{name}"
        yield from map(str, value if isinstance(value, tuple) else [value])


@pytest.mark.parametrize(("name", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_contradicts_itself_is_one_sentence_and_nothing_is_written(name, options, message, here, capsys):
    before = sorted(here.rglob("*.png"))
    own = ["--model", f"own_nets:{name}", *as_words(options)]
    for command in (
        ["compare", *own, "--image", "photos/a.png"],
        ["project", *own, "--image", "photos/a.png", "--layer", "body.1", "--maps", "0"],
        ["gallery", *own, "--images", "photos", "--output", "out"],
        ["layers", *own],
    ):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
    assert sorted(here.rglob("*.png")) == before
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "uncropped",
            "expected inputs of one shape from the preprocessing of own_nets:uncropped, got (3, 24, 32) for ",
        ),
        ("fails_later", "the preprocessing of own_nets:fails_later raised KeyError: 'a'"),
    ],
)
def test_a_transform_that_fails_on_one_image_is_one_sentence(name, message, here, capsys):
    Image.new("RGB", (50, 90)).save("tall.png")
    assert main(["compare", "--model", f"own_nets:{name}", "--image", "tall.png"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("compare.png").exists()


@pytest.mark.parametrize("command", ["compare", "project", "gallery", "layers"])
@pytest.mark.parametrize(
    ("options", "given"),
    [("--size 32", "--size"), ("--mean .5 --std .5 --interpolation nearest", "--mean, --std, --interpolation")],
)
def test_the_embedded_model_keeps_its_preprocessing(command, options, given, here, capsys):
    assert main([command, *options.split()]) == 2
    assert capsys.readouterr().err == (
        f"error: expected --model with {given}, got none; the embedded model has its own weights and preprocessing\n"
    )
    assert len(list(here.iterdir())) == 2


GRAY_28 = ["--model", "own_nets:gray", "--size", "28", "--mean", "0.5", "--std", "0.25"]
COLOUR_32 = ["--model", "own_nets:colour", "--size", "32"]


@pytest.mark.parametrize(("own", "shape"), [(GRAY_28, (1, 28, 28)), (COLOUR_32, (3, 32, 32))], ids=["gray", "32"])
@pytest.mark.parametrize(
    ("command", "images"),
    [
        ("compare", ["--image", "photos/a.png", "photos/b.png"]),
        ("project", ["--image", "photos/a.png", "photos/b.png", "--layer", "body.1", "--maps", "0-2"]),
        ("gallery", ["--images", "photos", "--layers", "body.1"]),
        ("layers", []),
    ],
)
def test_every_command_shows_the_model_its_own_size_and_channels(command, images, own, shape, here, capsys):
    assert main([command, *own, *images]) == 0
    said = capsys.readouterr()
    seen = sys.modules["own_nets"].SEEN
    assert shape in seen
    assert set(seen) == {shape} or command in ("project", "gallery")  # which run crops too
    assert all(channels == shape[0] and side <= shape[1] for channels, side, _ in seen)
    assert said.err == ""
    assert f"centre {shape[1]} x {shape[2]}" in said.out
    if command == "layers":
        side = shape[1] - 2
        assert f"4x{side}x{side}" in said.out


def test_a_gray_model_is_checked_and_its_images_are_drawn_gray(here, capsys, monkeypatch):
    seen = []
    draw = comparison.comparison_figure
    keep = lambda images, *given, **options: seen.extend(images) or draw(images, *given, **options)  # noqa: E731
    monkeypatch.setattr(comparison, "comparison_figure", keep)
    assert main(["compare", *GRAY_28, "--image", "photos/a.png", "--checks", "--output", "page.html"]) == 0
    assert "edges" in capsys.readouterr().out
    assert main(["compare", *GRAY_28, "--image", "photos/a.png", "photos/b.png", "--output", "picture.png"]) == 0
    assert (here / "picture.png").exists()
    assert len(seen) == 2
    for image in seen:
        assert image.std() > 0.01
        assert torch.equal(image, image[:1].expand_as(image))


def test_a_gallery_of_a_gray_model_says_its_preprocessing_on_the_page(here, capsys):
    assert main(["gallery", *GRAY_28, "--images", "photos", "--layers", "body.1"]) == 0
    page = (here / "gallery" / "index.html").read_text()
    assert "shorter side to 28, centre 28 x 28, gray, mean (0.5), std (0.25); by --size, --mean, --std" in page


def test_photographs_that_go_to_the_embedded_model_are_a_warning(here, undrawn, capsys):
    warning = "warning: these images go to the embedded model, which knows generated shapes only; choose --model\n"
    assert main(["compare", "--image", "photos/a.png"]) == 0
    assert capsys.readouterr().err.startswith(warning)
    assert main(["project", "--image", "photos/a.png"]) == 0
    assert capsys.readouterr().err.startswith(warning)
    assert main(["gallery", "--images", "photos", "--layers", "features.1", "--maps", "0"]) == 0
    assert capsys.readouterr().err == warning
    assert main(["project", "--layer", "features.1", "--maps", "0"]) == 0
    assert main(["compare", *COLOUR_32, "--image", "photos/a.png"]) == 0
    assert "these images go" not in capsys.readouterr().err
