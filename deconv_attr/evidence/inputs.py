"""`compare`: the same scores explained by several methods; and the checks of its arguments.

>>> comparison = compare(model, x, target=5)   # doctest: +SKIP
>>> comparison.plot().savefig("compare.png")   # doctest: +SKIP
>>> print(comparison.table())                  # doctest: +SKIP
>>> print(comparison.verdict())                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import check_inputs, check_model
from ..attribution.scored_model import described
from ..engine.copy_on_write import run_plainly
from ..errors import InputError, ModelError, TargetError
from .comparison import Comparison
from .localisation import check_masks
from .methods import as_methods, default_methods, eval_mode

__all__ = ["Comparison", "compare"]


def compare(
    model: nn.Module,
    inputs: Tensor,
    target: int | Sequence[int] | Tensor | None = None,
    methods: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    images: Tensor | None = None,
    labels: Sequence[str] | None = None,
    masks: Tensor | None = None,
    other: int | Sequence[int] | Tensor | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Explain the same scores by several methods.

    The model runs in eval mode and is left as it was. A method that fails has an error instead of maps; the others
    stand.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes), or is a :class:`ScoredModel`. Not for two threads at once: eval mode, and
        the hooks of other methods, are on the model itself.
    inputs : Tensor
        (N, C, H, W); not touched.
    target : int, sequence, Tensor or None
        The class to explain, one for all images or one for each; None for a model of one score.
    methods : sequence or mapping by label, optional
        :class:`Method`, Captum attributions of the model, or functions ``(model, inputs, target) -> maps``. By default
        those of :func:`default_methods`; :func:`rule_tables` returns those of the literature for one unit.
    images : Tensor, optional
        (N, 3, H, W) or (N, 1, H, W) between 0 and 1, to show; by default each input, scaled from its minimum to its
        maximum.
    labels : sequence of str, optional
        The text beside each image; by default its class and the probability of that.
    masks : Tensor, optional
        (N, H, W) bool, True on the object; for two more checks.
    other : int, sequence or Tensor, optional
        Another class for each image, whose maps are compared; by default the most probable that is not the target.
    batch_size : int, optional
        Number of images that a method explains at a time; by default all.
    seed : int
        Seed of the random numbers in the checks.

    Raises
    ------
    ModelError, InputError, TargetError
        Model, inputs or target cannot be explained by any method.
    """
    check_model(model)
    (inputs,) = check_inputs((inputs,), model)
    _check_arguments(inputs, images, labels, masks, batch_size, seed)
    with eval_mode(model):
        classes = _classes(model, inputs)
        targets = _targets(0 if target is None and classes == 1 else target, inputs, classes, "target")
        others = None if other is None else _targets(other, inputs, classes, "other")
        _check_others(targets, others)
        chosen = default_methods(model, inputs) if methods is None else as_methods(methods)
        if batch_size is not None:
            chosen = [replace(method, batch_size=method.batch_size or batch_size) for method in chosen]
        return Comparison(model, inputs, targets, chosen, images, labels, masks, others, seed)


def _classes(model: nn.Module, inputs: Tensor) -> int:
    """Return the number of classes that a model scores, by running one image."""
    scores = run_plainly(model, model, inputs[:1])
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        found = f"a tensor {tuple(scores.shape)}" if isinstance(scores, Tensor) else described(scores)
        raise ModelError(
            f"expected the model to return class scores (N, classes), got {found} for one image: say what the scores "
            "are, as ScoredModel(model, lambda output: ...)"
        )
    return scores.shape[1]


def _targets(given: Any, inputs: Tensor, classes: int, what: str) -> Tensor:
    """Return a class for each image, (N,)."""
    count = len(inputs)
    try:
        targets = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(f"expected {what} as a class, or one for each image, got {given!r:.80}") from error
    if targets.dtype == torch.bool or targets.is_floating_point() or targets.is_complex() or targets.dim() > 1:
        raise TargetError(f"expected {what} as a class, or one for each image, got {given!r:.80}")
    if targets.numel() not in (1, count):
        raise TargetError(f"expected {what} as 1 class for all images or 1 for each of {count}, got {targets.numel()}")
    targets = targets.to(inputs.device, torch.long, copy=True).reshape(-1).expand(count)
    if bool(((targets < 0) | (targets >= classes)).any()):
        wrong = targets[(targets < 0) | (targets >= classes)][0]
        raise TargetError(f"expected {what} between 0 and {classes - 1}, got {int(wrong)}")
    return targets


def _check_others(targets: Tensor, others: Tensor | None) -> None:
    if others is not None and bool((others == targets).any()):
        same = int(others[others == targets][0])
        raise TargetError(f"expected other to be another class than target, got class {same} as both")


def _check_arguments(inputs: Tensor, images: Any, labels: Any, masks: Any, batch_size: Any, seed: Any) -> None:
    """Raise InputError for arguments that do not fit the inputs, or are no batch size or seed."""
    if inputs.dim() != 4:
        raise InputError(f"expected images (N, C, H, W), got {tuple(inputs.shape)}")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise InputError(f"expected a batch_size of at least 1, got {batch_size!r}")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"expected the seed as an int of at least 0, got {seed!r}")
    if images is not None:
        _check_images(images, inputs)
    if masks is not None:
        check_masks(masks, inputs)
    if labels is not None:
        _check_labels(labels, len(inputs))


def _check_images(images: Any, inputs: Tensor) -> None:
    count, _, *size = inputs.shape
    shapes = [(count, channels, *size) for channels in (3, 1)]
    if not isinstance(images, Tensor) or tuple(images.shape) not in shapes or not images.is_floating_point():
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"expected images {shapes[0]} or {shapes[1]} between 0 and 1, got {found}")


def _check_labels(labels: Any, count: int) -> None:
    strings = isinstance(labels, (list, tuple)) and all(isinstance(label, str) for label in labels)
    if not strings or len(labels) != count:
        raise InputError(f"expected labels as a list of {count} strings, got {labels!r:.80}")
