"""The deconvnet of Zeiler and Fergus (2013) as a Captum attribution method, right on every graph.

>>> from deconv_attr import ZFDeconv
>>> attributions = ZFDeconv(model).attribute(x, target=5)   # doctest: +SKIP
"""

from .attribution.at_layer import LayerZFDeconv, NeuronZFDeconv
from .attribution.zf_deconv import ZFDeconv, coverage
from .engine.coverage import Coverage
from .errors import DeadSignalWarning, DeconvError
from .evidence.inputs import Comparison, compare
from .evidence.methods import Method
from .gallery import Evolution, Gallery, evolution
from .gallery.images import Photographs
from .gallery.search import Strongest, strongest
from .rules.operations import Kind
from .rules.switches import Switches
from .rules.tables import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP
from .units.projection import Projection, project
from .units.receptive_fields import ReceptiveField, receptive_field

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
