"""Captum's interface at layers: ``NeuronZFDeconv(model, "features.9").attribute(x, 41)``, and ``LayerZFDeconv``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import torch
from captum.attr import GradientAttribution, LayerAttribution, NeuronAttribution
from captum.log import log_usage
from torch import Tensor, nn

from ..engine.copy_on_write import run_plainly
from ..engine.coverage import Coverage
from ..engine.dry_run import dry_run
from ..engine.layer_reader import LayerReader
from ..engine.layers import Layer, find_layer
from ..engine.signal_path import SignalPath, send
from ..errors import DeconvError, InputError, reason
from ..rules.arguments import tensors_in
from ..rules.tables import DECONVNET, Choices, Table
from .base import SINGLE_UNIT, CaptumAttribution, as_tuple, explain, leaves_of
from .batches import batches, common_rows, of_examples, target_of
from .inputs import check_inputs, check_model, name_of
from .targets import Selector, first_signal, select_scores, select_units
from .zf_deconv import Inputs

__all__ = ["LayerZFDeconv", "NeuronZFDeconv"]

_OTHER_UNIT = "Choose another unit, or a layer further down."


class _AtLayer(CaptumAttribution):
    """What a method that looks at one layer is made of; its arguments are :class:`NeuronZFDeconv`'s."""

    layer: Any

    def __init__(
        self,
        model: nn.Module,
        layer: Any,
        device_ids: list[int] | None = None,
        *,
        rules: Table = DECONVNET,
        activations: str = "error",
        unknown: str = "error",
        batch_norm: str = "scale",
        overlap: str = "sum",
    ) -> None:
        check_model(model)
        for each in self._layers_of(layer):
            find_layer(model, each)
        super().__init__(model, layer, device_ids)  # type: ignore[call-arg]  # Captum's neuron or layer class
        self._choose(
            model,
            rules,
            Choices(activations=activations, unknown=unknown, batch_norm=batch_norm, overlap=overlap),
        )

    def _of_model(self) -> list[str]:
        layers = [repr(self._named(layer)) for layer in self._layers_of(self.layer)]
        return [*super()._of_model(), *([f"[{', '.join(layers)}]"] if isinstance(self.layer, list) else layers)]

    @staticmethod
    def _layers_of(layer: Any) -> Sequence[Any]:
        """Return the layers that are named."""
        return [layer]

    def _resolved(self, layer: Any, tensors: tuple[Tensor, ...], others: tuple[Any, ...]) -> Layer:
        """Find a layer and its only call, by a dry run, or by a plain one where the model cannot run dry."""
        found = find_layer(self.model, layer)
        if found.call is not None:
            return found
        return found.resolve_call(len(dry_run(self.model, tensors, others, found, or_run=True)))

    def _check_rows(self, forward: Callable[..., Any], tensors: tuple[Tensor, ...], others: tuple[Any, ...]) -> None:
        """Refuse a layer whose first dimension is not the examples, by running one of them, and two.

        Parameters
        ----------
        forward : callable
            Runs the model and returns what is at the layer.
        tensors, others
            Its inputs and further arguments, for all examples.
        """
        shapes = []
        for rows in (1, 2):
            given = of_examples((*tensors, *others), slice(0, rows), len(tensors[0]))
            shapes.append([tuple(tensor.shape) for tensor in tensors_in(run_plainly(self.model, forward, *given))])
        for one, two in zip(*shapes, strict=True):
            if one[:1] != (1,) or two != (2, *one[1:]):
                raise InputError(
                    "expected a layer whose first dimension is the examples, to run them in parts; got the shape "
                    f"{one} for one example and {two} for two: leave out internal_batch_size"
                )


class NeuronZFDeconv(_AtLayer, NeuronAttribution, GradientAttribution):
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

    Source
    ------
    Zeiler and Fergus 2014, section 2.1: all other activations of the layer are set to zero.
    """

    @overload
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        start: str = "one",
        internal_batch_size: int | None = None,
        return_coverage: Literal[False] = False,
    ) -> Inputs: ...

    @overload
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        start: str = "one",
        internal_batch_size: int | None = None,
        return_coverage: Literal[True],
    ) -> tuple[Inputs, Coverage]: ...

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        start: str = "one",
        internal_batch_size: int | None = None,
        return_coverage: bool = False,
    ) -> Any:
        """Project units of the layer down to the inputs. The forward pass ends at the layer.

        Parameters
        ----------
        inputs, additional_forward_args, internal_batch_size, return_coverage
            As for :meth:`ZFDeconv.attribute`, which also lists the errors.
        neuron_selector : int, tuple, list, Tensor or callable
            int: of a layer of feature maps that map's strongest unit in each example, of a layer of vectors that
            unit. tuple of int: (map, row, column). tuple with slices: the sum of the units. callable: a function
            of the layer's output that returns (N,), or one number for all examples. list or 1-D tensor: an int or a
            tuple for each example.
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
        tensors, others = check_inputs(inputs, self.model), as_tuple(additional_forward_args)
        count, parts = len(tensors[0]), batches(self.model, tensors, internal_batch_size)
        layer = self._resolved(self.layer, *(of_examples(each, parts[0], count) for each in (tensors, others)))
        reader = LayerReader(layer, attribute_to_neuron_input, last=True)
        if len(parts) > 1 and not callable(neuron_selector):
            self._check_rows(reader.until(self.model), tensors, others)

        def descend(path: SignalPath, examples: slice) -> tuple[Tensor, ...]:
            leaves = leaves_of(of_examples(tensors, examples, count))
            output = path.run(reader.until(self.model), leaves, of_examples(others, examples, count), whole=False)
            selector = target_of(neuron_selector, examples, count, "neuron_selector")
            scores = select_units(output, selector, len(leaves[0]))
            return send(scores, leaves, first_signal(scores, start, path.watches))

        signals, report = explain(self.model, self.rules, parts, descend, _OTHER_UNIT, traced=return_coverage)
        attributions = signals if isinstance(inputs, tuple) else signals[0]
        return (attributions, report) if return_coverage else attributions


