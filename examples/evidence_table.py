"""Print the table of evidence_table.md: what maps are worth, on 100 generated images and the embedded network.

It takes some minutes. Two controls explain nothing, and show what the numbers are then.
"""

import torch

from deconv_attr import Comparison, compare
from deconv_attr.demo import Shapes, load_model, normalise
from deconv_attr.evidence.methods import controls, default_methods


def main(count: int = 100) -> Comparison:
    """Compare on so many images, which the network has not seen, by their true classes."""
    model = load_model()
    samples = [Shapes(count, seed=3).sample(number) for number in range(count)]
    x = normalise(torch.stack([sample.image for sample in samples]))
    masks = torch.stack([sample.mask for sample in samples])
    target = torch.tensor([sample.label for sample in samples])
    methods = [*default_methods(model, x), *controls()]
    comparison = compare(model, x, target, methods, images=torch.stack([s.image for s in samples]), masks=masks)
    table = comparison.table()
    print(table.transposed().to_markdown())
    for column, meaning in table.legend.items():
        print(f"- {column}: {meaning}")
    print(f"\n{comparison.verdict()}\n")
    print(comparison.agreement().to_markdown())
    return comparison


if __name__ == "__main__":
    main()
