"""Autograd's graph of one forward pass: which nodes lead down to the inputs, and what is done at them.

Autograd calls a node's hooks with the signals above and below it. A *prehook* may change the signal before the node
sends it; a *hook* may replace what the node has sent. All that is used of nodes is public.

No hook may hold its own node or one above, not even by way of `self`: nodes hold their hooks and the nodes below them,
and no garbage collector finds such a cycle, with the inputs at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from ..errors import RuleError
from ..rules.backward import Rule, adjoint
from ..rules.filtering import Filters
from ..rules.torch_private import is_view
from .modes import leave_autocast
from .undo import Undo

__all__ = [
    "Edge",
    "JumpOver",
    "Region",
    "Signals",
    "State",
    "Way",
    "enter",
    "in_cones",
    "in_order_of",
    "new_nodes",
    "put",
    "several_carriers",
]

Signals = tuple[Tensor | None, ...]
with torch.inference_mode(False):  # of the nodes of weights, from which no signal comes down
    _LEAF = type(get_gradient_edge(torch.zeros(1, requires_grad=True, device="cpu")).node)


@dataclass
class State:
    """What holds for all rules of one forward pass.

    Parameters
    ----------
    open : bool
        Whether the forward pass has ended, and its signals are ours: before, and when all is done, no rule acts.
    """

    open: bool = False


class Entering(torch.autograd.Function):
    """Copies the inputs, by one node for all: an input that the model does not use receives a zero signal."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Copy the inputs."""
        return tuple(tensor.clone() for tensor in inputs)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, ...]:
        """Pass the signals on."""
        return signals