class LayerZFDeconv(_AtLayer, LayerAttribution, GradientAttribution):
    """The signal of a score, or of units of a layer further up, read at a layer on its way down.

    Parameters
    ----------
    model, device_ids, rules, activations, unknown, batch_norm, overlap
        As for :class:`NeuronZFDeconv`.
    layer : nn.Module, str, list of these, or None
        As for :class:`NeuronZFDeconv`; a list gives the signals at each. None: the attribute `layer` is set later, as
        Captum's TCAV does.

    Raises
    ------
    ModelError, InputError
        As for :class:`NeuronZFDeconv`.
    """

    @staticmethod
    def _layers_of(layer: Any) -> Sequence[Any]:
        return [] if layer is None else layer if isinstance(layer, list) else [layer]

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
        internal_batch_size: int | None = None,
    ) -> Any:
        """Send a signal down to the layer.

        Parameters
        ----------
        inputs
            As for :meth:`ZFDeconv.attribute`, which also lists the errors; or tensors of integers, such as tokens.
        additional_forward_args, internal_batch_size
            As there.
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
            Shaped as the layer's output (or input); a tuple of its tensors if that is not a single one. For a list of
            layers, a list of these.

        Raises
        ------
        InputError
            A layer does not run, or several times; the signal does not come by the layer; no layer has been set.
        """
        tensors, others = check_inputs(inputs, self.model, integers=True), as_tuple(additional_forward_args)
        count, parts = len(tensors[0]), batches(self.model, tensors, internal_batch_size)
        first = [of_examples(each, parts[0], count) for each in (tensors, others)]
        top = None if from_layer is None else LayerReader(self._resolved(from_layer, *first), last=True)
        if not self._layers_of(self.layer):
            raise InputError(f"expected a layer to read the signal at, got {self.layer!r}: set the attribute 'layer'")
        if len(parts) > 1 and top is not None and not callable(target):
            self._check_rows(top.until(self.model), tensors, others)

        def read(layer: nn.Module | str) -> Tensor | tuple[Tensor, ...]:
            found = find_layer(self.model, layer) if top is None else self._resolved(layer, *first)
            reader = LayerReader(found, attribute_to_layer_input)
            if len(parts) > 1:
                self._check_rows(reader.within(self.model), tensors, others)

            def descend(path: SignalPath, examples: slice) -> tuple[Tensor, ...]:
                given, further = (of_examples(each, examples, count) for each in (tensors, others))
                forward = reader.beside(self.model if top is None else top.until(self.model))
                output = _run(path, forward, reader, given, further, whole=top is None)
                theirs = target_of(target, examples, count, "target" if top is None else "neuron_selector")
                if top is None:
                    scores = select_scores(output, theirs, common_rows(given))
                else:
                    scores = select_units(output, theirs, len(given[0]))
                return reader.signals(path, scores, first_signal(scores, start, path.watches))

            signals, _ = explain(self.model, self.rules, parts, descend, SINGLE_UNIT)
            return signals[0] if reader.is_single else signals

        return list(map(read, self.layer)) if isinstance(self.layer, list) else read(self.layer)


def _run(
    path: SignalPath,
    forward: Callable[..., Any],
    reader: LayerReader,
    tensors: tuple[Tensor, ...],
    others: tuple[Any, ...],
    whole: bool,
) -> Any:
    """Run a forward function on some inputs; with integers among them the signals end at the reader's layer."""
    numbers = [tensor for tensor in tensors if tensor.is_floating_point()]
    if len(numbers) == len(tensors):
        return path.run(forward, leaves_of(tensors), others, whole=whole)
    # Nothing leads down to integers: the graph begins where it has an entry, and the layer joins it there.
    leaves = leaves_of(numbers or [torch.zeros(1, device=tensors[0].device)])
    integers = [tensor for tensor in tensors if not tensor.is_floating_point()]

    def joined(*given: Any) -> Any:
        reader.entry = given[0]
        floats, rest = iter(given), iter(given[len(leaves) :])
        own = [next(floats if tensor.is_floating_point() else rest) for tensor in tensors]
        return forward(*own, *rest)

    try:
        return path.run(joined, leaves, (*integers, *others), whole=whole)
    except RuntimeError as error:
        if isinstance(error, DeconvError):
            raise
        position = next(position for position, tensor in enumerate(tensors) if not tensor.is_floating_point())
        raise InputError(
            f"expected {name_of(position, tensors)} in floating point, got {tensors[position].dtype}, which the model "
            f"does not take ({reason(error)})"
        ) from error
