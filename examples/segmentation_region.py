"""Why does a segmentation say "star" here? A class over a region is explained: the sum of its scores there.

    python examples/segmentation_region.py

writes segmentation_region.png to the current folder. It needs nothing but this package. The network is torchvision's
FCN on the features of the embedded network. It returns a dict, as all of torchvision's segmentations do. Its head is
trained here, in ten seconds.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.segmentation.fcn import FCN

from deconv_attr import ScoredModel, ZFDeconv
from deconv_attr.demo import CLASS_NAMES, Shapes, load_model, normalise
from deconv_attr.evidence import mask_share
from deconv_attr.visualize import Column, comparison_figure, save_figure

BACKGROUND = len(CLASS_NAMES)
SCENE = (3, 8)  # numbers of two generated images that stand side by side


def trained(steps: int) -> FCN:
    """Train a head on generated images whose masks are known."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, BACKGROUND + 1, 1))
    # The rectified maps, 8 pixels apart, in a dict and by the name by which torchvision's FCN asks for them.
    features = create_feature_extractor(load_model().features, {"13": "out"})
    model = FCN(features.requires_grad_(False), head)
    optimiser = torch.optim.Adam(head.parameters(), 3e-3)
    data = Shapes(8 * steps, seed=5)
    for step in range(steps):
        samples = [data.sample(8 * step + number) for number in range(8)]
        x = normalise(torch.stack([sample.image for sample in samples]))
        truth = torch.stack([torch.where(sample.mask, sample.label, BACKGROUND) for sample in samples])
        optimiser.zero_grad()
        F.cross_entropy(model(x)["out"], truth).backward()
        optimiser.step()
    return model.eval()


def main(steps: int = 200) -> Tensor:
    """Explain two regions of one picture, and return the maps (2, 3, 96, 192)."""
    model, data = trained(steps), Shapes(100, seed=6)
    samples = [data.sample(number) for number in SCENE]
    picture = torch.cat([sample.image for sample in samples], 2)[None]  # (1, 3, 96, 192)
    x = normalise(picture)
    found = model(x)["out"].argmax(1)[0]

    maps, gradients, labels = [], [], []
    for number, sample in enumerate(samples):
        half = torch.zeros_like(found, dtype=torch.bool)
        half[:, 96 * number : 96 * (number + 1)] = True
        region = (found == sample.label) & half  # where the network sees the class

        # All there is to it: what of the output is explained.
        scored = ScoredModel(model, lambda output, k=sample.label, where=region: output["out"][:, k, where].sum(1))
        maps.append(ZFDeconv(scored).attribute(x))

        leaf = x.clone().requires_grad_()
        gradients += torch.autograd.grad(scored(leaf).sum(), leaf)
        labels.append(f"{CLASS_NAMES[sample.label]}\n{int(region.sum())} pixels")
        on_its_half = float(mask_share(maps[-1], half[None], rank_by="size"))
        print(f"{CLASS_NAMES[sample.label]:10} {on_its_half:.0%} of the map's strength on its half")

    columns = [Column("ZFDeconv", torch.cat(maps), "signed"), Column("gradient", torch.cat(gradients), "signed")]
    save_figure(comparison_figure(picture.expand(2, -1, -1, -1), columns, labels), "segmentation_region.png")
    return torch.cat(maps)


if __name__ == "__main__":
    main()
