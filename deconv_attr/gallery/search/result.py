"""The result of a search: the strongest activations, the images searched, and the model and data set of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...engine.fingerprint import fingerprint_of
from ...engine.reprs import html_table, one_line
from ...errors import InputError, readable, shown
from ..dataset import NumberedImages, Unreadable
from . import archive
from .top_k import TopK
from .validation import PARTS, check

__all__ = ["Origin", "Strongest"]


@dataclass(frozen=True)
class Origin:
    """The model and the images of a search: fingerprints to compare, and descriptions for a reader.

    Parameters
    ----------
    weights, pixels : str
        Fingerprints of the model and of the data set.
    images : int
        The number of images of the data set.
    model, data, preprocessing : str
        In words.
    computed : str
        The version of torch and the kind of device: others may round differently.
    """

    weights: str
    pixels: str
    images: int
    model: str
    data: str
    preprocessing: str
    computed: str

    @classmethod
    def of(cls, model: nn.Module, source: NumberedImages, device: torch.device) -> Origin:
        """Return the origin of a search with a model and images."""
        return cls(
            fingerprint_of(model),
            source.fingerprint,
            len(source),
            type(model).__name__,
            type(source.images).__name__,
            source.preprocessing,
            f"torch {torch.__version__}, {device.type}",
        )

    def check(self, what: str, weights: str | None = None, pixels: str | None = None, images: int = 0) -> None:
        """Raise an error for another model or data set than this.

        Raises
        ------
        InputError
            It is another.
        """
        if weights is not None and weights != self.weights:
            raise InputError(
                f"{what} is of another model: a {_shown(self.model)} with the fingerprint {self.weights[:8]}, "
                f"and this one has {weights[:8]}"
            )
        if pixels is not None and (pixels, images) != (self.pixels, self.images):
            raise InputError(
                f"{what} is of another data set: {self.images} images with the fingerprint {self.pixels[:8]}, "
                f"and these {images} have {pixels[:8]}"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Strongest(Mapping[str, TopK]):
    """The k strongest activations of every feature map of some layers over a data set, at most one of each image.

    ``found["features.5"].values``, ``.images`` and ``.positions`` have the shapes (maps, k), (maps, k) and
    (maps, k, 2), strongest first. If two activations are equal, the image with the lower number wins. Where fewer than
    k images were searched, the value is minus infinity and the image -1. A layer that was not searched is a
    ``KeyError``.

    Parameters
    ----------
    k : int
        The number of activations of each map.
    origin : Origin
        Model and images.
    tops : dict of str to TopK
        The strongest activations, by layer.
    searched : Tensor
        (images,), bool: the images that were searched.
    skipped : tuple of Unreadable
        Those among them that could not be read: number, name, reason.
    """

    k: int
    origin: Origin
    tops: dict[str, TopK]
    searched: Tensor
    skipped: tuple[Unreadable, ...] = ()

    def __getitem__(self, layer: str) -> TopK:
        if layer not in self.tops:
            raise KeyError(f"layer {layer!r} was not searched, but {', '.join(self.tops)}")
        return self.tops[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tops)

    def __len__(self) -> int:
        return len(self.tops)

    def __repr__(self) -> str:
        maps = sum(len(top.values) for top in self.tops.values())
        return one_line(
            self,
            f"{self.k} of each of {maps} maps in {len(self)} layers of {self.origin.model}, "
            f"from {int(self.searched.sum())} of {len(self.searched)} images",
        )

    def _repr_html_(self) -> str:
        """Return the layers for a notebook."""
        rows = [[layer, len(top.values), top.strongest] for layer, top in self.tops.items()]
        notes = [self.skipped_in_words] if self.skipped else []
        return html_table(repr(self)[1:-1], ["layer", "maps", "strongest activation"], rows, notes)

    @property
    def skipped_in_words(self) -> str:
        """A sentence about the images that could not be read; "" if all could be."""
        if not self.skipped:
            return ""
        named = "; ".join(f"{image.name}: {image.reason}" for image in self.skipped[:5])
        more = "; ..." if len(self.skipped) > 5 else ""
        searched = int(self.searched.sum())
        return f"{len(self.skipped)} of {searched} images could not be read and were skipped ({named}{more})"

    def merge(self, other: Strongest) -> Strongest:
        """Return the result of a search of all images that either has searched.

        Raises
        ------
        InputError
            The other is of another model or data set, or has other layers or another k.
        """
        if not isinstance(other, Strongest):
            raise InputError(f"expected another result to merge with, got a {type(other).__name__}")
        other.check_like(self, "the result to merge with")
        missing = {image.number: image for image in (*other.skipped, *self.skipped)}
        read = (self.searched & ~_where(self.skipped, self.searched)) | (
            other.searched & ~_where(other.skipped, other.searched)
        )
        return Strongest(
            self.k,
            self.origin,
            {name: top.merged(other.tops[name]) for name, top in self.tops.items()},
            self.searched | other.searched,
            tuple(image for number, image in sorted(missing.items()) if not read[number]),
        )

    def check_like(self, other: Strongest, what: str) -> None:
        """Raise an error for a result of other model, images, layers, k or tables.

        Raises
        ------
        InputError
            They differ; `what` names this result.
        """
        origin = other.origin
        self.origin.check(what, origin.weights, origin.pixels, origin.images)
        for name, ours, theirs in (("k", self.k, other.k), ("layers", list(self), list(other))):
            if ours != theirs:
                raise InputError(f"{what} has other {name}: expected {theirs}, got {ours}")
        for name, top in self.tops.items():
            if top.kind != other.tops[name].kind:
                raise InputError(f"{what} has other maps of {name!r}: expected {other.tops[name].kind}, got {top.kind}")

    def check(self, model: nn.Module | None = None, data: Any = None, what: str = "the result") -> None:
        """Raise an error for a model or a data set other than those of this result.

        Parameters
        ----------
        model : nn.Module, optional
            Its structure and weights are compared.
        data : optional
            As for :func:`strongest`. Compared are the number of images, names and sizes of files, and the pixels of 16
            images.
        what : str
            The name of this result in the error.

        Raises
        ------
        InputError
            It is another.
        """
        if model is not None:
            self.origin.check(what, weights=fingerprint_of(model))
        if data is not None:
            source = NumberedImages.of(data)
            self.origin.check(what, pixels=source.fingerprint, images=len(source))

    def save(self, path: str | Path) -> None:
        """Write the result to one file, or nothing at all.

        Parameters
        ----------
        path : str or Path
            The file, an ``.npz`` archive; one that exists is replaced.

        Raises
        ------
        SearchError
            It cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {"searched": np.packbits(self.searched.numpy())}
        for name, top in self.tops.items():
            arrays |= {f"{name}/{part}": getattr(top, part).numpy() for part in PARTS}
        description = {"k": self.k, "layers": list(self.tops), "origin": asdict(self.origin), "skipped": self.skipped}
        archive.write(Path(path), arrays, description)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None, data: Any = None) -> Strongest:
        """Read a file, and compare it with a model and a data set where these are given.

        Parameters
        ----------
        path : str or Path
            What :meth:`save` or :func:`strongest` wrote.
        model, data
            As for :meth:`check`.

        Returns
        -------
        Strongest
            In CPU memory.

        Raises
        ------
        InputError
            There is no such file; it is damaged, of another kind or version; or of another model or data set.
        """
        arrays, description = archive.read(Path(path))
        try:
            check(description, arrays)
        except ValueError as error:
            raise InputError(f"{path} is damaged: {error}") from error
        found = cls._from(arrays, description)
        found.check(model, data, str(path))
        return found

    @classmethod
    def _from(cls, arrays: archive.Arrays, description: Mapping[str, Any]) -> Strongest:
        """Return the result that a description and arrays hold, which have been checked."""
        origin = Origin(**description["origin"])
        tops = {
            layer: TopK(*(torch.from_numpy(arrays[f"{layer}/{part}"]) for part in PARTS))
            for layer in description["layers"]
        }
        searched = torch.from_numpy(np.unpackbits(arrays["searched"], count=origin.images).astype(bool))
        skipped = (Unreadable(number, *map(readable, texts)) for number, *texts in description["skipped"])
        return cls(description["k"], origin, tops, searched, tuple(skipped))


def _shown(name: str) -> str:
    """Return the name of a class as it is, and what a file has instead of one so that it stays on its line."""
    return name if name.isidentifier() else shown(name)


def _where(skipped: tuple[Unreadable, ...], like: Tensor) -> Tensor:
    mask = torch.zeros_like(like)
    mask[[image.number for image in skipped]] = True
    return mask
