import os
import re
import runpy
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import deconv_attr
from deconv_attr import DeadSignalWarning
from deconv_attr.cli import arguments as subject
from deconv_attr.cli import compare as command
from deconv_attr.cli import main
from deconv_attr.cli.models import load_classifier
from deconv_attr.evidence import comparison
from deconv_attr.evidence.inputs import compare

DATA = Path(__file__).parents[3] / "shared" / "data"

NETS = """
import torch
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self, functional=False, softmax=False, dead=False, gelu=False):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 5, 4), nn.Linear(4, 6)
        self.relu = nn.GELU() if gelu else nn.ReLU()
        self.functional, self.softmax = functional, softmax
        if dead:
            self.second.weight.data.abs_().neg_()

    def forward(self, x):
        x = self.first(x)
        x = F.relu(x) if self.functional else self.relu(x)
        x = self.second(x.mean((2, 3)))
        return x.softmax(1) if self.softmax else x

def plain(): return Net()
def functional(): return Net(functional=True)
def softmax(): return Net(softmax=True)
def dead(): return Net(dead=True)
def gelu(): return Net(gelu=True)

class InDict(Net):
    def forward(self, x): return {"logits": super().forward(x), "loss": None}

class Price(Net):
    def forward(self, x): return 250 + 0 * super().forward(x)[:, :1]

class Single(Price):
    def forward(self, x): return super().forward(x)[:, 0]

class Labels(Net):
    def forward(self, x): return (2 + super().forward(x).tanh()).sigmoid()

def price(): return Price()
def single(): return Single()
def labels(): return Labels()
def in_dict(): return InDict()
def logits(output): return output["logits"]
def two(output): return output["logits"][:, :2]
def fourth(output): return output["logits"][:, 4]
def flat(output): return output["logits"].flatten()
number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module of nets, three photographs and a file that is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "c.png"):
        Image.fromarray(rng.integers(0, 256, (256, 300, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "text.jpg").write_text("not a photograph")
    yield tmp_path
    sys.modules.pop("cli_nets", None)


@pytest.fixture
def drawn(monkeypatch):
    """What was given to the picture: images, columns, labels. The picture itself stays empty, to save time."""
    seen = []

    def keep(images, columns, labels, *_, **__):
        whole = [c if c.maps is None else replace(c, maps=torch.stack(c.maps)) for c in columns]
        seen.append((torch.stack(images), whole, labels))
        return Figure()

    monkeypatch.setattr(comparison, "comparison_figure", keep)
    return seen


def run(capsys, *arguments):
    status = main(["compare", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def load_classifier_here(name):
    sys.path.insert(0, os.getcwd())
    try:
        return load_classifier(name)
    finally:
        sys.path.remove(os.getcwd())


def test_picture_shows_what_the_methods_answer(here, capsys, drawn):
    names = ["a.png", "b.jpg", "c.png"]
    status, _, err = run(capsys, "--model", "cli_nets:plain", "--image", *names)
    assert (status, err) == (0, "")
    assert (here / "compare.png").read_bytes().startswith(b"\x89PNG")
    (images, columns, labels) = drawn[0]
    classifier = load_classifier_here("cli_nets:plain")
    inputs = torch.stack([classifier.preprocessing.transform(Image.open(f).convert("RGB")) for f in names])
    scores = classifier.scores(inputs)
    maps = compare(classifier.model, inputs, scores.argmax(1)).attributions
    torch.testing.assert_close(images, classifier.preprocessing.picture(inputs))
    assert [column.title for column in columns] == list(maps)
    for column in columns:
        torch.testing.assert_close(column.maps, maps[column.title])
    chances, top = scores.softmax(1).max(1)
    assert labels == [f"class {k}\nprobability {p:.1%}" for k, p in zip(top.tolist(), chances.tolist(), strict=True)]


def test_terminal_says_what_was_done(here, capsys):
    status, out, _ = run(capsys, "--model", "cli_nets:plain", "--image", "a.png", "b.jpg", "--output", "seen.pdf")
    assert status == 0
    assert "model    cli_nets:plain\nweights  as the factory made it, seed 0\n" in out
    assert "shorter side to 256, centre 224 x 224, mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)" in out
    assert "image 0  a.png" in out
    assert "image 1  b.jpg" in out
    assert out.endswith("wrote seen.pdf\n")
    assert (here / "seen.pdf").exists()
    assert not (here / "compare.png").exists()
    rows = re.findall(r"^  (->|  ) +([\d.]+)%  class (\d) \((\d)\)$", out, flags=re.MULTILINE)
    assert len(rows) == 10  # the five most likely classes of each
    for image in (rows[:5], rows[5:]):
        chances = [float(chance) for _, chance, _, _ in image]
        assert chances == sorted(chances, reverse=True)
        assert [mark for mark, *_ in image] == ["->", "  ", "  ", "  ", "  "]


def test_one_target_serves_all_images_and_is_marked(here, capsys, drawn):
    status, out, _ = run(capsys, "--model", "cli_nets:plain", "--image", "a.png", "b.jpg", "--target", "3")
    assert status == 0
    assert [label.splitlines()[0] for label in drawn[0][2]] == ["class 3", "class 3"]
    assert len(re.findall(r"^  -> .* class 3 \(3\)$", out, flags=re.MULTILINE)) == 2


def test_each_image_can_have_its_own_target(here, capsys, drawn):
    arguments = ["--model", "cli_nets:plain", "--image", "a.png", "b.jpg", "--target"]
    run(capsys, *arguments, "5", "0")
    run(capsys, *arguments, "5")
    run(capsys, *arguments, "0")
    (_, both, labels), (_, fives, _), (_, zeros, _) = drawn
    assert [label.splitlines()[0] for label in labels] == ["class 5", "class 0"]
    for column, five, zero in zip(both, fives, zeros, strict=True):
        torch.testing.assert_close(column.maps[0], five.maps[0])
        torch.testing.assert_close(column.maps[1], zero.maps[1])
        assert torch.equal(five.maps, zero.maps) is ("unit" in column.title)  # the strongest unit is of no class


def test_file_weights_and_random_weights(here, capsys, drawn):
    state = load_classifier_here("cli_nets:plain").model.state_dict()
    torch.save({key: 2 * value for key, value in state.items()}, here / "state.pt")
    arguments = ["--model", "cli_nets:plain", "--image", "a.png", "--target", "1", "--weights"]
    assert run(capsys, *arguments, "random")[0] == 0
    status, out, _ = run(capsys, *arguments, "state.pt")
    assert status == 0
    assert "weights  state.pt\n" in out
    saliency = [columns[3].maps for _, columns, _ in drawn]
    assert not torch.equal(saliency[0], saliency[1])


def test_probabilities_are_not_squashed_twice(here, capsys, drawn):
    _, plain, _ = run(capsys, "--model", "cli_nets:plain", "--image", "a.png")
    _, softmax, _ = run(capsys, "--model", "cli_nets:softmax", "--image", "a.png")
    assert re.findall("%.*", plain) == re.findall("%.*", softmax)
    assert re.findall(r"[\d.]+%", plain) == re.findall(r"[\d.]+%", softmax)


def test_dead_signal_is_a_readable_line(here, capsys, drawn):
    status, out, err = run(capsys, "--model", "cli_nets:dead", "--image", "a.png", "b.jpg")
    assert status == 0
    warned, *_, noted, _ = err.splitlines()
    assert warned == (
        "warning: ZFDeconv from the score: the signal died for 2 of 2 images (0, 1), their maps are zero: rectified "
        "away at relu. Look at ZFDeconv from a unit of relu instead."
    )
    assert noted == "note: ZFDeconv from the score is zero for 2 of 2 images"
    assert "wrote compare.png" in out
    assert not any(column.maps.any() for column in drawn[0][1] if column.title == "ZFDeconv from the score")


def test_other_warnings_pass(here, capsys, drawn, monkeypatch):
    def warns(*given, **options):
        for _ in range(2):  # as of a gallery, whose units are projected for the page and for the picture
            warnings.warn("dead", DeadSignalWarning, stacklevel=1)
        warnings.warn("look at me", RuntimeWarning, stacklevel=1)
        return compare(*given, **options)

    monkeypatch.setattr(command, "compare", warns)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, _, err = run(capsys, "--model", "cli_nets:plain", "--image", "a.png")
    assert err == "warning: dead\n"
    assert [str(warning.message) for warning in caught] == ["look at me"]


def test_rectifiers_that_captum_misses_are_named_in_the_title(here, capsys, drawn):
    run(capsys, "--model", "cli_nets:functional", "--image", "a.png", "b.jpg")
    run(capsys, "--model", "cli_nets:plain", "--image", "a.png", "b.jpg")
    ours, captums = (next(c for c in columns if c.title.startswith("Guided")) for _, columns, _ in drawn)
    assert ours.title == "Guided backprop (our rules: Captum's misses 1 of 1 ReLUs)"
    assert captums.title == "Guided backprop"
    torch.testing.assert_close(ours.maps, captums.maps)


def test_a_method_that_fails_is_named_and_the_others_are_drawn(here, capsys, drawn):
    status, out, err = run(capsys, "--model", "cli_nets:gelu", "--image", "a.png")
    assert status == 0
    assert "note: ZFDeconv from the score has no maps: RuleError: no rule for 'gelu'" in err
    _, saliency, score, unit = drawn[0][1]  # those that failed are last
    assert "no rule for 'gelu'" in score.error
    assert "name a layer to start from" in unit.error
    assert saliency.maps.any()
    assert "wrote compare.png" in out
    _, _, err = run(
        capsys, "--model", "cli_nets:gelu", "--image", "a.png", "--activations", "rectify", "--layer", "first"
    )
    assert err == ""
    assert [bool(column.error) for column in drawn[1][1]] == [False] * 4


@pytest.mark.slow
def test_checks_are_printed_and_a_page_is_written(here, capsys):
    status, out, _ = run(capsys, "--checks", "--output", "seen.html")
    assert status == 0
    assert re.search(r"^pointing game +\d", out, flags=re.MULTILINE)  # the embedded images have masks
    assert "6 images are too few for a finding" in out
    assert out.endswith("wrote seen.html\n")
    assert "ZFDeconv from a unit of features.13" in (here / "seen.html").read_text()
    assert "6 images are too few for a finding" in (here / "seen.html").read_text()


def test_checks_can_be_chosen_also_with_hyphens(here, capsys, drawn):
    given = "--model", "cli_nets:plain", "--image", "a.png", "b.jpg"
    status, out, _ = run(capsys, *given, "--checks", "target-sensitivity", "zero maps")
    assert status == 0
    assert re.search(r"^target sensitivity, \|map\|: ", out, flags=re.MULTILINE)
    assert "deletion" not in out
    status, out, _ = run(capsys, *given, "--checks", "zero-maps", "--output", "seen.html")
    assert status == 0
    assert "target sensitivity" not in (here / "seen.html").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "delete",
            "expected the name of a check, got 'delete'; the nearest are deletion; all of them: zero maps, target",
        ),
        ("pointing-game", "expected masks (N, ...) of bool for the check 'pointing game', got none"),
    ],
)
def test_a_wrong_check_is_refused_before_anything_runs(here, capsys, name, message):
    status, out, err = run(capsys, "--model", "cli_nets:plain", "--image", "a.png", "--checks", name)
    assert status == 2
    assert message in err
    assert "image 0" not in out
    assert not (here / "compare.png").exists()


def test_the_time_of_long_checks_is_told_before(here, capsys, drawn, monkeypatch):
    monkeypatch.setattr(comparison.Comparison, "estimated_seconds", lambda self, checks: 200.0)
    _, _, err = run(capsys, "--model", "cli_nets:plain", "--image", "a.png", "--checks", "zero-maps")
    assert err == "checks: about 3 min\n"
    _, _, err = run(capsys, "--model", "cli_nets:plain", "--image", "a.png")
    assert err == ""


@pytest.mark.parametrize(
    ("model", "given", "row", "label"),
    [
        ("price", [], r"->      250  output 0 \(0\)", "output 0\nvalue 250"),
        ("single", [], r"->      250  output 0 \(0\)", "output 0\nvalue 250"),
        ("labels", [], r"->  [789]\d\.\d%  class \d \(\d\)", r"class \d\nprobability [789]\d\.\d%"),
        ("plain", ["--outputs", "values"], r"-> +[\d.-]+  output \d \(\d\)", r"output \d\nvalue [\d.-]+"),
        ("price", ["--outputs", "binary logits"], r"-> 100\.0%  class 0 \(0\)", "class 0\nprobability 100.0%"),
    ],
)
def test_what_the_outputs_are_is_seen_or_said(here, capsys, drawn, model, given, row, label):
    status, out, _ = run(capsys, "--model", f"cli_nets:{model}", "--image", "a.png", *given)
    assert status == 0
    assert re.search(rf"^  {row}$", out, flags=re.MULTILINE)
    assert re.fullmatch(label, drawn[0][2][0])


NAMES = "golden retriever\nLabrador retriever\ncat\nhouse cat\nfox\nox\n"


def test_classes_have_the_names_in_a_file_and_are_found_by_a_part(here, capsys, drawn):
    (here / "names.txt").write_text(NAMES)
    status, out, _ = run(
        capsys, *("--model", "cli_nets:plain", "--image", "a.png", "b.jpg", "c.png", "a.png", "--classes", "names.txt"),
        *("--target", "golden", "Cat", "fox", "3"),
    )  # fmt: skip
    assert status == 0
    assert [label.splitlines()[0] for label in drawn[0][2]] == ["golden retriever", "cat", "fox", "house cat"]
    assert re.findall(r"^target .*$", out, flags=re.MULTILINE) == ["target   golden is golden retriever (0)"]
    assert re.search(r"^  -> +[\d.]+%  house cat \(3\)$", out, flags=re.MULTILINE)


def test_what_a_checkpoint_holds_and_was_taken_is_printed(here, capsys, drawn):
    state = load_classifier_here("cli_nets:plain").model.state_dict()
    content = {"model": {f"module.{name}": 2 * value for name, value in state.items()}, "model_ema": state, "epoch": 3}
    torch.save(content, here / "checkpoint.pt")
    status, out, _ = run(capsys, "--model", "cli_nets:plain", "--image", "a.png", "--weights", "checkpoint.pt")
    assert status == 0
    assert "weights  checkpoint.pt, its 'model' (not its 'model_ema'), without 'module.' before its names\n" in out


def test_import_path_is_as_before(here, capsys, drawn):
    before = list(sys.path)
    assert run(capsys, "--model", "cli_nets:plain", "--image", "a.png")[0] == 0
    assert sys.path == before


GOOD = ["--model", "cli_nets:plain", "--image", "a.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "cli_nets:plain"], "expected --image with --model cli_nets:plain, got none"),
        (["--weights", "random"], "expected --model with --weights random, got none"),
        (["--model", "resnet19", "--image", "a.png"], "no classification model 'resnet19'; the nearest are"),
        (["--model", "cli_nets:gone", "--image", "a.png"], "module 'cli_nets' has no 'gone'"),
        (["--model", "cli_nets:plain", "--image", "gone.png"], "cannot read the image gone.png: No such file"),
        (["--model", "cli_nets:plain", "--image", "a.png", "text.jpg"], "cannot read the image text.jpg"),
        (["--model", "cli_nets:plain", "--image", *["a.png"] * 33], "at most 32 images in one picture, got 33"),
        ([*GOOD, "--weights", "gone.pt"], "there is no file gone.pt"),
        ([*GOOD, "--weights", "text.jpg"], "text.jpg must be a file that torch.load"),
        ([*GOOD, "--target", "6"], "a class from 0 to 5 of cli_nets:plain, got 6"),
        ([*GOOD, "--target", "-1"], "a class from 0 to 5 of cli_nets:plain, got -1"),
        ([*GOOD, "--target", "cat"], "have no names, got 'cat'"),
        (["--classes", "text.jpg"], "expected --model with --classes text.jpg, got none"),
        ([*GOOD, "--classes", "gone.txt"], "cannot read the class names gone.txt: No such file"),
        ([*GOOD, "--classes", "text.jpg"], "expected 6 class names in text.jpg, one for each score of cli_nets:plain"),
        ([*GOOD, "--target", "1", "2"], "1 class for all images or 1 for each of 1, got 2"),
        ([*GOOD, "--output", "gone/a.png"], "cannot write gone/a.png: there is no folder gone"),
        ([*GOOD, "--output", "a"], "to end in .png, .jpg, .pdf, .svg, got a"),
        ([*GOOD, "--output", "gone/a.html"], "cannot write gone/a.html: there is no folder gone"),
        ([*GOOD, "--layer", "gone"], "the model has no layer 'gone'"),
    ],
    ids=lambda value: None if isinstance(value, list) else value[:40],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(arguments, message, here, capsys):
    before = sorted(here.rglob("*.p*"))
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "wrote" not in out
    assert [path for path in sorted(here.rglob("*.p*")) if "__pycache__" not in path.parts] == before


def test_place_for_the_picture_is_checked_before_any_work(here, capsys, monkeypatch):
    monkeypatch.setattr(subject, "load_classifier", lambda *given: pytest.fail("the model was loaded"))
    assert run(capsys, *GOOD, "--output", "gone/a.png")[0] == 2
    monkeypatch.setattr("os.access", lambda path, mode: False)
    status, _, err = run(capsys, *GOOD)
    assert (status, err) == (2, "error: cannot write compare.png: permission denied\n")


def test_interrupt_ends_with_130(here, capsys, monkeypatch):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "compare", interrupted)
    status, _, err = run(capsys, *GOOD)
    assert (status, err) == (130, "")
    assert not (here / "compare.png").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"]], ids=" ".join)
def test_help_names_every_option(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out = capsys.readouterr().out
    assert left.value.code == 0
    for option in (
        ["compare"]
        if len(arguments) == 1
        else [
            *("--model", "--weights", "--size", "--resize", "--interpolation", "--mean", "--std"),
            *("--image", "--target", "--classes", "--layer", "--checks", "--output"),
        ]
    ):
        assert option in out


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"deconv-attr {deconv_attr.__version__}\n"


def test_module_runs_as_a_command(here, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m", "compare", "--model", "cli_nets:gone", "--image", "a.png"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("deconv_attr", run_name="__main__")
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: module 'cli_nets' has no 'gone'\n"


def test_without_arguments_the_embedded_model_explains_embedded_images(here, capsys, drawn):
    status, out, _ = run(capsys)
    assert status == 0
    assert "model    MiniZFNet\n" in out
    assert (here / "compare.png").exists()
    images, columns, labels = drawn[0]
    assert images.shape == (6, 3, 96, 96)
    shown = re.findall(r"^image \d  a generated (\w+)$", out, flags=re.MULTILINE)
    named = [label.splitlines()[0] for label in labels]
    assert sum(one == other for one, other in zip(shown, named, strict=True)) >= 5  # it is a trained model
    for column in columns:
        assert column.maps.flatten(1).any(1).all() or column.title == "ZFDeconv from the score"


def test_embedded_model_explains_a_photograph_by_class_name(here, capsys, drawn):
    status, _, _ = run(capsys, "--image", "a.png", "--target", "Star")
    assert status == 0
    assert drawn[0][2][0].startswith("star\n")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the trained SqueezeNet and photographs beside the project")
def test_trained_squeezenet_knows_its_photographs(here, capsys, drawn):
    photographs = [str(DATA / "imagenet_sample" / name) for name in ("0254_pug.jpg", "0856_thresher.jpg")]
    weights = str(DATA / "squeezenet1_0_imagenet.pt")
    status, out, err = run(
        capsys, "--model", "squeezenet1_0", "--weights", weights, "--image", *photographs, "--target", "pug", "thresher"
    )
    assert status == 0
    assert re.search(r"^  ->  78\.\d%  pug \(254\)\n +17\.\d%  Pekinese \(154\)$", out, flags=re.MULTILINE)
    assert re.search(r"^  ->  95\.\d%  thresher \(856\)$", out, flags=re.MULTILINE)
    assert drawn[0][2][0].startswith("pug\nprobability 78.")
    assert err.startswith("warning: ZFDeconv from the score: the signal died for 2 of 2 images (0, 1)")
    assert "Look at ZFDeconv from the class's map classifier.2 instead.\n" in err
    assert "features.9" in err


def test_a_function_of_the_output_says_what_the_scores_are(here, capsys, drawn):
    images = ["--image", "a.png", "b.jpg"]
    _, plain, _ = run(capsys, "--model", "cli_nets:plain", *images)
    status, out, _ = run(capsys, "--model", "cli_nets:in_dict", *images, "--score", "cli_nets:logits")
    assert status == 0
    assert "score    cli_nets:logits\n" in out
    assert [line for line in out.splitlines() if "->" in line] == [line for line in plain.splitlines() if "->" in line]
    theirs, ours = (columns for _, columns, _ in drawn)
    assert [column.title for column in ours] == [column.title for column in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.maps, other.maps)


def test_a_single_score_is_a_single_class(here, capsys, drawn):
    status, out, _ = run(capsys, "--model", "cli_nets:in_dict", "--image", "a.png", "--score", "cli_nets:fourth")
    assert status == 0
    assert "output 0 (0)" in out
    status, _, _ = run(capsys, "--model", "cli_nets:plain", "--image", "a.png", "--target", "4")
    ours, theirs = (columns[0].maps for _, columns, _ in drawn)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "got a dict with the keys 'logits', 'loss': a ScoredModel from the factory, or --score module:function"),
        (["--score", "logits"], "expected --score as module:function, a function of the model's output, got 'logits'"),
        (["--score", "cli_nets:logit"], "module 'cli_nets' has no 'logit'; the nearest are logits"),
        (["--score", "cli_nets:number"], "expected cli_nets:number as a function that returns scores, got a int"),
        (["--score", "cli_nets:flat"], "one row for each of the 1 examples, got the shape (6,)"),
        (["--score", "cli_nets:two", "--target", "4"], "a class from 0 to 1"),
    ],
    ids=["none", "a name", "another name", "a number", "other rows", "another class"],
)
def test_a_score_that_does_not_fit_is_one_sentence_and_nothing_is_written(here, capsys, given, says):
    before = sorted(here.iterdir())
    status, _, err = run(capsys, "--model", "cli_nets:in_dict", "--image", "a.png", *given)
    assert status == 2
    assert says in err
    assert sorted(path for path in here.iterdir() if path.name != "__pycache__") == before
