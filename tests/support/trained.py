"""The trained network and photographs beside the project, for tests that are skipped where they are missing."""

from pathlib import Path

import torch
import torchvision

DATA = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = DATA / "squeezenet1_0_imagenet.pt"


def squeezenet():
    net = torchvision.models.squeezenet1_0(weights=None)
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return net.eval()
