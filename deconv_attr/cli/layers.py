"""``deconv-attr layers``: the layers that ``--layer`` can name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..units.receptive_fields import ReceptiveField, layer_fields
from .arguments import add_model_arguments, chosen_model
from .terminal import say

__all__ = ["add", "run"]

HEADER = ("name", "type", "output", "receptive field", "stride")


def add(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "layers",
        help="the layers of a model that can be named, their shapes and receptive fields",
        description="List the layers of a model: name, type, shape of one example's output, and how many pixels a "
        "unit depends on and is apart from the next. Without arguments: those of the embedded miniature ZFNet.",
        epilog="example: deconv-attr layers --model googlenet --weights random",
    )
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """List the layers."""
    classifier = chosen_model(options)
    say(*classifier.lines, "")
    rows = [HEADER]
    for name, module, shape, field in layer_fields(classifier.model, classifier.preprocessing.shape):
        rows.append((name, type(module).__name__, "-" if shape is None else _times(shape), *_pixels(field)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _pixels(field: ReceptiveField | None) -> tuple[str, str]:
    """Return the receptive field of a unit and the stride, in pixels."""
    if field is None:
        return "-", "-"
    if field.mixer:
        return "the whole image", "-"
    return _times(field.size), _times(field.stride)


def _times(numbers: Sequence[int | None]) -> str:
    if all(number is None for number in numbers):
        return "uneven"
    return "x".join("uneven" if number is None else str(number) for number in numbers)
