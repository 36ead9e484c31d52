"""Attribution maps as pictures: single maps, methods side by side, and the projections of single units.

`Comparison.plot`, `Gallery.plot` and `Evolution.plot` draw by this chapter. Its input is tensors and pictures, never
models; it is the one chapter that imports matplotlib, and only its object-oriented interface: no window, no backend, no
figure that your own plots could see, unless you ask for pyplot.

```python
import torch

from deconv_attr import NeuronZFDeconv, receptive_field
from deconv_attr.demo import embedded_images, load_model, normalise
from deconv_attr.visualize import coloured, visualize_projection

images, _ = embedded_images(1)  # (1, 3, 96, 96), between 0 and 1
model, x = load_model(), normalise(images)
box = receptive_field(model, "features.9", x.shape).box(5, 6)  # top, left, bottom, right

(projection,) = NeuronZFDeconv(model, "features.9").attribute(x, (41, 5, 6))
patch = projection[:, box[0] : box[2], box[1] : box[3]]
figure, axes = visualize_projection(patch, images[0], box, title="map 41")
figure.savefig("unit.png")

pixels = coloured(projection, "signed")  # (96, 96, 3) bytes
```

## Colours and scales

- Deconvnet and guided backprop are drawn in colours around grey, other maps by their size, maps of one channel by their
  sign, Grad-CAM by its positive part. `STYLES` has the four styles; `Method(style=...)` chooses one.
- Below each column stands what its colours mean, below each map its scale. Every map has its own scale, unless
  `shared_scale=True`: a deconvnet's signal is orders of magnitude larger or smaller than a gradient, and differs much
  from image to image.
- A map of zeros says where its signal died.

## Sizes

Figures are 7 inches wide, the text of a paper, with letters of 7 and 8 points. `width`, `tile`, `font_size`, `cmap`,
`rows`, `columns` and your own `axes` are arguments. PDFs have TrueType fonts. In a notebook a figure shows itself,
without `%matplotlib inline`.

## Other inputs than photographs

Of images of many channels choose three, or one, by `channels=(3, 2, 1)`. Signals are curves above the stripes of their
maps, videos are strips of `frames`, volumes are `slices` and projections.
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
from .tiles import Bytes, MapTiles
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
    "MapTiles",
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
