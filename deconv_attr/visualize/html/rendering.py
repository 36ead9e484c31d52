"""What every page is made with: a template filled in."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["rendered"]


def rendered(template: str, **values: Any) -> bytes:
    """Fill in a template; all values are escaped, and none may be missing."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A name on disk may be no text at all.
    return environment.get_template(template).render(**values).encode(errors="replace")
