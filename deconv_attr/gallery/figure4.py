"""Figure 4 of the paper: how a feature map develops, as its strongest projection at several checkpoints of training.

Source: Zeiler and Fergus 2014, figure 4: "The visualization shows the strongest activation (across all training
examples) for a given feature map, projected down to pixel space", at epochs 1, 2, 5, 10, 20, 30, 40 and 64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..engine.reprs import html_table, one_line
from ..engine.state_dict import load_into, read_state_dict
from ..errors import InputError
from ..rules.tables import DECONVNET, Table
from ..visualize import Figure, evolution_figure
from ..visualize.paper import FONT_SIZE
from ..visualize.tiles import MapTiles
from .dataset import NumberedImages
from .figure2 import Gallery
from .map_choice import Maps
from .search import strongest

__all__ = ["Evolution", "evolution"]

Checkpoint = nn.Module | Mapping[str, Tensor] | str | Path


@dataclass(frozen=True, eq=False)
class Evolution:
    """The strongest unit of each map at each checkpoint.

    Parameters
    ----------
    layer : str
        The layer's name.
    maps : list of int
        The maps' numbers.
    labels : list of str
        The checkpoints.
    tiles : list of list of MapTiles
        For each checkpoint the tiles of each map: one unit, or none if the map was not active.
    """

    layer: str
    maps: list[int]
    labels: list[str]
    tiles: list[list[MapTiles]]

    def __repr__(self) -> str:
        return one_line(self, f"{len(self.maps)} maps of {self.layer} at {len(self.labels)} checkpoints")

    def _repr_html_(self) -> str:
        """Return the strongest activation of each map at each checkpoint for a notebook."""
        rows = [[number, *map(_activation, tiles)] for number, *tiles in zip(self.maps, *self.tiles, strict=True)]
        caption = f"{repr(self)[1:-1]}: strongest activations"
        return html_table(caption, ["map", *self.labels], rows)

    def plot(self, *, width: float | None = None, font_size: float = FONT_SIZE, axes: Any = None) -> Figure:
        """Draw a row for each map and a column for each checkpoint.

        Parameters
        ----------
        width, font_size, axes
            As for :func:`evolution_figure`: the size for a paper, or the caller's own axes.

        Returns
        -------
        Figure
            A new one, or that of the axes.

        Raises
        ------
        InputError
            The figure cannot be drawn so.
        """
        return evolution_figure(self.layer, self.labels, self.tiles, width=width, font_size=font_size, axes=axes)


def evolution(
    model: nn.Module,
    checkpoints: Mapping[str, Checkpoint],
    data: Any,
    layer: str,
    maps: Maps = 6,
    *,
    seed: int = 0,
    workers: int | None = None,
    share: float = 0.95,
    picture: Callable[[Tensor], Tensor] | None = None,
    rules: Table = DECONVNET,
    activations: str = "error",
    unknown: str = "error",
    batch_norm: str = "scale",
    overlap: str = "sum",
    show_progress: bool = False,
) -> Evolution:
    """Search the data set at each checkpoint for the strongest activation of some maps, and project it.

    Parameters
    ----------
    model : nn.Module
        The architecture, in eval mode; it is never changed.
    checkpoints : mapping
        By a label, such as ``"epoch 1"``: a state dict, the path of one, or a model.
    data, workers
        As for :func:`strongest`.
    layer : str
        The layer's name.
    maps : int or sequence of int
        Numbers of feature maps; a single number: that many at random, the same at each checkpoint.
    seed, share, picture, rules, activations, unknown, batch_norm, overlap
        As for :class:`Gallery`; by `share`, each tile is cropped to its own box.
    show_progress : bool
        Whether to show a progress bar while the data set is searched.

    Returns
    -------
    Evolution
        For each checkpoint the strongest unit of each map.

    Raises
    ------
    InputError
        There is no checkpoint, or one does not fit the model; and what :func:`strongest` and :class:`Gallery` refuse.

    Source
    ------
    Zeiler and Fergus 2014, section 4.1 and figure 4.
    """
    if not isinstance(checkpoints, Mapping) or not checkpoints:
        raise InputError(f"expected checkpoints as a dict of at least one, got {checkpoints!r:.60}")
    if not isinstance(layer, str):
        raise InputError(f"expected the layer as a name, got {layer!r:.60}")
    source = NumberedImages(data, workers)
    columns = []
    numbers = []
    for label, checkpoint in checkpoints.items():
        trained = _model_of(model, checkpoint, label)
        found = strongest(trained, source, layer, 1, show_progress=show_progress)
        (name,) = found
        gallery = Gallery(
            trained,
            source,
            found,
            maps=maps,
            seed=seed,
            share=share,
            picture=picture,
            rules=rules,
            activations=activations,
            unknown=unknown,
            batch_norm=batch_norm,
            overlap=overlap,
        )
        maps = numbers = gallery.maps[name]
        columns.append(list(gallery.tiles(name)))
    return Evolution(name, numbers, list(checkpoints), columns)


def _activation(tiles: MapTiles) -> float | str:
    return tiles.values[0] if tiles.values else "none"


def _model_of(model: nn.Module, checkpoint: Checkpoint, label: str) -> nn.Module:
    if isinstance(checkpoint, nn.Module):
        return checkpoint
    state = read_state_dict(str(checkpoint)) if isinstance(checkpoint, (str, Path)) else checkpoint
    if not isinstance(state, Mapping):
        raise InputError(f"expected checkpoint {label} as a state dict, its path, or a model, got {state!r:.60}")
    trained = copy.deepcopy(model)
    load_into(trained, state, f"checkpoint {label}", type(model).__name__)
    return trained
