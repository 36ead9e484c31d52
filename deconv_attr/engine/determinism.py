"""Which calls give other values in each run: those that throw dice, or that read the statistics of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError

__all__ = ["is_random", "nondeterministic", "refuse_training", "rng_states"]

_DICE = frozenset(
    """rand randn randint randperm rand_like randn_like randint_like bernoulli multinomial normal poisson uniform
    exponential geometric cauchy log_normal random gumbel_softmax fractional_max_pool2d fractional_max_pool3d""".split()
)
# Where the argument stands that makes an operation read the rest of the batch, or throw dice; and its default.
_TRAINING = {
    "batch_norm": (5, "training", False),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), (2, "training", True)),
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), (2, "training", False)),
    "rrelu": (3, "training", False),
    "scaled_dot_product_attention": (4, "dropout_p", 0.0),
    "multi_head_attention_forward": (13, "training", True),
}


def is_random(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Say whether a call, by its canonical name, is one of these."""

    def given(position: int, keyword: str, default: Any) -> Any:
        return args[position] if len(args) > position else kwargs.get(keyword, default)

    if name not in _TRAINING:
        return name in _DICE
    if "dropout" in name and not given(1, "p", 0.5):
        return False
    if name == "multi_head_attention_forward" and not given(10, "dropout_p", 0.0):
        return False
    return bool(given(*_TRAINING[name]))


def rng_states(device: torch.device) -> list[Tensor]:
    """Give the state of the random numbers, which every throw changes."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def refuse_training(model: nn.Module) -> None:
    """Refuse a model with batch norm or dropout in training mode, as far as modules show it.

    Raises
    ------
    ModelError
        There is one.
    """
    for name, module in model.named_modules():
        if module.training and isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
            raise nondeterministic(f"module '{name}'")


def nondeterministic(what: str) -> ModelError:
    """Make the error for a model whose units have other values in each run."""
    return ModelError(
        f"expected the model in eval mode: {what} depends on chance, or on the rest of the batch, so that a unit has "
        "another value in each run"
    )
