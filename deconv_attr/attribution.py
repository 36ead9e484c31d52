"""The Captum face: ``ZFDeconv(model).attribute(x, target=...)``, its neuron and layer forms, ``coverage(model, x)``.

>>> attributions = ZFDeconv(model).attribute(x, target=5)   # doctest: +SKIP
>>> attributions.shape == x.shape                           # doctest: +SKIP
True

The map is the signal that arrives at the pixels when 1 is put on the target's score and sent back by the rules
of :data:`deconv_attr.DECONVNET`.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from captum.attr import Attribution, GradientAttribution, LayerAttribution, NeuronAttribution
from captum.log import log_usage
from torch import Tensor, nn

from .checks import Selector, Target, check_inputs, check_model, first_signal, select_scores, select_units
from .coverage import Coverage
from .diagnosis import dead_examples, endings, lost_numbers, some
from .errors import DeadSignalWarning, SignalError
from .hooks import SignalPath
from .layer_tap import LayerTap
from .layers import Layer, find_layer
from .rules import DECONVNET, Table, choose
from .survey import NotSurveyedError, survey

__all__ = ["LayerZFDeconv", "NeuronZFDeconv", "ZFDeconv", "coverage"]


class _Face(Attribution):
    """What both methods answer to Captum."""

    @classmethod
    def get_name(cls) -> str:
        """Name the method in Captum's reports."""
        return cls.__name__

    def attribute_future(self) -> None:
        """Refuse: there is no asynchronous version."""
        raise NotImplementedError(f"attribute_future is not implemented for {self.get_name()}")


class ZFDeconv(_Face, GradientAttribution):
    """The deconvnet of Zeiler and Fergus as a Captum attribution method.

    Parameters
    ----------
    model : nn.Module
        The model; it is never changed.
    rules : Table
        Which rule serves which kind of operation, e.g. ``GUIDED_BACKPROP``.
    activations : {"error", "rectify", "gradient"}
        What to do at an activation that the paper has no rule for (LeakyReLU, GELU, ...).
    unknown : {"error", "gradient"}
        What to do at an operation that is not listed, or that runs where no rule can reach it.
    batch_norm : {"scale", "gradient", "pass through"}
        Scale the signal by gamma / sqrt(var + eps), as if folded into the convolution; differentiate (the same
        in eval mode); or leave the signal as it is.
    overlap : {"sum", "mean", "overwrite"}
        What unpooling does where overlapping windows share a maximum.

    Raises
    ------
    ModelError
        Not a Module, or one with TorchScript in it.
    InputError
        A choice that does not exist.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rules: Table = DECONVNET,
        activations: str = "error",
        unknown: str = "error",
        batch_norm: str = "scale",
        overlap: str = "sum",
    ) -> None:
        check_model(model)
        super().__init__(model)
        self.model = model
        self.rules = choose(rules, activations=activations, unknown=unknown, batch_norm=batch_norm, overlap=overlap)
        self.gradient_func: Callable[..., tuple[Tensor, ...]] = signal_to_inputs

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        return_coverage: bool = False,
    ) -> Any:
        """Project the target's score down to the inputs.

        Parameters
        ----------
        inputs : Tensor or tuple of Tensor
            (N, ...) in floating point, on the model's device.
        target : int, tuple, Tensor, list or None
            The score to explain, as everywhere in Captum: a class, a unit, or one for each example.
        additional_forward_args : any
            Further arguments of the model, a tuple if several; nothing is attributed to them.
        return_coverage : bool
            Whether to return the :class:`Coverage` report of the call too.

        Returns
        -------
        Tensor or tuple of Tensor
            The signal at the inputs, shaped as they are, contiguous; signed; in units of score per input.
            With ``return_coverage``, a pair of this and the report.

        Raises
        ------
        InputError, TargetError, ModelError
            Bad inputs or target; a model that has no rectifier or does not return one tensor.
        RuleError
            An operation without a rule.
        SignalError
            The signal is not finite; the message says from which operation on.

        Warns
        -----
        DeadSignalWarning
            A map is zero everywhere because the signal was rectified away.
        """
        tensors, others = check_inputs(inputs, self.model), _as_tuple(additional_forward_args)

        def send(path: SignalPath) -> tuple[Tensor, ...]:
            leaves = _leaves(tensors)

            def forward(*args: Any) -> Any:
                return path.run(self.forward_func, args[: len(leaves)], args[len(leaves) :])

            return self.gradient_func(forward, leaves, target, others)

        signals, report = _explain(self.model, self.rules, len(tensors[0]), send, _SINGLE_UNIT)
        attributions = signals if isinstance(inputs, tuple) else signals[0]
        return (attributions, report) if return_coverage else attributions


class _AtLayer(_Face):
    """What a method that looks at one layer is made of; its arguments are :class:`NeuronZFDeconv`'s."""

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module | str,
        device_ids: list[int] | None = None,
        *,
        rules: Table = DECONVNET,
        activations: str = "error",
        unknown: str = "error",
        batch_norm: str = "scale",
        overlap: str = "sum",
    ) -> None:
        check_model(model)
        find_layer(model, layer)
        super().__init__(model, layer, device_ids)  # type: ignore[call-arg]  # Captum's neuron or layer class
        self.model = model
        self.rules = choose(rules, activations=activations, unknown=unknown, batch_norm=batch_norm, overlap=overlap)

    def _settled(self, layer: Any, tensors: tuple[Tensor, ...], others: tuple[Any, ...]) -> Layer:
        """Find a layer and, by a dry run, its only call; leave that open if the model cannot run dry."""
        found = find_layer(self.model, layer)
        if found.call is None:
            with suppress(NotSurveyedError):
                found = found.settled(len(survey(self.model, tensors, others, found)))
        return found


