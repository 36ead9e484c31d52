"""Methods to be compared: anything that explains scores of a model by maps, under a label.

Built in are the deconvnet from the score and from the paper's start, guided backprop, saliency, and the rule tables of
the literature for one unit. Any Captum attribution and any function ``(model, inputs, target) -> maps`` can join them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from captum.attr import (
    Attribution,
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    LayerAttribution,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn

from .attribution import ZFDeconv, coverage
from .checks import Selector
from .class_map import starting_layer
from .coverage import Call, Coverage
from .errors import DeconvError, InputError
from .foreign import contained
from .layer_attribution import NeuronZFDeconv
from .layers import find_layer
from .rules import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP

__all__ = [
    "Explain",
    "Method",
    "as_method",
    "as_methods",
    "captum_misses",
    "controls",
    "default_methods",
    "rule_tables",
]

Explain = Callable[..., Tensor]
"""``explain(model, inputs, target, **arguments) -> maps``."""


@dataclass(frozen=True, eq=False)
class Method:
    """A way to explain scores.

    Parameters
    ----------
    explain : Attribution or callable
        A Captum attribution of the model that is compared; or a function ``(model, inputs, target) -> maps``, with
        maps (N, C, H, W), or (N, 1, H, W) for all channels. A layer's maps, such as Grad-CAM's, are enlarged.
    label : str
        Its name in pictures and tables; by default what the attribution or function calls itself.
    style : {"heat", "signed"}
        How its maps are drawn: by their strength, or in colours around mid-grey, as the paper's.
    arguments : mapping
        What else ``attribute``, or the function, is given: the same for all images. What is one for each, such as a
        list of selectors, does not follow `batch_size`, nor the repeated images of the check of sensitivity.
    batch_size : int or None
        How many images it explains at a time; None: all.
    """

    explain: Attribution | Explain
    label: str = ""
    style: Literal["heat", "signed"] = "heat"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.explain, type) or not callable(getattr(self.explain, "attribute", self.explain)):
            raise InputError(
                "expected a method as a Captum attribution or a function of model, inputs and target, got "
                f"{self.explain!r:.80}"
            )
        if self.style not in ("heat", "signed"):
            raise InputError(f"the style of a method must be 'heat' or 'signed', got {self.style!r}")
        if self.batch_size is not None and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise InputError(f"expected a batch_size of at least 1, or None for all, got {self.batch_size!r}")
        if not self.label:
            object.__setattr__(self, "label", _own_name(self.explain))

    def __call__(self, model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
        """Explain scores, in eval mode and with the same random numbers each time; the model is left as it was.

        Parameters
        ----------
        model : nn.Module
            Not for two threads at once: eval mode, and the hooks of other methods, are on the model itself.
        inputs : Tensor
            (N, C, H, W); not touched.
        target : Tensor
            (N,), the class of each.

        Returns
        -------
        Tensor
            Maps (N, C, H, W) or (N, 1, H, W), signed.

        Raises
        ------
        InputError
            The attribution is another model's, or the maps have another shape or are not finite.
        """
        size = self.batch_size or len(inputs)
        parts = []
        for start in range(0, len(inputs), size):
            rows = slice(start, start + size)
            with contained(model, inputs.device):
                # Copies: after an error Captum leaves requires_grad set, and a function may write into them.
                parts.append(self._maps(model, inputs[rows].detach().clone(), target[rows].clone()))
        return torch.cat(parts)

    def _maps(self, model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
        if isinstance(self.explain, Attribution):
            _check_model_of(self.explain, model)
            given = {"target": target, **self.arguments} if _takes_target(self.explain) else self.arguments
            maps = self.explain.attribute(inputs, **given)
        else:
            maps = self.explain(model, inputs, target, **self.arguments)
        if isinstance(self.explain, LayerAttribution) and isinstance(maps, Tensor) and maps.dim() == 4:
            maps = LayerAttribution.interpolate(maps, tuple(inputs.shape[2:]), "bilinear")
        return _checked(maps, inputs).detach()


def as_method(method: object) -> Method:
    """Give what can explain as a :class:`Method`."""
    return method if isinstance(method, Method) else Method(method)  # type: ignore[arg-type]  # refused there


def as_methods(methods: Mapping[str, Any] | Sequence[Any]) -> list[Method]:
    """Give methods with their labels: the keys of a mapping, or their own.

    Raises
    ------
    InputError
        There are none, one cannot explain, or two have the same label.
    """
    if isinstance(methods, Mapping):
        found = [replace(as_method(method), label=str(label)) for label, method in methods.items()]
    elif isinstance(methods, (list, tuple)):
        found = [as_method(method) for method in methods]
    else:
        raise InputError(f"expected methods as a list or a dict by label, got {type(methods).__name__}")
    if not found:
        raise InputError("expected at least one method, got none")
    labels = [method.label for method in found]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"two methods are called {twice[0]!r}: give them labels, as in Method(..., label=...)")
    return found


def default_methods(
    model: nn.Module, inputs: Tensor, layer: nn.Module | str | None = None, **choices: str
) -> list[Method]:
    """Give the methods that are compared if nobody names any.

    They are the deconvnet from the score; from the paper's start, one unit; guided backprop; saliency. Captum's guided
    backprop knows ``nn.ReLU`` modules only: where the model has other rectifiers, our own table of the same rules takes
    its place, and the label says so.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes).
    inputs : Tensor
        (N, C, H, W); the first is run.
    layer : nn.Module, str or None
        Where the paper's start is. By default the class's own feature map, if there is a layer of them: one map for
        each class, of which the score is the mean or the maximum. Else the last layer of rectified maps. From the
        class's own map the strongest unit of that map is sent down, from another layer its strongest unit.
    **choices : str
        ``activations``, ``unknown``, ``batch_norm``, ``overlap``, as for :class:`ZFDeconv`.

    Raises
    ------
    InputError
        The model has no such layer, or none of feature maps.
    """
    return [
        Method(_deconvnet, "ZFDeconv from the score", "signed", choices),
        _from_unit(model, inputs, layer, choices),
        _guided_backprop(model, inputs, choices),
        Method(Saliency(model), "Saliency", arguments={"abs": False}),
    ]


def rule_tables(layer: nn.Module | str, neuron_selector: Selector | None = None) -> list[Method]:
    """Give the rule tables that have names in the literature, for the same unit of a layer.

    Parameters
    ----------
    layer : nn.Module or str
        As for :class:`NeuronZFDeconv`.
    neuron_selector
        As there, for instance the number of a feature map; None: the layer's strongest unit in each image.

    Returns
    -------
    list of Method
        DeconvNet, SaliNet (the gradient), DeSaliNet, guided backprop.

    Source: Mahendran and Vedaldi, "Salient Deconvolutional Networks", ECCV 2016; Springenberg et al. 2015.
    """
    tables = {
        "DeconvNet": DECONVNET,
        "SaliNet (gradient)": GRADIENT,
        "DeSaliNet": DESALINET,
        "Guided backprop": GUIDED_BACKPROP,
    }
    given = {"layer": layer, "neuron_selector": _strongest if neuron_selector is None else neuron_selector}
    return [Method(_unit, label, "signed", {**given, "rules": table}) for label, table in tables.items()]


def controls() -> list[Method]:
    """Give two methods that explain nothing, to see what the numbers are then: noise, and the image itself.

    The noise is the same for every image of a size.
    """
    return [Method(_noise, "Control: noise"), Method(_image, "Control: the image", "signed")]


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
    report = _coverage(model, inputs) if labels else None
    missed = [] if report is None else _missed(report)
    if report is None or not missed:
        return []
    return [
        f"{label}: Captum's knows nn.ReLU modules only, and takes the plain gradient at {len(missed)} of this model's "
        f"{len(report.rectifiers)} rectifiers; the first is {missed[0].place}"
        for label in labels
    ]


_KNOW_MODULES_ONLY = (GuidedBackprop, Deconvolution, NeuronGuidedBackprop, NeuronDeconvolution, GuidedGradCam)


def _innermost(explain: Any) -> Any:
    """Give the method that a NoiseTunnel asks."""
    while isinstance(explain, NoiseTunnel):
        explain = explain.attribution_method
    return explain


def _coverage(model: nn.Module, inputs: Tensor) -> Coverage | None:
    """Report what our rules find in a model; None where it does not run under them."""
    try:
        return coverage(model, inputs[:1], rules=GUIDED_BACKPROP)
    except Exception:  # which the methods themselves will say
        return None


def _missed(report: Coverage) -> list[Call]:
    return [call for call in report.rectifiers if call.source or call.operation != "relu"]


def _deconvnet(model: nn.Module, inputs: Tensor, target: Tensor, **choices: Any) -> Tensor:
    maps: Tensor = ZFDeconv(model, **choices).attribute(inputs, target=target)
    return maps


def _unit(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor,
    layer: nn.Module | str,
    neuron_selector: Selector | None = None,
    **choices: Any,
) -> Tensor:
    """Send down a unit of a layer as the paper does; without a selector, the strongest of the target's own map."""
    selector = target if neuron_selector is None else neuron_selector
    maps: Tensor = NeuronZFDeconv(model, layer, **choices).attribute(inputs, selector, start="activation")
    return maps


