"""Switches: where each maximum of a max-pool stood, and unpooling by them.

Pooling with switches ``s`` reads ``y[o] = x[s(o)]``. Its adjoint writes ``r[i] = sum of signal[o] over s(o) = i``:
a value that is the maximum of several overlapping windows receives the sum of their signals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Size, Tensor

__all__ = ["OVERLAPS", "Switches", "gives_indices", "pool_with_switches"]

OVERLAPS = ("sum", "mean", "overwrite")


@dataclass(frozen=True)
class Switches:
    """What one max-pool recorded.

    Parameters
    ----------
    indices : Tensor
        (N, C, *pooled), int64: the flat position of each maximum in its plane of the input, row by row,
        as ``return_indices=True`` gives it. Ties are broken as the pooling kernel breaks them.
    input_shape : torch.Size
        (N, C, *plane): the shape that unpooling restores.
    dims : int
        How many trailing dimensions are pooled: 1, 2 or 3.
    """

    indices: Tensor
    input_shape: Size
    dims: int

    def unpool(self, signal: Tensor, overlap: str = "sum") -> Tensor:
        """Put each value of a signal at its switch; everything else is zero.

        Parameters
        ----------
        signal : Tensor
            (N, C, *pooled).
        overlap : {"sum", "mean", "overwrite"}
            What several windows with one switch give: their sum (the adjoint of pooling, the default), their
            mean, or the value of the last of them, as ``F.max_unpool2d`` does it.

        Returns
        -------
        Tensor
            (N, C, *plane), the shape of the pool's input.
        """
        lead = self.input_shape[: len(self.input_shape) - self.dims]
        plane = self.input_shape[len(lead) :].numel()
        flat = signal.reshape(*lead, -1)
        where = self.indices.reshape(*lead, -1)
        unpooled = signal.new_zeros((*lead, plane))
        if overlap == "sum":
            unpooled.scatter_add_(-1, where, flat)
        elif overlap == "mean":
            unpooled.scatter_reduce_(-1, where, flat, "mean", include_self=False)
        else:
            unpooled.scatter_(-1, where, flat)
        return unpooled.view(self.input_shape)


def pool_with_switches(name: str, *args: Any, **kwargs: Any) -> tuple[Tensor, Switches]:
    """Run a max-pool and record its switches.

    Parameters
    ----------
    name : str
        ``"max_pool2d"``, ``"adaptive_max_pool1d"``, ...
    *args, **kwargs
        As for the function of that name in ``torch.nn.functional``; ``return_indices`` is ignored.
    """
    function: Callable[..., tuple[Tensor, Tensor]] = getattr(F, f"{name}_with_indices")
    kwargs.pop("return_indices", None)
    source: Tensor = args[0] if args else kwargs["input"]
    output, indices = function(*args, **kwargs)
    return output, Switches(indices, source.shape, dims=int(name[-2]))


def gives_indices(function: Callable[..., Any], name: str) -> bool:
    """Say whether a spelling of the max-pool `name` returns its switches too.

    Below ``torch.nn.functional``, adaptive and fractional pools always do.
    """
    if function.__name__.split(".")[0].endswith("_with_indices"):
        return True
    return not name.startswith("max_pool") and function is not getattr(F, name)
