"""The layer of the single-unit start: the feature maps that the scores are read from, or the last rectified ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ...engine.copy_on_write import run_plainly
from ...engine.dry_run import dry_run, plainly_named, rectified_maps
from ...engine.layer_reader import LayerReader
from ...engine.layers import Layer
from ...engine.meta_mode import LayerRun
from ...errors import InputError

__all__ = ["StartingLayer", "starting_layer"]


@dataclass(frozen=True, eq=False)
class StartingLayer:
    """A layer of feature maps, and whether it has one for each class, of which the class's score is computed."""

    layer: Layer
    is_of_classes: bool


def starting_layer(model: nn.Module, inputs: Tensor, layer: Layer | None = None) -> StartingLayer:
    """Return the layer to start from.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes); left as it was.
    inputs : Tensor
        (N, C, H, W); the first is run.
    layer : Layer or None
        The chosen layer; None: the last from which the scores are read, else the last of rectified maps.

    Raises
    ------
    InputError
        No layer has rectified maps, or the chosen one runs never or several times.
    """
    image = inputs[:1]
    runs = dry_run(model, (image,), reach=True, or_run=True)
    scores = run_plainly(model, model, image)
    if layer is not None:
        return _chosen_start(model, image, runs, layer, scores)
    runs = plainly_named(runs)
    rectified = _rectified(model, image, runs)
    for run in [*reversed(rectified), *reversed(runs)]:
        if _has_maps(run) and _is_read(model, image, run, scores):
            return StartingLayer(run.layer, True)
    if not rectified:
        raise InputError(
            "expected a layer that returns rectified feature maps, got none in the model; name a layer to start from"
        )
    return StartingLayer(rectified[-1].layer, False)


def _chosen_start(
    model: nn.Module, image: Tensor, runs: Sequence[LayerRun], layer: Layer, scores: Tensor
) -> StartingLayer:
    own = [run for run in runs if run.layer.module is layer.module]
    run = own[(layer.resolve_call(len(own)).call or 1) - 1]
    return StartingLayer(layer, _has_maps(run) and _is_read(model, image, run, scores))


def _rectified(model: nn.Module, image: Tensor, runs: list[LayerRun]) -> list[LayerRun]:
    """Return the layers of rectified feature maps; without a dry run, by their values."""
    if all(run.dry for run in runs):
        return [run for run in rectified_maps(runs) if _has_maps(run)]
    return [run for run in runs if _has_maps(run) and _is_rectified(model, image, run)]


def _has_maps(run: LayerRun) -> bool:
    return bool(run.layer.name) and len(run.shape or ()) == 4 and prod((run.shape or ())[2:]) > 1


def _is_rectified(model: nn.Module, image: Tensor, run: LayerRun) -> bool:
    """Whether the values of a layer's maps are rectified: at least 0, and some of them 0."""
    output = run_plainly(model, _until(model, run), image)
    return bool((output == 0).any() and (output >= 0).all())


def _until(model: nn.Module, run: LayerRun) -> Callable[..., Any]:
    return LayerReader(replace(run.layer, call=run.layer.call or 1), last=True).until(model)


def _is_read(model: nn.Module, image: Tensor, run: LayerRun, scores: Tensor) -> bool:
    """Whether the scores are the means or the maxima of the layer's maps, or the softmax of these."""
    if scores.shape != (run.shape or ())[:2]:
        return False
    output = run_plainly(model, _until(model, run), image)
    read = [output.mean((2, 3)), output.amax((2, 3))]
    return any(torch.allclose(scores, each, rtol=1e-3, atol=1e-5) for each in [*read, *(r.softmax(1) for r in read)])
