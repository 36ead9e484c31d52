"""Measuring a call: its time, in turns with others in one process, and the growth of the peak of memory.

Compare times by the median of the rounds' ratios: a machine that slows down for a while slows down a whole round.
"""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

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


class Cost(NamedTuple):
    """What a call took: seconds, by how many MB the peak of memory grew, and MB of tensors that its result holds."""

    seconds: float
    growth: float | None
    held: float


def peak_growth(prepare: Callable[[], Call], device: str = "cpu", children: int = 3) -> float | None:
    """Return by how many MB the peak of memory grows while the call that ``prepare()`` returns runs.

    On a CPU: resident memory, the median of processes that prepare the call and run it once, each started anew; so
    ``prepare`` must be picklable. None where the system does not tell (macOS, Windows), and for no processes.
    """
    if device != "cpu":
        return growth_on_gpu(prepare())
    if not children or not PROC.is_dir():
        return None
    return statistics.median(cost_in_a_process(prepare).growth or 0 for _ in range(children))


def cost_in_a_process(prepare: Callable[[], Call]) -> Cost:
    """Prepare a call and run it once, in a process of its own; so ``prepare`` must be picklable."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(cost, prepare).result()


def cost(prepare: Callable[[], Call]) -> Cost:
    """Prepare a call and run it once, here; only in a new process, the growth is that of the call alone."""
    call = prepare()
    gc.collect()
    with suppress(OSError):  # forbidden in some containers; then a higher peak of preparing hides some growth
        (PROC / "clear_refs").write_text("5")
    before = peak_of_process()
    begin = time.perf_counter()
    result = call()  # held until the peak is read: the map counts
    taken = time.perf_counter() - begin
    after = peak_of_process()
    growth = None if after is None or before is None else after - before
    return Cost(taken, growth, held(result))


def held(result: Any) -> float:
    """Return the MB of all tensors that a result of this package, or a collection of such, holds."""
    found: dict[int, int] = {}

    def walk(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, dict):
            walk(list(value.values()))
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif type(value).__module__.startswith("deconv_attr."):
            walk(vars(value))

    walk(result)
    return sum(found.values()) / MB


def give_back() -> None:
    """Give memory that is free back to the system, so that what preparing left does not hide a call's growth."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)


def peak_of_process() -> float | None:
    """Return this process's peak in MB. Its ru_maxrss would start with that of the process that started it."""
    if not PROC.is_dir():
        return None
    return int((PROC / "status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def growth_on_gpu(call: Call) -> float:
    call()  # what the libraries allocate once and keep, whichever method comes first
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / MB
