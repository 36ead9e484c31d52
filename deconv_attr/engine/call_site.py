"""Where in the user's code a call was made: for reports, errors and warnings."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

import torch

__all__ = ["is_internal", "running_module", "source_line", "warn_caller"]

_PACKAGE = Path(__file__).parents[1]
_TORCH = str(Path(torch.__file__).parent) + os.sep
_LIBRARIES = frozenset({__name__.partition(".")[0], "captum", "torch", "tqdm"})


def is_internal(file: str) -> bool:
    """Whether a file stands between the model's code and torch's: our own, but for the demo's network."""
    if file.startswith(_TORCH):
        return True
    return file.startswith(f"{_PACKAGE}{os.sep}") and not file.startswith(f"{_PACKAGE / 'demo'}{os.sep}")


def source_line() -> str:
    """Return ``file:line`` of the innermost frame outside torch and the engine."""
    for frame in _frames():
        if not is_internal(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return ""


def running_module(modules: Mapping[int, str]) -> tuple[str, bool]:
    """Find the innermost of some modules that is running: its path, and whether it is one of torch's own.

    Parameters
    ----------
    modules : mapping of int to str
        The paths of the modules by their ids.
    """
    for frame in _frames():
        module = frame.f_locals.get("self")
        if id(module) in modules:
            return modules[id(module)], type(module).__module__.startswith("torch.nn.")
    return "", False


def warn_caller(warning: Warning) -> None:
    """Issue a warning at the innermost line that is neither ours nor of Captum, torch or a progress bar: the user's.

    As with ``warnings.warn``, filters see the module of that line, and it is warned once where they say so.
    """
    frame = None
    for frame in _frames():
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            break
    assert frame is not None
    warnings.warn_explicit(
        warning,
        type(warning),
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__", "<string>"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )  # without the module's globals: the loader of an interactive session has no source, and raises an ImportError


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)  # the caller's: a frame that held itself would live on
    while frame is not None:
        yield frame
        frame = frame.f_back
