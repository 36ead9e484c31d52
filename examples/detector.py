"""Why is there a star in this box? The scores of a detector's boxes are explained, one at a time.

    python examples/detector.py

writes detector.png to the current folder. It needs nothing but this package. The network is torchvision's Faster R-CNN
on the features of the embedded network. What it has of its own is trained here, in about a minute. `explain` takes
torchvision's trained detectors as they are.
"""

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.utils import draw_bounding_boxes

from deconv_attr import ScoredModel, ZFDeconv
from deconv_attr.demo import CLASS_NAMES, MEAN, STD, Shapes, load_model
from deconv_attr.evidence import mask_share
from deconv_attr.visualize import Column, comparison_figure, save_figure

SCENE = (3, 8)  # numbers of two generated images that stand side by side


def explain(detector: nn.Module, picture: Tensor, box: int) -> Tensor:
    """Return the map (1, 3, H, W) of the score of one box of a picture (3, H, W), counted from the surest."""
    # A detector takes a list of pictures and returns a list of dicts: both are said in one function of the input. Its
    # scores are probabilities; a sure one hardly changes, so its map is faint, and its scale says so.
    scored = ScoredModel(detector, forward_func=lambda x: detector([x[0]])[0]["scores"][None])
    return ZFDeconv(scored).attribute(picture[None], target=box)


def trained(steps: int) -> FasterRCNN:
    """Train a detector on generated images whose boxes are known."""
    torch.manual_seed(0)
    features = load_model().features[:14].requires_grad_(False)  # rectified maps, 8 pixels apart
    features.out_channels = 48  # torchvision asks for it
    model = FasterRCNN(
        features,
        num_classes=1 + len(CLASS_NAMES),
        min_size=96,
        max_size=192,
        image_mean=list(MEAN),
        image_std=list(STD),
        rpn_anchor_generator=AnchorGenerator(((36, 52, 68),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        rpn_post_nms_top_n_train=100,
        rpn_post_nms_top_n_test=100,
        box_batch_size_per_image=64,
    )
    optimiser = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], 3e-4)
    data = Shapes(8 * steps, seed=5)
    for step in range(steps):
        samples = [data.sample(8 * step + number) for number in range(8)]
        truth = [{"boxes": box_of(each.mask)[None], "labels": torch.tensor([each.label + 1])} for each in samples]
        optimiser.zero_grad()
        sum(model([each.image for each in samples], truth).values()).backward()
        optimiser.step()
    return model.eval()


def box_of(mask: Tensor) -> Tensor:
    """Return left, top, right, bottom of what a mask covers."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def main(steps: int = 400) -> Tensor:
    """Explain the two surest boxes of one picture, and return the maps (2, 3, 96, 192)."""
    model, data = trained(steps), Shapes(100, seed=6)
    picture = torch.cat([data.sample(number).image for number in SCENE], 2)  # (3, 96, 192)
    with torch.no_grad():
        (found,) = model([picture])

    maps, pictures, labels = [], [], []
    for box in range(2):
        maps.append(explain(model, picture, box))
        name = CLASS_NAMES[int(found["labels"][box]) - 1]
        labels.append(f"{name}\n{float(found['scores'][box]):.0%}")
        drawn = draw_bounding_boxes((picture * 255).byte(), found["boxes"][box, None], colors="red", width=2)
        pictures.append(drawn / 255)
        inside = torch.zeros(1, *picture.shape[1:], dtype=torch.bool)
        left, top, right, bottom = found["boxes"][box].int()
        inside[:, top:bottom, left:right] = True
        in_its_box = float(mask_share(maps[-1], inside, rank_by="size"))
        print(f"{name:10} {in_its_box:.0%} of the map's strength in its box")

    columns = [Column("ZFDeconv of the box's score", torch.cat(maps), "signed")]
    save_figure(comparison_figure(torch.stack(pictures), columns, labels), "detector.png")
    return torch.cat(maps)


if __name__ == "__main__":
    main()
