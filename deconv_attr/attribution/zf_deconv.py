"""``ZFDeconv(model).attribute(x, target=...)``, ``coverage(model, x)``: Captum's interface.

>>> attributions = ZFDeconv(model).attribute(x, target=5)   # doctest: +SKIP
>>> attributions.shape == x.shape                           # doctest: +SKIP
True

The map is the signal that arrives at the pixels when 1 is put on the target's score and sent back by the rules
of :data:`deconv_attr.DECONVNET`.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from ..engine.call_site import warn_caller
from ..engine.coverage import Coverage
from ..engine.determinism import RandomState, draws_in
from ..engine.diagnosis import arrival
from ..engine.signal_path import SignalPath, send
from ..errors import RandomModelWarning, TargetError
from ..rules.tables import DECONVNET, Choices, Table, check_table
from .base import SINGLE_UNIT, CaptumAttribution, as_tuple, explain, leaves_of
from .batches import batches, common_rows, of_examples, target_of
from .inputs import check_inputs, check_model
from .targets import Target, select_scores

__all__ = ["Inputs", "ZFDeconv", "coverage"]

Inputs = TypeVar("Inputs", Tensor, tuple[Tensor, ...])
"""A tensor, whose map is a tensor, or a tuple of them, whose maps are one."""


class ZFDeconv(CaptumAttribution, GradientAttribution):
    """The deconvnet of Zeiler and Fergus as a Captum attribution method.

    Parameters
    ----------
    model : nn.Module
        The model; it is never changed. One that does not return a tensor of scores: as a :class:`ScoredModel`.
    rules : Table
        Which rule serves which operation, by its kind or by its name, e.g. ``GUIDED_BACKPROP``; or by a module of the
        model, its name or its type, which comes first: ``{**DECONVNET, "features.3": rule, nn.PReLU: rule}``.
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
        A choice that does not exist; a table with an entry that is no operation or no rule.

    Source
    ------
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1.
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
        self._choose(
            model,
            rules,
            Choices(activations=activations, unknown=unknown, batch_norm=batch_norm, overlap=overlap),
        )
        self.gradient_func: Callable[..., tuple[Tensor, ...]] = signal_to_inputs

    @overload
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int | None = None,
        return_coverage: Literal[False] = False,
        create_graph: bool = False,
    ) -> Inputs: ...

    @overload
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int | None = None,
        return_coverage: Literal[True],
        create_graph: bool = False,
    ) -> tuple[Inputs, Coverage]: ...

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int | None = None,
        return_coverage: bool = False,
        create_graph: bool = False,
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
        internal_batch_size : int or None
            How many examples run at once, for a model that treats each by itself; None: all. With the inputs, a list
            or 1-D tensor of targets is divided, and what tensors of N rows `additional_forward_args` has, also in
            lists, tuples and dicts; all else is given to every part as it is.
        return_coverage : bool
            Whether to return the :class:`Coverage` report of the call too; the calls are those of the first batch.
        create_graph : bool
            Whether the map can itself be differentiated, by the model's weights and by inputs that require grad: to
            train with explanations, or to attack them. Autograd then keeps all activations.

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
            A map is zero everywhere because the signal was rectified away, or the head is saturated; or too weak for
            float16, in which a part of the model ran.
        RandomModelWarning
            The model draws random numbers, as dropout does in training mode.
        """
        tensors, others = check_inputs(inputs, self.model), as_tuple(additional_forward_args)
        count, parts = len(tensors[0]), batches(self.model, tensors, internal_batch_size)
        options = {"create_graph": True} if create_graph else {}

        def descend(path: SignalPath, examples: slice) -> tuple[Tensor, ...]:
            leaves = leaves_of(of_examples(tensors, examples, count), connected=create_graph)

            def forward(*args: Any) -> Any:
                return path.run(self.forward_func, args[: len(leaves)], args[len(leaves) :])

            further = of_examples(others, examples, count)
            return self.gradient_func(forward, leaves, target_of(target, examples, count), further, **options)

        signals, report = explain(
            self.model, self.rules, parts, descend, SINGLE_UNIT, traced=return_coverage, pack=not create_graph
        )
        attributions = signals if isinstance(inputs, tuple) else signals[0]
        return (attributions, report) if return_coverage else attributions

    def attribute_targets(
        self,
        inputs: Inputs,
        targets: Sequence[Target],
        additional_forward_args: Any = None,
    ) -> Inputs:
        """Project several scores down to the inputs, each to a map of its own, from one forward pass.

        Parameters
        ----------
        inputs, additional_forward_args
            As for :meth:`attribute`, which also lists the warnings.
        targets : sequence
            T targets, each as for :meth:`attribute`.

        Returns
        -------
        Tensor or tuple of Tensor
            (T, N, ...), for inputs (N, ...): what :meth:`attribute` returns for each target.

        Raises
        ------
        TargetError
            `targets` is no list, or an empty one.
        DeconvError
            As for :meth:`attribute`.
        """
        tensors, others = check_inputs(inputs, self.model), as_tuple(additional_forward_args)
        if not isinstance(targets, (list, tuple)) or not targets:
            raise TargetError(f"expected a list of targets, got {targets!r}")
        path = SignalPath(self.model, self.rules, pack=False)  # packed tensors serve one signal at a time
        state = RandomState(tensors[0].device)
        with path, path:
            leaves = leaves_of(tensors)
            output = path.run(self.model, leaves, others)
            scores = torch.stack([select_scores(output, target, common_rows(tensors)) for target in targets])
            maps = _of_each(scores, leaves)
        if draws := draws_in(self.model, state):
            warn_caller(RandomModelWarning(draws))
        count = len(tensors[0])
        for number, target in enumerate(targets):
            silent, finite = arrival(tuple(signals[number] for signals in maps), count)
            if silent or not finite:
                self.attribute(inputs, target, additional_forward_args)  # which says where, and warns or raises
        return maps if isinstance(inputs, tuple) else maps[0]


def signal_to_inputs(
    forward_fn: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    target_ind: Target = None,
    additional_forward_args: tuple[Any, ...] = (),
    **options: Any,
) -> tuple[Tensor, ...]:
    """Return what 1 on each score sends to the inputs; called as Captum's ``compute_gradients`` is."""
    scores = select_scores(forward_fn(*inputs, *additional_forward_args), target_ind, common_rows(inputs))
    return send(scores, inputs, torch.ones_like(scores), **options)


def _of_each(scores: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Send a signal from each row of some scores (T, N) by itself, all at once: (T, N, ...)."""
    starts = torch.eye(len(scores), dtype=scores.dtype, device=scores.device)[:, :, None].expand(
        -1, -1, scores.shape[1]
    )
    try:
        return send(scores, leaves, starts, is_grads_batched=True, retain_graph=True)
    except RuntimeError:  # an operation of the model, or a hook of the user's, that cannot be batched
        each = [send(row, leaves, torch.ones_like(row), retain_graph=True) for row in scores]
        return tuple(map(torch.stack, zip(*each, strict=True)))


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

    Raises
    ------
    ModelError, InputError
        As for :class:`ZFDeconv`. An operation without a rule is no error here.
    """
    check_model(model)
    check_table(rules, model)
    tensors = check_inputs(inputs, model)
    others = as_tuple(additional_forward_args)
    path = SignalPath(model, rules, strict=False, traced=True)
    with path, path:
        path.run(model, leaves_of(tensors), others)
    return path.report(["No rectifier ran: the map would be the plain gradient."] if path.lacks_rectifier else [])
