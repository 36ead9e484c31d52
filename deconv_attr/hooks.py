"""Puts a table of rules on a running model: module hooks, and the same table for functional calls.

The only room that touches a model. How one call gets its rule:

1. *Before* it, the input is replaced by a detached one, so that autograd records nothing: the pre-hook of a
   stock ``nn.ReLU`` or max-pool does this, ``__torch_function__`` does it for every other call.
2. The call runs, and what its rule needs of it is kept.
3. *After* it, the output is attached to the original input by a node whose backward is the rule.

So a rule belongs to a call, not to a module or a tensor: both may be shared and reused. A functional call inside
a hooked module sees a detached input, so nothing is applied twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from .coverage import NO_RULE, Call, Coverage
from .errors import ModelError, RuleError
from .filtering import Filters
from .graph import Holders, SignalGraph, attach, enter, is_alone
from .lean import lean_rule, send_back
from .operations import (
    HOOKED_MODULES,
    Kind,
    Operation,
    identify,
    mapped,
    named_arguments,
    operation_name,
    tensors_in,
    writes_to,
)
from .ownership import Belongings, address, undisturbed
from .places import source_line
from .rules import Forward, Rule, Table
from .switches import Switches, gives_indices, pool_with_switches

__all__ = ["SignalPath"]

_RECOMPUTES = (
    "the model uses activation checkpointing (torch.utils.checkpoint) or other hooks on saved tensors, which run "
    "parts of it again where no rule can reach them: switch them off"
)


@dataclass
class _Frame:
    """A module that is running. If its hooks carry a rule: which, and the input it was taken from."""

    module: nn.Module
    path: str
    source: Tensor | None = None
    detached: Tensor | None = None
    ruled: tuple[Operation, Rule] | None = None
    kept: Any = None


class _FunctionalCalls(TorchFunctionMode):
    """Hands every call that reaches torch in this thread to a function."""

    def __init__(self, handle: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self._handle = handle

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._handle(func, args, kwargs or {})


class SignalPath:
    """The way back through one forward pass of a model.

    Use it as a context: inside, :meth:`run` runs the model, and a backward pass from its output to the given
    inputs follows the rules. The model carries hooks while it runs and no longer.

    Parameters
    ----------
    model : nn.Module
        The model.
    rules : Table
        Which rule serves which kind of operation.
    strict : bool
        Whether a call without a rule is an error, or only noted in :attr:`calls`, with autograd's gradient.
    watch : bool
        Whether to note at which calls the signal is rectified, and stops being finite (slow).
    narrow : bool
        Whether the signal starts at single units, so that convolutions need to send back only a part of it.

    Attributes
    ----------
    calls : list of Call
        What the signal goes through, in forward order.
    rectified : list of Call
        With `watch`, the calls that rectified the signal, in the order in which it came to them.
    in_float16 : bool
        Whether a part of the way is in float16, which loses small signals.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Table,
        *,
        strict: bool = True,
        watch: bool = False,
        narrow: bool = False,
    ) -> None:
        self.calls: list[Call] = []
        self.rectified: list[Call] = []
        self.in_float16 = False
        self._model = model
        self._rules = rules
        self._strict = strict
        self.watches = watch
        self._narrow = narrow
        self._graph = SignalGraph(watch)
        self._belongings: Belongings  # of the model and of what `run` gives it
        self._frames = [_Frame(model, "")]
        self._handles: list[RemovableHandle] = []
        self._paths: dict[int, str] = {}  # of the modules, by id
        self._filters: dict[int, list[Filters]] = {}  # that the way back needs, by the address of their memory
        self._has_rectifier = False
        self._thread = threading.get_ident()
        self._undo = ExitStack()

    @property
    def culprit(self) -> Call | None:
        """The call at which the signal stopped being finite, with ``watch``."""
        return self._graph.culprit

    @property
    def lacks_rectifier(self) -> bool:
        """Whether the table rectifies the signal, and no call of the model did."""
        rule = self._rules.get(Kind.RECTIFIER)
        return rule is not None and rule.rectifies and not self._has_rectifier

    def report(self, notes: Iterable[str] = ()) -> Coverage:
        """Give the calls as a coverage report."""
        return Coverage(self.calls, tuple(notes))

    def __enter__(self) -> SignalPath:
        with ExitStack() as undo:
            undo.callback(self._graph.clear)  # its nodes know this path, and this path them: let both go
            undo.callback(self._filters.clear)
            undo.enter_context(torch.inference_mode(False))
            undo.enter_context(torch.enable_grad())
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._undo.__exit__(*exception)

    # ------------------------------------------------------------------------ the forward pass

    def run(
        self, forward: Callable[..., Any], inputs: Sequence[Tensor], others: Sequence[Any] = (), whole: bool = True
    ) -> Any:
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
            The table has no rule for a call.
        ModelError
            The output does not depend on the inputs, no rectifier ran, or activations are checkpointed.
        """
        self._belongings = Belongings(self._model, others, self._graph.carries)
        entered = enter(inputs)
        self._graph.adopt(entered[:1])
        with ExitStack() as undo:
            undo.enter_context(undisturbed(self._model))
            undo.callback(self._uninstall)
            self._install()
            try:
                undo.enter_context(disable_saved_tensors_hooks(_RECOMPUTES))
                undo.enter_context(_FunctionalCalls(self._functional_call))
                output = self._belongings.stand_in(forward(*entered, *others))
            except RuntimeError as error:
                if _RECOMPUTES in str(error):
                    raise ModelError(_RECOMPUTES) from error
                raise
        self._meet_strangers(tensors_in(output))
        if self._strict:
            self._check(output, whole)
        return output

    def _install(self) -> None:
        # Functions, which a module that is copied meanwhile does not take apart. The model may be running in other
        # threads: there our hooks do nothing. Such a thread may call one that is just being removed without its kwargs.
        def enter(module: nn.Module, args: Any, kwargs: Any = None) -> Any:
            return self._enter_module(module, args, kwargs or {}) if self._is_ours() else None

        def leave(module: nn.Module, args: Any, output: Any) -> Any:
            return self._leave_module(module, output) if self._is_ours() else None

        for path, module in self._model.named_modules():
            self._paths[id(module)] = path
            self._handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            self._handles.append(module.register_forward_hook(leave, prepend=True))

    def _uninstall(self) -> None:
        try:
            while self._handles:
                self._handles[-1].remove()
                self._handles.pop()
        finally:
            if self._handles:  # Ctrl-C came in between
                self._uninstall()

    def _is_ours(self) -> bool:
        return threading.get_ident() == self._thread and bool(self._handles)  # a copy of a module keeps its hooks

    def _check(self, output: Any, whole: bool) -> None:
        tensors = tensors_in(output)
        if tensors and not any(self._graph.carries(tensor) for tensor in tensors):
            raise ModelError("the model's output does not depend on its inputs (is it computed under no_grad?)")
        if whole and self.lacks_rectifier:
            raise ModelError(
                "the model ran no rectifier (ReLU), so this map would be the plain gradient: "
                "use captum.attr.Saliency, or see deconv_attr.coverage(model, inputs) for what it ran"
            )

    def _enter_module(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        frame = _Frame(module, self._paths.get(id(module), self._frames[-1].path))  # a copy has no path of its own
        self._frames.append(frame)
        name = HOOKED_MODULES.get(type(module).forward)
        source = args[0] if args else kwargs.get("input")
        if name is None or "forward" in vars(module) or not isinstance(source, Tensor) or not torch.is_grad_enabled():
            return None
        self._meet_strangers([source])
        operation = identify(name, args, kwargs, (source,))
        rule = self._rules.get(operation.kind)
        if rule is None or rule.back is None or not self._graph.carries(source):
            return None
        frame.source, frame.detached, frame.ruled = source, source.detach(), (operation, rule)
        return ((frame.detached, *args[1:]), kwargs) if args else (args, {**kwargs, "input": frame.detached})

    def _leave_module(self, module: nn.Module, output: Any) -> Any:
        frame = self._frames.pop()
        while frame.module is not module:  # a module in between failed, and the model went on
            frame = self._frames.pop()
        if frame.source is None or frame.ruled is None:
            return None
        call = self._record(*frame.ruled, frame.path, "", frame.kept)
        return self._attach(call, frame.source, frame.detached, output, frame.ruled[1], frame.kept)

    def _functional_call(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = operation_name(func)
        if name is None:
            return self._belongings.attribute(func, args)
        self._meet_strangers(tensors_in((args, kwargs)))
        written = writes_to(func, name, args, kwargs)
        self._belongings.protect(written)
        args, kwargs = self._belongings.stand_in(args), self._belongings.stand_in(kwargs)
        if written and self._filters:
            self._keep_filters(writes_to(func, name, args, kwargs))
        frame = self._frames[-1]
        if frame.ruled is not None and frame.ruled[0].name == name and args and args[0] is frame.detached:
            output, frame.kept = self._perform(*frame.ruled, func, args, kwargs)
            return output
        carriers = [tensor for tensor in tensors_in((args, kwargs)) if tensor.requires_grad]
        if carriers and torch.is_grad_enabled():
            output = self._call(name, func, args, kwargs, carriers)
        else:
            output = func(*args, **kwargs)
        return self._belongings.original(output)

    def _call(self, name: str, func: Any, args: Any, kwargs: Any, carriers: list[Tensor]) -> Any:
        """Run one functional call through which the signal goes back, under its rule."""
        operation = identify(name, args, kwargs, carriers)
        rule = self._rules.get(operation.kind)
        path, source = self._where()
        if rule is not None:
            rule = lean_rule(rule, operation, func, args, kwargs, carriers, self._narrow)
        if rule is None or rule.back is None:
            output = func(*args, **kwargs)
            call, results = self._describe(operation, rule, path, source), tensors_in((output, args[:1]))
            self.in_float16 |= any(tensor.dtype == torch.float16 for tensor in results)
            if self._graph.adopt(results, call) or operation.kind is Kind.MASK:
                self._note(call)
            return output
        carrier = carriers[0]
        if any(other is not carrier for other in carriers):
            call = self._describe(operation, rule, path, source)
            raise RuleError(f"the signal enters {call.place} by more than one argument: '{rule.name}' takes one")
        detached = carrier.detach()
        args, kwargs = mapped(lambda value: detached if value is carrier else value, (args, kwargs))
        output, kept = self._perform(operation, rule, func, args, kwargs)
        call = self._record(operation, rule, path, source, kept)
        return self._attach(call, carrier, detached, output, rule, kept)

    # ------------------------------------------------------------------------ one call and its rule

    def _perform(self, operation: Operation, rule: Rule, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Run a call that autograd does not see; give its output and what its rule keeps of it."""
        if rule.keep is None:
            return func(*args, **kwargs), None
        switches = None
        if operation.kind is Kind.MAX_POOL:
            first, switches = pool_with_switches(operation.name, *args, **kwargs)
            output = (first, switches.indices) if gives_indices(func, operation.name) else first
        else:
            first = output = func(*args, **kwargs)
        arguments = named_arguments(func, operation.name, args, kwargs)
        source = arguments.get("input", tensors_in((args, kwargs))[0])
        kept = rule.keep(Forward(operation, source, first, arguments, switches))
        if isinstance(kept, Filters):
            self._filters.setdefault(address(kept.weight), []).append(kept)
        return output, kept

    def _keep_filters(self, written: Iterable[Tensor]) -> None:
        """Copy filters that the model is about to overwrite."""
        for tensor in written:
            for filters in self._filters.pop(address(tensor), ()):
                filters.keep()

    def _attach(self, call: Call, source: Tensor, detached: Tensor | None, output: Any, rule: Rule, kept: Any) -> Any:
        def go_back(signal: Tensor, holders: Holders) -> Tensor:
            below = send_back(rule, signal, kept, not self.watches and is_alone(holders))
            if self.watches and rule.rectifies:
                call.lowest, call.highest = _each(Tensor.amin, signal), _each(Tensor.amax, below)
                self.rectified.append(call)
            return below

        self._has_rectifier |= rule.rectifies
        first, *rest = output if isinstance(output, tuple) else (output,)
        attached = attach(source, None if first is detached else first, go_back)
        self.in_float16 |= attached.dtype == torch.float16
        self._graph.adopt([attached], call)
        return (attached, *rest) if rest else attached

    # ------------------------------------------------------------------------ the record

    def _where(self) -> tuple[str, str]:
        """Give the path of the running module, and for a functional call its source line."""
        frame = self._frames[-1]
        stock = type(frame.module).__module__.startswith("torch.nn.")
        return frame.path, "" if stock else source_line()

    def _describe(self, operation: Operation, rule: Rule | None, path: str, source: str, kept: Any = None) -> Call:
        switches = kept if isinstance(kept, Switches) else None
        return Call(path, operation.name, operation.kind, NO_RULE if rule is None else rule.name, source, switches)

    def _record(self, operation: Operation, rule: Rule | None, path: str, source: str, kept: Any = None) -> Call:
        return self._note(self._describe(operation, rule, path, source, kept))

    def _note(self, call: Call) -> Call:
        if call.rule == NO_RULE and self._strict:
            raise RuleError(_why_none(call))
        self.calls.append(call)
        return call

    def _meet_strangers(self, tensors: Iterable[Tensor]) -> None:
        for name in self._graph.strangers(tensors):
            self._record(Operation(name, Kind.UNKNOWN), self._rules.get(Kind.UNKNOWN), *self._where())


def _why_none(call: Call) -> str:
    reasons = {
        Kind.ACTIVATION: "the paper has rectifiers only; choose activations='rectify' or 'gradient'",
        Kind.MASK: "comparing activations makes a hand-written rectifier; use torch.relu, or choose "
        "activations='gradient'",
    }
    unknown = "it is not listed, or ran where no rule can reach it; choose unknown='gradient' to differentiate it"
    return f"no rule for {call.place}: {reasons.get(call.kind, unknown)}"


def _each(extreme: Callable[..., Tensor], signal: Tensor) -> Tensor:
    """Reduce a signal (N, ...) to (N,)."""
    return extreme(signal, tuple(range(1, signal.dim()))) if signal.dim() > 1 else signal
