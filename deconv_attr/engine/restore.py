"""What belongs to the caller during a forward pass: the model's tensors and attributes, and the further arguments.

They are read, and what the pass writes into them goes to copies that live as long as the pass, or is undone.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from operator import is_, itemgetter
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, UntypedStorage, nn
from torch.overrides import TorchFunctionMode

from ..rules.operations import mapped, operation_name, tensors_in, writes_to

__all__ = [
    "CopyOnWrite",
    "Hook",
    "Undo",
    "address",
    "keep_attributes",
    "modules_of",
    "run_plainly",
    "sharded",
    "undisturbed",
]


class Undo:
    """What must be put back, whatever happens and at whatever line Ctrl-C strikes.

    Enter it twice, ``with undo, undo:``, and note each step *before* what it undoes: an interrupt in the first exit
    leaves the second. A step must do no harm where there is nothing to undo, or where it is taken twice. No ``try`` may
    stand in the block itself: CPython (3.11) leaves the instruction of that line outside of all handlers.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def later(self, step: Callable[[], object]) -> None:
        """Note a step; the last noted is taken first."""
        self._steps.append(step)

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *exception: Any) -> None:
        while self._steps:
            self._steps[-1]()  # only then is it struck off
            self._steps.pop()


class Hook:
    """A module hook that acts in the thread that made it, and is nothing in a copy of the module, or a pickled one.

    Parameters
    ----------
    act : callable
        The hook itself.
    """

    def __init__(self, act: Callable[..., Any]) -> None:
        self._act = act
        self._thread = threading.get_ident()

    def __call__(self, *args: Any) -> Any:
        """Act, in this thread."""
        return self._act(*args) if threading.get_ident() == self._thread else None

    def __reduce__(self) -> Any:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _do_nothing


def _do_nothing(*_: Any) -> None:
    """Stand for a hook of ours in a copy of a module."""


