"""Models whose values change from run to run: with random numbers, or with the statistics of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import ModelError

__all__ = ["draws_in", "nondeterministic", "random_states", "repeatable"]


@contextmanager
def repeatable(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a model whose calls could not be followed; refuse it if its values change from run to run.

    Raises
    ------
    ModelError
        A batch norm or dropout is in training mode, as far as modules show it, or random numbers were drawn.
    """
    for name, module in model.named_modules():
        if module.training and isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
            raise nondeterministic(f"module '{name}'")
    before = random_states(device)
    yield
    if _differ(before, random_states(device)):
        raise nondeterministic("an operation on the way")


def draws_in(model: nn.Module, before: list[Tensor], device: torch.device) -> str:
    """Return a sentence if a model has drawn random numbers, that is, if the states are not what they were; else "".

    Parameters
    ----------
    model : nn.Module
        What has run.
    before : list of Tensor
        The states before, by :func:`random_states`.
    device : torch.device
        Where it ran.
    """
    if not _differ(before, random_states(device)):
        return ""
    training = [(name, module) for name, module in model.named_modules() if module.training]
    dropouts = [f"module '{name}' is" for name, module in training if isinstance(module, nn.modules.dropout._DropoutNd)]
    where = next(iter([*dropouts, *("it is" for _ in training)]), "")
    cause, remedy = (f" ({where} in training mode)", ": call model.eval()") if where else (", in eval mode, too", "")
    return f"the model draws random numbers{cause}, so that each call gives another map{remedy}"


def _differ(before: list[Tensor], after: list[Tensor]) -> bool:
    return not all(map(torch.equal, before, after))


def random_states(device: torch.device) -> list[Tensor]:
    """Return the states of torch's generators of random numbers, on the CPU and on a device."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def nondeterministic(what: str) -> ModelError:
    """Return the error for a model whose units have other values in each run."""
    return ModelError(
        f"expected the model in eval mode: {what} is random, or depends on the rest of the batch, so that a unit has "
        "another value in each run"
    )
