"""The benchmarks themselves: they compare the same maps, and measure what is there. None is run in full here."""

from functools import partial

import costs
import little
import pytest
import torch
from measure import peak_growth
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
