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

from ..errors import InputError, ModelError
from ..rules.tables import DECONVNET, Table
from ..units.projection import Projection, project
from ..units.receptive_fields import ReceptiveField, receptive_field
from ..visualize import MOST_MAPS, Figure, gallery_figure, in_bytes, photograph, signed_rgb
from ..visualize.html import PageLayer, write_gallery
from ..visualize.tiles import MapTiles
from .dataset import NumberedImages
from .map_choice import Maps, choose_maps, sample_maps
from .search import NO_IMAGE, Strongest
from .windows import GREY, Windows, essential, framed, of_one_size, within

__all__ = ["Gallery"]

_MEMORY = 2**28  # bytes of projections, and of images, that are held at a time


class Gallery:
    """The strongest activations of feature maps as pictures.

    Parameters
    ----------
    model : nn.Module
        The model that was searched; it is never changed.
    data : optional
        The images that were searched, as for :func:`strongest`.
    found : Strongest
        What :func:`strongest` found.
    maps : int, sequence of int, or mapping, optional
        The numbers of the maps to show; a single number: so many of each layer, drawn by chance, as in the paper; by
        default all. A mapping gives one of these for each layer, and shows these layers only.
    seed : int
        Of that chance.
    share : float
        Above 0, at most 1. Deep receptive fields are larger than what is used of them: below 1, the tiles of a map are
        cut to the box that holds at least this share of each signal's strength (the sum of magnitudes).
    picture : callable, optional
        Makes of an input (C, H, W) the image, (3, H, W) or (1, H, W) between 0 and 1. By default the inverse of the
        normalisation of the data set's transform; without one, the input itself.
    rules : Table
        As for :class:`ZFDeconv`.
    show_progress : bool
        Whether to show a progress bar while units are projected.
    **choices : str
        `activations`, `unknown`, `batch_norm`, `overlap`: as for :class:`ZFDeconv`.

    Raises
    ------
    InputError
        The model or the data set is not the one that was searched; there is no such layer or map.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        found: Strongest,
        *,
        maps: Maps | Mapping[str, Maps] = None,
        seed: int = 0,
        share: float = 1.0,
        picture: Callable[[Tensor], Tensor] | None = None,
        rules: Table = DECONVNET,
        show_progress: bool = False,
        **choices: str,
    ) -> None:
        if not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise InputError(f"expected a share above 0 and at most 1, got {share!r}")
        if not isinstance(found, Strongest):
            raise InputError(f"expected found as the result of a search, got a {type(found).__name__}")
        self._model, self._found, self._share = model, found, share
        self._source = NumberedImages.of(data)
        found.check(model, self._source)
        image = self._source[self._seen()]
        if image.dim() != 3:
            raise InputError(f"expected images (C, H, W) to make pictures of, got the shape {tuple(image.shape)}")
        self._picture = picture or _picture_of(self._source)
        self._rules, self._show_progress = rules, show_progress
        self._choices: Any = choices
        wanted = maps if isinstance(maps, Mapping) else dict.fromkeys(found, maps)
        unknown = [layer for layer in wanted if layer not in found]
        if unknown:
            raise InputError(f"expected layers that were searched, {', '.join(found)}; got {unknown[0]!r}")
        self.maps = {layer: choose_maps(layer, len(found[layer].values), wanted[layer], seed) for layer in wanted}
        self._read = lru_cache(max(1, _MEMORY // image.nbytes))(self._source.__getitem__)
        self._fields: dict[tuple[str, Size], ReceptiveField | None] = {}

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
            Numbers of maps, those that the gallery shows by default; a single number: so many of these by chance.

        Raises
        ------
        InputError
            There is no such layer or map; or the images give other activations than the search has found.
        RuleError
            An operation has no rule.

        Warns
        -----
        DeadSignalWarning
            Projections that are zero.
        """
        numbers = self._numbers(layer, maps)
        return self._tiles(layer, numbers)

    def plot(self, layer: str, maps: Maps = None) -> Figure:
        """Draw a layer as the paper does: for each map its projections, beside their image patches.

        Parameters
        ----------
        layer, maps
            As for :meth:`tiles`; of more than 64 maps, 64 of them by chance.
        """
        numbers = self._numbers(layer, maps)
        if len(numbers) > MOST_MAPS:
            numbers = sample_maps(numbers, MOST_MAPS, 0)
        return gallery_figure(layer, list(self._tiles(layer, numbers)), self._found.k, self._facts(layer))

    def to_html(self, folder: str | Path, title: str = "", facts: Sequence[tuple[str, str]] = ()) -> Path:
        """Write a page on which all these maps can be looked through, without a server.

        Parameters
        ----------
        folder : str or Path
            Where to; it is made if it is not there.
        title : str
            Of the page.
        facts : sequence of pairs of str
            What to say of model and images; by default what the search knows of them.

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
        """Give the number of an image that could be read."""
        images = next(iter(self._found.values())).images
        return int(images[images != NO_IMAGE][0])

    def _facts(self, layer: str) -> str:
        maps = len(self._found[layer].values)
        field = self._field(layer, self._read(self._seen()))
        if field is None:
            return f"{maps} maps"
        where = " x ".join(map(str, field.shape[1:]))
        size = "the whole image" if field.mixer else " x ".join("?" if n is None else str(n) for n in field.size)
        return f"{maps} maps of {where}, receptive field {size}" if where else f"{maps} units"

    def _field(self, layer: str, image: Tensor) -> ReceptiveField | None:
        """Give a layer's receptive field in images of this size; None for a model that does not run without values."""
        key = layer, image.shape
        if key not in self._fields:
            try:
                self._fields[key] = receptive_field(self._model, *key)
            except ModelError:
                self._fields[key] = None
        return self._fields[key]

    def _tiles(self, layer: str, numbers: Sequence[int]) -> Iterator[MapTiles]:
        top, image = self._found[layer], self._read(self._seen())
        field = self._field(layer, image)
        pixels = image.nbytes
        if field is not None and None not in field.size:
            pixels = min(pixels, image.shape[0] * image.element_size() * prod(n or 0 for n in field.size))
        step = max(1, _MEMORY // (2 * pixels * self._found.k))
        with tqdm(total=len(numbers), disable=not self._show_progress, unit="map", desc=layer, leave=False) as bar:
            for start in range(0, len(numbers), step):
                part = numbers[start : start + step]
                active = (top.images[part] != NO_IMAGE) & (top.values[part] != 0)
                yield from self._some_tiles(layer, part, active, bar)

    def _some_tiles(self, layer: str, numbers: Sequence[int], active: Tensor, bar: Any) -> Iterator[MapTiles]:
        """Project the units of some maps together."""
        top, counts = self._found[layer], active.sum(1).tolist()
        values, images = top.values[numbers][active], top.images[numbers][active]
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
            return MapTiles(layer, number, [], [], [], [], empty, empty)
        boxes = [projection.boxes[unit].tolist() for unit in units]
        signals = [
            framed(projection.patches[unit].cpu(), box, windows.windows[unit], 0.0)
            for unit, box in zip(units, boxes, strict=True)
        ]
        patches = [windows.patches[unit] for unit in units]
        if len({signal.shape for signal in signals}) > 1:  # images of several sizes, smaller than the field
            signals, patches = of_one_size(signals, 0.0), of_one_size(patches, GREY)
        rows, columns = essential(signals, self._share)
        shown = [within(windows.windows[unit], rows, columns, projection.image_shapes[unit]) for unit in units]
        return MapTiles(
            layer,
            number,
            projection.activations[units.start : units.stop].tolist(),
            projection.images[units.start : units.stop].tolist(),
            [tuple(place) for place in projection.positions[units.start : units.stop].tolist()],
            shown,
            np.stack([in_bytes(signed_rgb(signal[:, rows, columns])) for signal in signals]),
            np.stack([in_bytes(photograph(patch[:, rows, columns])) for patch in patches]),
        )


def _check(projection: Projection, values: Tensor) -> None:
    """Compare the activations of the projected units with those that were found."""
    eps = torch.finfo(projection.activations.dtype).eps
    found, known = projection.activations.cpu().double(), values.double()
    wrong = (found - known).abs() > eps**0.5 * (known.abs() + 0.01 * known.abs().max())
    if wrong.any():
        unit = int(wrong.nonzero()[0])
        image, feature_map = projection.units[unit, :2].tolist()
        raise InputError(
            f"expected the images that were searched: image {image} gives {float(found[unit]):.6g} in map "
            f"{feature_map} of {projection.layer}, and the search has found {float(known[unit]):.6g}"
        )


def _picture_of(source: NumberedImages) -> Callable[[Tensor], Tensor]:
    """Make the inverse of the data set's normalisation."""
    known = source.normalisation
    if known is None:
        return lambda image: image

    def picture(image: Tensor) -> Tensor:
        mean, std = (torch.as_tensor(values, dtype=image.dtype).view(-1, 1, 1) for values in known)
        return (image * std + mean).clamp(0, 1)

    return picture
