"""scipy.stats, imported when it is first asked for: that takes a second, which other commands do not spend."""

import warnings
from typing import Any

__all__ = ["scipy_stats"]


def scipy_stats() -> Any:
    """Return the module; the filters of warnings, to which scipy adds its own, stay as they are."""
    with warnings.catch_warnings():
        import scipy.stats
    return scipy.stats
