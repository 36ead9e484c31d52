"""What a file of a search promises, checked before anything of it is used; ``FORMAT.md`` says it in words."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .archive import Arrays
from .top_k import NO_IMAGE

__all__ = ["PARTS", "check"]

PARTS = ("values", "images", "positions")
"""The arrays of a layer."""

_WORDS = ("model", "data", "preprocessing", "computed")
_DIGESTS = ("weights", "pixels")
_DIGEST = re.compile("[0-9a-f]{32}")


def check(description: Mapping[str, Any], arrays: Arrays) -> None:
    """Compare a description and arrays with all that the format promises.

    Raises
    ------
    ValueError
        A promise is broken: the first, with what was expected and what the file has.
    """
    _check_description(description)
    k, layers, count = description["k"], description["layers"], description["origin"]["images"]
    _check_names("arrays", arrays, {"searched", *(f"{layer}/{part}" for layer in layers for part in PARTS)})
    read = _read(arrays["searched"], count, [number for number, *_ in description["skipped"]])
    for layer in layers:
        table = [arrays[f"{layer}/{part}"] for part in PARTS]
        _check_shapes(f"of layer {layer!r:.60}", k, *table)
        _check_slots(f"of layer {layer!r:.60}", read, *table)


def _check_description(description: Any) -> None:
    _check_names("fields", description, {"format", "version", "k", "layers", "origin", "skipped"})
    k, layers, origin, skipped = (description[name] for name in ("k", "layers", "origin", "skipped"))
    _expect(_is_whole(k) and k >= 1, "k as a whole number of at least 1", k)
    named = isinstance(layers, list) and all(isinstance(layer, str) for layer in layers)
    _expect(named and 0 < len({*layers}) == len(layers), "layers as a list of names, each once", layers)
    _check_names("fields of the origin", origin, {"images", *_DIGESTS, *_WORDS})
    count = origin["images"]
    _expect(_is_whole(count) and count >= 1, "the number of images as at least 1", count)
    for name in (*_DIGESTS, *_WORDS):
        _expect(isinstance(origin[name], str), f"{name} as text", origin[name])
    for name in _DIGESTS:
        _expect(_DIGEST.fullmatch(origin[name]), f"{name} as 32 hexadecimal digits", origin[name])
    _expect(isinstance(skipped, list), "skipped images as a list", skipped)
    last = -1
    for row in skipped:
        texts = isinstance(row, list) and [type(each) for each in row] == [int, str, str]
        _expect(texts and last < row[0] < count, "skipped images in order, as number, name and reason", row)
        last = row[0]


def _read(searched: NDArray[Any], count: int, skipped: list[int]) -> NDArray[np.bool_]:
    """Return (images,): which images were searched and could be read."""
    _check_array("searched", searched, ("uint8",), (-(-count // 8),))
    bits = np.unpackbits(searched).astype(bool)
    _expect(not bits[count:].any(), f"zeros after the bits of {count} images", searched[-1:].tolist())
    bits = bits[:count]
    _expect(bits[skipped].all(), "skipped images among those searched", skipped)
    bits[skipped] = False
    return bits


def _check_shapes(layer: str, k: int, values: NDArray[Any], images: NDArray[Any], positions: NDArray[Any]) -> None:
    maps = max((1, *values.shape[:1]))
    _check_array(f"values {layer}", values, ("float32", "float64"), (maps, k))
    _check_array(f"images {layer}", images, ("int64",), (maps, k))
    _check_array(f"positions {layer}", positions, ("int64",), (maps, k, *positions.shape[2:3]))
    _expect(positions.ndim == 3, f"positions {layer} as (maps, k, axes)", positions.shape)


def _check_slots(
    layer: str, read: NDArray[np.bool_], values: NDArray[Any], images: NDArray[Any], positions: NDArray[Any]
) -> None:
    """Check what stands in the slots of each map: k of the images that were read or all of them, then none."""
    filled = min(values.shape[1], int(read.sum()))
    empty = (("images", images, NO_IMAGE), ("values", values, -np.inf), ("positions", positions, NO_IMAGE))
    for name, table, none in empty:
        rest = table[:, filled:]
        _expect_all(rest == none, f"{none} as {name} {layer} after the {filled} that were read", rest)
    values, images, positions = values[:, :filled], images[:, :filled], positions[:, :filled]
    _expect_all((images >= 0) & (images < len(read)), f"images {layer} from 0 to {len(read) - 1}", images)
    _expect_all(read[images], f"images {layer} among those searched and read", images)
    ranked = np.sort(images, 1)
    _expect_all(ranked[:, 1:] > ranked[:, :-1], f"each image {layer} once in a map", ranked[:, 1:])
    _expect_all(np.isfinite(values), f"finite values {layer}", values)
    in_order = (values[:, :-1] > values[:, 1:]) | ((values[:, :-1] == values[:, 1:]) & (images[:, :-1] < images[:, 1:]))
    _expect_all(in_order, f"values {layer} in descending order, of equals the lower image first", values[:, 1:])
    _expect_all(positions >= 0, f"positions {layer} from 0 on", positions)


def _check_names(what: str, named: Any, expected: set[str]) -> None:
    """Raise an error for anything but a mapping with exactly these names."""
    _expect(isinstance(named, Mapping), f"{what} by name", named)
    for name in sorted(expected - named.keys()):
        raise ValueError(f"expected {what} with {name!r:.60}, got none")
    for name in sorted(named.keys() - expected):
        raise ValueError(f"expected {what} without {name!r:.60}, got one")


def _check_array(name: str, array: NDArray[Any], dtypes: Collection[str], shape: tuple[int, ...]) -> None:
    if array.dtype.name not in dtypes or array.shape != shape:
        kinds = " or ".join(dtypes)
        raise ValueError(f"expected {name} as {shape!s:.60} of {kinds}, got {array.shape} of {array.dtype!s:.60}")


def _expect(holds: object, expected: str, actual: object) -> None:
    if not holds:
        raise ValueError(f"expected {expected}, got {reprlib.repr(actual)}")


def _expect_all(holds: NDArray[np.bool_], expected: str, actual: NDArray[Any]) -> None:
    if not holds.all():
        first = tuple(np.argwhere(~holds)[0])
        raise ValueError(f"expected {expected}, got {actual[first].item()} in map {first[0]}")


def _is_whole(value: object) -> bool:
    return type(value) is int  # a bool is an int, too
