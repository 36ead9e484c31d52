"""The intermediate results of a search on disk: ``top.npz.part0`` beside ``top.npz``, one of each process."""

from __future__ import annotations

import re
import time
from functools import partial, reduce
from pathlib import Path

from ...engine.undo import Undo
from ...errors import InputError
from ...visualize.files import check_writable, unfinished, writing
from .result import Strongest

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

    Raises
    ------
    InputError
        The file cannot be written.
    """

    def __init__(self, file: str | Path, rank: int, every: float) -> None:
        self._file = Path(file)
        self._every = every
        check_writable(self._file)
        self._own = self._file.with_name(f"{self._file.name}.part{rank}")
        undo = Undo()
        with writing(self._file), undo, undo:  # now, and not after hours: the name may be too long, the disk read-only
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
        return reduce(Strongest.merge, map(Strongest.load, files)) if files else None

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._written >= self._every

    def write(self, found: Strongest) -> None:
        """Write a checkpoint over the last one."""
        found.save(self._own)
        self._written = time.monotonic()

    def finish(self, found: Strongest) -> None:
        """Write the result, and remove the checkpoints of all processes."""
        found.save(self._file)
        for part in [*self._parts(), *self._parts(r"\.", r"\.\d+\.unfinished")]:  # left by a killed process
            part.unlink(missing_ok=True)

    def _parts(self, before: str = "", behind: str = "") -> list[Path]:
        name = re.compile(before + re.escape(self._file.name) + r"\.part\d+" + behind)
        return sorted(path for path in self._file.parent.iterdir() if name.fullmatch(path.name))
