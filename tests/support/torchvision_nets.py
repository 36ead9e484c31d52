"""torchvision's networks with random weights, as if trained, and inputs for them."""

from functools import cache

import torch
import torchvision

RIGHT_IN_CAPTUM = ["alexnet", "vgg11", "squeezenet1_1", "resnet18"]
WRONG_IN_CAPTUM = {"googlenet": 57, "inception_v3": 94, "densenet121": 121, "mobilenet_v2": 35}


@cache
def build(name):
    torch.manual_seed(0)
    weights = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **weights).eval().double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as if trained: a factor that is not 1
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def images(name, count=1):
    torch.manual_seed(1)
    side = 80 if name == "inception_v3" else 64
    return torch.randn(count, 3, side, side, dtype=torch.float64)
