"""State dicts: from a file, and into a model, with what does not fit named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, shown
from .weights_file import read_weights

__all__ = ["load_into", "read_state_dict"]

PREFIXES = {"module", "model", "net", "network"}
"""Attributes in which DataParallel, averages and training frameworks hold the model, among what is their own."""

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Attributes in which torch.compile, FSDP and activation checkpointing hold a module, anywhere in a name."""


def read_state_dict(path: str) -> dict[str, Any]:
    """Read the state dict in a file, on the CPU: of ``torch.save``, bare or beside others, or of safetensors.

    Raises
    ------
    InputError
        If there is no such file or it holds anything else.
    """
    return read_weights(path)[0]


def load_into(model: nn.Module, state: Mapping[str, Any], path: str, name: str) -> str:
    """Load a state dict into a model, all of it or nothing.

    Names that only a wrapper makes different (``module.``, ``model.``, ``_orig_mod.``, ...) are matched.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        What :func:`read_state_dict` returned.
    path, name : str
        Of the file and the model, for the error.

    Returns
    -------
    str
        How names were changed and what was left out, in words; "" if nothing was.

    Raises
    ------
    InputError
        If entries are missing, superfluous, of another shape, or cannot be copied.
    """
    own = model.state_dict()
    fitted, words = _matched(own, state)
    misfits = _misfits(own, fitted)
    wrong = [f"{len(keys)} {kind} ({_few(keys)})" for kind, keys in misfits.items() if keys]
    if wrong:
        raise InputError(f"the weights in {path} do not fit {name}: {'; '.join(wrong)}")
    model.load_state_dict(fitted, strict=False)
    return words


def _matched(own: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return a state dict under the model's own names, and what was changed in words; as it is where that is not sure.

    Entries outside of the prefix are left out only where the others fit the model completely.
    """
    if own.keys() <= state.keys() or not all(isinstance(key, str) for key in state):
        return state, ""
    cores = _own_cores(own)
    names = {_core(key): key for key in state}
    prefix = _prefix(names, cores)
    inside, outside = _divided(names, prefix)
    if len(names) < len(state) or (outside and not set(prefix.split(".")[:-1]) <= PREFIXES):
        return state, ""
    renamed = {cores.get(core, core): state[key] for core, key in inside.items()}
    missing = [core for core in cores.keys() - inside.keys() if _needed(core)]
    if missing or not inside.keys() <= cores.keys():
        renamed |= {key: state[key] for key in outside}  # to be named in the error
    return (state, "") if renamed.keys() == state.keys() else (renamed, _changes(state, prefix, outside))


def _divided(names: Mapping[str, str], prefix: str) -> tuple[dict[str, str], list[str]]:
    """Return a file's names with a prefix, by what is left of them without it, and those that have it not."""
    inside = {core.removeprefix(prefix): key for core, key in names.items() if core.startswith(prefix)}
    return inside, [key for core, key in names.items() if not core.startswith(prefix)]


def _changes(state: Iterable[str], prefix: str, outside: list[str]) -> str:
    """Return in words how the names in a file were changed: its prefix, wrappers, and what lay outside of these."""
    changes = [f"without {shown(prefix)} before its names"] if prefix else []
    changes += ["without the wrappers in its names"] if any(_core(key) != key for key in state) else []
    changes += [f"without its {_few([*map(_name, outside)])}"] if outside else []
    return ", ".join(changes)


def _own_cores(own: Mapping[str, Any]) -> dict[str, str]:
    """Return a model's own names by what is left of them without wrappers."""
    wrapped = all(key.startswith("module.") for key in own)
    cores = {_core(key).removeprefix("module." if wrapped else ""): key for key in own}
    return cores if len(cores) == len(own) else {key: key for key in own}


def _core(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _prefix(names: Iterable[str], cores: Container[str]) -> str:
    """Return what stands before the most of the model's names in a file."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in cores:
                counts["".join(f"{part}." for part in parts[:cut])] += 1
    return max(counts, key=lambda prefix: -len(prefix), default="")


def _needed(key: str) -> bool:
    return not key.endswith("num_batches_tracked")  # files from before PyTorch 0.4.1 lack it, and torch does without


def _misfits(own: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the entries of a state dict that do not fit a model's own, by what is wrong with them."""
    pairs = [(key, own[key], state[key]) for key in own if key in state]
    return {
        "missing": [_name(key) for key in own if key not in state and _needed(key)],
        "unexpected": [_name(key) for key in state if key not in own],
        "of another shape": [
            f"{_name(key)}: expected {_shape(mine)}, got {_shape(other)}"
            for key, mine, other in pairs
            if _shape(mine) != _shape(other)
        ],
        "that cannot be copied": [
            f"{_name(key)}: {_oddity(other, mine)}"
            for key, mine, other in pairs
            if _shape(mine) == _shape(other) and _oddity(other, mine) not in ("", _oddity(mine, mine))
        ],
    }


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if hasattr(value, "shape") else f"a {type(value).__name__}"


def _oddity(value: Any, like: Any) -> str:
    """Return why a value cannot be copied into another one of its shape, "" if it can."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if value.is_meta:
        return "without values"
    if value.is_complex() or value.layout != torch.strided or value.is_quantized:
        return "complex" if value.is_complex() else "quantised" if value.is_quantized else "sparse"
    try:
        if value.numel():
            value[(0,) * value.dim()].to(like.dtype)
    except (RuntimeError, AttributeError):
        return f"of {value.dtype}"
    return ""


def _name(key: Any) -> str:
    """Return an entry's name for an error: as it is, if it is an ordinary one."""
    return key if isinstance(key, str) and key.isprintable() and len(key) <= 80 else shown(key)


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
