"""Generated shapes as inputs of the embedded model, and the few of them that the commands show."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..gallery.images import standard_preprocessing
from .outlines import CLASS_NAMES, SIZE
from .shapes import Sample, Shapes
from .zfnet import MEAN, STD

__all__ = ["GeneratedImages", "embedded_images", "embedded_masks"]

EMBEDDED_IMAGES = 6
EMBEDDED_SEED = 2  # used neither in training nor in validation


class GeneratedImages(Dataset[Tensor]):
    """Generated shapes (3, 96, 96) as inputs of the embedded model.

    Parameters
    ----------
    count : int
        The number of images.
    """

    preprocessing = standard_preprocessing(SIZE, SIZE, MEAN, STD)

    def __init__(self, count: int) -> None:
        self._shapes = Shapes(count, EMBEDDED_SEED)

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, number: int) -> Tensor:
        return self.preprocessing.normalise(self._shapes[number][0])


def embedded_images(number: int = EMBEDDED_IMAGES) -> tuple[Tensor, list[str]]:
    """Return generated images, each of another class, and their names.

    Parameters
    ----------
    number : int
        N, at most 8.

    Returns
    -------
    tuple
        The images, (N, 3, 96, 96) between 0 and 1, and N texts.
    """
    samples = _embedded_samples(number)
    return torch.stack([each.image for each in samples]), [f"a generated {CLASS_NAMES[each.label]}" for each in samples]


def embedded_masks(number: int = EMBEDDED_IMAGES) -> Tensor:
    """Return the masks of the shapes in the images that :func:`embedded_images` returns.

    Parameters
    ----------
    number : int
        N, at most 8.

    Returns
    -------
    Tensor
        (N, 96, 96) bool, True on the shape.
    """
    return torch.stack([each.mask for each in _embedded_samples(number)])


def _embedded_samples(number: int) -> list[Sample]:
    first: dict[int, Sample] = {}
    shapes = Shapes(1000, EMBEDDED_SEED)
    for sample in map(shapes.sample, range(len(shapes))):
        if len(first) == number:
            break
        first.setdefault(sample.label, sample)
    return list(first.values())
