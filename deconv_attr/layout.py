"""The order in memory of the numbers of a signal: the one in which transposed filters are quickest."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CONTIGUOUS", "layout_of", "quickest_layout"]

CONTIGUOUS = torch.contiguous_format
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_ONEDNN = (torch.float32, torch.bfloat16, torch.float16)  # the types that it computes in


def layout_of(maps: Tensor) -> torch.memory_format:
    """Say in which order feature maps (N, C, ...) stand in memory; plain where that is open."""
    layout = _CHANNELS_LAST.get(maps.dim(), CONTIGUOUS)
    return CONTIGUOUS if maps.is_contiguous() or not maps.is_contiguous(memory_format=layout) else layout


def quickest_layout(maps: Tensor, kind: torch.dtype) -> torch.memory_format:
    """Say in which order a signal of some type should stand at feature maps (N, C, ...).

    The model's own; but on a CPU oneDNN would bring it into the order of channels_last and back at each convolution.
    """
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if maps.device.type == "cpu" and kind in _ONEDNN and onednn:
        return _CHANNELS_LAST.get(maps.dim(), CONTIGUOUS)
    return layout_of(maps)
