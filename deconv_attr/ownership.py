"""What belongs to the caller during a forward pass: the model's tensors, and the arguments beside the inputs.

They are read, never written, and the signal does not go to them. Batch-norm statistics move on a copy that
lives as long as the pass; a parameter takes part as its bare data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import Enum
from operator import is_
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.overrides import TorchFunctionMode

from .operations import mapped, operation_name, tensors_in, writes_to

__all__ = ["Belongings", "WritesToCopies", "address", "run_plainly", "undisturbed"]


class Belongings:
    """Copy-on-write for the caller's memory, whichever view of it is written.

    Parameters
    ----------
    model : nn.Module
        All tensors of its modules: parameters, buffers, plain attributes.
    others : sequence
        Further arguments of the model.
    carries : callable
        Whether a tensor carries the signal. One that requires grad and does not is a parameter, or comes from
        a computation of the caller's.
    """

    def __init__(self, model: nn.Module, others: Sequence[Any], carries: Callable[[Tensor], bool]) -> None:
        held = [
            (module._parameters, module._buffers, [v for k, v in list(vars(module).items()) if not k.startswith("_")])
            for module in model.modules()
        ]
        self._owned = {address(tensor) for tensor in tensors_in((held, list(others)))} - {0}
        self._copies: dict[int, UntypedStorage] = {}
        self._stand_ins: dict[int, tuple[Tensor, Tensor]] = {}  # by id: the tensor and what stands in for it
        self._originals: dict[int, Tensor] = {}  # by the id of what stands in: the other way round
        self._carries = carries

    def protect(self, written: Iterable[Tensor]) -> None:
        """Copy the memory of those tensors, about to be written, that are the caller's."""
        for tensor in written:
            place = address(tensor)
            if place in self._owned and place not in self._copies:
                memory = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
                self._copies[place] = memory.clone().untyped_storage()

    def stand_in(self, value: Any) -> Any:
        """Replace, inside lists, tuples and dicts too, written tensors by their copies and parameters by their data."""
        return mapped(lambda item: self._stand_in(item) if isinstance(item, Tensor) else item, value)

    def current(self, tensor: Tensor) -> Tensor:
        """Give what stands in for a tensor if it has been written, else the tensor itself."""
        return self._stand_in(tensor) if address(tensor) in self._copies else tensor

    def original(self, result: Any) -> Any:
        """Give back the caller's tensor where an in-place call returned what stood in for it."""
        return self._originals.get(id(result), result)

    def attribute(self, access: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Read or assign an attribute, such as ``.data``, of a tensor or of what stands in for it."""
        tensor, *assigned = args
        if assigned and access.__name__ == "__set__":
            self.protect([tensor])
            return access(self._stand_in(tensor), *self.stand_in(assigned))
        known = self._stand_ins.get(id(tensor))
        return access(tensor if known is None else known[1], *assigned)

    def _stand_in(self, tensor: Tensor) -> Tensor:
        known = self._stand_ins.get(id(tensor))
        if known is not None:
            return known[1]
        if tensor.is_inference():  # autograd would refuse to keep it
            stand_in = tensor.detach().clone()
        elif self._copies and address(tensor) in self._copies:
            with torch.no_grad():
                stand_in = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
                memory = self._copies[address(tensor)]
                stand_in.set_(memory, tensor.storage_offset(), tensor.size(), tensor.stride())
        else:
            return tensor.detach() if tensor.requires_grad and not self._carries(tensor) else tensor
        self._stand_ins[id(tensor)] = (tensor, stand_in)
        self._originals[id(stand_in)] = tensor
        return stand_in


def address(tensor: Tensor) -> int:
    """Give the address of a tensor's memory; 0 where it has none of its own (sparse, meta, empty)."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


class WritesToCopies(TorchFunctionMode):
    """Runs a forward pass as it is, in this thread; what it writes into the caller's memory goes to copies."""

    def __init__(self, model: nn.Module, others: Sequence[Any] = ()) -> None:
        super().__init__()
        self._model, self._others = model, others
        self._belongings: Belongings | None = None  # most models write nothing

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.perform(func, operation_name(func), args, kwargs or {})

    def perform(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        """Run one call."""
        written = [] if name is None else writes_to(func, name, args, kwargs)
        assigned = name is None and len(args) > 1 and getattr(func, "__name__", "") == "__set__"
        if self._belongings is None and (written or assigned):
            self._belongings = Belongings(self._model, self._others, carries=lambda tensor: False)
        if self._belongings is None:
            return func(*args, **kwargs)
        if name is None:
            return self._belongings.attribute(func, args)
        self._belongings.protect(written)
        args, kwargs = self._belongings.stand_in(args), self._belongings.stand_in(kwargs)
        return self._belongings.original(func(*args, **kwargs))

    def current(self, tensor: Tensor) -> Tensor:
        """Give a tensor with what has been written into it."""
        return tensor if self._belongings is None else self._belongings.current(tensor)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass assigns on the model; compiled parts run eagerly.

    That is buffers and plain attributes (``self.count = self.count + 1``, ``self.last = h``), what is in lists, dicts,
    sets and deques that are such attributes, and the attributes of plain objects that are: a pass without values, or
    one that ends at a layer, would leave them with tensors that are nobody's.
    """
    tables: list[Any] = []
    modules = list(model.modules())
    for module in modules:
        attributes = vars(module)
        plain = [attributes[name] for name in attributes.keys() - _MACHINERY]
        tables += [module._parameters, module._buffers, attributes, *_containers_in(plain)]
    held = [(table, _contents(table)) for table in tables]
    compiled = any(map(_is_compiled, modules))
    eagerly = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    try:
        with eagerly:
            yield
    finally:
        for table, entries in held:
            _put_back(table, entries)


def run_plainly(model: nn.Module, forward: Callable[..., Any], *args: Any) -> Any:
    """Run a forward function without a signal; neither the model nor the arguments change.

    Parameters
    ----------
    model : nn.Module
        What runs inside.
    forward : callable
        The model, or a function that calls it.
    *args
        Its arguments.
    """
    with undisturbed(model), torch.no_grad(), _no_cache_of_autocast(), WritesToCopies(model, args):
        return forward(*args)


@contextmanager
def _no_cache_of_autocast() -> Iterator[None]:
    """Leave no weights cast without a graph to the caller's autocast, as torch 2.6 would."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


_MACHINERY = frozenset(vars(nn.Module()))  # what torch itself keeps on a module
_CONTAINERS = (list, dict, set, deque)
_SEARCHED = (*_CONTAINERS, tuple)
_SHARED = (nn.Module, Tensor, type, ModuleType, FunctionType, MethodType, Enum)


def _containers_in(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the containers among some values, those within them, and the attributes of plain objects, each once."""
    seen: set[int] = set()
    values = [vars(value) if _is_plain(value) else value for value in values]
    waiting = [value for value in values if isinstance(value, _SEARCHED)]
    while waiting:
        container = waiting.pop()
        if id(container) not in seen:
            seen.add(id(container))
            if isinstance(container, _CONTAINERS):
                yield container
            # A list, for another thread may be writing.
            items = list(container.values() if isinstance(container, dict) else container)
            waiting += [item for item in items if isinstance(item, _SEARCHED)]


def _is_plain(value: Any) -> bool:
    """Say whether a value is an object with attributes of its own, and none of those that belong to all."""
    return hasattr(value, "__dict__") and not isinstance(value, (*_SEARCHED, *_SHARED))


def _contents(table: Any) -> Any:
    return dict(table) if isinstance(table, dict) else set(table) if isinstance(table, set) else list(table)


def _put_back(table: Any, entries: Any) -> None:
    """Restore the contents of a container; a dict entry by entry, for another thread may be reading it."""
    if isinstance(table, dict):
        if list(table) == list(entries) and all(map(is_, table.values(), entries.values())):
            return
        for key in table.keys() - entries.keys():
            table.pop(key, None)
        for key, value in entries.items():
            if table.get(key, entries) is not value:
                table[key] = value
        if list(table) != list(entries):
            for key, value in entries.items():
                table.pop(key, None)
                table[key] = value
    elif isinstance(table, set):
        table.intersection_update(entries)
        table.update(entries)
    elif len(table) != len(entries) or not all(map(is_, table, entries)):
        table.clear()
        table.extend(entries)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
