"""The examples run, and the README's snippet, and the two ways to one map agree."""

import runpy
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def test_the_map_by_hand_is_the_map_of_one_call(capsys):
    in_one_call = runpy.run_path(str(ROOT / "examples" / "one_call.py"))["main"]()
    by_hand = runpy.run_path(str(ROOT / "examples" / "by_hand.py"))["main"]()
    assert by_hand.any()
    assert torch.allclose(in_one_call, by_hand, rtol=1e-4, atol=1e-6 * float(by_hand.abs().max()))
    assert "features.0" in capsys.readouterr().out


def test_the_snippets_of_the_readme_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text()
    names = {}
    for part in readme.split("```python\n")[1:]:
        exec(compile(part.split("```", 1)[0], "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "rectify" in printed
    assert "51x51 pixels, stride 8x8" in printed
    assert len(names["found"]) == 2
    assert names["top"]["features.9"].positions.shape == (64, 9, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"top.npz", "features.9.png", "gallery", "evolution.png"}
