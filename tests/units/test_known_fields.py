"""Receptive fields of torchvision's networks: as published, and against what their units read."""

import pytest
import torch
import torchvision
from reading import other_values, positive, units
from torch import nn
from torchvision_nets import without_values

from deconv_attr import receptive_field


def recursion(path: str):
    """Return size, stride and offset along the longest way, by the textbook's recursion.

    `path` lists kernel, stride and padding as "7/2+3", repeated as "3/1+1*4".
    """
    size, stride, offset = 1, 1, 0
    for entry in path.split():
        entry, _, times = entry.partition("*")
        entry, _, padding = entry.partition("+")
        kernel, _, step = entry.partition("/")
        for _ in range(int(times or 1)):
            offset -= int(padding or 0) * stride
            size += (int(kernel) - 1) * stride
            stride *= int(step or 1)
    return (size,) * 2, (stride,) * 2, (offset,) * 2


RESNET18 = "7/2+3 3/2+1 3+1*4 3/2+1 3+1*3 3/2+1 3+1*3"
INCEPTION = "3/2 3 3+1 3/2 1 3 3/2"
KNOWN = {  # model, layer, the longest way, its size as published (Araujo, Norris and Sim 2019, where they have it)
    "AlexNet conv1": ("alexnet", "features.0", "11/4+2", 11),
    "AlexNet conv5": ("alexnet", "features.11", "11/4+2 3/2 5+2 3/2 3+1*3", 163),
    "AlexNet pool5": ("alexnet", "features.12", "11/4+2 3/2 5+2 3/2 3+1*3 3/2", 195),
    "VGG-11 pool5": ("vgg11", "features.20", "3+1 2/2 3+1 2/2 3+1*2 2/2 3+1*2 2/2 3+1*2 2/2", 150),
    "VGG-16 pool5": ("vgg16", "features.30", "3+1*2 2/2 3+1*2 2/2 3+1*3 2/2 3+1*3 2/2 3+1*3 2/2", 212),
    "ResNet-18 maxpool": ("resnet18", "maxpool", "7/2+3 3/2+1", 11),
    "ResNet-18 layer2": ("resnet18", "layer2", "7/2+3 3/2+1 3+1*4 3/2+1 3+1*3", 99),
    "ResNet-18 layer4.0.relu#1": ("resnet18", "layer4.0.relu#1", RESNET18 + " 3/2+1", 243),
    "ResNet-18 layer4": ("resnet18", "layer4", RESNET18 + " 3/2+1 3+1*3", 435),
    "ResNet-50 layer4": ("resnet50", "layer4", "7/2+3 3/2+1 3+1*3 3/2+1 3+1*3 3/2+1 3+1*5 3/2+1 3+1*2", 427),
    "SqueezeNet fire9": ("squeezenet1_0", "features.12", "7/2 3/2 3+1*3 3/2 3+1*4 3/2 3+1", 155),
    "GoogLeNet 5b": ("googlenet", "inception5b", "7/2+3 3/2 3+1 3/2 3+1*2 3/2 3+1*5 2/2 3+1*2", 379),
    "Inception 5d": ("inception_v3", "Mixed_5d", INCEPTION + " 5+2*3", 127),
    "Inception 7c": ("inception_v3", "Mixed_7c", INCEPTION + " 5+2*3 3+1 3/2 7+3*8 7+3 3/2 5+2*2", 1311),
    "DenseNet-121": ("densenet121", "features.norm5", "7/2+3 3/2+1 3+1*6 2/2 3+1*12 2/2 3+1*24 2/2 3+1*16", 2071),
    "MobileNetV2": ("mobilenet_v2", "features.18", "3/2+1 3+1 3/2+1 3+1 3/2+1 3+1*2 3/2+1 3+1*6 3/2+1 3+1*3", 491),
}


def build_positive(name):
    model = without_values(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return positive(model)


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks_have_the_published_receptive_fields(name):
    network, layer, path, published = KNOWN[name]
    field = receptive_field(without_values(network), layer, (3, 224, 256))
    assert (field.size, field.stride, field.offset) == recursion(path)
    assert field.size[0] == published
    assert (field.mixer, field.obstacle) == ("", "")
    assert all(
        text in str(field) for text in (layer.partition("#")[0], f"{published}x{published}", str(field.stride[0]))
    )


REAL = {  # model, (H, W), layers: at these sizes strides leave pixels unread
    "alexnet": ("alexnet", (226, 231), ["features.2", "features.5", "features.12"]),
    "vgg11": ("vgg11", (61, 70), ["features.5", "features.12", "features.20"]),
    "resnet18": ("resnet18", (71, 90), ["maxpool", "layer2.0", "layer3"]),
    "resnet50": ("resnet50", (41, 58), ["layer1", "layer2", "layer4"]),
    "squeezenet": ("squeezenet1_1", (83, 110), ["features.3", "features.8", "features.12"]),
    "googlenet": ("googlenet", (90, 75), ["inception3a", "inception4b", "inception5b"]),
    "shufflenet": ("shufflenet_v2_x0_5", (71, 90), ["stage2", "stage3", "conv5"]),
    "mnasnet": ("mnasnet0_5", (70, 97), ["layers.8", "layers.10"]),
    "densenet121": ("densenet121", (65, 77), ["features.denseblock1", "features.transition2"]),
}


def test_a_network_without_values_will_do():
    with torch.device("meta"):
        model = torchvision.models.alexnet()
    assert receptive_field(model, "features.12", (3, 224, 224)).size == (195, 195)


@pytest.mark.parametrize("name", REAL)
def test_boxes_in_real_networks_hold_exactly_what_a_unit_reads(name):
    """Outside the box nothing matters; at each of its four edges something does."""
    network, image, layers = REAL[name]
    model, x = build_positive(network), torch.rand(1, 3, *image, dtype=torch.float64)
    for layer in layers:
        field = receptive_field(model, layer, x.shape)
        height, width = field.shape[1:]
        for row, column in {(0, 0), (height // 2, width // 2), (height - 1, width - 1)}:
            top, left, bottom, right = field.box(row, column)
            outside = torch.ones(image, dtype=torch.bool)
            outside[top:bottom, left:right] = False
            edges = [torch.zeros(image, dtype=torch.bool) for _ in range(4)]
            edges[0][top, left:right] = edges[1][bottom - 1, left:right] = True
            edges[2][top:bottom, left] = edges[3][top:bottom, right - 1] = True
            changed = [x + 1e6 * mask for mask in (outside, *edges)]
            values = units(model, torch.cat([x, *changed]), model.get_submodule(layer))[:, :, row, column]
            differs = ((values[1:] - values[:1]).abs() > 1e-9 * values[:1].abs()).any(1)
            assert differs.tolist() == [False, True, True, True, True], (layer, (row, column))
        assert field.obstacle == ""
        somewhere = [(height // 2, width // 2), (height - 1, 0)]
        assert other_values(model, x, layer, somewhere) == ([], [])
