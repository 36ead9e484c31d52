import sys
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import get_model

from deconv_attr.cli.models import Classifier, load_classifier
from deconv_attr.demo import CLASS_NAMES, Shapes
from deconv_attr.demo.images import EMBEDDED_SEED, embedded_images
from deconv_attr.engine.state_dict import load_into, read_state_dict
from deconv_attr.errors import DeconvError, InputError, ModelError, TargetError
from deconv_attr.gallery.images import read_image, standard_preprocessing

FACTORIES = """
import torch
from torch import nn

TABLE = {"a": 1}
MODEL = nn.ReLU()

class Zoo:
    @staticmethod
    def small():
        return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def small():
    return Zoo.small()

def broken():
    raise RuntimeError("no such luck")

def no_module():
    return [1, 2]

def leaves():
    raise SystemExit(0)
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """Modules to make models from, importable until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "factories.py").write_text(FACTORIES)
    (tmp_path / "raises.py").write_text("1 / 0")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    yield tmp_path
    for name in ("factories", "raises", "leaves"):
        sys.modules.pop(name, None)


def one_sentence(caught):
    text = str(caught.value)
    return "\n" not in text and len(text) < 400


# -------------------------------------------------------------------------------- torchvision's models


def test_random_weights_are_the_same_each_time_and_spend_no_randomness():
    before = torch.get_rng_state()
    first = load_classifier("squeezenet1_1", "random")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    second = load_classifier("squeezenet1_1", "random")
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not any(module.training for module in first.model.modules())
    assert first.weights == "random, seed 0"


def test_architecture_knows_its_preprocessing_and_classes_without_a_download():
    classifier = load_classifier("squeezenet1_1", "random")
    assert classifier.class_name(207) == "golden retriever"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    seen = classifier.preprocessing.picture(classifier.preprocessing.transform(image))
    expected = image.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))
    np.testing.assert_allclose(seen.permute(1, 2, 0).numpy(), np.asarray(expected) / 255, atol=1e-6)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_model_with_side_heads_is_made_without_a_warning(name):
    # Every warning is an error in these tests: torchvision's FutureWarning about the initialisation too.
    assert load_classifier(name, "random").model.transform_input


@pytest.mark.parametrize(("side_heads", "prefix"), [(True, ""), (False, ""), (True, "module."), (False, "module.")])
def test_weights_fit_with_side_heads_or_without(side_heads, prefix, tmp_path):
    state = get_model("googlenet", weights=None, init_weights=False, aux_logits=side_heads).state_dict()
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "state.pt")
    loaded = load_classifier("googlenet", str(tmp_path / "state.pt")).model.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in state.items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "no classification model 'resnet19'; the nearest are resnet1"),
        ("VGG_16", "the nearest are vgg16"),
        ("fcn_resnet50", "no classification model 'fcn_resnet50'"),
        ("", "no classification model ''"),
    ],
)
def test_unknown_name_offers_the_nearest(name, message):
    with pytest.raises(InputError, match=message):
        load_classifier(name)


@pytest.mark.parametrize(
    "failure",
    [urllib.error.URLError("no route to host"), RuntimeError("invalid hash value"), TimeoutError("timed out")],
    ids=lambda failure: type(failure).__name__,
)
def test_failed_download_is_one_sentence(failure, monkeypatch):
    def fails(*args, **options):
        raise failure

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fails)
    with pytest.raises(InputError, match=r"cannot download SqueezeNet1_1_Weights\.IMAGENET1K_V1: ") as caught:
        load_classifier("squeezenet1_1")
    assert one_sentence(caught)


def test_default_weights_are_torchvisions(monkeypatch):
    state = {key: value + 1 for key, value in get_model("squeezenet1_1", weights=None).state_dict().items()}
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **options: state)
    for weights in (None, "DEFAULT"):
        classifier = load_classifier("squeezenet1_1", weights)
        assert all(torch.equal(value, state[key]) for key, value in classifier.model.state_dict().items())
        assert classifier.weights == "SqueezeNet1_1_Weights.IMAGENET1K_V1"


# -------------------------------------------------------------------------------- weights from a file


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_file_of_weights_is_loaded_bit_for_bit(wrap, tmp_path, factories):
    state = {key: value + 1 for key, value in load_classifier("factories:small").model.state_dict().items()}
    torch.save(wrap(state), tmp_path / "state.pt")
    classifier = load_classifier("factories:small", str(tmp_path / "state.pt"))
    loaded = classifier.model.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert classifier.weights == str(tmp_path / "state.pt")


def test_batch_counters_may_be_missing():
    model = nn.BatchNorm2d(2)
    state = {
        "weight": torch.ones(2),
        "bias": torch.ones(2),
        "running_mean": torch.ones(2),
        "running_var": torch.ones(2),
    }
    load_into(model, state, "old.pt", "it")
    assert torch.equal(model.running_mean, torch.ones(2))


