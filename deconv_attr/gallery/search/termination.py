"""SIGTERM and SIGHUP during a search: what has been found is kept, and then the process ends as it would have."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType

from ...engine.undo import Undo

__all__ = ["Termination", "handle_termination"]

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Terminated(BaseException):
    """A signal that ends the process, as an exception that no data set catches as an error of its own."""


class Termination:
    """The first signal that would end this process; see :func:`handle_termination`."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self.received: signal.Signals | None = None
        self.deferred = False

    def check(self) -> None:
        """Raise an exception if there was a signal, for a data set may have caught the first one."""
        if self.received is not None:
            raise _Terminated(f"this process received {self.received.name}")

    @contextmanager
    def defer(self) -> Iterator[None]:
        """Raise the exception of a signal at the end of this context, in which a file is written."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False
        self.check()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if os.getpid() != self._process:  # a forked child, such as a worker that reads images
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self.received is None:  # a second one, as terminals send it, must not interrupt the writing of a checkpoint
            self.received = signal.Signals(number)
            if not self.deferred:
                self.check()

    def end(self, handled: Sequence[int]) -> None:
        """Handle signals no more, and end the process if there was one."""
        self.deferred = True
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        if self.received is not None:
            signal.raise_signal(self.received)


def handle_termination(undo: Undo) -> Termination:
    """Raise an exception where a signal would end this process; it ends so when that is undone.

    A signal with another handler than the default is left alone, and so are all where this is not the main thread.
    """
    main = threading.current_thread() is threading.main_thread()
    handled = [number for number in _SIGNALS if main and signal.getsignal(number) is signal.SIG_DFL]
    state = Termination()
    undo.later(partial(state.end, handled))
    for number in handled:
        signal.signal(number, state.handle)
    return state
