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

from ..attribution.base import as_tuple
from ..attribution.batches import of_examples
from ..attribution.inputs import check_inputs, check_model
from ..attribution.scored_model import described
from ..engine.copy_on_write import run_plainly
from ..engine.restore import set_eval_mode
from ..engine.undo import Undo
from ..errors import InputError, ModelError, TargetError, readable_lines
from .comparison import Comparison
from .localisation import check_masks
from .methods import as_methods, default_methods
from .outputs import Outputs, check_outputs

__all__ = ["Comparison", "compare"]


def compare(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    target: int | Sequence[int] | Tensor | None = None,
    methods: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    additional_forward_args: Any = None,
    outputs: Outputs | None = None,
    images: Tensor | None = None,
    labels: Sequence[str] | None = None,
    masks: Tensor | None = None,
    other: int | Sequence[int] | Tensor | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    show_progress: bool = True,
) -> Comparison:
    """Explain the same scores by several methods.

    The model runs in eval mode and is left as it was. A method that fails has an error instead of maps; the others
    stand. Comparisons in several threads follow one another.

    Parameters
    ----------
    model : nn.Module
        Returns class scores (N, classes), or one score for each image, (N,) or (N, 1); or is a :class:`ScoredModel`.
        Not for two threads at once: eval mode, and the hooks of other methods, are on the model itself.
    inputs : Tensor or tuple of Tensor
        Images (N, C, H, W), signals (N, C, L) or volumes (N, C, D, H, W); not touched. Of several inputs the first is
        explained, and the others are given to the model as they are.
    target : int, sequence, Tensor or None
        The class to explain, one for all images or one for each; None for a model of one score.
    methods : sequence or mapping by label, optional
        :class:`Method`, Captum attributions of the model, or functions ``(model, inputs, target) -> maps``. By default
        those of :func:`default_methods`; :func:`rule_tables` returns those of the literature for one unit.
    additional_forward_args : any
        What the model is given beside the inputs, as for Captum's methods.
    outputs : str, optional
        What the model returns: "logits" (of which one class is right), "binary logits" (of many labels, or of a single
        class), "probabilities", "log-probabilities", or "values" (of a regression). By default as
        :func:`kind_of_outputs` sees it. Labels, deletion and insertion are of probabilities, where there are such.
    images : Tensor, optional
        (N, 3, H, W) or (N, 1, H, W) between 0 and 1, to show; by default each input, scaled from its minimum to its
        maximum. Of volumes (N, 3, D, H, W) or (N, 1, D, H, W); in place of signals others, (N, C, L).
    labels : sequence of str, optional
        The text beside each image; by default its class and the probability of that, or the value.
    masks : Tensor, optional
        (N, H, W), or what the inputs have after the channels, bool, True on the object; for two more checks.
    other : int, sequence or Tensor, optional
        Another class for each image, whose maps are compared; by default the most probable that is not the target.
    batch_size : int, optional
        Number of images that a method explains at a time; by default all.
    seed : int
        Seed of the random numbers in the checks.
    show_progress : bool
        Whether to show bars in a terminal or notebook while methods and checks run.

    Returns
    -------
    Comparison
        Maps, pictures, and checks that run when they are asked for.

    Raises
    ------
    ModelError, InputError, TargetError
        Model, inputs or target cannot be explained by any method.

    Warns
    -----
    DeadSignalWarning
        Signals of a method died, so that maps are zero; once for each method.
    """
    check_model(model)
    tensors = check_inputs(inputs, model, integers=True)
    check_inputs(tensors[:1], model)  # which is explained, and no tokens
    inputs, *further = tensors
    _check_further(further, len(inputs))
    given = (*further, *as_tuple(additional_forward_args))
    _check_arguments(inputs, images, masks, batch_size, seed)
    labels = None if labels is None else _checked_labels(labels, len(inputs))
    outputs = None if outputs is None else check_outputs(outputs)
    undo = Undo()
    with undo, undo:
        set_eval_mode(model, undo)
        classes = _classes(model, inputs, given)
        targets = _targets(0 if target is None and classes == 1 else target, inputs, classes, "target")
        others = None if other is None else _targets(other, inputs, classes, "other")
        _check_others(targets, others)
        if methods is None:
            chosen = default_methods(model, inputs, additional_forward_args=given)
        else:
            chosen = as_methods(methods)
        if batch_size is not None:
            chosen = [replace(method, batch_size=method.batch_size or batch_size) for method in chosen]
        return Comparison(
            model, inputs, targets, chosen, images, labels, masks, others, seed, given, outputs, show_progress
        )


