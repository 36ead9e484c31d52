"""What the command prints, whatever stands in names of files and whatever the terminal can show; and its errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import readable, reason

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NO_READER",
    "REFUSED",
    "UnwritableError",
    "any_text",
    "flush",
    "place_of",
    "say",
    "settle",
    "warn",
]

DONE, FAILED, REFUSED, INTERRUPTED, NO_READER = 0, 1, 2, 130, 141
"""Exit statuses: see :mod:`deconv_attr.cli`."""


class UnwritableError(Exception):
    """Nothing can be written to stdout any more, for another reason than that nobody reads it."""


def say(*lines: object) -> None:
    """Print lines, without characters that steer a terminal; what is said of several lines comes in lines."""
    with _stdout():
        for line in lines:
            print(readable(line))


def flush() -> None:
    """Write what was said."""
    with _stdout():
        print(end="", flush=True)


@contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # `deconv-attr layers | head`
        raise
    except (OSError, ValueError) as error:
        raise UnwritableError(f"cannot write to stdout: {getattr(error, 'strerror', None) or error}") from error


def warn(text: object) -> None:
    """Print one line to stderr, if that can be written."""
    with suppress(OSError, ValueError):  # a full disk, a closed file: where else should that be said
        print(readable(text), file=sys.stderr)


@contextmanager
def any_text() -> Iterator[None]:
    """Print characters that the terminal's encoding lacks by their numbers, instead of failing at them."""
    changed = [(stream, stream.errors) for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    try:
        for stream, _ in changed:
            stream.reconfigure(errors="backslashreplace")
        yield
    finally:
        for stream, errors in changed:
            with suppress(OSError, ValueError):  # full, or closed by a model
                stream.reconfigure(errors=errors)


def settle() -> None:
    """Write what is left, or let it go: Python's own flush at its end would print a traceback, and end with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            print(end="", file=stream, flush=True)
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def place_of(error: BaseException) -> str:
    """Return an error that is not of this package, and where it was raised, in one sentence."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{reason(error)} ({last.filename}, line {last.lineno}, in {last.name})"
