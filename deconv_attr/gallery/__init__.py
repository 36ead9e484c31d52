"""Figures 2 and 4 of the paper, and a page to look through thousands of feature maps.

``map_choice`` says which maps are shown, ``windows`` which part of an image a tile shows.
"""

from .figure2 import Gallery
from .figure4 import Evolution, evolution
from .images import Photographs
from .search import Strongest, strongest

__all__ = ["Evolution", "Gallery", "Photographs", "Strongest", "evolution", "strongest"]
