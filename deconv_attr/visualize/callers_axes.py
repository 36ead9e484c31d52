"""A comparison on axes of the caller: one for each tile; nothing else on their figure is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from .figure import AnyFigure
from .page_layout import Head, broken, show, write
from .paper import checked_axes, figure_of, outline_box, width_of
from .pictures import in_bytes, photograph
from .tiles import Bytes, Corners

__all__ = ["CallersAxes"]


class CallersAxes:
    """Axes (rows, columns) as tiles."""

    def __init__(
        self, axes: Any, heads: Sequence[Head], labels: Sequence[str], font_size: float | None, stretched: bool
    ) -> None:
        self.axes = checked_axes(axes, (len(labels), len(heads)), "a row for each image")
        self.heads, self.labels = heads, labels
        self.font = "medium" if font_size is None else font_size
        self.small = "x-small" if font_size is None else font_size
        self.stretched = stretched

    @property
    def figure(self) -> AnyFigure:
        """The caller's figure."""
        return figure_of(self.axes)

    def image(self, row: int, image: Tensor) -> None:
        """Show the image of a row, or draw a signal's channels, one above the other."""
        if image.dim() == 3:
            return self.show(row, 0, in_bytes(photograph(image)))
        tile = self._begun(row, 0)
        for number, values in enumerate(image.detach().double().cpu().numpy()):
            height = np.ptp(values) or 1.0
            tile.plot((values - values.min()) / height * 0.9 - number, color="black", linewidth=0.8)
        tile.set(xlim=(-0.5, image.shape[1] - 0.5))
        return None

    def show(self, row: int, column: int, pixels: Bytes) -> None:
        """Show a picture on axes."""
        tile = self._begun(row, column)
        show(tile, pixels)
        if self.stretched:
            tile.set_aspect("auto")

    def outline(self, row: int, box: Corners, size: tuple[int, int]) -> None:
        """Draw a box of pixels into the image of a row."""
        outline_box(self.axes[row, 0], box)

    def note(self, row: int, column: int, text: str, colour: str) -> None:
        """Write into the middle of a tile."""
        tile = self.axes[row, column]
        text = broken(text, self.small, width_of(tile))
        write(tile, 0.5, 0.5, text, ha="center", va="center", color=colour, fontsize=self.small)

    def under(self, row: int, column: int, text: str) -> None:
        """Write the scale of a tile below it, and what the colours mean below the last one."""
        tile, head = self.axes[row, column], self.heads[column]
        lines = [text] if text else []
        if row == len(self.axes) - 1:
            ends = "" if text or len(head.ends) < 2 else f"; full colour at {head.ends[-1]}"
            lines.append(broken(head.caption + ends, self.small, width_of(tile)))
        write(tile, 0.5, -0.02, "\n".join(lines), ha="center", va="top", fontsize=self.small)

    def fail(self, column: int, error: str) -> None:
        """Write the error of a method into its first tile."""
        for row in range(len(self.axes)):
            self._begun(row, column)
            self.note(row, column, "error" if row else error, "dimgrey")

    def _begun(self, row: int, column: int) -> Axes:
        """Return axes with their title, in the first row, and their label, in the first column."""
        tile: Axes = self.axes[row, column]
        tile.set_axis_off()
        width = width_of(tile)
        if row == 0:
            tile.set_title(broken(self.heads[column].title, self.font, width), fontsize=self.font, parse_math=False)
        if column == 0 and self.labels[row]:
            write(tile, -0.05, 0.5, self.labels[row], ha="right", va="center", fontsize=self.font)
        return tile
