"""What a table of checks says: a line for each question, with the answer of each method; careful with few images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..engine.reprs import html_lines, one_line
from .bootstrap import Estimate
from .checks import CHECKS, Question
from .table import Answer, Cell, Failure, ResultTable

__all__ = ["FEW", "MANY", "Verdict", "verdict"]

FEW = 10  # images below which nothing is found
MANY = 50  # images from which a verdict has no reservation


@dataclass(frozen=True)
class Verdict:
    """The answers to the questions of some checks; it prints itself, also as HTML and Markdown.

    Parameters
    ----------
    opening : str
        What the number of images allows.
    answers : ResultTable or None
        A row for each question: the question, the answer of each method, and the column of the table that it is from;
        None where the images are too few, or no check was asked a question.
    """

    opening: str
    answers: ResultTable | None = None

    def __str__(self) -> str:
        return self.opening if self.answers is None else f"{self.opening}\n\n{self.answers.narrow(WIDTHS)}"

    def __repr__(self) -> str:
        if self.answers is None:
            return one_line(self, self.opening)
        asked = f"{len(self.answers.rows)} questions to {len(self.answers.header) - 2} methods"
        return one_line(self, f"{asked}. {self.opening}")

    def to_markdown(self) -> str:
        """Return the verdict in Markdown."""
        return self.opening if self.answers is None else f"{self.opening}\n\n{self.answers.to_markdown()}"

    def _repr_html_(self) -> str:
        """Return the verdict for a notebook."""
        return html_lines([self.opening]) if self.answers is None else self.answers.in_html(self.opening)


WIDTHS = (34, 14, 24)  # characters of questions, answers and columns in a text


def verdict(table: ResultTable, images: int) -> Verdict:
    """Return what a table of checks says.

    An answer is "yes" or "no" if the whole interval of its number says so, "?" if that cannot be said: because the
    interval is too wide, lies between, is of fewer than 10 images, or most maps have died.

    Parameters
    ----------
    table : ResultTable
        Columns of :data:`deconv_attr.evidence.CHECKS`, all or some.
    images : int
        Number of images.

    Returns
    -------
    Verdict
    """
    questions = [
        check.question for check in CHECKS.values() if check.question and check.question.column in table.header
    ]
    if images < FEW:
        some = "One image is" if images == 1 else f"{images} images are"
        return Verdict(f"{some} too few for a finding, which takes {FEW}: look at the pictures.")
    if not questions:
        return Verdict("These numbers are told by the table alone.")
    rows = [[question.text, *_answers(question, table), question.column] for question in questions]
    reserve = "" if images >= MANY else ", and for images like these only"
    opening = f"From {images} images{reserve}. Yes and no are said of whole intervals; ? cannot be said."
    return Verdict(opening, ResultTable(["question", *map(str, table.column(table.header[0])), "from"], rows))


def _answers(question: Question, table: ResultTable) -> list[Cell]:
    numbers = table.column(question.column)
    zero: Sequence[Cell] = table.column(question.dies) if question.dies in table.header else [0.0] * len(numbers)
    return [_answer(question, number, dead) for number, dead in zip(numbers, zero, strict=True)]


def _answer(question: Question, number: Cell, dead: Cell) -> Answer:
    if not isinstance(number, Estimate):
        return Answer("?", number.text.split(":")[0] if isinstance(number, Failure) else str(number))
    if not number.count:
        return Answer("?", "no map")
    shown = number.shown if number.count == number.total else f"{number.shown}, {number.count} of {number.total}"
    if isinstance(dead, Estimate) and dead.mean > 0.5:
        return Answer("?", f"{dead.mean:.0%} died")
    if number.count < FEW:
        return Answer("?", shown)
    for mark, (least, greatest) in (("no", question.no), ("yes", question.yes)):
        if least <= number.low and number.high <= greatest:
            return Answer(mark, shown)
    return Answer("?", shown)
