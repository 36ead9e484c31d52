"""Runs a forward pass with copy-on-write for the caller's memory, whichever view of it the model writes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from types import GeneratorType
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.overrides import TorchFunctionMode

from ..rules.arguments import mapped, tensors_in, writes_to
from ..rules.identify import operation_name
from .attributes import keep_model
from .modes import leave_autocast_cache, set_gradients
from .undo import Undo

__all__ = ["CopyOnWrite", "address", "run_plainly"]


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
        """Run one call, with copies for what is the caller's and has been written."""
        if name is None:
            return self.attribute(func, args)
        # What is written is copied first: the copy stands in from this call on.
        written = writes_to(func, name, args, kwargs)
        if written:
            self.protect(name, written)
        if self._copying:
            args, kwargs = self.stand_in(args), self.stand_in(kwargs)
        result = self.run_call(func, name, args, kwargs, written)
        return self._originals.get(id(result), result)  # the caller's, where an in-place call returned its stand-in

    def run_call(self, func: Any, name: str, args: Any, kwargs: Any, written: Sequence[Tensor]) -> Any:
        """Run one call whose arguments may be copies: the step to override.

        Parameters
        ----------
        func, name, args, kwargs
            The call.
        written : sequence of Tensor
            What it writes into, as the model named it.
        """
        return func(*args, **kwargs)

    def protect(self, name: str, written: Sequence[Tensor]) -> None:
        """Copy the memory that a call of some name is about to write."""
        self.copy(written)

    def copy(self, written: Iterable[Tensor]) -> None:
        """Copy the memory of those tensors that are the caller's."""
        for tensor in written:
            at = address(tensor)
            if at in self._addresses() and at not in self._copies:
                memory = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
                self._copies[at] = memory.clone().untyped_storage()
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
        at = address(tensor) if self._copies else 0
        if at not in self._copies:
            return tensor
        with torch.no_grad():
            stand_in = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            stand_in.set_(self._copies[at], tensor.storage_offset(), tensor.size(), tensor.stride())
        return self.replace(tensor, stand_in)

    def replace(self, tensor: Tensor, stand_in: Tensor) -> Tensor:
        """Use `stand_in` for a tensor from now on."""
        self._copying = True
        self._stand_ins[id(tensor)] = (tensor, stand_in)
        self._originals[id(stand_in)] = tensor
        return stand_in

    def attribute(self, access: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Read or assign an attribute, such as ``.data``, of a tensor or of what stands in for it."""
        tensor, *assigned = args
        if assigned and access.__name__ == "__set__":
            self.copy([tensor])
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

    Raises
    ------
    ModelError
        Another thread has replaced the model's weights.
    """
    undo = Undo()
    with undo, undo:
        keep_model(model, undo)
        set_gradients(False, undo)
        leave_autocast_cache(undo)
        CopyOnWrite(model, args).enter_until(undo)
        return forward(*args)
