"""What a forward pass assigns on a model is undone: buffers, plain attributes, and what is in lists and dicts there."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from operator import is_, itemgetter
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .threads import read_weights, run_alone
from .undo import Undo

__all__ = ["keep_attributes", "keep_model", "modules_of", "sharded"]


def keep_attributes(modules: Sequence[nn.Module], undo: Undo) -> None:
    """Have undone what a forward pass assigns on the model; compiled parts run eagerly.

    That is buffers and plain attributes (``self.count = self.count + 1``, ``self.last = h``), what is in lists, dicts,
    sets and deques that are such attributes, and the attributes of plain objects that are: a pass without values, or
    one that ends at a layer, would leave them with tensors that are nobody's. Where passes of several threads overlap,
    each puts back what was there before the first of them.

    Parameters
    ----------
    modules : sequence of nn.Module
        All of the model's.
    undo : Undo
        Where it is noted.
    """
    token: object = None
    while token is not _LAST[0]:  # again, if another thread's pass has begun meanwhile
        token, others = _LAST[0], list(_KEPT.values())
        kept, compiled = _kept(modules)
    if others:
        kept = _as_before(kept, others)
    token = object()
    undo.later(partial(_put_all_back, token, kept))
    _KEPT[token] = kept
    _LAST[0] = token
    if compiled:
        _run_eagerly(undo)


class _Kept(NamedTuple):
    """What a pass has found on the model."""

    held: list[tuple[dict[str, Any], _Own, tuple[Any, ...]]]  # of each module: its attributes, which, and their values
    contents: list[tuple[Any, Any]]  # containers, and what was in them
    empty: list[dict[str, Any]]  # tables without an entry


_KEPT: dict[object, _Kept] = {}  # by a token of each pass that runs, in any thread
_LAST: list[object] = [object()]  # the token of the pass that began last


def _kept(modules: Sequence[nn.Module]) -> tuple[_Kept, bool]:
    """Return what is on a model, and whether a part of it is compiled."""
    held: list[tuple[dict[str, Any], _Own, tuple[Any, ...]]] = []
    tables: list[dict[str, Any]] = []
    containers: list[Any] = []
    exchanged, compiled = bool(sharded(modules)), False
    for module in modules:
        attributes = vars(module)
        own, values = _read(type(module), attributes)
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
    return _Kept(held, contents, [table for table in tables if not table]), compiled


def _as_before(kept: _Kept, others: Sequence[_Kept]) -> _Kept:
    """Return what was on a model before the passes of other threads, which may have assigned something by now."""
    held = {id(each[0]): each for other in others for each in other.held}
    contents = {id(each[0]): each for other in others for each in other.contents}
    empty = {id(table): table for other in others for table in other.empty}
    found = [each for each in kept.contents if id(each[0]) not in empty]
    return _Kept(
        [held.get(id(each[0]), each) for each in kept.held],
        [contents.get(id(each[0]), each) for each in found],
        [*kept.empty, *(each[0] for each in kept.contents if id(each[0]) in empty)],
    )


def _run_eagerly(undo: Undo) -> None:
    """Have compiled parts run without their compiled code, by which neither hooks nor modes see a call.

    So they do in all threads, as long as a pass in any of them runs.
    """
    token = object()
    undo.later(partial(_run_compiled, token))
    _EAGER[token] = None
    _set_stance()


def _run_compiled(token: object) -> None:
    _EAGER.pop(token, None)
    _set_stance()


_EAGER: dict[object, None] = {}  # tokens of the passes in which compiled parts run eagerly
_STANCE: list[Any] = []  # what undoes it: one, or none


def _set_stance() -> None:
    undo = Undo()
    with undo, undo:
        run_alone(undo, "stance of torch.compile")
        if _EAGER and not _STANCE:
            _STANCE.append(torch.compiler.set_stance("force_eager"))
        elif _STANCE and not _EAGER:
            _STANCE[0].__exit__(None, None, None)
            _STANCE.clear()


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


def _read(kind: type, attributes: dict[str, Any]) -> tuple[_Own, tuple[Any, ...]]:
    """Return which attributes are a module's own, and their values."""
    own = _OWN.get((kind, len(attributes))) or _own(kind, attributes)
    try:
        return own, own.read(attributes)
    except KeyError:  # another module of this type has as many, by other names
        own = _own(kind, attributes)
        return own, own.read(attributes)


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

    Its parameters are not for us to put back, for FSDP2 knows which of them are gathered.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")  # importing it takes long
    kind = getattr(fsdp, "FSDPModule", None)
    return [] if kind is None else [module for module in modules if isinstance(module, kind)]


def keep_model(model: nn.Module, undo: Undo) -> None:
    """Have undone what a forward pass of the whole model assigns on it: see :func:`keep_attributes`.

    Raises
    ------
    ModelError
        Another thread has replaced the model's weights.
    """
    modules = modules_of(model)
    read_weights(modules, undo)
    for module in sharded(modules):
        undo.later(module.reshard)
    keep_attributes(modules, undo)


def _put_all_back(token: object, kept: _Kept) -> None:
    held, containers, empty = kept
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
    _KEPT.pop(token, None)  # last: who begins before that takes what is kept here


def _are(attributes: dict[str, Any], own: _Own, values: tuple[Any, ...]) -> bool:
    try:
        return all(map(is_, own.read(attributes), values))
    except KeyError:
        return False


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
    """Whether a value is an object with attributes of its own, and no module, tensor, class or the like."""
    return hasattr(value, "__dict__") and not isinstance(value, (*_SEARCHED, *_SHARED))


def _contents(table: Any) -> Any:
    return dict(table) if isinstance(table, dict) else set(table) if isinstance(table, set) else list(table)


def _put_back(table: Any, entries: Any) -> None:
    """Restore the contents of a container."""
    same = len(table) == len(entries) and all(map(is_, table, entries))
    if isinstance(table, set):
        table.intersection_update(entries)
        table.update(entries)
    elif isinstance(table, dict):
        if not (same and all(map(is_, table.values(), entries.values()))):
            _put_entries_back(table, entries)
    elif not same:
        table.clear()
        table.extend(entries)


def _put_entries_back(table: dict[Any, Any], entries: dict[Any, Any]) -> None:
    """Restore a dict entry by entry, for another thread may be reading it."""
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
