"""What tells a model from another: its classes, structure and weights, as a short text."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fingerprint_of", "memory_of", "without_addresses"]


def fingerprint_of(model: nn.Module) -> str:
    """Digest a model's text form, and the names, types, shapes and values of its parameters, buffers and other tensors.

    The device plays no part.
    """
    digest = blake2b(without_addresses(repr(model)).encode(), digest_size=16)
    for path, module in model.named_modules(remove_duplicate=False):
        held = {**module._parameters, **module._buffers, **vars(module)}
        for name, tensor in held.items():
            if isinstance(tensor, Tensor):
                digest.update(f"{path}.{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
                digest.update(memory_of(tensor))
    return digest.hexdigest()


def without_addresses(text: str) -> str:
    """Return a text form without the addresses in memory, which are others in each process."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def memory_of(tensor: Tensor) -> Any:
    """Return a tensor's bytes, row by row, for a digest. They are a copy: numpy would pin the tensor's own memory."""
    plain = tensor.detach().to("cpu", copy=True)
    plain = plain.dequantize() if plain.is_quantized else plain if plain.layout == torch.strided else plain.to_dense()
    return plain.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy()
