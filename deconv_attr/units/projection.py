"""Units of a layer to pixels, many at a time: ``project(model, images, "features.8", units)``.

The signal starts with one unit's activation and goes down to the pixels. A unit's value and its projection depend on
its receptive field only, so where the graph allows, a crop of the image is run in place of the image: as exact, and
for lower layers faster by one or two orders of magnitude.

Source: Zeiler and Fergus 2014, section 2.1: "To examine a given convnet activation, we set all other activations in the
layer to zero and pass the feature maps as input to the attached deconvnet layer."
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor, nn
from tqdm import tqdm

from ..attribution.inputs import check_model
from ..engine.call_site import warn_caller
from ..engine.diagnosis import first_few
from ..engine.layers import find_layer
from ..engine.reprs import ROWS, html_table, one_line
from ..errors import DeadSignalWarning, InputError, shown
from ..rules.tables import DECONVNET, Table, choose
from .acceptance import check_takes_images
from .crops import index_of
from .image_source import Images, ImageSource
from .runner import LayerRunner
from .scheduler import Done, Scheduler
from .selection import check_units, parse_units, strongest_positions

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
    from_crop : Tensor
        (K,), bool: whether a crop was run in place of the image.
    image_shapes : list of torch.Size
        (C, H, W) of each unit's image.
    """

    layer: str
    units: Tensor
    activations: Tensor
    boxes: Tensor
    patches: list[Tensor]
    from_crop: Tensor
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
        """Return one projection as a full image, (C, H, W), zero outside of its box.

        Parameters
        ----------
        index : int
            The number of the unit, from 0 to K - 1.
        """
        patch = self.patches[index]
        image = patch.new_zeros(self.image_shapes[index])
        image[index_of(self.boxes[index].tolist())] = patch
        return image

    def __repr__(self) -> str:
        cut = int(self.from_crop.sum())
        return one_line(self, f"{len(self)} units of {self.layer}, {cut} from crops")

    def _repr_html_(self) -> str:
        """Return the first units for a notebook."""
        units = zip(self.units[:ROWS].tolist(), self.activations.tolist(), self.boxes.tolist(), strict=False)
        rows = [
            [number, image, feature_map, ", ".join(map(str, position)), activation, _slices(box)]
            for number, ((image, feature_map, *position), activation, box) in enumerate(units)
        ]
        header = ["unit", "image", "map", "position", "activation", "pixels"]
        return html_table(repr(self)[1:-1], header, rows, count=len(self))


