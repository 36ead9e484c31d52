"""Strikes a call by Ctrl-C at its lines, one after the other, and tells what of the caller's was left changed.

>>> found = strike(lambda: ZFDeconv(net).attribute(x, target=0), lambda: everything(net, x), 100)  # doctest: +SKIP
>>> assert found.faults == []
"""

from __future__ import annotations

import contextlib
import linecache
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rcParams
from state import Same, snapshot
from torch.overrides import _get_current_function_mode_stack, _pop_mode

import deconv_attr
from deconv_attr.engine import attributes, threads

EVERY_LINE = bool(os.environ.get("EVERY_LINE"))
OURS = str(Path(deconv_attr.__file__).parent)
TRACED = (OURS, contextlib.__file__, torch.overrides.__file__)


class Strike:
    """Raises KeyboardInterrupt at the n-th line that runs of the traced files."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0
        self.ends: dict[tuple[str, int], int] = {}  # of each line that begins a block with something to undo, the last
        self.where = ""

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(TRACED):
            return None
        if event == "line":
            self.seen += 1
            if not self.at and linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
                self.ends[frame.f_code.co_filename, frame.f_lineno] = self.seen
            if self.seen == self.at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self


@dataclass
class Struck:
    """How many lines a call has, how many of them were struck, and what was wrong then: line, source, fact."""

    lines: int = 0
    strikes: int = 0
    faults: list[tuple[int, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.strikes} interrupts at {self.lines} lines, {len(self.faults)} faults"


def strike(
    call: Callable[[], object],
    facts: Callable[[], dict[str, Any]],
    strikes: int,
    broken: Callable[[], list[str]] = list,
) -> Struck:
    """Strike a call at lines that are spread evenly over it, and where blocks end that have something to undo.

    With ``EVERY_LINE=1`` it strikes at each line.

    Parameters
    ----------
    call : callable
        Runs before, so that caches are full.
    facts : callable
        Returns what an interrupt must leave as it was.
    strikes : int
        About how many of the first kind.
    broken : callable
        Returns which other promises an interrupt has broken, and prepares the next call.
    """
    call()
    broken()
    _, whole = _called(call, Strike(0))
    broken()
    spread = range(1, whole.seen + 1, 1 if EVERY_LINE else max(1, whole.seen // strikes))
    before, found = facts(), Struck(whole.seen)
    for at in sorted({*spread, *whole.ends.values()}):
        came, blow = _called(call, Strike(at))
        if blow.seen < at:  # this time it was shorter
            continue
        found.strikes += 1
        wrong = [] if type(came) is KeyboardInterrupt else [f"came as {came!r}"]
        wrong += _changed(before, facts())  # while its traceback is there, as in a notebook
        came = None
        wrong += _changed(before, facts()) + broken()
        found.faults += [(at, blow.where, fact) for fact in dict.fromkeys(wrong)]
        if wrong:
            _clear()
    return found


def _called(call: Callable[[], object], blow: Strike) -> tuple[BaseException | None, Strike]:
    """Strike a call once."""
    return next(_struck(call, blow))


def _struck(call: Callable[[], object], blow: Strike) -> Iterator[tuple[BaseException | None, Strike]]:
    """Strike within a generator: it has its own stack of exceptions being handled, on which CPython leaves one where a
    trace function raises as a handler ends. On the thread's it would be the context of all later errors, and be held.
    """
    came = None
    sys.settrace(blow)
    try:
        call()
    except BaseException as error:
        came = error
    finally:
        sys.settrace(None)
    yield came, blow


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [fact for fact in {**before, **after} if before.get(fact) != after.get(fact)]


def _clear() -> None:
    """Clear what a fault has left behind, so that it is not told again."""
    for _ in _get_current_function_mode_stack():
        _pop_mode()
    for held in NOTED:
        held.clear()


NOTED = (threads._RUNNING_ALONE, threads._READ, threads._REPLACED, attributes._KEPT, attributes._EAGER)


def everything(model: Any, *tensors: Any) -> dict[str, Any]:
    """Record a model and some tensors, and what of thread and process a call could change."""
    return {
        **snapshot(model, *tensors),
        "torch's random numbers": torch.get_rng_state().numpy().tobytes(),
        "numpy's random numbers": [str(part) for part in np.random.get_state()],  # noqa: NPY002
        "Python's random numbers": random.getstate(),
        "filters of warnings": [*warnings.filters],
        "shown warnings": Same(warnings.showwarning),
        "rcParams": dict(dict.items(rcParams)),
        "signal handlers": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "threads of torch": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "saved tensors": torch._C._autograd._saved_tensors_hooks_is_enabled(),
        "stance": _stance(),
        "noted": [len(held) for held in NOTED],
    }


def _stance() -> str:
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return "default" if frames is None else str(frames._stance.stance)
