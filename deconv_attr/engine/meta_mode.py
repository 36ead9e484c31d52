"""A forward pass on the meta device: what is computed from the inputs has no values, and costs no arithmetic.

What does not depend on the inputs is computed as ever; where the model puts it on the device of the inputs, a tensor
without values stands for it. What each tensor reads of the image is followed, call by call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from ..rules.arguments import mapped, tensors_in, writes_to
from ..rules.identify import identify
from ..rules.kinds import Kind
from ..rules.operations import row_of
from ..rules.reads import Reach, ReadCall, follow, mixes_examples, pixels, whole_image
from ..rules.torch_private import version_of
from .call_site import running_module, source_line
from .copy_on_write import CopyOnWrite
from .coverage import NO_RULE, Call
from .determinism import UNKNOWN_CALL, RandomState
from .fingerprint import memory_of
from .layer_reader import LayerReached
from .layers import Layer

__all__ = ["LayerRun", "MetaMode"]


@dataclass(frozen=True, eq=False)
class LayerRun:
    """One call of a layer.

    Parameters
    ----------
    layer : Layer
        With its call.
    shape : tuple of int or None
        Of its output (N, ...); None if that is not one tensor.
    reach : Reach or None
        What the output reads of the image; None if that was not followed, or does not depend on the image.
    elements : int
        How many numbers the model has computed so far.
    random : str
        The first operation so far whose result is random, or depends on batch statistics, "" if none is; where it
        did not run dry, whether random numbers have been drawn so far, in words.
    mixed : str
        The first operation so far after which the rows of the first dimension may be no examples, or read others.
    calls : tuple
        What was called so far, with which numbers and which of the model's tensors: two images of different sizes
        are treated alike if these are equal.
    dtype : torch.dtype or None
        Of its output; None if that is not one tensor.
    rectified : bool
        Whether its output is what a rectifier returned, and no layer within it has returned the same before.
    dry : bool
        Whether it ran without values, so that all this is known; else only layer, shape, type and random numbers are.
    """

    layer: Layer
    shape: tuple[int, ...] | None
    reach: Reach | None
    elements: int
    random: str
    mixed: str
    calls: tuple[Any, ...]
    dtype: torch.dtype | None = None
    rectified: bool = False
    dry: bool = True


class MetaMode(CopyOnWrite):
    """Sends every call that touches the inputs to the meta device, and follows what it reads."""

    def __init__(
        self,
        model: nn.Module,
        modules: Sequence[tuple[str, nn.Module]],
        others: Sequence[Any],
        last: Layer | None,
        stop: bool,
        device: torch.device,
        dry: bool = True,
    ) -> None:
        super().__init__(model, others)
        self.found: list[LayerRun] = []
        self._paths = {id(module): path for path, module in modules}
        held = [(*module._parameters.values(), *module._buffers.values()) for _, module in modules]
        self._own = {id(tensor): tensor for tensors in held for tensor in tensors if tensor is not None}
        self._last, self._stop, self._device, self._dry = last, stop, device, dry
        self._image: Reach  # once it is followed
        self._rows: torch.Size  # (N,), of the image
        # By id, with the version at which it was learnt; a reach of None for a constant.
        self._reaches: dict[int, tuple[Reach | None, int]] = {}
        self._values: dict[int, Tensor] = {}  # of constants on the meta device, by id
        self._alive: list[Tensor] = []  # an id names a tensor only as long as it lives
        self._elements, self._random, self._mixed, self._following = 0, "", "", False
        self._lost_track_at = ""  # the call after which nothing is sure
        self._calls: list[Any] = []
        self._rectified: set[int] = set()  # by id, until a layer returns it
        self._failed: tuple[int, str] = (0, "")  # the last error that a call raised, by id, and the call

    def begin(self, image: Tensor) -> None:
        """Follow what is read of this tensor."""
        self._rows = image.shape[:1]
        self._image, self._following = pixels(image.shape, image.dim() - 2), True
        self._learn(image, self._image)
        for tensor in self._own.values():
            if tensor.is_meta:
                self._learn(tensor, None)

    def watcher(self, layer: Layer, state: RandomState | None = None) -> Any:
        """Return the forward hook that notes the runs of a layer.

        Parameters
        ----------
        layer : Layer
            The layer.
        state : RandomState or None
            Of a model that runs with values: the state of random numbers before it.
        """
        calls = 0

        def note(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal calls
            calls += 1
            if state is not None and not self._random and state.has_changed:
                self._random = UNKNOWN_CALL
            self.found.append(self._run_of(Layer(layer.name, module, calls), output))
            self._rectified.discard(id(output))
            if self._last is not None and calls == (self._last.call or 1):
                self._following = False
                if self._stop:
                    raise LayerReached

        return note

    def _run_of(self, layer: Layer, output: Any) -> LayerRun:
        """Return what is known of a layer that has just returned an output."""
        single = isinstance(output, Tensor)
        return LayerRun(
            layer,
            tuple(output.shape) if single else None,
            self._reach(output) if single and self._following else None,
            self._elements,
            self._random,
            self._mixed,
            tuple(self._calls),
            output.dtype if single else None,
            id(output) in self._rectified,
            self._dry,
        )

    def asked_by(self, error: Exception) -> str:
        """Return the call that has asked for values, and so ended the pass with an error; "" if none has."""
        failed, call = self._failed
        asked = isinstance(error, NotImplementedError) or re.search("meta (device type )?tensor", str(error), re.I)
        return call if asked and failed == id(error) else ""

    def perform(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        """Run one call: on the meta device, if it touches what has been computed from the inputs."""
        try:
            return self._performed(func, name, args, kwargs)
        except Exception as error:
            self._failed = id(error), self._describe(name or "an attribute")
            raise

    def _performed(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        tensors = tensors_in((args, kwargs))
        touches = any(tensor.is_meta for tensor in tensors)
        if name is None:
            return self._access(func, args, touches)
        if not self._following:  # only the number of runs still counts
            return _meta_call(func, name, args, kwargs) if touches else super().perform(func, name, args, kwargs)
        random = row_of(name).random
        if not self._random and random is not None and random(args, kwargs):
            self._random = self._describe(name)
        # Constants first: they keep their values, and the call may write into one of them.
        if all(map(self._is_constant, _read_by(name, tensors))):
            return self._constant_call(func, name, args, kwargs)
        return self._followed_call(func, name, args, kwargs)

    def _access(self, access: Any, args: Any, touches: bool) -> Any:
        """Read or assign an attribute; after an assignment, ``x.data = ...``, nothing is sure."""
        if touches and getattr(access, "__name__", "") == "__set__":
            self._lost_track_at = self._lost_track_at or self._describe("an assigned attribute")
        return self.attribute(access, args)

    def _followed_call(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run a call that depends on the inputs, and learn what its outputs read."""
        written = writes_to(func, name, args, kwargs)
        self._check_written(name, written)
        # All that is known of the operands is read before the call, which may write into one of them.
        known = {id(tensor): self._reach(tensor) for tensor in tensors_in((args, kwargs))}
        self._calls.append((name, *(() if row_of(name).sized else self._signature((args, kwargs)))))
        known_args, known_kwargs = mapped(self._with_value, (args, kwargs))
        output = _meta_call(func, name, args, kwargs, written)
        outputs = [tensor for tensor in tensors_in(output) if tensor.is_meta]
        note = self._rectified.add if _rectifies(name, known_args, known_kwargs) else self._rectified.discard
        for tensor in outputs:
            note(id(tensor))
        self._follow(name, func, known_args, known_kwargs, outputs, known)
        return output

    def _constant_call(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run a call that does not depend on the inputs; without values too, if its result is on their device."""
        if any(tensor.is_meta for tensor in tensors_in((args, kwargs))):
            return self._constant_of_constants(func, name, args, kwargs)
        result = super().perform(func, name, args, kwargs)
        if any(tensor.is_meta for tensor in tensors_in(result)):  # the model has put it on the inputs' device
            values = tensors_in(super().perform(func, name, *mapped(self._on_device, (args, kwargs))))
            self._learn_values([*zip(tensors_in(result), values, strict=True)])
        return result

    def _constant_of_constants(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Run a call of constants on the inputs' device twice: with their values, and without."""
        written = writes_to(func, name, args, kwargs)
        value = super().perform(func, name, *mapped(self._on_device, (args, kwargs)))
        values = tensors_in(value)
        if not (values or written) or any(not tensor.is_meta for tensor in written):
            return value
        try:
            result = _meta_call(func, name, args, kwargs, written)
        except NotImplementedError:  # the shape depends on the values, or it leaves the device
            return value
        changed = [(tensor, self._values[id(tensor)]) for tensor in written]
        self._learn_values([*zip(tensors_in(result), values, strict=True), *changed])
        return result

    def _learn_values(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Note the values of tensors on the inputs' device."""
        for tensor, value in pairs:
            self._learn(tensor, None)
            self._values[id(tensor)] = value

    def _is_constant(self, tensor: Tensor) -> bool:
        """Whether the value of a tensor is known, since it does not depend on the inputs."""
        if not tensor.is_meta:
            return id(tensor) not in self._reaches
        known = id(tensor) in self._values and self._reaches[id(tensor)][1] == version_of(tensor)
        return known and not self._lost_track_at

    def _on_device(self, value: Any) -> Any:
        """Return an argument of a call on the model's device: of a constant its value, else an empty tensor."""
        if isinstance(value, Tensor):
            if not value.is_meta:
                return value
            known = self._values.get(id(value))
            return torch.empty_like(value, device=self._device) if known is None else known
        if isinstance(value, torch.device) and value.type == "meta":
            return self._device
        if isinstance(value, str):
            return str(self._device) if value == "meta" else value
        return value

    def _check_written(self, name: str, written: list[Tensor]) -> None:
        """Refuse a write into a constant; after one under a name that is not tracked, no read is certain."""
        for tensor in written:
            if not tensor.is_meta and name not in ("batch_norm", "instance_norm"):
                raise RuntimeError(f"'{name}' writes what depends on the inputs into a tensor that does not")
            if tensor.is_meta and id(tensor) not in self._reaches:
                self._lost_track_at = self._lost_track_at or self._describe(name)

    def _follow(
        self, name: str, func: Any, args: Any, kwargs: Any, outputs: list[Tensor], known: Mapping[int, Reach | None]
    ) -> None:
        """Learn what the outputs of a call read, from what was `known` of its operands before it."""
        self._elements += sum(tensor.numel() for tensor in outputs)
        if all(reach is None for reach in known.values()):  # weights that have no values
            for tensor in outputs:
                self._learn(tensor, None)
            return
        if not outputs:
            return
        call = ReadCall(
            name,
            func,
            args,
            kwargs,
            outputs,
            lambda tensor: known.get(id(tensor)),
            lambda: self._describe(name),
            row_of(name).reads,
        )
        if not self._mixed and (any(t.shape[:1] != self._rows for t in outputs) or mixes_examples(call)):
            self._mixed = self._describe(name)
        for tensor, reach in zip(outputs, follow(call), strict=True):
            self._learn(tensor, reach)

    def _with_value(self, value: Any) -> Any:
        """Return the value that a constant has by now; all else as it is."""
        if not isinstance(value, Tensor):
            return value
        if not value.is_meta:
            return self.current(value)
        return self._values[id(value)] if self._is_constant(value) else value

    def _signature(self, value: Any) -> Iterator[Any]:
        """Yield the numbers and constants among a call's arguments."""
        if isinstance(value, Tensor):
            if id(value) in self._own and self.current(value) is value:
                yield id(value)
            elif self._is_constant(value):
                yield _digest(self._with_value(value))
            elif self._reach(value) is None:  # computed from weights that have no values
                yield object()
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from self._signature(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from self._signature(item)
        elif isinstance(value, slice):
            yield value.start, value.stop, value.step
        else:
            yield value

    def _reach(self, tensor: Tensor) -> Reach | None:
        if not tensor.is_meta and id(tensor) not in self._reaches:
            return None
        reach, version = self._reaches.get(id(tensor), (None, -1))
        # Made, or written, by a call that could not be followed: it may have read anything.
        if self._lost_track_at or version != version_of(tensor):
            mixer = self._lost_track_at or self._describe("a call that is not followed")
            return whole_image(self._image, tensor.dim(), mixer)
        return reach

    def _learn(self, tensor: Tensor, reach: Reach | None) -> None:
        self._reaches[id(tensor)] = reach, version_of(tensor)
        self._values.pop(id(tensor), None)  # it may have been a constant, until it was written
        self._alive.append(tensor)

    def _describe(self, name: str) -> str:
        path, stock = running_module(self._paths)
        return Call(path, name, Kind.UNKNOWN, NO_RULE, "" if stock else source_line()).location


def _meta_call(func: Any, name: str, args: Any, kwargs: Any, written: Sequence[Tensor] = ()) -> Any:
    """Run a call on the meta device; where the table knows the shape, and torch takes long, only make the output."""
    known = row_of(name).shape
    if known == "same" and args and isinstance(args[0], Tensor) and args[0].is_meta and not _returns_several(func):
        # In place it stays the same tensor: each element reads what it has read before, also through another view.
        return args[0] if any(tensor is args[0] for tensor in written) else _empty_like(args[0])
    shape = known(args, kwargs) if callable(known) else None
    if shape is None:
        return func(*mapped(_to_meta, args), **mapped(_to_meta, kwargs))
    return tensors_in(args)[0].new_empty(shape, device="meta")


def _returns_several(func: Any) -> bool:
    """Whether a function is one of torch.export's batch norms, which return statistics, too."""
    return "native_" in getattr(func, "__name__", "")


def _empty_like(tensor: Tensor) -> Tensor:
    """Return what ``torch.empty_like`` does, which takes twenty times as long on the meta device."""
    if tensor.is_contiguous():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return torch.empty_like(tensor)


def _to_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.is_meta else value.detach().to("meta")
    return torch.device("meta") if isinstance(value, torch.device) else value


def _rectifies(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a call is a rectifier of the one tensor without values among its arguments."""
    unknown = [tensor for tensor in tensors_in((args, kwargs)) if tensor.is_meta]
    return len(unknown) == 1 and identify(name, args, kwargs, unknown).kind is Kind.RECTIFIER


def _read_by(name: str, tensors: list[Tensor]) -> list[Tensor]:
    """Return those tensors of which a call reads more than type, shape and device."""
    values = row_of(name).values
    return tensors[1:] if values == "rest" else tensors[:1] if values == "first" else tensors


def _digest(value: Tensor) -> tuple[Any, ...]:
    """Return what tells two constants apart; of one that is the same everywhere the size does not count."""
    if value.numel() and bool((value == value.flatten()[0]).all()):
        return value.dtype, value.flatten()[0].item()
    return value.dtype, value.shape, blake2b(memory_of(value)).digest()
