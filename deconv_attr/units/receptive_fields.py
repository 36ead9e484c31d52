"""Which pixels a unit of a layer depends on, derived from a dry run of the forward pass.

A unit at position p of a regular layer depends on the pixels from ``offset + stride * p`` on, `size` of them, as far as
they lie in the image.

Source: Zeiler and Fergus 2014, section 4: each projection is shown beside the image patch it came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from operator import index
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..attribution.inputs import check_model
from ..engine.dry_run import DryRunError, dry_run, plain_run
from ..engine.layers import Layer, find_layer
from ..engine.meta_mode import LayerRun
from ..engine.reprs import html_table, one_line
from ..errors import InputError, ModelError
from ..rules.reads import Extent
from .acceptance import check_takes_images

__all__ = ["ReceptiveField", "field_of", "layer_fields", "receptive_field"]


_AXES = {1: ["length"], 2: ["height", "width"], 3: ["depth", "height", "width"]}


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The receptive fields of a layer's units, in pixels; one number for each axis of the image.

    Parameters
    ----------
    layer : str
        The layer's name.
    shape : tuple of int
        (maps, *positions): one example's output. The units of all maps at a position share one field, the union.
    image : tuple of int
        The axes of the image: (H, W).
    size : tuple of int or None
        How many pixels one unit depends on, the padding included; None along an axis where that changes from
        unit to unit (adaptive pooling, upsampling).
    stride : tuple of int or None
        Pixels from one unit to the next; None as for `size`.
    offset : tuple of int or None
        The first pixel of unit 0, negative where it reads padding; None as for `size`.
    mixer : str
        The operation that reads all of the image, with its location: every unit depends on all pixels, and size and
        boxes say so. "" if all operations are local.
    obstacle : str
        Why a unit's value in a crop is not its value in the image: an operation that depends on the size of the
        image, or on the position in it. "" if it is the same.
    reads : tuple of Tensor
        For each axis (4, n): the first and last pixel that the units at each position really read, and the first
        and last with the padding.
    """

    layer: str
    shape: tuple[int, ...]
    image: tuple[int, ...]
    size: tuple[int | None, ...]
    stride: tuple[int | None, ...]
    offset: tuple[int | None, ...]
    mixer: str
    obstacle: str
    reads: tuple[Tensor, ...]

    @cached_property
    def spans(self) -> list[list[list[float]]]:
        """For each axis and each position the first and last pixel that is really read."""
        return [reads[:2].T.tolist() for reads in self.reads]

    def box(self, *position: int) -> tuple[int, ...]:
        """Return the pixels that one unit depends on: (top, left, bottom, right), half open, clipped to the image.

        Parameters
        ----------
        *position : int
            Row and column of the unit.

        Raises
        ------
        InputError
            The layer has no such unit.
        """
        box: tuple[int, ...] = tuple(self.boxes(torch.tensor([position], dtype=torch.long))[0].tolist())
        return box

    def boxes(self, positions: Tensor) -> Tensor:
        """Return the boxes of many units.

        Parameters
        ----------
        positions : Tensor
            (K, axes), e.g. row and column.

        Returns
        -------
        Tensor
            (K, 2 * axes), int64: all starts, then all ends: top, left, bottom, right.

        Raises
        ------
        InputError
            The layer has no such unit.
        """
        units = self.shape[1:]
        if len(units) != len(self.image):  # a vector: each unit depends on the whole image
            return torch.tensor([*[0] * len(self.image), *self.image]).expand(len(positions), -1)
        if positions.shape[1:] != (len(units),):
            raise InputError(f"expected a position as {len(units)} numbers, got {positions.shape[-1]}")
        outside = ((positions < 0) | (positions >= torch.tensor(units))).any(1)
        if outside.any():
            where = tuple(positions[outside][0].tolist())
            raise InputError(f"position {where} is out of range: {self.layer} has units {units}")
        starts, ends = [], []
        for axis, (length, reads) in enumerate(zip(self.image, self.reads, strict=True)):
            first, last = reads[:2, positions[:, axis]]
            starts.append(first.clamp(0, length))
            ends.append(torch.maximum(first, last + 1).clamp(0, length))
        return torch.stack([*starts, *ends], 1).long()

    def __str__(self) -> str:
        def times(numbers: Sequence[int | None]) -> str:
            return "x".join("?" if number is None else str(number) for number in numbers)

        if self.mixer:
            return f"{self.layer}: every unit depends on the whole image ({times(self.image)}), by {self.mixer}"
        return f"{self.layer}: {times(self.size)} pixels, stride {times(self.stride)}, offset {self.offset}"

    def __repr__(self) -> str:
        return one_line(self, str(self))

    def _repr_html_(self) -> str:
        """Return the numbers of each axis for a notebook."""
        names = _AXES.get(len(self.image), [f"axis {axis}" for axis in range(len(self.image))])
        columns = self.image, self.size, self.stride, self.offset
        rows = [
            [name, *("varies" if n is None else n for n in row)] for name, *row in zip(names, *columns, strict=True)
        ]
        notes = []
        if self.mixer:
            notes = [f"Every unit depends on the whole image, by {self.mixer}."]
        elif self.obstacle:
            notes = [f"In a crop of the image units have other values, because of {self.obstacle}."]
        maps, *positions = self.shape
        where = f"{maps} maps of {' x '.join(map(str, positions))}" if positions else f"{maps} units"
        caption = f"ReceptiveField: {self.layer}, {where}; in pixels"
        return html_table(caption, ["axis", "image", "size", "stride", "offset"], rows, notes)