def project(
    model: nn.Module,
    images: Images,
    layer: nn.Module | str,
    units: Any,
    *,
    expected: Tensor | Sequence[float] | None = None,
    rules: Table = DECONVNET,
    activations: str = "error",
    unknown: str = "error",
    batch_norm: str = "scale",
    overlap: str = "sum",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> Projection:
    """Project single units of a layer to pixels, each from its own image and its own activation.

    Parameters
    ----------
    model : nn.Module
        The model, in eval mode; it is never changed.
    images : Tensor, list or data set
        Inputs of the model, (N, C, H, W); or anything with ``len`` whose items are (C, H, W), or tuples with
        that in front. Each is read when it is needed. They may differ in size. A model of several inputs, or with
        further arguments, is wrapped in a Module that takes the image, or is for :class:`NeuronZFDeconv`.
    layer : nn.Module or str
        A module or its dotted name; ``"relu#2"`` for its second call.
    units : int, sequence or Tensor
        K rows (image, map, row, column); or (image, map): the map's strongest unit in that image; or feature maps
        alone, (K,): the strongest unit of each over all images.
    expected : Tensor or sequence of float, optional
        (K,), the units' activations in whole images, known from a search. Each crop is checked against them.
    rules, activations, unknown, batch_norm, overlap
        As for :class:`ZFDeconv`.
    batch_size : int, optional
        How many units or images run at once; by default as many as take 256 MB. Always one where the model mixes
        the examples of a batch, or does not run without values.
    show_progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Projection
        On the images' device.

    Raises
    ------
    InputError, TargetError, ModelError, RuleError, SignalError
        As for :class:`ZFDeconv`; units out of range, with the layer's shape; a layer that does not run or does not
        return one tensor; images that the model cannot take, or that are no floating-point numbers; a model that
        needs more than an image, or calls no module; one in training mode, or one whose values change from run to run.

    Warns
    -----
    DeadSignalWarning
        Projections that are zero everywhere, and where their signals ended.

    Notes
    -----
    A crop is used where every operation up to the layer is known to be local and to depend neither on the size of
    the image nor on the position in it (:func:`receptive_field` names the first that is not). Its activation is
    compared with the whole image's where that is known: from `expected`, from the search for the strongest
    units, or, failing both, for the units of one image, which is run whole for this. A unit whose crop
    differs is projected from the whole image; if one of that image does, all are.

    A negative activation, as a convolution's before its ReLU may be, starts a negative signal.

    Source
    ------
    Zeiler and Fergus 2014, sections 2.1 and 4.
    """
    check_model(model)
    found = find_layer(model, layer)
    check_takes_images(model, [found])
    chosen = choose(rules, model, activations=activations, unknown=unknown, batch_norm=batch_norm, overlap=overlap)
    runner = LayerRunner(model, chosen, found, batch_size)
    source = ImageSource(images, next((parameter.device for parameter in model.parameters()), None))
    table = parse_units(units, len(source))
    first = int(table[0, 0]) if table.shape[1] > 1 else 0
    geometry = runner.geometry(source[first])
    of_first = (table[:, 0] == first).nonzero().flatten().tolist() if table.shape[1] > 1 else None
    check_units(table, geometry.shape, str(found), of_first)
    located = table.shape[1] == 1 + len(geometry.shape) and table.shape[1] > 1
    known = _known(expected, table, located)
    if not located:
        table, known = _strongest(runner, source, table)
    scheduler = Scheduler(runner, source, geometry, table, known)
    with tqdm(total=len(table), disable=not show_progress, unit="unit") as bar:
        done = scheduler.run(bar.update)
    _warn_of_dead(done)
    return Projection(
        found.label,
        table,
        torch.stack([unit.activation for unit in done]).to(source.device),
        torch.tensor([unit.box for unit in done]),
        [unit.patch.to(source.device) for unit in done],
        torch.tensor([unit.from_crop for unit in done]),
        [unit.image_shape for unit in done],
    )


def _slices(box: Sequence[int]) -> str:
    """Return a box as Python's slices, one for each axis."""
    axes = len(box) // 2
    return ", ".join(f"{start}:{end}" for start, end in zip(box[:axes], box[axes:], strict=True))


def _known(expected: Tensor | Sequence[float] | None, table: Tensor, located: bool) -> Tensor | None:
    """Return the expected activations as a tensor, one for each unit."""
    if expected is None:
        return None
    try:
        known = torch.as_tensor(expected, dtype=None if isinstance(expected, Tensor) else torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected the activations as numbers, got {shown(expected)}") from error
    if not located or known.shape != table.shape[:1]:
        raise InputError(
            f"expected the activations of {len(table)} units whose positions are given, "
            f"got {tuple(known.shape)} for units as rows of {table.shape[1]} numbers"
        )
    return known


def _warn_of_dead(done: Sequence[Done]) -> None:
    died: dict[str, list[int]] = defaultdict(list)
    for number, unit in enumerate(done):
        if unit.ending:
            died[unit.ending].append(number)
    for ending, numbers in died.items():
        text = (
            f"The signal died for {len(numbers)} of {len(done)} units ({first_few(numbers)}), their projections are "
            f"zero: {ending}. Choose other units, or a layer further down."
        )
        warn_caller(DeadSignalWarning(text))


def _strongest(runner: LayerRunner, source: ImageSource, table: Tensor) -> tuple[Tensor, Tensor]:
    """Find the strongest units of maps, in the images that are named or in all; give them and their activations."""
    anywhere = table.shape[1] == 1
    numbers = range(len(source)) if anywhere else sorted(set(table[:, 0].tolist()))
    best = torch.full((len(table),), -torch.inf, dtype=torch.float64)
    found: list[list[int]] = [[] for _ in table]
    for geometry, some_numbers, batch in runner.batches(source, numbers):
        for number, output in zip(some_numbers, runner.outputs(geometry, batch), strict=True):
            rows = range(len(table)) if anywhere else (table[:, 0] == number).nonzero().flatten().tolist()
            maps = table[list(rows), -1]
            if bool(((maps < 0) | (maps >= len(output))).any()):
                check_units(table, output.shape, str(geometry.layer), rows)
            values, positions = strongest_positions(output, maps)
            for row, value, position in zip(rows, values.tolist(), positions.tolist(), strict=True):
                if not found[row] or value > best[row]:
                    best[row], found[row] = value, [number, int(table[row, -1]), *position]
    return torch.tensor(found), best
