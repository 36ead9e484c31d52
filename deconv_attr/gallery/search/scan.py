"""Run images through a model and offer the outputs of its layers to their tables at once: no activation is kept.

A value may differ in its last bits with the number of images that run together, for kernels then add in another order;
of few images also with the number of threads. So here that number is no argument: a data set is divided into blocks of
about one size, by model and image size, and always the same images run together.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import handle_torch_function

from ...engine.copy_on_write import run_plainly
from ...engine.determinism import check_eval_mode, nondeterministic
from ...engine.dry_run import DryRunError, dry_run, plain_run, plainly_named, rectified_maps, untaken_size
from ...engine.layer_reader import LayerReached
from ...engine.layers import Layer
from ...engine.meta_mode import LayerRun
from ...engine.module_hooks import ModuleHooks
from ...errors import DeconvError, InputError, SignalError
from ...units.acceptance import check_batched, not_taken
from ...units.image_source import check_finite
from ...units.selection import check_output
from ..dataset import Group
from .top_k import TopK

__all__ = ["Scan"]

_LARGEST = {"cpu": 16}  # images of a block: with more, memory is slow; with fewer, bits depend on the number of threads
_MEMORY = 2**32  # bytes that a model computes from a block, most of them passing


class Scan:
    """A model, the layers that are looked at, and the best that these have given.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it was.
    layers : sequence of Layer or None
        None: what the rectifiers of convolutions return.
    k : int
        How many activations of each map are remembered.
    image : Tensor
        One of the images, (C, *axes), from which is learnt what can be learnt without values.

    Attributes
    ----------
    shapes : dict of str to tuple
        Of each layer (maps, *positions), for this image.
    block : int
        How many images run together, or a few more.
    tops : dict of str to TopK
        The table of each layer.

    Raises
    ------
    InputError
        A layer does not run, or several times, or gives no tensor of units; the model does not take the image.
    ModelError
        The model's values change from run to run.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer] | None, k: int, image: Tensor) -> None:
        self._model, self._k = model, k
        self._dtype, self._device = image.dtype, image.device
        runs, cause = _layer_runs(model, image)
        chosen = _rectified(runs, cause) if layers is None else [_run_of(layer, runs) for layer in layers]
        self.block = _block(model, runs, chosen, image)
        self._calls = {run.layer.label: run.layer for run in chosen}
        self.shapes = {run.layer.label: _shape(run) for run in chosen}
        self.tops = {
            run.layer.label: TopK.empty(_shape(run)[0], k, len(_shape(run)) - 1, run.dtype or image.dtype)
            for run in chosen
        }

    def look_at(self, group: Group) -> None:
        """Run some images, with ascending numbers, that have not been looked at before."""
        images = group.images.to(self._device, non_blocking=True)
        if images.dtype != self._dtype:
            raise InputError(
                f"expected images of one type, got image {group.numbers[0]} of {images.dtype} after {self._dtype}"
            )
        if not bool(images.sum().isfinite()):
            for number, image in zip(group.numbers, images, strict=True):
                check_finite(image, number)
        numbers = np.array(group.numbers)
        waiting = len(self._calls)

        def take(name: str, output: Any) -> None:
            nonlocal waiting
            if isinstance(output, Tensor):  # as one call, whose own calls nobody has to look at
                handle_torch_function(Scan._offer, (output,), self, name, output, numbers)
            else:
                self._offer(name, output, numbers)
            waiting -= 1
            if not waiting:
                raise LayerReached

        hooks = ModuleHooks()
        with hooks, hooks:
            for name, layer in self._calls.items():
                hooks.after(layer.module, _taker(name, layer.call or 1, take))
            self._run(images)
        if waiting:
            raise InputError(f"expected the layers to run for each image, {waiting} did not for image {numbers[0]}")

    def _run(self, images: Tensor) -> None:
        def forward(images: Tensor) -> None:
            with suppress(LayerReached):
                self._model(images)

        try:
            run_plainly(self._model, forward, images)
        except DeconvError:
            raise
        except RuntimeError as error:
            raise not_taken(images.shape[1:], error) from error

    def _offer(self, name: str, output: Any, numbers: NDArray[np.int64]) -> None:
        output = check_output(output, len(numbers), self._calls[name])
        maps, axes = self.shapes[name][0], len(self.shapes[name]) - 1
        if output.shape[1] != maps or output.dim() != 2 + axes or not output[0].numel():
            raise InputError(
                f"expected {maps} maps with {axes} axes from {self._calls[name]} for each image, "
                f"got {tuple(output.shape[1:])} for image {int(numbers[0])}"
            )
        output = output.detach()
        maxima = output.amax(tuple(range(2, output.dim()))) if axes else output
        best = maxima.to("cpu", self.tops[name].values.dtype).numpy()
        if not np.isfinite(best).all():
            example, feature_map = np.argwhere(~np.isfinite(best))[0].tolist()
            raise SignalError(
                f"expected finite activations, map {feature_map} of {self._calls[name]} has NaN or infinity "
                f"in image {int(numbers[example])}"
            )
        self.tops[name].offer(output, best, numbers)


def _taker(name: str, call: int, take: Any) -> Any:
    """Return the forward hook that hands on what one call of a layer returns."""
    runs = 0

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == call:
            take(name, output)

    return hook


def _layer_runs(model: nn.Module, image: Tensor) -> tuple[list[LayerRun], str]:
    """Return the runs of all layers on an image, and why the model does not run dry to its end, "" if it does.

    From there on they are known by what one run with values tells.
    """
    try:
        return dry_run(model, [image.expand(untaken_size(model), *image.shape)], reach=True), ""
    except DryRunError as error:
        known, cause = error.known, str(error)
    check_batched(model, image)
    try:
        return plain_run(model, [image[None]], known=known), cause
    except DeconvError:
        raise
    except RuntimeError as error:
        raise not_taken(image.shape, error) from error


def _block(model: nn.Module, runs: Sequence[LayerRun], chosen: Sequence[LayerRun], image: Tensor) -> int:
    """Return how many images may run together: a power of two; one if the model mixes them or has not run dry."""
    if not all(run.dry for run in chosen):
        check_eval_mode(model)  # random numbers are noticed, batch statistics are not
    random = next((run.random for run in chosen if run.random), "")
    if random:
        raise nondeterministic(random)
    if any(run.mixed or not run.dry for run in chosen):
        return 1
    whole = max(run.elements for run in runs) // untaken_size(model) * image.element_size()  # of all, chosen or not
    fitting = min(max(_MEMORY // (whole + 1), 1), _LARGEST.get(image.device.type, 64))
    return int(2 ** (fitting.bit_length() - 1))


def _rectified(runs: Sequence[LayerRun], cause: str) -> list[LayerRun]:
    chosen = rectified_maps(plainly_named(list(runs)))
    if not chosen:
        why = f" (it does not run without values: {cause})" if cause else ""
        raise InputError(f"the model has no layer known to return rectified feature maps: name the layers{why}")
    return chosen


def _run_of(layer: Layer, runs: Sequence[LayerRun]) -> LayerRun:
    own = [run for run in runs if run.layer.module is layer.module]
    return replace(own[(layer.resolve_call(len(own)).call or 1) - 1], layer=layer)


def _shape(run: LayerRun) -> tuple[int, ...]:
    if run.shape is None or len(run.shape) < 2:
        found = "another type" if run.shape is None else str(run.shape)
        raise InputError(f"expected a tensor (N, maps, ...) as the output of {run.layer}, got {found}")
    return run.shape[1:]
