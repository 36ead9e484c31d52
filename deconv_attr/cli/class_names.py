"""The names of a model's classes: from a file, and by a part of a name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError, TargetError, nearest, readable

__all__ = ["NUMBER", "class_named", "read_class_names"]

MOST = 8  # classes listed in an error
NUMBER = re.compile(r"\d{1,18}")  # fits in 64 bits; of more digits than 4300, Python makes no int


def read_class_names(path: str) -> tuple[str, ...]:
    """Read the names of classes in order.

    Parameters
    ----------
    path : str
        One name a line; or JSON: a list of names, ``{"0": "name"}``, ``{"0": ["n01440764", "name"]}`` as ImageNet's
        index of classes, or ``{"name": 0}`` as an ImageFolder's.

    Raises
    ------
    InputError
        If the file cannot be read or holds anything else.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise InputError(f"cannot read the class names {path}: {why}") from error
    names = _from_json(text, path) if text.lstrip().startswith(("[", "{")) else text.rstrip().splitlines()
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"expected a name for each class in {path}, got {name!r:.80} for class {number}")
    if not names:
        raise InputError(f"expected the names of classes in {path}, got none")
    return tuple(readable(" ".join(name.split())) for name in names)  # each on one line


def _from_json(text: str, path: str) -> Sequence[Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read the class names {path}: {error}") from error
    if isinstance(content, list):
        return content
    numbered = sorted(_numbered(content), key=lambda pair: pair[0])
    if [number for number, _ in numbered] != list(range(len(numbered))):
        raise InputError(
            f"expected the numbers from 0 to {len(content) - 1}, one for each class name in {path}, got "
            f"{', '.join(f'{pair!s:.80}' for pair in list(content.items())[:3])}, ..."
        )
    return [name for _, name in numbered]


def _numbered(content: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Return numbers and names, from numbers by name or names by number; a list ends with the name."""
    if all(type(value) is int for value in content.values()):
        return [(number, name) for name, number in content.items()]
    return [
        (int(key) if NUMBER.fullmatch(key) else -1, value[-1] if isinstance(value, list) and value else value)
        for key, value in content.items()
    ]


def class_named(word: str, categories: Sequence[str], model: str) -> int:
    """Return the index of the class of a name, or of the only one whose name has this part, in any case of letters.

    Raises
    ------
    TargetError
        If there is none, or more than one.
    """
    if not categories:
        raise TargetError(f"expected the index of a class, because those of {model} have no names, got {word!r}")
    names = [name.casefold() for name in categories]
    part = word.casefold()
    indices = [index for index, name in enumerate(names) if name == part]
    if len(indices) > 1:
        raise TargetError(
            f"expected the name of one class, got {word!r} of {len(indices)}; give one of the indices {indices}"
        )
    indices = indices or [index for index, name in enumerate(names) if part in name]
    if len(indices) > 1:
        listed = ", ".join(f"{categories[index]} ({index})" for index in indices[:MOST])
        more = ", ..." if len(indices) > MOST else ""
        raise TargetError(f"expected the name of one class, got {word!r}, a part of {len(indices)}: {listed}{more}")
    if not indices:
        raise TargetError(f"{model} has no class {word!r}{nearest(part, names)}")
    return indices[0]
