"""The checks by name: a decorator that registers each, beside its function, and the order of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..errors import InputError, nearest
from .methods import Method

__all__ = ["CHECKS", "Case", "Check", "Curve", "Finding", "check", "checked", "chosen_checks"]


@dataclass(frozen=True, eq=False)
class Case:
    """A method's maps, and what a check compares them with.

    Parameters
    ----------
    model : nn.Module
        In eval mode.
    method : Method
        Called again by checks that need further maps.
    maps, inputs : Tensor
        (N, C, H, W).
    target : Tensor
        (N,), the class of each image.
    other : Tensor or None
        (N,), another class of each image; None if the model has one class only.
    masks : Tensor or None
        (N, H, W) bool, True on the object, where that is known.
    seed : int
        Seed of all random numbers.
    """

    model: nn.Module
    method: Method
    maps: Tensor
    inputs: Tensor
    target: Tensor
    other: Tensor | None = None
    masks: Tensor | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Curve:
    """Values (S, N) at S steps; a step is a number or the name of a layer."""

    values: Tensor
    steps: Sequence[float | str]


@dataclass(frozen=True, eq=False)
class Finding:
    """A number for each image (N,) for each column of a check, NaN where undefined; and the curve behind it, if any."""

    values: Sequence[Tensor]
    curve: Curve | None = None


@dataclass(frozen=True, eq=False)
class Check:
    """A check, as a table runs it.

    Parameters
    ----------
    columns : mapping of str to str
        The names of its columns in a table, and what they mean.
    run : callable
        Returns the finding of a case, with as many values as there are columns.
    needs_masks : bool
        Whether it runs only where masks are given.
    axes : tuple of str or None
        The labels of the horizontal and the vertical axis, where the finding has a curve.
    """

    columns: Mapping[str, str]
    run: Callable[[Case], Finding]
    needs_masks: bool = field(default=False, kw_only=True)
    axes: tuple[str, str] | None = field(default=None, kw_only=True)


_ORDER = [
    "zero maps",
    "target sensitivity",
    "parameter randomisation",
    "input recovery",
    "edge similarity",
    "deletion",
    "insertion",
    "infidelity",
    "sensitivity",
    "pointing game",
    "mask share",
]
"""The order of a table; checks that are not listed follow, and last those with masks, which may be missing."""

CHECKS: dict[str, Check] = {}
"""All checks by name, in the order of a table."""


def check(
    name: str, columns: Mapping[str, str], *, needs_masks: bool = False, axes: tuple[str, str] | None = None
) -> Callable[[Callable[[Case], Finding]], Callable[[Case], Finding]]:
    """Register a function from a case to a finding as the check of this name.

    Parameters
    ----------
    name : str
        As for :meth:`Comparison.table`.
    columns, needs_masks, axes
        As for :class:`Check`.
    """

    def register(run: Callable[[Case], Finding]) -> Callable[[Case], Finding]:
        checks = {**CHECKS, name: Check(columns, run, needs_masks=needs_masks, axes=axes)}
        CHECKS.clear()
        CHECKS.update(sorted(checks.items(), key=lambda item: (item[1].needs_masks, _position(item[0]))))
        return run

    return register


def _position(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def checked(name: str, finding: object, count: int) -> Finding:
    """Return what a check of `count` images has found.

    Raises
    ------
    InputError
        It is not a finding, or has not one number for each image in each of its columns.
    """
    columns = len(CHECKS[name].columns)
    if not isinstance(finding, Finding):
        raise InputError(f"expected a Finding from the check {name!r}, got {type(finding).__name__}")
    shapes = [tuple(values.shape) for values in finding.values]
    if shapes != [(count,)] * columns:
        raise InputError(f"expected {columns} tensors ({count},) from the check {name!r}, got shapes {shapes}")
    return finding


def chosen_checks(names: Sequence[str] | None, masks: Tensor | None) -> list[str]:
    """Return the names of the checks to run; for None all that can run.

    Raises
    ------
    InputError
        A name is unknown, or the check lacks masks.
    """
    if names is None:
        return [name for name, check in CHECKS.items() if masks is not None or not check.needs_masks]
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in names:
        if name not in CHECKS:
            raise InputError(f"expected the name of a check, got {name!r}{nearest(str(name), list(CHECKS))}")
        if CHECKS[name].needs_masks and masks is None:
            raise InputError(f"expected masks (N, H, W) of bool for the check {name!r}, got none")
    return names
