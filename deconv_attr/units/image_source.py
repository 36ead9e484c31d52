"""The images whose units are projected: a tensor, a list or a data set, read one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError

__all__ = ["ImageSource", "Images", "check_finite", "image_of", "is_numbered"]


class Images(Protocol):
    """A tensor (N, C, H, W), a list of (C, H, W), or a data set of these or of pairs with them in front."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class ImageSource:
    """The images, one at a time."""

    def __init__(self, images: Images, device: torch.device | None) -> None:
        if not is_numbered(images):
            raise InputError(f"expected images as a tensor, a list or a data set, got a {type(images).__name__}")
        if len(images) == 0:
            raise InputError("expected at least one image, got none")
        self._images, self._device = images, device
        self._dtype: torch.dtype | None = None

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> Tensor:
        """Return one image on the model's device, (C, *axes)."""
        image = image_of(self._images[number], number)
        self._dtype = self._dtype or image.dtype
        if image.dtype != self._dtype:
            raise InputError(f"expected images of one type, got image {number} of {image.dtype} after {self._dtype}")
        self.device = image.device
        if not isinstance(self._images, (Tensor, list, tuple)):
            image = image.clone()  # a data set may fill the same memory again
        return image.detach().to(self._device or image.device)


def image_of(item: Any, number: int) -> Tensor:
    """Return the image (C, *axes) of an item of a data set: the item itself, or the first of its tuple.

    Raises
    ------
    InputError
        It is no tensor in floating point with channels and axes.
    """
    image = item[0] if isinstance(item, (tuple, list)) and item else item
    if not isinstance(image, Tensor) or not image.is_floating_point() or image.dim() < 2 or not image.numel():
        found = f"{tuple(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(
            f"expected image {number} as a tensor (C, H, W) in floating point, got {found}: a signal is a real number"
        )
    return image


def is_numbered(images: object) -> bool:
    """Whether images can be read by number; those of a dict have names."""
    return all(hasattr(images, name) for name in ("__len__", "__getitem__")) and not isinstance(images, Mapping)


def check_finite(pixels: Tensor, number: int) -> Tensor:
    """Refuse pixels of an image that are NaN or infinite; a sum is quick, and is finite if they are."""
    if not bool(pixels.sum().isfinite()) and not bool(pixels.isfinite().all()):
        raise InputError(f"expected image {number} finite, got values that are NaN or infinite")
    return pixels
