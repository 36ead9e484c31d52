"""What was run: the facts that a page of results needs, so that somebody else can run it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from .. import __version__
from ..engine.fingerprint import fingerprint_of

__all__ = ["call_of", "name_of", "run_facts"]

DIGITS = 12  # of a fingerprint
MOST = 8  # entries of a list


def run_facts(model: nn.Module, call: str, images: int, now: datetime | None = None) -> list[tuple[str, str]]:
    """Return what was run, as pairs of a word and a text.

    Parameters
    ----------
    model : nn.Module
        Named by its class and by the digest of its weights; see :func:`fingerprint_of`.
    call : str
        The call that led here; see :func:`call_of`.
    images : int
        Their number.
    now : datetime, optional
        By default the time of this call.
    """
    when = (now or datetime.now(timezone.utc)).astimezone(timezone.utc)
    packages = {"deconv_attr": __version__, "torch": version("torch"), "captum": version("captum")}
    return [
        ("model", name_of(model)),
        ("weights", f"fingerprint {fingerprint_of(model)[:DIGITS]}"),
        ("images", str(images)),
        ("date", f"{when:%Y-%m-%d %H:%M} UTC"),
        ("versions", ", ".join(f"{name} {number}" for name, number in packages.items())),
        ("call", call),
    ]


def name_of(model: nn.Module) -> str:
    """Return the name of a model's class; of a :class:`ScoredModel`, the model's own."""
    return type(next(model.modules())).__name__


def call_of(function: str, model: nn.Module, arguments: Mapping[str, Any]) -> str:
    """Return a call in one line, like Python: long lists are cut, and of large tensors the shape is named.

    Parameters
    ----------
    function : str
        Its name.
    model : nn.Module
        Its first argument.
    arguments : mapping of str to object
        All further ones; those that are None are left out.
    """
    shown = [_shown(name, value) for name, value in arguments.items() if value is not None]
    return f"{function}({', '.join([name_of(model), *shown])})"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, Tensor) and value.dim() != 1:
        return f"{name} {tuple(value.shape)}"
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list) and len(value) > MOST:
        return f"{name}=[{', '.join(map(repr, value[:MOST]))}, ...]"
    if isinstance(value, tuple):
        return f"{name}=({', '.join(_shown('', each).lstrip('= ') for each in value)})"
    return f"{name}={value!r}"
