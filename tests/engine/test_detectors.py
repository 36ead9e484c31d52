"""torchvision's detectors explain with the default arguments: only scores are on the way, not how boxes are kept."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from deconv_attr import ZFDeconv, coverage

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


class Backbone(nn.Sequential):
    """Two filters, which frozen batch norms scale."""

    def __init__(self, out_channels=32):
        filters = nn.Conv2d(3, 8, 3, 2, 1), FrozenBatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 32, 3, 2, 1), nn.ReLU()
        super().__init__(*filters)
        self[1].weight.uniform_(0.5, 1.5)
        self.out_channels = out_channels

    def forward(self, x):
        return OrderedDict([("0", super().forward(x))])


def anchors(*ratios):
    return AnchorGenerator(((16,),), (ratios,))


def pooler(size):
    return MultiScaleRoIAlign(["0"], size, 2)


SIZES = {"min_size": 64, "max_size": 64}
RCNN = {**SIZES, "rpn_anchor_generator": anchors(0.5, 1.0), "box_roi_pool": pooler(3), "box_score_thresh": 0.0}
DETECTORS = {
    "Faster R-CNN": lambda: detection.FasterRCNN(Backbone(), 3, **RCNN),
    "Mask R-CNN": lambda: detection.MaskRCNN(Backbone(), 3, mask_roi_pool=pooler(4), **RCNN),
    "Keypoint R-CNN": lambda: detection.KeypointRCNN(Backbone(), 2, keypoint_roi_pool=pooler(4), **RCNN),
    "RetinaNet": lambda: detection.RetinaNet(
        Backbone(), 3, anchor_generator=anchors(0.5, 1.0), score_thresh=0.0, **SIZES
    ),
    "FCOS": lambda: detection.FCOS(Backbone(), 3, anchor_generator=anchors(1.0), score_thresh=0.0, **SIZES),
    "SSD": lambda: SSD(Backbone([32]), DefaultBoxGenerator([[2]]), (64, 64), 3, score_thresh=0.0),
}


class TopScores(nn.Module):
    """The scores (N, 2) of the two best detections in each of the images (N, C, H, W)."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, x):
        return torch.stack([found["scores"][:2] for found in self.detector(list(x))])


@pytest.mark.parametrize("build", DETECTORS.values(), ids=DETECTORS)
def test_a_detector_explains_as_if_all_that_is_unknown_were_differentiated(build):
    torch.manual_seed(0)
    model, x = TopScores(build()).eval(), torch.rand(1, 3, 64, 64)
    found = ZFDeconv(model).attribute(x, target=1)
    assert found.any()
    assert torch.equal(found, ZFDeconv(model, unknown="gradient", activations="gradient").attribute(x, target=1))
    assert coverage(model, x).uncovered == []
