"""Methods to compare: ours, Captum's, and any function ``(model, inputs, target) -> maps``.

``method`` defines one, ``builtin`` has those that are ready made, ``class_map`` finds the layer that they start from.
"""

from ...engine.restore import collected_dead_signals, eval_mode, without_dead_signals
from ...engine.undo import to_the_end
from .builtin import captum_misses, controls, default_methods, rule_tables, starts_at_unit
from .method import RANKINGS, Explained, Method, Ranking, as_method, as_methods, check_ranking

__all__ = [
    "RANKINGS",
    "Explained",
    "Method",
    "Ranking",
    "as_method",
    "as_methods",
    "captum_misses",
    "check_ranking",
    "collected_dead_signals",
    "controls",
    "default_methods",
    "eval_mode",
    "rule_tables",
    "starts_at_unit",
    "to_the_end",
    "without_dead_signals",
]
