"""Jinja2 for every page."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["rendered"]


def rendered(template: str, **values: Any) -> bytes:
    """Return a rendered template; all values are escaped, and a missing one is an error."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A file name may hold bytes that are not Unicode.
    return environment.get_template(template).render(**values).encode(errors="replace")
