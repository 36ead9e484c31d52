"""``deconv-attr compare``: ZFDeconv, guided backprop and saliency side by side, as a picture or a page, and checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..demo import embedded_masks
from ..errors import InputError, TargetError
from ..evidence import CHECKS, OUTPUTS, chosen_checks, kind_of_outputs, probabilities
from ..evidence.inputs import Comparison, compare
from ..evidence.methods import default_methods
from ..evidence.outputs import Outputs, number_in_words
from ..evidence.progress import in_words
from ..visualize import picture_path, save_figure
from ..visualize.html import PAGES, report_path
from .arguments import (
    add_activations_argument,
    add_image_argument,
    add_model_arguments,
    check_images,
    chosen_images,
    chosen_model,
    printed_dead_signals,
)
from .class_names import read_class_names
from .models import Classifier, scored
from .terminal import say, warn

__all__ = ["add", "run"]

TOP = 5  # classes printed for each image
LONG = 10  # seconds from which the time of checks is told before


def add(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "compare",
        help="ZFDeconv, guided backprop and saliency side by side, as a picture or a page, and checked",
        description="Explain images by ZFDeconv, from the score and from one unit, guided backprop and saliency, side "
        "by side in one picture. Without arguments: generated images and the trained miniature ZFNet that are part of "
        "the package.",
        epilog="example: deconv-attr compare --model resnet18 --image cat.jpg dog.jpg --target tabby 207",
    )
    add_model_arguments(parser)
    add_image_argument(parser)
    parser.add_argument(
        "--target",
        metavar="CLASS",
        nargs="+",
        help="the class to explain, as an index, a name, or a part of a name that no other class has: one for all "
        "images or one for each (default: the top class of each image)",
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="the names of the classes: one a line, or JSON (a list, or names by number)",
    )
    parser.add_argument(
        "--score",
        metavar="MODULE:FUNCTION",
        help="a function of the model's output that returns the class scores (N, classes) (default: the output "
        "is the scores)",
    )
    parser.add_argument(
        "--outputs",
        choices=OUTPUTS,
        help="what the model returns: logits (of which one class is right), binary logits (of many labels, or of a "
        "single class), probabilities, log-probabilities, or values (of a regression) (default: found out "
        "from the model)",
    )
    parser.add_argument(
        "--layer",
        help="the layer whose strongest unit is projected; without it: the class's own feature map where the model has "
        "such maps, else the last layer of rectified maps",
    )
    add_activations_argument(parser)
    parser.add_argument(
        "--checks",
        metavar="CHECK",
        nargs="*",
        help="check and print what each map depends on: the class, the weights, the image alone, ...; all checks, or "
        f"some of: {', '.join(name.replace(' ', '-') for name in CHECKS)}",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="compare.png",
        help="the picture to write, or a page with pictures and checks, if it ends in .html (default: compare.png)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Explain images by several methods, and draw them side by side."""
    check_images(options)
    page = Path(options.output).suffix.lower() in PAGES
    output = report_path(options.output) if page else picture_path(options.output)
    classifier = _named(chosen_model(options), options)
    if options.score is not None:
        classifier = scored(classifier, options.score)
    inputs, names = chosen_images(options, classifier)
    say(*classifier.lines)
    masks = embedded_masks(len(inputs)) if options.image is None else None
    checks = _checks(options.checks, masks)
    scores = classifier.scores(inputs)
    outputs = options.outputs or kind_of_outputs(classifier.model, inputs, scores=scores)
    numbers = probabilities(scores, outputs)
    _check_categories(options, classifier, numbers.shape[1])
    targets = _targets(options.target, numbers, classifier)
    for number, name in enumerate(names):
        _say_classes(f"image {number}  {name}", numbers[number], targets[number], classifier, outputs)
    say("")
    labels = [_label(each[target], target, classifier, outputs) for each, target in zip(numbers, targets, strict=True)]
    comparison = _compared(options, classifier, inputs, targets, outputs, labels, masks, numbers.shape[1])
    for note in comparison.notes:
        warn(f"note: {note}")
    if options.checks is not None or page:
        seconds = comparison.estimated_seconds(checks)
        if seconds > LONG:
            warn(f"checks: {in_words(seconds)}")
    if options.checks is not None:
        say(*f"{comparison.table(checks)}\n\n{comparison.verdict(checks)}\n".split("\n"))
    if page:
        comparison.to_html(output, checks=checks)
    else:
        save_figure(comparison.plot(), output)
    say(f"wrote {output}")


