"""Sends the signals of all examples down a model, part by part, and judges what arrives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from ..engine.coverage import Coverage
from ..engine.diagnosis import arrival, endings, faint_examples, lost_numbers, some
from ..engine.signal_path import SignalPath
from ..errors import DeadSignalWarning, SignalError, TargetError
from ..rules.tables import Table
from .batches import Gathered

__all__ = ["explain", "leaves_of"]

Send = Callable[[SignalPath, slice], tuple[Tensor, ...]]


def explain(
    model: nn.Module,
    rules: Table,
    parts: Sequence[slice],
    send: Send,
    advice: str,
    *,
    traced: bool = False,
    pack: bool = True,
) -> tuple[tuple[Tensor, ...], Coverage]:
    """Send the signals of all examples down a model, and warn where they did not arrive.

    Parameters
    ----------
    model, rules
        As for :class:`SignalPath`.
    parts : sequence of slice
        The examples that run together.
    send : callable
        ``send(path, examples)`` runs the model on some examples and gives the signals that arrive, (n, ...) each.
    advice : str
        What to do where a signal dies.
    traced : bool
        Whether the calls are asked for.
    pack : bool
        As for :class:`SignalPath`.

    Returns
    -------
    tuple of Tensor, Coverage
        The signals of all examples, (N, ...) each, and the calls of the first part.

    Raises
    ------
    SignalError
        A signal is no finite number.
    """
    count = parts[-1].stop
    gathered, calls, dead, weak = Gathered(count), None, dict[str, list[int]](), list[int]()
    for examples in parts:
        try:
            path = SignalPath(model, rules, traced=traced and calls is None, pack=pack)
            with path, path:
                signals = send(path, examples)
        except TargetError as error:
            if len(parts) == 1:
                raise
            raise TargetError(f"of the examples {examples.start} to {examples.stop - 1}: {error}") from error
        rows = examples.stop - examples.start
        silent, finite = arrival(tuple(signal.detach() for signal in signals), rows)
        for place, ended in _endings(model, rules, examples, send, silent, finite).items():
            dead.setdefault(place, []).extend(examples.start + example for example in ended)
        if path.in_float16:
            found = {*silent, *faint_examples(signals, rows)}
            weak += [examples.start + example for example in sorted(found)]
        gathered.add(signals, examples)
        calls = path.calls if calls is None else calls
    notes = [
        f"The signal died for {_listed(which, count)}, their maps are zero: {place}. {advice}"
        for place, which in dead.items()
    ]
    if weak:
        notes.append(
            f"The signal of {_listed(weak, count)} is so weak that float16, in which a part of the model ran, may have "
            "lost some of it, as all that is below 6e-8: use bfloat16 or float32."
        )
    for note in notes:
        warnings.warn(note, DeadSignalWarning, stacklevel=4)
    return gathered.tensors, Coverage(calls or (), notes)


def _endings(
    model: nn.Module, rules: Table, examples: slice, send: Send, dead: list[int], finite: bool
) -> dict[str, list[int]]:
    """Say where signals died, if any did; refuse those that are no numbers."""
    count = examples.stop - examples.start
    if finite and not dead:
        return {}
    watched = SignalPath(model, rules, watch=True)
    with watched, watched:
        send(watched, examples)
    if not finite:
        raise SignalError(lost_numbers(watched.culprit))
    return endings(dead, count, watched.rectified)


def _listed(examples: list[int], count: int) -> str:
    return f"{len(examples)} of {count} examples ({some(examples)})"


def leaves_of(tensors: Iterable[Tensor], connected: bool = False) -> tuple[Tensor, ...]:
    """Return tensors of our own on the caller's data, at which a graph can begin.

    Parameters
    ----------
    tensors : iterable of Tensor
        The caller's.
    connected : bool
        Whether those that require grad stay what they are, so that a map can be differentiated by them.
    """
    return tuple(
        tensor
        if connected and tensor.requires_grad
        else (tensor.clone() if tensor.is_inference() else tensor.detach()).requires_grad_()
        for tensor in tensors
    )
