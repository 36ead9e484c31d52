"""The deconvnet of Zeiler and Fergus (2013) as a Captum attribution method, right on every graph.

>>> from deconv_attr import ZFDeconv
>>> attributions = ZFDeconv(model).attribute(x, target=5)   # doctest: +SKIP

A name is imported when it is first asked for (PEP 562), so that ``import deconv_attr`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attribution import LayerZFDeconv, NeuronZFDeconv, ScoredModel, ZFDeconv, coverage
    from .engine import Coverage
    from .errors import DeadSignalWarning, DeconvError, RandomModelWarning
    from .evidence import Comparison, Method, compare, controls, default_methods, rule_tables
    from .gallery import Evolution, Gallery, Photographs, Strongest, evolution, strongest
    from .rules import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP, TABLES, Kind, Rule, Switches, register_operation
    from .units import Projection, ReceptiveField, project, receptive_field

_CHAPTERS = {
    "attribution": ["LayerZFDeconv", "NeuronZFDeconv", "ScoredModel", "ZFDeconv", "coverage"],
    "engine": ["Coverage"],
    "errors": ["DeadSignalWarning", "DeconvError", "RandomModelWarning"],
    "evidence": ["Comparison", "Method", "compare", "controls", "default_methods", "rule_tables"],
    "gallery": ["Evolution", "Gallery", "Photographs", "Strongest", "evolution", "strongest"],
    "rules": [
        *("DECONVNET", "DESALINET", "GRADIENT", "GUIDED_BACKPROP", "TABLES"),
        *("Kind", "Rule", "Switches", "register_operation"),
    ],
    "units": ["Projection", "ReceptiveField", "project", "receptive_field"],
}
_HOME = {name: chapter for chapter, names in _CHAPTERS.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "DECONVNET",
    "DESALINET",
    "GRADIENT",
    "GUIDED_BACKPROP",
    "TABLES",
    "Comparison",
    "Coverage",
    "DeadSignalWarning",
    "DeconvError",
    "Evolution",
    "Gallery",
    "Kind",
    "LayerZFDeconv",
    "Method",
    "NeuronZFDeconv",
    "Photographs",
    "Projection",
    "RandomModelWarning",
    "ReceptiveField",
    "Rule",
    "ScoredModel",
    "Strongest",
    "Switches",
    "ZFDeconv",
    "__version__",
    "compare",
    "controls",
    "coverage",
    "default_methods",
    "evolution",
    "project",
    "receptive_field",
    "register_operation",
    "rule_tables",
    "strongest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
