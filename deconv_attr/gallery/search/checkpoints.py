"""What a search has found so far, on disk: ``top.npz.part0`` beside ``top.npz``, one of each process."""

from __future__ import annotations

import re
import time
from functools import reduce
from pathlib import Path

from ...errors import InputError
from ...visualize.files import check_writable, unfinished, writing
from .result import Strongest

__all__ = ["Checkpoints"]


class Checkpoints:
    """The file of a search, and the parts that lead to it.

    Parameters
    ----------
    file : str or Path
        Where the result goes.
    rank : int
        Of this process.
    every : float
        Seconds between two checkpoints.

    Raises
    ------
    InputError
        The file cannot be written there.
    """

    def __init__(self, file: str | Path, rank: int, every: float) -> None:
        self._file, self._every = Path(file), every
        check_writable(self._file)
        self._own = self._file.with_name(f"{self._file.name}.part{rank}")
        with writing(self._file):  # now, and not after hours: the name may be too long, the disk read-only
            unfinished(self._own).touch()
            unfinished(self._own).unlink(missing_ok=True)
        self._written = time.monotonic()

    def found(self, resume: bool) -> Strongest | None:
        """Read what earlier processes have left; None for nothing.

        Raises
        ------
        InputError
            A file is damaged; they are of different searches; or there is a checkpoint, and it is not to be used.
        """
        parts = self._parts()
        if parts and not resume:
            raise InputError(
                f"there is a search that was not finished, {parts[0]}: go on with it by resume, or delete it"
            )
        files = [*([self._file] if self._file.exists() else []), *parts] if resume else []
        return reduce(Strongest.merge, map(Strongest.load, files)) if files else None

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._written >= self._every

    def write(self, found: Strongest) -> None:
        """Write a checkpoint in the place of the last."""
        found.save(self._own)
        self._written = time.monotonic()

    def finish(self, found: Strongest) -> None:
        """Write the result, and remove the checkpoints of all processes."""
        found.save(self._file)
        for part in [*self._parts(), *self._parts(r"\.", r"\.\d+\.unfinished")]:  # which a kill has left
            part.unlink(missing_ok=True)

    def _parts(self, before: str = "", behind: str = "") -> list[Path]:
        name = re.compile(before + re.escape(self._file.name) + r"\.part\d+" + behind)
        return sorted(path for path in self._file.parent.iterdir() if name.fullmatch(path.name))
