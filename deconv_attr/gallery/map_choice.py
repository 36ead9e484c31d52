"""Which feature maps are shown: all, those with certain numbers, or so many by chance."""

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
    """Give the numbers of the maps that are meant, of a layer that has so many.

    Raises
    ------
    InputError
        It has no such map.
    """
    if maps is None:
        return list(range(count))
    if isinstance(maps, Integral) and not isinstance(maps, bool):
        return sample_maps(range(count), int(maps), seed)
    try:
        listed: Any = maps
        if isinstance(maps, str) or any(map(_is_flag, listed)):
            raise TypeError
        numbers = [index(number) for number in listed]
    except TypeError as error:
        raise InputError(f"expected maps as a number or a list of numbers, got {maps!r:.60}") from error
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong or not numbers:
        found = f"map {wrong[0]}" if wrong else "none"
        raise InputError(f"expected maps of {layer} from 0 to {count - 1}, got {found}")
    return list(dict.fromkeys(numbers))


def _is_flag(number: object) -> bool:
    """Tell a mask's entries, which Python would take for 0 and 1."""
    return isinstance(number, (bool, np.bool_)) or getattr(number, "dtype", None) == torch.bool


def sample_maps(numbers: Sequence[int], count: int, seed: int) -> list[int]:
    """Draw some at random, and give them in order."""
    if count < 1:
        raise InputError(f"expected at least one map, got {count}")
    if count >= len(numbers):
        return list(numbers)
    drawn = np.random.default_rng(seed).choice(len(numbers), count, replace=False)
    return [numbers[place] for place in sorted(drawn.tolist())]
