"""An existing Captum pipeline: the class name changes, `Deconvolution` to `ZFDeconv`, and nothing else.

    python examples/captum_pipeline.py

prints what it finds. It needs nothing but this package.

`pipeline` is what a user of Captum may have: a map, SmoothGrad, two metrics and a figure. It runs with three methods,
and their numbers stand side by side. TCAV follows; it wants a method for layers, and Captum's deconvolution has none.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from captum.attr import (
    Attribution,
    Deconvolution,
    LayerAttribution,
    LayerGradientXActivation,
    NoiseTunnel,
    visualization,
)
from captum.concept import TCAV, Classifier, Concept
from captum.metrics import infidelity, sensitivity_max
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader

from deconv_attr import DECONVNET, GRADIENT, Kind, LayerZFDeconv, ZFDeconv
from deconv_attr.demo import CLASS_NAMES, MEAN, SIZE, STD, Shapes, load_model, normalise

TRIANGLE, DISC = CLASS_NAMES.index("triangle"), CLASS_NAMES.index("disc")
LAYER = "features.13"  # the last rectified convolution
CONCEPTS = ("stripes", "dots")

# Captum takes the gradient of local response normalisation, the paper passes the signal on unchanged.
NORMALISATION_BY_GRADIENT = {**DECONVNET, Kind.CONTRAST_NORM: GRADIENT[Kind.CONTRAST_NORM]}


# ------------------------------------------------------------------------------------------ the pipeline


class Result(NamedTuple):
    """What the pipeline makes of N images."""

    maps: Tensor
    """(N, 3, 96, 96)."""
    smooth: Tensor
    """The same, averaged over noise."""
    infidelity: Tensor
    """(N,): how far the map is from telling what noise does to the score; lower is better."""
    sensitivity: Tensor
    """(N,): how far the map moves when the image does, relative to it; lower is better."""
    figure: Figure
    """Of the first image; `.savefig("map.png")` writes it."""


def pipeline(attribution_class: Callable[[nn.Module], Attribution], model: nn.Module, x: Tensor, target: int) -> Result:
    """Explain the scores of one class, with Captum's tools around whichever method is given."""
    method = attribution_class(model)
    maps = method.attribute(x, target=target)

    torch.manual_seed(0)
    smooth = NoiseTunnel(method).attribute(x, nt_type="smoothgrad", nt_samples=8, stdevs=0.1, target=target)
    torch.manual_seed(0)
    unfaithful = infidelity(model, add_noise, x, maps, target=target, n_perturb_samples=20, normalize=True)
    torch.manual_seed(0)
    moves = sensitivity_max(method.attribute, x, perturb_radius=0.05, n_perturb_samples=4, target=target)

    figure, _ = visualization.visualize_image_attr_multiple(
        as_picture(smooth[0]),
        as_picture(picture_of(x[0])),
        methods=["original_image", "heat_map", "blended_heat_map"],
        signs=["all", "all", "absolute_value"],
        titles=["image", "SmoothGrad, signed", "and where it is strong"],
        fig_size=(9, 3.4),
        use_pyplot=False,
    )
    return Result(maps, smooth, unfaithful, moves, figure)


def add_noise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Perturb inputs, as Captum's infidelity wants it: what was subtracted, and what is left."""
    noise = 0.1 * torch.randn_like(x)
    return noise, x - noise


def picture_of(x: Tensor) -> Tensor:
    """Give an input of the model as an image between 0 and 1."""
    return (x * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)).clamp(0, 1)


def as_picture(image: Tensor) -> Any:
    """Put the colours last, as matplotlib wants them."""
    return image.permute(1, 2, 0).numpy()


# ------------------------------------------------------------------------------------------ concepts


def concept_scores(method: LayerAttribution, model: nn.Module, x: Tensor, target: int) -> dict[str, list[float]]:
    """Tell how the signal that `method` finds at a layer lies to the directions of two concepts there.

    Returns
    -------
    dict of str to list of float
        For stripes and for dots: ``sign_count``, the share of images whose signal points towards the concept, and
        ``magnitude``, the mean of signal times direction.
    """
    concepts = [
        Concept(number, name, DataLoader(gratings(30, seed=number, dots=name == "dots"), batch_size=10))
        for number, name in enumerate(CONCEPTS)
    ]
    with TemporaryDirectory() as folder:  # TCAV writes down what it computes
        tcav = TCAV(model, LAYER, classifier=Means(), layer_attr_method=method, save_path=folder)
        (scores,) = tcav.interpret(x, [concepts], target=target).values()
    return {kind: values.tolist() for kind, values in scores[LAYER].items()}


class Means(Classifier):
    """The direction of a concept is the mean of its examples less the mean of all.

    In place of Captum's own classifier, which needs scikit-learn.
    """

    def __init__(self) -> None:
        self._classes: list[int] = []
        self._directions = torch.empty(0)

    def train_and_eval(self, dataloader: DataLoader, **kwargs: Any) -> dict[str, Any]:
        """Take the means; there is nothing to report."""
        examples, labels = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
        self._classes = labels.unique().tolist()
        self._directions = torch.stack([examples[labels == label].mean(0) for label in self._classes])
        self._directions -= examples.mean(0)
        return {}

    def weights(self) -> Tensor:
        """Give one direction for each concept, (concepts, features)."""
        return self._directions

    def classes(self) -> list[int]:
        """Give the concepts' numbers, in the order of the directions."""
        return self._classes


