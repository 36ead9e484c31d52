"""What arrived at the inputs: is it a number, did it live, and if not, where did it die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import SignalError
from ..rules.arguments import gathered
from ..rules.tables import Table
from .coverage import Call
from .signal_path import SignalPath

__all__ = ["Ending", "arrival", "faint_examples", "first_few", "where_signals_died"]

SHORT = 60  # characters of an ending as a caption


@dataclass(frozen=True)
class Ending:
    """Where a signal died.

    Parameters
    ----------
    clause : str
        For a sentence: "it was rectified away at 'relu' in module 'features.1'".
    caption : str
        In at most 60 characters: "rectified away at features.1".
    """

    clause: str
    caption: str

    @classmethod
    def at(cls, how: str, call: Call, more: str = "") -> Ending:
        """Return the ending at a call; a long name of it is cut in the caption, to its end."""
        said = how.removeprefix("was ")
        name = call.short_location
        room = SHORT - len(said) - 1
        if len(name) > room:
            name = f"...{name[3 - room :]}"
        return cls(f"it {how} {call.location}{more}", f"{said} {name}")


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
    """Return the signals that have one map for each example, (N, numbers) each."""
    return [signal.reshape(count, -1) for signal in signals if signal.dim() > 0 and len(signal) == count]


def faint_examples(signals: tuple[Tensor, ...], count: int) -> list[int]:
    """Return the examples whose maps, not all zero, have no value of which float16 has more digits than bfloat16.

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


def where_signals_died(
    model: nn.Module,
    rules: Table,
    send: Callable[[SignalPath], object],
    dead: Sequence[int],
    count: int,
    finite: bool,
    narrow: bool = False,
) -> dict[Ending, list[int]]:
    """Send signals once more, watched, and return where they died.

    Parameters
    ----------
    model, rules, narrow
        As for :class:`SignalPath`.
    send : callable
        ``send(path)`` runs the model on `count` examples and sends their signals.
    dead : sequence of int
        The examples whose signals did.
    finite : bool
        Whether all signals were numbers.

    Returns
    -------
    dict of Ending to list of int
        The examples by where their signals died.

    Raises
    ------
    SignalError
        They were not; the error names the call from which on.
    """
    if finite and not dead:
        return {}
    watched = SignalPath(model, rules, watch=True, narrow=narrow)
    with watched, watched:
        send(watched)
    if not finite:
        where = "somewhere in the model" if watched.culprit is None else f"from {watched.culprit.location} on"
        raise SignalError(f"the signal is NaN or infinite {where}: look at the weights and activations there")
    found: dict[Ending, list[int]] = {}
    for example in dead:
        found.setdefault(_last_seen(example, count, watched), []).append(example)
    return found


_HEADS = frozenset("sigmoid softmax log_softmax softmin logsigmoid tanh hardsigmoid".split())


def _last_seen(example: int, count: int, watched: SignalPath) -> Ending:
    rectified = watched.rectified
    unlike = [call for call in rectified if call.lowest is not None and len(call.lowest) != count]
    for call in reversed(rectified):  # from the pixels up: the first that a signal reached at all
        if call.lowest is None or call.highest is None or call in unlike:
            continue
        if call.highest[example] > 0:
            return Ending.at("was last seen below", call)
        if call.lowest[example] < 0:
            return Ending.at("was rectified away at", call)
    if unlike:
        return Ending.at("was lost at or above", unlike[-1])
    for call, lost in watched.silenced:
        if len(lost) == count and lost[example]:
            saturated = ", which is saturated: explain the scores below it, the logits" * (call.operation in _HEADS)
            return Ending.at("became 0 at", call, saturated)
    return Ending("it reached no rectifier", "reached no rectifier")


def first_few(numbers: list[int]) -> str:
    """Return the first few of many numbers, as text."""
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
