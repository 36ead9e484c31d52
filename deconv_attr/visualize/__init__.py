"""Attribution maps as pictures: single maps, methods side by side, and the projections of single units.

The one place that imports matplotlib, and only its object-oriented face: no window, no backend, no
figure that a user's own plots could see, unless they ask for pyplot. It knows tensors and pictures, no models.

``pictures`` turns maps and photographs into arrays of colours, ``inputs`` checks single units, ``layout`` puts
pictures at places on a figure, ``comparison`` and ``projections`` are the kinds of figure, ``files`` writes them.
"""

from .comparison import Column, comparison_figure
from .files import FORMATS, picture_path, save_figure
from .pictures import heat, robust_scale, signed_rgb
from .projections import projections_figure, visualize_projection

__all__ = [
    "FORMATS",
    "Column",
    "comparison_figure",
    "heat",
    "picture_path",
    "projections_figure",
    "robust_scale",
    "save_figure",
    "signed_rgb",
    "visualize_projection",
]
