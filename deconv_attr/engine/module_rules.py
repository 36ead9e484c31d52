"""Rules for modules: which holds while the parts of a model run, and for which nodes of autograd's graph.

A rule for a module stands for all that runs inside of it. One with a body of its own replaces the module as a whole:
the signal above it goes to the body, and what that returns goes on below it. One that keeps something of a call, or
changes the signal that autograd then sends, serves each operation. Of several entries the first in the table counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from ..errors import RuleError
from ..rules.arguments import tensors_in
from ..rules.backward import Rule
from ..rules.tables import Table, is_of_module
from .layers import Layer, find_layer
from .module_hooks import ModuleHooks
from .nodes import Edge, JumpOver, Way, new_nodes

__all__ = ["ModuleRules"]


@dataclass(eq=False)
class _Frame:
    """A module that is running.

    Parameters
    ----------
    module : nn.Module or None
        None for what is outside of all.
    position : int
        Of its rule among the entries; as many as there are where it has none.
    replaces : bool
        Whether that rule replaces it as a whole.
    edges : collection of Edge
        Where the signal leaves it.
    """

    module: nn.Module | None
    position: int
    replaces: bool = False
    edges: Collection[Edge] = ()


class ModuleRules:
    """The rules for modules in one forward pass.

    Parameters
    ----------
    model : nn.Module
        What runs.
    rules : Table
        The table, of which the entries for modules count here.
    way : Way
        The nodes that lead to the inputs.

    Raises
    ------
    InputError
        The model has no such module.

    Attributes
    ----------
    of : dict of Node to Rule
        The rules of nodes that ran inside of modules with one.
    jumps : list of JumpOver
        The modules that are replaced as a whole.
    """

    def __init__(self, model: nn.Module, rules: Table, way: Way) -> None:
        self.of: dict[Node, Rule] = {}
        self.jumps: list[JumpOver] = []
        self._model, self._way = model, way
        self._entries: list[tuple[Layer | type, Rule]] = [
            (key if isinstance(key, type) else find_layer(model, key), rule)
            for key, rule in rules.items()
            if is_of_module(key)
        ]
        self._seen = {way.entry}
        self._runs: dict[nn.Module, int] = {}
        self._frames = [_Frame(None, len(self._entries))]

    @property
    def rule(self) -> Rule | None:
        """The rule that holds at this moment."""
        position = self._frames[-1].position
        return self._entries[position][1] if position < len(self._entries) else None

    def hook(self, modules: Iterable[nn.Module], hooks: ModuleHooks) -> None:
        """Put hooks on all modules, if there is a rule for any."""
        for module in modules if self._entries else ():
            hooks.around(module, self._enter, self._leave)

    def check_end(self) -> None:
        """Refuse a pass that has ended inside of a module.

        Raises
        ------
        RuleError
            A rule is to replace that module as a whole.
        """
        for frame in self._frames:
            if frame.replaces:
                raise RuleError(
                    f"the rule '{self._rule_at(frame).name}' replaces {self._name(frame)} as a whole, and the forward "
                    "pass ends inside of it: give the rule to modules further down"
                )

    def check_calls(self) -> None:
        """Refuse a rule for a call of a module that has not run so often, in a pass of the whole model.

        Raises
        ------
        InputError
            There is one.
        """
        for key, _ in self._entries:
            if isinstance(key, Layer) and key.call is not None:
                key.resolve_call(self._runs.get(key.module, 0))

    def clear(self) -> None:
        """Release the nodes."""
        for held in (self.of, self.jumps, self._seen, self._frames):
            held.clear()

    def _enter(self, module: nn.Module, args: Any) -> None:
        tensors = tensors_in(args)
        self._meet(tensors)
        self._runs[module] = self._runs.get(module, 0) + 1
        outer, own = self._frames[-1].position, self._position(module)
        frame = _Frame(module, min(own, outer))
        if own < outer:
            rule = self._rule_at(frame)
            frame.replaces = not (rule.by_autograd or rule.before or rule.keep is not None)
        if frame.replaces:
            frame.edges = {Edge.of(tensor) for tensor in tensors if self._way.carries(tensor)}
        self._frames.append(frame)

    def _leave(self, module: nn.Module, output: Any) -> None:
        while self._frames[-1].module is not module:  # one in between failed, and the model went on
            self._frames.pop()
        tensors = tensors_in(output)
        self._meet(tensors)
        frame = self._frames.pop()
        if frame.replaces and frame.edges:
            self._jump(frame, tensors)

    def _position(self, module: nn.Module) -> int:
        """Return the position of the first entry for a module."""
        for position, (key, _) in enumerate(self._entries):
            if isinstance(key, type):
                matches = isinstance(module, key)
            else:
                matches = key.module is module and key.call in (None, self._runs[module])
            if matches:
                return position
        return len(self._entries)

    def _meet(self, tensors: Iterable[Tensor]) -> None:
        """Note nodes that have been made since."""
        rule = self.rule
        for tensor in tensors:
            nodes = new_nodes(tensor, self._seen)
            if rule is not None:
                self.of.update(dict.fromkeys(nodes, rule))

    def _jump(self, frame: _Frame, output: Sequence[Tensor]) -> None:
        """Replace a module that has run by its rule."""
        rule, carrying = self._rule_at(frame), [tensor for tensor in output if self._way.carries(tensor)]
        if len(frame.edges) > 1 or len(carrying) > 1:
            which = "enters" if len(frame.edges) > 1 else "leaves"
            raise RuleError(f"the signal {which} {self._name(frame)} by several tensors: '{rule.name}' takes one")
        (edge,) = frame.edges
        if not carrying or Edge.of(carrying[0]) == edge:
            return
        inside = new_nodes(carrying[0], {edge.node})
        if self._way.entry in inside:
            raise RuleError(f"the signal enters {self._name(frame)} past its arguments: '{rule.name}' takes one")
        self.jumps.append(JumpOver(rule, Edge.of(carrying[0]), edge, inside))

    def _rule_at(self, frame: _Frame) -> Rule:
        return self._entries[frame.position][1]

    def _name(self, frame: _Frame) -> str:
        return f"module '{next(name for name, module in self._model.named_modules() if module is frame.module)}'"
