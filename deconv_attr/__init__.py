"""The deconvnet of Zeiler and Fergus (2013) as a Captum attribution method, right on every graph.

>>> from deconv_attr import ZFDeconv
>>> attributions = ZFDeconv(model).attribute(x, target=5)   # doctest: +SKIP
"""

from .attribution import ZFDeconv, coverage
from .compare import Comparison, compare
from .coverage import Coverage
from .errors import DeadSignalWarning, DeconvError
from .gallery import Evolution, Gallery, evolution
from .images import Photographs
from .layer_attribution import LayerZFDeconv, NeuronZFDeconv
from .methods import Method
from .operations import Kind
from .projection import Projection, project
from .receptive_field import ReceptiveField, receptive_field
from .rules import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP
from .strongest import Strongest, strongest
from .switches import Switches

__all__ = [
    "DECONVNET",
    "DESALINET",
    "GRADIENT",
    "GUIDED_BACKPROP",
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
    "ReceptiveField",
    "Strongest",
    "Switches",
    "ZFDeconv",
    "compare",
    "coverage",
    "evolution",
    "project",
    "receptive_field",
    "strongest",
]
