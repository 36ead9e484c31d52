"""The checks by name: a decorator that registers each, beside its function, and the order of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from ..errors import InputError, nearest
from .methods import Method
from .outputs import Outputs

__all__ = ["CHECKS", "Case", "Check", "Curve", "Finding", "Question", "check", "checked", "chosen_checks"]

T = TypeVar("T")


def _untold(share: float) -> None:
    """Show no progress."""


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
        (N, C, ...).
    target : Tensor or None
        (N,), the class of each image; None where the model returns one score, (N,).
    other : Tensor or None
        (N,), another class of each image; None if the model has one class only.
    masks : Tensor or None
        (N, ...) bool, True on the object, where that is known.
    seed : int
        Seed of all random numbers.
    additional_forward_args : tuple
        What the model is given beside the images.
    outputs : str or None
        What the model returns, one of :data:`OUTPUTS`; None: what it looks like.
    shared : dict
        What the cases of all methods have in common, computed once; see :meth:`once`.
    tick : callable
        Called with the share of the check that is done, for a progress bar.
    """

    model: nn.Module
    method: Method
    maps: Tensor
    inputs: Tensor
    target: Tensor | None
    other: Tensor | None = None
    masks: Tensor | None = None
    seed: int = 0
    additional_forward_args: tuple[Any, ...] = ()
    outputs: Outputs | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    tick: Callable[[float], object] = field(default_factory=lambda: _untold)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Return what is computed for the first method, and the same for all others.

        Parameters
        ----------
        name : str
            Its key in `shared`.
        compute : callable
            Called without arguments, once.
        """
        if name not in self.shared:
            self.shared[name] = compute()
        found: T = self.shared[name]
        return found


@dataclass(frozen=True, eq=False)
class Curve:
    """Values (S, N) at S steps; a step is a number or the name of a layer.

    Parameters
    ----------
    values : Tensor
        (S, N).
    steps : sequence of float or str
        S of them.
    zero : Tensor or None
        (S, N) bool, where the map is zero everywhere; None: nowhere.
    up : str
        The label of the vertical axis, where it is not the check's.
    """

    values: Tensor
    steps: Sequence[float | str]
    zero: Tensor | None = None
    up: str = ""

    @property
    def mostly_zero(self) -> list[bool]:
        """Whether most of the maps are zero, at each step, among those that have a value."""
        if self.zero is None:
            return [False] * len(self.steps)
        known = ~self.values.isnan()
        return ((self.zero & known).sum(1) > known.sum(1) / 2).tolist()


@dataclass(frozen=True, eq=False)
class Finding:
    """What a check finds of a method's maps.

    Parameters
    ----------
    values : sequence of Tensor
        A number for each image (N,) for each column of the check, NaN where it is undefined.
    curve : Curve or None
        The curve behind them.
    draw : Tensor or None
        (N,), the random draw that each image had; images of one draw are no independent ones, and intervals say so.
    basis : str
        Of what the numbers are means, in a few words.
    note : str
        What is to be known of this method's numbers, as the end of a sentence about it.
    """

    values: Sequence[Tensor]
    curve: Curve | None = None
    draw: Tensor | None = None
    basis: str = ""
    note: str = ""


@dataclass(frozen=True)
class Question:
    """What a column answers: yes, if the whole interval of the mean lies in `yes`, no, if it lies in `no`.

    Parameters
    ----------
    text : str
        To be answered by yes or no; yes is what one hopes for.
    column : str
        The column of the number.
    yes, no : tuple of float
        The least and the greatest number; what is in both is no.
    dies : str
        The column of a share of maps that are zero: above one half, nothing can be said.
    """

    text: str
    column: str
    yes: tuple[float, float]
    no: tuple[float, float]
    dies: str = ""


@dataclass(frozen=True, eq=False)
class Check:
    """A check, as a table runs it.

    Parameters
    ----------
    columns : mapping of str to str
        The names of its columns in a table, and what they mean; each begins with the check's name.
    run : callable
        Returns the finding of a case, with as many values as there are columns; where `together`, the findings (or
        errors) of a list of cases, one for each method.
    needs_masks : bool
        Whether it runs only where masks are given.
    axes : tuple of str or None
        The labels of the horizontal and the vertical axis, where the finding has a curve.
    question : Question or None
        What it answers in a verdict.
    explains, runs : int
        How often it explains each image for each method, and how often it runs the model on it: for an estimate of
        its time.
    together : bool
        Whether all methods are checked at once, because they share most of the work.
    """

    columns: Mapping[str, str]
    run: Callable[..., Any]
    needs_masks: bool = field(default=False, kw_only=True)
    axes: tuple[str, str] | None = field(default=None, kw_only=True)
    question: Question | None = field(default=None, kw_only=True)
    explains: int = field(default=0, kw_only=True)
    runs: int = field(default=0, kw_only=True)
    together: bool = field(default=False, kw_only=True)


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

Run = TypeVar("Run", bound=Callable[..., Any])


def check(
    name: str,
    columns: Mapping[str, str],
    *,
    needs_masks: bool = False,
    axes: tuple[str, str] | None = None,
    question: Question | None = None,
    explains: int = 0,
    runs: int = 0,
    together: bool = False,
) -> Callable[[Run], Run]:
    """Register a function from a case to a finding as the check of this name.

    Parameters
    ----------
    name : str
        As for :meth:`Comparison.table`.
    columns, needs_masks, axes, question, explains, runs, together
        As for :class:`Check`.

    Returns
    -------
    callable
        A decorator, which returns the function as it is.

    Raises
    ------
    InputError
        A column has another name than the check, or the question is of a column that it has not.
    """
    for column in columns:
        if column != name and not column.startswith(f"{name}, "):
            raise InputError(f"expected the columns of the check {name!r} as that or '{name}, ...', got {column!r}")
    for asked in [] if question is None else filter(None, [question.column, question.dies]):
        if asked not in columns:
            raise InputError(f"expected the question of the check {name!r} about one of its columns, got {asked!r}")

    def register(run: Run) -> Run:
        new = Check(
            columns,
            run,
            needs_masks=needs_masks,
            axes=axes,
            question=question,
            explains=explains,
            runs=runs,
            together=together,
        )
        checks = {**CHECKS, name: new}
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
            raise InputError(
                f"expected the name of a check, got {name!r}{nearest(str(name), list(CHECKS))}; all of them: "
                f"{', '.join(CHECKS)}"
            )
        if CHECKS[name].needs_masks and masks is None:
            raise InputError(f"expected masks (N, ...) of bool for the check {name!r}, got none")
    return names
