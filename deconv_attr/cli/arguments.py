"""The arguments that commands share: a model and images, the embedded ones or the user's."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..demo import embedded_images
from ..engine.restore import collect_dead_signals
from ..engine.undo import Undo
from ..errors import InputError
from ..gallery.images import read_image
from .class_names import NUMBER
from .models import Classifier, embedded_classifier, load_classifier
from .preprocessing_options import Asked, add_preprocessing_arguments
from .terminal import warn

__all__ = [
    "add_activations_argument",
    "add_image_argument",
    "add_maps_argument",
    "add_model_arguments",
    "check_images",
    "chosen_images",
    "chosen_model",
    "feature_maps",
    "printed_dead_signals",
    "warn_of_embedded_model",
]

MOST_IMAGES = 32  # one picture shows them all
MOST_MAPS = 65536  # of a range; layers have fewer


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--weights``, and how photographs become its inputs."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a classification model of torchvision, or module:factory (a function without arguments that returns a "
        "torch.nn.Module or a deconv_attr.ScoredModel, or a pair of one and the transform of its images)",
    )
    parser.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="DEFAULT (torchvision's, downloaded once), random, or a file with a state dict (of torch.save, alone or "
        "in a checkpoint, or of safetensors); without it: DEFAULT for torchvision, as made for module:factory",
    )
    add_preprocessing_arguments(parser)


def add_image_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--image``."""
    parser.add_argument("--image", metavar="FILE", nargs="+", help="one or several photographs")


def add_activations_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--activations``."""
    parser.add_argument(
        "--activations",
        choices=("error", "rectify", "gradient"),
        default="error",
        help="what to do at an activation without a rule in the paper (default: error)",
    )


def add_maps_argument(parser: argparse.ArgumentParser, help_: str) -> None:
    """Add ``--maps``, also spelt ``--map``."""
    parser.add_argument("--maps", "--map", metavar="NUMBER", nargs="+", help=f"{help_}; 100-104 is a range")


def feature_maps(words: Sequence[str], or_: str = "") -> list[int]:
    """Return the numbers of feature maps that words list, each once.

    Parameters
    ----------
    words : sequence of str
        Numbers, and ranges such as ``100-104``, with both ends.
    or_ : str
        What else the option takes, for the error.

    Raises
    ------
    InputError
        If a word is neither, or a range ends before it begins or has more maps than any layer.
    """
    numbers: dict[int, None] = {}
    for word in words:
        first, dash, last = word.partition("-")
        if not all(NUMBER.fullmatch(part) for part in (first, last if dash else "0")):
            raise InputError(f"expected --maps as numbers of feature maps{or_}, got {' '.join(words):.200}")
        begin = int(first)
        end = int(last) if dash else begin
        if not begin <= end < begin + MOST_MAPS:
            raise InputError(
                f"expected a range of feature maps as 100-104, upwards and of at most {MOST_MAPS}, got {word}"
            )
        numbers.update(dict.fromkeys(range(begin, end + 1)))
    return list(numbers)


def chosen_model(options: argparse.Namespace) -> Classifier:
    """Load the model that the arguments name.

    Raises
    ------
    InputError, ModelError
        There is no such model, or the weights or the preprocessing do not fit.
    """
    asked = Asked.by(options)
    if options.model is None:
        given = f"--weights {options.weights}" if options.weights is not None else str(asked)
        if given:
            raise InputError(
                f"expected --model with {given}, got none; the embedded model has its own weights and preprocessing"
            )
        return embedded_classifier()
    return load_classifier(options.model, options.weights, asked)


def chosen_images(options: argparse.Namespace, classifier: Classifier) -> tuple[Tensor, Sequence[str]]:
    """Return the images as the model's inputs (N, C, H, W), and their names; warn of photographs without a model.

    Raises
    ------
    InputError
        An image cannot be read.
    """
    paths = options.image
    if paths is None:
        pictures, names = embedded_images()
        return classifier.preprocessing.normalise(pictures), names
    warn_of_embedded_model(options)
    return torch.stack([classifier.preprocessing.transform(read_image(path)) for path in paths]), paths


def check_images(options: argparse.Namespace) -> None:
    """Check, before a model is loaded, that images can be shown with it.

    Raises
    ------
    InputError
        A model of the user's without images, or more images than one picture shows.
    """
    if options.model is not None and options.image is None:
        raise InputError(
            f"expected --image with --model {options.model}, got none; the embedded images show the embedded classes"
        )
    if options.image is not None and len(options.image) > MOST_IMAGES:
        raise InputError(f"expected at most {MOST_IMAGES} images in one picture, got {len(options.image)}")


def warn_of_embedded_model(options: argparse.Namespace) -> None:
    """Warn that the embedded model knows no photographs, where ``--model`` was forgotten."""
    if options.model is None:
        warn("warning: these images go to the embedded model, which knows generated shapes only; choose --model")


@contextmanager
def printed_dead_signals() -> Iterator[None]:
    """Print each warning of dead signals once, as one line, at the end."""
    undo = Undo()
    with undo, undo:
        found = collect_dead_signals(undo)
        yield
    for warning in dict.fromkeys(map(str, found)):
        warn(f"warning: {warning}")
