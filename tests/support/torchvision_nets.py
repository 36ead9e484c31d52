"""torchvision's networks with random weights, as if trained, and inputs for them."""

import torch
import torchvision
from torch import nn

RIGHT_IN_CAPTUM = ["alexnet", "vgg11", "squeezenet1_1", "resnet18"]
WRONG_IN_CAPTUM = {"googlenet": 57, "inception_v3": 94, "densenet121": 121, "mobilenet_v2": 35}
WIDE = ("alexnet", "vgg11", "vgg16")  # their layers of 4096 neurons have 64 here: VGG-11 would take a gigabyte


def new(name):
    weights = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, **weights).eval()


def without_values(name):
    """Return a network whose parameters are not set yet."""
    with torch.device("meta"):
        model = new(name)
        for number, layer in enumerate(model.classifier if name in WIDE else ()):
            if isinstance(layer, nn.Linear):
                features = (64 if count == 4096 else count for count in (layer.in_features, layer.out_features))
                model.classifier[number] = nn.Linear(*features)
    return model.to_empty(device="cpu")


def build(name, dtype=torch.float64):
    torch.manual_seed(0)
    model = without_values(name) if name in WIDE else new(name)
    for module in model.modules():
        if name in WIDE and hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm2d):  # as if trained: a factor that is not 1
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.to(dtype)


def images(name, count=1):
    torch.manual_seed(1)
    side = 80 if name == "inception_v3" else 64
    return torch.randn(count, 3, side, side, dtype=torch.float64)
