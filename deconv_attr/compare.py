"""The same explanation by several methods: attribution maps to be seen side by side.

Each method is a row of :data:`METHODS`: model, inputs and targets go in, maps of the inputs' shape come out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from captum.attr import GuidedBackprop, Saliency
from torch import Tensor, nn

from .attribution import ZFDeconv
from .coverage import Coverage

__all__ = ["METHODS", "Method", "attributions", "guided_backprop_misses"]

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""``method(model, inputs, target) -> maps``."""


def _deconvnet(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    maps: Tensor = ZFDeconv(model).attribute(inputs, target=target)
    return maps


def _guided_backprop(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    with _without_captums_notices():
        maps: Tensor = GuidedBackprop(model).attribute(inputs, target=target)
    return maps


def _saliency(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    with _without_captums_notices():
        maps: Tensor = Saliency(model).attribute(inputs, target=target, abs=False)
    return maps


METHODS: Mapping[str, Method] = {
    "ZFDeconv": _deconvnet,
    "Guided backprop": _guided_backprop,
    "Saliency": _saliency,
}
"""The methods by the names they have in a picture."""


def attributions(
    model: nn.Module, inputs: Tensor, target: Tensor, methods: Mapping[str, Method] = METHODS
) -> dict[str, Tensor]:
    """Explain the same scores by each method.

    The model runs in eval mode and is left as it was, batch-norm statistics included.

    Parameters
    ----------
    model : nn.Module
        Returns class scores, ``(N, classes)``.
    inputs : Tensor
        ``(N, C, H, W)``; not touched.
    target : Tensor
        The class to explain for each input, ``(N,)``.
    methods : mapping of str to Method
        What to run, by title.

    Returns
    -------
    dict of str to Tensor
        Maps ``(N, C, H, W)`` by title, in the order of `methods`.
    """
    maps = {}
    with _eval_mode(model):
        for title, method in methods.items():
            # Each gets its own copy: after an error Captum leaves requires_grad set on what it was given.
            maps[title] = method(model, inputs.detach().clone(), target).detach()
    return maps


def guided_backprop_misses(report: Coverage) -> str | None:
    """Say which rectifiers Captum's guided backprop passed over, or return None if there are none.

    It finds modules of class ``nn.ReLU``. At a functional call, or another rectifier, it takes the plain
    gradient and says nothing.
    """
    missed = [call for call in report.rectifiers if call.source or call.operation != "relu"]
    if not missed:
        return None
    return (
        f"Captum's GuidedBackprop knows nn.ReLU modules only: it took the plain gradient at {len(missed)} "
        f"of this model's {len(report.rectifiers)} rectifiers; the first is {missed[0].place}"
    )


@contextmanager
def _without_captums_notices() -> Iterator[None]:
    """Silence the two warnings that Captum gives on every healthy call, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations", UserWarning)
        warnings.filterwarnings("ignore", r"Input Tensor \d+ did not already require gradients", UserWarning)
        yield


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
