"""What must be undone, whatever happens and whenever Ctrl-C comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Undo", "to_the_end"]


class Undo:
    """What must be put back, whatever happens and at whatever line Ctrl-C strikes.

    Enter it twice, ``with undo, undo:``, and note each step *before* what it undoes: an interrupt in the first exit
    leaves the second. A step must do no harm where there is nothing to undo, or where it is taken twice. No ``try`` may
    stand in the block itself: CPython (3.11) leaves the instruction of that line outside of all handlers.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def later(self, step: Callable[[], object]) -> None:
        """Note a step; the last noted is taken first."""
        self._steps.append(step)

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *exception: Any) -> None:
        while self._steps:
            self._steps[-1]()  # only then is it struck off
            self._steps.pop()


def to_the_end(restore: Callable[[], None]) -> None:
    """Restore something that can be restored twice, however often Ctrl-C comes; then it takes effect."""
    interrupted: KeyboardInterrupt | None = None
    while True:
        try:
            restore()
            break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
