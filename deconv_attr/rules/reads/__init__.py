"""Which pixels the elements of a tensor read: one rule for each family of operations, on intervals.

For each axis of the image, an element reads pixels from `first` to `last`. Reading several elements reads the union
of their intervals: the smallest `first`, the largest `last`. A second interval, from `start` to `end`, goes on past
the image's border where padding is read; it has the same length everywhere, so size, stride and offset can be
read off it, and an element whose second interval leaves the image depends on where the border is.

All four are kept as (-first, last, -start, end), so that every union is a maximum.
"""

from .call import ReadCall, Reads, all_but_batch, dims_at, its_own_statistics, last_dim, normalized_dims, reads_all
from .families import (
    along,
    extremes,
    first_alone,
    follow,
    joined,
    matrices,
    mixes_examples,
    moved,
    new_rows,
    numbers_in,
    per_channel,
    pointwise,
    takes_rows,
)
from .intervals import Extent, Reach, pixels, whole_image
from .windows import adaptive, interpolated, padded, transposed, window

__all__ = [
    "Extent",
    "Reach",
    "ReadCall",
    "Reads",
    "adaptive",
    "all_but_batch",
    "along",
    "dims_at",
    "extremes",
    "first_alone",
    "follow",
    "interpolated",
    "its_own_statistics",
    "joined",
    "last_dim",
    "matrices",
    "mixes_examples",
    "moved",
    "new_rows",
    "normalized_dims",
    "numbers_in",
    "padded",
    "per_channel",
    "pixels",
    "pointwise",
    "reads_all",
    "takes_rows",
    "transposed",
    "whole_image",
    "window",
]
