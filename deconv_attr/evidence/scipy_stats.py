"""scipy.stats, imported when it is first asked for: that takes a second, which other commands do not spend."""

import sys
from typing import Any

from ..engine.modes import keep_filters_of_warnings
from ..engine.undo import Undo

__all__ = ["scipy_stats"]


def scipy_stats() -> Any:
    """Return the module; the filters of warnings, to which scipy adds its own, stay as they are."""
    if "scipy.stats" not in sys.modules:
        undo = Undo()
        with undo, undo:
            keep_filters_of_warnings(undo)
            import scipy.stats
    import scipy.stats

    return scipy.stats
