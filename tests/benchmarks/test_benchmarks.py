"""The benchmarks themselves: they compare the same maps, and measure what is there. None is run in full here."""

from functools import partial

import costs
import little
import load
import pytest
import torch
from measure import held, peak_growth
from peers import CAPTUM, METHODS, OURS, PLAIN, TARGET, Case, build, difference
from state import snapshot
from torch import nn


@pytest.fixture
def net():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * 5 * 5, 6)).eval()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (PLAIN, OURS)])
def test_a_peer_gives_the_same_map_and_leaves_the_model_as_it_was(net, name):
    if not METHODS[name].installed:
        pytest.skip(f"{METHODS[name].package} is not installed")
    x = torch.randn(2, 3, 16, 16)
    before = snapshot(net, x)
    found = METHODS[name].explain(net, x, TARGET)
    assert snapshot(net, x) == before
    assert found.any()
    assert difference(found, METHODS[OURS].explain(net, x, TARGET)) < 1e-6


def test_the_peak_of_a_process_grows_by_what_it_allocates():
    growth = peak_growth(partial(partial, bytearray, 64 * 2**20), children=1)
    if growth is None:
        pytest.skip("this system does not tell the peak of a process's memory")
    assert growth == pytest.approx(64, rel=0.1)


def test_the_floor_is_the_gradient_and_is_timed_beside_the_others():
    case = Case("squeezenet1_0", side=64)
    model, x = build(case)
    assert torch.equal(
        little.gradient(model, x, TARGET), torch.autograd.functional.jacobian(lambda y: model(y)[0, TARGET], x)
    )
    assert {name: len(times) for name, times in little.times(case, 1).items()} == {little.FLOOR: 1, CAPTUM: 1, OURS: 1}


TINY = "--models squeezenet1_0 --batch 1 --rounds 1 --side 64 --children 0".split()


def test_the_table_has_a_row_for_each_method(capsys):
    costs.main(TINY)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("squeezenet1_0")]
    assert [method for line in lines for method in METHODS if f" {method} " in line] == list(METHODS)
    assert all(line.endswith(("same", "not installed")) for line in lines[2:])


def test_the_readmes_table_has_a_row_for_each_case():
    rows = [
        ["net", "8", PLAIN, "10.0", "1.00", "2.00", "50", "1.00", "1.50", ""],
        ["net", "8", OURS, "20.0", "2.00", "1.00", "75", "1.50", "1.00", ""],
        ["net", "8", CAPTUM, "25.0", "2.50", "0.80", "150", "3.00", "0.50", "same"],
        ["net", "8", "zennit DeconvNet", "25.0", "2.50", "0.81", "150", "3.00", "0.51", "1.1"],
        ["net", "8", "TorchRay deconvnet", *[""] * 6, "not installed"],
    ]
    assert costs.summary(rows) == [
        *("net", "8", "10.0 ms, 50 MB", "2.00, 1.50"),
        *("0.80, 0.50", "0.81, 0.51 (map off by 1.1)", "not installed"),
    ]
    assert len(costs.SUMMARY) == 7


def test_load_measures_each_kind_of_work_and_writes_its_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(load, "FILTERS", 20)
    monkeypatch.setattr(load, "SIZES", {name: [2] if name == load.EXPLAIN else [8] for name in load.SIZES})
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- load.py -->\nold\n<!-- end of load.py -->\nafter\n")
    tiny = ["--children", "0", "--widths"]
    load.main([*tiny, "--output", str(tmp_path / "load.png"), "--readme", str(readme)])
    assert (tmp_path / "load.png").stat().st_size > 10_000
    printed, written = capsys.readouterr().out, readme.read_text()
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written
    for name in load.WORKS:
        assert printed.count(f"\n{name} ") == 1
        assert written.count(f"\n| {name} |") == 1


SIZES = [10, 100, 1000, 10_000]


@pytest.mark.parametrize(
    ("seconds", "growth", "faults"),
    [
        (lambda size: 0.001 * size, lambda size: 200.0, 0),
        (lambda size: 0.2 + 0.001 * size, lambda size: 200 + size / 1000, 0),  # not linear below, where it is short
        (lambda size: 0.001 * size**2, lambda size: 200.0, 1),
        (lambda size: 1.0, lambda size: 200.0, 1),
        (lambda size: 0.001 * size, lambda size: 200 + size / 50, 1),
    ],
    ids=["linear and flat", "almost", "quadratic", "constant", "memory grows"],
)
def test_what_is_neither_linear_nor_flat_is_seen(seconds, growth, faults):
    costs = {size: load.Cost(seconds(size), growth(size) + size / 10, size / 10) for size in SIZES}
    assert len(load.broken("work", costs)) == faults


def test_a_page_that_nobody_can_use_is_seen():
    good = load.Use(10, 1.0, 0.1, 100, 2, [])
    assert load.unusable("maps", 5, 390, good) == []
    bad = {"megabytes": 300, "load": 4.0, "react": 0.6, "faults": ["scrolls sideways"]}
    assert all(len(load.unusable("maps", 5, 390, good._replace(**{name: value}))) == 1 for name, value in bad.items())


def test_what_a_result_holds_is_counted_once():
    x = torch.zeros(2**18)
    assert held({"a": [x, x[5:]], "b": (torch.zeros(2**18), 3)}) == 2


def refuse(*args):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("change", "excuse"),
    [({"explain": refuse}, "raises NotImplementedError"), ({"package": "no_such_package"}, "not installed")],
)
def test_a_peer_that_cannot_costs_its_own_row_only(monkeypatch, capsys, change, excuse):
    monkeypatch.setitem(METHODS, CAPTUM, METHODS[CAPTUM]._replace(**change))
    costs.main(TINY)
    lines = capsys.readouterr().out.splitlines()
    (excused,) = (line for line in lines if CAPTUM in line)
    assert excused.endswith(excuse)
    assert sum(line.startswith("squeezenet1_0") for line in lines) == len(METHODS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_its_table_is_skipped(capsys):
    costs.main(["--device", "cuda"])
    assert capsys.readouterr().out == "no GPU here, skipped\n"
