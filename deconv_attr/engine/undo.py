"""What must be undone, whatever happens and whenever Ctrl-C comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Undo"]


class Undo:
    """What must be put back, whatever happens and at whatever line Ctrl-C strikes.

    Enter it twice, ``with undo, undo:``, and note each step *before* what it undoes: an interrupt in the first exit
    leaves the second. A step must do no harm where there is nothing to undo, or where it is taken twice. No ``try`` may
    stand in the block itself: CPython (3.11) leaves the instruction of that line outside of all handlers.

    What is temporary is so a function that notes its steps in an `undo` that it is given, not a context manager:
    an interrupt at the line of a ``with``, or in :mod:`contextlib`, would keep a generator from its end.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def later(self, step: Callable[[], object]) -> None:
        """Note a step; the last noted is taken first."""
        self._steps.append(step)

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *exception: Any) -> None:
        late: KeyboardInterrupt | None = None
        while self._steps:
            try:
                self._steps[-1]()  # only then is it struck off
                self._steps.pop()
            except KeyboardInterrupt as error:  # however often it comes: the step is taken again
                late = error
        if late is not None:
            raise late
