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
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..errors import RuleError
from ..rules import handwritten
from ..rules.arguments import is_in_place, mapped, named_arguments, tensors_in
from ..rules.backward import Forward, Rule, adjoint, of_batch, scale
from ..rules.filtering import Filters
from ..rules.handwritten import factors_of, is_function_of_sign
from ..rules.identify import identify, identify_node, operation_name
from ..rules.kinds import Kind, Operation
from ..rules.operations import cached, row_of
from ..rules.switches import Switches, switches_of
from ..rules.tables import Table, is_of_module, rule_for
from ..rules.torch_private import base_of, is_view
from .call_site import running_module, source_line
from .copy_on_write import CopyOnWrite, address
from .coverage import Call
from .module_hooks import ModuleHooks
from .module_rules import ModuleRules
from .nodes import Region, State, Way, in_cones, new_nodes, several_carriers
from .saved_tensors import LARGE, SavedTensors
from .tracer import Tracer

__all__ = ["ForwardPass"]

_ALIASING = frozenset(("detach", "numpy", "array", "dlpack"))  # whose result shares memory, unseen by autograd
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
    modules : ModuleRules
        The table's rules for modules.
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
        self.modules = ModuleRules(model, rules, self.way)
        self.pack, self._narrow, self._examined = pack, narrow, examined
        keeping = {key for key, rule in rules.items() if rule.keep is not None and not rule.by_autograd}
        self._keeping = {key for key in keeping if not is_of_module(key)}
        # Whether all calls are to be looked at.
        self._alerted = traced or any(rules[key].back is not scale for key in self._keeping)
        self._alerted = self._alerted or keeping != self._keeping
        self._weighing = Kind.MASK not in rules
        self._folded = False
        self._beside_steps: Way | None = None  # after a step: what leads to the entry past all steps
        self._aliases: dict[int, Tensor] = {}  # detached memory of the signal's tensors, by its address
        self._in_numpy: list[tuple[Tensor, Tensor]] = []  # such memory, and what stood in it

    def copy_inference_tensors(self, modules: Sequence[nn.Module]) -> None:
        """Use copies of parameters made in inference mode, which autograd refuses to keep."""
        held = [tensor for m in modules for table in (m._parameters, m._buffers) for tensor in table.values()]
        for tensor in (*held, *tensors_in(list(self._others))):
            if tensor is not None and tensor.is_inference():
                self.replace(tensor, tensor.detach().clone())

    def hook(self, modules: Sequence[nn.Module], hooks: ModuleHooks) -> None:
        """Put hooks on all modules, when traced or with rules for modules: they tell to which module a call belongs."""
        self.modules.hook(modules, hooks)
        if self.tracer is not None:
            for module in modules:
                hooks.around(module, self.tracer.enter, self.tracer.leave)

    def close(self) -> None:
        """Release the graph: its hooks know this pass, and this pass its nodes. From now on no rule acts."""
        self.state.open = False
        self.saved.close()
        for held in (self.noted, self.regions, self.covered, self.suspects):
            held.clear()
        self.factors.clear()
        self.modules.clear()
        self.way.clear()
        if self.tracer is not None:
            self.tracer.close()
        self._beside_steps = None

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
        return self.perform(func, name, args, kwargs) if kwargs and _is_special(kwargs) else func(*args, **kwargs)

    def _sparing(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run a call of which autograd may keep much."""
        if name == "batch_norm":
            harmless = args and kwargs.get("training") is False
        else:
            harmless = args and (self._is_seen(args[0]) if kwargs.get("inplace") else isinstance(args[0], Tensor))
        if not harmless or (self._narrow and row_of(name).adjoint is not None):
            return self.perform(func, name, args, kwargs)
        result = func(*args, **kwargs)
        if self.pack and args[0].numel() >= LARGE:
            self._spare(result)
        return result

    def _adding(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run linear arithmetic in place, as at the end of a residual block."""
        plain = args and not self._folded and not self._in_numpy
        if plain and args[0].grad_fn is not None and torch.is_grad_enabled():
            return func(*args, **kwargs)
        return self.perform(func, name, args, kwargs)

    def _is_seen(self, target: Any) -> bool:
        """Whether autograd sees what is written into a call's first argument, and nobody looks at that in numpy."""
        seen = target.grad_fn is not None and torch.is_grad_enabled() and not is_view(target)
        return seen and not self._in_numpy

    def _alert(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        """Run a call while all are looked at."""
        if self.tracer is None or name is None:
            return self.perform(func, name, args, kwargs)
        return self.tracer.call(name, lambda: self.perform(func, name, args, kwargs), tensors_in((args, kwargs)))

    def attribute(self, access: Any, args: Any) -> Any:
        """Read or assign an attribute of a tensor; one that exchanges the numbers of a signal is refused."""
        tensor = args[0]
        if access.__name__ == "__set__" and isinstance(tensor, Tensor) and tensor.grad_fn is not None:
            raise RuleError(f"{self._location(Operation('data', Kind.UNKNOWN))} exchanges {_UNSEEN}")
        result = super().attribute(access, args)
        return self._noting_alias(result, tensor) if isinstance(result, Tensor) else result

    def protect(self, name: str, written: Sequence[Tensor]) -> None:
        """Refuse what autograd does not see, and copy what is the caller's."""
        self._refuse_hidden(name, written)
        self.copy(tensor for tensor in written if tensor.grad_fn is None)

    def run_call(self, func: Any, name: str, args: Any, kwargs: Any, written: Sequence[Tensor]) -> Any:
        """Run a call that is looked at."""
        addresses = {address(tensor) for tensor in written} if self._in_numpy else ()
        if not addresses:
            return self._run_call(func, name, args, kwargs, written)
        self.check_numpy()  # first: from now on the call's own numbers stand there
        result = self._run_call(func, name, args, kwargs, written)
        self._in_numpy = [
            (tensor, tensor.clone() if address(tensor) in addresses else before) for tensor, before in self._in_numpy
        ]
        return result

    def _run_call(self, func: Any, name: str, args: Any, kwargs: Any, written: Sequence[Tensor]) -> Any:
        statistics = name in ("batch_norm", "instance_norm")  # which carry no signal
        target = self.current(written[0]) if written and not statistics else None
        call = _Call(func, name, args, kwargs, target)
        if call.name in _ALIASING:
            return self._noting_alias(call.run(), call.tensors[0])
        if call.kwargs.get("out") is not None and not self._carriers(call):
            with torch.no_grad():  # autograd would refuse weights that require grad
                return call.run()
        if torch.is_grad_enabled() and any(tensor.grad_fn is not None for tensor in call.tensors):
            return self._carrying(call)
        return call.run()

    def _carrying(self, call: _Call) -> Any:
        """Run a call that may carry the signal."""
        filters = self._filters(call)
        if filters is not None:
            return self._note_all(in_cones(call.run, call.arguments["input"], filters), call, Kind.LINEAR)
        pairs = self._pairs(call)  # before the call, which may write into them
        kind = Kind.UNKNOWN
        may_be_region = self._may_be_region(call)
        if call.target is not None or may_be_region:
            carriers = self._carriers(call)
            operation = identify(call.name, call.args, call.kwargs, carriers)
            kind, rule = operation.kind, self._rule_of_region(operation) if may_be_region and carriers else None
            if call.target is not None and (rule is not None or _is_hidden(call, kind)):
                return self._out_of_place(call, call.target)
            if rule is not None:
                return self._region(call, carriers, operation, rule)
        return self._noted(call.run(), call, kind, pairs)

    def _noted(self, result: Any, call: _Call, kind: Kind, pairs: list[tuple[Tensor, Tensor]]) -> Any:
        """Note of a result what its nodes will not tell, and make small what autograd keeps."""
        if call.row.by_call:
            self._note_all(result, call, kind)
        if pairs:
            self._suspect(result if call.target is None else call.target, pairs)
        if self.pack and call.row.spares and call.tensors[0].numel() >= LARGE:
            self._spare(result)
        return result

    def _filters(self, call: _Call) -> Filters | None:
        """Return the filters of a call whose signals, those of single units, fill cones; None of another call."""
        if not self._narrow or call.row.adjoint is None:
            return None
        rule = self.rule_for(Operation(call.name, Kind.LINEAR))
        if rule is None or rule.back is not adjoint:
            return None
        alone = [id(tensor) for tensor in self._carriers(call)] == [id(call.arguments["input"])]
        return call.row.adjoint(call.name, call.arguments) if alone else None

    def _may_be_region(self, call: _Call) -> bool:
        of_module = self.modules.rule
        keeps = of_module is not None and of_module.keep is not None
        if not (keeps or call.row.by_call) and self._keeping.isdisjoint((call.name, *call.row.kinds)):
            return False
        return call.name != "batch_norm" or not self._scales(call.arguments)

    def _rule_of_region(self, operation: Operation) -> Rule | None:
        """Return the rule of an operation if its body serves; None where autograd's own backward does."""
        rule = self.rule_for(operation)
        return None if rule is None or rule.by_autograd else rule

    def rule_for(self, operation: Operation, node: Node | None = None) -> Rule | None:
        """Return the rule of an operation: of the module in which it runs or has made a node, else the table's."""
        of_module = self.modules.of.get(node) if node else self.modules.rule
        return of_module or rule_for(self._rules, operation)

    def _scales(self, given: Mapping[str, Any]) -> bool:
        """Whether a batch norm's own backward is the rule: in eval mode that is the scaling by its factor."""
        rule = self.rule_for(Operation("batch_norm", Kind.BATCH_NORM))
        return rule is not None and rule.back is scale and not of_batch(given)

    def _carriers(self, call: _Call) -> list[Tensor]:
        return [tensor for tensor in call.tensors if self.way.carries(tensor)]

    def _note_all(self, result: Any, call: _Call, kind: Kind) -> Any:
        """Note of all nodes of a call what the call is."""
        inputs = {tensor.grad_fn for tensor in call.tensors if tensor.grad_fn is not None}
        for tensor in tensors_in(result)[:1]:
            self.noted.update(dict.fromkeys(new_nodes(tensor, inputs), Operation(call.name, kind)))
        return result

    def _out_of_place(self, call: _Call, target: Tensor) -> Tensor:
        """Compute out of place, and copy into the target: autograd hides the node of a call that writes into a view."""
        # A ReLU keeps its output, others what is overwritten.
        source = target if call.name == "relu" else target.clone()
        args, kwargs = mapped(lambda value: source if value is target else value, (call.args, call.kwargs))
        kwargs.pop("inplace", None)
        return target.copy_(self._carrying(_Call(_functional(call.func), call.name, args, kwargs)))

    def _region(self, call: _Call, carriers: list[Tensor], operation: Operation, rule: Rule) -> Any:
        """Run a call that one rule covers, between two nodes of its own."""
        carrier, *more = carriers
        if any(other is not carrier for other in more):
            raise RuleError(several_carriers(self._location(operation), rule))
        entered = carrier.view_as(carrier)
        args, kwargs = mapped(lambda value: entered if value is carrier else value, (call.args, call.kwargs))
        result = call.func(*args, **kwargs)
        first, output, last = entered.grad_fn, tensors_in(result)[0], tensors_in(result)[0].grad_fn
        assert carrier.grad_fn is not None
        assert first is not None
        assert last is not None
        switches = switches_of(last) if operation.kind is Kind.MAX_POOL else None
        with torch.set_grad_enabled(not self.pack):  # only maps that can be differentiated need it recorded
            kept = (
                None if rule.keep is None else rule.keep(self._forward_of(call, carrier, output, operation, switches))
            )
        self.regions.append(Region(rule, last, first, kept))
        nodes = new_nodes(output, {carrier.grad_fn})
        self.noted.update(dict.fromkeys(nodes, operation))
        self.covered.update(nodes)
        return result

    def _forward_of(
        self, call: _Call, carrier: Tensor, output: Tensor, operation: Operation, switches: Switches | None
    ) -> Forward:
        """Return what a rule may keep of a call."""
        arguments = call.arguments
        if len(arguments) < len(call.args) + len(call.kwargs):
            given = f"{len(call.args)} arguments by their positions"
            raise RuleError(
                f"{given}, which have no names, for the rule of {self._location(operation)}: name them there"
            )
        return Forward(operation, carrier.detach(), output.detach(), arguments, switches)

    def _spare(self, result: Any) -> None:
        """Pack what autograd keeps of a call that read much."""
        output = result[0] if isinstance(result, tuple) else result
        if type(output) is not Tensor or output.grad_fn is None:
            return
        operation = identify_node(output.grad_fn, 1)  # hardtanh may be a rectifier, or none
        rule = self.rule_for(operation) if isinstance(operation, Operation) else None
        if self.saved.spare(output, rule, self.way):
            self.covered.add(output.grad_fn)

    # ------------------------------------------------------------------------ what must not go unseen

    def _pairs(self, call: _Call) -> list[tuple[Tensor, Tensor]]:
        """Return what a call may weigh by hand: of a sum only after x and -x may have been given one value."""
        if not self._weighing or (call.row.weighs is handwritten.total and not self._folded):
            return []
        self._folded = self._folded or call.row.folds
        if self._beside_steps is None and (call.row.kind is Kind.STEP or "rounding_mode" in call.kwargs):
            self._beside_steps = Way(self.way.entry, _is_step)
        if call.row.weighs is None:
            return []
        args, kwargs = call.args, call.kwargs
        if self._beside_steps is not None:
            args, kwargs = mapped(self._without_steps, (args, kwargs))
        return factors_of(call.row.weighs, args, kwargs, self._examined)

    def _without_steps(self, value: Any) -> Any:
        """Return a tensor that depends on the inputs by steps only, through which no signal comes, as a constant."""
        if self._beside_steps is None or not isinstance(value, Tensor) or not self.way.carries(value):
            return value
        return value if self._beside_steps.carries(value) else value.detach()

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

    def _refuse_hidden(self, name: str, written: Sequence[Tensor]) -> None:
        """Refuse to write into the signal's tensors where autograd does not see it."""
        for tensor in written:
            base = base_of(tensor)
            hidden = tensor.grad_fn is None and (
                (base is not None and self.way.carries(base))
                or (bool(self._aliases) and address(tensor) in self._aliases)
            )
            if hidden or (not torch.is_grad_enabled() and self.way.carries(tensor)):
                raise RuleError(f"{self._location(Operation(name, Kind.UNKNOWN))} overwrites {_UNSEEN}")

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

    def _location(self, operation: Operation) -> str:
        path, stock = running_module({id(module): path for path, module in self._model.named_modules()})
        return Call(path, operation.name, operation.kind, "", "" if stock else source_line()).location


@dataclass(eq=False)
class _Call:
    """One call that is looked at.

    Parameters
    ----------
    func, args, kwargs
        The call.
    name : str
        Its canonical name.
    target : Tensor or None
        What it writes into.
    """

    func: Callable[..., Any]
    name: str
    args: Any
    kwargs: Any
    target: Tensor | None = None

    def __post_init__(self) -> None:
        self.row = row_of(self.name)
        if self.name == "floor_divide":  # of which autograd has no gradient, though it has of this
            self.func, self.kwargs = _floored, {**self.kwargs, "call": self.func}
        self.tensors = tensors_in((self.args, self.kwargs))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments by their names."""
        named: Mapping[str, Any] = named_arguments(self.func, self.name, self.args, self.kwargs)
        return named

    def run(self) -> Any:
        """Run the call."""
        return self.func(*self.args, **self.kwargs)


def _is_hidden(call: _Call, kind: Kind) -> bool:
    """Whether autograd hides the node of a call, which writes into a view, and something is lost by that."""
    return call.target is not None and is_view(call.target) and kind not in _SEEN_THROUGH


def _is_step(node: Node) -> bool:
    """Whether a node is of a step, as far as it tells itself."""
    operation = identify_node(node, 1)
    return isinstance(operation, Operation) and operation.kind is Kind.STEP


@cached
def _known(func: Callable[..., Any]) -> tuple[str | None, Callable[..., Any] | None]:
    """Return what a function is called, and what is to be done at its calls; None: nothing."""
    name = operation_name(func)
    if name is None:
        return name, ForwardPass.perform if _is_watched_attribute(func) else None
    row, in_place = row_of(name), is_in_place(func)
    if row.spares and not in_place:
        return name, ForwardPass._sparing
    if row.weighs is handwritten.total and in_place:
        return name, ForwardPass._adding
    seen = in_place or row.spares or row.by_call or row.folds or row.weighs is not None or name in _ALIASING
    seen = seen or row.kind is Kind.STEP
    return name, ForwardPass.perform if seen else None


def _is_watched_attribute(access: Callable[..., Any]) -> bool:
    """Whether an attribute's access may exchange a tensor's numbers: assignments, and ``.data``."""
    return access.__name__ == "__set__" or getattr(getattr(access, "__self__", None), "__name__", "") == "data"


def _is_special(kwargs: Mapping[str, Any]) -> bool:
    """Whether the keywords of a call make it write, or round."""
    writes = bool(kwargs.get("inplace")) or kwargs.get("out") is not None or kwargs.get("max_norm") is not None
    return writes or kwargs.get("rounding_mode") is not None


def _floored(input: Any, other: Any, *, call: Callable[..., Any], **kwargs: Any) -> Tensor:
    """Divide as a call of ``floor_divide`` would."""
    if call.__name__ == "__rfloordiv__":
        input, other = torch.as_tensor(other), input
    divide: Callable[..., Tensor] = Tensor.div_ if is_in_place(call) else torch.div
    return divide(input, other, rounding_mode="floor", **kwargs)


def _functional(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that computes out of place what another writes into its first argument."""
    base = func.__name__.split(".")[0]
    if not base.endswith("_"):  # F.relu(x, inplace=True)
        return func
    found: Callable[..., Any] = next(
        function for owner in (F, torch, Tensor) if callable(function := getattr(owner, base[:-1], None))
    )
    return found
