"""Single units of a layer: the pixels they read, and the pixels that caused them."""

from .projection import Projection, project
from .receptive_fields import ReceptiveField, receptive_field

__all__ = ["Projection", "ReceptiveField", "project", "receptive_field"]