def receptive_field(model: nn.Module, layer: nn.Module | str, input_shape: Sequence[int]) -> ReceptiveField:
    """Find which pixels the units of a layer depend on.

    Every operation on the way is followed: convolutions, pools, padding, dilation, sums and concatenations (their
    union), slices, reshapes. One that reads all of the image, or that is not known, is named, and then every unit's
    box is the whole image.

    Parameters
    ----------
    model : nn.Module
        The model; it runs once, without values. One that asks for values, as a detector does which keeps boxes by
        their score, is run once more, on an image of zeros, if the layer has run before: for how often it runs.
    layer : nn.Module or str
        A module or its dotted name; ``"relu#2"`` for its second call.
    input_shape : sequence of int
        (C, H, W), or with the batch in front; sequences are (C, L), volumes (N, C, D, H, W).

    Returns
    -------
    ReceptiveField
        In pixels: size, stride, offset, and the box of each unit.

    Raises
    ------
    InputError
        No such layer, or it does not run; the output is not a tensor; the image is too small for the model.
    ModelError
        The model does not run without values as far as the layer; it needs more than an image.
    """
    check_model(model)
    found = find_layer(model, layer)
    runs = _layer_runs(model, input_shape, found)
    call = found.resolve_call(len(runs)).call or 1
    return field_of(replace(runs[call - 1], layer=found), _batch(input_shape))


def layer_fields(
    model: nn.Module, input_shape: Sequence[int]
) -> list[tuple[str, nn.Module, tuple[int, ...] | None, ReceptiveField | None]]:
    """List the layers of a model that run, in their order.

    Parameters
    ----------
    model, input_shape
        As for :func:`receptive_field`. A model that does not run without values to its end is run on an image of
        zeros.

    Returns
    -------
    list of tuple
        The name, with its call where a module runs several times; the module; the shape of one example's output,
        and its receptive field. None for an output that is not one tensor or does not depend on the image; and
        without receptive fields for the layers of a model from where on it does not run without values.

    Raises
    ------
    ModelError
        The model does not run on such an image.
    """
    runs = _layer_runs(model, input_shape, or_run=True)
    calls = Counter(run.layer.name for run in runs)
    found = []
    for run in runs:
        layer = run.layer
        if layer.name:
            name = layer.name if calls[layer.name] == 1 else f"{layer.name}#{layer.call}"
            run = replace(run, layer=replace(layer, call=None if calls[layer.name] == 1 else layer.call))
            field = field_of(run, _batch(input_shape)) if run.shape is not None and run.reach is not None else None
            found.append((name, layer.module, None if run.shape is None else run.shape[1:], field))
    return found


