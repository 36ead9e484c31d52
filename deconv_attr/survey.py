"""A dry run of a model: how often its layers run, the shapes they give, and which pixels they read.

The forward pass runs on the meta device: whatever is computed from the inputs is a tensor without values, so a dry
run costs no arithmetic. What does not depend on the inputs is computed as ever. A model that asks for values
(``if x.mean() > 0``) cannot be surveyed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .coverage import NO_RULE, Call
from .errors import DeconvError
from .layers import Layer
from .operations import Kind, tensors_in, writes_to
from .ownership import WritesToCopies, undisturbed
from .places import running_module, source_line
from .reach import Reach, Step, follow, no_pixel, pixels, whole_image

__all__ = ["NotSurveyedError", "Run", "Survey", "survey"]

_UNIFORM = frozenset("zeros_like ones_like full_like new_zeros new_ones new_full".split())
_KEEP_THE_SHAPE = frozenset("relu batch_norm dropout".split())  # torch is slow to say so
# Where the argument stands that makes an operation read the rest of the batch, or throw dice; and its default.
_TRAINING = {"batch_norm": (5, False), "dropout": (2, True), "dropout2d": (2, True), "dropout3d": (2, True)}


class NotSurveyedError(DeconvError, RuntimeError):
    """The model does not run without values; the text says why."""


@dataclass(frozen=True, eq=False)
class Run:
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
    chance : str
        The first operation so far whose result depends on the rest of the batch or on chance, "" if none does.
    """

    layer: Layer
    shape: tuple[int, ...] | None
    reach: Reach | None
    elements: int
    chance: str


Survey = list[Run]
"""The runs of the layers that were looked at, in their order."""


def survey(
    model: nn.Module,
    inputs: Sequence[Tensor],
    others: Sequence[Any] = (),
    layer: Layer | None = None,
    *,
    reach: bool = False,
) -> Survey:
    """Run a model without values.

    Parameters
    ----------
    model : nn.Module
        Left as it was.
    inputs, others : sequence
        Its arguments; only shapes and types of the inputs count.
    layer : Layer or None
        The layer to look at; None for all modules.
    reach : bool
        Whether to follow what is read of the first input, images (N, C, *axes), up to that layer.

    Raises
    ------
    NotSurveyedError
        The model asks for values, does not take these inputs, or has forward hooks, which could.
    """
    looked_at = [layer] if layer else [Layer(name, module) for name, module in model.named_modules()]
    for path, module in model.named_modules():
        if any(_is_foreign(hook) for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())):
            raise NotSurveyedError(
                f"there is a forward hook on '{path}'" if path else "there is a forward hook on the model"
            )
    blank = [torch.empty_like(tensor, device="meta", requires_grad=False) for tensor in inputs]
    with ExitStack() as undo:
        undo.enter_context(torch.inference_mode(False))
        undo.enter_context(torch.no_grad())
        undo.enter_context(torch.random.fork_rng(devices=[]))
        undo.enter_context(undisturbed(model, attributes=True))
        dry_run = _DryRun(model, others, layer)
        if reach:
            dry_run.begin(blank[0])
        for each in looked_at:
            undo.callback(each.module.register_forward_hook(dry_run.watcher(each)).remove)
        try:
            with dry_run:
                model(*blank, *others)
        except Exception as error:
            text = str(error).strip().splitlines()
            raise NotSurveyedError(f"{type(error).__name__}: {text[0]}" if text else type(error).__name__) from error
    return dry_run.found


