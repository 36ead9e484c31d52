"""What threads of a process must agree on: who runs third-party code, and whose weights a model has meanwhile.

A call of ours acts in its own thread: its modes are the thread's, its hooks do nothing in another. Two things cannot be
so, for they are on what threads share. Third-party code is run with seeded generators, which are the process's, and
with the model in eval mode: one thread at a time does that. And a parameter randomisation has its random numbers in the
model's own parameters: explanations of whatever model has these, in other threads, are refused until its own are back.

What is noted here is noted in dicts, whose single operations no interrupt and no thread can divide; a lock that an
interrupt strikes as it is taken would not know whether it is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial

from torch import Tensor, nn

from ..errors import ModelError
from .undo import Undo

__all__ = ["note_seeding", "read_weights", "replace_weights", "run_alone", "seedings_elsewhere"]

_POLL = 0.002  # seconds
_RUNNING_ALONE: dict[str, int] = {}  # the thread that has what threads share
_SEEDED: dict[int, int] = {}  # by thread, how often it has seeded the generators of random numbers
_READ: dict[object, tuple[int, Sequence[nn.Module]]] = {}  # by a token of each pass: its thread and modules
_REPLACED: dict[object, tuple[int, frozenset[int]]] = {}  # of each cascade: its thread, and the ids of parameters

if hasattr(os, "register_at_fork"):  # not on Windows
    for _noted in (_RUNNING_ALONE, _SEEDED, _READ, _REPLACED):  # a forked process has none of the other threads
        os.register_at_fork(after_in_child=_noted.clear)


_GENERATORS = "generators of random numbers"


def run_alone(undo: Undo, what: str = _GENERATORS) -> None:
    """Wait until no other thread has something that threads share; then this one has it, until it is undone.

    A thread that has it already goes on. What models share is one for all of them, so that no two threads wait for each
    other: who has that may take the others, which are held for what runs no model, and not the other way round.
    """
    thread = threading.get_ident()
    if _RUNNING_ALONE.get(what) == thread:
        return
    undo.later(partial(_end_alone, what, thread))
    while _RUNNING_ALONE.setdefault(what, thread) != thread:
        time.sleep(_POLL)


def _end_alone(what: str, thread: int) -> None:
    if _RUNNING_ALONE.get(what) == thread:
        del _RUNNING_ALONE[what]


def note_seeding() -> None:
    """Note that this thread seeds the generators of random numbers; it runs alone."""
    thread = threading.get_ident()
    _SEEDED[thread] = _SEEDED.get(thread, 0) + 1


def seedings_elsewhere() -> int | None:
    """Return how often other threads have seeded the generators; None while one of them may have its own states there.

    Where that changes, what the generators' states were before, and what this thread has drawn, cannot be told.
    """
    thread = threading.get_ident()
    if _RUNNING_ALONE.get(_GENERATORS, thread) != thread:
        return None
    return sum(count for other, count in list(_SEEDED.items()) if other != thread)


def read_weights(modules: Sequence[nn.Module], undo: Undo) -> None:
    """Note that a pass in this thread reads the weights of some modules.

    Raises
    ------
    ModelError
        Another thread has replaced some of them.
    """
    token, thread = object(), threading.get_ident()
    undo.later(partial(_READ.pop, token, None))
    _READ[token] = thread, modules  # first: who replaces weights looks here after having said so, as we do
    if _REPLACED and _replaced_elsewhere(modules, thread):
        raise ModelError(
            "expected the model with its own weights, got those of a parameter randomisation that another thread runs; "
            "explain the model when that has ended, or a copy that was made before"
        )


def replace_weights(parameters: Sequence[nn.Parameter], undo: Undo) -> None:
    """Have the data of parameters put back, which is to be replaced by other tensors, and never written.

    One thread at a time does so. Passes of others that read these weights are waited for, and further ones are refused
    meanwhile.
    """
    run_alone(undo)
    token, thread = object(), threading.get_ident()
    own = [(parameter, parameter.data) for parameter in parameters]
    undo.later(partial(_REPLACED.pop, token, None))
    undo.later(partial(_put_back, own))
    _REPLACED[token] = thread, frozenset(map(id, parameters))
    while _read_elsewhere(_REPLACED[token][1], thread):
        time.sleep(_POLL)


def _put_back(own: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
    for parameter, data in own:
        parameter.data = data


def _replaced_elsewhere(modules: Sequence[nn.Module], thread: int) -> bool:
    read = _parameters_of(modules)
    return any(other != thread and not ids.isdisjoint(read) for other, ids in list(_REPLACED.values()))


def _read_elsewhere(parameters: frozenset[int], thread: int) -> bool:
    return any(
        other != thread and not parameters.isdisjoint(_parameters_of(modules))
        for other, modules in list(_READ.values())
    )


def _parameters_of(modules: Sequence[nn.Module]) -> set[int]:
    return {id(parameter) for module in modules for parameter in list(module._parameters.values())}
