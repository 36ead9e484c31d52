"""Modes and random numbers, set for a while: each function notes first how that is undone."""

from __future__ import annotations

import random
import warnings
from contextlib import suppress
from functools import partial

import numpy as np
import torch

from .determinism import RandomState
from .threads import note_seeding, run_alone
from .undo import Undo

__all__ = [
    "keep_filters_of_warnings",
    "keep_random_state",
    "leave_autocast",
    "leave_autocast_cache",
    "leave_inference_mode",
    "seed_generators",
    "set_gradients",
]


def leave_inference_mode(undo: Undo) -> None:
    """Leave the thread's inference mode, if it is in it."""
    if torch.is_inference_mode_enabled():
        mode = torch.inference_mode(False)
        undo.later(lambda: None if torch.is_inference_mode_enabled() else mode.__exit__(None, None, None))
        mode.__enter__()


def set_gradients(enabled: bool, undo: Undo) -> None:
    """Have autograd record in this thread, or not."""
    undo.later(partial(torch.set_grad_enabled, torch.is_grad_enabled()))
    torch.set_grad_enabled(enabled)


def leave_autocast(device: str, undo: Undo) -> None:
    """Leave the thread's autocast for a type of device, if it is in it."""
    if torch.is_autocast_enabled(device):
        undo.later(partial(torch.set_autocast_enabled, device, True))
        torch.set_autocast_enabled(device, False)


def leave_autocast_cache(undo: Undo) -> None:
    """Leave no cast weights to the caller's autocast: with torch 2.6 later gradients would not reach the weights."""
    undo.later(partial(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled()))
    torch.set_autocast_cache_enabled(False)


def keep_random_state(device: torch.device, undo: Undo) -> None:
    """Have the states of torch's generators, of the CPU and of a device, put back."""
    undo.later(RandomState(device).restore)


def seed_generators(device: torch.device, undo: Undo) -> None:
    """Seed the generators of torch, numpy and Python, which are those of all threads; their states are put back."""
    run_alone(undo)
    note_seeding()
    keep_random_state(device, undo)
    undo.later(partial(np.random.set_state, np.random.get_state()))  # noqa: NPY002 - the one that Captum draws from
    undo.later(partial(random.setstate, random.getstate()))
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


def keep_filters_of_warnings(undo: Undo) -> None:
    """Have the filters of warnings put back, which are those of all threads."""
    caught = warnings.catch_warnings()

    def leave() -> None:
        with suppress(RuntimeError, AttributeError):  # not entered, or not quite
            caught.__exit__(None, None, None)

    undo.later(leave)
    caught.__enter__()
