"""Quantus's metrics on deconvnet maps, beside saliency.

    python examples/quantus_metrics.py

prints a table. It needs Quantus: `pip install quantus`.

Quantus asks for a function `explain(model, inputs, targets, **kwargs)` of arrays. It is three lines below, and serves
every method with Captum's face. The metrics come from four families: is the map faithful to the score, does it lie on
the object, how concentrated is it, and does it change when the weights do?
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from captum.attr import Saliency
from torch import nn

from deconv_attr import ZFDeconv
from deconv_attr.demo import Shapes, load_model, normalise

try:
    import quantus
except ImportError as error:
    raise SystemExit("This example needs Quantus, which is not installed: pip install quantus") from error

IMAGES = 16
STEPS = 24  # in which the pixels of an image are turned grey


def explain(model: nn.Module, inputs: Any, targets: Any, *, method: type = ZFDeconv, **_: Any) -> np.ndarray:
    """Give maps (N, 1, H, W), the strength at each pixel; Quantus passes `method` on, and a device and more."""
    x = torch.tensor(
        inputs, requires_grad=True
    )  # a copy: Captum's Saliency warns if it has to ask for gradients itself
    maps = method(model).attribute(x, target=torch.tensor(targets))
    return maps.abs().sum(1, keepdim=True).detach().numpy()


class Data(NamedTuple):
    """What Quantus calls a batch."""

    x: np.ndarray
    """Inputs of the model, (N, 3, 96, 96)."""
    y: np.ndarray
    """Classes, (N,)."""
    masks: np.ndarray
    """Where the object is, (N, 1, 96, 96), bool."""


def generated_shapes() -> Data:
    """Draw images whose object is known to the pixel."""
    shapes = Shapes(IMAGES, seed=13)
    samples = [shapes.sample(number) for number in range(IMAGES)]
    return Data(
        normalise(torch.stack([sample.image for sample in samples])).numpy(),
        np.array([sample.label for sample in samples]),
        torch.stack([sample.mask for sample in samples])[:, None].numpy(),
    )


def evaluate(model: nn.Module, data: Data, method: type) -> dict[str, float]:
    """Run the metrics on one method, and give the mean of each over the images."""
    common = {"abs": True, "disable_warnings": True}  # that is, the advice which each metric prints
    values = data.x[0].size
    metrics = {
        "pixel flipping": quantus.PixelFlipping(features_in_step=values // STEPS, perturb_baseline=0.0, **common),
        "pointing game": quantus.PointingGame(**common),
        "mass on the object": quantus.RelevanceMassAccuracy(**common),
        "sparseness": quantus.Sparseness(**common),
        "MPRT": quantus.MPRT(**common),
    }
    arguments = {
        "model": model,
        "x_batch": data.x,
        "y_batch": data.y,
        "s_batch": data.masks,
        "device": "cpu",
        "explain_func": explain,
        "explain_func_kwargs": {"method": method},
    }
    found = {name: metric(**arguments) for name, metric in metrics.items()}
    by_layer = {layer: np.mean(values) for layer, values in found.pop("MPRT").items()}  # from the top layer downwards
    _, top, *_, bottom = by_layer.values()  # before them, the model as it is
    # A curve's mean stands for the area under it: Quantus 0.6 asks np.trapz for that, and numpy 2.4 has none.
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return {**means, "MPRT, top layer random": float(top), "MPRT, all layers random": float(bottom)}


def main() -> dict[str, dict[str, float]]:
    """Print a table of metrics, ZFDeconv beside Saliency."""
    model, data = load_model(), generated_shapes()
    table = {method.__name__: evaluate(model, data, method) for method in (ZFDeconv, Saliency)}
    print(f"{IMAGES} generated images, the scores of their classes\n")
    print(f"{'':26}{'better':>8}" + "".join(f"{name:>12}" for name in table))
    for metric, better in BETTER.items():
        print(f"{metric:26}{better:>8}" + "".join(f"{scores[metric]:12.3f}" for scores in table.values()))
    print(EXPLAINED.format(share=data.masks.mean()))
    return table


BETTER = {
    "pixel flipping": "lower",
    "pointing game": "higher",
    "mass on the object": "higher",
    "sparseness": "higher",
    "MPRT, top layer random": "lower",
    "MPRT, all layers random": "lower",
}

EXPLAINED = """
pixel flipping       the class's probability, on average, while pixels turn grey, the strongest of the map first
pointing game        the share of images where the map is strongest on the object, {share:.0%} of an image
mass on the object   the share of the map that lies there
sparseness           Gini's index of the map: 0 all pixels alike, 1 all on one pixel
MPRT                 the rank correlation of the map with that of a model whose layers, from the top down, are random: a
                     map that keeps much of itself tells of the image rather than of what the model has learned"""


if __name__ == "__main__":
    main()
