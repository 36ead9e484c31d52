"""What is shown of inputs that are no photographs: signals, volumes, videos, and images of any channels.

A :class:`View` says which rows a picture has, and what of an input and of its maps each row shows. An image is one row.
A volume has a row for a slice, the one with the strongest maps, and one for the projection along its first axis. A
signal is a curve above the stripes of its maps, a video a strip of frames above the strips of theirs: both are
``stacked``, as they are wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

__all__ = ["Row", "View", "view_of"]

FRAMES = 8  # of a video, by default
SPACE = 0.02  # of a frame's width, between two

Part = Callable[[Tensor], Tensor]
"""From a map (C, ...) to what is shown of it, (C, H, W)."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a picture.

    Parameters
    ----------
    example : int
        The number of the input.
    words : str
        What of it is shown, such as "slice 7 of 0 to 15"; empty where that is all of it.
    picture : callable
        Returns :attr:`image`; of many images, a page asks for one at a time.
    part : callable
        From a map (C, ...) to what is shown of it, (C, H, W).
    """

    example: int
    words: str
    picture: Callable[[], Tensor]
    part: Part

    @property
    def image(self) -> Tensor:
        """The input as a picture (3, H, W) or (1, H, W) between 0 and 1, or as a signal (C, L)."""
        return self.picture()


@dataclass(frozen=True, eq=False)
class View:
    """The rows of a picture of some inputs.

    Parameters
    ----------
    rows : list of Row
        One or several for each input.
    stacked : bool
        Whether the maps of an input lie below each other, aligned.
    words : str
        What is shown of all images, for the head of their column.
    axis : str
        What runs from left to right: "sample" or "frame"; empty for images.
    """

    rows: list[Row]
    stacked: bool = False
    words: str = "image"
    axis: str = ""


def view_of(
    inputs: Tensor,
    maps: Sequence[Tensor],
    images: Tensor | None = None,
    *,
    examples: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
    slices: Sequence[int] | None = None,
    frames: Sequence[int] | None = None,
) -> View:
    """Return what is shown of some inputs.

    Parameters
    ----------
    inputs : Tensor
        (N, C, H, W), signals (N, C, L), volumes or videos (N, C, D, H, W).
    maps : sequence of Tensor
        Maps of the inputs, (N, C, ...) or (N, 1, ...); of a volume the slice with the strongest of them is shown.
    images : Tensor, optional
        The inputs as pictures between 0 and 1, (N, 3, ...) or (N, 1, ...), or as any signal; by default each input,
        from its minimum to its maximum.
    examples : sequence of int, optional
        The numbers of the inputs to show; by default all.
    channels : sequence of int, optional
        One or three channels to show of an input of many, of a signal any number.
    slices : sequence of int, optional
        The slices of volumes to show, along the first axis after the channels.
    frames : sequence of int, optional
        The frames of videos to show. By default inputs (N, 3, D, H, W) are videos, with 8 frames.

    Raises
    ------
    InputError
        There are no such examples, channels, slices or frames, or the inputs have none.
    """
    numbers = _chosen(examples, len(inputs), "rows")
    chosen = None if channels is None else _chosen(channels, inputs.shape[1], "channels")
    _check_kind(inputs, chosen, slices, frames)
    if inputs.dim() == 3:
        shown = inputs if images is None else images
        rows = [Row(n, "", partial(_channels_of, shown[n], chosen), _planes(chosen, stripes=True)) for n in numbers]
        return View(rows, True, "signal", "sample")
    seen = _seen(inputs, frames) if slices is None else None
    pictures = [
        partial(_picture, inputs[n], chosen) if images is None else partial(images.__getitem__, n) for n in numbers
    ]
    words = _channel_words(inputs, chosen) if images is None else ""
    if inputs.dim() == 4:
        rows = [Row(n, "", picture, _planes(chosen)) for n, picture in zip(numbers, pictures, strict=True)]
        return View(rows, words=f"image{words}")
    if seen is not None:
        said = f"frames {', '.join(map(str, seen))} of 0 to {inputs.shape[2] - 1}"
        rows = [
            Row(n, said, partial(_side_by_side, picture(), seen, 1.0), _strip(chosen, seen))
            for n, picture in zip(numbers, pictures, strict=True)
        ]
        return View(rows, True, f"video{words}")
    rows = [
        row
        for n, picture in zip(numbers, pictures, strict=True)
        for row in _rows_of_volume(n, picture(), maps, chosen, slices)
    ]
    return View(rows, words=f"image{words}")


def _check_kind(inputs: Tensor, channels: Sequence[int] | None, slices: object, frames: object) -> None:
    for name, given in (("slices", slices), ("frames", frames)):
        if given is not None and inputs.dim() != 5:
            raise InputError(f"expected {name} with inputs (N, C, D, H, W) only, got inputs {tuple(inputs.shape)}")
    if slices is not None and frames is not None:
        raise InputError("expected slices, of volumes, or frames, of videos, got both")
    if channels is not None and inputs.dim() > 3 and len(channels) not in (1, 3):
        raise InputError(f"expected one of the channels, or three as red, green and blue, got {len(channels)}")


def _chosen(given: Sequence[int] | None, count: int, what: str) -> list[int]:
    """Return given numbers from 0 to count - 1; without any, all."""
    if given is None:
        return list(range(count))
    numbers: list[Any] = list(given) if isinstance(given, Sequence) else [given]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
            raise InputError(f"expected {what} as numbers from 0 to {count - 1}, got {number!r:.80}")
    if not numbers:
        raise InputError(f"expected {what} as numbers from 0 to {count - 1}, got none")
    return numbers


def _seen(inputs: Tensor, frames: Sequence[int] | None) -> list[int] | None:
    """Return the frames to show, evenly spread by default; None of what is no video."""
    if inputs.dim() != 5 or (frames is None and inputs.shape[1] != 3):
        return None
    count = inputs.shape[2]
    if frames is not None:
        return _chosen(frames, count, "frames")
    shown = min(count, FRAMES)
    return [round(index * (count - 1) / max(1, shown - 1)) for index in range(shown)]


def _picture(one: Tensor, channels: Sequence[int] | None) -> Tensor:
    """Return an input (C, ...) as a picture of one channel or three, from its minimum to its maximum."""
    shown = _channels_of(one.detach(), channels)
    shown = shown if len(shown) in (1, 3) else shown.mean(0, keepdim=True)
    low, high = shown.min(), shown.max()
    return (shown - low) / (high - low).clamp(min=torch.finfo(shown.dtype).tiny)


def _channel_words(inputs: Tensor, channels: Sequence[int] | None) -> str:
    count = inputs.shape[1]
    if channels is not None:
        return f" (channel{'s' * (len(channels) > 1)} {', '.join(map(str, channels))})"
    return "" if count in (1, 3) else f" (mean of {count} channels)"


def _rows_of_volume(
    number: int, picture: Tensor, maps: Sequence[Tensor], channels: Sequence[int] | None, slices: Sequence[int] | None
) -> Iterator[Row]:
    depth = picture.shape[1]
    seen = [_strongest_slice(number, maps, depth)] if slices is None else _chosen(slices, depth, "slices")
    for index in seen:
        yield Row(
            number, f"slice {index} of 0 to {depth - 1}", partial(picture.select, 1, index), _slice(channels, index)
        )
    if slices is None:
        yield Row(number, f"largest value of {depth} slices", partial(picture.amax, 1), _projection(channels))


def _strongest_slice(number: int, maps: Sequence[Tensor], depth: int) -> int:
    """Return the slice that holds most of the maps, each of which counts alike; the middle one if all are zero."""
    shares = torch.zeros(depth, dtype=torch.float64)
    for each in maps:
        strength = each[number].detach().double().abs().sum((0, 2, 3)).cpu()
        shares += strength / strength.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return int(shares.argmax()) if bool(shares.any()) else depth // 2


# ---------------------------------------------------------------------------------------------- parts of maps


def _channels_of(tensor: Tensor, channels: Sequence[int] | None) -> Tensor:
    """Return chosen channels of a map (C, ...); one that is for all channels stays as it is."""
    return tensor if channels is None or len(tensor) == 1 else tensor[list(channels)]


def _planes(channels: Sequence[int] | None, stripes: bool = False) -> Part:
    """Return what leaves an image's map as it is; of a signal's (C, L) it makes one channel, (1, C, L)."""
    return lambda each: _channels_of(each, channels)[None] if stripes else _channels_of(each, channels)


def _slice(channels: Sequence[int] | None, index: int) -> Part:
    return lambda each: _channels_of(each, channels)[:, index]


def _projection(channels: Sequence[int] | None) -> Part:
    """Return what takes of each line through a volume the value of the largest magnitude."""

    def projected(each: Tensor) -> Tensor:
        shown = _channels_of(each, channels)
        return shown.gather(1, shown.abs().argmax(1, keepdim=True))[:, 0]

    return projected


def _strip(channels: Sequence[int] | None, frames: Sequence[int]) -> Part:
    return lambda each: _side_by_side(_channels_of(each, channels), frames, 0.0)


def _side_by_side(video: Tensor, frames: Sequence[int], paper: float) -> Tensor:
    """Return frames of a video (C, T, H, W) as one picture (C, H, W'), with a little paper between them."""
    gap = video.new_full((video.shape[0], video.shape[2], max(1, round(SPACE * video.shape[3]))), paper)
    return torch.cat([part for frame in frames for part in (gap, video[:, frame])][1:], 2)
