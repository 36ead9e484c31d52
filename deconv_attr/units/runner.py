"""Runs a model up to a layer, forward and back, in batches that fit memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Size, Tensor, nn

from ..attribution.base import leaves_of
from ..engine.attributes import modules_of, sharded
from ..engine.copy_on_write import run_plainly
from ..engine.determinism import nondeterministic, repeatable
from ..engine.diagnosis import arrival, where_signals_died
from ..engine.dry_run import DryRunError, dry_run, plain_run, untaken_size
from ..engine.layer_reader import LayerReader
from ..engine.layers import Layer
from ..engine.meta_mode import LayerRun
from ..engine.signal_path import SignalPath, send
from ..errors import DeconvError, InputError, ModelError
from ..rules.tables import Table
from .acceptance import check_batched, not_taken
from .crops import Crops
from .image_source import ImageSource, check_finite
from .receptive_fields import ReceptiveField, field_of
from .selection import check_output

__all__ = ["Arrival", "LayerGeometry", "LayerRunner", "Seed"]

_MEMORY = 2**28  # bytes that one batch may take


@dataclass(frozen=True, eq=False)
class LayerGeometry:
    """What a layer is on images of one shape.

    Parameters
    ----------
    layer : Layer
        With its call.
    shape : tuple of int
        (maps, *positions).
    elements : int
        How many numbers the model computes up to there.
    field : ReceptiveField or None
        None if the model does not run without values as far as the layer.
    crops : Crops or None
        None if only the whole image will do.
    calls : tuple
        See :class:`deconv_attr.engine.meta_mode.LayerRun`.
    alone : bool
        Whether an example has to run without others, because the model mixes them or cannot be run dry.
    """

    layer: Layer
    shape: tuple[int, ...]
    elements: int
    field: ReceptiveField | None = None
    crops: Crops | None = None
    calls: tuple[Any, ...] = ()
    alone: bool = True


@dataclass(frozen=True, eq=False)
class Seed:
    """Where one signal starts: the unit's number, its example in the batch, its index in one example's output."""

    unit: int
    example: int
    index: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Arrival:
    """One signal that came down.

    Parameters
    ----------
    start : Seed
        Where it started.
    activation : Tensor
        (), with which it started.
    signal : Tensor
        (C, *axes), at the pixels.
    ending : str
        Where it died; "" if it lives.
    """

    start: Seed
    activation: Tensor
    signal: Tensor
    ending: str


def _start(output: Tensor, starts: Sequence[Seed]) -> Tensor:
    """Pick the units' activations from a layer's output (N, maps, ...)."""
    where = torch.tensor([[start.example, *start.index] for start in starts], device=output.device)
    return output[tuple(where.T)]


class LayerRunner:
    """A model, the rules, and the layer whose units are projected.

    Parameters
    ----------
    model : nn.Module
        Left as it was.
    rules : Table
        Which rule serves which kind of operation.
    layer : Layer
        The layer.
    batch_size : int or None
        How many examples run at once; None for as many as fit.
    """

    def __init__(self, model: nn.Module, rules: Table, layer: Layer, batch_size: int | None) -> None:
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"expected a batch_size of at least 1, got {batch_size!r}")
        if sharded(modules_of(model)):
            raise ModelError(
                "expected a model that keeps its parameters, got one of FSDP2, which gives them back after each "
                "signal, and here many go through one pass: use NeuronZFDeconv, or a model without fully_shard"
            )
        self._model, self._rules, self._layer, self._batch_size = model, rules, layer, batch_size
        self._rows = untaken_size(model)
        self._geometries: dict[Size, LayerGeometry] = {}
        self._trials: dict[tuple[Size, Size], ReceptiveField | None] = {}

    def geometry(self, image: Tensor) -> LayerGeometry:
        """Learn what the layer is on an image (C, *axes).

        Raises
        ------
        InputError
            The layer does not run, runs several times, does not return one tensor; the model does not take the image.
        ModelError
            The model is in training mode.
        """
        if image.shape not in self._geometries:
            self._geometries[image.shape] = self._surveyed(image)
        return self._geometries[image.shape]

    def known(self, shape: Size) -> LayerGeometry:
        """Return the geometry of images that have been seen."""
        return self._geometries[shape]

    def same_reads(
        self, geometry: LayerGeometry, image: Size, cut: Size, position: Sequence[int], corner: Sequence[int]
    ) -> bool:
        """Whether a unit reads of a crop what it reads of its image, through the same calls.

        Parameters
        ----------
        geometry : LayerGeometry
            Of the image.
        image, cut : torch.Size
            (C, *axes).
        position, corner : sequence of int
            The unit's in the image, and the crop's.
        """
        if (image, cut) not in self._trials:
            self._trials[image, cut] = self._tried(geometry, cut)
        trial = self._trials[image, cut]
        if trial is None or geometry.field is None or geometry.crops is None:
            return False
        return all(
            0 <= inside < len(part) and [edge + start for edge in part[inside]] == full[index]
            for full, part, index, inside, start in zip(
                geometry.field.spans,
                trial.spans,
                position,
                geometry.crops.position_in_crop(position),
                corner,
                strict=True,
            )
        )

    def _tried(self, geometry: LayerGeometry, cut: Size) -> ReceptiveField | None:
        """Run dry on a crop: None if the model does not take it, or does something else with it."""
        no_values = torch.empty((self._rows, *cut), dtype=self._dtype, device="meta")
        try:
            runs = dry_run(self._model, [no_values], layer=geometry.layer, reach=True, stop=True)
            if len(runs) != geometry.layer.call or runs[-1].calls != geometry.calls:
                return None
            field = field_of(runs[-1], no_values.shape)
            return None if field.obstacle else field
        except (DryRunError, InputError):
            return None

    def outputs(self, geometry: LayerGeometry, batch: Tensor) -> Tensor:
        """Return the layer's output for images (N, C, *axes), without a signal."""
        return self._forward(LayerReader(geometry.layer, last=True), batch)

    def descend(self, geometry: LayerGeometry, batch: Tensor, turns: Sequence[Sequence[Seed]]) -> Iterator[Arrival]:
        """Run the images (or crops) once, and send signals down in turns, at most one from each example in a turn.

        Raises
        ------
        SignalError
            A signal is no finite number.
        """
        path = SignalPath(self._model, self._rules, narrow=True)
        with path, path:
            leaf, output = self._run(path, geometry, batch)
            for number, starts in enumerate(turns):
                values = _start(output, starts)
                kept = number + 1 < len(turns)
                (signal,) = send(values, [leaf], values.detach(), retain_graph=kept)
                values = values.detach()
                lost = self._where_lost(geometry, batch, starts, values, signal)
                for start, value in zip(starts, values, strict=True):
                    yield Arrival(start, value, signal[start.example], lost.get(start.example, ""))

    def _where_lost(
        self, geometry: LayerGeometry, batch: Tensor, starts: Sequence[Seed], values: Tensor, signal: Tensor
    ) -> dict[int, str]:
        """Return where signals died, by example; refuse signals that are no numbers."""
        found, finite = arrival((signal,), len(batch))
        silent = {start.example for start, value in zip(starts, values.tolist(), strict=True) if not value}
        lost = dict.fromkeys(silent.intersection(found), "their activation is 0")
        again = [start for start in starts if start.example in {*found} - silent or not finite]
        if not again:
            return lost
        examples = [start.example for start in again]

        def send_again(path: SignalPath) -> None:
            leaf, output = self._run(path, geometry, batch[examples])
            values = _start(output, [replace(start, example=number) for number, start in enumerate(again)])
            send(values, [leaf], values.detach().where(values.isfinite(), 1.0))

        count = len(again)
        died = where_signals_died(self._model, self._rules, send_again, range(count), count, finite, narrow=True)
        for ending, numbers in died.items():
            lost |= {examples[number]: ending.clause for number in numbers}
        return lost

    def batch(self, geometry: LayerGeometry, share: float, item: Tensor) -> int:
        """Return how many examples run at once, each with a share of the whole image's pixels."""
        if geometry.alone:
            return 1
        if self._batch_size is not None:
            return self._batch_size
        # Twice: what the forward pass keeps, and the signal.
        return max(1, int(_MEMORY / (2 * geometry.elements * share * item.element_size() + 1)))

    def batches(self, source: ImageSource, numbers: Iterable[int]) -> Iterator[tuple[LayerGeometry, list[int], Tensor]]:
        """Read images, and put those of one shape that follow each other into batches."""
        waiting: list[tuple[int, Tensor]] = []

        def batch() -> tuple[LayerGeometry, list[int], Tensor]:
            first = waiting[0][1]
            return self.geometry(first), [number for number, _ in waiting], torch.stack([image for _, image in waiting])

        for number in numbers:
            image = source[number]
            if waiting and (
                image.shape != waiting[0][1].shape or len(waiting) >= self.batch(self.geometry(image), 1, image)
            ):
                yield batch()
                waiting = []
            waiting.append((number, check_finite(image, number)))
        if waiting:
            yield batch()

    def _run(self, path: SignalPath, geometry: LayerGeometry, batch: Tensor) -> tuple[Tensor, Tensor]:
        (leaf,) = leaves_of([batch])
        reader = LayerReader(geometry.layer, last=True)
        return leaf, check_output(path.run(reader.until(self._model), (leaf,), whole=False), len(batch), self._layer)

    def _forward(self, reader: LayerReader, batch: Tensor) -> Tensor:
        try:
            output = run_plainly(self._model, reader.until(self._model), batch)
        except DeconvError:
            raise
        except RuntimeError as error:
            raise not_taken(batch.shape[1:], error) from error
        return check_output(output, len(batch), self._layer)

    def _surveyed(self, image: Tensor) -> LayerGeometry:
        batch, self._dtype = image.expand(self._rows, *image.shape), image.dtype
        try:
            runs = dry_run(self._model, [batch], layer=self._layer, reach=True)
        except DryRunError as error:
            check_batched(self._model, image)
            if len(error.known) < (self._layer.call or 1):
                return self._run_once(image[None])
            runs = self._completed(error.known, image[None])
        layer = self._layer.resolve_call(len(runs))
        run = runs[(layer.call or 1) - 1]
        if run.random:
            raise nondeterministic(run.random)
        field = field_of(replace(run, layer=self._layer), batch.shape)
        crops = None if field.obstacle else Crops(field)
        return LayerGeometry(layer, field.shape, run.elements // self._rows, field, crops, run.calls, bool(run.mixed))

    def _completed(self, known: Sequence[LayerRun], batch: Tensor) -> list[LayerRun]:
        """Return what is known of the layer, and its runs from where on the model does not run dry."""
        try:
            return plain_run(self._model, [batch], layer=self._layer, known=known)
        except DeconvError:
            raise
        except RuntimeError as error:
            raise not_taken(batch.shape[1:], error) from error

    def _run_once(self, batch: Tensor) -> LayerGeometry:
        """Learn from one image what can be learnt of a model that does not run dry."""
        reader = LayerReader(self._layer)
        with repeatable(self._model, batch.device):
            output = self._forward(reader, batch)
        return LayerGeometry(reader.layer, tuple(output.shape[1:]), 4 * output.numel() + 16 * batch.numel())