def gratings(count: int, seed: int, dots: bool) -> Tensor:
    """Draw stripes, or dots, of random pace, direction and colours, as inputs (count, 3, 96, 96)."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for _ in range(count):
        turn, pace, *start = torch.rand(4, generator=generator)
        rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        angle, pace = math.pi * turn, 2 * math.pi / (7 + 9 * pace)
        along, across = rows * angle.cos() + columns * angle.sin(), columns * angle.cos() - rows * angle.sin()
        wave = (pace * along + 2 * math.pi * start[0]).sin()
        if dots:
            wave = wave + (pace * across + 2 * math.pi * start[1]).sin() - 0.8
        dark, bright = (
            0.3 * torch.rand(3, 1, 1, generator=generator),
            1 - 0.3 * torch.rand(3, 1, 1, generator=generator),
        )
        images.append(normalise(dark + (bright - dark) * (0.5 + 1.5 * wave).clamp(0, 1)))
    return torch.stack(images)


# ------------------------------------------------------------------------------------------ side by side


@contextmanager
def without_captums_notices() -> Iterator[None]:
    """Silence the two warnings that Captum gives on every healthy call, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations", UserWarning)
        warnings.filterwarnings("ignore", r"Input Tensor \d+ did not already require gradients", UserWarning)
        yield


def pictures_of(label: int, count: int = 6) -> Tensor:
    """Give the first pictures of one class as inputs, (count, 3, 96, 96)."""
    found = (image for image, its_label in Shapes(200, seed=7) if its_label == label)
    return normalise(torch.stack(list(islice(found, count))))


def main() -> tuple[dict[str, Result], dict[tuple[str, str], dict[str, list[float]]]]:
    """Run the pipeline with each method, print their numbers, and run TCAV with two."""
    model, x = load_model(), pictures_of(TRIANGLE)
    methods = {
        "Deconvolution": Deconvolution,
        "ZFDeconv": ZFDeconv,
        "ZFDeconv*": partial(ZFDeconv, rules=NORMALISATION_BY_GRADIENT),
    }
    at_layers = {
        "gradient": LayerGradientXActivation(model, model.features, multiply_by_inputs=False),
        "LayerZFDeconv": LayerZFDeconv(model, model.features),
    }
    with without_captums_notices():
        results = {name: pipeline(method, model, x, TRIANGLE) for name, method in methods.items()}
        concepts = {
            (f"{CLASS_NAMES[label]}s", name): concept_scores(method, model, pictures_of(label), label)
            for label in (TRIANGLE, DISC)
            for name, method in at_layers.items()
        }
    tell(results)
    tell_of_concepts(concepts)
    return results, concepts


def tell(results: dict[str, Result]) -> None:
    """Print what the pipeline found, a column for each method."""
    captums = results["Deconvolution"]
    rows = {
        "largest value of the maps": [r.maps.abs().max() for r in results.values()],
        "maps: distance from Captum's": [distance(r.maps, captums.maps) for r in results.values()],
        "SmoothGrad: distance from Captum's": [distance(r.smooth, captums.smooth) for r in results.values()],
        "infidelity, mean": [r.infidelity.mean() for r in results.values()],
        "sensitivity_max, mean": [r.sensitivity.mean() for r in results.values()],
    }
    print("Six triangles, explained by their triangle score\n")
    print(f"{'':36}" + "".join(f"{name:>15}" for name in results))
    for what, values in rows.items():
        print(f"{what:36}" + "".join(f"{value:15.3g}" for value in values))
    print(
        "\nThe network has local response normalisation. Captum takes its gradient there; the paper sends the signal"
        "\npast it unchanged, and so does ZFDeconv. ZFDeconv* takes the gradient too, and is Captum's map to rounding."
        "\nOn a chain of nn.ReLU modules without normalisation, Deconvolution and ZFDeconv agree as they are."
    )


def tell_of_concepts(concepts: dict[tuple[str, str], dict[str, list[float]]]) -> None:
    """Print the scores of TCAV."""
    print(f"\nTCAV at {LAYER}: the share of images whose signal points towards a concept, and by how much\n")
    print(f"{'':12}{'':20}" + "".join(f"{name:>18}" for name in CONCEPTS))
    for (images, method), scores in concepts.items():
        pairs = zip(scores["sign_count"], scores["magnitude"], strict=True)
        print(f"{images:12}{method:20}" + "".join(f"{share:10.2f}{mean:+8.2f}" for share, mean in pairs))
    print(
        "\nCaptum has no deconvolution for layers: `gradient` is LayerGradientXActivation, which TCAV takes by default."
        "\nOf two concepts, one direction is the other's opposite. A study would repeat this with other examples."
    )


def distance(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|."""
    return ((found - expected).norm() / expected.norm()).item()


if __name__ == "__main__":
    main()
