"""Files of weights, as training scripts leave them: a state dict, bare or beside an optimizer's, or safetensors.

Nothing in a file is executed: ``torch.load(weights_only=True)`` reads tensors and plain values, and a few more classes
that hold values only (``HARMLESS``).
"""

from __future__ import annotations

import argparse
import pathlib
import re
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, reason, shown

__all__ = ["read_weights"]

KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "state_dict_ema", "model_ema")
"""Where training scripts put a model's weights; what stands first is taken."""

DEEPEST = 8
"""Dicts in which a state dict may lie, one in the other; training scripts make one or two."""

HARMLESS: list[Any] = [
    *(argparse.Namespace, types.SimpleNamespace, pathlib.PosixPath),
    *(np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdU"}),
    *(np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]),  # what numbers and arrays are rebuilt by
]
"""What stands beside the weights: options, paths, numbers."""

SAVE = "torch.save(model.state_dict(), FILE)"


def read_weights(path: str) -> tuple[dict[str, Any], str]:
    """Read a state dict on the CPU, and where in the file it lies, in words; "" if it is all of the file.

    Raises
    ------
    InputError
        If there is no such file or it holds anything else.
    """
    if not Path(path).is_file():
        raise InputError(f"weights are DEFAULT, random or a file, and there is no file {path}")
    content: Any = _safetensors(path) if Path(path).suffix.lower() == ".safetensors" else _pickled(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a state dict (names and tensors), got a {type(content).__name__}")
    words: list[str] = []
    while inner := [key for key in content if _holds_weights(content[key])]:
        if len(words) == DEEPEST:  # or a dict that holds itself
            raise InputError(f"expected a state dict in {path} in at most {DEEPEST} dicts, got more; {SAVE}")
        known = [key for key in KEYS if key in inner]
        if not known and len(inner) > 1:
            raise InputError(
                f"expected one state dict in {path}, got {', '.join(map(shown, inner[:3]))}; save the one alone: {SAVE}"
            )
        (taken, *others) = known or inner
        words.append(f"its {taken!r}" + (f" (not its {', '.join(map(shown, others))})" if others else ""))
        content = content[taken]
    if not all(isinstance(key, str) for key in content):
        raise InputError(f"{path} must hold a state dict (names and tensors), got a {type(content).__name__}")
    return content, ", ".join(words)


def _holds_weights(value: Any) -> bool:
    """Whether a value in a file is a state dict, or a dict that has one where training scripts put it."""
    level = [value]
    for _ in range(DEEPEST):
        dicts = [each for each in level if isinstance(each, Mapping) and all(isinstance(key, str) for key in each)]
        if any(isinstance(entry, Tensor) for each in dicts for entry in each.values()):
            return True
        # each once: a small file may hold one dict under many names
        level = list({id(each[key]): each[key] for each in dicts for key in KEYS if key in each}.values())
    return False


def _safetensors(path: str) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(
            f"expected the package safetensors to read {path}, got {reason(error)}; pip install safetensors"
        ) from error
    try:
        return load_file(path)
    except Exception as error:
        raise InputError(f"expected a file of safetensors at {path}, got {reason(error)}") from error


def _pickled(path: str) -> Any:
    _check_archive(path)
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(_refusal(path, error)) from error


def _check_archive(path: str) -> None:
    """Raise an InputError if a file holds a whole program, of TorchScript or of torch.export."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except Exception:  # no archive, or a damaged one, as torch.load will say
        return
    if "constants.pkl" in names:
        raise InputError(
            f"expected a state dict in {path}, got a TorchScript archive; save its state_dict: "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER_FILE)"
        )
    if names & {"archive_format", "serialized_exported_program.json"}:  # the latter: as torch 2.6 wrote it
        raise InputError(
            f"expected a state dict in {path}, got an archive of torch.export; save its state_dict: "
            "torch.save(torch.export.load(FILE).state_dict, OTHER_FILE)"
        )


def _refusal(path: str, error: Exception) -> str:
    """Return what a file holds instead of tensors and plain values, and what to do."""
    outermost = re.search(r"GLOBAL (\S+)", str(error))
    if outermost is None:
        # torch's own text runs over ten lines and ends by recommending to trust the file.
        return f"{path} must be a file that torch.load(weights_only=True) reads, got {type(error).__name__}"
    try:
        classes = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # files of the format before torch 1.6 are not listed
        classes = [outermost[1]]
    if any(name.startswith("torch.nn.") for name in classes):
        return (
            f"expected a state dict in {path}, got a whole pickled model ({outermost[1]}), which would run code of its "
            f"own when it is read; where you trust it, load it, and save its state_dict: {SAVE}"
        )
    return (
        f"expected tensors and plain values in {path}, got an object of {outermost[1]}; save the state_dict alone: "
        f"{SAVE}"
    )
