"""The built-in methods: those compared by default, the rule tables of the literature, and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    Saliency,
)
from torch import Tensor, nn

from ...attribution.at_layer import NeuronZFDeconv
from ...attribution.base import as_tuple
from ...attribution.batches import of_examples
from ...attribution.targets import Selector, select_units
from ...attribution.zf_deconv import ZFDeconv, coverage
from ...engine.coverage import Call, Coverage
from ...engine.layers import find_layer
from ...errors import DeconvError
from ...rules.tables import GUIDED_BACKPROP, TABLES, Choices, changed_choices
from ...units.selection import positions_of_maxima
from .class_map import starting_layer
from .method import Explained, Method, innermost

__all__ = ["captum_misses", "controls", "default_methods", "rule_tables", "starts_at_unit"]

_MODULES_ONLY = (GuidedBackprop, Deconvolution, NeuronGuidedBackprop, NeuronDeconvolution, GuidedGradCam)
"""Captum's methods that have rules for modules of class ``nn.ReLU`` only."""


def default_methods(
    model: nn.Module,
    inputs: Tensor,
    layer: nn.Module | str | None = None,
    *,
    additional_forward_args: Any = None,
    activations: str = "error",
    unknown: str = "error",
    batch_norm: str = "scale",
    overlap: str = "sum",
) -> list[Method]:
    """Return the methods that are compared by default.

    They are the deconvnet from the score, the deconvnet from a single unit as in the paper, guided backprop, and
    saliency. Captum's guided backprop has a rule for ``nn.ReLU`` modules only: where the model has other rectifiers,
    our table of the same rules replaces it, and the label says so.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes), or one score for each image, (N,).
    inputs : Tensor
        (N, C, ...); the first is run.
    layer : nn.Module, str or None
        The layer of the single-unit start. By default a layer with one map for each class, of which the score is the
        mean or the maximum; else the last layer of rectified maps. The start is the strongest unit of the class's own
        map, or of the other layer.
    additional_forward_args
        What the model is given beside the images, as for Captum's methods.
    activations, unknown, batch_norm, overlap
        As for :class:`ZFDeconv`.

    Raises
    ------
    InputError
        The model has no such layer. Without a named layer only that method fails, and the others stand.
    """
    others = as_tuple(additional_forward_args)
    given = Choices(activations=activations, unknown=unknown, batch_norm=batch_norm, overlap=overlap)
    choices = changed_choices(given)  # the others would be no news in a report of the methods' arguments
    return [
        Method(_deconvnet, "ZFDeconv from the score", "signed", choices, rank_by="size"),
        _from_unit(model, inputs, layer, choices, others),
        _guided_backprop(model, inputs, choices, others),
        Method(Saliency(model), "Saliency", arguments={"abs": False}),
    ]


def rule_tables(layer: nn.Module | str, neuron_selector: Selector | None = None) -> list[Method]:
    """Return the rule tables that have names in the literature, for the same unit of a layer.

    Parameters
    ----------
    layer : nn.Module or str
        As for :class:`NeuronZFDeconv`.
    neuron_selector
        As there, for instance the index of a feature map; None: the layer's strongest unit in each image.

    Returns
    -------
    list of Method
        One for each of :data:`TABLES`, by its name.

    Source
    ------
    Mahendran and Vedaldi, "Salient Deconvolutional Networks", ECCV 2016; Springenberg et al. 2015.
    """
    given = {"layer": layer, "neuron_selector": _strongest if neuron_selector is None else neuron_selector}
    return [Method(_unit, label, "signed", {**given, "rules": t}, rank_by="size") for label, t in TABLES.items()]


def controls() -> list[Method]:
    """Return two methods that explain nothing, as a baseline of the checks: noise, and the image itself.

    The noise is the same for every image of a size.
    """
    return [Method(_noise, "Control: noise"), Method(_image, "Control: the image", "signed")]


def starts_at_unit(method: Method) -> bool:
    """Whether a method is a deconvnet that starts from units of a layer."""
    return method.explain is _unit or isinstance(innermost(method.explain), NeuronZFDeconv)


def captum_misses(
    model: nn.Module, inputs: Tensor, methods: Sequence[Method], additional_forward_args: Any = None
) -> list[str]:
    """Return a sentence for each method in which Captum passes over rectifiers.

    Its guided backprop and deconvolution hook modules of class ``nn.ReLU``. At a functional call, or another rectifier,
    they take the plain gradient without a warning.

    Parameters
    ----------
    model, inputs, additional_forward_args
        As for :func:`default_methods`.
    methods : sequence of Method
        The methods that are compared.
    """
    labels = [method.label for method in methods if isinstance(innermost(method.explain), _MODULES_ONLY)]
    report = _guided_coverage(model, inputs, as_tuple(additional_forward_args)) if labels else None
    passed_over = [] if report is None else _missed(report)
    if report is None or not passed_over:
        return []
    said = (
        f"Captum's rule is for nn.ReLU modules only, and it takes the plain gradient at {len(passed_over)} of this "
        f"model's {len(report.rectifiers)} rectifiers; the first is {passed_over[0].location}"
    )
    return [f"{label}: {said}" for label in labels]


