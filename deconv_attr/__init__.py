"""The deconvnet of Zeiler and Fergus (2013) as a Captum attribution method.

A deconvnet sends the score of a trained network, or one of its units, back to the pixels and shows which pattern of
the image caused it. `ZFDeconv(model).attribute(x, target=...)` does so for the modules and functions that a PyTorch
model really calls, and refuses with a named error what has no rule. Beside the maps there are the paper's figures for
a whole data set, and checks that say in numbers what such maps are worth.

```python
from deconv_attr import ZFDeconv, coverage
from deconv_attr.demo import Shapes, load_model, normalise

model = load_model()  # any torch.nn.Module with ReLUs
image, label = Shapes(1, seed=7)[0]
x = normalise(image)[None]  # (1, 3, 96, 96)

attributions = ZFDeconv(model).attribute(x, target=label)  # (1, 3, 96, 96), signed

print(coverage(model, x))  # every operation, and the rule that it was given
```

| chapter | when to read it |
|---|---|
| `deconv_attr.attribution` | to explain a score, a unit or a layer: `ZFDeconv`, `NeuronZFDeconv`, `LayerZFDeconv` |
| `deconv_attr.evidence` | to compare methods, and to check what their maps are worth: `compare`, `Method` |
| `deconv_attr.units` | to project many single units, and for receptive fields: `project`, `receptive_field` |
| `deconv_attr.gallery` | for what each feature map answers to, over a data set: `strongest`, `Gallery`, `evolution` |
| `deconv_attr.cli` | to do all this from a shell, by `deconv-attr` |
| `deconv_attr.rules` | to change a rule, or to add an operation: `DECONVNET`, `Rule`, `register_operation` |
| `deconv_attr.errors` | when something is refused, or a map is zero: what to choose instead |
| `deconv_attr.visualize` | to draw maps of your own in the same styles |
| `deconv_attr.demo` | for a small trained model and images to try things on |
| `deconv_attr.engine` | for what runs inside: what a call leaves behind, threads, the coverage report |

All names of this level are imported when they are first asked for (PEP 562), so that `import deconv_attr` costs next
to nothing.
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
