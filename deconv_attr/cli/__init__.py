"""The command ``python -m deconv_attr``, also installed as ``deconv-attr``.

Exit status: 0 if all is done. 2 if what was asked for cannot be done: an option, a model, an image or a place for files
is not what it should be. 1 if anything else was raised: by the model's code, by a library, or because stdout cannot be
written. Either is told in one sentence; ``--traceback`` before the command's name shows more. 130 after Ctrl-C, 141
where nobody reads stdout any more.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from .. import __version__
from ..errors import DeconvError
from . import terminal

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    with terminal.any_text():
        try:
            return _status(arguments)
        finally:
            terminal.settle()


def _status(arguments: Sequence[str] | None) -> int:
    options = None
    try:
        options = _options(arguments)
        with _current_directory_importable():
            options.run(options)
        terminal.flush()
        return terminal.DONE
    except KeyboardInterrupt:
        return terminal.INTERRUPTED
    except BrokenPipeError:
        return terminal.NO_READER
    except BaseException as error:  # a model may raise anything, SystemExit too
        if options is None and isinstance(error, SystemExit):  # argparse has printed help, or what is wrong
            raise
        if options is not None and options.traceback:
            traceback.print_exc()
        ours = isinstance(error, (DeconvError, terminal.UnwritableError))
        terminal.warn(f"error: {error if ours else terminal.place_of(error)}")
        return terminal.REFUSED if isinstance(error, DeconvError) else terminal.FAILED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    from . import compare, gallery, layers, project  # not before main runs: what they import may fail, too

    parser = argparse.ArgumentParser(
        prog="deconv-attr",
        description="Show which pixels caused an activation: the deconvnet of Zeiler and Fergus.",
        epilog="exit status: 0 done, 1 the model or a library failed, 2 what is asked for cannot be done, 130 Ctrl-C",
    )
    parser.add_argument("--version", action="version", version=f"deconv-attr {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised, too")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (compare, project, gallery, layers):
        command.add(commands)
    return parser.parse_args(arguments)


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """Allow ``module:factory`` to name a file in the current directory, as under ``python -m``."""
    before = list(sys.path)
    with suppress(OSError):  # it may be gone
        here = os.getcwd()
        if here not in before and "" not in before:
            sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path[:] = before