class NeuronZFDeconv(_AtLayer, NeuronAttribution):
    """Which pixels caused the activation of one unit of a layer: the paper's own question.

    Parameters
    ----------
    model : nn.Module
        The model; it is never changed.
    layer : nn.Module or str
        One of its modules, or its dotted name; ``"relu#2"`` for the second call of one that runs several times.
    device_ids : list of int or None
        Accepted for Captum's sake; one device is used.
    rules, activations, unknown, batch_norm, overlap
        As for :class:`ZFDeconv`.

    Raises
    ------
    ModelError
        As for :class:`ZFDeconv`.
    InputError
        A choice or a layer that does not exist.
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        start: str = "one",
        return_coverage: bool = False,
    ) -> Any:
        """Project units of the layer down to the inputs. The forward pass ends at the layer.

        Parameters
        ----------
        inputs, additional_forward_args, return_coverage
            As for :meth:`ZFDeconv.attribute`, which also lists the errors.
        neuron_selector : int, tuple, list, Tensor or callable
            int: of a layer of feature maps that map's strongest unit in each example, of a layer of vectors that
            unit. tuple of int: (map, row, column). tuple with slices: the sum of the units. callable: a function
            of the layer's output that returns (N,). list or 1-D tensor: an int or a tuple for each example.
        attribute_to_neuron_input : bool
            Whether the units are those of the layer's input instead.
        start : {"one", "activation"}
            What the signal starts with: 1, as everywhere in Captum, or the unit's activation, as in the paper.

        Returns
        -------
        Tensor or tuple of Tensor
            As for :meth:`ZFDeconv.attribute`; with ``start="activation"`` in units of activation squared per input.

        Raises
        ------
        InputError
            The layer does not run, or several times; it does not return one tensor.
        TargetError
            The selector is out of range, or of a wrong type or length.
        """
        tensors, others = check_inputs(inputs, self.model), _as_tuple(additional_forward_args)
        layer = self._settled(self.layer, tensors, others)
        tap = LayerTap(layer, attribute_to_neuron_input, last=layer.call is not None)

        def send(path: SignalPath) -> tuple[Tensor, ...]:
            leaves = _leaves(tensors)
            scores = select_units(path.run(tap.until(self.model), leaves, others, whole=False), neuron_selector)
            return torch.autograd.grad(scores, leaves, first_signal(scores, start, path.watches))

        signals, report = _explain(self.model, self.rules, len(tensors[0]), send, _OTHER_UNIT)
        attributions = signals if isinstance(inputs, tuple) else signals[0]
        return (attributions, report) if return_coverage else attributions


class LayerZFDeconv(_AtLayer, LayerAttribution):
    """The signal of a score, or of units of a layer further up, read at a layer on its way down.

    Parameters
    ----------
    model, layer, device_ids, rules, activations, unknown, batch_norm, overlap
        As for :class:`NeuronZFDeconv`.
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Any = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        *,
        from_layer: nn.Module | str | None = None,
        start: str = "one",
    ) -> Any:
        """Send a signal down to the layer.

        Parameters
        ----------
        inputs, additional_forward_args
            As for :meth:`ZFDeconv.attribute`, which also lists the errors.
        target
            Where the signal starts: as for :meth:`ZFDeconv.attribute`, or with `from_layer` as the
            ``neuron_selector`` of :meth:`NeuronZFDeconv.attribute`.
        attribute_to_layer_input : bool
            Whether to read the signal at the layer's input instead: all of it, also what reaches that tensor
            past the layer, by a skip connection.
        from_layer : nn.Module, str or None
            The layer further up at which the signal starts, and the forward pass ends; None: the model's output.
        start : {"one", "activation"}
            As for :meth:`NeuronZFDeconv.attribute`.

        Returns
        -------
        Tensor or tuple of Tensor
            Shaped as the layer's output (or input); a tuple of its tensors if that is not a single one.

        Raises
        ------
        InputError
            A layer does not run, or several times; the signal does not come by the layer.
        """
        tensors, others = check_inputs(inputs, self.model), _as_tuple(additional_forward_args)
        tap = LayerTap(find_layer(self.model, self.layer), attribute_to_layer_input)
        top = None
        if from_layer is not None:
            tap = LayerTap(self._settled(self.layer, tensors, others), attribute_to_layer_input)
            upper = self._settled(from_layer, tensors, others)
            top = LayerTap(upper, last=upper.call is not None)

        def send(path: SignalPath) -> tuple[Tensor, ...]:
            with tap:
                forward = self.model if top is None else top.until(self.model)
                output = path.run(forward, _leaves(tensors), others, whole=top is None)
            scores = select_scores(output, target) if top is None else select_units(output, target)
            return tap.signals(scores, first_signal(scores, start, path.watches))

        signals, _ = _explain(self.model, self.rules, len(tensors[0]), send, _SINGLE_UNIT)
        return signals[0] if tap.is_single else signals


