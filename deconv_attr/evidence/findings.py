"""What checks find of several methods' maps: each check runs once, with a bar, and an error stays in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..engine.restore import set_eval_mode
from ..engine.undo import Undo
from .checks import CHECKS, Case, Finding, checked
from .progress import in_words, progress_bar

__all__ = ["Findings"]

LONG = 60  # seconds from which the time of checks is told before

Tick = Callable[[float], object]


class Findings:
    """What checks find of several methods' maps.

    Parameters
    ----------
    seconds : mapping of str to float
        How long each method took to explain the images, by label.
    case_of : callable
        Returns the case of a label; asked before each check, and not for nothing: it may run the model.
    seconds_of_a_run : callable
        Returns how long the model takes for all images.
    """

    def __init__(
        self, seconds: Mapping[str, float], case_of: Callable[[str, Tick], Case], seconds_of_a_run: Callable[[], float]
    ) -> None:
        self._seconds = seconds
        self._case_of = case_of
        self._seconds_of_a_run = seconds_of_a_run
        self._found: dict[str, dict[str, Finding | Exception]] = {}

    def run(self, names: Sequence[str], show_progress: bool) -> None:
        """Run the checks that have not run yet."""
        pending = self._pending(names)
        if not pending:
            return
        seconds = {name: self._estimate(name) for name in pending}
        whole = sum(seconds.values())
        told = f", {in_words(whole)} in all" if whole > LONG else ""
        with progress_bar(whole, "checks", show_progress) as bar:
            for name in pending:
                bar.set_description(f"{name}{told}")
                self._found[name] = dict(self._run_check(name, _tick(bar, seconds[name] / len(self._seconds))))

    def of(self, label: str, name: str) -> Finding | Exception:
        """Return what a check has found of a method."""
        return self._found[name][label]

    def all_of(self, name: str) -> dict[str, Finding]:
        """Return what a check has found, by method, without errors; nothing where it has not run."""
        return {label: each for label, each in self._found.get(name, {}).items() if isinstance(each, Finding)}

    def basis(self, name: str) -> str:
        """Return of what a check's numbers are means, in brackets."""
        return next((f" ({finding.basis})" for finding in self.all_of(name).values() if finding.basis), "")

    def notes(self, names: Iterable[str]) -> list[str]:
        """Return what is to be known of single methods' numbers, a sentence each."""
        found = [item for name in names for item in self.all_of(name).items()]
        return [f"{label} {finding.note}" for label, finding in found if finding.note]

    def estimated_seconds(self, names: Sequence[str]) -> float:
        """Return about how long the checks take that have not run yet."""
        return sum(map(self._estimate, self._pending(names)))

    def _pending(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in self._found] if self._seconds else []

    def _estimate(self, name: str) -> float:
        check = CHECKS[name]
        runs = check.runs * len(self._seconds)
        return check.explains * sum(self._seconds.values()) + (runs * self._seconds_of_a_run() if runs else 0)

    def _run_check(self, name: str, tick: Tick) -> Iterator[tuple[str, Finding | Exception]]:
        """Yield what a check finds of each method; `tick` is told what share of a method's work is done."""
        check = CHECKS[name]
        if check.together:
            cases = {label: self._case_of(label, tick) for label in self._seconds}
            yield from zip(cases, _contained(name, list(cases.values()), check.run), strict=True)
            return
        for label in self._seconds:
            (found,) = _contained(name, [self._case_of(label, tick)], lambda cases: [check.run(cases[0])])
            yield label, found
            tick(1)


def _tick(bar: Any, seconds: float) -> Tick:
    return lambda share: bar.update(share * seconds)


def _contained(
    name: str, cases: Sequence[Case], run: Callable[[Sequence[Case]], Sequence[Any]]
) -> list[Finding | Exception]:
    """Return what a check finds of some cases, with errors in their places."""
    undo = Undo()
    with undo, undo:
        set_eval_mode(cases[0].model, undo)
        return _run_contained(name, cases, run)


def _run_contained(
    name: str, cases: Sequence[Case], run: Callable[[Sequence[Case]], Sequence[Any]]
) -> list[Finding | Exception]:
    try:
        count = len(cases[0].inputs)
        return [each if isinstance(each, Exception) else checked(name, each, count) for each in run(cases)]
    except Exception as error:
        return [error] * len(cases)
