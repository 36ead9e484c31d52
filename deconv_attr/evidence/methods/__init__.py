"""Methods to compare: ours, Captum's, and any function ``(model, inputs, target) -> maps``.

``method`` defines one, ``builtin`` has those that are ready made, ``class_map`` finds the layer that they start from.
"""

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
    "controls",
    "default_methods",
    "rule_tables",
    "starts_at_unit",
]
