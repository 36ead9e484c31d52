"""Modules that are imported when they are first asked for; the filters of warnings stay as they are."""

import sys
import warnings
from importlib import import_module
from typing import Any

from ..engine.modes import keep_filters_of_warnings
from ..engine.undo import Undo

__all__ = ["scipy_stats", "tqdm_auto"]


def scipy_stats() -> Any:
    """Return the module: it takes a second, which other commands do not spend, and adds filters of its own."""
    return _imported("scipy.stats")


def tqdm_auto() -> Any:
    """Return the module of bars for a terminal or a notebook: without ipywidgets it would give advice."""
    return _imported("tqdm.auto", silently=True)


def _imported(name: str, silently: bool = False) -> Any:
    if name not in sys.modules:
        undo = Undo()
        with undo, undo:
            keep_filters_of_warnings(undo)
            if silently:
                warnings.simplefilter("ignore")
            import_module(name)
    return import_module(name)  # in another thread, its import may not have ended
