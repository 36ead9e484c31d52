"""Maps and photographs as arrays of colours.

A map is drawn in a :class:`Style`: ``"signed"`` in colours around mid-grey, ``0.5 + 0.5 * clip(v / s, -1, 1)`` for each
channel, or, where it has one channel, in diverging colours around white; ``"luminance"`` in greys around mid-grey;
``"heat"`` by its size, ``clip(max_c |v_c| / s, 0, 1)``; ``"positive"`` by its positive part. The scale ``s`` is robust
(:func:`robust_scale`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .tiles import Bytes, Corners

__all__ = [
    "STYLES",
    "ColourMaps",
    "Picture",
    "Style",
    "StyleName",
    "check_colour_maps",
    "colour_bar",
    "coloured",
    "framed_pixels",
    "heat",
    "in_bytes",
    "luminance",
    "own_scale",
    "photograph",
    "robust_scale",
    "signed_rgb",
    "style_named",
]

Picture = NDArray[np.floating]
StyleName = Literal["signed", "luminance", "heat", "positive"]
ColourMaps = str | Mapping[str, str] | None
"""A colour map of matplotlib for all maps of one channel, or one for each style by its name."""

# Interpolation and rounding leave [0, 1] by a little; a normalised image, or one in bytes, by much.
OVERSHOOT = 0.25
PIXEL = 3  # values
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
BAR = 256  # pixels of a colour bar
YELLOW, BLACK = (255, 214, 10), (0, 0, 0)  # a light line in a dark one is visible on any picture


def robust_scale(maps: Tensor, percentile: float = 99.5) -> float:
    """Return the magnitude that is drawn with full contrast: a high percentile of the non-zero ``|maps|``.

    Zeros do not count, because a projection fills only the unit's receptive field. The percentile is
    rounded down to a value of the map, and in small maps lowered further, so that the three values of one outlying
    pixel among four or more never set the scale.

    Parameters
    ----------
    maps : Tensor
        Values of any shape.
    percentile : float
        Between 0 and 100.

    Returns
    -------
    float
        0.0 where every value is zero.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    values = np.abs(_values(maps, "a map"))
    values = values[values > 0]
    if not values.size:
        return 0.0
    rank = int(percentile / 100 * (values.size - 1))
    if percentile < 100 and values.size >= 4 * PIXEL:
        rank = min(rank, values.size - 1 - PIXEL)
    values.partition(rank)
    return float(values[rank])


def signed_rgb(attribution: Tensor, scale: float | None = None) -> Picture:
    """Return a signed map as an RGB picture around mid-grey.

    Parameters
    ----------
    attribution : Tensor
        ``(3, H, W)``, or ``(1, H, W)``, which is drawn in greys.
    scale : float, optional
        The magnitude of full contrast; by default the map's own :func:`robust_scale`.

    Returns
    -------
    Picture
        ``(H, W, 3)`` between 0 and 1; 0.5 everywhere for a map of zeros.

    Raises
    ------
    InputError
        If the map has another shape, or is not finite.
    """
    rgb = _rgb(attribution, "a map")
    return 0.5 + 0.5 * _relative(rgb, robust_scale(attribution) if scale is None else scale)


def heat(attribution: Tensor, scale: float | None = None) -> Picture:
    """Return the strength of a map at each pixel: the largest ``|value|`` over its channels.

    Parameters
    ----------
    attribution : Tensor
        ``(C, H, W)``.
    scale : float, optional
        See :func:`signed_rgb`; here the default is the robust scale of the strengths.

    Returns
    -------
    Picture
        ``(H, W)`` between 0 and 1.

    Raises
    ------
    InputError
        If the map is not finite.
    """
    strength = _strength(attribution)[0]
    return _relative(_values(strength, "a map"), robust_scale(strength) if scale is None else scale)


def photograph(image: Tensor) -> Picture:
    """Return an image ``(3, H, W)`` or ``(1, H, W)`` between 0 and 1 as a picture ``(H, W, 3)``.

    Raises
    ------
    InputError
        If it has another shape, is not finite, or lies far outside of [0, 1], as a normalised image does.
    """
    rgb = _rgb(image, "an image")
    lowest = rgb.min()
    highest = rgb.max()
    if lowest < -OVERSHOOT or highest > 1 + OVERSHOOT:
        raise InputError(f"expected an image between 0 and 1, got values from {lowest:.3g} to {highest:.3g}")
    return np.clip(rgb, 0, 1)


