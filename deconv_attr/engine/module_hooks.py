"""Forward hooks of ours on a model's modules: for this thread only, and gone after any exit.

They stand where PyTorch keeps hooks, in a dict of each module. A copy or a pickle that another thread makes just then
holds nothing of them; but where it walks through that dict as a hook is put there or taken off, it raises Python's
RuntimeError, "OrderedDict mutated during iteration", as with any hook of PyTorch's, and must be made again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ..rules.torch_private import remove_hook
from .undo import Undo

__all__ = ["ModuleHooks"]


class ModuleHooks(Undo):
    """Hooks that are put on modules, and taken off again; to be entered twice, as :class:`Undo`.

    >>> hooks = ModuleHooks()
    >>> with hooks, hooks:                               # doctest: +SKIP
    ...     hooks.after(model.conv1, lambda module, args, output: print(output.shape))
    ...     model(x)
    """

    def before(self, module: nn.Module, act: Callable[..., Any], **options: Any) -> None:
        """Call ``act(module, args)`` before a module runs; options as for ``register_forward_pre_hook``."""
        hook = Hook(act)
        self.later(partial(remove_hook, module, hook))  # noted first: Ctrl-C may strike before the hook is there
        module.register_forward_pre_hook(hook, **options)

    def after(self, module: nn.Module, act: Callable[..., Any], **options: Any) -> None:
        """Call ``act(module, args, output)`` after a module ran; options as for ``register_forward_hook``."""
        hook = Hook(act)
        self.later(partial(remove_hook, module, hook))
        module.register_forward_hook(hook, **options)

    def around(
        self, module: nn.Module, enter: Callable[[nn.Module, Any], None], leave: Callable[[nn.Module, Any], None]
    ) -> None:
        """Call ``enter(module, (args, kwargs))`` before a module runs, and ``leave(module, output)`` right after."""
        self.before(module, lambda module, args, kwargs=None: enter(module, (args, kwargs)), with_kwargs=True)
        self.after(module, lambda module, args, output: leave(module, output), prepend=True)


class Hook:
    """A module hook that acts in the thread that made it, and is nothing in a copy of the module, or a pickled one.

    Parameters
    ----------
    act : callable
        The hook itself.
    """

    def __init__(self, act: Callable[..., Any]) -> None:
        self._act = act
        self._thread = threading.get_ident()

    def __call__(self, *args: Any) -> Any:
        """Act, in this thread."""
        return self._act(*args) if threading.get_ident() == self._thread else None

    def __reduce__(self) -> Any:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _do_nothing


def _do_nothing(*_: Any) -> None:
    """Stand for a hook of ours in a copy of a module."""
