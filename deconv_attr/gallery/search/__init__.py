"""The strongest activations of every feature map over a data set.

``search`` is the one pass, ``scan`` what it does with a block of images, ``top`` the table of a layer; ``result`` what
comes of it, ``archive`` its file and ``checkpoints`` the way there; ``ranks`` are the processes that share the work.
"""

from .distributed import is_first
from .result import Origin, Strongest
from .run import strongest
from .top_k import NOBODY, Top

__all__ = ["NOBODY", "Origin", "Strongest", "Top", "is_first", "strongest"]
