"""Puts a table of rules on autograd's graph of one forward pass, and sends signals back through it.

Autograd has recorded what the model computed; a rule only replaces what some nodes of its graph send. What happens to
``conv -> relu -> pool``:

====================  =================================  ==============================================================
forward, as ever      node that autograd makes           right after the call
====================  =================================  ==============================================================
``x = enter(image)``  ``EnteringBackward``               the entry: here the signal will end
``h = conv(x)``       ``ConvolutionBackward0``           if large: of the input only the shape is kept
``h = relu(h)``       ``ReluBackward0``                  if large: of the output nothing is kept
``y = pool(h)``       ``MaxPool2DWithIndicesBackward0``  if large: the indices are kept as small switches
====================  =================================  ==============================================================

When the forward pass has ended, and not before (a gradient that the model takes inside it is the model's own), the
graph is walked from ``y`` down to the entry. Each node is asked for its operation, and the table for its rule:

=================================  ==========  =======  ===============================================================
node                               operation   rule     what is done
=================================  ==========  =======  ===============================================================
``MaxPool2DWithIndicesBackward0``  max_pool2d  unpool   nothing: its own backward puts the signal at the switches
``ReluBackward0``                  relu        rectify  the signal r stands for its output y: r (y > 0) is max(r, 0)
``ConvolutionBackward0``           conv2d      adjoint  nothing: its own backward is the transposed convolution
=================================  ==========  =======  ===============================================================

Then ``torch.autograd.grad(y[:, 3, 0, 0], image)`` sends the signal. A node without a rule is an error that names module
and line: for that, and only then, the model runs once more, traced. What nodes do not tell, see ``forward_pass.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..errors import DeconvError, InputError, ModelError, RuleError, reason
from ..rules.arguments import tensors_in
from ..rules.backward import Rule, scale
from ..rules.handwritten import is_function_of_sign
from ..rules.identify import identify_node, tells_all
from ..rules.kinds import Kind, Operation, Question
from ..rules.tables import Table
from ..rules.torch_private import saved, trains
from .attributes import keep_attributes, modules_of, sharded
from .coverage import NO_RULE, Call, Coverage
from .forward_pass import ForwardPass
from .modes import leave_autocast, leave_autocast_cache, leave_inference_mode, set_gradients
from .module_hooks import ModuleHooks
from .nodes import Signals, enter, in_order_of, put, several_carriers
from .saved_tensors import EarlyBackwardError
from .threads import read_weights
from .undo import Undo

__all__ = ["SignalPath", "send"]

_REENTRANT = (
    "the model uses torch.utils.checkpoint with use_reentrant=True, which runs a part of it again where no rule can "
    "reach it: choose use_reentrant=False, or switch checkpointing off"
)
_Forward = Callable[..., Any]


class SignalPath:
    """The way back through one forward pass of a model.

    Enter it twice, ``with path, path:``, see :class:`Undo`. Inside, :meth:`run` runs the model, and a backward pass
    from its output to the given inputs follows the rules. Model and thread carry nothing of ours but while it runs.

    Parameters
    ----------
    model : nn.Module
        The model.
    rules : Table
        Which rule serves which operation.
    strict : bool
        Whether an operation without a rule is an error, or only noted in :attr:`calls`, with autograd's gradient.
    traced : bool
        Whether to note the calls in :attr:`calls` (slow).
    watch : bool
        Whether to note too at which calls the signal is rectified, and stops being finite.
    narrow : bool
        Whether the signal starts at single units, so that convolutions need to send back only a part of it.
    pack : bool
        False: autograd keeps all that it ever keeps, so that maps can be differentiated; for tests, too.

    Attributes
    ----------
    calls : list of Call
        When traced, what the signal goes through, in forward order.
    rectified : list of Call
        With `watch`, the calls that rectified the signal, in the order in which it came to them.
    silenced : list of (Call, Tensor)
        With `watch`, the calls at which signals became 0 that were not before, and of which examples, (N,) bool.
    culprit : Call or None
        With `watch`, the call at which the signal stopped being finite.
    in_float16 : bool
        Whether a part of the way is in float16, which loses small signals; known when the signal has arrived.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Table,
        *,
        strict: bool = True,
        traced: bool = False,
        watch: bool = False,
        narrow: bool = False,
        pack: bool = True,
    ) -> None:
        self.calls: list[Call] = []
        self.rectified: list[Call] = []
        self.silenced: list[tuple[Call, Tensor]] = []
        self.culprit: Call | None = None
        self.in_float16 = False
        self.watches = watch
        self._model, self._rules = model, rules
        self._strict, self._traced, self._narrow, self._pack = strict, traced or watch, narrow, pack
        self._examined = self._copies_inference = self._has_rectifier = False
        self._ran: ForwardPass
        self._given: dict[Node, tuple[Operation, Rule | None]] = {}
        self._undo = Undo()

    @property
    def lacks_rectifier(self) -> bool:
        """Whether the table rectifies the signal, and the model has no operation for that."""
        rule = self._rules.get(Kind.RECTIFIER)
        return rule is not None and rule.rectifies and not self._has_rectifier

    def report(self, notes: Iterable[str] = ()) -> Coverage:
        """Return the calls as a coverage report."""
        return Coverage(self.calls, tuple(notes))

    def __enter__(self) -> SignalPath:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._undo.__exit__()

    def carries(self, tensor: Tensor) -> bool:
        """Whether a tensor of the forward pass carries the signal, that is, depends on the inputs."""
        return self._ran.way.carries(tensor)

    # ------------------------------------------------------------------------ forward

    def run(self, forward: _Forward, inputs: Sequence[Tensor], others: Sequence[Any] = (), whole: bool = True) -> Any:
        """Run a forward function on copies of the inputs, at which the signal will arrive.

        Parameters
        ----------
        forward : callable
            The model, or a function that calls it.
        inputs : sequence of Tensor
            Tensors that require grad.
        others : sequence
            Further arguments; what the model writes into them goes to copies.
        whole : bool
            Whether all of the model runs. Below a layer there may be no rectifier: its filters are the map.

        Raises
        ------
        RuleError
            The table has no rule for an operation.
        ModelError
            The output does not depend on the inputs, no rectifier ran, activations are checkpointed, or another thread
            has replaced the model's weights.
        InputError
            The model does not take an image that is no batch.
        """
        leave_inference_mode(self._undo)
        set_gradients(True, self._undo)
        leave_autocast_cache(self._undo)
        self.in_float16 = any(tensor.dtype == torch.float16 for tensor in inputs)
        self._undo.later(self._forget)
        self._forward, self._inputs, self._others = forward, inputs, others
        output = self._pass()
        outputs = tensors_in(output)
        self._identify(outputs)
        by_hand = self._written_by_hand()
        lacking = next((operation for operation, rule in self._given.values() if rule is None), None)
        if self._strict and (by_hand or lacking):
            raise RuleError(_why_none((by_hand or self._lacking(lacking))[0]))
        if self._ran.tracer is not None:
            self._ran.tracer.settle(self._given)
            self.calls = self._ran.tracer.calls
            _mark(self.calls, by_hand)
        self._has_rectifier = any(
            operation.kind is Kind.RECTIFIER or (rule is not None and rule.rectifies)
            for operation, rule in self._given.values()
        )
        self._put()
        if self._strict:
            self._check(outputs, whole)
        return output

    def _forget(self) -> None:
        """Release what may hold the graph, whose hooks hold this path: no garbage collector finds such a cycle."""
        for name in ("_forward", "_inputs", "_others"):
            vars(self).pop(name, None)

    def _pass(self) -> Any:
        try:
            return self._passed()
        except EarlyBackwardError:
            # The model takes a gradient inside its forward pass, of what we have packed: it shall have its own.
            self._pack = self._narrow = False
        except RuntimeError as error:
            if self._copies_inference or "Inference tensors cannot be saved" not in str(error):
                raise
            self._copies_inference = True
        return self._pass()

    def _passed(self) -> Any:
        entered, modules = enter(self._inputs), modules_of(self._model)
        read_weights(modules, self._undo)  # until the signal has arrived: on its way back it reads them again
        ran = self._ran = ForwardPass(
            self._model,
            self._others,
            self._rules,
            entered,
            traced=self._traced,
            narrow=self._narrow,
            pack=self._pack,
            examined=self._examined,
        )
        if self._copies_inference:
            ran.copy_inference_tensors(modules)
        for module in sharded(modules):
            self._undo.later(module.reshard)
        self._undo.later(ran.close)
        self._undo.later(self._given.clear)
        undo = ModuleHooks()
        with undo, undo:
            keep_attributes(modules, undo)
            ran.hook(modules, undo)
            ran.enter_until(undo)
            output = self._called(entered)
        if ran.saved.asked_early:
            raise EarlyBackwardError
        ran.check_numpy()
        return output

    def _called(self, entered: Sequence[Tensor]) -> Any:
        try:
            return self._ran.stand_in(self._forward(*entered, *self._others))
        except Exception as error:
            if isinstance(error, RuntimeError) and self._ran.saved.asked_early:
                return None
            if not isinstance(error, DeconvError):
                _refuse_unbatched(self._model, entered, error)
            raise

    # ------------------------------------------------------------------------ rules

    def _identify(self, outputs: Sequence[Tensor]) -> None:
        """Find the operation and the rule of each node that the signal will come to, from the inputs up."""
        ran = self._ran
        ran.state.open = True
        ran.modules.check_end()
        roots = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
        known: dict[tuple[type, bool], tuple[Operation, Rule | None]] = {}  # of those whose type tells all
        questions = []
        for node, carriers in ran.way.nodes(roots):
            noted = ran.noted.get(node)
            key = type(node), carriers > 1
            by_type = noted is None and node not in ran.modules.of
            if by_type and key in known:
                self._given[node] = known[key]
                continue
            operation = noted or identify_node(node, carriers)
            if isinstance(operation, Question):
                questions.append((node, operation))
                operation = operation.no  # until it is answered
            if operation.name == "CheckpointFunctionBackward":
                raise ModelError(_REENTRANT)
            self._given[node] = operation, ran.rule_for(operation, node)
            if by_type and tells_all(node):
                known[key] = self._given[node]
        self._answer(questions)

    def _answer(self, questions: Sequence[tuple[Node, Question]]) -> None:
        """Read from the device, at once, what only values tell: of which operation nodes are, and who is suspect."""
        ran = self._ran
        # Where the caller gives a module a rule, he knows what stands there.
        suspects = [(node, flag) for node, flag in ran.suspects if node in self._given]
        ran.suspects = [(node, flag) for node, flag in suspects if node not in ran.modules.of]
        answers = _read([*(question.answer for _, question in questions), *(flag for _, flag in ran.suspects)])
        for (node, question), answer in zip(questions, answers, strict=False):
            operation = question.yes if answer else question.no
            self._given[node] = operation, ran.rule_for(operation, node)
        if not any(answers[len(questions) :]):
            ran.suspects = []

    def _put(self) -> None:
        """Put the rules on their nodes."""
        ran, given = self._ran, self._given
        if self.watches:  # before the rules change the signals
            for node, (_, rule) in given.items():
                node.register_prehook(self._watching_above(node, rule))
        ran.covered.update(node for jump in ran.modules.jumps for node in jump.inside)
        for node, (operation, rule) in given.items():
            if operation.name == "to":
                node.register_hook(self._note_type)
            elif rule is not None and node not in ran.covered:
                self._put_on(node, operation, rule)
        for region in ran.regions:
            if ran.way.leads(region.last):
                region.put(ran.state)
        for jump in ran.modules.jumps:
            jump.put(ran.state)
        if self.watches:  # after them
            for node, (_, rule) in given.items():
                node.register_hook(self._watching_below(node, rule))

    def _put_on(self, node: Node, operation: Operation, rule: Rule) -> None:
        """Put a rule on a node; on most there is nothing to put, for its own backward is the rule."""
        ran = self._ran
        if operation.kind is Kind.BATCH_NORM and (rule.by_autograd or rule.back is scale) and not trains(node):
            if rule.back is scale:  # autograd's own is the scaling, but serves the weight, too
                self._check_single(node, operation, rule)
            if (image := saved(node, "input")).is_cpu:
                node.register_prehook(in_order_of(image, ran.state))
        elif not rule.by_autograd:
            if rule.keep is not None:  # the call could not be seen, as those in TorchScript
                raise RuleError(f"the rule '{rule.name}' keeps something of {self._location(node, operation)}, unseen")
            self._check_single(node, operation, rule)
            if not (operation.name == "relu" and ran.pack and ran.saved.rectifies(node, rule)):
                put(node, rule, ran.state)

    def _check_single(self, node: Node, operation: Operation, rule: Rule) -> None:
        if self._ran.way.carriers(node) > 1:
            raise RuleError(several_carriers(self._location(node, operation), rule))

    def _note_type(self, below: Signals, above: Signals) -> None:
        self.in_float16 |= any(signal is not None and signal.dtype == torch.float16 for signal in (*below, *above))

    # ------------------------------------------------------------------------ the signal, watched

    def _watching_above(self, node: Node, rule: Rule | None) -> Callable[[Signals], None]:
        call = self._call_of(node)

        def watch(above: Signals) -> None:
            rectified = rule is not None and rule.rectifies
            if call is not None and rectified and call.lowest is None and above[0] is not None:
                call.lowest = _each(Tensor.amin, above[0])

        return watch

    def _watching_below(self, node: Node, rule: Rule | None) -> Callable[[Signals, Signals], None]:
        call = self._call_of(node)

        def watch(below: Signals, above: Signals) -> None:
            if call is None:
                return
            if rule is not None and rule.rectifies:
                signal = next((signal for signal in below if signal is not None), None)
                if signal is not None:
                    call.highest = _each(Tensor.amax, signal)
                    self.rectified.append(call)
            else:
                self._note_silence(call, below, above)
            if self.culprit is None and _finite(above) and not _finite(below):
                self.culprit = call

        return watch

    def _note_silence(self, call: Call, below: Signals, above: Signals) -> None:
        """Note the examples whose signal a call has made 0."""
        came, went = ([signal for signal in signals if signal is not None] for signals in (above, below))
        count = len(came[0]) if came and came[0].dim() else 0
        if not went or not count or any(signal.dim() == 0 or len(signal) != count for signal in (*came, *went)):
            return
        had, has = (torch.stack([signal.reshape(count, -1).any(1) for signal in each]).any(0) for each in (came, went))
        if (lost := had & ~has).any():
            self.silenced.append((call, lost))

    # ------------------------------------------------------------------------ errors, which may take their time

    def _written_by_hand(self) -> list[Call]:
        """Examine what looked like a rectifier written by hand, in two more runs.

        On another input the factor must be another one, and follow from the numbers that it weighs there, too.
        """
        if not self._ran.suspects or self._examined:
            return []
        found, (first, again) = [], [self._factors(each) for each in (self._inputs, _shaken(self._inputs))]
        for number, (call, x, factor) in enumerate(first):
            by_hand = bool(is_function_of_sign(x, factor))
            if by_hand and number < len(again):
                _, x, other = again[number]
                same = factor.shape == other.shape and torch.equal(factor, other)
                by_hand = not same and bool(is_function_of_sign(x, other))
            if by_hand:
                call.kind = Kind.MASK
                found.append(call)
        return found

    def _factors(self, inputs: Sequence[Tensor]) -> list[tuple[Call, Tensor, Tensor]]:
        """Run the model, traced, and return all that may be a factor; nothing where it does not take these inputs."""
        path = self._traced_path()
        path._examined = True
        with path, path:
            return path._examine(self._forward, inputs, self._others)

    def _examine(self, forward: _Forward, inputs: Sequence[Tensor], others: Sequence[Any]) -> list[Any]:
        try:
            self.run(forward, [each.detach().requires_grad_() for each in inputs], others)
        except Exception:
            return []
        ran = self._ran
        return [
            (call, x, factor)
            for node, x, factor in ran.factors
            if (call := self._call_of(node)) is not None and node in self._given
        ]

    def _lacking(self, lacking: Operation | None) -> list[Call]:
        """Return the calls that have no rule; a pass that was not traced is run once more, traced."""
        assert lacking is not None
        calls = []
        if self._ran.tracer is not None:
            self._ran.tracer.settle(self._given)
            calls = self._ran.tracer.calls
        else:
            path = self._traced_path()
            with path, path:
                path.run(self._forward, [each.detach().requires_grad_() for each in self._inputs], self._others)
            calls = path.calls
        found = [call for call in calls if call.rule == NO_RULE]
        return found or [Call("", lacking.name, lacking.kind, NO_RULE)]

    def _traced_path(self) -> SignalPath:
        return SignalPath(self._model, self._rules, strict=False, traced=True, pack=False)

    def _call_of(self, node: Node) -> Call | None:
        return None if self._ran.tracer is None else self._ran.tracer.call_of.get(node)

    def _location(self, node: Node, operation: Operation) -> str:
        return (self._call_of(node) or Call("", operation.name, operation.kind, "")).location

    def _check(self, outputs: Sequence[Tensor], whole: bool) -> None:
        if whole:
            self._ran.modules.check_calls()
        if not outputs:
            return  # of which the caller will complain
        if not any(map(self.carries, outputs)):
            raise ModelError(
                "the model's output does not depend on its inputs (is it computed under no_grad, or inside of a "
                "torch.utils.checkpoint with use_reentrant=True?)"
            )
        if whole and self.lacks_rectifier:
            raise ModelError(
                "the model ran no rectifier (ReLU), so this map would be the plain gradient: "
                "use captum.attr.Saliency, or see deconv_attr.coverage(model, inputs) for what it ran"
            )


