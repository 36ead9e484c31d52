"""Figures 2 and 4 of the paper, and a page to look through thousands of feature maps.

``map_choice`` chooses the maps to show, ``windows`` the part of an image that a tile shows.
"""

from .figure2 import Gallery
from .figure4 import Evolution, evolution
from .images import Photographs
from .search import Strongest, strongest

__all__ = ["Evolution", "Gallery", "Photographs", "Strongest", "evolution", "strongest"]
