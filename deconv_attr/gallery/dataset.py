"""The data set of a search: images by number, their names, and a fingerprint.

A folder, a tensor, a list, a ``Dataset`` or a ``DataLoader``. Of a DataLoader its data set, workers and ``collate_fn``
are used; its order and batch size are not, because neither may change a result.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    default_collate,
    default_convert,
)

from ..engine.fingerprint import memory_of, without_addresses
from ..engine.modes import keep_random_state
from ..engine.undo import Undo
from ..errors import InputError, readable, reason
from ..units.image_source import image_of, is_numbered
from .images import Photographs, moments_of

__all__ = ["Group", "NumberedImages", "Unreadable"]

_SAMPLE = 16  # images of a data set whose pixels are part of its fingerprint
# What Pillow raises of a damaged file, in a data set that does not name it; an InputError is a ValueError.
_UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, RuntimeError, MemoryError, OverflowError, struct.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


class Unreadable(NamedTuple):
    """An image that cannot be read, and the reason."""

    number: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"cannot read image {self.number} ({self.name}): {self.reason}"


class Group(NamedTuple):
    """Some images of one shape: their numbers, and the images (N, C, *axes)."""

    numbers: list[int]
    images: Tensor


class NumberedImages:
    """Images by number.

    Parameters
    ----------
    data : str, Path, Tensor, list, Dataset or DataLoader
        Images (C, H, W), ready for the model, or tuples that begin with one. The path of a folder: its photographs,
        with the usual preprocessing.
    workers : int, optional
        The number of processes that read images; by default that of the DataLoader, else this process reads.

    Raises
    ------
    InputError
        The data are of another kind, or there is no image.
    """

    def __init__(self, data: Any, workers: int | None = None) -> None:
        loader = data if isinstance(data, DataLoader) else None
        data = data.dataset if isinstance(data, DataLoader) else data
        self.images: Any = Photographs(data) if isinstance(data, (str, Path)) else data
        _check_numbered(self.images)
        self._loader = loader
        self._workers = (loader.num_workers if loader else 0) if workers is None else workers
        if not isinstance(self._workers, int) or self._workers < 0:
            raise InputError(f"expected workers as a number of processes of at least 0, got {workers!r}")
        self._reader = _Reader(self.images, _collate_of(loader))

    @classmethod
    def of(cls, data: Any, workers: int | None = None) -> NumberedImages:
        """Return numbered images; those that are so already are kept, with their fingerprint."""
        return data if isinstance(data, NumberedImages) else cls(data, workers)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Tensor:
        """Read one image (C, *axes).

        Raises
        ------
        InputError
            It cannot be read.
        """
        image = self.attempt(number)
        if isinstance(image, Unreadable):
            raise InputError(str(image))
        return image

    def attempt(self, number: int) -> Tensor | Unreadable:
        """Read one image (C, *axes); return an Unreadable if that fails.

        Raises
        ------
        InputError
            The item is not an image.
        """
        group = self._reader[[number]][0]
        return group if isinstance(group, Unreadable) else group.images[0]

    @cached_property
    def numbers(self) -> list[int]:
        """The numbers of the chosen images, in ascending order: all, or those of the DataLoader's sampler."""
        loader = self._loader
        if loader is None:
            return list(range(len(self)))
        undo = Undo()
        with undo, undo:  # a random sampler draws from the caller's generators
            keep_random_state(torch.device("cpu"), undo)
            if loader.generator is not None:
                undo.later(partial(loader.generator.set_state, loader.generator.get_state()))
            if loader.batch_size is None and loader.batch_sampler is not None:
                return sorted({number for batch in loader.batch_sampler for number in batch})
            return sorted(set(loader.sampler))  # with those that drop_last would leave out

    def read(self, blocks: Sequence[list[int]]) -> Iterator[list[Group | Unreadable]]:
        """Read blocks of images, in order, with the workers; consecutive images of one shape form a group."""
        options: dict[str, Any] = {}
        if self._loader is not None:
            options = {
                "pin_memory": self._loader.pin_memory,
                "worker_init_fn": self._loader.worker_init_fn,
                "timeout": self._loader.timeout if self._workers else 0,
            }
            if self._workers:
                options |= {"multiprocessing_context": self._loader.multiprocessing_context}
        # A loader draws a seed: from a generator of its own, so that the caller's generator is left alone.
        generator = torch.Generator()
        yield from DataLoader(
            self._reader,
            batch_size=None,
            sampler=blocks,
            num_workers=self._workers,
            collate_fn=_identity,
            generator=generator,
            **options,
        )

    def name(self, number: int) -> str:
        """Return an image's file name in a readable form, relative to the folder if known; else its number in words."""
        return readable(_name(self.images, number))

    @property
    def preprocessing(self) -> str:
        """The preprocessing of photographs, in words; "" if it is unknown."""
        transform = _attribute(self.images, "preprocessing", "transform")
        return "" if transform is None else without_addresses(" ".join(str(transform).split()))

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """The mean and deviation by which images were normalised; None if no transform has them."""
        return moments_of(_attribute(self.images, "preprocessing", "transform"))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the data set: number, names and sizes of files, and the pixels of some images.

        Raises
        ------
        InputError
            An image has other pixels each time it is read.
        """
        digest = blake2b(str(len(self)).encode(), digest_size=16)
        for number in range(len(self)):
            path = _path(self.images, number)
            if path is None:
                break
            size = os.stat(path).st_size if os.path.isfile(path) else -1
            digest.update(f"{_name(self.images, number)}\0{size}\0".encode(errors="surrogateescape"))
        sample = sorted({number * (len(self) - 1) // max(_SAMPLE - 1, 1) for number in range(_SAMPLE)})
        pixels = [self._digest_of(number) for number in sample]
        for number, each in zip(sample, pixels, strict=True):
            if self._digest_of(number) != each:
                raise InputError(
                    f"expected the same pixels each time image {number} is read, got others: its transform is random"
                )
            digest.update(each)
        return digest.hexdigest()

    def _digest_of(self, number: int) -> bytes:
        image = self.attempt(number)
        if isinstance(image, Unreadable):
            return b"unreadable"
        return str((image.shape, image.dtype)).encode() + blake2b(memory_of(image)).digest()


def _check_numbered(images: Any) -> None:
    if isinstance(images, IterableDataset) or not is_numbered(images):
        raise InputError(
            "expected images that have numbers, as a folder, a tensor, a list, a Dataset or a DataLoader of one, "
            f"got a {type(images).__name__}"
        )
    if len(images) == 0:
        raise InputError("expected at least one image, got none")


class _Reader(Dataset[Any]):
    """Blocks of a data set's images, as a worker reads them."""

    def __init__(self, images: Any, collate: Any) -> None:
        self._images = images
        self._collate = collate

    def __getitem__(self, block: list[int]) -> list[Group | Unreadable]:
        unreadable: list[Any] = []
        items = []
        for number in block:
            try:
                item = self._images[number]
            except _UNREADABLE as error:
                unreadable.append(Unreadable(number, readable(_name(self._images, number)), _words(error)))
                continue
            if self._collate is None:
                item = image_of(_with_tensor(item), number)
                if not isinstance(self._images, (Tensor, list, tuple)):
                    item = item.clone()  # a copy: a data set may reuse the memory
            items.append((number, item))
        if self._collate is not None:
            return [*unreadable, *self._collated(items)]
        return [*unreadable, *_grouped(items)]

    def _collated(self, items: list[tuple[int, Any]]) -> list[Group]:
        if not items:
            return []
        numbers = [number for number, _ in items]
        batch = self._collate([item for _, item in items])
        batch = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        if not isinstance(batch, Tensor) or batch.shape[:1] != (len(items),) or not batch.is_floating_point():
            actual = f"{tuple(batch.shape)} of {batch.dtype}" if isinstance(batch, Tensor) else type(batch).__name__
            raise InputError(
                f"expected a tensor ({len(items)}, C, H, W) in floating point, or a tuple that begins with one, from "
                f"the DataLoader's collate_fn, got {actual}"
            )
        return [Group(numbers, batch)]


