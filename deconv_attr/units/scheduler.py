"""Which units run together: crops of one size where these are exact and cheaper, and else whole images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor

from ..errors import DeconvError
from .crops import index_of
from .image_source import ImageSource, check_finite
from .runner import Arrival, LayerGeometry, LayerRunner, Seed
from .selection import check_units

__all__ = ["Done", "Scheduler"]

# Units whose crops together are larger than this many images share one forward pass of the image.
_SHARED = 2.0
# An image with many units stands in a batch that often, so that a filter is read from memory once for several signals.
_COPIES = 4


class _Cut(NamedTuple):
    unit: int
    pixels: Tensor  # (C, *axes)
    corner: list[int]  # of the crop in the image


class Done(NamedTuple):
    """What has come of one unit."""

    activation: Tensor
    box: list[int]
    patch: Tensor
    from_crop: bool
    image_shape: Size
    ending: str  # where the signal died


class Scheduler:
    """The units of one call of :func:`project`.

    Parameters
    ----------
    runner, source
        What runs, and the images.
    geometry : LayerGeometry
        Of the first image; the units have been checked against it.
    table : Tensor
        (K, 2 + axes): image, map and position of each unit.
    expected : Tensor or None
        (K,), the activations that are known.
    """

    def __init__(
        self, runner: LayerRunner, source: ImageSource, geometry: LayerGeometry, table: Tensor, expected: Tensor | None
    ) -> None:
        self._runner, self._source, self._table = runner, source, table
        self._shape = geometry.shape  # with which the table has been compared
        self._rows: list[list[int]] = table.tolist()
        self._eps = 0.0  # of the activations that are known
        if expected is not None and expected.is_floating_point():
            self._eps = torch.finfo(expected.dtype).eps
        self._expected: list[Any] = [None] * len(table) if expected is None else expected.tolist()
        self._units: dict[int, list[int]] = defaultdict(list)  # of each image
        for unit, row in enumerate(self._rows):
            self._units[row[0]].append(unit)
        self._alone: set[int] = set()  # images that run without others
        self._done: dict[int, Done] = {}

    def run(self, tell: Callable[[int], object]) -> list[Done]:
        """Project all units: from crops, and what these cannot serve from whole images.

        Parameters
        ----------
        tell : callable
            Is told how many units have been done more; fewer, where some must be done again.
        """
        left = self._by_crops(tell)
        chosen: dict[int, list[int]] = defaultdict(list)
        for unit in sorted(left, key=lambda unit: self._rows[unit][2:]):
            chosen[self._rows[unit][0]].append(unit)
        shares = [
            (number, units[turn::copies])
            for number, units in sorted(chosen.items())
            for copies in [1 if number in self._alone else max(1, min(_COPIES, len(units) // _COPIES))]
            for turn in range(copies)
        ]
        rest = iter(shares)
        for geometry, numbers, batch in self._runner.batches(self._source, [number for number, _ in shares]):
            self._by_images(geometry, batch, [next(rest)[1] for _ in numbers], tell)
        return [self._done[unit] for unit in range(len(self._rows))]

    def _by_crops(self, tell: Callable[[int], object]) -> set[int]:
        """Project from crops where that is exact and cheaper; give the units that are left."""
        left: set[int] = set()
        sample: set[int] = set()
        waiting: dict[tuple[Size, Size], list[_Cut]] = defaultdict(list)

        def run(geometry: LayerGeometry, key: tuple[Size, Size]) -> None:
            cuts = waiting.pop(key)
            refused = self._run_cuts(geometry, key[0], cuts)
            left.update(refused)
            tell(len(cuts) - len(refused))

        for number, units in sorted(self._units.items()):
            image = self._source[number]
            geometry = self._runner.geometry(image)
            if geometry.shape != self._shape:
                check_units(self._table, geometry.shape, str(geometry.layer), units)
            if geometry.alone:
                self._alone.add(number)
            places = [self._rows[unit][2:] for unit in units]
            pixels = image[0].numel()
            if geometry.crops is None or sum(map(geometry.crops.pixels, places)) >= _SHARED * pixels:
                left.update(units)
                continue
            if not sample and any(self._expected[unit] is None for unit in units):
                output = self._runner.outputs(geometry, check_finite(image, number)[None])[0]
                for unit in units:
                    self._expected[unit] = float(output[tuple(self._rows[unit][1:])])
                sample.update(units)
            for unit, place in zip(units, places, strict=True):
                window = geometry.crops.window(place)
                corner = [part.start for part in window]
                cut = _Cut(unit, check_finite(image[(..., *window)].clone(), number), corner)
                if not self._runner.same_reads(geometry, image.shape, cut.pixels.shape, place, corner):
                    left.add(unit)
                    continue
                key = (image.shape, cut.pixels.shape)
                waiting[key].append(cut)
                share = cut.pixels.numel() / image.numel()
                if len(waiting[key]) >= self._runner.batch(geometry, share, image):
                    run(geometry, key)
        for key in list(waiting):
            run(self._runner.known(key[0]), key)
        if sample & left:  # what is wrong for one may be wrong for all
            others = {unit for unit, value in enumerate(self._expected) if value is None} - left
            tell(-sum(unit in self._done for unit in others))
            left |= others
        return left

    def _run_cuts(self, geometry: LayerGeometry, image_shape: Size, cuts: list[_Cut]) -> list[int]:
        """Run crops of one size; give the units whose activations are not those of the whole image."""
        assert geometry.crops is not None
        starts = [
            Seed(cut.unit, example, (self._rows[cut.unit][1], *geometry.crops.place(self._rows[cut.unit][2:])))
            for example, cut in enumerate(cuts)
        ]
        try:
            arrivals = list(self._runner.descend(geometry, torch.stack([cut.pixels for cut in cuts]), [starts]))
        except DeconvError:
            raise
        except Exception:  # the model does not take such a small image
            return [cut.unit for cut in cuts]
        loudest = max(abs(float(arrival.activation)) for arrival in arrivals)
        refused = []
        boxes = self._boxes(geometry, image_shape, [cut.unit for cut in cuts])
        eps = max(self._eps, torch.finfo(arrivals[0].activation.dtype).eps)  # the kernels add in another order
        for cut, arrival, box in zip(cuts, arrivals, boxes, strict=True):
            value, expected = float(arrival.activation), self._expected[cut.unit]
            if expected is not None and not abs(value - expected) <= eps**0.5 * abs(value) + 100 * eps * loudest:
                refused.append(cut.unit)
            else:
                self._keep(arrival, box, cut.corner, image_shape, True)
        return refused

    def _by_images(
        self, geometry: LayerGeometry, batch: Tensor, units: list[list[int]], tell: Callable[[int], object]
    ) -> None:
        """Run whole images, and send down in turns one unit of each."""
        turns = [
            [Seed(unit, example, tuple(self._rows[unit][1:])) for example, unit in enumerate(turn) if unit is not None]
            for turn in zip_longest(*units)
        ]
        shape = batch.shape[1:]
        boxes = {
            unit: box for some in units for unit, box in zip(some, self._boxes(geometry, shape, some), strict=True)
        }
        for arrival in self._runner.descend(geometry, batch, turns):
            box = boxes[arrival.start.unit]
            self._keep(arrival, box, [0] * (len(shape) - 1), shape, False)
            tell(1)

    def _boxes(self, geometry: LayerGeometry, image_shape: Size, units: list[int]) -> list[list[int]]:
        if geometry.field is None:
            axes = image_shape[1:]
            return [[*[0] * len(axes), *axes]] * len(units)
        boxes: list[list[int]] = geometry.field.boxes(self._table[units, 2:]).tolist()
        return boxes

    def _keep(self, arrival: Arrival, box: list[int], corner: list[int], image_shape: Size, from_crop: bool) -> None:
        patch = arrival.signal[index_of([edge - start for edge, start in zip(box, corner * 2, strict=True)])].clone()
        self._done[arrival.start.unit] = Done(arrival.activation, box, patch, from_crop, image_shape, arrival.ending)
