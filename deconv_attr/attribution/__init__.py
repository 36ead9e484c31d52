"""The Captum classes: ``ZFDeconv``, ``NeuronZFDeconv``, ``LayerZFDeconv``; and ``coverage``, the report of a model."""

from .at_layer import LayerZFDeconv, NeuronZFDeconv
from .zf_deconv import ZFDeconv, coverage

__all__ = ["LayerZFDeconv", "NeuronZFDeconv", "ZFDeconv", "coverage"]
