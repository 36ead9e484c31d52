"""The trained network and photographs beside the project; where they are missing, tests are skipped or show less."""

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
    """Lay weights where torchvision looks for those that it has downloaded: the trained ones, or else random ones."""
    file = folder / "hub" / "checkpoints" / Path(SqueezeNet1_0_Weights.DEFAULT.url).name
    file.parent.mkdir(parents=True)
    if WEIGHTS.is_file():
        file.symlink_to(WEIGHTS)
    else:
        torch.manual_seed(0)
        torch.save(torchvision.models.squeezenet1_0().state_dict(), file)
    return folder
