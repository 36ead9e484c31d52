"""The README: its snippets run, each on its own, and what it says stands where it was measured."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from costs import SUMMARY
from pages import rows
from PIL import Image
from torchvision.models import resnet18
from trained import DATA, torch_home

from deconv_attr import LayerZFDeconv, ZFDeconv
from deconv_attr.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------ snippets


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the examples, and with weights where torchvision looks for those that it has downloaded."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("TORCH_HOME", str(torch_home(tmp_path / "torch")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(snippet: int) -> dict:
    names: dict = {}
    exec(compile(SNIPPETS[snippet], "README.md", "exec"), names)
    return names


def written(here: Path) -> set[str]:
    return {path.name for path in here.iterdir()} - {"examples", "torch"}


@pytest.mark.filterwarnings("ignore::deconv_attr.DeadSignalWarning")  # of random weights
def test_a_photograph_is_explained(here):
    names = run(0)
    assert names["attributions"].shape == (1, 3, 224, 224)
    assert written(here) == {"cat.png"}
    if DATA.is_dir():
        assert names["weights"].meta["categories"][names["target"]] == "Egyptian cat"
        assert names["attributions"].any()


def test_methods_are_compared_with_evidence(here, capsys):
    run(1)
    assert re.search(r"carry +yes .*deletion, gain", capsys.readouterr().out)
    assert written(here) == {"compare.html"}


def test_units_are_projected(here):
    found = run(2)["found"]
    assert found.units[:, :2].tolist() == [[0, 41], [1, 3]]
    assert found.full(0).any()


def test_figure_2_is_drawn(here):
    run(3)
    assert written(here) == {"figure2.png", "gallery"}


def test_a_score_of_ones_own_is_explained(here):
    names = run(4)
    assert names["attributions"].any()


def test_a_map_is_differentiated(here):
    names = run(5)
    assert all(each.grad.any() for each in names["model"].parameters() if each.dim() == 4)


@pytest.mark.filterwarnings("ignore::deconv_attr.DeadSignalWarning")
def test_its_picture_is_what_its_example_draws(here, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    runpy.run_path("examples/readme_picture.py")["main"]([], here / "drawn.jpg")
    with Image.open("examples/readme_picture.jpg") as kept, Image.open("drawn.jpg") as drawn:
        assert drawn.size == kept.size
        if DATA.is_dir():
            coarse = [np.asarray(each.reduce(8), float) for each in (kept, drawn)]  # matplotlibs differ by a pixel
            assert np.abs(coarse[0] - coarse[1]).mean() < 2  # of 255


def test_each_snippet_has_a_test():
    assert len(SNIPPETS) == 6


@pytest.mark.filterwarnings("ignore::deconv_attr.DeadSignalWarning")
def test_the_command_for_photographs_runs(here, capsys):
    (command,) = re.findall(r"`deconv-attr (compare --model.*?)`", README)
    *options, pattern = shlex.split(command)
    assert main([*options, *map(str, sorted(Path().glob(pattern)))]) == 0
    assert written(here) == {"compare.png"}
    if DATA.is_dir():
        assert "espresso (967)" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------ what it says


def test_it_is_read_in_three_minutes():
    assert len(README.splitlines()) <= 150


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https://")]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_facts_of_other_packages_are_measured():
    measured, (head, _, *facts) = rows(page("tests/peers/README.md")), rows(README, "## Beside other packages")
    assert head == measured[0]
    assert len(facts) == 5
    assert [fact for fact in facts if fact not in measured] == []
    counted = [row for row in measured[2:] if any(row[1:])]
    assert f"has {len(counted)} rows" in README


def test_its_evidence_is_that_of_the_example():
    (head, _, *told), (titles, _, *measured) = (
        rows(README, "## What the pictures"),
        rows(page("examples/evidence_table.md")),
    )
    columns = [titles.index(name) for name in head]
    means = {row[0]: [row[column].split(" ")[0] for column in columns[1:]] for row in measured}
    assert [cells for _, *cells in told] == [means["target sensitivity"], means["parameter randomisation"]]


def test_above_its_max_pools_every_image_has_the_same_signal():
    torch.manual_seed(0)
    net, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
    signal = LayerZFDeconv(net, "maxpool").attribute(x, target=3)
    maps = ZFDeconv(net).attribute(x, target=3)
    torch.testing.assert_close(signal[0], signal[1])
    assert (maps[0] - maps[1]).abs().max() > 0.1 * maps.abs().max()


def test_its_costs_are_those_of_the_benchmarks():
    benchmarks = page("tests/benchmarks/README.md")
    head, _, *costs = rows(benchmarks, "## One explanation")[:8]
    assert head == SUMMARY
    ratios = [row[head.index("ours / Captum")] for row in costs]
    memory = sorted(float(ratio.split(",")[1]) for ratio in ratios if "off" not in ratio)
    assert len(memory) == 4
    assert f"{memory[0]} to {memory[-1]} of Captum's memory" in README
    occasions = re.findall(r"\d\.\d\d", re.search(r"Captum's time was (.*?)\.\n", benchmarks)[1])
    assert f"{occasions[0]} to {occasions[-1]} of Captum's time for VGG-16" in README
    forward = [float(row[head.index("ours / forward")].split(",")[0]) for row in costs]
    assert all(round(ratio) == 2 for ratio in forward)
    assert "about twice as long as a forward pass" in README
    little = [row[2] for row in rows(benchmarks, "### Little arithmetic")[2:]]
    assert f"up to {max(cell.split('-')[1] for cell in little if 'off' not in cell)} for small inputs" in " ".join(
        README.split()
    )


def test_the_table_of_evidence_is_what_its_example_prints(capsys):
    comparison = runpy.run_path(str(ROOT / "examples" / "evidence_table.py"))["main"](2)
    printed, kept = rows(capsys.readouterr().out), rows(page("examples/evidence_table.md"))
    assert kept[0] == printed[0]
    assert [row[0] for row in kept[2:]] == [row[0] for row in printed[2 : 2 + len(kept[2:])]]
    assert len(kept) == 1 + len(comparison.table().header)
    assert comparison.table().column("parameter randomisation, |map|")[4].mean == pytest.approx(1)
