"""The processes of a search that runs under ``torchrun``, or wherever torch.distributed is initialised.

What they exchange is small and in the processor's memory, so the group is one of gloo, whatever the default is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import Any, NoReturn

import torch.distributed as dist

from ...errors import SearchError

__all__ = ["ProcessGroup", "is_first", "joined"]

_PATIENCE = timedelta(hours=24)  # a share may take that much longer than another; who dies is noticed at once

_searches = count()


class ProcessGroup:
    """The processes, and which one this is.

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
        """Give the first process's value in all of them."""
        values = [value]
        if self._group is not None:
            with _noticing_death():
                dist.broadcast_object_list(values, src=dist.get_global_rank(self._group, 0), group=self._group)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Give the values of all processes, in their order, in each of them."""
        values = [value] * self.size
        if self._group is not None:
            with _noticing_death():
                dist.all_gather_object(values, value, group=self._group)
        return values


def is_first() -> bool:
    """Say whether this is the process that writes and speaks for all."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """Join the other processes, if there are any, for as long as this lasts.

    Raises
    ------
    SearchError
        Within: this process was told to end, as torchrun tells those whose fellow has died; or a fellow has gone.
    """
    with ExitStack() as undo:
        if not dist.is_available():
            yield ProcessGroup()
            return
        if not dist.is_initialized():
            if not dist.is_torchelastic_launched() or os.environ.get("WORLD_SIZE") == "1":
                yield ProcessGroup()
                return
            _initialise()
            undo.callback(_left, None)
        if dist.get_world_size() == 1:
            yield ProcessGroup()
            return
        undo.enter_context(_telling_of_the_end())
        group = dist.new_group(backend="gloo", timeout=_PATIENCE)
        undo.callback(_left, group)
        yield ProcessGroup(group)


def _initialise() -> None:
    """Make the default group from what torchrun says; under a name of its own, for a second one may follow."""
    untyped: Any = dist  # these two names are public, and not declared so
    store, rank, size = next(iter(untyped.rendezvous("env://")))
    own = untyped.PrefixStore(f"deconv_attr search {next(_searches)}", store)
    dist.init_process_group("gloo", store=own, rank=rank, world_size=size, timeout=_PATIENCE)


def _left(group: Any) -> None:
    time.sleep(0.1)  # gloo's threads let go of their last tensors; in torch 2.6 they may wait for us, and we for them
    with suppress(RuntimeError):  # of a group whose processes have died
        dist.destroy_process_group(group)


@contextmanager
def _noticing_death() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's text names addresses
        raise SearchError(
            "another process of the search ended before its share was done; what it said stands above, or in its log"
        ) from error


class _ToldToEnd(BaseException):
    """What a data set cannot take for its own error."""


@contextmanager
def _telling_of_the_end() -> Iterator[None]:
    """Make of SIGTERM an error, so that what has been found is kept; not over a handler of the user's."""

    def end(number: int, frame: Any) -> NoReturn:
        raise _ToldToEnd

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _ToldToEnd:
        raise SearchError(
            "this process was told to end, as it is when another process of the search has died"
        ) from None
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
