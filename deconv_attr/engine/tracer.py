"""Which call of which module made which node: the slow way to run a model, for reports and errors.

On a healthy call nobody asks. Nodes that no call has made, the work of code that torch's function modes do not see (a
custom ``autograd.Function``, TorchScript), are met where their module ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from ..rules.arguments import tensors_in
from ..rules.backward import Rule
from ..rules.identify import identify_node
from ..rules.kinds import Kind, Operation
from ..rules.switches import switches_of
from ..rules.torch_private import defined_at
from .call_site import source_line
from .coverage import NO_RULE, Call
from .nodes import new_nodes

__all__ = ["Tracer"]

# Which of a call's several nodes speaks for it: the one that is most in need of a rule.
_PRECEDENCE = [Kind.UNKNOWN, Kind.CONSTANT, Kind.MASK, Kind.ACTIVATION, Kind.RECTIFIER, Kind.MAX_POOL]
_PRECEDENCE += [Kind.CONTRAST_NORM, Kind.BATCH_NORM, Kind.STEP, Kind.GATE, Kind.LINEAR]
# Nodes that autograd itself makes when the base of a view has changed, or for a module's backward hook.
_ITS_OWN = frozenset(
    """view slice select as_strided getitem alias expand permute t transpose split squeeze unsqueeze unbind diagonal
    clone""".split()
)


class Tracer:
    """The calls of one forward pass, and their nodes.

    Parameters
    ----------
    model : nn.Module
        What runs.
    entry : Node
        Of its inputs.

    Attributes
    ----------
    calls : list of Call
        Those that carry the signal, in order; after :meth:`settle` with their rules.
    call_of : dict of Node to Call
        Which call made a node.
    """

    def __init__(self, model: nn.Module, entry: Node) -> None:
        self.calls: list[Call] = []
        self.call_of: dict[Node, Call] = {}
        self._nodes: dict[Call, list[Node]] = {}
        self._seen = {entry}
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._frames = [(model, "")]

    def enter(self, module: nn.Module, args: Any) -> None:
        """Note that a module begins to run."""
        self.meet(tensors_in(args))
        self._frames.append((module, self._paths.get(id(module), self._frames[-1][1])))  # a copy has no path of its own

    def leave(self, module: nn.Module, output: Any) -> None:
        """Note that a module has run."""
        while self._frames[-1][0] is not module:  # one in between failed, and the model went on
            self._frames.pop()
        self.meet(tensors_in(output))
        self._frames.pop()

    def call(self, name: str, run: Callable[[], Any], tensors: Iterable[Tensor]) -> Any:
        """Run a call, and note the nodes that it makes."""
        tensors = list(tensors)
        self.meet(tensors)
        result = run()
        made = [node for tensor in (*tensors_in(result), *tensors[:1]) for node in new_nodes(tensor, self._seen)]
        if made:
            module, path = self._frames[-1]
            stock = type(module).__module__.startswith("torch.nn.")
            self._note(Call(path, name, Kind.UNKNOWN, NO_RULE, "" if stock else source_line()), made)
        return result

    def meet(self, tensors: Iterable[Tensor]) -> None:
        """Note nodes that no call has made."""
        for tensor in tensors:
            made = new_nodes(tensor, self._seen)
            names = {node: identify_node(node, 1) for node in made}
            for node, operation in names.items():
                if isinstance(operation, Operation) and operation.name not in _ITS_OWN:
                    name = node.name().split("::")[-1] if operation.kind is Kind.UNKNOWN else operation.name
                    self._note(Call(self._frames[-1][1], name, Kind.UNKNOWN, NO_RULE, defined_at(node)), [node])

    def settle(self, given: dict[Node, tuple[Operation, Rule | None]]) -> None:
        """Set the kind and the rule of each call.

        Parameters
        ----------
        given : dict
            The operation and the rule of each node that carries the signal.
        """
        carrying = []
        for call in self.calls:
            nodes = [given[node] for node in self._nodes[call] if node in given]
            if nodes:
                operation, rule = min(nodes, key=lambda item: (item[1] is not None, _PRECEDENCE.index(item[0].kind)))
                call.kind, call.rule = operation.kind, NO_RULE if rule is None else rule.name
                if call.kind is Kind.MAX_POOL:
                    call.switches = switches_of(self._nodes[call][0])
                carrying.append(call)
        self.calls = carrying

    def close(self) -> None:
        """Release the nodes; the calls stay."""
        for held in (self.call_of, self._nodes, self._seen):
            held.clear()

    def _note(self, call: Call, nodes: list[Node]) -> None:
        self.calls.append(call)
        self._nodes[call] = nodes
        self.call_of.update(dict.fromkeys(nodes, call))
