"""The processes of a search that runs under ``torchrun``, or wherever torch.distributed is initialised.

They exchange small objects in CPU memory, so their group uses gloo, whatever the default backend is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import torch.distributed as dist

from ...engine.undo import Undo
from ...errors import SearchError

__all__ = ["ProcessGroup", "is_first", "join"]

_TIMEOUT = timedelta(hours=24)  # shares may differ by that much; the end of a process is noticed at once

_searches = count()


class ProcessGroup:
    """The processes of a search, and the rank of this one.

    Parameters
    ----------
    group : ProcessGroup or None
        None for a single process.
    """

    def __init__(self, group: Any = None) -> None:
        self._group = group
        self.rank = dist.get_rank(group) if group else 0
        self.size = dist.get_world_size(group) if group else 1

    def agree(self, value: Any) -> Any:
        """Return the first process's value in all of them."""
        values = [value]
        if self._group is not None:
            with _lost_process_as_error():
                dist.broadcast_object_list(values, src=dist.get_global_rank(self._group, 0), group=self._group)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in their order, in each of them."""
        values = [value] * self.size
        if self._group is not None:
            with _lost_process_as_error():
                dist.all_gather_object(values, value, group=self._group)
        return values


def is_first() -> bool:
    """Whether this is the process that writes and prints for all."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


def join(undo: Undo) -> ProcessGroup:
    """Join the other processes, if there are any, until that is undone.

    While they are joined, :class:`SearchError` says that one of them has ended.
    """
    if not dist.is_available():
        return ProcessGroup()
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched() or os.environ.get("WORLD_SIZE") == "1":
            return ProcessGroup()
        undo.later(partial(_leave, None))
        _initialise()
    if dist.get_world_size() == 1:
        return ProcessGroup()
    group = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    undo.later(partial(_leave, group))
    return ProcessGroup(group)


def _initialise() -> None:
    """Make the default group from torchrun's variables, with a prefix of its own, because another search may follow."""
    untyped: Any = dist  # public names without declarations
    store, rank, size = next(iter(untyped.rendezvous("env://")))
    prefixed = untyped.PrefixStore(f"deconv_attr search {next(_searches)}", store)
    dist.init_process_group("gloo", store=prefixed, rank=rank, world_size=size, timeout=_TIMEOUT)


def _leave(group: Any) -> None:
    if not dist.is_initialized():
        return
    time.sleep(0.1)  # until gloo's threads release their last tensors; in torch 2.6 there may be a deadlock
    with suppress(RuntimeError, ValueError):  # some processes of the group may have ended, or this one has left it
        dist.destroy_process_group(group)


@contextmanager
def _lost_process_as_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # not in gloo's words: they name addresses
        raise SearchError(
            "another process of the search ended before its share was done; its error is above, or in its log"
        ) from error
