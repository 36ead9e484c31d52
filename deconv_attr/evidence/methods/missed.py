"""Which rectifiers Captum's methods pass over in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    NoiseTunnel,
)
from torch import Tensor, nn

from ...attribution.zf_deconv import coverage
from ...engine.coverage import Call, Coverage
from ...rules.tables import GUIDED_BACKPROP
from .method import Method

__all__ = ["captum_misses", "guided_coverage", "missed"]


def captum_misses(model: nn.Module, inputs: Tensor, methods: Sequence[Method]) -> list[str]:
    """Say for which methods Captum passes over rectifiers, in a sentence each.

    Its guided backprop and deconvolution find modules of class ``nn.ReLU``. At a functional call, or another rectifier,
    they take the plain gradient and say nothing.

    Parameters
    ----------
    model, inputs
        As for :func:`default_methods`.
    methods : sequence of Method
        Those that are compared.
    """
    labels = [method.label for method in methods if isinstance(_innermost(method.explain), _KNOW_MODULES_ONLY)]
    report = guided_coverage(model, inputs) if labels else None
    passed_over = [] if report is None else missed(report)
    if report is None or not passed_over:
        return []
    said = (
        f"Captum's knows nn.ReLU modules only, and takes the plain gradient at {len(passed_over)} of this model's "
        f"{len(report.rectifiers)} rectifiers; the first is {passed_over[0].place}"
    )
    return [f"{label}: {said}" for label in labels]


_KNOW_MODULES_ONLY = (GuidedBackprop, Deconvolution, NeuronGuidedBackprop, NeuronDeconvolution, GuidedGradCam)


def _innermost(explain: Any) -> Any:
    """Give the method that a NoiseTunnel asks."""
    while isinstance(explain, NoiseTunnel):
        explain = explain.attribution_method
    return explain


def guided_coverage(model: nn.Module, inputs: Tensor) -> Coverage | None:
    """Report what our rules find in a model; None where it does not run under them."""
    try:
        return coverage(model, inputs[:1], rules=GUIDED_BACKPROP)
    except Exception:  # which the methods themselves will say
        return None


def missed(report: Coverage) -> list[Call]:
    """Give the rectifiers that are no ``nn.ReLU`` modules."""
    return [call for call in report.rectifiers if call.source or call.operation != "relu"]
