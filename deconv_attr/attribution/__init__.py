"""The Captum classes, what of a model's output they explain, and the report of a model: ``coverage``."""

from .at_layer import LayerZFDeconv, NeuronZFDeconv
from .scored_model import ScoredModel
from .zf_deconv import ZFDeconv, coverage

__all__ = ["LayerZFDeconv", "NeuronZFDeconv", "ScoredModel", "ZFDeconv", "coverage"]
