"""A method to compare: anything that explains scores of a model by maps, under a label."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from reprlib import Repr
from typing import Any, Literal, get_args

import torch
from captum.attr import (
    Attribution,
    Deconvolution,
    DeepLift,
    GradientShap,
    GuidedBackprop,
    GuidedGradCam,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NeuronDeconvolution,
    NeuronGradient,
    NeuronGuidedBackprop,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn

from ...attribution.base import CaptumAttribution
from ...attribution.batches import of_examples
from ...attribution.scored_model import ScoredModel
from ...engine.reprs import html_table, one_line
from ...engine.restore import contain
from ...engine.undo import Undo
from ...errors import InputError
from ...visualize.pictures import StyleName, style_named

__all__ = [
    "RANKINGS",
    "Explain",
    "Explained",
    "Method",
    "Ranking",
    "as_method",
    "as_methods",
    "check_ranking",
    "innermost",
]

Explain = Callable[..., "Tensor | Explained"]
"""``explain(model, inputs, target, **arguments) -> maps``."""

Ranking = Literal["value", "size"]
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)

_DIRECTIONS = (
    *(Saliency, GuidedBackprop, Deconvolution, GuidedGradCam),
    *(NeuronGradient, NeuronGuidedBackprop, NeuronDeconvolution, CaptumAttribution),
)
"""The attributions whose sign is a direction or a colour, not a contribution."""

_REPR = Repr()
_REPR.maxother = _REPR.maxstring = 80

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, eq=False)
class Explained:
    """Maps, and where the units are that they explain, if they explain single units of a layer.

    Parameters
    ----------
    maps : Tensor
        (N, C, ...) or (N, 1, ...).
    layer : str
        The units' layer.
    positions : Tensor or None
        (N, axes): the position of each unit in its feature map.
    """

    maps: Tensor
    layer: str = ""
    positions: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Method:
    """A way to explain scores.

    Parameters
    ----------
    explain : Attribution or callable
        A Captum attribution of the model, or a function ``(model, inputs, target) -> maps``, with maps (N, C, ...), or
        (N, 1, ...) for all channels, or :class:`Explained`. A layer's maps, such as Grad-CAM's, are interpolated to the
        size of the images; a ``NoiseTunnel`` is treated as the attribution inside.
    label : str
        Its name in pictures and tables; by default that of the attribution or function.
    style : {"signed", "luminance", "heat", "positive"} or None
        How its maps are drawn: in colours around mid-grey, as in the paper, or, of one channel, in diverging colours;
        by their luminance; by their size; or by their positive part. None: the positive part of Grad-CAM, as is
        customary, the sign of other maps of one channel, or of signals, that have negative values, the size of all
        others.
    arguments : mapping
        Further arguments of ``attribute`` or the function, the same for all images. Arguments with one entry for each
        image, such as a list of selectors, follow neither `batch_size` nor the images of the sensitivity check.
    batch_size : int or None
        Number of images that it explains at a time; None: all.
    rank_by : {"value", "size"} or None
        Which pixels come first where pixels are ranked: in deletion, insertion and the pointing game. ``"value"``:
        those that raise the score most, ``sum_c M_c``; those with a negative value come last. That is right for
        contributions: integrated gradients, DeepLift, LRP, occlusion, Grad-CAM; Captum calls them attributions.
        ``"size"``: ``max_c |M_c|``, which is right where a sign is a direction of change or a colour: for gradients,
        guided backprop and the deconvnet. None: "size" for these, and for methods that may multiply by the inputs and
        do not; "value" for all others, functions among them.

    Raises
    ------
    InputError
        `explain` cannot be called; there is no such style or ranking; the batch size is below 1.
    """

    explain: Attribution | Explain
    label: str = ""
    style: StyleName | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    rank_by: Ranking | None = None

    def __post_init__(self) -> None:
        if isinstance(self.explain, type) or not callable(getattr(self.explain, "attribute", self.explain)):
            raise InputError(
                "expected a method as a Captum attribution or a function of model, inputs and target, got "
                f"{self.explain!r:.80}"
            )
        if self.style is not None:
            style_named(self.style)
        if self.batch_size is not None and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise InputError(f"expected a batch_size of at least 1, or None for all, got {self.batch_size!r}")
        if not self.label:
            object.__setattr__(self, "label", _own_name(self.explain))
        if self.rank_by is not None:
            check_ranking(self.rank_by)

    def __repr__(self) -> str:
        return one_line(self, f"{self.label}, drawn {self._drawn}, pixels ranked by {self.ranking}")

    def _repr_html_(self) -> str:
        """Return what it is made of for a notebook."""
        rows: list[Sequence[object]] = [
            ["explains by", _short(self.explain)],
            *([f"argument {name}", _short(value)] for name, value in self.arguments.items()),
            ["drawn", self._drawn],
            ["pixels ranked by", self.ranking],
            ["batch size", "all images" if self.batch_size is None else self.batch_size],
        ]
        return html_table(f"Method: {self.label}", [], rows)

    @property
    def _drawn(self) -> str:
        return self.style or "as suits its maps"

    @property
    def ranking(self) -> Ranking:
        """How pixels are ranked: `rank_by`, or what belongs to the attribution."""
        return self.rank_by or _ranking_of(self.explain)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether values are contributions of the inputs, and not what a change of an input changes; as Captum says."""
        return bool(getattr(innermost(self.explain), "multiplies_by_inputs", False))

    def style_of(self, maps: Tensor) -> StyleName:
        """Return how maps (N, C, ...) are drawn: `style`, or what suits them."""
        if self.style is not None:
            return self.style
        if isinstance(innermost(self.explain), LayerGradCam):
            return "positive"
        alone = maps.shape[1] == 1 or maps.dim() == 3  # of a signal each channel is drawn by itself
        return "signed" if alone and bool((maps < 0).any()) else "heat"

    def __call__(
        self, model: nn.Module, inputs: Tensor, target: Tensor | None, additional_forward_args: tuple[Any, ...] = ()
    ) -> Tensor:
        """Explain scores in eval mode, with the same random numbers each time; the model is left as it was.

        Parameters
        ----------
        model : nn.Module
            One thread at a time explains so, for the generators are those of all threads. Eval mode, and the hooks of
            methods of others, are on the model itself: what other threads run of it meanwhile meets them.
        inputs : Tensor
            (N, C, ...); not touched.
        target : Tensor or None
            (N,), the class of each image; None for a model that returns one score, (N,).
        additional_forward_args : tuple
            What the model is given beside the images; functions get it by this name, where there is any.

        Returns
        -------
        Tensor
            Maps (N, C, ...) or (N, 1, ...), signed.

        Raises
        ------
        InputError
            The attribution is that of another model, or the maps have another shape or are not finite.
        """
        return torch.cat([part.maps for _, part in self.in_batches(model, inputs, target, additional_forward_args)])

    def in_batches(
        self, model: nn.Module, inputs: Tensor, target: Tensor | None, additional_forward_args: tuple[Any, ...] = ()
    ) -> Iterator[tuple[slice, Explained]]:
        """Yield which images each batch has, and what is explained of them.

        Parameters
        ----------
        model : nn.Module
            In eval mode; it is left as it was.
        inputs : Tensor
            (N, C, ...).
        target : Tensor or None
            (N,), or None for a model of one score.
        additional_forward_args : tuple
            What the model is given beside the inputs.
        """
        count = len(inputs)
        size = self.batch_size or count
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            others = of_examples(additional_forward_args, rows, count)
            undo = Undo()
            with undo, undo:
                contain(model, inputs.device, undo)
                # Copies: Captum leaves requires_grad set after an error, and a function may write into its arguments.
                own = None if target is None else target[rows].clone()
                part = self._part(model, inputs[rows].detach().clone(), own, others)
            yield rows, part

    def _part(self, model: nn.Module, inputs: Tensor, target: Tensor | None, others: tuple[Any, ...]) -> Explained:
        inside = innermost(self.explain)
        given = {**({"additional_forward_args": others} if others else {}), **self.arguments}
        if isinstance(self.explain, Attribution):
            _check_model_of(self.explain, model)
            given = {"target": target, **given} if _takes_target(inside) else given
            maps = self.explain.attribute(inputs, **given)
        else:
            maps = self.explain(model, inputs, target, **given)
        found = maps if isinstance(maps, Explained) else Explained(maps)
        maps = found.maps
        if isinstance(inside, LayerAttribution) and isinstance(maps, Tensor) and maps.dim() == inputs.dim():
            maps = LayerAttribution.interpolate(maps, tuple(inputs.shape[2:]), _INTERPOLATION[inputs.dim() - 2])
        return replace(found, maps=_checked(maps, inputs).detach())


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


def check_ranking(ranking: Any) -> Ranking:
    """Return the name of a ranking; raise InputError for any other."""
    for name in RANKINGS:
        if ranking == name:
            return name
    raise InputError(f"expected rank_by as {' or '.join(map(repr, RANKINGS))}, got {ranking!r:.80}")


def _ranking_of(explain: Any) -> Ranking:
    inside = innermost(explain)
    may_multiply = isinstance(inside, (IntegratedGradients, GradientShap, DeepLift))
    without_inputs = may_multiply and not inside.multiplies_by_inputs
    return "size" if isinstance(inside, _DIRECTIONS) or without_inputs else "value"


def _short(value: Any) -> str:
    """Return the name of a function or class, or the start of a ``repr``, which may fail in a third party's class."""
    if isinstance(value, Attribution) and not isinstance(value, CaptumAttribution):
        inside = innermost(value)
        return _own_name(value) if inside is value else f"{_own_name(value)} of {_own_name(inside)}"
    name = getattr(value, "__qualname__", None)
    return str(name) if name else _REPR.repr(value)


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