def luminance(attribution: Tensor) -> Tensor:
    """Return the luminance of maps in RGB, signed.

    Parameters
    ----------
    attribution : Tensor
        (..., 3, H, W).

    Returns
    -------
    Tensor
        (..., 1, H, W), in the unit of the maps.
    """
    weights = torch.tensor(LUMA, dtype=attribution.dtype, device=attribution.device)
    return (attribution * weights[:, None, None]).sum(-3, keepdim=True)


def coloured(attribution: Tensor, style: str, scale: float | None = None, cmap: ColourMaps = None) -> Bytes:
    """Return a map as the colours in which figures show it.

    Parameters
    ----------
    attribution : Tensor
        ``(C, H, W)``.
    style : str
        One of :data:`STYLES`.
    scale : float, optional
        The magnitude of full contrast; by default the map's own.
    cmap : str or mapping of str to str, optional
        A colour map of matplotlib, or one by style, for what has one channel.

    Returns
    -------
    Bytes
        ``(H, W, 3)``.

    Raises
    ------
    InputError
        If there is no such style, or the map cannot be drawn in it.
    """
    drawn = style_named(style)
    shown = drawn.shown(attribution)
    if scale is None:
        scale = robust_scale(shown)
    if len(shown) == 3:
        return in_bytes(signed_rgb(shown, scale))
    values = _relative(_values(shown[0], "a map"), scale)
    return _by_colour_map(values, drawn, cmap)


def own_scale(attribution: Tensor, style: str) -> float:
    """Return the magnitude at which a map has full contrast; 0.0 where it is zero everywhere.

    Parameters
    ----------
    attribution : Tensor
        (C, H, W).
    style : str
        One of :data:`STYLES`.
    """
    return robust_scale(style_named(style).shown(attribution))


def colour_bar(channels: int, style: str, cmap: ColourMaps = None) -> Bytes:
    """Return the colours of maps from the least to the greatest value, (1, n, 3).

    Parameters
    ----------
    channels : int
        Of the maps.
    style, cmap
        As for :func:`coloured`.
    """
    drawn = style_named(style)
    values = np.linspace(drawn.lowest, 1, BAR)[None]
    if style == "signed" and channels == 3:
        return in_bytes(np.repeat(0.5 + 0.5 * values[..., None], 3, -1))
    return _by_colour_map(values, drawn, cmap)


def framed_pixels(picture: Bytes, boxes: Sequence[Corners]) -> Bytes:
    """Return a picture with boxes drawn into it, yellow within black: top, left, bottom, right, half open."""
    drawn = picture.copy()
    for top, left, bottom, right in boxes:
        line = max(1, round(max(picture.shape) / 110))
        for colour, within in ((BLACK, 0), (YELLOW, line)):
            rows, columns = slice(top + within, bottom - within), slice(left + within, right - within)
            inner = drawn[rows, columns].copy()
            drawn[rows, columns] = colour
            drawn[rows, columns][line:-line, line:-line] = inner[line:-line, line:-line]
    return drawn


def check_colour_maps(cmap: ColourMaps) -> None:
    """Refuse what is no colour map of matplotlib, or is for no style.

    Raises
    ------
    InputError
        If it is none.
    """
    for style, name in cmap.items() if isinstance(cmap, Mapping) else [("heat", cmap)]:
        style_named(style)
        if name is not None and not (isinstance(name, str) and name in colormaps):
            raise InputError(f"expected cmap as the name of a colour map of matplotlib, got {name!r:.80}")


def style_named(name: str) -> Style:
    """Return a style.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in STYLES:
        raise InputError(f"expected the style {', '.join(STYLES)}, got {name!r:.80}")
    return STYLES[name]


def in_bytes(picture: Picture) -> Bytes:
    """Return a picture between 0 and 1 as the nearest bytes."""
    return np.asarray((255 * picture).round(), dtype=np.uint8)


def _by_colour_map(values: Picture, style: Style, cmap: ColourMaps) -> Bytes:
    """Return values (H, W) between the style's lowest and 1 as colours."""
    name = cmap.get(style.name) if isinstance(cmap, Mapping) else cmap
    colours = colormaps[name or style.colours]
    table = in_bytes(colours(np.arange(colours.N))[:, :3])
    share = (values - style.lowest) / (1 - style.lowest)
    drawn: Bytes = table[np.minimum((colours.N * share).astype(int), colours.N - 1)]
    return drawn


