"""The trained network and photographs beside the project, for tests that are skipped or weaker where they are missing."""

from pathlib import Path

import torch
import torchvision
from torchvision.models import SqueezeNet1_0_Weights

DATA = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = DATA / "squeezenet1_0_imagenet.pt"


def squeezenet():
    net = torchvision.models.squeezenet1_0(weights=None)
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return net.eval()


def torch_home(folder):
    """Lay the weights where torchvision looks for those that it has downloaded; random ones where there are no others."""
    file = folder / "hub" / "checkpoints" / Path(SqueezeNet1_0_Weights.DEFAULT.url).name
    file.parent.mkdir(parents=True)
    if WEIGHTS.is_file():
        file.symlink_to(WEIGHTS)
    else:
        torch.manual_seed(0)
        torch.save(torchvision.models.squeezenet1_0().state_dict(), file)
    return folder
