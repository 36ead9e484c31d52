"""Which pixels the elements of a tensor read: one rule for each family of operations, on intervals.

For each axis of the image, an element reads pixels from `first` to `last`. Reading several elements reads the union
of their intervals: the smallest `first`, the largest `last`. A second interval, from `start` to `end`, goes on past
the image's border where padding is read; it has the same length everywhere, so size, stride and offset can be
read off it, and an element whose second interval leaves the image depends on where the border is.

All four are kept as (-first, last, -start, end), so that every union is a maximum.
"""

from .call import ReadCall
from .intervals import Extent, Reach, pixels, whole_image
from .rules import follow, mixes_examples

__all__ = ["Extent", "Reach", "ReadCall", "follow", "mixes_examples", "pixels", "whole_image"]
