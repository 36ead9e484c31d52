"""The command ``python -m deconv_attr``, also installed as ``deconv-attr``.

Exit status: 0; 2 after an error, of which one sentence is printed; 130 after Ctrl-C; 141 on a broken pipe.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .. import __version__
from ..errors import DeconvError
from . import compare, gallery, layers, project

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    options = _parser().parse_args(arguments)
    try:
        with _current_directory_importable():
            options.run(options)
            sys.stdout.flush()
    except DeconvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # a broken pipe (`deconv-attr layers | head`), or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"error: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deconv-attr",
        description="Show which pixels caused an activation: the deconvnet of Zeiler and Fergus.",
    )
    parser.add_argument("--version", action="version", version=f"deconv-attr {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (compare, project, gallery, layers):
        command.add(commands)
    return parser


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """Allow ``module:factory`` to name a file in the current directory, as under ``python -m``."""
    here = os.getcwd()
    before = list(sys.path)
    if here not in before and "" not in before:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path[:] = before
