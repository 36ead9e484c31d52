"""``deconv-attr gallery``: figure 2 of the paper over a folder of images, as pictures and as a page."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from ..demo import GeneratedImages
from ..engine.layers import find_layer
from ..errors import InputError, SkippedImagesWarning, reason
from ..gallery import Gallery
from ..gallery.dataset import NumberedImages
from ..gallery.images import Photographs
from ..gallery.search import Strongest, is_first, strongest
from ..visualize import MOST_TILES, save_figure
from ..visualize.html import GalleryFolder, Slugs
from .arguments import (
    add_activations_argument,
    add_maps_argument,
    add_model_arguments,
    chosen_model,
    feature_maps,
    printed_dead_signals,
    warn_of_embedded_model,
)
from .models import Classifier
from .terminal import say

__all__ = ["add", "run"]

EMBEDDED_IMAGES = 1000  # generated ones, without --images
SAMPLE = 16  # maps of a layer: by default, and on one picture


def add(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "gallery",
        help="the strongest activations of feature maps over a folder of images, projected, beside their patches",
        description="Figure 2 of Zeiler and Fergus: search a folder of images for the strongest activations of every "
        "feature map, project them to pixels, and write a picture for each layer and a page to look through them all. "
        "Without arguments: the embedded miniature ZFNet on generated images. Under torchrun the processes share the "
        "search.",
        epilog="example: deconv-attr gallery --model vgg16 --images photographs/ --layers features.15 features.29",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--images", metavar="FOLDER", help="the photographs, with those in subfolders; required with --model"
    )
    parser.add_argument(
        "--layers",
        metavar="NAME",
        nargs="+",
        help="layers, as `deconv-attr layers` lists them; by default all that return rectified feature maps",
    )
    add_maps_argument(parser, "the feature maps to show, in each layer, or all; all of them are searched in any case")
    parser.add_argument(
        "--sample",
        metavar="NUMBER",
        type=int,
        help=f"show this many maps of each layer, drawn at random (default: {SAMPLE}; the embedded model's: all)",
    )
    parser.add_argument(
        "--seed", metavar="NUMBER", type=int, default=0, help="the seed of that random choice (default: 0)"
    )
    parser.add_argument(
        "--top", metavar="NUMBER", type=int, default=9, help="how many activations of each map (default: 9)"
    )
    parser.add_argument(
        "--share",
        type=float,
        default=0.95,
        help="crop the tiles of a map to the box with this share of each of its signals; 1 shows the whole receptive "
        "field (default: 0.95)",
    )
    parser.add_argument("--resume", action="store_true", help="continue a search that was interrupted")
    parser.add_argument("--strict", action="store_true", help="an image that cannot be read is an error, not skipped")
    parser.add_argument("--workers", metavar="NUMBER", type=int, help="processes that read images (default: none)")
    parser.add_argument("--device", default="cpu", help="where the model runs: cpu, cuda, cuda:1 (default: cpu)")
    add_activations_argument(parser)
    parser.add_argument(
        "--output", metavar="FOLDER", default="gallery", help="where pictures, page and result go (default: gallery)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Search, project, draw, and print the paths of the results."""
    begin = time.monotonic()
    _check_numbers(options)
    maps = _chosen_maps(options)
    if options.model is not None and options.images is None:
        raise InputError(
            f"expected --images with --model {options.model}, got none; the generated images show the embedded classes"
        )
    device = _chosen_device(options.device)
    classifier = chosen_model(options)
    classifier.model.to(device)
    data = NumberedImages(
        GeneratedImages(EMBEDDED_IMAGES)
        if options.images is None
        else Photographs(options.images, classifier.preprocessing),
        options.workers,
    )
    if options.images is not None and Path(options.output).resolve().is_relative_to(Path(options.images).resolve()):
        raise InputError(
            f"expected --output outside of --images, got {options.output}; "
            "its pictures would be part of the next search"
        )
    for layer in options.layers or []:
        find_layer(classifier.model, layer)
    output = GalleryFolder(options.output).path  # last, for it makes the folder
    if is_first():
        if options.images is not None:
            warn_of_embedded_model(options)
        say(*classifier.lines, f"images   {len(data)} {'generated' if options.images is None else options.images}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedImagesWarning)  # they are listed at the end
        found = strongest(
            classifier.model,
            data,
            options.layers,
            options.top,
            file=output / "strongest.npz",
            resume=options.resume,
            strict=options.strict,
            show_progress=sys.stderr.isatty(),
        )
    if is_first():
        page = _draw(options, classifier, data, found, maps, output)
        _sum_up(found, page, output, time.monotonic() - begin)


def _check_numbers(options: argparse.Namespace) -> None:
    """Check numbers before the search."""
    for name, value, least in (("--sample", options.sample, 1), ("--seed", options.seed, 0)):
        if value is not None and value < least:
            raise InputError(f"expected {name} of at least {least}, got {value}")
    if not 1 <= options.top <= MOST_TILES:
        raise InputError(f"expected --top from 1 to {MOST_TILES}, got {options.top}")
    if not 0 < options.share <= 1:
        raise InputError(f"expected --share above 0 and at most 1, got {options.share:g}")


def _chosen_maps(options: argparse.Namespace) -> Any:
    """Return the maps to show: None for all, the number of a random sample, or their numbers."""
    if options.maps is not None and options.sample is not None:
        raise InputError("expected one of --maps and --sample, got both")
    if options.maps == ["all"]:
        return None
    if options.maps is not None:
        return feature_maps(options.maps, ", or all")
    return options.sample if options.sample is not None or options.model is None else SAMPLE


def _chosen_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:
        raise InputError(f"expected --device as a device of this machine, got {name}: {reason(error)}") from error
    return device


def _draw(
    options: argparse.Namespace, classifier: Classifier, data: Any, found: Strongest, maps: Any, output: Path
) -> Path:
    with printed_dead_signals():
        gallery = Gallery(
            classifier.model,
            data,
            found,
            maps=maps,
            seed=options.seed,
            share=options.share,
            picture=classifier.preprocessing.picture,
            show_progress=sys.stderr.isatty(),
            activations=options.activations,
        )
        facts = [
            *classifier.facts,
            ("images", f"{int(found.searched.sum()) - len(found.skipped)} of {options.images or 'generated shapes'}"),
        ]
        page = gallery.to_html(output, f"Feature maps of {classifier.name}", facts)
        slugs = Slugs()
        for layer in gallery.layers:
            save_figure(gallery.plot(layer, SAMPLE), output / f"{slugs.take(layer)}.png")
    return page


def _sum_up(found: Strongest, page: Path, output: Path, seconds: float) -> None:
    images = int(found.searched.sum()) - len(found.skipped)
    maps = sum(len(top.values) for top in found.values())
    say("", f"{images} images, {len(found)} layers, {maps} maps, {seconds:.0f} s")
    if found.skipped:
        searched = int(found.searched.sum())
        say(f"{len(found.skipped)} of {searched} images could not be read and were skipped:")
        for image in found.skipped:
            say(f"  {image.name}: {image.reason}")
    say(f"wrote {page}, a picture of each layer beside it, and {output / 'strongest.npz'}")
