"""The figures of this package: matplotlib's, which show themselves in a notebook and embed fonts that journals take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import matplotlib.figure
from matplotlib import rcParams

from ..engine.threads import run_alone
from ..engine.undo import Undo

__all__ = ["FONTS", "AnyFigure", "Figure", "set_rc"]

AnyFigure = matplotlib.figure.Figure
"""A figure of matplotlib, which may be the caller's own."""

FONTS: Any = {"pdf.fonttype": 42, "ps.fonttype": 42}  # TrueType: many venues refuse matplotlib's own choice, Type 3
SVG: Any = {"svg.hashsalt": "deconv_attr", "svg.fonttype": "none"}  # letters take half the space of their outlines
PACKED = {"compress_level": 3}  # of 9; Pillow's own choice is 6
SHOWN = 120  # pixels of a notebook for an inch
MOST = 150  # pixels of the picture for an inch: a notebook of moderate size


class Figure(AnyFigure):
    """A figure of matplotlib.

    A notebook shows it without ``%matplotlib inline``. Its fonts are embedded in PDF and PostScript as TrueType.
    """

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure; a PNG is packed less tightly than matplotlib's, in a third of the time.

        Parameters
        ----------
        fname, **options
            As for matplotlib's ``savefig``.
        """
        ending = Path(fname).suffix[1:] if isinstance(fname, (str, PathLike)) else ""
        if (options.get("format") or ending or rcParams["savefig.format"]).lower() == "png":
            options = {"pil_kwargs": PACKED, **options}
        undo = Undo()
        with undo, undo:
            set_rc(FONTS, undo)
            super().savefig(fname, **options)

    def svg(self) -> bytes:
        """Return the figure as an SVG file for a page, the same each time, in the browser's letters."""
        drawn, undo = BytesIO(), Undo()
        with undo, undo:
            set_rc(SVG, undo)
            self.savefig(drawn, format="svg", metadata={"Date": None})
        return drawn.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture for a notebook, and the size at which it is shown; its own pixels are finer."""
        drawn = BytesIO()
        self.savefig(drawn, format="png", dpi=min(self.dpi, MOST))
        width, height = (round(SHOWN * inches) for inches in self.get_size_inches())
        return drawn.getvalue(), {"width": width, "height": height}


def set_rc(values: Mapping[str, Any], undo: Undo) -> None:
    """Set some of matplotlib's rcParams, which are those of all threads: one at a time does so."""
    run_alone(undo, "rcParams")
    parameters: Any = rcParams  # declared with the name of each
    undo.later(partial(parameters.update, {key: parameters[key] for key in values}))
    parameters.update(values)
