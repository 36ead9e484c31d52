"""Models whose values change from run to run: with random numbers, or with the statistics of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .threads import seedings_elsewhere

__all__ = ["UNKNOWN_CALL", "RandomState", "check_eval_mode", "draws_in", "nondeterministic", "repeatable"]

UNKNOWN_CALL = "an operation on the way"


class RandomState:
    """The random number generators of the CPU and of a device, as they were when this was made.

    They are those of all threads. What another thread of the user's draws counts as drawn here; where one of ours has
    seeded them meanwhile, nothing can be told, and they are left to it.
    """

    def __init__(self, device: torch.device) -> None:
        self._seedings = seedings_elsewhere()
        self._device, self._before = device, _rng_states(device)

    @property
    def has_changed(self) -> bool:
        """Whether random numbers have been drawn since."""
        if all(map(torch.equal, self._before, _rng_states(self._device))):
            return False
        return self._seedings is not None and self._seedings == seedings_elsewhere()

    def restore(self) -> None:
        """Put the generators back into these states."""
        if self.has_changed:
            torch.set_rng_state(self._before[0])
            if self._device.type == "cuda":
                torch.cuda.set_rng_state(self._before[1], self._device)


@contextmanager
def repeatable(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a model whose calls could not be followed; refuse it if its values change from run to run.

    Raises
    ------
    ModelError
        A batch norm or dropout is in training mode, as far as modules show it, or random numbers were drawn.
    """
    check_eval_mode(model)
    before = RandomState(device)
    yield
    if before.has_changed:
        raise nondeterministic(UNKNOWN_CALL)


def check_eval_mode(model: nn.Module) -> None:
    """Refuse a model with a batch norm or dropout in training mode, as far as modules show it.

    Raises
    ------
    ModelError
        There is one.
    """
    for name, module in model.named_modules():
        if module.training and isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
            raise nondeterministic(f"module '{name}'")


def draws_in(model: nn.Module, before: RandomState) -> str:
    """Return a sentence if a model has drawn random numbers, that is, if the states are not what they were; else "".

    Parameters
    ----------
    model : nn.Module
        What has run.
    before : RandomState
        As it was then.
    """
    if not before.has_changed:
        return ""
    training = [(name, module) for name, module in model.named_modules() if module.training]
    dropouts = [f"module '{name}' is" for name, module in training if isinstance(module, nn.modules.dropout._DropoutNd)]
    where = next(iter([*dropouts, *("it is" for _ in training)]), "")
    cause, remedy = (f" ({where} in training mode)", ": call model.eval()") if where else (", in eval mode, too", "")
    return f"the model draws random numbers{cause}, so that each call gives another map{remedy}"


def _rng_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def nondeterministic(what: str) -> ModelError:
    """Return the error for a model whose units have other values in each run."""
    return ModelError(
        f"expected the model in eval mode: {what} is random, or depends on the rest of the batch, so that a unit has "
        "another value in each run"
    )
