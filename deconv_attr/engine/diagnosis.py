"""What arrived at the inputs: is it a number, did it live, and if not, where did it end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..rules.arguments import gathered
from .coverage import Call

__all__ = ["arrival", "endings", "faint_examples", "lost_numbers", "some"]


def lost_numbers(culprit: Call | None) -> str:
    """Say from which call on the signal is no number."""
    where = f"from {culprit.place} on" if culprit is not None else "somewhere in the model"
    return f"the signal is NaN or infinite {where}: look at the weights and activations there"


def arrival(signals: tuple[Tensor, ...], count: int) -> tuple[list[int], bool]:
    """Find the examples whose maps are all zero, and say whether all maps are finite: read from the device at once.

    Parameters
    ----------
    signals : tuple of Tensor
        What arrived, (N, ...) each.
    count : int
        N.
    """
    finite = torch.stack([signal.isfinite().all() for signal in signals]).all()
    maps = _maps(signals, count)
    if not maps:
        return [], bool(finite)  # a layer that mixes the examples
    alive = torch.stack([signal.any(1) for signal in maps]).any(0)
    *living, is_finite = gathered(torch.cat([alive, finite[None]])).tolist()
    return [example for example, lives in enumerate(living) if not lives], is_finite


def _maps(signals: tuple[Tensor, ...], count: int) -> list[Tensor]:
    """Give the signals that have one map for each example, (N, numbers) each."""
    return [signal.reshape(count, -1) for signal in signals if signal.dim() > 0 and len(signal) == count]


def faint_examples(signals: tuple[Tensor, ...], count: int) -> list[int]:
    """Find the examples whose maps, but not all zero, have no value of which float16 has more digits than bfloat16.

    Parameters
    ----------
    signals, count
        As for :func:`arrival`.
    """
    maps = _maps(signals, count)
    if not maps:
        return []
    highest = torch.stack([signal.abs().amax(1).float() for signal in maps]).amax(0)
    least = torch.finfo(torch.float16).tiny / 8
    faint: list[int] = ((highest > 0) & (highest < least)).nonzero().flatten().tolist()
    return faint


def endings(examples: Sequence[int], count: int, rectified: list[Call]) -> dict[str, list[int]]:
    """Say where signals died.

    Parameters
    ----------
    examples : sequence of int
        Those whose signals did, of `count`.
    rectified : list of Call
        The rectifiers in the order in which the signals came to them.

    Returns
    -------
    dict of str to list of int
        The examples by the place, in words.
    """
    places: dict[str, list[int]] = {}
    for example in examples:
        places.setdefault(_last_seen(example, count, rectified), []).append(example)
    return places


def _last_seen(example: int, count: int, rectified: list[Call]) -> str:
    unlike = [call for call in rectified if call.lowest is not None and len(call.lowest) != count]
    for call in reversed(rectified):  # from the pixels up: the first that a signal reached at all
        if call.lowest is None or call.highest is None or call in unlike:
            continue
        if call.highest[example] > 0:
            return f"it was last seen below {call.place}"
        if call.lowest[example] < 0:
            return f"it was rectified away at {call.place}"
    return f"it was lost at or above {unlike[-1].place}" if unlike else "it reached no rectifier"


def some(numbers: list[int]) -> str:
    """List the first few of many numbers."""
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
