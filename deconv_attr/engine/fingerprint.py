"""What tells a model from another: its classes, structure and weights, as a short text."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["KnownWeights", "fingerprint_of", "memory_of", "without_addresses"]

SAMPLED = 4096  # words of a tensor, or up to twice as many, whose places are known


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


class KnownWeights:
    """The weights of a model, to be recognised later: by place and version, and where these differ by their values.

    A method may write weights and put them back. Values are known by sums over their bits, which are cheap, and others
    after a step of training.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._sums = self._values()
        self._seen = self._versions()

    def unchanged(self) -> bool:
        """Whether the weights have the values that they had."""
        versions = self._versions()
        if versions == self._seen:
            return True
        if self._values() != self._sums:
            return False
        self._seen = versions
        return True

    def _values(self) -> list[int]:
        return [number for parameter in self._model.parameters() for number in _sums(parameter)]

    def _versions(self) -> list[tuple[int, int, int]]:
        known = [parameter for parameter in self._model.parameters() if not parameter.is_inference()]
        return [(id(parameter), _address(parameter), parameter._version) for parameter in known]


def _address(parameter: Tensor) -> int:
    try:
        return parameter.data_ptr()
    except (RuntimeError, NotImplementedError):  # without memory of its own
        return 0


def _sums(parameter: Tensor) -> list[int]:
    """Return the sum of a tensor's memory in words of 8 bytes, and one of some words with their places."""
    try:
        octets = parameter.detach().contiguous().view(-1).view(torch.uint8)
        whole = len(octets) // 8 * 8
        words = octets[:whole].view(torch.int64)
        # Weights that change places, of which the first sum knows nothing, are seen by the second.
        some = words[:: max(1, len(words) // SAMPLED)]
        places = torch.arange(1, len(some) + 1, device=some.device)
        return [int(words.sum()), int((some * places).sum()), int(octets[whole:].sum())]
    except (RuntimeError, NotImplementedError, TypeError):  # without memory of its own: on "meta", or in parts
        return [0 if parameter.is_inference() else parameter._version]
