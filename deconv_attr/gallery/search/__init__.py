"""The strongest activations of every feature map over a data set.

``run`` is the one pass, ``scan`` what it does with a block of images, ``top_k`` the table of a layer; ``result`` what
comes of it, ``archive`` its file and ``checkpoints`` the way there; ``distributed`` the processes that share the work.
"""

from .distributed import is_first
from .result import Origin, Strongest
from .run import strongest
from .top_k import NO_IMAGE, TopK

__all__ = ["NO_IMAGE", "Origin", "Strongest", "TopK", "is_first", "strongest"]
