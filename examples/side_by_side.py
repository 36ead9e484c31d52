"""Deconvnet, guided backprop and saliency side by side on a trained network of torchvision, with what they are worth.

    python examples/side_by_side.py cat.jpg dog.jpg

writes side_by_side.png and side_by_side.html to the current folder.
"""

import sys
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models import SqueezeNet1_0_Weights, squeezenet1_0

from deconv_attr import Comparison, compare
from deconv_attr.gallery.images import read_image
from deconv_attr.visualize import save_figure


def main(photographs: Sequence[str], model: nn.Module | None = None) -> Comparison:
    """Explain the top class of each photograph; by default as SqueezeNet sees it, whose weights are downloaded once."""
    weights = SqueezeNet1_0_Weights.DEFAULT
    model = squeezenet1_0(weights=weights).eval() if model is None else model
    x = torch.stack([weights.transforms()(read_image(path)) for path in photographs])  # (N, 3, 224, 224)
    with torch.no_grad():
        chance, target = model(x).softmax(1).max(1)

    names = weights.meta["categories"]
    labels = [f"{names[k]}\n{p:.0%}" for k, p in zip(target.tolist(), chance.tolist(), strict=True)]
    comparison = compare(model, x, target, labels=labels)

    print(comparison.table(["zero maps", "target sensitivity", "parameter randomisation", "input recovery"]))
    print(comparison.verdict(["zero maps", "target sensitivity", "parameter randomisation", "input recovery"]))
    save_figure(comparison.plot(), "side_by_side.png")
    comparison.to_html("side_by_side.html", checks=["target sensitivity", "parameter randomisation"])
    return comparison


if __name__ == "__main__":
    main(sys.argv[1:])