def test_weights_that_do_not_fit_are_named():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 6))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(7), "3.bias": 5, "head.weight": torch.ones(1)}
    with pytest.raises(InputError) as caught:
        load_into(model, state, "other.pt", "my:net")
    assert str(caught.value) == (
        "the weights in other.pt do not fit my:net: 5 missing (1.weight, 1.bias, 2.weight, ...); "
        "1 unexpected (head.weight); 2 of another shape (0.bias: expected (3,), got (7,), "
        "3.bias: expected (6,), got a int)"
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


UNUSABLE = {
    "sparse": (torch.Tensor.to_sparse, "sparse"),
    "meta": (lambda weight: weight.to("meta"), "without values"),
    "complex": (lambda weight: weight.to(torch.complex64), "complex"),
}


@pytest.mark.parametrize(("change", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_weights_that_fit_and_cannot_be_copied_are_one_sentence(change, message):
    model = nn.Linear(3, 2)
    state = {name: change(weight) for name, weight in model.state_dict().items()}
    before = model.weight.clone()
    with pytest.raises(
        InputError, match=rf"the weights in w.pt do not fit net: 2 that cannot be copied \(weight: {message}"
    ) as caught:
        load_into(model, state, "w.pt", "net")
    assert one_sentence(caught)
    assert torch.equal(model.weight, before)


def test_torchvision_weights_of_another_architecture_do_not_fit(tmp_path):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"do not fit squeezenet1_1: 52 missing .*; 2 unexpected") as caught:
        load_classifier("squeezenet1_1", str(tmp_path / "state.pt"))
    assert one_sentence(caught)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got EOFError"),
        (b"these are no weights", "must be a file that torch.load"),
        (b"PK\x03\x04 nor are these", "got RuntimeError"),
        (nn.Linear(2, 3), r"got a whole pickled model \(torch.nn.modules.linear.Linear\), .*state_dict"),
        ([torch.ones(2)], "must hold a state dict .*, got a list"),
        ({1: torch.ones(2)}, "must hold a state dict"),
    ],
    ids=["empty", "text", "broken zip", "whole module", "list", "numbered"],
)
def test_file_that_holds_no_weights_is_an_error(content, message, tmp_path):
    path = tmp_path / "state.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message) as caught:
        read_state_dict(str(path))
    assert one_sentence(caught)


@pytest.mark.parametrize("name", ["nowhere.pt", "."])
def test_missing_file_of_weights_is_an_error(name):
    with pytest.raises(InputError, match="weights are DEFAULT, random or a file, and there is no file"):
        load_classifier("squeezenet1_1", name)


# -------------------------------------------------------------------------------- module:factory


@pytest.mark.parametrize("name", ["factories:small", "factories:Zoo.small"])
def test_factory_makes_the_model_in_eval_mode_with_the_documented_preprocessing(name, factories):
    classifier = load_classifier(name)
    assert isinstance(classifier.model[0], nn.Conv2d)
    assert not any(module.training for module in classifier.model.modules())
    assert "shorter side to 256, centre 224 x 224, mean (0.485, 0.456, 0.406)" in str(classifier.preprocessing)
    again = load_classifier(name, "random")
    assert torch.equal(classifier.model[0].weight, again.model[0].weight)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("no_such_module:f", InputError, "cannot import 'no_such_module' .*ModuleNotFoundError"),
        (":f", InputError, "cannot import ''"),
        ("raises:f", InputError, "cannot import 'raises' .*ZeroDivisionError: division by zero"),
        ("leaves:f", InputError, "cannot import 'leaves' .*SystemExit: 3"),
        ("factories:smal", InputError, "module 'factories' has no 'smal'; the nearest are small"),
        ("factories:", InputError, "module 'factories' has no ''"),
        ("factories:TABLE", InputError, "expected factories:TABLE as a function that returns a Module, got a dict"),
        ("factories:broken", InputError, "factories:broken raised RuntimeError: no such luck"),
        ("factories:MODEL", InputError, "factories:MODEL raised TypeError"),
        ("factories:leaves", InputError, "factories:leaves raised SystemExit: 0"),
        ("factories:no_module", ModelError, "expected a torch.nn.Module from factories:no_module, got a list"),
    ],
)
def test_factory_that_makes_no_model_is_one_sentence(name, kind, message, factories):
    with pytest.raises(kind, match=message) as caught:
        load_classifier(name)
    assert isinstance(caught.value, DeconvError)
    assert one_sentence(caught)


def test_default_weights_of_a_factory_are_an_error(factories):
    with pytest.raises(InputError, match="expected --weights random or a file for factories:small, got DEFAULT"):
        load_classifier("factories:small", "DEFAULT")


# -------------------------------------------------------------------------------- classes and scores


def classifier_of(answer, categories=()):
    class Answers(nn.Module):
        def forward(self, x):
            return answer(x)

    return Classifier(Answers(), "it", "none", standard_preprocessing(4, 4, (0, 0, 0), (1, 1, 1)), categories)


