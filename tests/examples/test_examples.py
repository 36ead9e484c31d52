"""The examples that draw and compare run."""

import runpy
from pathlib import Path

import pytest
from trained import DATA, squeezenet

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the trained SqueezeNet and photographs beside the project")
def test_methods_stand_side_by_side_on_a_trained_network(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photographs = [str(DATA / "imagenet_sample" / name) for name in ("0254_pug.jpg", "0856_thresher.jpg")]
    main = runpy.run_path(str(EXAMPLES / "side_by_side.py"))["main"]
    with pytest.warns(UserWarning, match="died for 2 of 2 images"):
        comparison = main(photographs, squeezenet())
    assert comparison.target.tolist() == [254, 856]
    assert comparison.labels[0].startswith("pug\n7")
    printed = capsys.readouterr().out
    assert "ZFDeconv from the class's map classifier.2" in printed
    assert "2 images are too few for a finding" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"side_by_side.png", "side_by_side.html"}


@pytest.mark.parametrize(("name", "steps"), [("segmentation_region", 30), ("detector", 2)])
def test_regions_and_boxes_are_explained(name, steps, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maps = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](steps)  # of training: fewer than the pictures had
    assert maps.shape == (2, 3, 96, 192)
    assert maps.flatten(1).any(1).all()
    assert not maps[0].equal(maps[1])
    assert capsys.readouterr().out.count("of the map's strength") == 2
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