def _check_further(further: Sequence[Tensor], count: int) -> None:
    for position, tensor in enumerate(further, start=1):
        if len(tensor) != count:
            raise InputError(f"expected input {position} with {count} rows, as the first, got {len(tensor)}")


def _classes(model: nn.Module, inputs: Tensor, given: tuple[Any, ...]) -> int | None:
    """Return the number of classes that a model scores, by running one image; None if it returns one score, (N,)."""
    scores = run_plainly(model, model, inputs[:1], *of_examples(given, slice(0, 1), len(inputs)))
    if isinstance(scores, Tensor) and scores.shape == (1,):
        return None
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        found = f"a tensor {tuple(scores.shape)}" if isinstance(scores, Tensor) else described(scores)
        raise ModelError(
            f"expected the model to return class scores (N, classes), got {found} for one image: say what the scores "
            "are, as ScoredModel(model, lambda output: ...)"
        )
    return scores.shape[1]


def _targets(given: Any, inputs: Tensor, classes: int | None, what: str) -> Tensor | None:
    """Return a class for each image, (N,); None where the model has no dimension of classes."""
    if classes is None:
        if given is None:
            return None
        raise TargetError(f"expected no {what} for a model that returns one score for each image, got {given!r:.80}")
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


def _check_others(targets: Tensor | None, others: Tensor | None) -> None:
    if others is not None and targets is not None and bool((others == targets).any()):
        same = int(others[others == targets][0])
        raise TargetError(f"expected other to be another class than target, got class {same} as both")


def _check_arguments(inputs: Tensor, images: Any, masks: Any, batch_size: Any, seed: Any) -> None:
    """Raise InputError for arguments that do not fit the inputs, or are no batch size or seed."""
    if inputs.dim() not in (3, 4, 5):
        raise InputError(
            f"expected images (N, C, H, W), signals (N, C, L) or volumes (N, C, D, H, W), got {tuple(inputs.shape)}"
        )
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise InputError(f"expected a batch_size of at least 1, got {batch_size!r}")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"expected the seed as an int of at least 0, got {seed!r}")
    if images is not None:
        _check_images(images, inputs)
    if masks is not None:
        check_masks(masks, inputs)


def _check_images(images: Any, inputs: Tensor) -> None:
    count, _, *size = inputs.shape
    shapes = [(count, channels, *size) for channels in (3, 1)]
    given = tuple(images.shape) if isinstance(images, Tensor) else ()
    fits = given in shapes or (len(size) == 1 and len(given) == 3 and (given[0], given[2]) == (count, *size))
    if not fits or not images.is_floating_point():
        found = f"{images.dtype} {given}" if isinstance(images, Tensor) else type(images).__name__
        wanted = f"{shapes[0]} or {shapes[1]} between 0 and 1" if len(size) > 1 else f"({count}, channels, {size[0]})"
        raise InputError(f"expected images {wanted}, got {found}")


def _checked_labels(labels: Any, count: int) -> list[str]:
    """Return labels in a form that fonts can draw and pages show."""
    strings = isinstance(labels, (list, tuple)) and all(isinstance(label, str) for label in labels)
    if not strings or len(labels) != count:
        raise InputError(f"expected labels as a list of {count} strings, got {labels!r:.80}")
    return [readable_lines(label) for label in labels]
