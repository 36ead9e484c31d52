"""Weights from a file: reading a state dict, and saying where it does not fit a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

__all__ = ["load_into", "read_state_dict"]


def read_state_dict(path: str) -> dict[str, Any]:
    """Read a state dict, bare or under the key ``"state_dict"``, on the CPU.

    Raises
    ------
    InputError
        If there is no such file or it holds anything else.
    """
    if not Path(path).is_file():
        raise InputError(f"weights are DEFAULT, random or a file, and there is no file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own text runs over ten lines and ends by recommending to trust the file.
        raise InputError(
            f"{path} must be a file that torch.load(weights_only=True) reads, got {type(error).__name__}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{path} must hold a state dict (names and tensors), got a {type(state).__name__}")
    return state


def load_into(model: nn.Module, state: Mapping[str, Any], path: str, name: str) -> None:
    """Load a state dict into a model, all of it or nothing.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        What :func:`read_state_dict` returned.
    path, name : str
        Of the file and the model, for the error.

    Raises
    ------
    InputError
        If entries are missing, superfluous, of another shape, or cannot be copied.
    """
    misfits = _misfits(model.state_dict(), state)
    wrong = [f"{len(keys)} {kind} ({_few(keys)})" for kind, keys in misfits.items() if keys]
    if wrong:
        raise InputError(f"the weights in {path} do not fit {name}: {'; '.join(wrong)}")
    model.load_state_dict(state, strict=False)


def _misfits(own: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the entries of a state dict that do not fit a model's own, by what is wrong with them."""
    pairs = [(key, own[key], state[key]) for key in own if key in state]
    return {
        # Files from before PyTorch 0.4.1 lack the counters of batch norm, and torch does without.
        "missing": [key for key in own if key not in state and not key.endswith("num_batches_tracked")],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key}: expected {_shape(mine)}, got {_shape(other)}"
            for key, mine, other in pairs
            if _shape(mine) != _shape(other)
        ],
        "that cannot be copied": [
            f"{key}: {_oddity(other)}" for key, mine, other in pairs if _oddity(other) not in ("", _oddity(mine))
        ],
    }


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if hasattr(value, "shape") else f"a {type(value).__name__}"


def _oddity(value: Any) -> str:
    """Return what is odd about a tensor: without values, complex, sparse; "" of others."""
    if not isinstance(value, Tensor):
        return ""
    if value.is_meta:
        return "without values"
    return "complex" if value.is_complex() else "" if value.layout == torch.strided else "sparse"


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