NAMED = classifier_of(lambda x: x, ("cat", "Dog", "crane", "crane", "7"))


@pytest.mark.parametrize(("word", "index"), [("cat", 0), ("dog", 1), ("DOG", 1), ("2", 2), ("4", 4)])
def test_class_is_found_by_index_or_name(word, index):
    assert NAMED.class_index(word, 5) == index


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("5", "a class from 0 to 4 of it, got 5"),
        ("-1", "a class from 0 to 4 of it, got -1"),
        ("crane", r"expected the name of one class, got 'crane' of 2; give one of the indices \[2, 3\]"),
        ("cta", "has no class 'cta'; the nearest are cat"),
    ],
)
def test_class_that_is_not_there_is_an_error(word, message):
    with pytest.raises(TargetError, match=message):
        NAMED.class_index(word, 5)


def test_classes_without_names_go_by_index():
    nameless = classifier_of(lambda x: x)
    assert nameless.class_name(3) == "class 3"
    with pytest.raises(TargetError, match="have no names, got 'cat'"):
        nameless.class_index("cat", 5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: {"out": x}, "expected a tensor of class scores from .*, got a dict"),
        (lambda x: x, r"expected the shape \(2, classes\) from .*, got \(2, 3, 4, 4\)"),
        (lambda x: x[:1, 0, 0], r"expected the shape \(2, classes\) from .*, got \(1, 4\)"),
        (lambda x: x[:, 0, 0] / 0, "expected finite scores from .*, got 8 that are NaN or infinite"),
        (lambda x: x @ torch.ones(5, 5), r"on an input of shape \(2, 3, 4, 4\) raised RuntimeError"),
    ],
    ids=["dict", "maps", "one row", "nan", "raises"],
)
def test_output_that_is_no_row_of_scores_is_an_error(answer, message):
    with pytest.raises(ModelError, match=message) as caught:
        classifier_of(answer).scores(torch.ones(2, 3, 4, 4))
    assert one_sentence(caught)


# -------------------------------------------------------------------------------- images


def test_picture_undoes_the_normalisation():
    preprocessing = standard_preprocessing(8, 8, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    inputs = preprocessing.normalise(images)
    torch.testing.assert_close(inputs[:, 2], (images[:, 2] - 0.3) / 0.7)
    torch.testing.assert_close(preprocessing.picture(inputs), images)


def test_standard_preprocessing_resizes_crops_and_normalises(tmp_path):
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[2:6, 4:8] = (51, 102, 255)
    inputs = standard_preprocessing(8, 4, (0.1, 0.2, 0.5), (1, 2, 0.5)).transform(Image.fromarray(pixels))
    expected = torch.tensor([0.1, 0.1, 1.0]).view(3, 1, 1).expand(3, 4, 4)
    torch.testing.assert_close(inputs, expected)


def test_photograph_is_read_upright_and_in_rgb(tmp_path):
    grey = Image.fromarray(np.array([[0, 255, 255]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its left side
    grey.save(tmp_path / "grey.png", exif=exif)
    image = read_image(str(tmp_path / "grey.png"))
    assert image.size == (1, 3)
    assert [image.getpixel((0, row)) for row in range(3)] == [(0, 0, 0), (255, 255, 255), (255, 255, 255)]


@pytest.mark.parametrize("format_", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight_and_not_cut_off(format_, tmp_path):
    ramp = np.arange(0, 65536, 255, dtype=np.uint16)[None]
    Image.fromarray(ramp).save(tmp_path / f"ramp.{format_}")
    pixels = np.asarray(read_image(str(tmp_path / f"ramp.{format_}")))
    assert np.array_equal(pixels[0, :, 0], (ramp[0] / 257).round())
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_whose_white_is_not_known_are_refused(kind, tmp_path):
    Image.fromarray(np.ones((4, 4), dtype=kind)).save(tmp_path / "numbers.tif")
    with pytest.raises(InputError, match=r"cannot read the image .*numbers.tif: expected 8 or 16 bits") as caught:
        read_image(str(tmp_path / "numbers.tif"))
    assert one_sentence(caught)


def test_image_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    (tmp_path / "text.jpg").write_text("not a photograph")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    reasons = {
        "nowhere.jpg": "No such file or directory",
        "text.jpg": "it is no image in a format that is read",
        "cut.jpg": "image file is truncated",
        ".": "Is a directory",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=f"cannot read the image .*{name}: {reason}") as caught:
            read_image(str(tmp_path / name))
        assert one_sentence(caught)


def test_embedded_images_show_different_classes_under_their_names():
    images, names = embedded_images()
    assert len(set(names)) == len(images) == 6
    shapes = Shapes(40, EMBEDDED_SEED)
    drawn = [shapes[index] for index in range(40)]
    for image, name in zip(images, names, strict=True):
        (label,) = [label for other, label in drawn if torch.equal(image, other)]
        assert name == f"a generated {CLASS_NAMES[label]}"
