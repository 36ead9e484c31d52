"""Deconvnet, guided backprop and saliency side by side on a trained network of torchvision, with what they are worth.

    python examples/side_by_side.py examples/photographs/*.jpg

writes side_by_side.png and side_by_side.html to the current folder. It needs the trained weights of SqueezeNet, 5 MB,
which torchvision downloads once; `--weights FILE` takes a file of them.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torchvision.models import SqueezeNet1_0_Weights, squeezenet1_0

from deconv_attr import Comparison, compare
from deconv_attr.visualize import save_figure

WEIGHTS = SqueezeNet1_0_Weights.DEFAULT
CHECKS = ["zero maps", "target sensitivity", "input recovery"]  # the quick ones


def trained(file: Path | None) -> torch.nn.Module:
    """Return SqueezeNet with the weights of a file, or with torchvision's."""
    if file is not None:
        model = squeezenet1_0()
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    try:
        return squeezenet1_0(weights=WEIGHTS).eval()
    except OSError as error:
        raise SystemExit(
            f"cannot download {WEIGHTS.url} ({error}): get it on another machine, and give it by --weights FILE"
        ) from error


def main(arguments: list[str] | None = None) -> Comparison:
    """Explain the top class of each photograph."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photographs", metavar="PHOTOGRAPH", nargs="+")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="trained weights (default: torchvision's)")
    options = parser.parse_args(arguments)

    model = trained(options.weights)
    photographs = [Image.open(path).convert("RGB") for path in options.photographs]
    x = torch.stack([WEIGHTS.transforms()(photograph) for photograph in photographs])  # (N, 3, 224, 224)
    with torch.no_grad():
        probability, target = model(x).softmax(1).max(1)
    names = WEIGHTS.meta["categories"]
    labels = [f"{names[k]}\n{p:.0%}" for k, p in zip(target.tolist(), probability.tolist(), strict=True)]
    comparison = compare(model, x, target, labels=labels)

    print(comparison.table(CHECKS))
    print(comparison.verdict(CHECKS))
    save_figure(comparison.plot(), "side_by_side.png")
    comparison.to_html("side_by_side.html", checks=CHECKS)
    return comparison


if __name__ == "__main__":
    main()
