"""What is drawn of a comparison, in a figure and on a page: which rows, which methods, in which styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import DeconvError, InputError, nearest, reason
from ..units.receptive_fields import receptive_field
from ..visualize import Column, View, view_of
from ..visualize.tiles import Corners

if TYPE_CHECKING:
    from .comparison import Comparison
    from .methods import Method

__all__ = ["Drawing"]


class Drawing:
    """The rows and columns of a comparison.

    Parameters
    ----------
    comparison : Comparison
        What is drawn.
    rows, columns, channels, slices, frames, luminance
        As for :meth:`Comparison.plot`.

    Raises
    ------
    InputError
        There are no such images, methods, channels, slices or frames.
    """

    def __init__(
        self,
        comparison: Comparison,
        rows: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        channels: Sequence[int] | None = None,
        slices: Sequence[int] | None = None,
        frames: Sequence[int] | None = None,
        luminance: bool = False,
    ) -> None:
        self._comparison = comparison
        maps = list(comparison.attributions.values())
        self.view: View = view_of(
            comparison.inputs,
            maps,
            comparison.images,
            examples=rows,
            channels=channels,
            slices=slices,
            frames=frames,
        )
        self.methods = self._chosen(columns)
        self.columns = [column for method in self.methods for column in self._columns(method, luminance)]
        self.labels = self._labels()

    @property
    def images(self) -> list[Tensor]:
        """The image of each row."""
        return [row.image for row in self.view.rows]

    @cached_property
    def boxes(self) -> dict[int, list[Corners]]:
        """The receptive fields of the units that are explained, by row: of two that are the same, one."""
        fields = [self._fields(method.label) for method in self.methods]
        return {
            number: list(dict.fromkeys(boxes[row.example] for boxes in fields if boxes))
            for number, row in enumerate(self.view.rows)
        }

    @property
    def boxed(self) -> str:
        """What the boxes are; empty if there are none."""
        return "box: the unit's receptive field" if any(self.boxes.values()) else ""

    def _labels(self) -> list[str]:
        """Return the label of each row; further rows of an input say only what of it they show."""
        said: set[int] = set()
        labels = []
        for row in self.view.rows:
            own = "" if row.example in said else self._comparison.labels[row.example]
            said.add(row.example)
            labels.append("\n".join(text for text in (own, row.words) if text))
        return labels

    def _chosen(self, labels: Sequence[str] | None) -> list[Method]:
        """Return the methods to draw: those that were chosen, or all, and last those with nothing to show."""
        known = {method.label: method for method in self._comparison.methods}
        if labels is None:
            return sorted(known.values(), key=lambda method: self._shows_nothing(method.label))
        for label in labels:
            if label not in known:
                raise InputError(
                    f"expected columns among {', '.join(known)}, got {label!r:.80}{nearest(label, [*known])}"
                )
        return [known[label] for label in labels]

    def _shows_nothing(self, label: str) -> bool:
        maps = self._comparison.attributions.get(label)
        return maps is None or len(self._comparison.zero_reasons[label]) > len(maps) / 2

    def _columns(self, method: Method, luminance: bool) -> list[Column]:
        label = method.label
        maps = self._comparison.attributions.get(label)
        if maps is None:
            return [Column(label, None, error=reason(self._comparison.errors[label]))]
        shown = [row.part(maps[row.example]) for row in self.view.rows]
        reasons = self._comparison.zero_reasons[label]
        zero = {number: reasons[row.example] for number, row in enumerate(self.view.rows) if row.example in reasons}
        column = Column(label, shown, method.style_of(maps), zero=zero)
        if not luminance or column.style != "signed" or len(shown[0]) != 3 or self._shows_nothing(label):
            return [column]
        return [column, replace(column, title=f"{label}, luminance", style="luminance")]

    def _fields(self, label: str) -> list[Corners]:
        """Return the receptive field of each image's unit; none where they are not known, or not of images."""
        unit = self._comparison.units.get(label)
        inputs = self._comparison.inputs
        if unit is None or inputs.dim() != 4:
            return []
        layer, positions = unit
        try:
            field = receptive_field(self._comparison.model, layer, inputs.shape)
        except DeconvError:  # the model does not run without values; the picture has no box then
            return []
        boxes = field.boxes(positions).tolist()
        return [(top, left, bottom, right) for top, left, bottom, right in boxes]
