"""What autograd keeps of a call, made small where the signal needs no values of it.

For the signal a convolution needs its filters and only the shape of its input, a pool the shape and its switches, a
rectifier under the deconvnet's rule nothing at all. Autograd keeps all these tensors, so right after such a call its
node's saved tensors are packed (torch's hooks for saved tensors); of small ReLUs, when the rules are put on the nodes.
What is unpacked on the way back is

- of a tensor whose values do not count: memory of the same shape that nobody writes or reads;
- of a ReLU's output: the signal itself. ``r * (y > 0)`` with ``y = r`` is ``max(r, 0)``, the rule, in one step;
- of the input of a batch norm in eval mode, whose values do not count either: the signal, too, since torch's own
  kernel is wrong where the two stand in memory in different orders (torch 2.14.1, CPU);
- of the indices of a max-pool: the indices, kept as small :class:`Switches`.

A tensor that somebody else packs already (activation checkpointing) is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..rules.backward import Rule, rectify, scale
from ..rules.switches import Switches, compact
from ..rules.torch_private import saved, saved_tensor, trains
from .nodes import State, Way

__all__ = ["EarlyBackwardError", "SavedTensors"]

LARGE = 2**17  # numbers in a tensor from which on packing costs nothing beside the arithmetic: the one threshold
_CHANNELS_LAST = 2**18  # numbers of a tensor from which on oneDNN's reordering costs more than that of the filters
_ONEDNN = (torch.float32, torch.bfloat16, torch.float16)  # the types that it computes in
_NEVER_TOUCHED = 2**25 + 2**12  # bytes: more than glibc takes from its heap, where pieces have been written before

# The saved tensor whose values do not count, if only the call's first argument carries the signal.
_BY_SHAPE = {
    "ConvolutionBackward": "input",
    "AddmmBackward": "mat1",
    "MmBackward": "self",
    "MaxPool2DWithIndicesBackward": "self",
    "MaxPool3DWithIndicesBackward": "self",
    "AdaptiveMaxPool2DBackward": "self",
    "AdaptiveMaxPool3DBackward": "self",
    "AvgPool2DBackward": "self",
    "AvgPool3DBackward": "self",
    "AdaptiveAvgPool2DBackward": "self",
    "AdaptiveAvgPool3DBackward": "self",
    "ReflectionPad2DBackward": "self",
    "ReplicationPad2DBackward": "self",
    "ReplicationPad3DBackward": "self",
    "HardtanhBackward": "self",
}
_VIEWS = ("SqueezeBackward", "UnsqueezeBackward", "UnsafeViewBackward", "ViewBackward")


class EarlyBackwardError(RuntimeError):
    """A gradient was taken inside the forward pass, or through its graph later on, and met a packed tensor."""


class SavedTensors:
    """The packed tensors of one forward pass.

    Parameters
    ----------
    state : State
        Whether the forward pass has ended, and a signal may ask for what was packed.

    Attributes
    ----------
    asked_early : bool
        Whether a gradient was taken before.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.asked_early = False
        self._most = 0  # bytes of the largest tensor of which only the shape is kept
        self._scratch: Tensor | None = None

    def spare(self, output: Tensor, rule: Rule | None, way: Way) -> bool:
        """Pack what the call that has just made a large output keeps; whether its node now sends what the rule says.

        Parameters
        ----------
        output : Tensor
            Of the call.
        rule : Rule or None
            Of the call. Without one, nothing is packed.
        way : Way
            Down to the inputs.
        """
        node = output.grad_fn
        while node is not None and _plain_name(node) in _VIEWS:  # conv1d is a conv2d, squeezed
            node = node.next_functions[0][0]
        pack = None if node is None else _PACKED.get(_plain_name(node))
        if node is None or pack is None or rule is None or not self._by_first_alone(node, way):
            return False
        return pack(self, node, rule)

    def _relu(self, node: Node, rule: Rule) -> bool:
        if self.rectifies(node, rule):
            return True
        self._pack(saved_tensor(node, "result"), lambda y: (y > 0, y.dtype), lambda kept: kept[0].to(kept[1]))
        return False

    def _batch_norm(self, node: Node, rule: Rule) -> bool:
        return (rule.by_autograd or rule.back is scale) and not trains(node) and self._by_signal(node, "input")

    def _hardtanh(self, node: Node, rule: Rule) -> bool:
        return rule.back is rectify and not rule.before and self._linear(node, rule)

    def _max_pool(self, node: Node, rule: Rule) -> bool:
        shape = self._by_shape(node)
        if shape is not None:
            self._pack(saved_tensor(node, "result1"), *self._as_switches(node, *shape))
        return False

    def _linear(self, node: Node, rule: Rule) -> bool:
        self._by_shape(node)
        return False

    def _by_first_alone(self, node: Node, way: Way) -> bool:
        """Whether of what a call read only its first argument carries the signal."""
        way.walk([node])
        first = node.next_functions[1 if _plain_name(node) == "AddmmBackward" else 0][0]
        return first is not None and way.carriers(node) == 1 and way.leads(first)

    def rectifies(self, node: Node, rule: Rule) -> bool:
        """Pack the output of a ReLU whose rule is the deconvnet's; whether its node now sends the rectified signal."""
        return rule.back is rectify and not rule.before and self._by_signal(node, "result")

    def close(self) -> None:
        """Free the memory of what was unpacked."""
        self._scratch = None

    def _by_signal(self, node: Node, name: str) -> bool:
        above: list[tuple[Tensor | None, ...]] = []

        def signal(_: Any) -> Tensor:
            found = above.pop()[0] if above else None
            return torch.empty(0) if found is None else found  # nobody asks for what is none

        if not self._pack(saved_tensor(node, name), _nothing, signal):
            return False
        node.register_prehook(above.append)
        return True

    def _by_shape(self, node: Node) -> tuple[torch.Size, bool] | None:
        """Keep the shape of a node's input; return it, and whether signals should stand there channels last."""
        known: list[Any] = []
        once = [node]  # a hook that held its node would keep it, and the graph below it, for ever

        def pack(tensor: Tensor) -> None:
            last = _quickest_channels_last(once.pop(), tensor)
            strides = _channels_last(tensor.shape) if last else tensor.stride()
            known.extend((tensor.shape, strides, tensor.dtype, tensor.device, last))
            self._most = max(self._most, tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size())

        def placeholder(_: Any) -> Tensor:
            shape, strides, dtype, device, _ = known
            if device.type != "cpu":
                return torch.empty_strided(shape, strides, dtype=dtype, device=device)
            if self._scratch is None:
                self._scratch = torch.empty(max(self._most, _NEVER_TOUCHED), dtype=torch.uint8)
            return torch.empty(0, dtype=dtype).set_(self._scratch.untyped_storage(), 0, shape, strides)

        slot = saved_tensor(node, _BY_SHAPE[_plain_name(node)])
        return (known[0], known[4]) if self._pack(slot, pack, placeholder) else None

    def _as_switches(self, node: Node, shape: torch.Size, last: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
        once = [node]

        def pack(indices: Tensor) -> Switches:
            return compact(
                once.pop(), indices.contiguous(memory_format=torch.channels_last) if last else indices, shape
            )

        return pack, lambda switches: switches.indices

    def _pack(self, slot: Any, pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> bool:
        """Register hooks on a saved tensor; whether that was possible."""

        def opened(kept: Any) -> Tensor:
            if not self._state.open:
                self.asked_early = True
                raise EarlyBackwardError(
                    "a gradient was taken through a forward pass of ZFDeconv, which keeps only what its signal needs"
                )
            return unpack(kept)

        if slot is None:
            return False
        try:
            slot.register_hooks(pack, opened)
        except RuntimeError:  # others have hooks on it, or it holds no tensor
            return False
        return True


# How each is packed, by the node's name; whether the node then sends what the rule says.
_PACKED: dict[str, Callable[[SavedTensors, Node, Rule], bool]] = {
    **dict.fromkeys(_BY_SHAPE, SavedTensors._linear),
    **dict.fromkeys((name for name in _BY_SHAPE if "MaxPool" in name), SavedTensors._max_pool),
    "HardtanhBackward": SavedTensors._hardtanh,
    "ReluBackward": SavedTensors._relu,
    "NativeBatchNormBackward": SavedTensors._batch_norm,
}


def _plain_name(node: Node) -> str:
    return node.name().rstrip("0123456789")


def _nothing(tensor: Tensor) -> None:
    """Keep nothing of a tensor."""


def _channels_last(shape: torch.Size) -> tuple[int, int, int, int]:
    _, channels, rows, columns = shape
    return channels * rows * columns, 1, columns * channels, channels


def _quickest_channels_last(node: Node, maps: Tensor) -> bool:
    """Whether a signal should stand channels last in memory below a filter or a pool, as oneDNN computes.

    oneDNN would bring it into that order and back at each convolution. The order of what is unpacked decides.
    """
    name = node.name()
    if not name.startswith(("Convolution", "MaxPool2D")) or maps.dim() != 4 or maps.numel() < _CHANNELS_LAST:
        return False
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    plain = name.startswith("MaxPool") or not saved(node, "transposed")
    return onednn and plain and maps.device.type == "cpu" and maps.dtype in _ONEDNN
