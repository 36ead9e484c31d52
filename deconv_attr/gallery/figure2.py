"""Figure 2 of the paper: for each feature map its strongest activations, projected, beside their image patches.

Source: Zeiler and Fergus 2014, section 4: "for a given feature map, we show the top 9 activations, each projected
separately down to pixel space ... Alongside these visualizations we show the corresponding image patches."
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor, nn
from tqdm import tqdm

from ..engine.reprs import html_table, one_line
from ..errors import InputError, ModelError
from ..rules.tables import DECONVNET, Choices, Table
from ..units.projection import Projection, project
from ..units.receptive_fields import ReceptiveField, receptive_field
from ..visualize import MOST_MAPS, Figure, gallery_figure, in_bytes, photograph, robust_scale, signed_rgb
from ..visualize.html import PageLayer, write_gallery
from ..visualize.paper import FONT_SIZE
from ..visualize.tiles import MapTiles
from .dataset import NumberedImages
from .map_choice import Maps, choose_maps, sample_maps
from .search import NO_IMAGE, Strongest
from .windows import GREY, Windows, essential, framed, inside, of_one_size, squared, within

__all__ = ["Gallery"]

LISTED = 12  # maps, in a notebook
_MEMORY = 2**28  # bytes of projections, and of images, in memory at a time
_UNIT = 2**14  # bytes of a unit beside its pixels, in small tensors and numbers, at most: of small tiles nearly all


class Gallery:
    """The strongest activations of feature maps as pictures.

    Parameters
    ----------
    model : nn.Module
        The model that was searched; it is never changed.
    data : optional
        The images that were searched, as for :func:`strongest`.
    found : Strongest
        The result of :func:`strongest`.
    maps : int, sequence of int, or mapping, optional
        The numbers of the maps to show; a single number: that many of each layer, at random, as in the paper; by
        default all. A mapping has one of these for each layer that is shown.
    seed : int
        The seed of that random choice.
    share : float
        Above 0, at most 1. Signals fill only a part of a deep receptive field: the tiles of a map are cropped to the
        box that holds at least this share of each signal's strength (the sum of magnitudes), made square about its
        centre as far as the receptive field allows. 1 shows the whole receptive field.
    picture : callable, optional
        From an input (C, H, W) to the image, (3, H, W) or (1, H, W) between 0 and 1. By default the inverse of the
        normalisation in the data set's transform; without one, the identity.
    rules, activations, unknown, batch_norm, overlap
        As for :class:`ZFDeconv`.
    show_progress : bool
        Whether to show a progress bar while units are projected.

    Raises
    ------
    InputError
        The model or the data set is not that of the search; there is no such layer or map.

    Source
    ------
    Zeiler and Fergus 2014, section 4 and figure 2.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        found: Strongest,
        *,
        maps: Maps | Mapping[str, Maps] = None,
        seed: int = 0,
        share: float = 0.95,
        picture: Callable[[Tensor], Tensor] | None = None,
        rules: Table = DECONVNET,
        activations: str = "error",
        unknown: str = "error",
        batch_norm: str = "scale",
        overlap: str = "sum",
        show_progress: bool = False,
    ) -> None:
        if not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise InputError(f"expected a share above 0 and at most 1, got {share!r}")
        if not isinstance(found, Strongest):
            raise InputError(f"expected found as the result of a search, got a {type(found).__name__}")
        self._model = model
        self._found = found
        self._share = share
        self._source = NumberedImages.of(data)
        found.check(model, self._source)
        image = self._source[self._seen()]
        if image.dim() != 3:
            raise InputError(f"expected images (C, H, W), which can be drawn, got the shape {tuple(image.shape)}")
        self._picture = picture or _picture_of(self._source)
        self._rules = rules
        self._show_progress = show_progress
        self._choices = Choices(activations=activations, unknown=unknown, batch_norm=batch_norm, overlap=overlap)
        wanted = maps if isinstance(maps, Mapping) else dict.fromkeys(found, maps)
        missing = [layer for layer in wanted if layer not in found]
        if missing:
            raise InputError(f"expected layers that were searched, {', '.join(found)}; got {missing[0]!r}")
        self.maps = {layer: choose_maps(layer, len(found[layer].values), wanted[layer], seed) for layer in wanted}
        self._read = lru_cache(max(1, _MEMORY // image.nbytes))(self._source.__getitem__)
        self._fields: dict[tuple[str, Size], ReceptiveField | None] = {}

    def __repr__(self) -> str:
        maps = sum(map(len, self.maps.values()))
        return one_line(
            self,
            f"{self._found.k} units of each of {maps} maps in {len(self.maps)} layers of {type(self._model).__name__}",
        )

    def _repr_html_(self) -> str:
        """Return the layers for a notebook."""
        rows = [[layer, len(self._found[layer].values), len(maps), _listed(maps)] for layer, maps in self.maps.items()]
        return html_table(repr(self)[1:-1], ["layer", "maps", "shown", "their numbers"], rows)

    @property
    def layers(self) -> list[str]:
        """The layers that are shown."""
        return list(self.maps)

    def tiles(self, layer: str, maps: Maps = None) -> Iterator[MapTiles]:
        """Project the strongest units of maps, one map after the other.

        Parameters
        ----------
        layer : str
            One of :attr:`layers`.
        maps : int, sequence of int, optional
            Numbers of maps, by default those of the gallery; a single number: that many of these at random.

        Yields
        ------
        MapTiles
            A map with its tiles: projections and image patches as bytes, strongest first.

        Raises
        ------
        InputError
            There is no such layer or map; or the images have other activations than in the search.
        RuleError
            An operation has no rule.

        Warns
        -----
        DeadSignalWarning
            Projections that are zero.
        """
        numbers = self._numbers(layer, maps)
        return self._tiles(layer, numbers)

    def plot(
        self,
        layer: str,
        maps: Maps = None,
        *,
        width: float | None = None,
        columns: int | None = None,
        font_size: float = FONT_SIZE,
        axes: Any = None,
    ) -> Figure:
        """Draw a layer as the paper does: for each map its projections, beside their image patches.

        Parameters
        ----------
        layer, maps
            As for :meth:`tiles`; of more than 64 maps, 64 at random.
        width, columns, font_size, axes
            As for :func:`gallery_figure`: the size for a paper, or the caller's own axes.

        Returns
        -------
        Figure
            A new one, or that of the axes.

        Raises
        ------
        InputError, RuleError
            As for :meth:`tiles`; the figure cannot be drawn so.
        """
        numbers = self._numbers(layer, maps)
        if len(numbers) > MOST_MAPS:
            numbers = sample_maps(numbers, MOST_MAPS, 0)
        return gallery_figure(
            layer,
            list(self._tiles(layer, numbers)),
            self._found.k,
            self._facts(layer),
            width=width,
            columns=columns,
            font_size=font_size,
            axes=axes,
        )

    def to_html(self, folder: str | Path, title: str = "", facts: Sequence[tuple[str, str]] = ()) -> Path:
        """Write a page on which all these maps can be looked through, without a server.

        Parameters
        ----------
        folder : str or Path
            Where to write; made if it does not exist.
        title : str
            The heading of the page.
        facts : sequence of pairs of str
            Names and texts about model and images; by default those that the search recorded.

        Returns
        -------
        Path
            ``index.html`` in the folder.

        Raises
        ------
        InputError
            It cannot be written.
        """
        origin = self._found.origin
        known = [
            ("model", origin.model),
            ("images", f"{int(self._found.searched.sum())} of {origin.data}"),
            ("input", origin.preprocessing),
        ]
        layers = (
            PageLayer(layer, self._facts(layer), self._tiles(layer, self.maps[layer]), self._found.k)
            for layer in self.maps
        )
        return write_gallery(
            folder,
            title or f"Feature maps of {origin.model}",
            facts or [(name, text) for name, text in known if text],
            layers,
            self._source.name,
            lambda number: in_bytes(photograph(self._picture(self._read(number)))),
        )

    def _numbers(self, layer: str, maps: Maps) -> list[int]:
        if layer not in self.maps:
            raise InputError(f"expected a layer of this gallery, {', '.join(self.maps)}; got {layer!r}")
        if maps is None:
            return self.maps[layer]
        if isinstance(maps, Integral):
            return sample_maps(self.maps[layer], int(maps), 0)
        return choose_maps(layer, len(self._found[layer].values), maps, 0)

    def _seen(self) -> int:
        """Return the number of an image that could be read."""
        images = next(iter(self._found.values())).images
        return int(images[images != NO_IMAGE][0])

    def _facts(self, layer: str) -> str:
        maps = len(self._found[layer].values)
        cut = f", cut to {100 * self._share:.4g} % of each signal" if self._share < 1 else ""
        field = self._field(layer, self._read(self._seen()))
        if field is None:
            return f"{maps} maps{cut}"
        shape = " x ".join(map(str, field.shape[1:]))
        size = "the whole image" if field.mixer else " x ".join("?" if n is None else str(n) for n in field.size)
        return (f"{maps} maps of {shape}, receptive field {size}" if shape else f"{maps} units") + cut

    def _field(self, layer: str, image: Tensor) -> ReceptiveField | None:
        """Return a layer's receptive field in images of this size; None for a model that does not run dry."""
        key = layer, image.shape
        if key not in self._fields:
            try:
                self._fields[key] = receptive_field(self._model, *key)
            except ModelError:
                self._fields[key] = None
        return self._fields[key]

    def _tiles(self, layer: str, numbers: Sequence[int]) -> Iterator[MapTiles]:
        top = self._found[layer]
        image = self._read(self._seen())
        field = self._field(layer, image)
        pixels = image.nbytes
        if field is not None and None not in field.size:
            pixels = min(pixels, image.shape[0] * image.element_size() * prod(n or 0 for n in field.size))
        step = max(1, _MEMORY // ((2 * pixels + _UNIT) * self._found.k))
        with tqdm(total=len(numbers), disable=not self._show_progress, unit="map", desc=layer, leave=False) as bar:
            for start in range(0, len(numbers), step):
                part = numbers[start : start + step]
                active = (top.images[part] != NO_IMAGE) & (top.values[part] != 0)
                yield from self._some_tiles(layer, part, active, bar)

    def _some_tiles(self, layer: str, numbers: Sequence[int], active: Tensor, bar: Any) -> Iterator[MapTiles]:
        """Project the units of some maps together."""
        top = self._found[layer]
        counts = active.sum(1).tolist()
        values = top.values[numbers][active]
        images = top.images[numbers][active]
        maps = torch.tensor(numbers).repeat_interleave(active.sum(1))
        units = torch.cat([images[:, None], maps[:, None], top.positions[numbers][active]], 1)
        windows = Windows(self._read, self._picture, len(self._source), self._field, layer, units)
        projection = None
        if len(units):
            projection = project(
                self._model, windows, layer, units, expected=values, rules=self._rules, **self._choices
            )
            _check(projection, values)
        begin = 0
        for number, count in zip(numbers, counts, strict=True):
            yield self._of_map(layer, number, projection, windows, range(begin, begin + count))
            begin += count
            bar.update(1)

    def _of_map(
        self, layer: str, number: int, projection: Projection | None, windows: Windows, units: range
    ) -> MapTiles:
        empty = np.zeros((0, 1, 1, 3), np.uint8)
        if projection is None or not len(units):
            return MapTiles(layer, number, [], [], [], [], [], [], empty, empty)
        signals, patches = _aligned(projection, windows, units)
        rows, columns = squared(essential(signals, self._share), signals[0].shape[1:])
        signals = [signal[:, rows, columns] for signal in signals]
        scales = [robust_scale(signal) for signal in signals]
        boxes = [within(windows.windows[unit], rows, columns, projection.image_shapes[unit]) for unit in units]
        return MapTiles(
            layer=layer,
            number=number,
            values=projection.activations[units.start : units.stop].tolist(),
            scales=scales,
            images=projection.images[units.start : units.stop].tolist(),
            positions=[tuple(position) for position in projection.positions[units.start : units.stop].tolist()],
            boxes=boxes,
            insides=[inside(box, windows.windows[unit], rows, columns) for unit, box in zip(units, boxes, strict=True)],
            projections=np.stack([in_bytes(signed_rgb(*each)) for each in zip(signals, scales, strict=True)]),
            patches=np.stack([in_bytes(photograph(patch[:, rows, columns])) for patch in patches]),
        )


def _listed(maps: Sequence[int]) -> str:
    return ", ".join(map(str, maps[:LISTED])) + (", ..." if len(maps) > LISTED else "")


def _aligned(projection: Projection, windows: Windows, units: range) -> tuple[list[Tensor], list[Tensor]]:
    """Return the signals and the image patches of some units, all in windows of one size."""
    signals = [
        framed(projection.patches[unit].cpu(), projection.boxes[unit].tolist(), windows.windows[unit], 0.0)
        for unit in units
    ]
    patches = [windows.patches[unit] for unit in units]
    if len({signal.shape for signal in signals}) == 1:
        return signals, patches
    return of_one_size(signals, 0.0), of_one_size(patches, GREY)  # images of several sizes, smaller than the field


def _check(projection: Projection, values: Tensor) -> None:
    """Compare the activations of the projected units with those of the search."""
    eps = torch.finfo(projection.activations.dtype).eps
    actual = projection.activations.cpu().double()
    known = values.double()
    wrong = (actual - known).abs() > eps**0.5 * (known.abs() + 0.01 * known.abs().max())
    if wrong.any():
        unit = int(wrong.nonzero()[0])
        image, feature_map = projection.units[unit, :2].tolist()
        raise InputError(
            f"expected the activation {float(known[unit]):.6g} of the search in map {feature_map} of "
            f"{projection.layer} for image {image}, got {float(actual[unit]):.6g}; use the images that were searched"
        )


def _picture_of(source: NumberedImages) -> Callable[[Tensor], Tensor]:
    """Return the inverse of the data set's normalisation."""
    known = source.normalisation
    if known is None:
        return lambda image: image

    def picture(image: Tensor) -> Tensor:
        mean, std = (torch.as_tensor(values, dtype=image.dtype).view(-1, 1, 1) for values in known)
        return (image * std + mean).clamp(0, 1)

    return picture