def _rgb(image: Tensor, what: str) -> Picture:
    if not isinstance(image, Tensor):
        raise InputError(f"expected a tensor of shape (3, H, W) or (1, H, W), got a {type(image).__name__}")
    if image.ndim != 3 or image.shape[0] not in (1, 3) or not image.numel():
        raise InputError(f"expected a picture of shape (3, H, W) or (1, H, W), got {tuple(image.shape)}")
    _check_kind(image, what)
    return _values(image.expand(3, -1, -1).permute(1, 2, 0), what)


def _check_kind(tensor: Tensor, what: str) -> None:
    if tensor.layout != torch.strided or tensor.is_complex():
        raise InputError(f"expected {what} that is dense and of real numbers, got {tensor.layout} of {tensor.dtype}")


def _values(tensor: Tensor, what: str) -> Picture:
    """Return values as an array, in double precision only where they have it."""
    _check_kind(tensor, what)
    exact = tensor.detach() if tensor.dtype in (torch.float32, torch.float64) else tensor.detach().double()
    values: Picture = exact.cpu().numpy()
    if not np.isfinite(values.sum()):  # faster than to ask each; that of finite values may be infinite
        lost = np.sum(~np.isfinite(values))
        if lost:
            raise InputError(f"expected {what} of finite values, got {lost} that are NaN or infinite")
    return values


def _strength(maps: Tensor) -> Tensor:
    return maps.abs().amax(dim=-3, keepdim=True)


def _signed(maps: Tensor) -> Tensor:
    return maps if maps.shape[-3] in (1, 3) else maps.sum(-3, keepdim=True)


def _luminance(maps: Tensor) -> Tensor:
    return luminance(maps) if maps.shape[-3] == 3 else _signed(maps)


def _positive(maps: Tensor) -> Tensor:
    return maps.sum(-3, keepdim=True).clamp(min=0)


def _relative(values: Picture, scale: float) -> Picture:
    """Divide by the scale and clip to [-1, 1]; a scale of zero means that there is nothing to see."""
    return np.clip(values / scale, -1, 1) if scale > 0 else np.zeros_like(values)


@dataclass(frozen=True)
class Style:
    """How maps are drawn: which values of one channel or three, from which least one on, in which colours.

    Parameters
    ----------
    name : str
        Its name.
    shown : callable
        From maps (..., C, H, W) to what is drawn of them: (..., 1, H, W), or the colours themselves, (..., 3, H, W).
    lowest : {-1, 0}
        The least value, in units of the scale.
    colours : str
        The colour map of one channel.
    captions : tuple of str
        What the colours mean: of one channel, of three, and of any other number of them.
    nothing : str
        What is said of a map of which nothing is drawn.
    """

    name: StyleName
    shown: Callable[[Tensor], Tensor]
    lowest: int
    colours: str
    captions: tuple[str, str, str]
    nothing: str = "zero everywhere"

    def caption(self, channels: int) -> str:
        """Return what the colours of maps of C channels mean, in words."""
        return self.captions[{1: 0, 3: 1}.get(channels, 2)].format(channels)


SIGNED = Style(
    "signed",
    _signed,
    -1,
    "RdBu_r",
    (
        "signed; white is zero",
        "signed, per colour channel; grey is zero",
        "signed, sum of {} channels; white is zero",
    ),
)
LUMINANCE = Style(
    "luminance",
    _luminance,
    -1,
    "gray",
    (
        "signed; grey is zero",
        "signed, luminance; grey is zero",
        "signed, sum of {} channels; grey is zero",
    ),
)
HEAT = Style(
    "heat",
    _strength,
    0,
    "inferno",
    (
        "|map|; black is zero",
        "|map|, the largest of the colour channels; black is zero",
        "|map|, the largest of {} channels; black is zero",
    ),
)
POSITIVE = Style(
    "positive",
    _positive,
    0,
    "inferno",
    (
        "positive part only; black is zero or less",
        "positive part of the sum of the colour channels; black is zero or less",
        "positive part of the sum of {} channels; black is zero or less",
    ),
    "no positive part",
)
STYLES = {style.name: style for style in (SIGNED, LUMINANCE, HEAT, POSITIVE)}
"""How maps can be drawn, by name: "signed", "luminance", "heat" and "positive"."""
