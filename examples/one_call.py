"""The deconvnet map of a class score, in one call."""

import torch

from deconv_attr import ZFDeconv, coverage
from deconv_attr.demo import CLASS_NAMES, Shapes, load_model, normalise


def main() -> torch.Tensor:
    """Explain one picture of the demo, and print what the signal went through."""
    model = load_model()
    image, label = Shapes(1, seed=7)[0]
    x = normalise(image)[None]
    target = int(model(x).argmax())
    attributions: torch.Tensor = ZFDeconv(model).attribute(x, target=target)
    print(f"a {CLASS_NAMES[label]}, taken for a {CLASS_NAMES[target]}; the map reaches {attributions.abs().max():.3f}")
    print(coverage(model, x))
    return attributions


if __name__ == "__main__":
    main()