def enter(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copy the inputs, so that the model may write into them; the signal ends at the one node of all copies."""
    entered: tuple[Tensor, ...] = Entering.apply(*inputs)
    return entered


class InCones(torch.autograd.Function):
    """A convolution through which the signals of single units go back: only their cones are computed."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, run: Callable[[], Tensor], filters: Filters) -> Tensor:
        """Run the call."""
        ctx.filters = filters
        output = run()
        return output.clone() if is_view(output) else output  # a view from here could not be written in place

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        """Send the signal."""
        undo = Undo()
        with undo, undo:
            leave_autocast(signal.device.type, undo)  # the precision is the one of the forward call
            return adjoint(signal, ctx.filters), None, None


def in_cones(run: Callable[[], Tensor], image: Tensor, filters: Filters) -> Tensor:
    """Run a convolution of an image so that signals go back by the rule's own body, cone by cone."""
    output: Tensor = InCones.apply(image, run, filters)
    return output


class Way:
    """The nodes from which a signal comes down to one node, the entry, found as they are asked for.

    A node never changes its inputs, so what is known of it stays true.

    Parameters
    ----------
    entry : Node
        Where the signal ends.
    stops : callable
        ``stops(node)``: whether nothing comes down from a node.
    """

    def __init__(self, entry: Node, stops: Callable[[Node], bool] = lambda node: False) -> None:
        self.entry, self._stops = entry, stops
        self._strayed = False  # whether nodes were asked for before the end
        self._carriers = {entry: 1}  # how many of a node's inputs lead down to the entry, which leads to itself

    def carries(self, tensor: Tensor) -> bool:
        """Whether a tensor carries the signal: whether its graph leads down to the entry."""
        if tensor.grad_fn is None:
            return False
        self._strayed = True
        self.walk([tensor.grad_fn])
        return self.leads(tensor.grad_fn)

    def carriers(self, node: Node) -> int:
        """Count the tensors that carry the signal among those that the call of a node read."""
        return self._carriers[node]

    def walk(self, roots: Iterable[Node]) -> None:
        """Find out of the nodes below some roots whether they lead down to the entry."""
        stack, below = list(roots), {}
        while stack:
            node = stack[-1]
            if node in self._carriers:
                stack.pop()
                continue
            if node not in below:  # first those below it
                nodes = () if self._stops(node) else node.next_functions
                below[node] = [to for to, _ in nodes if to is not None and type(to) is not _LEAF]
                unknown = [to for to in below[node] if to not in self._carriers]
                if unknown:
                    stack += unknown
                    continue
            self._carriers[node] = sum([self._carriers[to] > 0 for to in below[node]])
            stack.pop()

    def nodes(self, roots: Iterable[Node]) -> list[tuple[Node, int]]:
        """Return the nodes by which some roots lead to the entry, each after those below it, with :meth:`carriers`."""
        self.walk(roots)
        found = [(node, carriers) for node, carriers in self._carriers.items() if carriers and node is not self.entry]
        if not self._strayed:
            return found
        below, stack = set[Node](), [*roots]
        while stack:
            node = stack.pop()
            if node not in below and self.leads(node):
                below.add(node)
                stack += [to for to, _ in node.next_functions if to is not None]
        return [(node, carriers) for node, carriers in found if node in below]

    def leads(self, node: Node) -> bool:
        """Whether a node has been found to lead to the entry."""
        return self._carriers.get(node, 0) > 0

    def clear(self) -> None:
        """Release the nodes."""
        self._carriers.clear()


def new_nodes(tensor: Tensor, seen: set[Node]) -> list[Node]:
    """Return the nodes below a tensor that have not been seen yet, the last first, and add them to what has been."""
    found: list[Node] = []
    stack = [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.append(node)
            stack += [below for below, _ in node.next_functions]
    return found


@dataclass(eq=False)
class Region:
    """A call that one rule covers, whatever nodes it left: the signal jumps from its last node to its first.

    Parameters
    ----------
    rule : Rule
        Of the call; it has a body.
    last, first : Node
        Of its output, and the one at which its input enters.
    kept : Any
        What the rule has kept.
    """

    rule: Rule
    last: Node
    first: Node
    kept: Any = None

    def put(self, state: State) -> None:
        """Put the rule on the nodes."""
        if self.rule.before:
            put(self.last, self.rule, state, self.kept)
            return
        rule, kept = self.rule, self.kept
        above: list[Tensor | None] = [None]

        def take(signals: Signals) -> None:
            above[0] = signals[0]

        def give(below: Signals, _: Signals) -> Signals | None:
            signal, above[0] = above[0], None
            return (_sent(rule, signal, kept, below[0]),) if state.open and signal is not None else None

        self.last.register_prehook(take)
        self.first.register_hook(give)


class Edge(NamedTuple):
    """By which a signal goes on: the node below, and which of its outputs it is for."""

    node: Node
    number: int

    @classmethod
    def of(cls, tensor: Tensor) -> Edge:
        """Return the edge at a tensor."""
        assert tensor.grad_fn is not None
        return cls(tensor.grad_fn, tensor.output_nr)

    @classmethod
    def below(cls, node: Node) -> list[Edge | None]:
        """Return the edges below a node, in the order in which it sends its signals."""
        return [None if to is None else cls(to, number) for to, number in node.next_functions]


@dataclass(eq=False)
class JumpOver:
    """Nodes that a rule replaces as a whole: of all that they send on by one edge, the rule's signal is sent alone.

    Parameters
    ----------
    rule : Rule
        It has a body.
    last : Edge
        By which the signal comes to the nodes.
    edge : Edge
        By which it leaves them.
    inside : sequence of Node
        The nodes.
    """

    rule: Rule
    last: Edge
    edge: Edge
    inside: Sequence[Node]

    def put(self, state: State) -> None:
        """Put the rule on the nodes."""
        number = self.last.number
        signal: list[Tensor | None] = [None]

        def take(above: Signals) -> None:
            signal[0] = above[number]

        self.last.node.register_prehook(take)
        for node in self.inside:
            if self.edge in (edges := Edge.below(node)):
                positions = [position for position, edge in enumerate(edges) if edge == self.edge]
                node.register_hook(self._giving(self.rule, positions, signal, state))

    @staticmethod
    def _giving(
        rule: Rule, positions: Sequence[int], held: list[Tensor | None], state: State
    ) -> Callable[[Signals, Signals], Signals | None]:
        def give(below: Signals, _: Signals) -> Signals | None:
            if not state.open:
                return None
            sent = list(below)
            for position in positions:
                signal, held[0] = held[0], None  # the first node to come sends it, the others nothing
                like = sent[position]
                sent[position] = None if signal is None else _sent(rule, signal, None, like)
            return tuple(sent)

        return give


def put(node: Node, rule: Rule, state: State, kept: Any = None) -> None:
    """Put a rule on a single node.

    Parameters
    ----------
    node : Node
        Whatever it sends is replaced; with `rule.before`, what comes to it.
    rule : Rule
        It has a body.
    state : State
        Whether the rule still holds.
    kept : Any
        What the rule has kept.
    """

    def before(above: Signals) -> Signals | None:
        if not state.open:
            return None
        return tuple(None if signal is None else _sent(rule, signal, kept, signal) for signal in above)

    def after(below: Signals, above: Signals) -> Signals | None:
        signal = above[0]
        if signal is None or not state.open:
            return None
        return tuple([None if sent is None else _sent(rule, signal, kept, sent) for sent in below])

    if rule.before:
        node.register_prehook(before)
    else:
        node.register_hook(after)


def _sent(rule: Rule, signal: Tensor, kept: Any, like: Tensor | None) -> Tensor:
    """Return what a rule makes of a signal, of the shape that autograd's own backward would send."""
    assert rule.back is not None
    sent = rule.back(signal, kept)
    if not isinstance(sent, Tensor):
        raise RuleError(f"expected a tensor from the rule '{rule.name}', got {type(sent).__name__}")
    if like is not None and sent.shape != like.shape:
        raise RuleError(
            f"expected a signal of shape {tuple(like.shape)} from the rule '{rule.name}', got {tuple(sent.shape)}"
        )
    return sent


def in_order_of(image: Tensor, state: State) -> Callable[[Signals], Signals | None]:
    """Return a prehook for a batch norm that brings the signal into the input's order in memory.

    Where one is contiguous and the other channels last, torch's own kernel is wrong (torch 2.14.1, CPU).
    """
    contiguous = image.is_contiguous()

    def ordered(above: Signals) -> Signals | None:
        signal = above[0]
        if signal is None or not state.open or signal.is_contiguous() == contiguous:
            return None
        return (torch.empty_like(image, dtype=signal.dtype).copy_(signal), *above[1:])

    return ordered


def several_carriers(location: str, rule: Rule) -> str:
    """Return the error's text for an operation that the signal enters by several arguments."""
    return f"the signal enters {location} by more than one argument: '{rule.name}' takes one"
