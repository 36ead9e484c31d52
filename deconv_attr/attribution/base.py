"""What the three classes share: Captum's interface, and sending the signals of all examples, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor, nn

from ..engine.call_site import warn_caller
from ..engine.coverage import NO_RULE, Coverage
from ..engine.determinism import RandomState, draws_in
from ..engine.diagnosis import Ending, arrival, faint_examples, first_few, where_signals_died
from ..engine.reprs import html_table
from ..engine.signal_path import SignalPath
from ..errors import DeadSignalWarning, RandomModelWarning, TargetError
from ..rules.kinds import Kind
from ..rules.tables import DECONVNET, TABLES, Choices, Table, changed_choices, choose
from .batches import Gathered

__all__ = ["SINGLE_UNIT", "CaptumAttribution", "as_tuple", "explain", "leaves_of"]

SINGLE_UNIT = (
    "Start from a single unit instead, as the paper does: "
    "NeuronZFDeconv(model, layer).attribute(inputs, neuron_selector=feature_map), or project(...)."
)

Send = Callable[[SignalPath, slice], tuple[Tensor, ...]]


class CaptumAttribution(Attribution):
    """The parts of Captum's interface that all three classes share."""

    model: nn.Module
    rules: Table
    _chosen: tuple[str, ...] = ()  # the arguments that make another table than the default, as code

    def _choose(self, model: nn.Module, rules: Table, choices: Choices) -> None:
        """Keep the model and the rules for it, and what of them a reader should know."""
        self.model = model
        self.rules = choose(rules, model, **choices)
        named = [f"rules=TABLES[{name!r}]" for name, table in TABLES.items() if table == rules]
        own = [] if rules == DECONVNET else named or ["rules={...}"]
        chosen = [f"{argument}={choice!r}" for argument, choice in changed_choices(choices).items()]
        self._chosen = (*own, *chosen)

    def _of_model(self) -> list[str]:
        """Return what is explained, as it stands in a ``repr``: the model, of a :class:`ScoredModel` the one inside."""
        return [type(next(self.model.modules())).__name__]

    def __repr__(self) -> str:
        return f"{self.get_name()}({', '.join([*self._of_model(), *self._chosen])})"

    def _repr_html_(self) -> str:
        """Return the table of rules for a notebook."""
        kinds = [[kind.value, self.rules[kind].name if kind in self.rules else NO_RULE] for kind in Kind]
        others = [[self._named(key), rule.name] for key, rule in self.rules.items() if not isinstance(key, Kind)]
        return html_table(repr(self), ["operation", "rule"], [*others, *kinds])

    def _named(self, key: object) -> str:
        """Return the name of a layer, or of an entry of the table."""
        if isinstance(key, nn.Module):
            return next(
                (name for name, module in self.model.named_modules() if module is key and name), type(key).__name__
            )
        return key.__name__ if isinstance(key, type) else str(key)

    @classmethod
    def get_name(cls) -> str:
        """Return the method's name in Captum's reports."""
        return cls.__name__

    def attribute_future(self) -> None:
        """Refuse: there is no asynchronous version.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(f"attribute_future is not implemented for {self.get_name()}")


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
    """Send the signals of all examples down a model, and warn where they did not arrive, or follow from chance.

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
    count, draws = parts[-1].stop, ""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    gathered, calls, dead, weak = Gathered(count), None, dict[Ending, list[int]](), list[int]()
    for examples in parts:
        path = SignalPath(model, rules, traced=traced and calls is None, pack=pack)
        state = RandomState(device)
        with path, path, _naming(examples, of_parts=len(parts)):
            signals = send(path, examples)
        draws = draws or draws_in(model, state)
        rows = examples.stop - examples.start
        silent, finite = arrival(tuple(signal.detach() for signal in signals), rows)
        died = where_signals_died(model, rules, partial(_send_again, send, examples), silent, rows, finite)
        for ending, ended in died.items():
            dead.setdefault(ending, []).extend(examples.start + example for example in ended)
        if path.in_float16:
            found = {*silent, *faint_examples(signals, rows)}
            weak += [examples.start + example for example in sorted(found)]
        gathered.add(signals, examples)
        calls = path.calls if calls is None else calls
    if draws:
        warn_caller(RandomModelWarning(draws))
    lost = _warnings(dead, weak, count, advice)
    for warning in lost:
        warn_caller(warning)
    return gathered.tensors, Coverage(calls or (), list(map(str, lost)))


def _send_again(send: Send, examples: slice, path: SignalPath) -> tuple[Tensor, ...]:
    return send(path, examples)


@contextmanager
def _naming(examples: slice, of_parts: int) -> Iterator[None]:
    """Name the examples of a part in the errors of targets, which count from its first."""
    try:
        yield
    except TargetError as error:
        if of_parts == 1:
            raise
        raise TargetError(f"of the examples {examples.start} to {examples.stop - 1}: {error}") from error


def _warnings(dead: Mapping[Ending, list[int]], weak: list[int], count: int, advice: str) -> list[DeadSignalWarning]:
    """Return the warnings of maps that are zero, and of those that float16 may have weakened."""
    found = [
        DeadSignalWarning(
            f"The signal died for {_listed(which, count)}, their maps are zero: {ending.clause}. {advice}",
            {ending.caption: which},
            count,
            advice,
        )
        for ending, which in dead.items()
    ]
    if weak:
        text = (
            f"The signal of {_listed(weak, count)} is so weak that float16, in which a part of the model ran, may have "
            "lost some of it, as all that is below 6e-8: use bfloat16 or float32."
        )
        found.append(DeadSignalWarning(text, count=count))
    return found


def _listed(examples: list[int], count: int) -> str:
    return f"{len(examples)} of {count} examples ({first_few(examples)})"


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


def as_tuple(arguments: Any) -> tuple[Any, ...]:
    """Return a model's further arguments as a tuple."""
    if arguments is None:
        return ()
    return arguments if isinstance(arguments, tuple) else (arguments,)
