"""Attribution maps as pictures: single maps, methods side by side, and the projections of single units.

The one chapter that imports matplotlib, and only its object-oriented interface: no window, no backend, no
figure that a user's own plots could see, unless they ask for pyplot. Its input is tensors and pictures, never models.

``planes`` makes planes of signals and volumes, ``pictures`` arrays of colours of maps and photographs, ``unit_input``
checks single units, ``page_layout`` positions pictures on a figure, ``tile_page`` tiles pixel for pixel,
``projection_page`` single units, ``paper`` is what figures for a paper share; ``comparison_grid``, ``projections``,
``paper_figures`` and ``curves`` are the kinds of figure, ``files`` writes them.
"""

from .comparison_grid import Column, comparison_figure
from .curves import Curve, Panel, curves_figure
from .figure import Figure
from .files import FORMATS, picture_path, save_figure
from .paper_figures import MOST_MAPS, MOST_TILES, evolution_figure, gallery_figure
from .pictures import coloured, heat, in_bytes, own_scale, photograph, robust_scale, signed_rgb
from .planes import image_planes, map_planes
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
    "image_planes",
    "in_bytes",
    "map_planes",
    "own_scale",
    "photograph",
    "picture_path",
    "projections_figure",
    "robust_scale",
    "save_figure",
    "signed_rgb",
    "visualize_projection",
]
