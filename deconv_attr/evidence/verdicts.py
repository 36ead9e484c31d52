"""A table of checks in words; careful where there are few images or wide intervals."""

from __future__ import annotations

from collections.abc import Sequence

from .bootstrap import Estimate
from .table import Failure, ResultTable

__all__ = ["verdict"]

ALIKE = 0.8  # correlation from which two maps are called alike
APART = 0.5  # correlation up to which two maps are called different
FEW = 10  # images below which a verdict is a hint
MANY = 50  # images from which a verdict has no reservation
RARE = 0.05  # share of zero maps up to which they are not mentioned

Numbers = Sequence[tuple[str, Estimate]]


def verdict(table: ResultTable, images: int, on_objects: float | None = None) -> str:
    """Return a paragraph on a table of checks.

    A statement holds for the whole interval of a number; "perhaps" marks those that hold for the mean only.

    Parameters
    ----------
    table : ResultTable
        Columns of :data:`deconv_attr.evidence.CHECKS`, all or some.
    images : int
        Number of images.
    on_objects : float or None
        The share of the images that the objects cover: the pointing game of a random map.

    Returns
    -------
    str
    """
    said = [
        _zeros(_numbers(table, "zero maps")),
        _divided(
            _numbers(table, "other class"),
            "the map of another class",
            "is nearly the same",
            "so such a map does not say why this class and no other",
            "differs",
        ),
        _divided(
            _numbers(table, "random weights, |map|"),
            "with random weights, the map",
            "keeps its strongest pixels",
            "so it does not show what was learnt",
            "changes",
        ),
        _divided(
            _numbers(table, "image"),
            "the map",
            "is nearly the image itself",
            "so it is a copy and no explanation",
            "has little of the image's own values",
        ),
        _located(_numbers(table, "pointing game"), on_objects),
        _failed(table),
    ]
    return (
        " ".join([_weight(images), *filter(None, said)]) if any(said) else "These numbers are told by the table alone."
    )


def _weight(images: int) -> str:
    if images < FEW:
        if images == 1:
            return "A single image is no evidence, and has no intervals; what follows is a hint."
        return f"{images} images are no evidence, and intervals of so few are too narrow; what follows is a hint."
    if images < MANY:
        return f"From {images} images, and for images like these only."
    return f"From {images} images."


def _zeros(numbers: Numbers) -> str:
    dead = [(name, number) for name, number in numbers if number.mean > RARE]
    if not dead:
        return ""
    shares = _listed([f"{name} ({number.mean:.0%} of the images)" for name, number in dead])
    return f"The signal died, and maps are zero, for {shares}; the other numbers are of the rest."


def _divided(numbers: Numbers, about: str, alike: str, therefore: str, apart: str) -> str:
    """Return a sentence on the methods whose correlation is high, low, or between."""
    high = [_said(name, number, number.low >= ALIKE) for name, number in numbers if number.mean >= ALIKE]
    low = [_said(name, number, number.high <= APART) for name, number in numbers if number.mean <= APART]
    between = [_said(name, number, True) for name, number in numbers if APART < number.mean < ALIKE]
    parts = [
        f"{alike} for {_listed(high)}, {therefore}" if high else "",
        f"{apart} for {_listed(low)}" if low else "",
        f"is neither for {_listed(between)}" if between else "",
    ]
    found = "; it ".join(filter(None, parts))
    return _sentence(f"{about} {found}") if found else ""


def _located(numbers: Numbers, at_random: float | None) -> str:
    if not numbers or at_random is None:
        return ""
    found = [_said(name, number, number.low > at_random) for name, number in numbers if number.mean > at_random]
    rest = [_said(name, number, number.high <= at_random) for name, number in numbers if not number.mean > at_random]
    parts = [
        f"more often than by chance ({at_random:.2f}) for {_listed(found)}" if found else "",
        f"no more often than by chance ({at_random:.2f}) for {_listed(rest)}" if rest else "",
    ]
    return _sentence(f"the strongest pixel lies on the object {'; '.join(filter(None, parts))}")


def _failed(table: ResultTable) -> str:
    failed = [str(row[0]) for row in table.rows if row[1:] and all(isinstance(cell, Failure) for cell in row[1:])]
    return f"No maps: {_listed(failed)}." if failed else ""


def _numbers(table: ResultTable, column: str) -> Numbers:
    """Return the methods that have a number in a column, and the number."""
    if column not in table.header:
        return []
    names = (str(row[0]) for row in table.rows)
    cells = zip(names, table.column(column), strict=True)
    return [(name, cell) for name, cell in cells if isinstance(cell, Estimate) and cell.count]


def _said(name: str, number: Estimate, certain: bool) -> str:
    return f"{name} ({'' if certain else 'perhaps, '}{number.mean:.2f})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
