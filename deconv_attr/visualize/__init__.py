"""Attribution maps as pictures: single maps, methods side by side, and the projections of single units.

The one chapter that imports matplotlib, and only its object-oriented interface: no window, no backend, no
figure that a user's own plots could see, unless they ask for pyplot. Its input is tensors and pictures, never models.

``views`` says what is shown of signals, volumes and videos, ``pictures`` makes colours of maps and photographs,
``unit_input`` checks single units, ``page_layout`` positions pictures on a ``figure``, ``tile_page`` tiles pixel for
pixel, ``projection_page`` single units, ``paper`` is what figures for a paper share; ``side_by_side``, on
``comparison_grid``, ``comparison_stack`` or ``callers_axes``, ``projections``,
``paper_figures`` and ``curves`` are the kinds of figure, ``files`` writes them.
"""

from .comparison_stack import curve_pixels, stripe_pixels
from .curves import Curve, Panel, check_curve_options, curves_figure, panel_figures
from .figure import AnyFigure, Figure
from .files import FORMATS, picture_path, save_figure
from .page_layout import short
from .paper_figures import MOST_MAPS, MOST_TILES, evolution_figure, gallery_figure
from .pictures import (
    STYLES,
    ColourMaps,
    colour_bar,
    coloured,
    framed_pixels,
    heat,
    in_bytes,
    luminance,
    own_scale,
    photograph,
    robust_scale,
    signed_rgb,
    style_named,
)
from .projections import projections_figure, visualize_projection
from .side_by_side import Column, comparison_figure, scale_ends
from .tiles import Bytes
from .views import View, view_of

__all__ = [
    "FORMATS",
    "MOST_MAPS",
    "MOST_TILES",
    "STYLES",
    "AnyFigure",
    "Bytes",
    "ColourMaps",
    "Column",
    "Curve",
    "Figure",
    "Panel",
    "View",
    "check_curve_options",
    "colour_bar",
    "coloured",
    "comparison_figure",
    "curve_pixels",
    "curves_figure",
    "evolution_figure",
    "framed_pixels",
    "gallery_figure",
    "heat",
    "in_bytes",
    "luminance",
    "own_scale",
    "panel_figures",
    "photograph",
    "picture_path",
    "projections_figure",
    "robust_scale",
    "save_figure",
    "scale_ends",
    "short",
    "signed_rgb",
    "stripe_pixels",
    "style_named",
    "view_of",
    "visualize_projection",
]
