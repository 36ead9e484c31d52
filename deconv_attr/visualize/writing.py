"""Where a file can be written; what the disk refuses is said in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

__all__ = ["writable", "writing"]


def writable(name: str | Path, what: str, endings: Sequence[str]) -> Path:
    """Return a name as a path to which a file can be written.

    Raises
    ------
    InputError
        If the ending is none of these, the folder is missing, or the place cannot be written.
    """
    path = Path(name)
    if path.suffix.lower() not in endings:
        raise InputError(f"the name of a {what} must end in {', '.join(endings)}; got {path}")
    with writing(path):
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder")
        for place in (path.parent, path):
            if place.exists() and not os.access(place, os.W_OK):
                raise InputError(f"cannot write {path}: permission denied")
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this, say which file the disk refused."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
