"""One forward pass, run as it is: what the nodes of autograd's graph will not tell is noted as the calls run.

For most calls the function mode is a look into a dictionary. It stops at

- writes into the caller's memory, which go to copies, and writes that the graph does not see, which are refused;
- calls of which several nodes are one operation, or whose rule keeps something of the call: they become regions;
- rectifiers that write into a view, whose node autograd hides: they write into a copy, which is copied back;
- calls with large results: what autograd keeps of them is made small;
- calls that may be rectifiers written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..errors import RuleError
from ..rules.filtering import FILTERS, filtered
from ..rules.operations import (
    COMPOSITES,
    Kind,
    Operation,
    identify,
    identify_node,
    is_in_place,
    kinds_of,
    mapped,
    named_arguments,
    operation_name,
    tensors_in,
    writes_to,
)
from ..rules.switches import switches_of
from ..rules.tables import Forward, Rule, Table, of_batch, rule_for, scale
from ..rules.torch_private import base_of, is_view
from .call_site import running_module, source_line
from .coverage import Call
from .handwritten import FOLDS, SUMS, WEIGHS, factors_of, is_function_of_sign
from .nodes import Region, State, Way, new_nodes
from .restore import CopyOnWrite, Hook, Undo, address
from .saved_tensors import LARGE, SavedTensors
from .tracer import Tracer

__all__ = ["ForwardPass"]

_SPARED = frozenset(  # of what autograd keeps of these much can be spared
    """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution linear relu relu6 hardtanh
    max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d
    avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d pad batch_norm""".split()
)
_TO_NUMPY = frozenset(("numpy", "array", "dlpack"))
_LOOKED_AT = _SPARED | COMPOSITES | WEIGHS | FOLDS | _TO_NUMPY | {"detach"}
_SEEN_THROUGH = (Kind.LINEAR, Kind.GATE)  # nothing is lost where autograd hides their node behind a view's

_UNSEEN = (
    "numbers on the signal's way, unseen by autograd (under no_grad, or by x.detach() or x.data): write into a copy"
)


class ForwardPass(CopyOnWrite):
    """Watches one forward pass in this thread.

    Parameters
    ----------
    model : nn.Module
        What runs.
    others : sequence
        Further arguments.
    rules : Table
        Which rule serves which operation.
    entered : tuple of Tensor
        The inputs, as :func:`enter` gives them.
    traced : bool
        Whether to note which call made which node.
    narrow : bool
        Whether filters send back windows only.
    pack : bool
        Whether to make small what autograd keeps.
    examined : bool
        Whether to keep, whole, what may be a rectifier written by hand.

    Attributes
    ----------
    pack : bool
        As given.
    noted : dict of Node to Operation
        Of nodes that do not tell themselves.
    regions : list of Region
        Calls with a rule of their own.
    covered : set of Node
        Nodes at which nothing more is to be done.
    suspects : list of (Node, Tensor)
        Nodes that may be rectifiers written by hand, and whether they look so; (), bool.
    factors : list of (Node, Tensor, Tensor)
        When examined: nodes, the numbers they weigh and the factors.
    """

    def __init__(
        self,
        model: nn.Module,
        others: Sequence[Any],
        rules: Table,
        entered: tuple[Tensor, ...],
        *,
        traced: bool = False,
        narrow: bool = False,
        pack: bool = True,
        examined: bool = False,
    ) -> None:
        super().__init__(model, others)
        entry = entered[0].grad_fn
        assert entry is not None
        self.way = Way(entry)
        self.tracer = Tracer(model, entry) if traced else None
        self.state = State()
        self.saved = SavedTensors(self.state)
        self.noted: dict[Node, Operation] = {}
        self.regions: list[Region] = []
        self.covered: set[Node] = set()
        self.suspects: list[tuple[Node, Tensor]] = []
        self.factors: list[tuple[Node, Tensor, Tensor]] = []
        self._rules = rules
        self.pack, self._narrow, self._examined = pack, narrow, examined
        self._keeping = {key for key, rule in rules.items() if rule.keep is not None}
        # Whether all calls are to be looked at.
        self._alerted = traced or any(rules[key].back is not scale for key in self._keeping)
        self._weighing = Kind.MASK not in rules
        self._folded = False
        self._aliases: dict[int, Tensor] = {}  # detached memory of the signal's tensors, by its address
        self._in_numpy: list[tuple[Tensor, Tensor]] = []  # such memory, and what stood in it
        self._hooks: list[Any] = []

    def copy_inference_tensors(self, modules: Sequence[nn.Module]) -> None:
        """Let copies stand in for parameters made in inference mode, which autograd refuses to keep."""
        held = [tensor for m in modules for table in (m._parameters, m._buffers) for tensor in table.values()]
        for tensor in (*held, *tensors_in(list(self._others))):
            if tensor is not None and tensor.is_inference():
                self.replace(tensor, tensor.detach().clone())

    def hook(self, modules: Sequence[nn.Module], undo: Undo) -> None:
        """When traced, put hooks on all modules, to be removed by `undo`: they tell which module a call belongs to."""
        if self.tracer is None:
            return
        tracer = self.tracer
        enter = Hook(lambda module, args, kwargs=None: tracer.enter(module, (args, kwargs)))
        leave = Hook(lambda module, args, output: tracer.leave(module, output))
        undo.later(self._unhook)
        for module in modules:
            self._hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            self._hooks.append(module.register_forward_hook(leave, prepend=True))

    def _unhook(self) -> None:
        while self._hooks:
            self._hooks[-1].remove()
            self._hooks.pop()

    def close(self) -> None:
        """Let go of the graph: its hooks know this pass, and this pass its nodes. From now on no rule acts."""
        self.state.open = False
        self.saved.close()
        for held in (self.noted, self.regions, self.covered, self.suspects):
            held.clear()
        self.factors.clear()
        self.way.clear()

    # ------------------------------------------------------------------------ one call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._answers = True
        name, look = _known(func)
        if self._alerted or self._copying:
            return self._alert(func, name, args, kwargs or {})
        if kwargs is None:
            kwargs = {}
        if look is not None:
            return look(self, func, name, args, kwargs)
        return self._stopped(func, name, args, kwargs) if kwargs and _writes(kwargs) else func(*args, **kwargs)

    def _sparing(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run a call of which autograd may keep much."""
        if name == "batch_norm":
            harmless = args and kwargs.get("training") is False
        else:
            harmless = args and (self._is_seen(args[0]) if kwargs.get("inplace") else isinstance(args[0], Tensor))
        if not harmless or (self._narrow and name in FILTERS):
            return self._stopped(func, name, args, kwargs)
        result = func(*args, **kwargs)
        if self.pack and args[0].numel() >= LARGE:
            self._spare(result)
        return result

    def _adding(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run linear arithmetic in place, as at the end of a residual block."""
        if args and not self._folded and args[0].grad_fn is not None and torch.is_grad_enabled():
            return func(*args, **kwargs)
        return self._stopped(func, name, args, kwargs)

    def _is_seen(self, target: Any) -> bool:
        """Whether autograd sees what is written into a call's first argument."""
        return target.grad_fn is not None and torch.is_grad_enabled() and not is_view(target)

    def _alert(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        """Run a call while all are looked at."""
        if self.tracer is None or name is None:
            return self._stopped(func, name, args, kwargs)
        return self.tracer.call(name, lambda: self._stopped(func, name, args, kwargs), tensors_in((args, kwargs)))

    def _stopped(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        if name is None:
            if func.__name__ == "__set__" and isinstance(args[0], Tensor) and args[0].grad_fn is not None:
                raise RuleError(f"{self._place(Operation('data', Kind.UNKNOWN))} exchanges {_UNSEEN}")
            return self._noting_alias(self._attribute(func, args), args[0])
        written = writes_to(func, name, args, kwargs)
        if written:
            self._refuse_hidden(name, written)
            self.protect(tensor for tensor in written if tensor.grad_fn is None)
        args, kwargs = self.stand_in(args), self.stand_in(kwargs)
        target = self.current(written[0]) if written and name not in ("batch_norm", "instance_norm") else None
        tensors = tensors_in((args, kwargs))
        if name in _TO_NUMPY or name == "detach":
            result = self._noting_alias(func(*args, **kwargs), tensors[0])
        elif kwargs.get("out") is not None and not self._carriers(tensors):
            with torch.no_grad():  # autograd would refuse weights that require grad
                result = func(*args, **kwargs)
        elif torch.is_grad_enabled() and any(tensor.grad_fn is not None for tensor in tensors):
            result = self._carrying(func, name, args, kwargs, tensors, target)
        else:
            result = func(*args, **kwargs)
        return self._originals.get(id(result), result)

    def _carrying(
        self, func: Any, name: str, args: Any, kwargs: Any, tensors: list[Tensor], target: Tensor | None
    ) -> Any:
        """Run a call that may carry the signal."""
        if self._narrow and name in FILTERS:
            given = named_arguments(func, name, args, kwargs)
            if [id(tensor) for tensor in self._carriers(tensors)] == [id(given["input"])]:
                return self._note_all(filtered(func, name, args, kwargs), tensors, Operation(name, Kind.LINEAR))
        pairs = self._pairs(name, args, kwargs)  # before the call, which may write into them
        own = name in COMPOSITES or not self._keeping.isdisjoint((name, *kinds_of(name)))  # it may be a region
        if own and name == "batch_norm":
            own = not self._scales(named_arguments(func, name, args, kwargs))
        if own or target is not None:
            carriers = self._carriers(tensors)
            operation = identify(name, args, kwargs, carriers)
            rule = rule_for(self._rules, operation)
            region = own and bool(carriers) and rule is not None and rule.back is not None
            hidden = target is not None and operation.kind not in _SEEN_THROUGH and is_view(target)
            if target is not None and (region or hidden):
                return self._out_of_place(func, name, args, kwargs, target)
            if region and rule is not None:
                return self._region(func, name, args, kwargs, carriers, operation, rule)
        result = func(*args, **kwargs)
        if name in COMPOSITES:
            self._note_all(result, tensors, operation)
        if pairs:
            self._suspect(result if target is None else target, pairs)
        if self.pack and name in _SPARED and tensors[0].numel() >= LARGE:
            self._spare(result)
        return result

    def _scales(self, given: Mapping[str, Any]) -> bool:
        """Whether a batch norm's own backward is the rule: in eval mode that is the scaling by its factor."""
        rule = rule_for(self._rules, Operation("batch_norm", Kind.BATCH_NORM))
        return rule is not None and rule.back is scale and not of_batch(given)

    def _carriers(self, tensors: list[Tensor]) -> list[Tensor]:
        return [tensor for tensor in tensors if self.way.carries(tensor)]

    def _note_all(self, result: Any, tensors: list[Tensor], operation: Operation) -> Any:
        """Note of all nodes of a call what the call is."""
        inputs = {tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None}
        for tensor in tensors_in(result)[:1]:
            self.noted.update(dict.fromkeys(new_nodes(tensor, inputs), operation))
        return result

    def _out_of_place(self, func: Any, name: str, args: Any, kwargs: Any, target: Tensor) -> Tensor:
        """Compute out of place, and copy into the target: autograd hides the node of a call that writes into a view."""
        source = target if name == "relu" else target.clone()  # a ReLU keeps its output, others what is overwritten
        args, kwargs = mapped(lambda value: source if value is target else value, (args, kwargs))
        kwargs.pop("inplace", None)
        result = self._carrying(_functional(func), name, args, kwargs, tensors_in((args, kwargs)), None)
        return target.copy_(result)

    def _region(
        self,
        func: Any,
        name: str,
        args: Any,
        kwargs: Any,
        carriers: list[Tensor],
        operation: Operation,
        rule: Rule,
    ) -> Any:
        """Run a call that one rule covers, between two nodes of its own."""
        carrier, *more = carriers
        if any(other is not carrier for other in more):
            raise RuleError(
                f"the signal enters {self._place(operation)} by more than one argument: '{rule.name}' takes one"
            )
        entered = carrier.view_as(carrier)
        first = entered.grad_fn
        given = mapped(lambda value: entered if value is carrier else value, (args, kwargs))
        result = func(*given[0], **given[1])
        output = tensors_in(result)[0]
        assert first is not None
        assert output.grad_fn is not None
        switches = switches_of(output.grad_fn) if operation.kind is Kind.MAX_POOL else None
        arguments = named_arguments(func, name, args, kwargs)
        forward = Forward(operation, carrier.detach(), output.detach(), arguments, switches)
        with torch.set_grad_enabled(not self.pack):  # only maps that can be differentiated need it recorded
            kept = None if rule.keep is None else rule.keep(forward)
        self.regions.append(Region(rule, output.grad_fn, first, kept))
        assert carrier.grad_fn is not None
        nodes = new_nodes(output, {carrier.grad_fn})
        self.noted.update(dict.fromkeys(nodes, operation))
        self.covered.update(nodes)
        return result

    def _spare(self, result: Any) -> None:
        """Make small what autograd keeps of a call that read much."""
        output = result[0] if isinstance(result, tuple) else result
        if type(output) is not Tensor or output.grad_fn is None:
            return
        operation = identify_node(output.grad_fn, 1)  # hardtanh may be a rectifier, or none
        rule = rule_for(self._rules, operation) if isinstance(operation, Operation) else None
        if self.saved.spare(output, rule, self.way):
            self.covered.add(output.grad_fn)

    # ------------------------------------------------------------------------ what must not go unseen

    def _pairs(self, name: str, args: Any, kwargs: Any) -> list[tuple[Tensor, Tensor]]:
        if not self._weighing or (name in SUMS and not self._folded):
            return []
        self._folded = self._folded or name in FOLDS
        return factors_of(name, args, kwargs, self._examined)

    def _suspect(self, result: Any, pairs: list[tuple[Tensor, Tensor]]) -> None:
        node = next((tensor.grad_fn for tensor in tensors_in(result)), None)
        if node is None:
            return
        if self._examined:
            self.factors += [(node, x, factor) for x, factor in pairs]
        else:
            self.suspects += [(node, is_function_of_sign(x, factor)) for x, factor in pairs]

    def _noting_alias(self, result: Any, source: Any) -> Any:
        """Note memory of the signal's tensors that can be written unseen: x.detach(), x.data, and those in numpy."""
        if isinstance(source, Tensor) and isinstance(result, Tensor):
            if source.grad_fn is not None and result.grad_fn is None and address(result):
                self._aliases[address(result)] = result
        elif isinstance(source, Tensor) and address(source) in self._aliases:
            self._in_numpy.append((source, source.clone()))
        return result

    def _refuse_hidden(self, name: str, written: list[Tensor]) -> None:
        """Refuse to write into the signal's tensors where autograd does not see it."""
        for tensor in written:
            base = base_of(tensor)
            hidden = tensor.grad_fn is None and (
                (base is not None and self.way.carries(base))
                or (bool(self._aliases) and address(tensor) in self._aliases)
            )
            if hidden or (not torch.is_grad_enabled() and self.way.carries(tensor)):
                raise RuleError(f"{self._place(Operation(name, Kind.UNKNOWN))} overwrites {_UNSEEN}")

    def check_numpy(self) -> None:
        """Refuse a pass in which numpy wrote into what carries the signal.

        Raises
        ------
        RuleError
            It did.
        """
        for tensor, before in self._in_numpy:
            if not torch.equal(tensor, before):
                raise RuleError(f"the model overwrites, with numpy, {_UNSEEN}")

    def _place(self, operation: Operation) -> str:
        path, stock = running_module({id(module): path for path, module in self._model.named_modules()})
        return Call(path, operation.name, operation.kind, "", "" if stock else source_line()).place


@lru_cache(maxsize=4096)
def _known(func: Callable[..., Any]) -> tuple[str | None, Callable[..., Any] | None]:
    """Say what a function is called, and what is to be done at its calls; None: nothing."""
    name = operation_name(func)
    look: Callable[..., Any] | None = None
    if name is None:  # an attribute: only .data, and assignments
        owner = getattr(getattr(func, "__self__", None), "__name__", "")
        look = ForwardPass._stopped if func.__name__ == "__set__" or owner == "data" else None
    elif name in _SPARED and not is_in_place(func):
        look = ForwardPass._sparing
    elif name in SUMS and is_in_place(func):
        look = ForwardPass._adding
    elif name in _LOOKED_AT or is_in_place(func):
        look = ForwardPass._stopped
    return name, look


def _writes(kwargs: Mapping[str, Any]) -> bool:
    return bool(kwargs.get("inplace")) or kwargs.get("out") is not None or kwargs.get("max_norm") is not None


def _functional(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that computes out of place what another writes into its first argument."""
    base = func.__name__.split(".")[0]
    if not base.endswith("_"):  # F.relu(x, inplace=True)
        return func
    found: Callable[..., Any] = next(
        function for place in (F, torch, Tensor) if callable(function := getattr(place, base[:-1], None))
    )
    return found
