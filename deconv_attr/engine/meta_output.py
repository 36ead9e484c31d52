"""One call on the meta device: the shapes of its outputs, without values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..rules.operations import mapped, tensors_in

__all__ = ["meta_output"]


def meta_output(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """Run a call on the meta device; of those over which torch takes long there, only compute the shape."""
    shape = None
    if name in ("conv1d", "conv2d", "conv3d") and len(args) == 7 and not kwargs:
        shape = _convolved(*args)
    elif name == "cat" and len(args) == 2 and args[1] == 1 and args[0][0].is_meta:
        first, parts = args[0][0], args[0]
        if all(part.shape[0] == first.shape[0] and part.shape[2:] == first.shape[2:] for part in parts):
            shape = (len(first), sum(part.shape[1] for part in parts), *first.shape[2:])
    if shape is None:
        return func(*mapped(_to_meta, args), **mapped(_to_meta, kwargs))
    return tensors_in(args)[0].new_empty(shape, device="meta")


def _convolved(
    source: Tensor, weight: Tensor, _: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[int, ...] | None:
    """Compute the shape of a convolution's output; None where torch had better look."""
    spelled_out = all(isinstance(each, tuple) for each in (stride, padding, dilation))
    if not spelled_out or source.dim() != weight.dim() or source.shape[1] != weight.shape[1] * groups:
        return None
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(source.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    ]
    if min(sizes) <= 0:  # some versions of torch give an empty output on the meta device
        image, kernel = tuple(source.shape[2:]), tuple(weight.shape[2:])
        raise RuntimeError(f"a convolution of kernel size {kernel} has no output for an input of size {image}")
    return (len(source), len(weight), *sizes)


def _to_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.is_meta else value.detach().to("meta")
    if isinstance(value, torch.device):
        return torch.device("meta")
    return value
