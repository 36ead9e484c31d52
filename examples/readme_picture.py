"""Draw the picture of the README: embedded images, the embedded network, the methods that are compared by default."""

from pathlib import Path

from deconv_attr import compare
from deconv_attr.demo import CLASS_NAMES, embedded_images, load_model, normalise
from deconv_attr.visualize import save_figure


def main() -> None:
    """Write compare.png beside this file."""
    model = load_model()
    images, _ = embedded_images(3)
    x = normalise(images)
    targets = model(x).argmax(1)
    labels = [CLASS_NAMES[target] for target in targets]
    comparison = compare(model, x, targets, images=images, labels=labels)
    save_figure(comparison.plot(), Path(__file__).with_name("compare.png"))


if __name__ == "__main__":
    main()
