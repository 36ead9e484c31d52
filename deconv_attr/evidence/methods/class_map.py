"""The layer of the single-unit start: the feature maps that the scores are read from, or the last rectified ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.batches import of_examples
from ...engine.copy_on_write import run_plainly
from ...engine.dry_run import dry_run, plainly_named, rectified_maps
from ...engine.layer_reader import LayerReader
from ...engine.layers import Layer
from ...engine.meta_mode import LayerRun
from ...errors import InputError

__all__ = ["StartingLayer", "starting_layer"]

Given = tuple[Any, ...]
"""What the model is given: the first image, and what belongs to it."""


@dataclass(frozen=True, eq=False)
class StartingLayer:
    """A layer of feature maps, and whether it has one for each class, of which the class's score is computed."""

    layer: Layer
    is_of_classes: bool


def starting_layer(
    model: nn.Module, inputs: Tensor, layer: Layer | None = None, others: tuple[Any, ...] = ()
) -> StartingLayer:
    """Return the layer to start from.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes), or (N,); left as it was.
    inputs : Tensor
        (N, C, ...); the first is run.
    layer : Layer or None
        The chosen layer; None: the last from which the scores are read, else the last of rectified maps.
    others : tuple
        What the model is given beside the images.

    Raises
    ------
    InputError
        No layer has rectified maps, or the chosen one runs never or several times.
    """
    given = (inputs[:1], *of_examples(others, slice(0, 1), len(inputs)))
    runs = dry_run(model, given[:1], given[1:], reach=True, or_run=True)
    scores = run_plainly(model, model, *given)
    if layer is not None:
        return _chosen_start(model, given, runs, layer, scores)
    runs = plainly_named(runs)
    rectified = _rectified(model, given, runs)
    for run in [*reversed(rectified), *reversed(runs)]:
        if _has_maps(run, given) and _is_read(model, given, run, scores):
            return StartingLayer(run.layer, True)
    if not rectified:
        raise InputError(
            "expected a layer that returns rectified feature maps, got none in the model; name a layer to start from"
        )
    return StartingLayer(rectified[-1].layer, False)


def _chosen_start(
    model: nn.Module, given: Given, runs: Sequence[LayerRun], layer: Layer, scores: Tensor
) -> StartingLayer:
    own = [run for run in runs if run.layer.module is layer.module]
    run = own[(layer.resolve_call(len(own)).call or 1) - 1]
    return StartingLayer(layer, _has_maps(run, given) and _is_read(model, given, run, scores))


def _rectified(model: nn.Module, given: Given, runs: list[LayerRun]) -> list[LayerRun]:
    """Return the layers of rectified feature maps; without a dry run, by their values."""
    if all(run.dry for run in runs):
        return [run for run in rectified_maps(runs) if _has_maps(run, given)]
    return [run for run in runs if _has_maps(run, given) and _is_rectified(model, given, run)]


def _has_maps(run: LayerRun, given: Given) -> bool:
    shape = run.shape or ()
    return bool(run.layer.name) and len(shape) == given[0].dim() and prod(shape[2:]) > 1


def _is_rectified(model: nn.Module, given: Given, run: LayerRun) -> bool:
    """Whether the values of a layer's maps are rectified: at least 0, and some of them 0."""
    output = run_plainly(model, _until(model, run), *given)
    return bool((output == 0).any() and (output >= 0).all())


def _until(model: nn.Module, run: LayerRun) -> Callable[..., Any]:
    return LayerReader(replace(run.layer, call=run.layer.call or 1), last=True).until(model)


def _is_read(model: nn.Module, given: Given, run: LayerRun, scores: Tensor) -> bool:
    """Whether the scores are the means or the maxima of the layer's maps, or the softmax of these."""
    if scores.shape != (run.shape or ())[:2]:
        return False
    output = run_plainly(model, _until(model, run), *given).flatten(2)
    read = [output.mean(2), output.amax(2)]
    return any(torch.allclose(scores, each, rtol=1e-3, atol=1e-5) for each in [*read, *(r.softmax(1) for r in read)])
