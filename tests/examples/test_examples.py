"""The scripts run, and the examples' page shows all there is."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trained import WEIGHTS, torch_home

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE = (EXAMPLES / "README.md").read_text(encoding="utf-8")
SCRIPTS = ["side_by_side", "segmentation_region", "detector", "captum_pipeline", "quantus_metrics"]
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def names_of(script):
    return runpy.run_path(str(EXAMPLES / f"{script}.py"))


# ------------------------------------------------------------------------------------------ scripts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::deconv_attr.DeadSignalWarning")  # random weights and trained ones lose others
def test_methods_stand_side_by_side_on_a_trained_network(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(torch_home(tmp_path / "torch")))
    monkeypatch.chdir(tmp_path)
    comparison = names_of("side_by_side")["main"](
        [str(EXAMPLES / "photographs" / f"{n}.jpg") for n in ("cat", "espresso")]
    )
    printed = capsys.readouterr().out
    assert "2 images are too few for a finding" in printed
    assert comparison.methods[1].label == "ZFDeconv from the class's map classifier.2"
    assert {path.name for path in tmp_path.iterdir()} == {"torch", "side_by_side.png", "side_by_side.html"}
    if WEIGHTS.is_file():
        assert [label.split("\n")[0] for label in comparison.labels] == ["Egyptian cat", "espresso"]
        (reasons,) = filter(None, comparison.zero_reasons.values())
        assert reasons == {1: "rectified away at features.9.squeeze_activation"}


def test_side_by_side_takes_a_file_of_weights(tmp_path):
    file = torch_home(tmp_path) / "hub" / "checkpoints" / "squeezenet1_0-b66bff10.pth"
    model = names_of("side_by_side")["trained"](file)
    assert not model.training
    for name, value in torch.load(file, weights_only=True).items():
        assert model.state_dict()[name].equal(value), name


def test_without_internet_side_by_side_says_in_one_sentence_what_to_get(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(SystemExit, match=r"^cannot download https://\S+\.pth \(no route\): .* by --weights FILE$"):
        names_of("side_by_side")["main"](["cat.jpg"])


@pytest.mark.parametrize(("name", "steps"), [("segmentation_region", 30), ("detector", 2)])
def test_regions_and_boxes_are_explained(name, steps, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maps = names_of(name)["main"](steps)  # of training: fewer than the pictures had
    assert maps.shape == (2, 3, 96, 192)
    assert maps.flatten(1).any(1).all()
    assert not maps[0].equal(maps[1])
    assert capsys.readouterr().out.count("of the map's strength") == 2
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]


@pytest.mark.parametrize(("script", "argument"), [("side_by_side", "--weights FILE"), ("pictures", "FILE")])
def test_a_script_with_arguments_explains_them(script, argument, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        names_of(script)["main"](["--help"])
    assert f"{argument} " in capsys.readouterr().out


@pytest.mark.parametrize("script", [*SCRIPTS, "pictures"])
def test_the_head_of_a_script_says_how_to_run_it_and_what_it_needs(script):
    head = (EXAMPLES / f"{script}.py").read_text(encoding="utf-8").split('"""')[1]
    assert f"\n    python examples/{script}.py" in head
    assert " It needs " in " ".join(head.split())


# ------------------------------------------------------------------------------------------ the page


def test_the_page_has_every_script_and_notebook():
    headings = re.findall(r"^### \[.*?\]\((.*?)\)", PAGE, re.MULTILINE)
    assert headings == [path.name for path in NOTEBOOKS] + [f"{script}.py" for script in SCRIPTS]
    for script in SCRIPTS:
        assert f"python examples/{script}.py" in PAGE


def test_the_page_describes_its_pictures_and_leaves_none_out():
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", PAGE)
    assert all(len(description) > 40 for description, _ in pictures)
    assert sorted(path for _, path in pictures) == sorted(
        f"pictures/{path.name}" for path in (EXAMPLES / "pictures").iterdir()
    )


def test_the_links_of_the_page_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not link.startswith("https://")]
    assert [link for link in links if not (EXAMPLES / link).exists()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_pictures_of_notebooks_are_those_kept_in_them(path):
    small = names_of("pictures")["small"](path)
    with Image.open(EXAMPLES / "pictures" / f"{path.stem}.jpg") as kept:
        assert kept.size == small.size
        difference = np.asarray(kept, dtype=float) - np.asarray(small, dtype=float)
    assert np.abs(difference).mean() < 4  # of 255: what a JPEG loses


def test_a_picture_is_copied_small(tmp_path, monkeypatch):
    names = names_of("pictures")
    monkeypatch.setitem(names["main"].__globals__, "FOLDER", tmp_path)
    Image.new("RGB", (2100, 400), "red").save(tmp_path / "wide.png")
    names["main"]([str(tmp_path / "wide.png")])
    with Image.open(tmp_path / "wide.jpg") as small:
        assert small.size == (1050, 200)
        assert small.getpixel((5, 5))[0] > 250
