"""The file format of a search: named arrays and a description, in numpy's npz format, without pickles.

A file is written under another name and then moved, so that no reader meets half of it.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, SearchError, reason
from ...visualize.files import atomic_write, writing

__all__ = ["read", "write"]

_FORMAT = "deconv_attr strongest activations"
_VERSION = 1
_DESCRIPTION = "description"

Arrays = Mapping[str, NDArray[Any]]


def write(path: Path, arrays: Arrays, description: Mapping[str, Any]) -> None:
    """Write arrays and a description, all of it or nothing.

    Raises
    ------
    SearchError
        It cannot be written.
    """
    described = {"format": _FORMAT, "version": _VERSION, **description}
    text = np.frombuffer(json.dumps(described, indent=1).encode(), dtype=np.uint8)
    members: Any = {_DESCRIPTION: text, **arrays}

    def save(file: BinaryIO) -> None:
        np.savez(file, **members)
        file.flush()
        os.fsync(file.fileno())  # a search of hours survives a power cut

    with writing(path, SearchError):
        atomic_write(path, save)


def read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays and their description.

    Raises
    ------
    InputError
        There is no such file, or it is of another kind or version, or damaged.
    """
    if not path.is_file():
        raise InputError(f"expected a file of strongest activations, and there is no file {path}")
    damaged = f"{path} is no file of strongest activations, or it is damaged"
    try:
        with zipfile.ZipFile(path) as file, file.open(f"{_DESCRIPTION}.npy") as member:
            description = json.loads(np.lib.format.read_array(member, allow_pickle=False).tobytes())
        if description["format"] != _FORMAT:
            raise InputError(f"{path} is no file of strongest activations but of {description['format']!r:.60}")
        if description["version"] != _VERSION:
            raise InputError(
                f"{path} has version {description['version']} of its format, expected version {_VERSION}: "
                "another version of deconv_attr wrote it"
            )
        with np.load(path, allow_pickle=False) as members:
            return {name: members[name] for name in members.files if name != _DESCRIPTION}, description
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise InputError(f"{damaged}: {reason(error)}") from error