class _DryRun(WritesToCopies):
    """Sends every call that touches the inputs to the meta device, and follows what it reads."""

    def __init__(self, model: nn.Module, others: Sequence[Any], last: Layer | None) -> None:
        super().__init__(model, others)
        self.found: Survey = []
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._last = last
        self._image: Reach  # once it is followed
        self._reaches: dict[int, Reach | None] = {}  # by id; None for a constant
        self._alive: list[Tensor] = []  # an id names a tensor only as long as it lives
        self._elements, self._chance, self._following = 0, "", False
        self._thread = threading.get_ident()

    def begin(self, image: Tensor) -> None:
        """Follow what is read of this tensor."""
        self._image, self._following = pixels(image.shape, image.dim() - 2), True
        self._learn(image, self._image)

    def watcher(self, layer: Layer) -> Any:
        """Make the forward hook that notes the runs of a layer."""
        calls = 0

        def note(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal calls
            if threading.get_ident() != self._thread:
                return
            calls += 1
            shape, reach = None, None
            if isinstance(output, Tensor):
                shape, reach = tuple(output.shape), self._reach(output) if self._following else None
            self.found.append(Run(Layer(layer.name, module, calls), shape, reach, self._elements, self._chance))
            if self._last is not None and calls == (self._last.call or 1):
                self._following = False

        return note

    def perform(self, func: Any, name: str | None, args: Any, kwargs: Any) -> Any:
        """Run one call: on the meta device, if it touches what has been computed from the inputs."""
        if name is None or not any(tensor.is_meta for tensor in tensors_in((args, kwargs))):
            return super().perform(func, name, args, kwargs)
        written = writes_to(func, name, args, kwargs)
        before = [(tensor, self._reach(tensor)) for tensor in written if tensor.is_meta] if self._following else []
        if name in _KEEP_THE_SHAPE and args and args[0].is_meta:
            output = args[0] if any(tensor is args[0] for tensor in written) else torch.empty_like(args[0])
        else:
            output = func(*_to_meta(args), **_to_meta(kwargs))
        if self._following:
            outputs = [tensor for tensor in tensors_in(output) if tensor.is_meta]
            self._follow(name, func, args, kwargs, outputs)
            for tensor, reach in before:
                self._check_write(name, tensor, reach)
        return output

    def _follow(self, name: str, func: Any, args: Any, kwargs: Any, outputs: list[Tensor]) -> None:
        self._elements += sum(tensor.numel() for tensor in outputs)
        if not self._chance and _throws_dice(name, args, kwargs):
            self._chance = self._place(name)
        constant = name in _UNIFORM or all(self._reach(tensor) is None for tensor in tensors_in((args, kwargs)))
        if constant or not outputs:
            for tensor in outputs:
                self._learn(tensor, no_pixel(self._image, tensor.dim()) if name in _UNIFORM else None)
            return
        step = Step(name, func, args, kwargs, outputs, self._reach, lambda: self._place(name))
        for tensor, reach in zip(outputs, follow(step), strict=True):
            self._learn(tensor, reach)

    def _check_write(self, name: str, target: Tensor, before: Reach | None) -> None:
        """After a call wrote into a tensor: whatever shares its memory reads what it reads."""
        after = self._reach(target)
        if before is None or after is None or not after.same(before):
            base = _base(target)
            shared = [tensor for tensor in self._alive if _base(tensor) is base and tensor is not target]
            if shared or target._is_view():
                for tensor in (target, *shared):
                    self._learn(tensor, self._whole(tensor, name))

    def _reach(self, tensor: Tensor) -> Reach | None:
        if id(tensor) not in self._reaches and tensor.is_meta:  # made by a call that nobody could see
            self._learn(tensor, self._whole(tensor, "an operation that calls no function of torch"))
        return self._reaches.get(id(tensor))

    def _learn(self, tensor: Tensor, reach: Reach | None) -> None:
        self._reaches[id(tensor)] = reach
        self._alive.append(tensor)

    def _whole(self, tensor: Tensor, name: str) -> Reach:
        return whole_image(self._image, tensor.dim(), self._place(name))

    def _place(self, name: str) -> str:
        path, stock = running_module(self._paths)
        return Call(path, name, Kind.UNKNOWN, NO_RULE, "" if stock else source_line()).place


def _to_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.is_meta else value.detach().to("meta")
    if type(value) in (list, tuple):
        return type(value)(_to_meta(item) for item in value)
    return {key: _to_meta(item) for key, item in value.items()} if type(value) is dict else value


def _throws_dice(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    position, default = _TRAINING.get(name, (0, None))
    if default is None:
        return False
    return bool(args[position] if len(args) > position else kwargs.get("training", default))


def _base(tensor: Tensor) -> Tensor:
    return tensor if tensor._base is None else tensor._base


def _is_foreign(hook: Any) -> bool:
    """Tell a hook of the user's from one by which torch computes a weight (spectral norm)."""
    return not str(getattr(hook, "__module__", type(hook).__module__)).startswith("torch.")
