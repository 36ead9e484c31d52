"""How often the layers of a model run, the shapes they return, and which pixels they read.

The pass runs dry, without values. A model that asks for values (``if x.mean() > 0``) runs so as far as there: what is
known of the layers before, such as a detector's backbone, stays known.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DeconvError, reason
from .attributes import keep_model
from .copy_on_write import CopyOnWrite
from .determinism import RandomState
from .layer_reader import LayerReached
from .layers import Layer
from .meta_mode import LayerRun, MetaMode
from .modes import keep_random_state, leave_inference_mode, set_gradients
from .module_hooks import ModuleHooks
from .undo import Undo

__all__ = ["DryRunError", "dry_run", "plain_run", "plainly_named", "rectified_maps", "untaken_size"]

_SIZES = (13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


class DryRunError(DeconvError, RuntimeError):
    """The model does not run without values; the text says why.

    Parameters
    ----------
    text : str
        The reason.
    known : sequence of LayerRun
        The runs of layers that had ended before, in their order: what is known of them holds.
    asked : bool
        Whether a call has asked for values; else the model may not take such inputs at all.
    """

    def __init__(self, text: str, known: Sequence[LayerRun] = (), asked: bool = False) -> None:
        super().__init__(text)
        self.known = list(known)
        self.asked = asked


def dry_run(
    model: nn.Module,
    inputs: Sequence[Tensor],
    others: Sequence[Any] = (),
    layer: Layer | None = None,
    *,
    reach: bool = False,
    stop: bool = False,
    or_run: bool = False,
) -> list[LayerRun]:
    """Run a model without values, and return the runs of its layers, in their order.

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
    stop : bool
        Whether the run ends at the layer.
    or_run : bool
        Whether a model that does not run dry is run by :func:`plain_run`; what was known before stays known.

    Raises
    ------
    DryRunError
        The model asks for values, does not take these inputs, or has forward hooks, which could. With `or_run`, what
        the model raises is raised.
    """
    try:
        return _run(model, inputs, others, layer, reach, stop, dry=True)
    except DryRunError as error:
        if not or_run:
            raise
        known = error.known
    return plain_run(model, inputs, others, layer, known)


def plain_run(
    model: nn.Module,
    inputs: Sequence[Tensor],
    others: Sequence[Any] = (),
    layer: Layer | None = None,
    known: Sequence[LayerRun] = (),
) -> list[LayerRun]:
    """Run a model as ever, with values and its own hooks, and return the runs of its layers.

    Nothing is followed but random numbers, as :attr:`LayerRun.dry` says. The arguments are those of :func:`dry_run`;
    what the model raises is raised.

    Parameters
    ----------
    model, inputs, others, layer
        As for :func:`dry_run`.
    known : sequence of LayerRun
        What a dry run had found before the model asked for values: these take the place of the same runs here.
    """
    found = _run(model, inputs, others, layer, reach=False, stop=False, dry=False)
    dry = {(run.layer.name, run.layer.call): run for run in known}
    return [dry.get((run.layer.name, run.layer.call), run) for run in found]


def _run(
    model: nn.Module,
    inputs: Sequence[Tensor],
    others: Sequence[Any],
    layer: Layer | None,
    reach: bool,
    stop: bool,
    dry: bool,
) -> list[LayerRun]:
    modules = list(model.named_modules())
    if dry:
        _refuse_hooks(modules)
    device = _device_of(model, inputs)
    undo = ModuleHooks()
    with undo, undo:
        if dry and "sympy" not in sys.modules:  # which torch imports for some operations, and which adds filters
            undo.later(_remove_sympys_filters)
        leave_inference_mode(undo)
        shapes = [torch.empty_like(tensor, device="meta", requires_grad=False) for tensor in inputs]
        set_gradients(False, undo)
        keep_random_state(device, undo)
        keep_model(model, undo)
        mode = MetaMode(model, modules, others, layer, stop, device, dry)
        if reach:
            mode.begin(shapes[0])
        state = None if dry else RandomState(device)
        for each in [layer] if layer else [Layer(name, module) for name, module in modules]:
            undo.after(each.module, mode.watcher(each, state))
        if dry:
            _run_dry(model, [*shapes, *others], mode)
        else:
            _run_with_values(model, [*inputs, *others])
    return mode.found


def _run_dry(model: nn.Module, given: Sequence[Any], mode: MetaMode) -> None:
    try:
        _run_under(mode, model, given)
    except LayerReached:
        pass
    except Exception as error:
        call = mode.asked_by(error)
        why = f"{call} asks for values" if call else reason(error)
        raise DryRunError(why, mode.found, asked=bool(call)) from error


def _run_with_values(model: nn.Module, given: Sequence[Any]) -> None:
    with suppress(LayerReached):
        _run_under(CopyOnWrite(model, given), model, given)


def _run_under(mode: CopyOnWrite, model: nn.Module, given: Sequence[Any]) -> None:
    undo = Undo()
    with undo, undo:
        mode.enter_until(undo)
        model(*given)


def _remove_sympys_filters() -> None:
    """Remove the filters of warnings that sympy has added; those that other threads have added meanwhile stay."""
    for item in list(warnings.filters):
        if item[2].__module__.startswith("sympy."):
            with suppress(ValueError):  # where another thread has done so
                warnings.filters.remove(item)  # type: ignore[attr-defined]  # a list, declared as a sequence


def rectified_maps(runs: Sequence[LayerRun]) -> list[LayerRun]:
    """Return the runs of layers that return what a rectifier returned, maps with positions.

    Parameters
    ----------
    runs : sequence of LayerRun
        With `reach`, without which it is not known.
    """
    return [run for run in runs if run.rectified and len(run.shape or ()) > 2 and run.layer.name]


def plainly_named(runs: Sequence[LayerRun]) -> list[LayerRun]:
    """Return all modules' runs, with those layers named without their call that run once."""
    calls = [run.layer.name for run in runs]
    return [
        run if calls.count(run.layer.name) > 1 else replace(run, layer=replace(run.layer, call=None)) for run in runs
    ]


def untaken_size(model: nn.Module) -> int:
    """Return a number of examples, for a dry run, that no dimension of the model's weights has."""
    taken = {size for parameter in model.parameters() for size in parameter.shape}
    return next((size for size in _SIZES if size not in taken), _SIZES[-1])


def _device_of(model: nn.Module, inputs: Sequence[Tensor]) -> torch.device:
    """Return the device on which constants are computed: that of the inputs, or if these have none, of the weights."""
    held = (tensor.device for tensor in (*inputs, *model.parameters()) if not tensor.is_meta)
    return next(held, torch.device("cpu"))


def _refuse_hooks(modules: Sequence[tuple[str, nn.Module]]) -> None:
    for path, module in modules:
        if any(map(_is_third_party, (*module._forward_hooks.values(), *module._forward_pre_hooks.values()))):
            where = f"'{path}'" if path else "the model"
            raise DryRunError(f"there is a forward hook on {where}")


def _is_third_party(hook: Any) -> bool:
    """Whether a hook is the user's, or one that gathers parameters (FSDP2): no weight that torch itself computes."""
    module = str(getattr(hook, "__module__", type(hook).__module__))
    if module.startswith("torch.distributed."):
        return True
    return not module.startswith(("torch.", f"{__name__.split('.')[0]}."))  # ours act in the thread that made them
