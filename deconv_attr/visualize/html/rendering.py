"""What every page is made with: Jinja2, and what a page in one file has within itself.

A template extends ``base.html``, which asks for the values `generator`, `title` and `facts` (pairs of words) and the
blocks `sources` (what the page's policy admits), `head`, `body`, `view` and `script`; it sets `steps`.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from importlib.resources import files
from io import BytesIO
from typing import Any, BinaryIO

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["asset", "data_uri", "policy_hash", "render_to", "rendered"]


def rendered(template: str, **values: Any) -> bytes:
    """Return a rendered template; all values are escaped, and a missing one is an error."""
    file = BytesIO()
    render_to(file, template, **values)
    return file.getvalue()


def render_to(file: BinaryIO, template: str, **values: Any) -> None:
    """Write a rendered template into a file, piece by piece: a page of many pictures is never in memory as a whole."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    # A file name may hold bytes that are not Unicode.
    for piece in environment.get_template(template).generate(**values):
        file.write(piece.encode(errors="replace"))


def _breakable(text: str) -> Markup:
    """Return a text whose long names of modules and files may be broken after a dot, a slash or the like."""
    return Markup("<wbr>").join(re.split(r"(?<=[./_-])(?=\w)", text))


def asset(name: str) -> str:
    """Return the text of a style or script in the folder of templates."""
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def data_uri(kind: str, content: bytes) -> str:
    """Return the address of a picture within the page; `kind` is its media type."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def policy_hash(content: str) -> str:
    """Return the hash by which a page's policy admits a style or script that stands in the page."""
    return f"sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}"
