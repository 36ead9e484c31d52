"""Methods to be compared: ours, Captum's, and any function ``(model, inputs, target) -> maps``.

``method`` says what one is, ``foreign`` runs those that are not ours, ``class_map`` finds where the paper's start is,
``builtin`` has those that need not be made, ``missed`` says where Captum's take the gradient and say nothing.
"""

from ...engine.restore import eval_mode, without_dead_signals
from ...engine.undo import to_the_end
from .builtin import controls, default_methods, rule_tables
from .method import Method, as_method, as_methods
from .missed import captum_misses

__all__ = [
    "Method",
    "as_method",
    "as_methods",
    "captum_misses",
    "controls",
    "default_methods",
    "eval_mode",
    "rule_tables",
    "to_the_end",
    "without_dead_signals",
]
