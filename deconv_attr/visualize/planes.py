"""Signals, volumes and images of many channels as planes (N, C, H, W) that can be drawn."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["image_planes", "map_planes"]

BROAD = 4  # times as wide as high is a signal


def image_planes(inputs: Tensor) -> Tensor:
    """Return inputs (N, C, ...) as images (N, 3, H, W) or (N, 1, H, W), each scaled from its minimum to its maximum."""
    shown = map_planes(inputs)
    low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
    return (shown - low) / (high - low).clamp(min=torch.finfo(shown.dtype).tiny)


def map_planes(maps: Tensor) -> Tensor:
    """Return maps (N, C, ...) as planes of one or three channels, (N, C, H, W).

    Of a signal (N, C, L) each channel is a stripe; of a volume (N, C, D, H, W) the slice in the middle of D is shown;
    of channels that are no colours the mean.
    """
    if maps.dim() == 3:
        count, channels, length = maps.shape
        height = max(1, length // (BROAD * channels))
        return maps[:, :, None].expand(count, channels, height, length).reshape(count, 1, -1, length)
    if maps.dim() == 5:
        maps = maps[:, :, maps.shape[2] // 2]
    return maps if maps.shape[1] in (1, 3) else maps.mean(1, keepdim=True)
