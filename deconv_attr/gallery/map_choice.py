"""The feature maps to show: all, those with certain numbers, or a number of them at random."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from operator import index
from typing import Any

import numpy as np
import torch

from ..errors import InputError

__all__ = ["Maps", "choose_maps", "sample_maps"]

Maps = int | Sequence[int] | None


def choose_maps(layer: str, count: int, maps: Maps, seed: int) -> list[int]:
    """Return the numbers of the chosen maps, of a layer that has `count`.

    Raises
    ------
    InputError
        The layer has no such map.
    """
    if maps is None:
        return list(range(count))
    if isinstance(maps, Integral) and not isinstance(maps, bool):
        return sample_maps(range(count), int(maps), seed)
    numbers = _indices(maps)
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong or not numbers:
        actual = f"map {wrong[0]}" if wrong else "none"
        raise InputError(f"expected maps of {layer} from 0 to {count - 1}, got {actual}")
    return list(dict.fromkeys(numbers))


def _indices(maps: Any) -> list[int]:
    try:
        if isinstance(maps, str) or any(map(_is_flag, maps)):
            raise TypeError
        return [index(number) for number in maps]
    except TypeError as error:
        raise InputError(f"expected maps as a number or a list of numbers, got {maps!r:.60}") from error


def _is_flag(number: object) -> bool:
    """Whether a number is an entry of a mask, which Python would read as 0 or 1."""
    return isinstance(number, (bool, np.bool_)) or getattr(number, "dtype", None) == torch.bool


def sample_maps(numbers: Sequence[int], count: int, seed: int) -> list[int]:
    """Return `count` of some numbers, drawn at random, in ascending order."""
    if count < 1:
        raise InputError(f"expected at least one map, got {count}")
    if count >= len(numbers):
        return list(numbers)
    drawn = np.random.default_rng(seed).choice(len(numbers), count, replace=False)
    return [numbers[position] for position in sorted(drawn.tolist())]
