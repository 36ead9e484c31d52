"""What maps are worth, in numbers: checks beside the pictures.

Each check is a function with its formula and source, and returns a number for each image. ``checks`` registers them
by name, ``findings`` runs them on several methods of a ``comparison``, ``bootstrap`` gives means their intervals,
``table`` shows them, and ``verdicts`` answers a question with each. ``outputs`` runs a model and knows what it returns,
``cascade`` gives it random weights, ``dead_signals`` says why maps are zero.

=================  ============================================================================
module             question
=================  ============================================================================
similarity         does the map depend on the class? is it the image, or its edges? do methods agree?
randomisation      does the map depend on the weights?
faithfulness       does the score depend on what the map marks?
robustness         does the map depend on small noise in the image?
localisation       does the map lie on the object, where masks are known?
=================  ============================================================================
"""

from .bootstrap import Estimate, estimate
from .checks import CHECKS, Case, Check, Curve, Finding, Question, check, chosen_checks
from .comparison import Comparison
from .faithfulness import area, deletion, infidelity, insertion
from .inputs import compare
from .localisation import check_masks, mask_share, pointing_game
from .methods import Method, captum_misses, controls, default_methods, rule_tables
from .outputs import OUTPUTS, kind_of_outputs, probabilities, scores_of
from .randomisation import Randomisation, parameter_randomisation
from .robustness import sensitivity_max
from .similarity import (
    edge_similarity,
    input_recovery,
    is_zero,
    method_agreement,
    pearson,
    spearman,
    target_sensitivity,
)
from .table import Answer, Cell, Failure, ResultTable
from .verdicts import Verdict, verdict

__all__ = [
    "CHECKS",
    "OUTPUTS",
    "Answer",
    "Case",
    "Cell",
    "Check",
    "Comparison",
    "Curve",
    "Estimate",
    "Failure",
    "Finding",
    "Method",
    "Question",
    "Randomisation",
    "ResultTable",
    "Verdict",
    "area",
    "captum_misses",
    "check",
    "check_masks",
    "chosen_checks",
    "compare",
    "controls",
    "default_methods",
    "deletion",
    "edge_similarity",
    "estimate",
    "infidelity",
    "input_recovery",
    "insertion",
    "is_zero",
    "kind_of_outputs",
    "mask_share",
    "method_agreement",
    "parameter_randomisation",
    "pearson",
    "pointing_game",
    "probabilities",
    "rule_tables",
    "scores_of",
    "sensitivity_max",
    "spearman",
    "target_sensitivity",
    "verdict",
]
