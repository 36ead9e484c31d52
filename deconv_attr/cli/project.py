"""``deconv-attr project``: single units of a layer, projected to pixels, beside their image patches."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import DeconvError, InputError, ModelError, reason
from ..units.projection import Projection, project
from ..visualize import picture_path, projections_figure, save_figure
from ..visualize.page_layout import short
from .arguments import (
    add_activations_argument,
    add_image_argument,
    add_maps_argument,
    add_model_arguments,
    check_images,
    chosen_images,
    chosen_model,
    feature_maps,
    printed_dead_signals,
)
from .models import Classifier
from .terminal import say

__all__ = ["add", "run"]

EMBEDDED_LAYER = "features.9"
EMBEDDED_MAPS = (3, 41)  # detectors of the lower and of the right edge of things
MOST_UNITS = 64  # one picture shows them all


def add(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "project",
        help="single units of a layer, projected to pixels, beside the image patches they come from",
        description="Project single units of a layer to pixels, as in figure 2 of Zeiler and Fergus: each starts "
        "with its activation, and is shown beside its image patch and the whole image. "
        f"Without arguments: layer {EMBEDDED_LAYER} of the embedded miniature ZFNet on generated images.",
        epilog="example: deconv-attr project --model vgg16 --layer features.29 --maps 12 70-77 --image cat.jpg dog.jpg",
    )
    add_model_arguments(parser)
    add_image_argument(parser)
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="the layer, as `deconv-attr layers` lists it (usually a ReLU); required with --model",
    )
    add_maps_argument(parser, "feature maps: the strongest unit of each, in each image; required with --layer")
    parser.add_argument(
        "--position",
        metavar=("ROW", "COLUMN"),
        type=int,
        nargs=2,
        help="this unit of each map instead of the strongest",
    )
    parser.add_argument(
        "--shared-scale",
        action="store_true",
        help="draw all projections with one contrast, so that they can be compared",
    )
    add_activations_argument(parser)
    parser.add_argument(
        "--output", metavar="FILE", default="project.png", help="the picture to write (default: project.png)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Project units, print their positions, and draw them."""
    check_images(options)
    layer, maps = _chosen_units(options)
    output = picture_path(options.output)
    classifier = chosen_model(options)
    inputs, names = chosen_images(options, classifier)
    say(*classifier.lines)
    projection = _projected(options, classifier, inputs, layer, maps)
    say(f"layer    {layer}", "")
    labels = []
    for (image, feature_map, *position), value, box in zip(
        projection.units.tolist(), projection.activations.tolist(), projection.boxes.tolist(), strict=True
    ):
        unit = f"map {feature_map}" + (f" at {', '.join(map(str, position))}" if position else "")
        top, left, bottom, right = box
        say(
            f"  {unit:18}  activation {value:8.3g}  rows {top}-{bottom - 1}, columns {left}-{right - 1}  {names[image]}"
        )
        labels.append(f"{unit}\nactivation {short(value)}")
    pictures = classifier.preprocessing.picture(inputs)
    figure = projections_figure(
        projection.patches,
        [pictures[image] for image in projection.images],
        projection.boxes,
        labels,
        shared_scale=options.shared_scale,
    )
    save_figure(figure, output)
    say("", f"wrote {output}")


def _chosen_units(options: argparse.Namespace) -> tuple[str, Sequence[int]]:
    if options.model is not None and (options.layer is None or options.maps is None):
        raise InputError(
            f"expected --layer and --map with --model {options.model}; `deconv-attr layers` lists the layers"
        )
    layer = EMBEDDED_LAYER if options.layer is None else options.layer
    if options.maps is None and options.layer is not None:
        raise InputError(
            f"expected --map with --layer {layer}, got none; it lists the numbers of one or several of its feature maps"
        )
    return layer, EMBEDDED_MAPS if options.maps is None else feature_maps(options.maps)


def _projected(
    options: argparse.Namespace, classifier: Classifier, inputs: Tensor, layer: str, maps: Sequence[int]
) -> Projection:
    position = options.position or []
    units = [(image, feature_map, *position) for feature_map in maps for image in range(len(inputs))]
    if len(units) > MOST_UNITS:
        raise InputError(
            f"expected at most {MOST_UNITS} units in one picture, got {len(units)}: {len(maps)} maps in each image"
        )
    with printed_dead_signals():
        try:
            projection = project(
                classifier.model,
                inputs,
                layer,
                units,
                activations=options.activations,
                show_progress=sys.stderr.isatty(),
            )
        except DeconvError:
            raise
        except Exception as error:
            raise ModelError(f"{classifier.name} raised {reason(error)}") from error
    return projection
