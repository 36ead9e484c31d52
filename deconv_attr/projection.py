"""Units of a layer to pixels, many at a time: ``project(model, images, "features.8", units)``.

The signal starts with one unit's activation and goes down to the pixels. A unit's value and its projection depend on
its receptive field only, so where the graph allows, a cut-out of the image is run in place of the image: as exact, and
for lower layers faster by one or two orders of magnitude.

Source: Zeiler and Fergus 2014, section 2.1: "To examine a given convnet activation, we set all other activations in the
layer to zero and pass the feature maps as input to the attached deconvnet layer."
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor, nn
from tqdm import tqdm

from .checks import check_model
from .diagnosis import some
from .errors import DeadSignalWarning, DeconvError, InputError
from .layers import find_layer
from .projector import Arrival, Images, Projector, Site, Source, Start, check_finite
from .rules import DECONVNET, Table, choose
from .units import check_units, read_units, strongest_positions

__all__ = ["Projection", "project"]


@dataclass(frozen=True, eq=False)
class Projection:
    """K units of a layer, each projected to pixels alone.

    Parameters
    ----------
    layer : str
        The layer's name.
    units : Tensor
        (K, 4), int64: image, feature map, row, column; of a layer of vectors (K, 2).
    activations : Tensor
        (K,).
    boxes : Tensor
        (K, 4), int64: the unit's receptive field in its image: top, left, bottom, right in pixels, half open.
    patches : list of Tensor
        (C, h, w) each: the projection inside the box, signed; outside it is zero. In units of activation squared
        per input.
    from_cutout : Tensor
        (K,), bool: whether a cut-out was run in place of the image.
    image_shapes : list of torch.Size
        (C, H, W) of each unit's image.
    """

    layer: str
    units: Tensor
    activations: Tensor
    boxes: Tensor
    patches: list[Tensor]
    from_cutout: Tensor
    image_shapes: list[Size]

    def __len__(self) -> int:
        return len(self.units)

    @property
    def images(self) -> Tensor:
        """The number of each unit's image, (K,)."""
        return self.units[:, 0]

    @property
    def maps(self) -> Tensor:
        """The feature map of each unit, (K,)."""
        return self.units[:, 1]

    @property
    def positions(self) -> Tensor:
        """Row and column of each unit, (K, 2)."""
        return self.units[:, 2:]

    def full(self, index: int) -> Tensor:
        """Give one projection as a full image, (C, H, W)."""
        patch = self.patches[index]
        image = patch.new_zeros(self.image_shapes[index])
        image[_window(self.boxes[index].tolist())] = patch
        return image

    def __repr__(self) -> str:
        cut = int(self.from_cutout.sum())
        return f"<Projection: {len(self)} units of {self.layer}, {cut} from cut-outs>"


def project(
    model: nn.Module,
    images: Images,
    layer: nn.Module | str,
    units: Any,
    *,
    expected: Tensor | Sequence[float] | None = None,
    rules: Table = DECONVNET,
    batch_size: int | None = None,
    show_progress: bool = False,
    **choices: str,
) -> Projection:
    """Project single units of a layer to pixels, each from its own image and its own activation.

    Parameters
    ----------
    model : nn.Module
        The model, in eval mode; it is never changed.
    images : Tensor, list or data set
        Inputs of the model, (N, C, H, W); or anything with ``len`` whose items are (C, H, W), or tuples with
        that in front. Each is read when it is needed. They may differ in size.
    layer : nn.Module or str
        A module or its dotted name; ``"relu#2"`` for its second call.
    units : int, sequence or Tensor
        K rows (image, map, row, column); or (image, map): the map's strongest unit in that image; or feature maps
        alone, (K,): the strongest unit of each over all images.
    expected : Tensor or sequence of float, optional
        (K,), the units' activations in whole images, known from a search. Each cut-out is checked against them.
    rules : Table
        As for :class:`ZFDeconv`.
    batch_size : int, optional
        How many units or images run at once; by default as many as take 256 MB.
    show_progress : bool
        Whether to show a progress bar.
    **choices : str
        `activations`, `unknown`, `batch_norm`, `overlap`: as for :class:`ZFDeconv`.

    Returns
    -------
    Projection
        On the images' device.

    Raises
    ------
    InputError, TargetError, ModelError, RuleError, SignalError
        As for :class:`ZFDeconv`; units out of range, with the layer's shape; a layer that does not run or does not
        return one tensor; images that the model cannot take; a model in training mode.

    Warns
    -----
    DeadSignalWarning
        Projections that are zero everywhere, and where their signals ended.

    Notes
    -----
    A cut-out is used where every operation up to the layer is known to be local and to depend neither on the size of
    the image nor on the place in it (:func:`receptive_field` names the first that is not). Its activation is
    compared with the whole image's where that is known: from `expected`, from the search for the strongest
    units, or, failing both, for the units of one image, which is run whole for this. A unit whose cut-out
    differs is projected from the whole image; if one of that image does, all are.

    A negative activation, as a convolution's before its ReLU may be, starts a negative signal.
    """
    check_model(model)
    found = find_layer(model, layer)
    projector = Projector(model, choose(rules, **choices), found, batch_size)
    source = Source(images, next((parameter.device for parameter in model.parameters()), None))
    table = read_units(units, len(source))
    first = int(table[0, 0]) if table.shape[1] > 1 else 0
    site = projector.site(source[first])
    of_first = (table[:, 0] == first).nonzero().flatten().tolist() if table.shape[1] > 1 else None
    check_units(table, site.shape, str(found), of_first)
    located = table.shape[1] == 1 + len(site.shape) and table.shape[1] > 1
    try:
        expected = None if expected is None else torch.as_tensor(expected)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected the activations as numbers, got {expected!r:.80}") from error
    if expected is not None and (not located or expected.shape != table.shape[:1]):
        raise InputError(
            f"expected the activations of {len(table)} units whose positions are given, "
            f"got {tuple(expected.shape)} for units as rows of {table.shape[1]} numbers"
        )
    if not located:
        table, expected = _strongest(projector, source, table)
    work = _Work(projector, source, site, table, expected)
    with tqdm(total=len(table), disable=not show_progress, unit="unit") as bar:
        work.run(bar.update)
    for place, numbers in work.died().items():
        warnings.warn(
            f"The signal died for {len(numbers)} of {len(table)} units ({some(numbers)}), their projections are "
            f"zero: {place}. Choose other units, or a layer further down.",
            DeadSignalWarning,
            stacklevel=2,
        )
    return work.result(found.name if found.call is None else f"{found.name}#{found.call}")


