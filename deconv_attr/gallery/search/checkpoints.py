"""The intermediate results of a search on disk: ``top.npz.part0`` beside ``top.npz``, one of each process.

Of a symbolic link they are beside the file that it leads to, so that any name of that file finds them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce
from pathlib import Path

from ...engine.undo import Undo
from ...errors import InputError, SearchError
from ...visualize.files import check_writable, link_target, unfinished, writing
from .result import Strongest
from .termination import Termination

__all__ = ["Checkpoints"]


class Checkpoints:
    """The file of a search, and the checkpoints before it.

    Parameters
    ----------
    file : str or Path
        The file of the result.
    rank : int
        The rank of this process.
    every : float
        Seconds between two checkpoints.
    ending : Termination
        Signals that would end the process: they interrupt no writing.

    Raises
    ------
    InputError
        The file cannot be written.
    """

    def __init__(self, file: str | Path, rank: int, every: float, ending: Termination) -> None:
        check_writable(Path(file))
        self._file = link_target(Path(file))
        self._every = every
        self._ending = ending
        self._unwritten: Strongest | None = None
        self._own = self._file.with_name(f"{self._file.name}.part{rank}")
        check_writable(self._own)  # whose name may be too long
        undo = Undo()
        with writing(self._file), undo, undo:  # now, and not after hours: the disk may be read-only
            undo.later(partial(unfinished(self._own).unlink, missing_ok=True))
            unfinished(self._own).touch()
        self._written = time.monotonic()

    def found(self, resume: bool) -> Strongest | None:
        """Return the merged results of earlier processes; None if there are none.

        Raises
        ------
        InputError
            A file is damaged; the files are of different searches; or there is a checkpoint, and `resume` is False.
        """
        parts = self._parts()
        if parts and not resume:
            raise InputError(
                f"expected no unfinished search, got the checkpoint {parts[0]}; continue it with resume, or delete it"
            )
        files = [*([self._file] if self._file.exists() else []), *parts] if resume else []
        found = [Strongest.load(file) for file in files]
        for file, each in zip(files[1:], found[1:], strict=True):
            each.check_like(found[0], str(file))
        return reduce(Strongest.merge, found) if found else None

    def keep(self, found: Strongest) -> None:
        """Take a whole result, of complete blocks of images; write it if it is time for a checkpoint."""
        self._unwritten = found
        if time.monotonic() - self._written >= self._every:
            self._write()

    @contextmanager
    def kept_if_interrupted(self) -> Iterator[None]:
        """Write the last whole result if an exception leaves this context."""
        try:
            yield
        except BaseException:
            with suppress(SearchError):  # on a full disk the last checkpoint stays
                self._write()
            raise

    def finish(self, found: Strongest) -> None:
        """Write the result, and remove the checkpoints of all processes."""
        with self._ending.defer():
            found.save(self._file)
            self._unwritten = None
            for part in [*self._parts(), *self._parts(r"\.", r"\.\d+\.unfinished")]:  # left by a killed process
                part.unlink(missing_ok=True)

    def _write(self) -> None:
        """Write a checkpoint over the last one, if there is anything new."""
        with self._ending.defer():
            if self._unwritten is not None:
                self._unwritten.save(self._own)
                self._unwritten = None
        self._written = time.monotonic()

    def _parts(self, before: str = "", behind: str = "") -> list[Path]:
        name = re.compile(before + re.escape(self._file.name) + r"\.part\d+" + behind)
        return sorted(path for path in self._file.parent.iterdir() if name.fullmatch(path.name))
