"""A progress bar where somebody looks: in a terminal or a notebook."""

from __future__ import annotations

import sys
from typing import Any

from .late_imports import tqdm_auto

__all__ = ["in_words", "progress_bar"]


def progress_bar(total: float, what: str, show: bool) -> Any:
    """Return a bar of `total` seconds or methods, which disappears when it is closed."""
    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    watched = sys.stderr.isatty() or _in_notebook()
    return tqdm_auto().tqdm(total=total, desc=f"{what}: ", disable=not (show and watched), leave=False, bar_format=form)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def in_words(seconds: float) -> str:
    """Return a time as one says it: "about 4 min"."""
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
