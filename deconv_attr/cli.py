"""The command ``python -m deconv_attr``, also installed as ``deconv-attr``.

Exit status: 0; 2 after an error, of which one sentence is printed; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from .attribution import coverage
from .compare import attributions, guided_backprop_misses
from .errors import DeadSignalWarning, DeconvError, InputError, TargetError
from .images import embedded_images, read_image
from .models import Classifier, embedded_classifier, load_classifier
from .visualize import Column, comparison_figure, picture_path, save_figure

__all__ = ["main"]

MOST_IMAGES = 32  # all are explained at once: VGG-16 takes 140 MB an image
TOP = 5
STYLES: Mapping[str, Literal["signed", "heat"]] = {
    "ZFDeconv": "signed",
    "Guided backprop": "signed",
    "Saliency": "heat",  # a gradient's signs alternate from pixel to pixel; its strength is what can be read
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.
    """
    options = _parser().parse_args(arguments)
    try:
        with _current_directory_importable():
            options.run(options)
    except DeconvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deconv-attr",
        description="Show which pixels caused an activation: the deconvnet of Zeiler and Fergus.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    compare = commands.add_parser(
        "compare",
        help="ZFDeconv, guided backprop and saliency side by side, as one picture",
        description="Explain images by ZFDeconv, guided backprop and saliency, side by side in one picture. "
        "Without arguments: generated images and the trained miniature ZFNet that are part of the package.",
        epilog="example: deconv-attr compare --model resnet18 --image cat.jpg dog.jpg --target tabby 207",
    )
    compare.add_argument(
        "--model",
        metavar="NAME",
        help="a classification model of torchvision, or module:factory (a function without arguments that "
        "returns a torch.nn.Module; images are resized to 256, cropped to 224 and normalised as for ImageNet)",
    )
    compare.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="DEFAULT (torchvision's, downloaded once), random, or a file with a state dict; "
        "without it: DEFAULT for torchvision, as made for module:factory",
    )
    compare.add_argument("--image", metavar="FILE", nargs="+", help="one or several photographs")
    compare.add_argument(
        "--target",
        metavar="CLASS",
        nargs="+",
        help="the class to explain, as an index or a name: one for all images or one for each; "
        "without it: the top class of each image",
    )
    compare.add_argument(
        "--output", metavar="FILE", default="compare.png", help="the picture to write (default: compare.png)"
    )
    compare.set_defaults(run=_compare)
    return parser


def _compare(options: argparse.Namespace) -> None:
    _check_options(options)
    output = picture_path(options.output)
    model = options.model
    classifier = embedded_classifier() if model is None else load_classifier(model, options.weights)
    inputs, names = _images(options.image, classifier)
    print(f"model    {classifier.name}\nweights  {classifier.weights}\ninput    {classifier.preprocessing}")
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


def _check_options(options: argparse.Namespace) -> None:
    if options.model is not None and options.image is None:
        raise InputError(f"--model {options.model} needs --image: the embedded images show the embedded classes")
    if options.model is None and options.weights is not None:
        raise InputError(f"--weights {options.weights} needs --model: the embedded model has its own weights")
    if options.image is not None and len(options.image) > MOST_IMAGES:
        raise InputError(f"one picture holds at most {MOST_IMAGES} images, got {len(options.image)}")


def _images(paths: Sequence[str] | None, classifier: Classifier) -> tuple[Tensor, Sequence[str]]:
    if paths is not None:
        return torch.stack([classifier.preprocessing.transform(read_image(path)) for path in paths]), paths
    pictures, names = embedded_images()
    return classifier.preprocessing.normalise(pictures), names


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
    for warning in caught:
        if issubclass(warning.category, DeadSignalWarning):
            print(f"warning: {warning.message}", file=sys.stderr)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    missed = guided_backprop_misses(coverage(classifier.model, inputs[:1]))
    if missed is not None:
        print(f"note: {missed}")
    return maps


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """Let ``module:factory`` name a file beside the user, as under ``python -m``."""
    here, before = os.getcwd(), list(sys.path)
    if here not in before and "" not in before:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path[:] = before
