"""``deconv-attr compare``: ZFDeconv, guided backprop and saliency side by side, as one picture."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..attribution import coverage
from ..compare import attributions, guided_backprop_misses
from ..errors import DeadSignalWarning, TargetError
from ..models import Classifier
from ..visualize import Column, comparison_figure, picture_path, save_figure
from .subject import add_image_argument, add_model_arguments, check_images, chosen_images, chosen_model, say_again

__all__ = ["add", "run"]

TOP = 5
STYLES: Mapping[str, Literal["signed", "heat"]] = {
    "ZFDeconv": "signed",
    "Guided backprop": "signed",
    "Saliency": "heat",  # a gradient's signs alternate from pixel to pixel; its strength is what can be read
}


def add(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "compare",
        help="ZFDeconv, guided backprop and saliency side by side, as one picture",
        description="Explain images by ZFDeconv, guided backprop and saliency, side by side in one picture. "
        "Without arguments: generated images and the trained miniature ZFNet that are part of the package.",
        epilog="example: deconv-attr compare --model resnet18 --image cat.jpg dog.jpg --target tabby 207",
    )
    add_model_arguments(parser)
    add_image_argument(parser)
    parser.add_argument(
        "--target",
        metavar="CLASS",
        nargs="+",
        help="the class to explain, as an index or a name: one for all images or one for each; "
        "without it: the top class of each image",
    )
    parser.add_argument(
        "--output", metavar="FILE", default="compare.png", help="the picture to write (default: compare.png)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Explain images by several methods, and draw them side by side."""
    check_images(options)
    output = picture_path(options.output)
    classifier = chosen_model(options)
    inputs, names = chosen_images(options, classifier)
    print(classifier)
    scores = classifier.scores(inputs)
    targets = _targets(options.target, scores, classifier)
    chances = _probabilities(scores)
    for number, name in enumerate(names):
        _print_classes(f"image {number}  {name}", chances[number], targets[number], classifier)
    labels = [
        f"{classifier.class_name(target)}\n{chance[target]:.1%}"
        for target, chance in zip(targets, chances, strict=True)
    ]
    maps = _explained(classifier, inputs, torch.tensor(targets))
    columns = [Column(title, maps[title], STYLES[title]) for title in maps]
    save_figure(comparison_figure(classifier.preprocessing.picture(inputs), columns, labels), output)
    print(f"\nwrote {output}")


def _targets(words: Sequence[str] | None, scores: Tensor, classifier: Classifier) -> list[int]:
    images, classes = scores.shape
    if words is None:
        return scores.argmax(1).tolist()
    if len(words) not in (1, images):
        raise TargetError(f"--target takes 1 class for all images or 1 for each of {images}, got {len(words)}")
    targets = [classifier.class_index(word, classes) for word in words]
    return targets * images if len(targets) == 1 else targets


def _probabilities(scores: Tensor) -> Tensor:
    """Return the softmax, or the scores themselves where the model ends in a softmax already."""
    sums = scores.sum(1)
    done = bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    return scores if done else scores.softmax(1)


def _print_classes(heading: str, chances: Tensor, target: int, classifier: Classifier) -> None:
    """Print the most likely classes, and the target marked by an arrow, wherever it stands."""
    print(f"\n{heading}")
    shown = chances.topk(min(TOP, len(chances))).indices.tolist()
    for index in shown if target in shown else [*shown, target]:
        mark = "->" if index == target else "  "
        print(f"  {mark} {chances[index]:6.1%}  {classifier.class_name(index)} ({index})")


def _explained(classifier: Classifier, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeadSignalWarning)
        maps = attributions(classifier.model, inputs, targets)
    print()
    say_again(caught)
    missed = guided_backprop_misses(coverage(classifier.model, inputs[:1]))
    if missed is not None:
        print(f"note: {missed}")
    return maps