class CopyOnWrite(TorchFunctionMode):
    """Runs a forward pass in this thread with copy-on-write for the caller's memory, whichever view of it is written.

    Parameters
    ----------
    model : nn.Module
        All tensors of its modules: parameters, buffers, plain attributes.
    others : sequence
        Further arguments of the model.
    """

    def __init__(self, model: nn.Module, others: Sequence[Any] = ()) -> None:
        super().__init__()
        self._model, self._others = model, others
        self._owned: set[int] | None = None  # addresses; most models write nothing
        self._copies: dict[int, UntypedStorage] = {}
        self._stand_ins: dict[int, tuple[Tensor, Tensor]] = {}  # by id: the tensor and what stands in for it
        self._originals: dict[int, Tensor] = {}  # by the id of what stands in: the other way round
        self._copying = False  # whether anything stands in for anything
        self._answers = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._answers = True
        return self.perform(func, operation_name(func), args, kwargs or {})

    def enter_until(self, undo: Undo) -> None:
        """Enter the mode, to be left by `undo`."""
        undo.later(self._leave)
        self.__enter__()  # type: ignore[no-untyped-call]

    def _leave(self) -> None:
        _finish_modes(sys.exc_info()[1])
        self._answers = False
        torch.empty(0)  # whether the mode is there: it may have been left, or never been entered
        if self._answers:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def perform(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        """Run one call."""
        if name is None:
            return self._attribute(func, args)
        self.protect(writes_to(func, name, args, kwargs))
        if not self._copying:
            return func(*args, **kwargs)
        args, kwargs = self.stand_in(args), self.stand_in(kwargs)
        result = func(*args, **kwargs)
        return self._originals.get(id(result), result)  # the caller's, where an in-place call returned its stand-in

    def protect(self, written: Iterable[Tensor]) -> None:
        """Copy the memory of those tensors, about to be written, that are the caller's."""
        for tensor in written:
            place = address(tensor)
            if place in self._addresses() and place not in self._copies:
                memory = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
                self._copies[place] = memory.clone().untyped_storage()
                self._copying = True

    def stand_in(self, value: Any) -> Any:
        """Replace, inside lists, tuples and dicts too, written tensors by their copies."""
        if not self._copying:
            return value
        return mapped(lambda item: self.current(item) if isinstance(item, Tensor) else item, value)

    def current(self, tensor: Tensor) -> Tensor:
        """Return what stands in for a tensor if it has been written, else the tensor itself."""
        known = self._stand_ins.get(id(tensor))
        if known is not None:
            return known[1]
        place = address(tensor) if self._copies else 0
        if place not in self._copies:
            return tensor
        with torch.no_grad():
            stand_in = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            stand_in.set_(self._copies[place], tensor.storage_offset(), tensor.size(), tensor.stride())
        return self.replace(tensor, stand_in)

    def replace(self, tensor: Tensor, stand_in: Tensor) -> Tensor:
        """Let a tensor stand in for another from now on."""
        self._copying = True
        self._stand_ins[id(tensor)] = (tensor, stand_in)
        self._originals[id(stand_in)] = tensor
        return stand_in

    def _attribute(self, access: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Read or assign an attribute, such as ``.data``, of a tensor or of what stands in for it."""
        tensor, *assigned = args
        if assigned and access.__name__ == "__set__":
            self.protect([tensor])
            return access(self.current(tensor), *self.stand_in(assigned))
        known = self._stand_ins.get(id(tensor))
        return access(tensor if known is None else known[1], *assigned)

    def _addresses(self) -> set[int]:
        if self._owned is None:
            held = [
                (module._parameters, module._buffers, [v for k, v in list(vars(module).items()) if k[:1] != "_"])
                for module in self._model.modules()
            ]
            self._owned = {address(tensor) for tensor in tensors_in((held, list(self._others)))} - {0}
        return self._owned


def _finish_modes(error: BaseException | None) -> None:
    """Let torch finish what Ctrl-C cut short: it takes a mode off its stack while the mode answers a call.

    The generator that puts it back would run when the traceback is forgotten, and leave the mode there for good.
    """
    trace = None if error is None else error.__traceback__
    while trace is not None:
        generator = getattr(trace.tb_frame.f_locals.get("self"), "gen", None)
        if isinstance(generator, GeneratorType) and generator.gi_code.co_filename == torch.overrides.__file__:
            generator.close()
        trace = trace.tb_next


def address(tensor: Tensor) -> int:
    """Return the address of a tensor's memory; 0 where it has none of its own (sparse, meta, wrappers, empty)."""
    try:
        return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0
    except (RuntimeError, NotImplementedError):
        return 0


def keep_attributes(modules: Sequence[nn.Module], undo: Undo) -> None:
    """Have undone what a forward pass assigns on the model; compiled parts run eagerly.

    That is buffers and plain attributes (``self.count = self.count + 1``, ``self.last = h``), what is in lists, dicts,
    sets and deques that are such attributes, and the attributes of plain objects that are: a pass without values, or
    one that ends at a layer, would leave them with tensors that are nobody's.

    Parameters
    ----------
    modules : sequence of nn.Module
        All of the model's.
    undo : Undo
        Where it is noted.
    """
    held: list[tuple[dict[str, Any], _Own, tuple[Any, ...]]] = []
    tables: list[dict[str, Any]] = []
    containers: list[Any] = []
    exchanged, compiled = bool(sharded(modules)), False
    for module in modules:
        attributes = vars(module)
        own = _OWN.get((type(module), len(attributes))) or _own(type(module), attributes)
        try:
            values = own.read(attributes)
        except KeyError:  # another module of this type has as many, by other names
            own = _own(type(module), attributes)
            values = own.read(attributes)
        held.append((attributes, own, values))
        tables += (attributes["_buffers"],) if exchanged else (attributes["_parameters"], attributes["_buffers"])
        kinds = (type(module), *map(type, values))
        if kinds in _PLAIN:
            continue
        searched = [value for value in values[2:] if not _is_simple(value)]
        containers += _containers_in(searched)
        compiled = compiled or _is_compiled(module)
        if not searched and type(module).__module__.startswith("torch.nn.modules."):  # whose tuples are of numbers
            _PLAIN.add(kinds)
    containers += filter(None, tables)
    contents = [(each, _contents(each)) for each in containers]
    undo.later(partial(_put_all_back, held, contents, [table for table in tables if not table]))
    if compiled:
        eagerly = torch.compiler.set_stance("force_eager")
        undo.later(lambda: eagerly.__exit__(None, None, None))
        eagerly.__enter__()


class _Own(NamedTuple):
    """The attributes of a module but for torch's machinery."""

    names: tuple[str, ...]
    read: Callable[[dict[str, Any]], tuple[Any, ...]]  # all at once
    total: int  # with the machinery


def _own(kind: type, attributes: dict[str, Any]) -> _Own:
    names = ("_modules", "_buffers", *(name for name in attributes if name not in _MACHINERY))
    own = _Own(names, itemgetter(*names), len(attributes))
    if len(_OWN) < _MANY:  # classes that are defined again and again are not all to be held
        _OWN[kind, len(attributes)] = own
    return own


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Return a model's modules, each once, as ``model.modules()`` does, in a tenth of the time."""
    found: dict[int, nn.Module] = {}
    stack = [model]
    while stack:
        module = stack.pop()
        if id(module) not in found:
            found[id(module)] = module
            stack += [child for child in module._modules.values() if child is not None]
    return list(found.values())


def sharded(modules: Sequence[nn.Module]) -> list[Any]:
    """Return those modules whose parameters FSDP2 exchanges as they run; ``reshard`` on each puts back what was there.

    Its parameters are not for us to put back, for FSDP2 knows which of them are in their places.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")  # importing it takes long
    kind = getattr(fsdp, "FSDPModule", None)
    return [] if kind is None else [module for module in modules if isinstance(module, kind)]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass assigns on the model: see :func:`keep_attributes`."""
    undo, modules = Undo(), modules_of(model)
    with undo, undo:
        for module in sharded(modules):
            undo.later(module.reshard)
        keep_attributes(modules, undo)
        yield


def _put_all_back(held: Iterable[Any], containers: Iterable[tuple[Any, Any]], empty: list[dict[str, Any]]) -> None:
    for attributes, own, values in held:
        if len(attributes) != own.total or not _are(attributes, own, values):
            for name in attributes.keys() - _MACHINERY - set(own.names):
                attributes.pop(name, None)
            attributes.update(zip(own.names, values, strict=True))
    for container, contents in containers:
        _put_back(container, contents)
    if any(empty):
        for table in empty:
            table.clear()


def _are(attributes: dict[str, Any], own: _Own, values: tuple[Any, ...]) -> bool:
    try:
        return all(map(is_, own.read(attributes), values))
    except KeyError:
        return False


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
    with undisturbed(model), torch.no_grad(), _no_cache_of_autocast(), CopyOnWrite(model, args):
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


_MACHINERY = frozenset(vars(nn.Module())) - {"training"}  # what torch itself keeps on a module
_MANY = 4096
_OWN: dict[tuple[type, int], _Own] = {}  # by the module's type and how many attributes it has
_PLAIN: set[tuple[type, ...]] = set()  # torch's own modules without containers, by the types of their attributes
_NUMBERS = frozenset({bool, int, float, str, type(None)})
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


def _is_simple(value: Any) -> bool:
    """Whether a value holds nothing that could change: most attributes of modules."""
    kind = type(value)
    return kind in _NUMBERS or (kind is tuple and _NUMBERS.issuperset(map(type, value)))


def _is_plain(value: Any) -> bool:
    """Say whether a value is an object with attributes of its own, and none of those that belong to all."""
    return hasattr(value, "__dict__") and not isinstance(value, (*_SEARCHED, *_SHARED))


def _contents(table: Any) -> Any:
    return dict(table) if isinstance(table, dict) else set(table) if isinstance(table, set) else list(table)


def _put_back(table: Any, entries: Any) -> None:
    """Restore the contents of a container; a dict entry by entry, for another thread may be reading it."""
    if isinstance(table, set):
        table.intersection_update(entries)
        table.update(entries)
        return
    same = len(table) == len(entries) and all(map(is_, table, entries))
    if not isinstance(table, dict):
        if not same:
            table.clear()
            table.extend(entries)
        return
    if same and all(map(is_, table.values(), entries.values())):
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


def _is_compiled(module: nn.Module) -> bool:
    # Not by hasattr, which takes long on a module.
    return "_orig_mod" in module._modules or vars(module).get("_compiled_call_impl") is not None
