"""The order in memory of the numbers of a signal: the one in which transposed filters are quickest."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CONTIGUOUS", "layout_of", "quickest_layout"]

CONTIGUOUS = torch.contiguous_format
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
_ONEDNN = (torch.float32, torch.bfloat16, torch.float16)  # the types that it computes in


def layout_of(maps: Tensor, axes: int) -> torch.memory_format:
    """Say in which order feature maps (N, C, *axes) stand in memory; plain where that is open, or there is no N."""
    layout = _channels_last(maps, axes)
    return CONTIGUOUS if maps.is_contiguous() or not maps.is_contiguous(memory_format=layout) else layout


def quickest_layout(maps: Tensor, axes: int, dtype: torch.dtype) -> torch.memory_format:
    """Say in which order a signal of some type should stand at feature maps (N, C, *axes).

    The model's own; but on a CPU oneDNN would bring it into the order of channels_last and back at each convolution.
    """
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if maps.device.type == "cpu" and dtype in _ONEDNN and onednn:
        return _channels_last(maps, axes)
    return layout_of(maps, axes)


def _channels_last(maps: Tensor, axes: int) -> torch.memory_format:
    return _CHANNELS_LAST.get(axes, CONTIGUOUS) if maps.dim() == axes + 2 else CONTIGUOUS
