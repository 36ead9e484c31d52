"""Measuring a call: its time, in turns with others in one process, and the growth of the peak of memory.

Compare times by the median of the rounds' ratios: a machine that slows down for a while slows down a whole round.
"""

import gc
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

MB = 2**20
PROC = Path("/proc/self")

Call = Callable[[], Any]


def seconds(call: Call, device: str = "cpu") -> float:
    if device == "cpu":
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin
    torch.cuda.synchronize()
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000


def in_turns(calls: dict[str, Call], rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Return each call's seconds, round by round. The first round is not counted."""
    turns = [{name: seconds(call, device) for name, call in calls.items()} for _ in range(rounds + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in calls}


def ratio(times: list[float], others: list[float]) -> float:
    return statistics.median(time / other for time, other in zip(times, others, strict=True))


def peak_growth(prepare: Callable[[], Call], device: str = "cpu", children: int = 3) -> float | None:
    """Return by how many MB the peak of memory grows while the call that ``prepare()`` returns runs.

    On a CPU: resident memory, the median of processes that prepare the call and run it once, each started anew; so
    ``prepare`` must be picklable. None where the system does not tell (macOS, Windows), and for no processes.
    """
    if device != "cpu":
        return growth_on_gpu(prepare())
    if not children or not PROC.is_dir():
        return None
    growths = []
    for _ in range(children):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            growths.append(process.submit(growth_of_process, prepare).result())
    return statistics.median(growths)


def growth_of_process(prepare: Callable[[], Call]) -> float:
    call = prepare()
    gc.collect()
    with suppress(OSError):  # forbidden in some containers; then a higher peak of preparing hides some growth
        (PROC / "clear_refs").write_text("5")
    before = peak_of_process()
    result = call()  # held until the peak is read: the map counts
    growth = peak_of_process() - before
    del result
    return growth


def peak_of_process() -> float:
    """Return this process's peak in MB. Its ru_maxrss would start with that of the process that started it."""
    return int((PROC / "status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def growth_on_gpu(call: Call) -> float:
    call()  # what the libraries allocate once and keep, whichever method comes first
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / MB
