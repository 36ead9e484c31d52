"""A model's outputs: run in parts, and read as probabilities where they are such.

===================  ==========================================================  ==================
outputs              what they are                                               probability
===================  ==========================================================  ==================
"logits"             scores of classes of which one is right                     softmax
"binary logits"      scores of yes or no: of many labels, or of a single class   sigmoid
"probabilities"      of a softmax or of sigmoids                                 as they are
"log-probabilities"  logarithms of these                                         exp
"values"             of a regression, or of what is not known                    none
===================  ==========================================================  ==================
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..attribution.base import as_tuple
from ..attribution.batches import of_examples
from ..engine.copy_on_write import run_plainly
from ..engine.restore import contain
from ..engine.undo import Undo
from ..errors import InputError
from ..rules.identify import identify_node

__all__ = [
    "OUTPUTS",
    "Outputs",
    "check_outputs",
    "kind_of_outputs",
    "labels_of",
    "number_in_words",
    "parts",
    "probabilities",
    "scores_of",
]

Outputs = Literal["logits", "binary logits", "probabilities", "log-probabilities", "values"]
OUTPUTS: tuple[Outputs, ...] = get_args(Outputs)
"""What a model may return: "logits", "binary logits", "probabilities", "log-probabilities" or "values"."""

ROWS = 32  # images that run at a time

_MADE_BY: dict[str, Outputs] = {
    "softmax": "probabilities",
    "sigmoid": "probabilities",
    "log_softmax": "log-probabilities",
    "logsigmoid": "log-probabilities",
}
"""What outputs are, by the last operation."""

_UNBOUNDED = set("addmm mm mv bmm baddbmm linear convolution add sum relu batch_norm".split())
"""Operations whose results are between 0 and 1 by chance only."""

_PASSED = set(
    "view squeeze unsqueeze expand alias clone to getitem select index gather split unbind permute t mean".split()
)
"""Operations whose result is of the same kind: ``sigmoid(x)[:, 0]`` is a probability, and so is a mean of some."""


def scores_of(model: nn.Module, inputs: Tensor, additional_forward_args: Any = None) -> Tensor:
    """Return a model's scores, run a part of the images at a time; nothing is changed.

    Parameters
    ----------
    model : nn.Module
        Returns (N, classes), or one score for each image, (N,).
    inputs : Tensor
        (N, C, ...).
    additional_forward_args
        What the model is given beside the images, as for Captum's methods.

    Returns
    -------
    Tensor
        (N, classes); (N, 1) of a model with one score for each image.
    """
    others = as_tuple(additional_forward_args)
    scores = [
        run_plainly(model, model, inputs[rows], *of_examples(others, rows, len(inputs))) for rows in parts(len(inputs))
    ]
    found = torch.cat(scores)
    return found[:, None] if found.dim() == 1 else found


def parts(count: int) -> list[slice]:
    """Return the rows of images that run together."""
    return [slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS)]


def kind_of_outputs(
    model: nn.Module, inputs: Tensor, additional_forward_args: Any = None, scores: Tensor | None = None
) -> Outputs:
    """Return what a model's outputs are, by the operation that made them, and else by their values.

    What cannot be seen is taken for logits where there are several classes, and for values where there is one: a logit
    of a single class looks as the result of a regression does. So do logits of many labels as those of one; say
    ``outputs="binary logits"``.

    Parameters
    ----------
    model : nn.Module
        Returns (N, classes), or (N,).
    inputs : Tensor
        (N, C, ...); the first is run.
    additional_forward_args
        As for Captum's methods.
    scores : Tensor, optional
        What the model returns for the inputs, where that is known.
    """
    scores = scores_of(model, inputs, additional_forward_args) if scores is None else scores
    last = _last_operation(model, inputs, as_tuple(additional_forward_args))
    return _MADE_BY[last] if last in _MADE_BY else _by_values(scores, bounded=last not in {"", *_UNBOUNDED})


def probabilities(scores: Tensor, outputs: Outputs | None = None) -> Tensor:
    """Return a model's scores (N, classes) as probabilities; values, which are none, as they are.

    Parameters
    ----------
    scores : Tensor
        (N, classes).
    outputs : str, optional
        What they are, one of :data:`OUTPUTS`; by default what they look like.

    Raises
    ------
    InputError
        There are no such outputs.
    """
    outputs = _by_values(scores, bounded=False) if outputs is None else check_outputs(outputs)
    if outputs == "logits":
        return scores.softmax(1)
    if outputs == "binary logits":
        return scores.sigmoid()
    return scores.exp() if outputs == "log-probabilities" else scores


def labels_of(scores: Tensor, target: Tensor | None, outputs: Outputs) -> list[str]:
    """Return for each image its class and the probability of that, or the value of the output, where it is none.

    Parameters
    ----------
    scores : Tensor
        (N, classes).
    target : Tensor or None
        (N,), the class of each image; None: the only one.
    outputs : str
        One of :data:`OUTPUTS`.
    """
    classes = torch.zeros(len(scores), dtype=torch.long, device=scores.device) if target is None else target
    numbers = probabilities(scores, outputs).gather(1, classes[:, None])[:, 0].tolist()
    names = [f"output {c}" if outputs == "values" else f"class {c}" for c in classes.tolist()]
    if outputs == "values" and scores.shape[1] == 1:
        names = ["output"] * len(names)
    return [f"{name}\n{number_in_words(number, outputs)}" for name, number in zip(names, numbers, strict=True)]


def number_in_words(number: float, outputs: Outputs) -> str:
    """Return a probability, or a value that is none, with a word beside it."""
    return f"value {number:.4g}" if outputs == "values" else f"probability {number:.1%}"


def check_outputs(outputs: Any) -> Outputs:
    """Return the name of outputs; raise InputError for any other."""
    for name in OUTPUTS:
        if outputs == name:
            return name
    raise InputError(f"expected outputs as one of {', '.join(map(repr, OUTPUTS))}, got {outputs!r:.80}")


def _by_values(scores: Tensor, bounded: bool) -> Outputs:
    """Return what scores look like; `bounded` is whether they may lie between 0 and 1 by more than chance."""
    if scores.shape[1] == 1:
        return "values"
    if bool((scores >= 0).all()) and _sum_to_1(scores):
        return "probabilities"
    if bool((scores <= 0).all()) and _sum_to_1(scores.exp()):
        return "log-probabilities"
    return "values" if bounded and bool(((scores >= 0) & (scores <= 1)).all()) else "logits"


def _sum_to_1(scores: Tensor) -> bool:
    sums = scores.sum(1)
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def _last_operation(model: nn.Module, inputs: Tensor, others: tuple[Any, ...]) -> str:
    """Return the name of the operation that made the outputs, an empty text where autograd knows none."""
    undo, first = Undo(), slice(0, 1)
    with undo, undo:
        contain(model, inputs.device, undo)
        node = _last_node(model, inputs[first], of_examples(others, first, len(inputs)))
    name = ""
    while node is not None:
        name = getattr(identify_node(node, 1), "name", "")
        if name not in _PASSED:
            break
        node = node.next_functions[0][0] if node.next_functions else None
    return name


def _last_node(model: nn.Module, inputs: Tensor, others: tuple[Any, ...]) -> Any:
    leaf = inputs.detach().clone().requires_grad_()
    try:
        # A copy, which has a graph: a model may write into it, as it may not into a leaf.
        return model(leaf.clone(), *others).grad_fn
    except Exception:  # the methods raise it
        return None
