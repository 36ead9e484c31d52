"""Draw the picture of the README: two photographs as a trained SqueezeNet sees them, a generated shape as ours does.

    python examples/readme_picture.py

writes readme_picture.jpg beside this file. It needs the trained weights of SqueezeNet, as side_by_side.py does.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from side_by_side import WEIGHTS, trained

from deconv_attr import Comparison, compare
from deconv_attr.demo import CLASS_NAMES, embedded_images, load_model, normalise

HERE = Path(__file__).parent


def of_photographs(model: torch.nn.Module) -> Comparison:
    """Explain the top class of two photographs."""
    photographs = [Image.open(HERE / "photographs" / name) for name in ("espresso.jpg", "cat.jpg")]
    x = torch.stack([WEIGHTS.transforms()(photograph) for photograph in photographs])  # (2, 3, 224, 224)
    target = model(x).argmax(1)
    return compare(model, x, target, labels=[WEIGHTS.meta["categories"][k].replace(" ", "\n") for k in target])


def of_shape() -> Comparison:
    """Explain the class of a generated shape by the embedded network."""
    model = load_model()
    images, _ = embedded_images(3)
    images = images[2:]
    x = normalise(images)
    target = model(x).argmax(1)
    return compare(model, x, target, images=images, labels=[f"generated\n{CLASS_NAMES[k]}" for k in target])


TITLES = ["image", "ZFDeconv from a unit", "Guided backprop", "Saliency"]


def draw(photographs: Comparison, shape: Comparison) -> Figure:
    """Draw all but the maps from scores, under one row of titles; the page says what the colours mean."""
    figure = Figure(figsize=(7, 5.125), dpi=200)
    axes = figure.subplots(3, 4, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    figure.subplots_adjust(left=0.1, right=0.995, top=0.95, bottom=0.005)
    for comparison, block in (photographs, axes[:2]), (shape, axes[2:]):
        comparison.plot(columns=[method.label for method in comparison.methods[1:]], axes=block, font_size=8)
        for tile in block[:, 1:].flat:
            for text in list(tile.texts):  # its scale
                text.remove()
    for column, title in enumerate(TITLES):
        axes[0, column].set_title(title, fontsize=9)
        axes[2, column].set_title("")
    return figure


def main(arguments: list[str] | None = None, picture: Path = HERE / "readme_picture.jpg") -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", metavar="FILE", type=Path, help="trained weights (default: torchvision's)")
    model = trained(parser.parse_args(arguments).weights)
    draw(of_photographs(model), of_shape()).savefig(picture, pil_kwargs={"quality": 90, "subsampling": 0})


if __name__ == "__main__":
    main()