def _strongest(projector: Projector, source: Source, table: Tensor) -> tuple[Tensor, Tensor]:
    """Find the strongest units of maps, in the images that are named or in all; give them and their activations."""
    anywhere = table.shape[1] == 1
    numbers = range(len(source)) if anywhere else sorted(set(table[:, 0].tolist()))
    best = torch.full((len(table),), -torch.inf, dtype=torch.float64)
    found: list[list[int]] = [[] for _ in table]
    for site, some_numbers, batch in projector.batches(source, numbers):
        for number, output in zip(some_numbers, projector.outputs(site, batch), strict=True):
            rows = range(len(table)) if anywhere else (table[:, 0] == number).nonzero().flatten().tolist()
            values, positions = strongest_positions(output, table[list(rows), -1])
            for row, value, position in zip(rows, values.tolist(), positions.tolist(), strict=True):
                if not found[row] or value > best[row]:
                    best[row], found[row] = value, [number, int(table[row, -1]), *position]
    return torch.tensor(found), best


# Units whose cut-outs together are larger than this many images share one forward pass of the image.
_SHARED = 2.0
# An image with many units stands in a batch that often, so that a filter is read from memory once for several signals.
_COPIES = 4


class _Cut(NamedTuple):
    unit: int
    pixels: Tensor  # (C, *axes)
    corner: list[int]  # of the cut-out in the image


class _Done(NamedTuple):
    activation: Tensor
    box: list[int]
    patch: Tensor
    from_cutout: bool
    image_shape: Size
    ending: str  # where the signal died


