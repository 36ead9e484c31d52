"""Every name of torch's that is not public, and what happens where a version of torch lacks it.

What a node has saved (``node._saved_*``, ``node._raw_saved_*``) is described in torch's tutorial on hooks for saved
tensors, yet the names are those of torch's own derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch import __version__ as torch_version
from torch.autograd.graph import Node

from ..errors import ModelError

__all__ = [
    "base_of",
    "defined_at",
    "is_view",
    "made_by",
    "parameter_names",
    "remove_hook",
    "saved",
    "saved_tensor",
    "trains",
    "version_of",
]


def saved(node: Node, name: str) -> Any:
    """Return what a node has saved under a name, a number or a tensor.

    Raises
    ------
    ModelError
        This version of torch saves it under another name. There is no default: it would be a guess.
    """
    try:
        return getattr(node, f"_saved_{name}")
    except AttributeError:
        raise ModelError(
            f"'{node.name()}' of torch {torch_version} saves nothing by the name of '{name}': please report this"
        ) from None


def saved_tensor(node: Node, name: str) -> Any:
    """Return the slot in which a node has saved a tensor; None where there is none, so that nothing can be spared."""
    return getattr(node, f"_raw_saved_{name}", None)


def trains(node: Node) -> bool:
    """Whether a batch norm used the batch's own statistics; True where torch does not tell: then its call must."""
    return bool(getattr(node, "_saved_training", "NoTraining" not in node.name()))


def is_view(tensor: Tensor) -> bool:
    """Whether a tensor is a view of another; True where torch does not tell: a view is treated with more care."""
    told = getattr(tensor, "_is_view", None)
    return told is None or bool(told())


def base_of(tensor: Tensor) -> Tensor | None:
    """Return the tensor of which another is a view; None if it is none, or torch does not tell."""
    return getattr(tensor, "_base", None)


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor has been written; 0 where torch does not tell."""
    return 0 if tensor.is_inference() else getattr(tensor, "_version", 0)


def made_by(node: Node) -> str:
    """Return the module in which a custom autograd Function is defined, "" if the node is of none."""
    return str(getattr(getattr(type(node), "_forward_cls", None), "__module__", ""))


def defined_at(node: Node) -> str:
    """Return ``file:line`` of the forward function of a custom autograd Function, "" if it is none."""
    code = getattr(getattr(getattr(type(node), "_forward_cls", None), "forward", None), "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def remove_hook(module: nn.Module, hook: object) -> None:
    """Remove a forward hook, or one before it, from a module, if it is there; the handle may be lost to Ctrl-C."""
    after: list[Any] = [module._forward_hooks, module._forward_hooks_with_kwargs, module._forward_hooks_always_called]
    before: list[Any] = [module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs]
    for hooks, *options in (after, before):
        for key in [key for key, each in list(hooks.items()) if each is hook]:
            for table in (*options, hooks):  # the hook itself last: while it is there, this can be done again
                table.pop(key, None)


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a built-in function's parameters, by their order, as far as all its overloads agree on them.

    () where torch does not tell: then an argument that is given by its position has no name.
    """
    overloads = _overloads(function.__name__.split(".")[0].rstrip("_"))
    found: list[str] = []
    for at in range(max(map(len, overloads), default=0)):
        name, *others = {names[at] for names in overloads if len(names) > at}
        if others:
            break
        found.append(name)
    return tuple(found)


def _overloads(name: str) -> list[list[str]]:
    """Return the names of the parameters, but those by keyword only, of each overload of one of torch's operations."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = [getattr(packet, each) for each in packet.overloads()] if packet is not None else []
    schemas = [schema.arguments for each in overloads if (schema := getattr(each, "_schema", None)) is not None]
    return [
        [argument.name for argument in arguments if not argument.kwarg_only]
        for arguments in schemas
        if arguments and str(arguments[0].type) == "Tensor"  # the others are of numbers, in TorchScript
    ]