def _strongest(output: Tensor) -> Tensor:
    """Select the strongest unit of each example, whatever its map."""
    return output.flatten(1).max(1).values  # where there are several, max gives the signal to one


def _from_unit(model: nn.Module, inputs: Tensor, layer: nn.Module | str | None, choices: Mapping[str, str]) -> Method:
    try:
        start = starting_layer(model, inputs, None if layer is None else find_layer(model, layer))
    except Exception as error:
        if layer is not None and isinstance(error, DeconvError):
            raise
        return Method(_refused, "ZFDeconv from one unit", "signed", {"error": error})
    where = start.layer.label
    if start.is_of_classes:
        return Method(_unit, f"ZFDeconv from the class's map {where}", "signed", {"layer": where, **choices})
    label = f"ZFDeconv from a unit of {where}"
    return Method(_unit, label, "signed", {"layer": where, "neuron_selector": _strongest, **choices})


def _noise(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    drawn = torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.to(inputs).expand_as(inputs)


def _image(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    return inputs


def _refused(model: nn.Module, inputs: Tensor, target: Tensor, error: Exception) -> Tensor:
    """Say why a method cannot be had, where its maps would be: the other methods stand."""
    raise error


def _guided_backprop(model: nn.Module, inputs: Tensor, choices: Mapping[str, str]) -> Method:
    captums = Method(GuidedBackprop(model), "Guided backprop", "signed")
    report = _coverage(model, inputs)
    if report is None:
        return replace(captums, label="Guided backprop (Captum's; what it misses is not known)")
    missed = _missed(report)
    if not missed:
        return captums
    label = f"Guided backprop (our rules: Captum's misses {len(missed)} of {len(report.rectifiers)} ReLUs)"
    return Method(_deconvnet, label, "signed", {"rules": GUIDED_BACKPROP, **choices})


def _own_name(explain: Any) -> str:
    if isinstance(explain, Attribution):
        return str(explain.get_name())
    return str(getattr(explain, "__name__", type(explain).__name__))


def _takes_target(explain: Attribution) -> bool:
    """Say whether `attribute` has a target: methods of a layer's units have a selector in its place."""
    parameters = inspect.signature(explain.attribute).parameters.values()
    names = {parameter.name for parameter in parameters}
    return "target" in names or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _check_model_of(explain: Attribution, model: nn.Module) -> None:
    """Refuse an attribution of a model that shares no weights with ours, and so is another one."""
    theirs = getattr(explain, "forward_func", None)
    if not isinstance(theirs, nn.Module) or theirs is model:
        return
    ours = {id(parameter) for parameter in model.parameters()}
    if ours and ours.isdisjoint(id(parameter) for parameter in theirs.parameters()):
        name, found = _own_name(explain), type(theirs).__name__
        raise InputError(f"{name} explains another model, a {found}, and not the one that is compared")


def _checked(maps: Any, inputs: Tensor) -> Tensor:
    count, channels, *size = inputs.shape
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        found = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise InputError(f"expected maps as one tensor in floating point, got {found}")
    if tuple(maps.shape) not in {(count, channels, *size), (count, 1, *size)}:
        full, single = (count, channels, *size), (count, 1, *size)
        raise InputError(f"expected maps {full}, or {single} for all channels, got {tuple(maps.shape)}")
    if not bool(maps.isfinite().all()):
        raise InputError(f"expected maps finite, got {int((~maps.isfinite()).sum())} values that are NaN or infinite")
    return maps