def _checks(words: Sequence[str] | None, masks: Tensor | None) -> list[str] | None:
    """Return the names of checks, which may have hyphens for spaces; None for all of them."""
    return chosen_checks([word.replace("-", " ") for word in words], masks) if words else None


def _named(classifier: Classifier, options: argparse.Namespace) -> Classifier:
    """Return a classifier with the names of its classes from a file, where one is given."""
    if options.classes is None:
        return classifier
    if options.model is None:
        raise InputError(
            f"expected --model with --classes {options.classes}, got none; the embedded classes have names"
        )
    return replace(classifier, categories=read_class_names(options.classes))


def _check_categories(options: argparse.Namespace, classifier: Classifier, classes: int) -> None:
    if options.classes is not None and len(classifier.categories) != classes:
        raise InputError(
            f"expected {classes} class names in {options.classes}, one for each score of {classifier.name}, got "
            f"{len(classifier.categories)}"
        )


def _targets(words: Sequence[str] | None, scores: Tensor, classifier: Classifier) -> list[int]:
    images, classes = scores.shape
    if words is None:
        return scores.argmax(1).tolist()
    if len(words) not in (1, images):
        raise TargetError(f"expected --target with 1 class for all images or 1 for each of {images}, got {len(words)}")
    targets = [classifier.class_index(word, classes) for word in words]
    for word, target in zip(words, targets, strict=True):
        if classifier.categories and word.casefold() not in (str(target), classifier.class_name(target).casefold()):
            say(f"target   {word} is {classifier.class_name(target)} ({target})")
    return targets * images if len(targets) == 1 else targets


def _say_classes(heading: str, numbers: Tensor, target: int, classifier: Classifier, outputs: Outputs) -> None:
    """Print the largest outputs, and mark the target by an arrow; it is printed even if it is none of them."""
    say("", heading)
    shown = numbers.topk(min(TOP, len(numbers))).indices.tolist()
    for index in shown if target in shown else [*shown, target]:
        mark = "->" if index == target else "  "
        number = f"{numbers[index]:8.4g}" if outputs == "values" else f"{numbers[index]:6.1%}"
        say(f"  {mark} {number}  {_name(index, classifier, outputs)} ({index})")


def _label(number: Tensor, target: int, classifier: Classifier, outputs: Outputs) -> str:
    return f"{_name(target, classifier, outputs)}\n{number_in_words(float(number), outputs)}"


def _name(index: int, classifier: Classifier, outputs: Outputs) -> str:
    """Return the name of a class; of a value, which is of no class, the number of the output."""
    return f"output {index}" if outputs == "values" and not classifier.categories else classifier.class_name(index)


def _compared(
    options: argparse.Namespace,
    classifier: Classifier,
    inputs: Tensor,
    targets: list[int],
    outputs: Outputs,
    labels: list[str],
    masks: Tensor | None,
    classes: int,
) -> Comparison:
    with printed_dead_signals():
        return compare(
            classifier.model,
            inputs,
            targets if classes > 1 else None,
            default_methods(classifier.model, inputs, options.layer, activations=options.activations),
            images=classifier.preprocessing.picture(inputs),
            labels=labels,
            masks=masks,
            outputs=outputs,
            show_progress=sys.stderr.isatty(),
        )
