"""Figures as files."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from ..errors import InputError

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
    path = Path(name)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"the name of a picture must end in {', '.join(FORMATS)}; got {path}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: permission denied")
    return path


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format that the file's ending names, or nothing at all.

    Raises
    ------
    InputError
        If it cannot be written; see :func:`picture_path`.
    """
    path, drawn = picture_path(path), BytesIO()
    figure.savefig(drawn, format=path.suffix.lower()[1:])
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
