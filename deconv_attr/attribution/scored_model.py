"""What of a model's output is explained: a model with a score, for outputs that are not one tensor of scores.

>>> scored = ScoredModel(model, lambda output: output.logits)                  # doctest: +SKIP
>>> attributions = ZFDeconv(scored).attribute(x, target=5)                     # doctest: +SKIP
>>> comparison = compare(scored, x, target=5)                                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from ..engine.module_hooks import ModuleHooks
from ..errors import InputError, ModelError

__all__ = ["ScoredModel", "described", "reading_of"]


class ScoredModel(nn.Module):
    """A model, and what of its output is explained; for our methods, for Captum's, and for comparisons of both.

    Its layers have the names that they have in the model.

    Parameters
    ----------
    model : nn.Module
        The model; it may return anything.
    score : callable or None
        ``score(output)``: the scores (N, ...) of which a target chooses, or (N,), one for each example. A region of a
        segmentation, for instance, is ``lambda output: output["out"][:, 12, 40:60, 40:60].mean((1, 2))``.
    forward_func : callable or None
        Instead, a function of the model's inputs that runs the model inside, as Captum's methods take it.

    Raises
    ------
    InputError
        Neither function is given, or both, or one that cannot be called.
    ModelError
        The model is no Module; when it runs: the function does not return scores, or does not run the model.
    """

    def __init__(
        self,
        model: nn.Module,
        score: Callable[[Any], Tensor] | None = None,
        *,
        forward_func: Callable[..., Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise ModelError(f"expected the model as a torch.nn.Module, got {type(model).__name__}")
        if (score is None) == (forward_func is None):
            raise InputError("expected either a score, a function of the output, or a forward_func, one of the inputs")
        for name, function in (("score", score), ("forward_func", forward_func)):
            if function is not None and not callable(function):
                raise InputError(f"expected the {name} as a function, got {function!r:.80}")
        self.model = model
        self.score = score
        self.forward_func = forward_func
        self.training = model.training

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the scores (N, ...); one for each example as (N, 1), a single class.

        Parameters
        ----------
        *args, **kwargs
            The inputs of the model.
        """
        if self.forward_func is not None:
            name, scores = "forward_func", self._called(self.forward_func, args, kwargs)
        else:
            assert self.score is not None
            name, scores = "score", self.score(self.model(*args, **kwargs))
        scores = _checked(name, scores, _count(args))
        return scores[:, None] if scores.dim() == 1 else scores

    def _called(self, forward_func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function of the inputs, which must run the model, or a part of it: only that is left as it was."""
        ran: list[nn.Module] = []
        hooks = ModuleHooks()
        with hooks, hooks:
            for module in self.model.modules():
                hooks.before(module, lambda module, _: ran.append(module))
            output = forward_func(*args, **kwargs)
        if not ran:
            kind = type(self.model).__name__
            raise ModelError(
                f"expected a forward_func that runs the model that is given, a {kind}, got one that did not"
            )
        return output

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """Yield the model's modules by the names that they have there.

        Parameters
        ----------
        *args, **kwargs
            As for ``nn.Module.named_modules``.
        """
        yield from self.model.named_modules(*args, **kwargs)


def _count(args: tuple[Any, ...]) -> int | None:
    """Return the number of examples that a model is given, where that can be told."""
    batched = bool(args) and (isinstance(args[0], (list, tuple)) or (isinstance(args[0], Tensor) and args[0].dim() > 0))
    return len(args[0]) if batched else None


def _checked(name: str, scores: Any, count: int | None) -> Tensor:
    """Return scores (N, ...).

    Raises
    ------
    ModelError
        They are not such.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        found = f"a tensor of {scores.dtype}" if isinstance(scores, Tensor) else described(scores)
        raise ModelError(f"expected the {name} function to return scores (N, ...) in floating point, got {found}")
    if scores.dim() == 0 and count in (None, 1):
        return scores[None]
    if scores.dim() == 0:
        raise ModelError(
            f"expected the {name} function to return one score for each of the {count} examples, got a single number: "
            "sum over all dimensions but the first"
        )
    if count is not None and len(scores) != count:
        raise ModelError(
            f"expected the {name} function to return one row for each of the {count} examples, got the shape "
            f"{tuple(scores.shape)}"
        )
    return scores


def described(value: Any) -> str:
    """Return what a value is, in words, with the names of its parts."""
    parts = ""
    if isinstance(value, Mapping):
        parts = f" with the keys {', '.join(map(repr, value))}"
    elif is_dataclass(value):
        parts = f" with the fields {', '.join(field.name for field in fields(value))}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}{parts}"


def reading_of(output: Any) -> str:
    """Return how the first tensor of an output would be read, as code: ``output['out']``; of none, ``...``."""
    parts: list[tuple[str, Any]] = []
    if isinstance(output, Mapping):
        parts = [(f"output[{key!r}]", value) for key, value in output.items()]
    elif isinstance(output, (list, tuple)):
        parts = [(f"output[{number}]", value) for number, value in enumerate(output)]
    elif is_dataclass(output):
        parts = [(f"output.{field.name}", getattr(output, field.name)) for field in fields(output)]
    scores = [(code, value) for code, value in parts if isinstance(value, Tensor) and value.is_floating_point()]
    named = [code for code, _ in scores if any(word in code for word in ("logits", "scores"))]
    return next(iter([*named, *(code for code, _ in scores)]), "...")
