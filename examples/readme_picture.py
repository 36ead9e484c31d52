"""Draw the picture of the README: embedded images, the embedded network, three methods."""

from pathlib import Path

from deconv_attr.compare import attributions
from deconv_attr.demo import CLASS_NAMES, load_model, normalise
from deconv_attr.images import embedded_images
from deconv_attr.visualize import Column, comparison_figure, save_figure


def main() -> None:
    """Write compare.png beside this file."""
    model = load_model()
    images, _ = embedded_images(3)
    x = normalise(images)
    targets = model(x).argmax(1)
    maps = attributions(model, x, targets)
    styles = {"Saliency": "heat"}
    columns = [Column(title, maps[title], styles.get(title, "signed")) for title in maps]
    labels = [CLASS_NAMES[target] for target in targets]
    save_figure(comparison_figure(images, columns, labels), Path(__file__).with_name("compare.png"))


if __name__ == "__main__":
    main()
