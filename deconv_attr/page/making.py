"""What every page is made with: a template filled in, and errors of the disk in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..errors import InputError

__all__ = ["rendered", "writing"]


def rendered(template: str, **values: Any) -> bytes:
    """Fill in a template; all values are escaped, and none may be missing."""
    environment = Environment(
        loader=PackageLoader("deconv_attr", "page/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A name on disk may be no text at all.
    return environment.get_template(template).render(**values).encode(errors="replace")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this, say which file the disk refused."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
