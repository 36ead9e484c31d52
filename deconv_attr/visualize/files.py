"""Figures as files, and how every file of this package is written: whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from matplotlib import figure as figures

from ..engine.undo import Undo
from ..errors import DeconvError, InputError
from .figure import FONTS, set_rc

__all__ = [
    "FORMATS",
    "atomic_write",
    "check_writable",
    "checked_path",
    "link_target",
    "picture_path",
    "save_figure",
    "unfinished",
    "writing",
]

FORMATS = (".png", ".jpg", ".pdf", ".svg")
"""The endings of file names that can be written."""

LONGEST_NAME = 255  # bytes that file systems allow


def picture_path(name: str | Path) -> Path:
    """Return a name as a path to which :func:`save_figure` can write.

    Raises
    ------
    InputError
        If the ending is none of :data:`FORMATS`, the folder is missing, or the file cannot be written.
    """
    return checked_path(name, "picture", FORMATS)


def save_figure(figure: figures.Figure, path: str | Path) -> None:
    """Write a figure in the format that the file's ending names, or nothing at all.

    Parameters
    ----------
    figure : Figure
        Any of matplotlib's.
    path : str or Path
        Ends in one of :data:`FORMATS`.

    Raises
    ------
    InputError
        If it cannot be written; see :func:`picture_path`.
    """
    path = picture_path(path)
    undo = Undo()
    with writing(path), undo, undo:
        set_rc(FONTS, undo)
        atomic_write(path, lambda file: figure.savefig(file, format=path.suffix.lower()[1:]))


def checked_path(name: str | Path, what: str, endings: Sequence[str]) -> Path:
    """Return a name as a path to which a file can be written.

    Raises
    ------
    InputError
        If the ending is none of these, the folder is missing, or the file cannot be written.
    """
    path = Path(name)
    if path.suffix.lower() not in endings:
        raise InputError(f"expected the name of a {what} to end in {', '.join(endings)}, got {path}")
    check_writable(path)
    return path


def check_writable(path: Path) -> None:
    """Refuse a path at which no file can be written.

    Raises
    ------
    InputError
        If the folder is missing, there is a folder or a device of that name, permission is denied, or symbolic links
        lead in a circle.
    """
    with writing(path):
        target = link_target(path)
        if not target.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {target.parent}")
        if target.is_dir():
            raise InputError(f"cannot write {path}: it is a folder")
        if target.exists() and not target.is_file():
            raise InputError(f"cannot write {path}: it is no regular file")
        if not os.access(target.parent, os.W_OK | os.X_OK) or (target.exists() and not os.access(target, os.W_OK)):
            raise InputError(f"cannot write {path}: permission denied")


def atomic_write(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file beside its final path, then move it there, so that no reader meets half of it.

    Parameters
    ----------
    path : Path
        The file; an older one is replaced, and its permissions stay. Of a symbolic link it is the file that it leads
        to: the link stays.
    content : bytes or callable
        All of it, or what writes it to an open file.

    Raises
    ------
    OSError
        If it cannot be written; an older file stays as it was.
    """
    path = link_target(path)
    part, undo = unfinished(path), Undo()
    with undo, undo:
        undo.later(partial(_remove, part))
        with part.open("wb") as file:
            with suppress(OSError):  # there is none, or the file system has no permissions
                shutil.copymode(path, part)  # before there is anything to read
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
        part.replace(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def link_target(path: Path) -> Path:
    """Return the file that a symbolic link leads to, whether or not there is one; any other path as it is.

    Raises
    ------
    OSError
        If links lead in a circle.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def unfinished(path: Path) -> Path:
    """Return the name under which this thread of this process writes a file before it is complete."""
    end = f".{os.getpid()}{threading.get_native_id()}.unfinished"
    name = f".{path.name}{end}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{blake2b(os.fsencode(path.name), digest_size=16).hexdigest()}{end}"
    return path.with_name(name)


@contextmanager
def writing(path: Path, kind: type[DeconvError] = InputError) -> Iterator[None]:
    """Turn an OSError into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot write {path}: {error.strerror or error}") from error
