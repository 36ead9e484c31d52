"""How often the layers of a model run, the shapes they give, and which pixels they read.

The pass runs dry, without values. A model that asks for values (``if x.mean() > 0``) cannot be surveyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DeconvError, reason
from .layer_reader import LayerReached
from .layers import Layer
from .meta_mode import LayerRun, MetaMode
from .restore import CopyOnWrite, undisturbed

__all__ = ["DryRunError", "dry_run", "plainly_named", "rectified_maps"]


class DryRunError(DeconvError, RuntimeError):
    """The model does not run without values; the text says why."""


def dry_run(
    model: nn.Module,
    inputs: Sequence[Tensor],
    others: Sequence[Any] = (),
    layer: Layer | None = None,
    *,
    reach: bool = False,
    stop: bool = False,
    dry: bool = True,
) -> list[LayerRun]:
    """Run a model without values, and look at its layers.

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
    dry : bool
        False: the inputs have values, the model and its hooks run as ever, and nothing is followed.

    Raises
    ------
    DryRunError
        The model asks for values, does not take these inputs, or has forward hooks, which could. With values, what
        the model raises is raised.
    """
    modules = list(model.named_modules())
    looked_at = [layer] if layer else [Layer(name, module) for name, module in modules]
    for path, module in modules:
        if dry and any(map(_is_foreign, (*module._forward_hooks.values(), *module._forward_pre_hooks.values()))):
            raise DryRunError(
                f"there is a forward hook on '{path}'" if path else "there is a forward hook on the model"
            )
    device = _device_of(model, inputs)
    with ExitStack() as undo:
        undo.enter_context(torch.inference_mode(False))
        blank = [torch.empty_like(tensor, device="meta", requires_grad=False) for tensor in inputs]
        undo.enter_context(torch.no_grad())
        undo.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        undo.enter_context(undisturbed(model))
        dry_run = MetaMode(model, modules, others, layer, stop, device)
        if reach:
            dry_run.begin(blank[0])
        for each in looked_at:
            undo.callback(each.module.register_forward_hook(dry_run.watcher(each)).remove)
        try:
            with dry_run if dry else CopyOnWrite(model, [*inputs, *others]), suppress(LayerReached):
                model(*(blank if dry else inputs), *others)
        except Exception as error:
            if not dry:
                raise
            raise DryRunError(reason(error)) from error
    return dry_run.found


def rectified_maps(runs: list[LayerRun]) -> list[LayerRun]:
    """Choose the layers that return what a rectifier returned, maps with positions.

    Parameters
    ----------
    runs : list of LayerRun
        With `reach`, without which it is not known.
    """
    return [run for run in runs if run.rectified and len(run.shape or ()) > 2 and run.layer.name]


def plainly_named(runs: list[LayerRun]) -> list[LayerRun]:
    """Name those layers without their call, of all modules' runs, that run once."""
    calls = [run.layer.name for run in runs]
    return [
        run if calls.count(run.layer.name) > 1 else replace(run, layer=replace(run.layer, call=None)) for run in runs
    ]


def _device_of(model: nn.Module, inputs: Sequence[Tensor]) -> torch.device:
    """Give the device on which constants are computed: that of the inputs, or if these have none, of the weights."""
    held = (tensor.device for tensor in (*inputs, *model.parameters()) if not tensor.is_meta)
    return next(held, torch.device("cpu"))


def _is_foreign(hook: Any) -> bool:
    """Tell a hook of the user's, or one that gathers parameters (FSDP2), from one that computes a weight in torch."""
    module = str(getattr(hook, "__module__", type(hook).__module__))
    if module.startswith("torch.distributed."):
        return True
    return not module.startswith(("torch.", f"{__name__.split('.')[0]}."))  # ours act in the thread that made them
