"""The strongest activations of every feature map over a data set.

``run`` makes one pass, ``scan`` runs a block of images, ``top_k`` is the table of a layer; ``result`` is the result,
``archive`` its file, ``validation`` what that file promises (``FORMAT.md``), ``checkpoints`` those written on the way;
``distributed`` holds the processes that share the work, ``termination`` the signals that end one.
"""

from .distributed import is_first
from .result import Origin, Strongest
from .run import strongest
from .top_k import NO_IMAGE, TopK

__all__ = ["NO_IMAGE", "Origin", "Strongest", "TopK", "is_first", "strongest"]