def _grouped(items: list[tuple[int, Tensor]]) -> list[Group]:
    groups: list[tuple[list[int], list[Tensor]]] = []
    for number, image in items:
        if not groups or (image.shape, image.dtype) != (groups[-1][1][-1].shape, groups[-1][1][-1].dtype):
            groups.append(([], []))
        groups[-1][0].append(number)
        groups[-1][1].append(image.detach())
    return [Group(numbers, torch.stack(images)) for numbers, images in groups]


def _with_tensor(item: Any) -> Any:
    """Return an item with its image as a tensor instead of an array, as a DataLoader would."""
    if isinstance(item, (tuple, list)) and item:
        return [_with_tensor(item[0])]
    return torch.from_numpy(item) if isinstance(item, np.ndarray) and item.dtype.kind in "fiu" else item


def _identity(value: Any) -> Any:
    return value


def _collate_of(loader: DataLoader[Any] | None) -> Any:
    """Return the user's own ``collate_fn``; None for torch's."""
    return None if loader is None or loader.collate_fn in (default_collate, default_convert) else loader.collate_fn


def _words(error: BaseException) -> str:
    return without_addresses(str(error) if isinstance(error, InputError) else reason(error))


def _attribute(data: Any, *names: str) -> Any:
    while isinstance(data, (Subset, ConcatDataset)):
        data = data.dataset if isinstance(data, Subset) else data.datasets[0]
    return next((value for name in names if (value := getattr(data, name, None)) is not None), None)


def _path(data: Any, number: int) -> str | None:
    """Return the file of an image; None if the data set does not list its files, as torchvision's folders do."""
    if isinstance(data, Subset):
        return _path(data.dataset, data.indices[number])
    if isinstance(data, Photographs):
        return str(data.folder / data.names[number])
    samples: Any = getattr(data, "samples", None)
    if not isinstance(samples, (list, tuple)) or len(samples) != len(data):
        return None
    sample = samples[number]
    return sample[0] if isinstance(sample, tuple) and sample and isinstance(sample[0], str) else None


def _name(data: Any, number: int) -> str:
    if isinstance(data, Subset):
        return _name(data.dataset, data.indices[number])
    if isinstance(data, Photographs):
        return data.names[number]
    path = _path(data, number)
    root = getattr(data, "root", "")
    if path is None:
        return f"image {number}"
    return os.path.relpath(path, root) if root and isinstance(root, (str, Path)) else path