_SINGLE_UNIT = (
    "Start from a single unit instead, as the paper does: "
    "NeuronZFDeconv(model, layer).attribute(inputs, neuron_selector=feature_map), or project(...)."
)
_OTHER_UNIT = "Choose another unit, or a layer further down."


def _explain(
    model: nn.Module,
    rules: Table,
    count: int,
    send: Callable[[SignalPath], tuple[Tensor, ...]],
    advice: str,
) -> tuple[tuple[Tensor, ...], Coverage]:
    """Send the signals of `count` examples down a model and judge what arrives."""
    with SignalPath(model, rules) as path:
        signals = tuple(signal.contiguous() for signal in send(path))
    finite = all(bool(signal.isfinite().all()) for signal in signals)
    dead = dead_examples(signals, count)
    notes = []
    if dead or not finite:
        with SignalPath(model, rules, watch=True) as witness:
            send(witness)
        if not finite:
            raise SignalError(lost_numbers(witness.culprit))
        notes = [
            f"The signal died for {len(examples)} of {count} examples ({some(examples)}), their maps are zero: "
            f"{place}. {advice}"
            for place, examples in endings(dead, count, witness.rectified).items()
        ]
    for note in notes:
        warnings.warn(note, DeadSignalWarning, stacklevel=4)
    return signals, path.report(notes)


def signal_to_inputs(
    forward_fn: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    target_ind: Target = None,
    additional_forward_args: tuple[Any, ...] = (),
) -> tuple[Tensor, ...]:
    """Put 1 on each example's score and send it back. In the place of Captum's ``compute_gradients``."""
    scores = select_scores(forward_fn(*inputs, *additional_forward_args), target_ind)
    return torch.autograd.grad(scores, inputs, torch.ones_like(scores))


def coverage(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    additional_forward_args: Any = None,
    *,
    rules: Table = DECONVNET,
) -> Coverage:
    """Report what every call of a forward pass is given: a rule, autograd's adjoint or gradient, or nothing.

    Parameters
    ----------
    model, inputs, additional_forward_args
        As for :class:`ZFDeconv`. The model may return anything.
    rules : Table
        The table to hold the calls against; what it lacks is listed, no error.

    Returns
    -------
    Coverage
        The calls in order; ``print`` shows a table, ``.switches`` what the max-pools recorded.
    """
    check_model(model)
    tensors = check_inputs(inputs, model)
    others = _as_tuple(additional_forward_args)
    with SignalPath(model, rules, strict=False) as path:
        path.run(model, _leaves(tensors), others)
    return path.report(["No rectifier ran: the map would be the plain gradient."] if path.lacks_rectifier else [])


def _leaves(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give tensors of our own on the caller's data, at which a graph can begin."""
    return tuple((t.clone() if t.is_inference() else t.detach()).requires_grad_() for t in tensors)


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    if arguments is None:
        return ()
    return arguments if isinstance(arguments, tuple) else (arguments,)
