"""Generated pictures of textured shapes over clutter: eight classes, told apart by outline alone.

A picture is ``background + coverage * (paint - background)``. Colour, texture, position, size and rotation are
independent of the class.

Image `i` of seed `s` is drawn from ``numpy.random.default_rng([s, i])``: the same one in whatever order or
batch it is asked for.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from .outlines import CLASS_NAMES, SIZE, Grid, cover, turn

__all__ = ["Sample", "Scene", "Shapes", "draw_scene"]

Rng = np.random.Generator


def _colour(rng: Rng, lightness: float, saturation: float) -> Grid:
    """Return a colour of random hue, ``(3, 1, 1)``."""
    tint = np.cos(2 * np.pi * (rng.random() - np.arange(3) / 3))
    return np.clip(lightness + saturation * tint / 2, 0, 1).astype(np.float32).reshape(3, 1, 1)


def _smooth_noise(rng: Rng) -> Grid:
    """Return random values on a coarse lattice, interpolated linearly."""
    cells = int(rng.integers(6, 25))
    distance = np.linspace(0, cells - 1, SIZE)[:, None] - np.arange(cells)
    weights = np.clip(1 - np.abs(distance), 0, 1).astype(np.float32)
    rows: Grid = weights @ rng.random((cells, cells), dtype=np.float32)
    noise: Grid = rows @ weights.T
    return noise


def _texture(rng: Rng) -> Grid:
    """Return a random pattern between 0 and 1: plain, stripes, checks, dots or noise."""
    kind = rng.integers(5)
    if kind == 0:
        return np.zeros((SIZE, SIZE), np.float32)
    if kind == 1:
        return _smooth_noise(rng)
    row, column = rng.uniform(0, SIZE, 2)
    x, y = turn(row, column, rng.uniform(0, np.pi))
    pace = np.float32(2 * np.pi / rng.uniform(7, 16))
    wave = np.sin(pace * x)
    if kind == 3:
        wave = wave * np.sin(pace * y) * 2
    if kind == 4:
        wave = wave + np.sin(pace * y) - 0.8
    texture: Grid = np.clip(0.5 + 1.5 * wave, 0, 1)
    return texture


def _painted(rng: Rng, lightness: float, contrast: float, saturation: float) -> Grid:
    """Return two colours of similar lightness in a random texture, ``(3, 96, 96)``."""
    first = _colour(rng, lightness - contrast / 2, saturation)
    second = _colour(rng, lightness + contrast / 2, saturation)
    return first + _texture(rng) * (second - first)


def _clutter(rng: Rng) -> Grid:
    """Return the share of each pixel that something without a class covers: a blob, a stroke or a broken shape."""
    row, column = rng.uniform(0, SIZE, 2)
    x, y = turn(row, column, rng.uniform(0, 2 * np.pi))
    kind = rng.integers(3)
    if kind == 0:
        coverage = rng.uniform(2, 4.5) - np.hypot(x, y)
    elif kind == 1:
        beyond = np.maximum(np.abs(x) - rng.uniform(5, 25), 0)
        coverage = rng.uniform(1.1, 2.1) - np.hypot(beyond, y)
    else:
        # broken off beside the centre, along a line at a random angle to the shape's axes
        name = CLASS_NAMES[rng.integers(len(CLASS_NAMES))]
        radius = rng.uniform(8, 15)
        coverage = np.minimum(cover(name, row, column, radius, rng.uniform(0, 2 * np.pi)), x - 1)
    return np.clip(coverage, 0, 1)


class Scene(NamedTuple):
    """The layers of one picture, before they are put together."""

    background: Grid
    """``(3, 96, 96)``: texture and clutter."""
    paint: Grid
    """``(3, 96, 96)``: the texture of the shape, everywhere."""
    coverage: Grid
    """``(96, 96)``: the share of each pixel that the shape covers."""
    label: int


def draw_scene(seed: int, index: int) -> Scene:
    """Draw the layers of image `index` of `seed`."""
    rng = np.random.default_rng([seed, index])
    label = int(rng.integers(len(CLASS_NAMES)))
    radius = rng.uniform(17, 36)
    row, column = rng.uniform(radius + 1, SIZE - radius - 2, 2)
    coverage = cover(CLASS_NAMES[label], row, column, radius, rng.uniform(0, 2 * np.pi))

    # apart in lightness by at least 0.3: otherwise some shapes would be invisible
    dark = rng.uniform(0.12, 0.4)
    bright = rng.uniform(0.7, 0.9)
    behind, before = (dark, bright) if rng.random() < 0.5 else (bright, dark)
    background = _painted(rng, behind, rng.uniform(0, 0.2), rng.uniform(0.1, 0.5))
    for _ in range(rng.integers(3, 9)):
        colour = _colour(rng, rng.uniform(0.15, 0.9), rng.uniform(0.1, 0.9))
        background += _clutter(rng) * (colour - background)
    paint = _painted(rng, before, rng.uniform(0, 0.2), rng.uniform(0.3, 0.9))
    grain = rng.uniform(0, 0.04) * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    return Scene(np.clip(background + grain, 0, 1), np.clip(paint + grain, 0, 1), coverage, label)


class Sample(NamedTuple):
    """A picture with its mask and label."""

    image: Tensor
    """``(3, 96, 96)`` float32, RGB in [0, 1]."""
    mask: Tensor
    """``(96, 96)`` bool: pixels of which the shape covers at least half."""
    label: int
    """Index into ``CLASS_NAMES``."""


class Shapes(Dataset[tuple[Tensor, int]]):
    """Data set of generated shapes: ``(image, label)`` pairs, drawn on access.

    Parameters
    ----------
    length
        Number of images.
    seed
        Two seeds share no image. The embedded weights were trained on seed 0.

    Raises
    ------
    InputError
        If `length` or `seed` is negative.
    """

    def __init__(self, length: int, seed: int = 0) -> None:
        if length < 0 or seed < 0:
            raise InputError(f"expected length and seed of at least 0, got length={length}, seed={seed}")
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample = self.sample(index)
        return sample.image, sample.label

    def sample(self, index: int) -> Sample:
        """Return image `index` with its mask and label."""
        background, paint, coverage, label = draw_scene(self.seed, self._checked(index))
        image = background + coverage * (paint - background)
        return Sample(torch.from_numpy(image), torch.from_numpy(coverage >= 0.5), label)

    def mask(self, index: int) -> Tensor:
        """Return the mask of the shape of image `index`, ``(96, 96)`` bool."""
        return self.sample(index).mask

    def _checked(self, index: int) -> int:
        # an IndexError, which ends the iteration over a sequence
        if not -self.length <= index < self.length:
            raise IndexError(f"expected an index below {self.length}, got {index}")
        return index % self.length