class _Work:
    """The units of one call of :func:`project`, and what has come of them."""

    def __init__(self, projector: Projector, source: Source, site: Site, table: Tensor, expected: Any) -> None:
        self._projector, self._source, self._table = projector, source, table
        self._shape = site.shape  # with which the table has been compared
        self._rows: list[list[int]] = table.tolist()
        self._expected = [None] * len(table) if expected is None else expected.tolist()
        self._units: dict[int, list[int]] = defaultdict(list)  # of each image
        for unit, row in enumerate(self._rows):
            self._units[row[0]].append(unit)
        self._done: list[_Done | None] = [None] * len(table)

    def run(self, tell: Callable[[int], object]) -> None:
        """Project all units: from cut-outs, and what these cannot serve from whole images."""
        left = self._by_cutouts(tell)
        chosen: dict[int, list[int]] = defaultdict(list)
        for unit in sorted(left, key=lambda unit: self._rows[unit][2:]):
            chosen[self._rows[unit][0]].append(unit)
        shares = [
            (number, units[turn::copies])
            for number, units in sorted(chosen.items())
            for copies in [max(1, min(_COPIES, len(units) // _COPIES))]
            for turn in range(copies)
        ]
        rest = iter(shares)
        for site, numbers, batch in self._projector.batches(self._source, [number for number, _ in shares]):
            self._by_images(site, batch, [next(rest)[1] for _ in numbers], tell)

    def died(self) -> dict[str, list[int]]:
        """Give the units whose signals died, by the place."""
        places: dict[str, list[int]] = defaultdict(list)
        for unit, done in enumerate(self._done):
            if done is not None and done.ending:
                places[done.ending].append(unit)
        return places

    def result(self, layer: str) -> Projection:
        """Give what has been found, on the images' device."""
        done = [unit for unit in self._done if unit is not None]
        device = self._source.device
        return Projection(
            layer,
            self._table,
            torch.stack([unit.activation for unit in done]).to(device),
            torch.tensor([unit.box for unit in done]),
            [unit.patch.to(device) for unit in done],
            torch.tensor([unit.from_cutout for unit in done]),
            [unit.image_shape for unit in done],
        )

    def _by_cutouts(self, tell: Callable[[int], object]) -> set[int]:
        """Project from cut-outs where that is exact and cheaper; give the units that are left."""
        left: set[int] = set()
        sample: set[int] = set()
        waiting: dict[tuple[Size, Size], list[_Cut]] = defaultdict(list)

        def run(site: Site, key: tuple[Size, Size]) -> None:
            cuts = waiting.pop(key)
            refused = self._run_cuts(site, key[0], cuts)
            left.update(refused)
            tell(len(cuts) - len(refused))

        for number, units in sorted(self._units.items()):
            image = self._source[number]
            site = self._projector.site(image)
            if site.shape != self._shape:
                check_units(self._table, site.shape, str(site.layer), units)
            places = [self._rows[unit][2:] for unit in units]
            pixels = image[0].numel()
            if site.cutouts is None or sum(map(site.cutouts.pixels, places)) >= _SHARED * pixels:
                left.update(units)
                continue
            if not sample and any(self._expected[unit] is None for unit in units):
                output = self._projector.outputs(site, check_finite(image, number)[None])[0]
                for unit in units:
                    self._expected[unit] = float(output[tuple(self._rows[unit][1:])])
                sample.update(units)
            for unit, place in zip(units, places, strict=True):
                window = site.cutouts.window(place)
                corner = [part.start for part in window]
                cut = _Cut(unit, check_finite(image[(..., *window)].clone(), number), corner)
                if not self._projector.same_reads(site, image.shape, cut.pixels.shape, place, corner):
                    left.add(unit)
                    continue
                key = (image.shape, cut.pixels.shape)
                waiting[key].append(cut)
                share = cut.pixels.numel() / image.numel()
                if len(waiting[key]) >= self._projector.batch(site, share, image):
                    run(site, key)
        for key in list(waiting):
            run(self._projector.known(key[0]), key)
        if sample & left:  # what is wrong for one may be wrong for all
            others = {unit for unit, value in enumerate(self._expected) if value is None} - left
            tell(-sum(self._done[unit] is not None for unit in others))
            left |= others
        return left

    def _run_cuts(self, site: Site, image_shape: Size, cuts: list[_Cut]) -> list[int]:
        """Run cut-outs of one size; give the units whose activations are not those of the whole image."""
        assert site.cutouts is not None
        starts = [
            Start(cut.unit, example, (self._rows[cut.unit][1], *site.cutouts.place(self._rows[cut.unit][2:])))
            for example, cut in enumerate(cuts)
        ]
        try:
            arrivals = list(self._projector.descend(site, torch.stack([cut.pixels for cut in cuts]), [starts]))
        except DeconvError:
            raise
        except RuntimeError:  # the model does not take such a small image
            return [cut.unit for cut in cuts]
        loudest = max(abs(float(arrival.activation)) for arrival in arrivals)
        refused = []
        boxes = self._boxes(site, image_shape, [cut.unit for cut in cuts])
        eps = torch.finfo(arrivals[0].activation.dtype).eps  # the kernels add in another order
        for cut, arrival, box in zip(cuts, arrivals, boxes, strict=True):
            value, expected = float(arrival.activation), self._expected[cut.unit]
            if expected is not None and not abs(value - expected) <= eps**0.5 * abs(value) + 100 * eps * loudest:
                refused.append(cut.unit)
            else:
                self._keep(arrival, box, cut.corner, image_shape, True)
        return refused

    def _by_images(self, site: Site, batch: Tensor, units: list[list[int]], tell: Callable[[int], object]) -> None:
        """Run whole images, and send down in turns one unit of each."""
        turns = [
            [Start(unit, example, tuple(self._rows[unit][1:])) for example, unit in enumerate(turn) if unit is not None]
            for turn in zip_longest(*units)
        ]
        shape = batch.shape[1:]
        boxes = {unit: box for some in units for unit, box in zip(some, self._boxes(site, shape, some), strict=True)}
        for arrival in self._projector.descend(site, batch, turns):
            box = boxes[arrival.start.unit]
            self._keep(arrival, box, [0] * (len(shape) - 1), shape, False)
            tell(1)

    def _boxes(self, site: Site, image_shape: Size, units: list[int]) -> list[list[int]]:
        if site.field is None:
            axes = image_shape[1:]
            return [[*[0] * len(axes), *axes]] * len(units)
        boxes: list[list[int]] = site.field.boxes(self._table[units, 2:]).tolist()
        return boxes

    def _keep(self, arrival: Arrival, box: list[int], corner: list[int], image_shape: Size, from_cutout: bool) -> None:
        patch = arrival.signal[_window([edge - start for edge, start in zip(box, corner * 2, strict=True)])].clone()
        self._done[arrival.start.unit] = _Done(arrival.activation, box, patch, from_cutout, image_shape, arrival.ending)


def _window(box: list[int]) -> tuple[Any, ...]:
    axes = len(box) // 2
    return (..., *map(slice, box[:axes], box[axes:]))
