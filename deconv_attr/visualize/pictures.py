"""Maps and photographs as arrays of colours.

A signed map v with scale s is drawn around mid-grey, ``0.5 + 0.5 * clip(v / s, -1, 1)`` for each
channel; its heat is ``clip(max_c |v_c| / s, 0, 1)``. The scale is robust (:func:`robust_scale`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .tiles import Bytes

__all__ = [
    "STYLES",
    "Picture",
    "Style",
    "coloured",
    "heat",
    "in_bytes",
    "own_scale",
    "photograph",
    "robust_scale",
    "signed_rgb",
    "style_named",
]

Picture = NDArray[np.float64]

# Interpolation and rounding leave [0, 1] by a little; a normalised image, or one in bytes, by much.
OVERSHOOT = 0.25
PIXEL = 3  # values


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
    strength = _strength(attribution)
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


def coloured(attribution: Tensor, style: str, scale: float | None = None) -> Bytes:
    """Return a map as the colours in which figures show it.

    Parameters
    ----------
    attribution : Tensor
        ``(C, H, W)``.
    style : str
        ``"signed"``: :func:`signed_rgb`, for C of 1 or 3. ``"heat"``: :func:`heat`, from black to pale yellow.
    scale : float, optional
        The magnitude of full contrast; by default the map's own.

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
    picture = drawn.draw(attribution, scale)
    return in_bytes(picture if picture.ndim == 3 else colormaps[drawn.colours](picture)[..., :3])


def own_scale(attribution: Tensor, style: str) -> float:
    """Return the magnitude that a map has full contrast at, in a style; 0.0 where it is zero everywhere."""
    return robust_scale(style_named(style).measure(attribution))


def style_named(name: str) -> Style:
    """Return a style.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in STYLES:
        raise InputError(f"expected the style {' or '.join(STYLES)}, got {name!r:.80}")
    return STYLES[name]


def in_bytes(picture: Picture) -> Bytes:
    """Return a picture between 0 and 1 as the nearest bytes."""
    return np.asarray((255 * picture).round(), dtype=np.uint8)


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
    _check_kind(tensor, what)
    values: Picture = tensor.detach().double().cpu().numpy()
    lost = np.sum(~np.isfinite(values))
    if lost:
        raise InputError(f"expected {what} of finite values, got {lost} that are NaN or infinite")
    return values


def _strength(maps: Tensor) -> Tensor:
    return maps.abs().amax(dim=-3)


def _relative(values: Picture, scale: float) -> Picture:
    """Divide by the scale and clip to [-1, 1]; a scale of zero means that there is nothing to see."""
    return np.clip(values / scale, -1, 1) if scale > 0 else np.zeros_like(values)


@dataclass(frozen=True)
class Style:
    """How maps are drawn: one picture, what its scale is taken of, and its colour bar."""

    draw: Callable[[Tensor, float | None], Picture]
    measure: Callable[[Tensor], Tensor]
    lowest: int
    colours: str
    extend: Literal["both", "max"]
    caption: str


STYLES = {
    "signed": Style(signed_rgb, lambda maps: maps, -1, "gray", "both", "each channel"),
    "heat": Style(heat, _strength, 0, "inferno", "max", "largest |channel|"),
}
