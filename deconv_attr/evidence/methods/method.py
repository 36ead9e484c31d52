"""A method to compare: anything that explains scores of a model by maps, under a label."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from captum.attr import Attribution, LayerAttribution, NoiseTunnel
from torch import Tensor, nn

from ...attribution.scored_model import ScoredModel
from ...engine.restore import contained
from ...errors import InputError

__all__ = ["Explain", "Method", "as_method", "as_methods", "innermost"]

Explain = Callable[..., Tensor]
"""``explain(model, inputs, target, **arguments) -> maps``."""


@dataclass(frozen=True, eq=False)
class Method:
    """A way to explain scores.

    Parameters
    ----------
    explain : Attribution or callable
        A Captum attribution of the model, or a function ``(model, inputs, target) -> maps``, with maps (N, C, H, W), or
        (N, 1, H, W) for all channels. A layer's maps, such as Grad-CAM's, are interpolated to the size of the images;
        a ``NoiseTunnel`` is treated as the attribution inside.
    label : str
        Its name in pictures and tables; by default that of the attribution or function.
    style : {"heat", "signed"}
        How its maps are drawn: by their strength, or in colours around mid-grey, as in the paper.
    arguments : mapping
        Further arguments of ``attribute`` or the function, the same for all images. Arguments with one entry for each
        image, such as a list of selectors, follow neither `batch_size` nor the images of the sensitivity check.
    batch_size : int or None
        Number of images that it explains at a time; None: all.
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
            raise InputError(f"expected style 'heat' or 'signed', got {self.style!r}")
        if self.batch_size is not None and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise InputError(f"expected a batch_size of at least 1, or None for all, got {self.batch_size!r}")
        if not self.label:
            object.__setattr__(self, "label", _own_name(self.explain))

    def __call__(self, model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
        """Explain scores in eval mode, with the same random numbers each time; the model is left as it was.

        Parameters
        ----------
        model : nn.Module
            Not for two threads at once: eval mode, and the hooks of other methods, are on the model itself.
        inputs : Tensor
            (N, C, H, W); not touched.
        target : Tensor
            (N,), the class of each image.

        Returns
        -------
        Tensor
            Maps (N, C, H, W) or (N, 1, H, W), signed.

        Raises
        ------
        InputError
            The attribution is that of another model, or the maps have another shape or are not finite.
        """
        size = self.batch_size or len(inputs)
        parts = []
        for start in range(0, len(inputs), size):
            rows = slice(start, start + size)
            with contained(model, inputs.device):
                # Copies: Captum leaves requires_grad set after an error, and a function may write into its arguments.
                parts.append(self._maps(model, inputs[rows].detach().clone(), target[rows].clone()))
        return torch.cat(parts)

    def _maps(self, model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
        inside = innermost(self.explain)
        if isinstance(self.explain, Attribution):
            _check_model_of(self.explain, model)
            given = {"target": target, **self.arguments} if _takes_target(inside) else self.arguments
            maps = self.explain.attribute(inputs, **given)
        else:
            maps = self.explain(model, inputs, target, **self.arguments)
        if isinstance(inside, LayerAttribution) and isinstance(maps, Tensor) and maps.dim() == 4:
            maps = LayerAttribution.interpolate(maps, tuple(inputs.shape[2:]), "bilinear")
        return _checked(maps, inputs).detach()


def as_method(method: object) -> Method:
    """Return what can explain as a :class:`Method`."""
    return method if isinstance(method, Method) else Method(method)  # type: ignore[arg-type]  # __post_init__ checks it


def as_methods(methods: Mapping[str, Any] | Sequence[Any]) -> list[Method]:
    """Return methods with their labels: the keys of a mapping, or their own.

    Raises
    ------
    InputError
        The list is empty, an entry cannot explain, or two have the same label.
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
        raise InputError(f"expected methods of different labels, got {twice[0]!r} twice; set Method(..., label=...)")
    return found


def innermost(explain: Any) -> Any:
    """Return the method inside of a NoiseTunnel."""
    while isinstance(explain, NoiseTunnel):
        explain = explain.attribution_method
    return explain


def _own_name(explain: Any) -> str:
    if isinstance(explain, Attribution):
        return str(explain.get_name())
    return str(getattr(explain, "__name__", type(explain).__name__))


def _takes_target(explain: Attribution) -> bool:
    """Whether `attribute` has a target: methods of a layer's units have a selector instead."""
    parameters = inspect.signature(explain.attribute).parameters.values()
    names = {parameter.name for parameter in parameters}
    return "target" in names or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _check_model_of(explain: Attribution, model: nn.Module) -> None:
    """Raise InputError for an attribution of another model: of other weights, or of another score."""
    theirs = getattr(explain, "forward_func", None)
    if not isinstance(theirs, nn.Module) or theirs is model:
        return
    name, found = _own_name(explain), type(theirs).__name__
    if ScoredModel in (type(model), type(theirs)):
        raise InputError(f"expected {name} of the {type(model).__name__} that is compared, got that of another {found}")
    ours = {id(parameter) for parameter in model.parameters()}
    if ours and ours.isdisjoint(id(parameter) for parameter in theirs.parameters()):
        raise InputError(f"expected {name} of the model that is compared, got that of another {found}")


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
