"""The arguments that commands share: a model and images, the embedded ones or the user's."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ..demo import embedded_images
from ..errors import DeadSignalWarning, InputError
from ..gallery.images import read_image
from .models import Classifier, embedded_classifier, load_classifier

__all__ = [
    "add_activations_argument",
    "add_image_argument",
    "add_model_arguments",
    "check_images",
    "chosen_images",
    "chosen_model",
    "reissue",
]

MOST_IMAGES = 32  # one picture shows them all


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--weights``."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a classification model of torchvision, or module:factory (a function without arguments that "
        "returns a torch.nn.Module; images are resized to 256, cropped to 224 and normalised as for ImageNet)",
    )
    parser.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="DEFAULT (torchvision's, downloaded once), random, or a file with a state dict; "
        "without it: DEFAULT for torchvision, as made for module:factory",
    )


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


def chosen_model(options: argparse.Namespace) -> Classifier:
    """Load the model that the arguments name.

    Raises
    ------
    InputError, ModelError
        There is no such model, or the weights do not fit.
    """
    if options.model is None and options.weights is not None:
        raise InputError(
            f"expected --model with --weights {options.weights}, got none; the embedded model has its own weights"
        )
    return embedded_classifier() if options.model is None else load_classifier(options.model, options.weights)


def chosen_images(options: argparse.Namespace, classifier: Classifier) -> tuple[Tensor, Sequence[str]]:
    """Return the images as the model's inputs (N, 3, H, W), and their names.

    Raises
    ------
    InputError
        An image cannot be read.
    """
    paths = options.image
    if paths is None:
        pictures, names = embedded_images()
        return classifier.preprocessing.normalise(pictures), names
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


def reissue(caught: Sequence[warnings.WarningMessage]) -> None:
    """Print each warning of dead signals as one line; issue any other warning again."""
    for warning in caught:
        if issubclass(warning.category, DeadSignalWarning):
            print(f"warning: {warning.message}", file=sys.stderr)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
