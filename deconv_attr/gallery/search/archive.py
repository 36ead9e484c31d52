"""The file of a search as bytes: named arrays and a description, in numpy's npz format, without pickles.

``FORMAT.md`` says which arrays and which description; ``validation`` compares a file with it. A file is written under
another name and then moved, so that no reader meets half of it.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...engine.fingerprint import without_addresses
from ...errors import InputError, SearchError, reason
from ...visualize.files import atomic_write, writing

__all__ = ["Arrays", "read", "write"]

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
        with zipfile.ZipFile(file, "w") as archive:  # not np.savez: numpy 1 leaves a file that failed open
            for name, array in members.items():
                member = io.BytesIO()  # whole, so that Ctrl-C leaves no member open, which ZipFile would complain of
                np.lib.format.write_array(member, np.asarray(array), version=(1, 0), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())  # no time: same search, same file
        file.flush()
        os.fsync(file.fileno())  # a search of hours survives a power cut

    with writing(path, SearchError):
        atomic_write(path, save)


def read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays and their description, in a small multiple of the memory that the file has on disk.

    Raises
    ------
    InputError
        There is no such file, or it is of another kind or version, or damaged.
    """
    if not path.is_file():
        raise InputError(f"expected a file of strongest activations, and there is no file {path}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        try:
            arrays = _members(file)
            description = _parsed(arrays.pop(_DESCRIPTION).tobytes())
        except Exception as error:  # whatever zipfile, numpy and json raise on bytes that are not theirs
            words = without_addresses(reason(error))
            raise InputError(f"{path} is no file of strongest activations, or it is damaged: {words:.300}") from error
    if description.get("format") != _FORMAT:
        raise InputError(f"{path} is no file of strongest activations but of {description.get('format')!r:.60}")
    version = description.get("version")
    if type(version) is not int or version != _VERSION:
        raise InputError(
            f"{path} has version {version!r:.60} of its format, expected version {_VERSION}: "
            "another version of deconv_attr wrote it"
        )
    return arrays, description


def _members(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read the arrays of a zip archive whose members are plain bytes of the file, each of them once."""
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        listed = archive.infolist()
        if any((each.compress_type, each.file_size) != (zipfile.ZIP_STORED, each.compress_size) for each in listed):
            raise ValueError("expected members without compression, as numpy.savez writes them")
        if sum(each.file_size for each in listed) > size:  # sizes that lie, or members that overlap
            raise ValueError(f"expected members of {size} bytes at most, which the file has, got more")
        if len({each.filename for each in listed}) < len(listed):
            raise ValueError("expected each member once, got one twice")
        return {_array_name(each.filename): _array(archive.read(each)) for each in listed}


def _array_name(member: str) -> str:
    if not member.endswith(".npy"):
        raise ValueError(f"expected arrays (*.npy) alone, got {member!r:.60}")
    return member.removesuffix(".npy")


def _array(content: bytes) -> NDArray[Any]:
    """Return the array in a member, in this machine's order of bytes."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("expected arrays in version 1.0 of the npy format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    begin = file.tell()
    # before any memory is taken
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - begin:
        raise ValueError(f"expected an array in {len(content) - begin} bytes, got {shape} of {dtype}")
    array: NDArray[Any] = np.ndarray(shape, dtype, content, begin, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")


def _parsed(text: bytes) -> dict[str, Any]:
    description = json.loads(text, object_pairs_hook=_once)
    if not isinstance(description, dict):
        raise ValueError("expected a description with names")
    return description


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("expected each field of the description once, got one twice")
    return fields
