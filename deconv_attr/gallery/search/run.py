"""One pass over a data set: the strongest activations of every feature map of every chosen layer.

Source: Zeiler and Fergus 2014, section 4 and figure 2: "the top 9 activations in a random subset of feature maps across
the validation data".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import reduce
from numbers import Integral
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ...attribution.inputs import check_model
from ...engine.call_site import warn_caller
from ...engine.layers import Layer, find_layer
from ...engine.undo import Undo
from ...errors import InputError, SkippedImagesWarning
from ...units.acceptance import check_takes_images
from ..dataset import NumberedImages, Unreadable
from .checkpoints import Checkpoints
from .distributed import ProcessGroup, join
from .result import Origin, Strongest
from .scan import Scan
from .termination import Termination, handle_termination

__all__ = ["strongest"]


def strongest(
    model: nn.Module,
    data: Any,
    layers: nn.Module | str | Sequence[nn.Module | str] | None = None,
    k: int = 9,
    *,
    images: Iterable[int] | None = None,
    file: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: float = 60,
    workers: int | None = None,
    strict: bool = False,
    show_progress: bool = False,
) -> Strongest:
    """Find the k strongest activations of every feature map over a data set, at most one of each image.

    One forward pass without gradients, as far as the last of the layers. The result does not depend on the DataLoader's
    batch size, order and workers, nor on the number of processes; where that changes the number of threads of each
    (``torchrun`` sets one), activations may differ in their last bits, as torch's kernels do.

    Parameters
    ----------
    model : nn.Module
        In eval mode; it is never changed. Images go to its device.
    data : str, Path, Tensor, list, Dataset or DataLoader
        Images (C, H, W), ready for the model, or tuples that begin with one; the path of a folder of photographs, which
        get the usual preprocessing (:class:`Photographs` takes another). Of a DataLoader the data set, the sampler's
        choice, workers and ``collate_fn`` are used. They may differ in size.
    layers : nn.Module, str or sequence of these, optional
        Modules or dotted names, ``"relu#2"`` for a second call. By default all that return rectified feature maps,
        as far as the model runs without values: of a detector those of its backbone.
    k : int
        The number of activations of each map.
    images : iterable of int, optional
        The numbers of the images to search; all by default. Results of parts can be merged. At the ends of a part
        fewer images run together, so some activations may differ in their last bits from a search of all images.
    file : str or Path, optional
        The file of the result; beside it, while the search runs, a checkpoint of each process.
    resume : bool
        Whether to continue from checkpoints, or from a file of some of the images. Images that could not be read are
        read again.
    checkpoint_every : float
        Seconds between two checkpoints; there is one more if the search is interrupted, by an error, Ctrl-C, SIGTERM or
        a closed terminal. A signal ends the process then, unless the caller handles it.
    workers : int, optional
        Processes that read images; by default those of the DataLoader, else none.
    strict : bool
        Whether an image that cannot be read is an error; otherwise it is skipped, and listed in the result.
    show_progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Strongest
        In CPU memory. Under ``torchrun``, or wherever torch.distributed is initialised, each process
        searches a share, all of them return the whole, and the first writes the file.

    Raises
    ------
    InputError
        No image; a layer that does not exist, run, or return one tensor of units; no layer is known, and why; an
        image that the model does not accept; a file of another search, or a checkpoint without `resume`; a transform
        that is random.
    ModelError
        No Module; TorchScript; a forward that needs more than an image; values that change from run to run.
    SignalError
        Activations that are NaN or infinite.
    SearchError
        The file cannot be written, or another process has ended. Checkpoints stay usable.

    Warns
    -----
    SkippedImagesWarning
        Images could not be read.
    """
    check_model(model)
    _check_numbers(k, checkpoint_every)
    chosen = None if layers is None else _chosen(model, layers)
    check_takes_images(model, chosen)
    source = NumberedImages.of(data, workers)
    numbers = _numbers(source.numbers if images is None else images, len(source))
    undo = Undo()
    with undo, undo:
        ending = handle_termination(undo)
        group = join(undo)
        checkpoints = None if file is None else Checkpoints(file, group.rank, checkpoint_every, ending)
        search = _Search(model, source, chosen, int(k), numbers, group, strict, ending)
        found = search.run(checkpoints, resume, show_progress)
    if found.skipped and group.rank == 0:
        warn_caller(SkippedImagesWarning(found.skipped_in_words))
    return found


def _check_numbers(k: Any, checkpoint_every: Any) -> None:
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise InputError(f"expected k as a whole number of at least 1, got {k!r}")
    if isinstance(checkpoint_every, bool) or not isinstance(checkpoint_every, (int, float)) or checkpoint_every < 0:
        raise InputError(f"expected checkpoint_every in seconds, got {checkpoint_every!r:.60}")


class _Search:
    """One call of :func:`strongest`, in one process."""

    def __init__(
        self,
        model: nn.Module,
        source: NumberedImages,
        layers: Sequence[Layer] | None,
        k: int,
        numbers: list[int],
        group: ProcessGroup,
        strict: bool,
        ending: Termination,
    ) -> None:
        self._source = source
        self._k = k
        self._group = group
        self._strict = strict
        self._ending = ending
        image = _first_image(source, numbers, strict)
        device = next((parameter.device for parameter in model.parameters()), image.device)
        self._scan = Scan(model, layers, k, image.to(device))
        self._origin = Origin.of(model, source, device)
        self._wanted = torch.zeros(len(source), dtype=torch.bool)
        for theirs in group.gather(numbers):  # samplers may differ from process to process
            self._wanted[theirs] = True
        self._searched = torch.zeros_like(self._wanted)
        self._skipped: set[Unreadable] = set()

    def run(self, checkpoints: Checkpoints | None, resume: bool, show_progress: bool) -> Strongest:
        rank, size = self._group.rank, self._group.size
        earlier: Strongest | None = self._group.agree(checkpoints.found(resume) if checkpoints and not rank else None)
        if earlier is not None:
            self._continue_from(earlier)
        blocks = self._blocks()
        share = blocks[rank * len(blocks) // size : (rank + 1) * len(blocks) // size]
        with checkpoints.kept_if_interrupted() if checkpoints else nullcontext():
            with tqdm(total=sum(map(len, share)), disable=not show_progress or rank > 0, unit="image") as bar:
                self._search(share, checkpoints, bar)
            found: Strongest = reduce(Strongest.merge, self._group.gather(self._state()))
            if checkpoints and not rank:
                checkpoints.finish(found)
        self._group.agree(None)  # the file is there when any process returns
        return found

    def _search(self, blocks: list[list[int]], checkpoints: Checkpoints | None, bar: Any) -> None:
        for block, parts in zip(blocks, self._source.read(blocks), strict=True):
            for part in parts:
                self._take(part)
            self._ending.check()
            self._searched[block] = True
            bar.update(len(block))
            if checkpoints:
                checkpoints.keep(self._state())

    def _take(self, part: Any) -> None:
        if not isinstance(part, Unreadable):
            self._scan.look_at(part)
        elif self._strict:
            raise InputError(str(part))
        else:
            self._skipped.add(part)

    def _continue_from(self, earlier: Strongest) -> None:
        earlier.check_like(self._state(), "the file to continue from")
        if bool((earlier.searched & ~self._wanted).any()):
            number = int((earlier.searched & ~self._wanted).nonzero()[0])
            raise InputError(f"expected to continue a search of the chosen images alone, got image {number} too")
        self._scan.tops.update({name: top.copy() for name, top in earlier.tops.items()})
        self._searched |= earlier.searched
        self._searched[[image.number for image in earlier.skipped]] = False  # they may be readable by now

    def _blocks(self) -> list[list[int]]:
        """Divide the data set into blocks of about one size, and return the images of each that are still to search."""
        every = torch.arange(len(self._wanted))
        blocks = every.tensor_split(max(1, len(every) // self._scan.block))
        pending = self._wanted & ~self._searched
        return [numbers for block in blocks if (numbers := block[pending[block]].tolist())]

    def _state(self) -> Strongest:
        tops = {name: top.copy() for name, top in self._scan.tops.items()}
        return Strongest(self._k, self._origin, tops, self._searched.clone(), tuple(sorted(self._skipped)))


def _chosen(model: nn.Module, layers: Any) -> list[Layer]:
    listed = [layers] if isinstance(layers, (str, nn.Module)) or not isinstance(layers, Iterable) else list(layers)
    if not listed:
        raise InputError("expected at least one layer, got none")
    resolved = [find_layer(model, layer) for layer in listed]
    return list({layer.label: layer for layer in resolved}.values())


def _numbers(images: Iterable[int], count: int) -> list[int]:
    try:
        listed = sorted({index(number) for number in images})
    except TypeError as error:
        raise InputError(f"expected images as numbers, got {images!r:.60}") from error
    if not listed or listed[0] < 0 or listed[-1] >= count:
        actual = "none" if not listed else str(listed[0] if listed[0] < 0 else listed[-1])
        raise InputError(f"expected images as numbers from 0 to {count - 1}, got {actual}")
    return listed


def _first_image(source: NumberedImages, numbers: list[int], strict: bool) -> torch.Tensor:
    """Return the first image that can be read."""
    first: Unreadable | None = None
    for number in numbers:
        image = source.attempt(number)
        if not isinstance(image, Unreadable):
            return image
        first = first or image
        if strict:
            raise InputError(str(image))
    raise InputError(f"expected an image that can be read among {len(numbers)}, got none; the first: {first}")
