"""The folder of a gallery: its files are replaced one by one, and ``index.html`` last."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ...errors import InputError
from ..files import atomic_write, check_writable, link_target, writing

__all__ = ["GENERATOR", "GalleryFolder"]

GENERATOR = "deconv_attr gallery"
"""The generator that an index names, so that it can be told from any other page."""

INDEX = "index.html"
UNFINISHED = re.compile(r"(.*/)\.([^/]+)\.\d+\.unfinished")  # what a run that was killed left of a file
OURS = re.compile(
    r"files/(\w+\.css|\w+\.js|layer-[\w.-]+\.js|image-\d+\.(png|jpg)|maps-[\w.-]+/map-\d+\.(png|jpg))(\.part)?",
    re.ASCII,
)
"""Every file beside the index that a gallery may consist of; see :func:`deconv_attr.visualize.html.write_gallery`."""


class GalleryFolder:
    """A folder to which a gallery is written.

    The index of an older gallery is removed when the first file is written, and then its files are replaced one by one:
    at no time is there a page that shows files of two galleries. Until the first file, nothing is changed.

    Parameters
    ----------
    path : str or Path
        The folder; made if its parent exists.

    Raises
    ------
    InputError
        If the folder cannot be made or written, or its index is not a gallery's.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._written: set[str] = set()
        if not self.path.exists():
            check_writable(self.path)
        with writing(self.path):
            link_target(self.path).mkdir(exist_ok=True)
        index = self.path / INDEX
        check_writable(index)
        if index.exists() and not _is_gallery(index):
            raise InputError(f"cannot write {index}: there is one already that is not a gallery's")

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or nothing at all.

        Parameters
        ----------
        name : str
            The path within the folder, with slashes; folders are made.
        content : bytes
            All of it.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        path = self.path / name
        with writing(path):
            if not self._written:
                link_target(self.path / INDEX).unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, content)
        self._written.add(name.casefold())  # some file systems keep the case of an older file's name

    def finish(self, index: bytes) -> Path:
        """Write the index, remove the files of an earlier gallery, and return the index's path."""
        self.write(INDEX, index)
        for name in list(_names(self.path, "files")):
            if OURS.fullmatch(UNFINISHED.sub(r"\1\2", name)) and name.casefold() not in self._written:
                path = self.path / name
                with suppress(OSError):  # no page refers to it
                    path.unlink()
                    if path.parent.name.startswith("maps-"):
                        path.parent.rmdir()  # fails until it is empty
        return self.path / INDEX


def _is_gallery(index: Path) -> bool:
    try:
        return f'<meta name="generator" content="{GENERATOR}">'.encode() in index.read_bytes()
    except OSError:
        return False


def _names(root: Path, folder: str) -> Iterator[str]:
    """List the files below a folder by their paths from the root, following no links."""
    if (root / folder).is_symlink():
        return
    for path in (root / folder).iterdir():
        name = str(PurePosixPath(folder, path.name))
        if path.is_dir():
            yield from _names(root, name)
        else:
            yield name
