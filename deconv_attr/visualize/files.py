"""Figures as files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from .writing import writable, writing

__all__ = ["FORMATS", "picture_path", "save_figure"]

FORMATS = (".png", ".jpg", ".pdf", ".svg")
"""The endings of file names that can be written."""


def picture_path(name: str | Path) -> Path:
    """Return a name as a path to which :func:`save_figure` can write.

    Raises
    ------
    InputError
        If the ending is none of :data:`FORMATS`, the folder is missing, or the place cannot be written.
    """
    return writable(name, "picture", FORMATS)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format that the file's ending names, or nothing at all.

    Raises
    ------
    InputError
        If it cannot be written; see :func:`picture_path`.
    """
    path, drawn = picture_path(path), BytesIO()
    figure.savefig(drawn, format=path.suffix.lower()[1:])
    with writing(path):
        path.write_bytes(drawn.getvalue())
