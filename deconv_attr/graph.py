"""The graph of one forward pass: which tensors carry the signal, and the nodes that send it by a rule.

Autograd's graph is the witness of what was computed. Every node in it was made by a call that was recorded, or
it is a stranger: the work of code that no rule could reach (TorchScript, a custom ``autograd.Function``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node

from .coverage import Call

__all__ = ["Holders", "SignalGraph", "attach", "enter", "is_alone"]

Holders = tuple[int, ...]

# Made by autograd itself when the base of a view has changed, or by a user's own full backward hook. All linear.
_HARMLESS = (
    "AccumulateGrad AliasBackward AsStridedBackward BackwardHookFunction DiagonalBackward ExpandBackward "
    "PermuteBackward SelectBackward SliceBackward SplitBackward SqueezeBackward TBackward TransposeBackward "
    "UnbindBackward UnsafeViewBackward UnsqueezeBackward ViewBackward"
)
_HARMLESS_NODES = tuple(_HARMLESS.split())


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, ...]:
        return signals


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, output: list[Tensor], back: Callable[[Tensor, Holders], Tensor]) -> Tensor:
        # The output comes in a list, unseen by autograd, which would else return a view of it, and a view from
        # a custom function must not be written in place. An empty list: the call wrote into the source itself.
        ctx.back = back
        if output:
            return output[0]
        ctx.mark_dirty(source)
        return source

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        holders, device = _holders(signal), signal.device.type
        if not torch.is_autocast_enabled(device):
            return ctx.back(signal, holders), None, None
        with torch.autocast(device, enabled=False):  # the precision is the one of the forward call
            return ctx.back(signal, holders), None, None


def enter(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copy the inputs, by one node for all: an input that the model does not use receives a zero signal."""
    entered: tuple[Tensor, ...] = _Enter.apply(*inputs)
    return entered


def attach(source: Tensor, output: Tensor | None, back: Callable[[Tensor, Holders], Tensor]) -> Tensor:
    """Tie an output to the tensor it was computed from, so that the signal goes back by ``back``.

    Parameters
    ----------
    source : Tensor
        What the call read, and with ``output=None`` overwrote.
    output : Tensor or None
        What it returned, computed without a graph.
    back : callable
        ``back(signal, holders) -> signal``, from the output's shape to the source's; see :func:`is_alone`.
    """
    attached: Tensor = _Attach.apply(source, [] if output is None else [output], back)
    return attached


def _holders(signal: Tensor) -> Holders:
    """Count who holds a signal and its memory, in Python and in torch; give nothing where that does not tell all."""
    count = getattr(torch._C, "_storage_Use_Count", None)
    if count is None or type(signal) is not Tensor or torch._C._functorch.is_batchedtensor(signal) or _is_looked_on():
        return ()
    memory = signal.untyped_storage()
    if 0 in signal.stride() or not memory.resizable():  # an expanded number, or the memory of another library
        return ()
    tensors: int = signal._use_count()  # type: ignore[attr-defined]
    return sys.getrefcount(signal), tensors, sys.getrefcount(memory), count(memory._cdata)


def _is_looked_on() -> bool:
    """Say whether a debugger, a profiler or a dispatch mode may hold what passes, now or as the counts are learnt."""
    return bool(sys.gettrace() or sys.getprofile() or torch._C._len_torch_dispatch_stack())


@cache
def _holders_of_a_fresh_signal() -> Holders:
    """Count the holders of a signal of which it is known that nobody else holds it."""
    found: list[Holders] = []

    def look(signal: Tensor, holders: Holders) -> Tensor:
        found.append(holders)
        return signal

    with torch.enable_grad():
        source = torch.ones(1, device="cpu", requires_grad=True)
        torch.autograd.grad(attach(source, torch.ones(1, device="cpu"), look) * 2, source)
    return found[0]


def is_alone(holders: Holders) -> bool:
    """Say whether nobody else holds a signal that came to a node, so that it may be changed in place.

    Nobody who does not hold it can come to hold it meanwhile. What the counts are in that case is torch's business,
    and learnt from it.
    """
    return bool(holders) and holders == _holders_of_a_fresh_signal()


class SignalGraph:
    """The nodes between a model's inputs and what has been computed of them so far.

    Parameters
    ----------
    watch : bool
        Whether to look for the call at which the signal stops being finite, :attr:`culprit`.
    """

    def __init__(self, watch: bool = False) -> None:
        self.culprit: Call | None = None
        self._watch = watch
        self._nodes: set[Node] = set()

    def adopt(self, tensors: Iterable[Tensor], call: Call | None = None) -> bool:
        """Note the nodes that a call has added below some tensors; say whether there are any."""
        new = [tensor.grad_fn for tensor in tensors if tensor.requires_grad]
        before = len(self._nodes)
        while new:
            node = new.pop()
            if node is None or node in self._nodes:
                continue
            self._nodes.add(node)
            new += _below(node)
            if self._watch and call is not None:
                node.register_hook(lambda below, above: self._check_numbers(call, below, above))
        return len(self._nodes) > before

    def carries(self, tensor: Tensor) -> bool:
        """Say whether a tensor carries the signal: whether its graph leads down to the inputs.

        Its :meth:`strangers` must have been met before.
        """
        return tensor.requires_grad and tensor.grad_fn in self._nodes

    def strangers(self, tensors: Iterable[Tensor]) -> Iterator[str]:
        """Give the names of nodes below signal-carrying tensors that no call has added, and adopt them."""
        for tensor in tensors:
            if tensor.requires_grad and tensor.grad_fn not in self._nodes:
                reached, unseen = self._reaches(tensor.grad_fn)
                if reached:
                    self._nodes |= unseen
                    names = {node.name().split("::")[-1] for node in unseen}
                    yield from sorted(name for name in names if not name.startswith(_HARMLESS_NODES))

    def clear(self) -> None:
        """Let go of the nodes."""
        self._nodes.clear()

    def _reaches(self, node: Node | None) -> tuple[bool, set[Node]]:
        reached, unseen = False, set[Node]()
        new = [] if node is None else [node]
        while new:
            node = new.pop()
            if node in self._nodes:
                reached = True
            elif node not in unseen:
                unseen.add(node)
                new += _below(node)
        return reached, unseen

    def _check_numbers(self, call: Call, below: Sequence[Tensor | None], above: Sequence[Tensor | None]) -> None:
        if self.culprit is None and _finite(above) and not _finite(below):
            self.culprit = call


def _below(node: Node) -> list[Node]:
    return [below for below, _ in node.next_functions if below is not None]


def _finite(signals: Sequence[Tensor | None]) -> bool:
    return all(signal is None or bool(signal.isfinite().all()) for signal in signals)