def _deconvnet(
    model: nn.Module, inputs: Tensor, target: Tensor | None, additional_forward_args: Any = None, **choices: Any
) -> Tensor:
    maps: Tensor = ZFDeconv(model, **choices).attribute(inputs, target, additional_forward_args)
    return maps


def _unit(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None,
    layer: nn.Module | str,
    neuron_selector: Selector | None = None,
    additional_forward_args: Any = None,
    **choices: Any,
) -> Explained:
    """Explain a unit of a layer, by default the strongest of the target's own map, from its activation."""
    selector = target if neuron_selector is None else neuron_selector
    assert selector is not None  # a layer with a map for each class has a target
    located = _Located(selector)
    deconvnet = NeuronZFDeconv(model, layer, **choices)
    maps: Tensor = deconvnet.attribute(inputs, located, additional_forward_args, start="activation")
    return Explained(maps, find_layer(model, layer).label, located.positions)


@dataclass(eq=False)
class _Located:
    """A selector that keeps where in their feature maps the units are, if it is of strongest ones."""

    selector: Selector
    positions: Tensor | None = None

    def __call__(self, output: Any) -> Tensor:
        units = select_units(output, self.selector, len(output))
        planes = _planes(output, self.selector)
        self.positions = None if planes is None else positions_of_maxima(planes)[:, -(output.dim() - 2) :]
        return units


def _planes(output: Any, selector: Selector) -> Tensor | None:
    """Return the map of each example of which the strongest unit is meant, (N, ...), or all of them, (N, maps, ...)."""
    if not isinstance(output, Tensor) or output.dim() < 3:
        return None
    if selector is _strongest:
        return output
    if isinstance(selector, int) or (isinstance(selector, Tensor) and selector.dim() == 0):
        return output[:, int(selector)]
    if isinstance(selector, Tensor) and selector.dim() == 1:
        return output[torch.arange(len(output)), selector.expand(len(output))]
    return None


def _strongest(output: Tensor) -> Tensor:
    """Return the strongest activation of each example, over all feature maps."""
    return output.flatten(1).max(1).values  # of equal activations, max sends the signal to one


def _from_unit(
    model: nn.Module, inputs: Tensor, layer: nn.Module | str | None, choices: Mapping[str, Any], others: tuple[Any, ...]
) -> Method:
    try:
        start = starting_layer(model, inputs, None if layer is None else find_layer(model, layer), others)
    except Exception as error:
        if layer is not None and isinstance(error, DeconvError):
            raise
        return Method(_refused, "ZFDeconv from one unit", "signed", {"error": error})
    given: dict[str, Any] = {"layer": start.layer.label, **choices}
    label = f"ZFDeconv from the class's map {start.layer.label}"
    if not start.is_of_classes:
        given["neuron_selector"] = _strongest
        label = f"ZFDeconv from a unit of {start.layer.label}"
    return Method(_unit, label, "signed", given, rank_by="size")


def _noise(model: nn.Module, inputs: Tensor, target: Tensor | None, additional_forward_args: Any = None) -> Tensor:
    drawn = torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.to(inputs).expand_as(inputs)


def _image(model: nn.Module, inputs: Tensor, target: Tensor | None, additional_forward_args: Any = None) -> Tensor:
    return inputs


def _refused(
    model: nn.Module, inputs: Tensor, target: Tensor | None, error: Exception, additional_forward_args: Any = None
) -> Tensor:
    """Raise when maps are asked for, and not before: the other methods stand."""
    raise error


def _guided_backprop(model: nn.Module, inputs: Tensor, choices: Mapping[str, Any], others: tuple[Any, ...]) -> Method:
    captums = Method(GuidedBackprop(model), "Guided backprop", "signed")
    report = _guided_coverage(model, inputs, others)
    if report is None:
        return replace(captums, label="Guided backprop (Captum's; what it misses is unknown)")
    count = len(_missed(report))
    if not count:
        return captums
    label = f"Guided backprop (our rules: Captum's misses {count} of {len(report.rectifiers)} ReLUs)"
    return Method(_deconvnet, label, "signed", {"rules": GUIDED_BACKPROP, **choices}, rank_by="size")


def _guided_coverage(model: nn.Module, inputs: Tensor, others: tuple[Any, ...]) -> Coverage | None:
    """Return the coverage of a model by our rules; None where it does not run under them."""
    try:
        first = of_examples(others, slice(0, 1), len(inputs))
        return coverage(model, inputs[:1], first, rules=GUIDED_BACKPROP)
    except Exception:  # the methods themselves raise it
        return None


def _missed(report: Coverage) -> list[Call]:
    """Return the rectifiers that are not ``nn.ReLU`` modules."""
    return [call for call in report.rectifiers if call.source or call.operation != "relu"]
