"""Attribution maps as pictures: single maps, methods side by side, and the projections of single units.

The one place that imports matplotlib, and only its object-oriented face: no window, no backend, no
figure that a user's own plots could see, unless they ask for pyplot. It knows tensors and pictures, no models.

``pictures`` turns maps and photographs into arrays of colours, ``inputs`` checks single units, ``layout`` puts
pictures at places on a figure, ``tile_page`` puts tiles there pixel for pixel; ``comparison``, ``projections``,
``gallery``, ``evolution`` and ``curves`` are the kinds of figure, ``files`` writes them.
"""

from matplotlib.figure import Figure

from .comparison_grid import Column, comparison_figure
from .curves import Curve, Panel, curves_figure
from .figure2_grid import MOST_MAPS, MOST_TILES, gallery_figure
from .figure4_grid import evolution_figure
from .files import FORMATS, picture_path, save_figure
from .pictures import coloured, heat, in_bytes, own_scale, photograph, robust_scale, signed_rgb
from .projections import projections_figure, visualize_projection

__all__ = [
    "FORMATS",
    "MOST_MAPS",
    "MOST_TILES",
    "Column",
    "Curve",
    "Figure",
    "Panel",
    "coloured",
    "comparison_figure",
    "curves_figure",
    "evolution_figure",
    "gallery_figure",
    "heat",
    "in_bytes",
    "own_scale",
    "photograph",
    "picture_path",
    "projections_figure",
    "robust_scale",
    "save_figure",
    "signed_rgb",
    "visualize_projection",
]