def send(scores: Tensor, tensors: Sequence[Tensor], start: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """Send a signal from some scores down to some tensors: ``torch.autograd.grad``, with its options.

    Raises
    ------
    ModelError
        The model has overwritten what autograd needs.
    """
    undo, device = Undo(), scores.device.type
    with undo, undo:
        leave_autocast(device, undo)  # the precision is the one of the forward pass
        return _sent(scores, tensors, start, **options)


def _sent(scores: Tensor, tensors: Sequence[Tensor], start: Tensor, **options: Any) -> tuple[Tensor, ...]:
    try:
        return torch.autograd.grad(scores, tensors, start, **options)
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise ModelError(
            f"the model has overwritten numbers that the signal needs on its way back: {reason(error)}"
        ) from error


def _read(answers: Sequence[Tensor]) -> list[bool]:
    """Read many answers from the device at once."""
    if not answers:
        return []
    device = answers[0].device
    found: list[bool] = torch.stack([answer.to(device) for answer in answers]).tolist()
    return found


def _mark(calls: Iterable[Call], by_hand: Sequence[Call]) -> None:
    locations = {call.location for call in by_hand}
    for call in calls:
        if call.location in locations:
            call.kind, call.rule = Kind.MASK, NO_RULE


def _why_none(call: Call) -> str:
    reasons = {
        Kind.ACTIVATION: "the paper has rectifiers only; choose activations='rectify' or 'gradient'",
        Kind.MASK: "it weighs activations by their own signs, as a rectifier written by hand; use torch.relu, or "
        "choose activations='gradient'",
    }
    unknown = "it is not listed, or ran where no rule can reach it; choose unknown='gradient' to differentiate it"
    return f"no rule for {call.location}: {reasons.get(call.kind, unknown)}"


def _refuse_unbatched(model: nn.Module, inputs: Sequence[Tensor], error: Exception) -> None:
    """Raise, for an image without a batch, which the model did not take, what is expected."""
    axes = next(
        (
            d
            for m in model.modules()
            for d, kind in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1)
            if isinstance(m, kind)
        ),
        0,
    )
    if axes and inputs[0].dim() == axes + 1:
        form = ("(N, C, L)", "(N, C, H, W)", "(N, C, D, H, W)")[axes - 1]
        raise InputError(
            f"expected a batch {form}, got an input of shape {tuple(inputs[0].shape)}, which the model does not take "
            f"({reason(error)}): give x[None]"
        ) from error


def _shaken(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return other inputs in the same range; the caller's random numbers are not touched."""
    generator = torch.Generator().manual_seed(0)
    shaken = []
    for tensor in inputs:
        values = tensor.detach()
        noise = torch.randn(values.shape, generator=generator).to(values)
        spread = values.float().std(correction=0).to(values.dtype).clamp(min=1e-3)
        shaken.append((values + 0.5 * spread * noise).clamp(values.amin() - spread, values.amax() + spread))
    return shaken


def _each(extreme: Callable[..., Tensor], signal: Tensor) -> Tensor:
    """Reduce a signal (N, ...) to (N,)."""
    return extreme(signal, tuple(range(1, signal.dim()))) if signal.dim() > 1 else signal


def _finite(signals: Signals) -> bool:
    return all(signal is None or bool(signal.isfinite().all()) for signal in signals)
