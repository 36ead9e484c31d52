"""Which units run together: crops of one size where these are exact and cheaper, and else whole images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
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

# Units share one forward pass of their image where their crops together are larger than this many images, and each is
# larger than this part of it: smaller crops run by the hundred, while a signal through a whole image costs what the
# image does.
_SHARED = 2.0
_LARGE = 1 / 6
# An image with many units stands in a batch that often, so that a filter is read from memory once for several signals.
_COPIES = 4


class _Crop(NamedTuple):
    unit: int
    pixels: Tensor  # (C, *axes)
    corner: list[int]  # its first pixel in the image
    image_shape: Size


class Done(NamedTuple):
    """One unit, projected."""

    activation: Tensor
    box: list[int]
    patch: Tensor
    from_crop: bool
    image_shape: Size
    ending: str  # where the signal died; "" if it lives


class Scheduler:
    """The units of one call of :func:`project`.

    Parameters
    ----------
    runner, source
        What runs, and the images.
    geometry : LayerGeometry
        Of the first image; its units have been checked against it.
    table : Tensor
        (K, 2 + axes): image, map and position of each unit.
    expected : Tensor or None
        (K,), the activations that are known.
    """

    def __init__(
        self, runner: LayerRunner, source: ImageSource, geometry: LayerGeometry, table: Tensor, expected: Tensor | None
    ) -> None:
        self._runner, self._source, self._table = runner, source, table
        self._shape = geometry.shape
        limits = torch.tensor(self._shape)
        # known at once, for most images have outputs of this shape
        self._outside = {*((table[:, 1:] < 0) | (table[:, 1:] >= limits)).any(1).nonzero().flatten().tolist()}
        self._rows: list[list[int]] = table.tolist()
        self._eps = 0.0  # of the activations that are known
        if expected is not None and expected.is_floating_point():
            self._eps = torch.finfo(expected.dtype).eps
        self._expected: list[Any] = [None] * len(table) if expected is None else expected.tolist()
        self._units: dict[int, list[int]] = defaultdict(list)  # of each image
        for unit, row in enumerate(self._rows):
            self._units[row[0]].append(unit)
        self._alone: set[int] = set()  # images that run without others
        self._sample: set[int] = set()  # units whose activations were read from a whole image, to check their crops
        self._waiting: dict[tuple[Size, Size], list[_Crop]] = defaultdict(list)  # by the shapes of image and crop
        self._left: set[int] = set()  # units that whole images serve
        self._done: dict[int, Done] = {}

    def run(self, advance: Callable[[int], object]) -> list[Done]:
        """Project all units: from crops, and what these cannot serve from whole images.

        Parameters
        ----------
        advance : callable
            Called with the number of units done since the last call; negative where some are to be done again.
        """
        for number in sorted(self._units):
            for crop in self._crops_of(number):
                key = (crop.image_shape, crop.pixels.shape)
                self._waiting[key].append(crop)
                share = crop.pixels.numel() / crop.image_shape.numel()
                if len(self._waiting[key]) >= self._runner.batch(self._runner.known(key[0]), share, crop.pixels):
                    self._flush(key, advance)
        for key in list(self._waiting):
            self._flush(key, advance)
        self._recheck(advance)  # last: a crop of the sample may be among those flushed at the end
        shares = self._shares()
        rest = iter(shares)
        for geometry, numbers, batch in self._runner.batches(self._source, [number for number, _ in shares]):
            self._by_images(geometry, batch, [next(rest)[1] for _ in numbers], advance)
        return [self._done[unit] for unit in range(len(self._rows))]

    def _crops_of(self, number: int) -> Iterator[_Crop]:
        """Cut the crops of an image's units where these are exact and cheaper; leave the other units."""
        image, units = self._source[number], self._units[number]
        geometry = self._runner.geometry(image)
        if geometry.shape != self._shape or not self._outside.isdisjoint(units):
            check_units(self._table, geometry.shape, str(geometry.layer), units)
        if geometry.alone:  # before the return: it holds for whole images too
            self._alone.add(number)
        positions = [self._rows[unit][2:] for unit in units]
        if geometry.crops is None or _large(sum(map(geometry.crops.pixels, positions)), len(units), image[0].numel()):
            self._left.update(units)
            return
        # before the crops: the first one that runs is compared with it
        if not self._sample and any(self._expected[unit] is None for unit in units):
            self._read_sample(geometry, check_finite(image, number), units)
        for unit, position in zip(units, positions, strict=True):
            window = (..., *geometry.crops.window(position))
            corner = [part.start for part in window[1:]]
            pixels = check_finite(image[window].clone(), number)
            if self._runner.same_reads(geometry, image.shape, pixels.shape, position, corner):
                yield _Crop(unit, pixels, corner, image.shape)
            else:
                self._left.add(unit)

    def _read_sample(self, geometry: LayerGeometry, image: Tensor, units: list[int]) -> None:
        """Read from a whole image what its units' activations are."""
        output = self._runner.outputs(geometry, image[None])[0]
        for unit in units:
            self._expected[unit] = float(output[tuple(self._rows[unit][1:])])
        self._sample.update(units)

    def _flush(self, key: tuple[Size, Size], advance: Callable[[int], object]) -> None:
        """Run the crops of one size that wait; leave the units whose activations are not those of the whole image."""
        crops = self._waiting.pop(key)
        refused = self._run_crops(self._runner.known(key[0]), crops)
        self._left.update(refused)
        advance(len(crops) - len(refused))

    def _recheck(self, advance: Callable[[int], object]) -> None:
        """Leave every unit of unknown activation too if a crop of the sample failed: theirs may be wrong as well."""
        if self._sample & self._left:
            unknown = {unit for unit, value in enumerate(self._expected) if value is None} - self._left
            advance(-len(unknown))
            self._left |= unknown

    def _shares(self) -> list[tuple[int, list[int]]]:
        """Divide the units that are left among copies of their images: (image, units) for each copy."""
        chosen: dict[int, list[int]] = defaultdict(list)
        for unit in sorted(self._left, key=lambda unit: self._rows[unit][2:]):
            chosen[self._rows[unit][0]].append(unit)
        return [
            (number, units[turn::copies])
            for number, units in sorted(chosen.items())
            for copies in [1 if number in self._alone else max(1, min(_COPIES, len(units) // _COPIES))]
            for turn in range(copies)
        ]

    def _run_crops(self, geometry: LayerGeometry, crops: list[_Crop]) -> list[int]:
        """Project units from crops of one size; return those whose activations are not those of the whole image."""
        assert geometry.crops is not None
        seeds = [
            Seed(
                crop.unit,
                example,
                (self._rows[crop.unit][1], *geometry.crops.position_in_crop(self._rows[crop.unit][2:])),
            )
            for example, crop in enumerate(crops)
        ]
        try:
            arrivals = list(self._runner.descend(geometry, torch.stack([crop.pixels for crop in crops]), [seeds]))
        except DeconvError:
            raise
        except Exception:  # the model does not take such a small image
            return [crop.unit for crop in crops]
        largest = max(abs(float(arrival.activation)) for arrival in arrivals)
        boxes = self._boxes(geometry, crops[0].image_shape, [crop.unit for crop in crops])
        refused = []
        for crop, arrival, box in zip(crops, arrivals, boxes, strict=True):
            if self._as_expected(arrival, largest):
                self._keep(arrival, box, crop.corner, crop.image_shape, True)
            else:
                refused.append(crop.unit)
        return refused

    def _as_expected(self, arrival: Arrival, largest: float) -> bool:
        """Whether an activation in a crop is that of the whole image, as far as that is known.

        Parameters
        ----------
        arrival : Arrival
            Of the crop.
        largest : float
            The largest magnitude among the activations of its batch.
        """
        value, expected = float(arrival.activation), self._expected[arrival.start.unit]
        # not to the last digit: on another size the kernels add in another order
        eps = max(self._eps, torch.finfo(arrival.activation.dtype).eps)
        return expected is None or abs(value - expected) <= eps**0.5 * abs(value) + 100 * eps * largest

    def _by_images(
        self, geometry: LayerGeometry, batch: Tensor, units: list[list[int]], advance: Callable[[int], object]
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
            advance(1)

    def _boxes(self, geometry: LayerGeometry, image_shape: Size, units: list[int]) -> list[list[int]]:
        if geometry.field is None:
            axes = image_shape[1:]
            return [[*[0] * len(axes), *axes]] * len(units)
        boxes: list[list[int]] = geometry.field.boxes(self._table[units, 2:]).tolist()
        return boxes

    def _keep(self, arrival: Arrival, box: list[int], corner: list[int], image_shape: Size, from_crop: bool) -> None:
        patch = arrival.signal[index_of([edge - start for edge, start in zip(box, corner * 2, strict=True)])].clone()
        self._done[arrival.start.unit] = Done(arrival.activation, box, patch, from_crop, image_shape, arrival.ending)


def _large(pixels: int, units: int, whole: int) -> bool:
    """Whether crops of so many pixels in all cost more than their whole image would."""
    return pixels >= max(_SHARED, _LARGE * units) * whole
