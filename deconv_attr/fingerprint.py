"""What tells a model from another: its classes, structure and weights, as a short text."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import torch
from torch import nn

__all__ = ["fingerprint_of"]


def fingerprint_of(model: nn.Module) -> str:
    """Digest a model's text form, and the names, types, shapes and values of its parameters and buffers.

    The device plays no part.
    """
    digest = blake2b(re.sub(r" at 0x[0-9a-f]+", "", repr(model)).encode(), digest_size=16)
    held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in held:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        memory: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(memory)
    return digest.hexdigest()