def field_of(run: LayerRun, input_shape: Sequence[int]) -> ReceptiveField:
    """Read the receptive field of a layer off one of its runs.

    Raises
    ------
    InputError
        Its output is not one tensor.
    """
    if run.shape is None:
        raise InputError(f"expected a tensor (N, maps, ...) as the output of {run.layer}, got another type")
    if run.reach is None:
        raise InputError(f"the output of {run.layer} does not depend on the image")
    image, shape, reach = tuple(input_shape[2:]), run.shape[1:], run.reach
    if len(shape) - 1 != len(image):
        mixer = reach.mixer or f"the output's shape {shape}, which has no position of a unit"
        whole = [_Line(torch.tensor([[0], [n - 1], [0], [n - 1]]), n, 0, 0) for n in image]
        return _field(run.layer, shape, image, whole, mixer, mixer)
    lines = [_line(extent, 2 + axis, run.shape, image[axis]) for axis, extent in enumerate(reach.extents)]
    obstacle = reach.mixer or reach.obstacle
    if not obstacle and any(line.stride is None or line.stride <= 0 for line in lines):
        obstacle = "units that are not evenly spaced"
    return _field(run.layer, shape, image, lines, reach.mixer, obstacle)


def _layer_runs(
    model: nn.Module, input_shape: Sequence[int], layer: Layer | None = None, *, or_run: bool = False
) -> list[LayerRun]:
    """Dry-run a model; one that does not run dry to its end is run on zeros, if the rest will do.

    Parameters
    ----------
    model, input_shape, layer
        The model, the shape of its input, and the layer to look at; None for all.
    or_run : bool
        Whether runs with values will do; else that of the layer has to be a dry one.
    """
    check_model(model)
    check_takes_images(model, None if layer is None else [layer])
    shape = _batch(input_shape)
    weight = next(model.parameters(), torch.empty(0))
    try:
        return dry_run(model, [torch.empty(shape, dtype=weight.dtype, device="meta")], layer=layer, reach=True)
    except DryRunError as error:
        has_run = layer is not None and len(error.known) >= (layer.call or 1)
        if or_run or has_run:
            # also if it has run: how often it runs in all, and whether the model takes such an image, is not known
            with suppress(Exception):
                return plain_run(model, [weight.new_zeros(shape)], layer=layer, known=error.known)
            if error.known and error.asked:  # it may be zeros that it does not take
                return error.known
        raise ModelError(f"the model does not run on an input of shape {shape} without values: {error}") from error


def _batch(input_shape: Sequence[int]) -> tuple[int, ...]:
    try:
        shape = tuple(map(index, input_shape))
    except TypeError as error:
        raise InputError(
            f"expected the shape of an input as whole numbers (C, H, W), got {input_shape!r:.60}"
        ) from error
    if min(shape, default=-1) < 0:
        raise InputError(f"expected the shape of an input as (C, H, W), got {shape}")
    return (1, *shape) if len(shape) < 4 else shape


class _Line(NamedTuple):
    reads: Tensor  # (4, n)
    size: int | None
    stride: int | None
    offset: int | None


def _field(
    layer: Layer, shape: tuple[int, ...], image: tuple[int, ...], lines: list[_Line], mixer: str, obstacle: str
) -> ReceptiveField:
    reads, size, stride, offset = zip(*lines, strict=True)
    return ReceptiveField(layer.name or "the model", shape, image, size, stride, offset, mixer, obstacle, reads)


def _line(extent: Extent, dim: int, shape: Sequence[int], length: int) -> _Line:
    """Read one axis: what each position along `dim` reads, and the line on which the positions lie."""
    elsewhere = [d for d in range(1, extent.bounds.dim()) if d != 1 + dim]
    moves = any(extent.bounds.size(d) > 1 for d in elsewhere)
    bounds = extent.bounds.amax(elsewhere).expand(4, shape[dim])
    reads = torch.stack([-bounds[0], bounds[1], -bounds[2], bounds[3]])
    if not shape[dim]:
        raise InputError("the layer has no unit for an image of this size")
    start, end = reads[2:]
    steps = torch.cat([start.diff(), end.diff()]) if shape[dim] > 1 else torch.tensor([extent.stride])
    if moves or not bool(reads[2:].isfinite().all()):
        return _Line(reads, None, None, None)
    if not steps.any():  # all positions read the same
        return _Line(reads, length, 0, 0)
    even = bool((steps == steps[0]).all()) and float(steps[0]).is_integer() and float(start[0]).is_integer()
    if not even:
        return _Line(reads, None, None, None)
    return _Line(reads, int(end[0] - start[0]) + 1, int(steps[0]), int(start[0]))
