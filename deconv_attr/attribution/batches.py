"""Which examples run together, what of a call's arguments is theirs, and one result for all."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from ..errors import InputError, TargetError
from ..rules.arguments import mapped

__all__ = ["Gathered", "batches", "common_rows", "of_examples", "target_of"]


def batches(model: nn.Module, tensors: Sequence[Tensor], size: int | None) -> list[slice]:
    """Divide the examples of some inputs (N, ...) into batches of at most `size`, in order; None: one batch.

    Raises
    ------
    InputError
        The size is not a positive int; the inputs are not all of one number of examples, as parts must be; the model
        has a batch norm in training mode, by which the examples depend on each other.
    """
    count = len(tensors[0])
    if size is None:
        return [slice(0, count)]
    if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
        raise InputError(f"expected internal_batch_size as a positive int, got {size!r}")
    if size >= count:
        return [slice(0, count)]
    counts = [len(tensor) for tensor in tensors]
    if set(counts) != {count}:
        raise InputError(
            f"expected inputs of one number of examples to run with internal_batch_size={size}, got {counts}"
        )
    _refuse_batch_statistics(model, size)
    return [slice(first, min(first + size, count)) for first in range(0, count, int(size))]


def common_rows(tensors: Sequence[Tensor]) -> int | None:
    """Return the number of examples of some inputs (N, ...); None where they have not one number of rows."""
    counts = {len(tensor) for tensor in tensors}
    return counts.pop() if len(counts) == 1 else None


def _refuse_batch_statistics(model: nn.Module, size: int) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise InputError(
                f"expected a model in eval mode to run with internal_batch_size={size}: module '{path}' computes with "
                "the statistics of the whole batch"
            )


def of_examples(values: Sequence[Any], examples: slice | Tensor, count: int) -> tuple[Any, ...]:
    """Return the arguments of a part of the batch: of tensors with `count` rows the part's, all else as it is."""
    if isinstance(examples, slice) and examples == slice(0, count):
        return tuple(values)

    def theirs(value: Any) -> Any:
        return value[examples] if isinstance(value, Tensor) and value.shape[:1] == (count,) else value

    return tuple(mapped(theirs, value) for value in values)


def target_of(target: Any, examples: slice, count: int, name: str = "target") -> Any:
    """Return the targets of a part of the batch: its items of a list or 1-D tensor, which has one for each example.

    Raises
    ------
    TargetError
        It has not.
    """
    for_each = isinstance(target, list) or (isinstance(target, Tensor) and target.dim() == 1 and len(target) > 1)
    if not for_each or examples == slice(0, count):
        return target
    if len(target) != count:
        raise TargetError(f"expected one {name} for each of the {count} examples, got {len(target)}")
    return target[examples]


class Gathered:
    """The results of all batches, (N, ...) each, made once for all examples.

    Parameters
    ----------
    count : int
        N.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.tensors: tuple[Tensor, ...] = ()

    def add(self, tensors: Sequence[Tensor], examples: slice) -> None:
        """Add the results of some examples.

        Raises
        ------
        InputError
            They are not all examples, and a result has not one row for each of them.
        """
        if examples == slice(0, self._count):
            self.tensors = tuple(tensor.contiguous() for tensor in tensors)
            return
        rows = examples.stop - examples.start
        for tensor in tensors:
            if tensor.shape[:1] != (rows,):
                raise InputError(
                    f"expected a result with one row for each of the {rows} examples of a batch, got the shape "
                    f"{tuple(tensor.shape)}: leave out internal_batch_size"
                )
        if not self.tensors:
            self.tensors = tuple(tensor.new_empty((self._count, *tensor.shape[1:])) for tensor in tensors)
        for whole, part in zip(self.tensors, tensors, strict=True):
            whole[examples] = part
