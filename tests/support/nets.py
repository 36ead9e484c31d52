"""The difficult graphs: networks on which keying a rule by module, or hooking a shared tensor, goes wrong.

Each is a small convolutional classifier, (N, 3, 9, 9) to (N, 4). `captum` says what captum.attr.Deconvolution
does with it: "right", "wrong" (silently) or "raises". Where the graph cannot be traced to plain operations, it has
a `twin`, the same computation written out of place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    captum = "wrong"
    shape = (2, 3, 9, 9)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1)
        self.head = nn.Linear(12, 4)
        self.relu = nn.ReLU()

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))

    def twin(self) -> nn.Module:
        return self


class Twin(nn.Module):
    """The same weights, another forward."""

    def __init__(self, net: Net, features) -> None:
        super().__init__()
        self.net, self.features = net, features

    def forward(self, x: Tensor) -> Tensor:
        return self.net.head(self.features(self.net, x).mean((2, 3)))


class PlainModules(Net):
    captum = "right"

    def __init__(self) -> None:
        super().__init__()
        self.relu2 = nn.ReLU(inplace=True)

    def features(self, x):
        return self.relu2(self.conv2(self.relu(self.conv1(x))))


class FunctionalRelu(Net):
    def features(self, x):
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class FunctionalReluInPlace(Net):
    def features(self, x):
        return F.relu(self.conv2(F.relu(self.conv1(x), inplace=True)), inplace=True)


class TorchRelu(Net):
    def features(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))))


class TensorRelu(Net):
    def features(self, x):
        return self.conv2(self.conv1(x).relu()).relu()


class TensorReluInPlace(Net):
    def features(self, x):
        return self.conv2(self.conv1(x).relu_()).relu_()


class FunctionalReluUnderscore(Net):
    def features(self, x):
        return F.relu_(self.conv2(torch.relu_(self.conv1(x))))


class AtenRelu(Net):
    def features(self, x):
        return torch.ops.aten.relu(self.conv2(torch.ops.aten.relu.default(self.conv1(x))))

    def twin(self):
        return Twin(self, FunctionalRelu.features)


class Relu6(Net):
    def __init__(self) -> None:
        super().__init__()
        self.relu6 = nn.ReLU6(inplace=True)

    def features(self, x):
        return F.relu6(20 * self.conv2(self.relu6(20 * self.conv1(x))))


class ClampMin(Net):
    def features(self, x):
        return self.conv2(self.conv1(x).clamp(min=0)).clamp_(0)


class Clips(Net):
    def features(self, x):
        return torch.clip(self.conv2(torch.clamp_min(self.conv1(x), 0.0)), min=0, max=9)


class Thresholds(Net):
    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Threshold(0, 0)

    def features(self, x):
        return F.threshold(self.conv2(self.threshold(self.conv1(x))), 0.0, 0.0)


class Hardtanhs(Net):
    def __init__(self) -> None:
        super().__init__()
        self.hardtanh = nn.Hardtanh(0, 2)

    def features(self, x):
        return F.hardtanh(self.conv2(self.hardtanh(self.conv1(x))), 0.0, 5.0)


class MaximumWithZeros(Net):
    def features(self, x):
        h = self.conv1(x)
        return self.relu(self.conv2(torch.maximum(torch.zeros_like(h), h)))

    def twin(self):
        return Twin(self, FunctionalRelu.features)


class ReluByKeyword(Net):
    captum = "raises"

    def features(self, x):
        return self.relu(input=self.conv2(F.relu(input=self.conv1(x))))


class PreActivationResidual(Net):
    def features(self, x):
        h = self.conv1(x)
        return self.relu(h + self.conv2(self.relu(h)))


class InputAlsoConcatenated(Net):
    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(24, 12, 3)

    def features(self, x):
        h = self.conv1(x)
        return self.relu(self.conv2(torch.cat([self.relu(h), h], 1)))


class ReluAfterRelu(Net):
    def features(self, x):
        return self.conv2(self.relu(F.relu(self.conv1(x)) + 0))


class OneReluOnTwoInterleavedBranches(Net):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 12, 3, padding=1)

    def features(self, x):
        u, v = self.conv1(x), self.other(x)
        return self.conv2(self.relu(u) - self.relu(v) + u)


class InPlaceReluResultIgnored(Net):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def features(self, x):
        h = self.conv1(x)
        self.relu(h)
        h = self.conv2(h)
        F.relu_(h)
        return h

    def twin(self):
        return Twin(self, lambda net, x: F.relu(net.conv2(F.relu(net.conv1(x)))))


class InPlaceReluBesideASum(Net):
    """After the in-place call both summands are the rectified tensor."""

    def features(self, x):
        h = self.conv1(x)
        return F.relu(self.conv2(F.relu_(h) + h))

    def twin(self):
        return Twin(self, lambda net, x: F.relu(net.conv2(2 * F.relu(net.conv1(x)))))


class InPlaceReluOfTheInput(Net):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    captum = "right"

    def features(self, x):
        return self.relu(self.conv2(self.conv1(self.relu(x))))

    def twin(self):
        return Twin(self, lambda net, x: F.relu(net.conv2(net.conv1(F.relu(x)))))


class InPlaceReluOfASlice(Net):
    def features(self, x):
        h = self.conv1(x)
        h[:, :3].relu_()
        return self.relu(self.conv2(h))

    def twin(self):
        def features(net, x):
            h = net.conv1(x)
            return F.relu(net.conv2(torch.cat([F.relu(h[:, :3]), h[:, 3:]], 1)))

        return Twin(self, features)


class InPlaceReluSeenThroughAView(Net):
    """The view was taken before its base was rectified in place."""

    def features(self, x):
        h = self.conv1(x)
        upper, turned = h[:, 6:], h.transpose(2, 3)
        F.relu_(h)
        return self.relu(self.conv2(torch.cat([upper, turned.transpose(2, 3)[:, :6]], 1)))

    def twin(self):
        def features(net, x):
            h = F.relu(net.conv1(x))
            return F.relu(net.conv2(torch.cat([h[:, 6:], h[:, :6]], 1)))

        return Twin(self, features)


class AssignedSlice(Net):
    def features(self, x):
        h = self.conv1(x)
        h[:, 3:] = F.relu(h[:, 3:])
        h += 1
        return self.relu(self.conv2(h))

    def twin(self):
        def features(net, x):
            h = net.conv1(x)
            return F.relu(net.conv2(torch.cat([h[:, :3], F.relu(h[:, 3:])], 1) + 1))

        return Twin(self, features)


class SubclassThatDoesMore(Net):
    class Relu(nn.ReLU):
        def forward(self, input):
            return 3 * super().forward(input) - input

    def __init__(self) -> None:
        super().__init__()
        self.relu = self.Relu()

    def features(self, x):
        return self.relu(self.conv2(self.relu(self.conv1(x))))

    def twin(self):
        def more(h):
            return 3 * F.relu(h) - h

        return Twin(self, lambda net, x: more(net.conv2(more(net.conv1(x)))))


class ForwardCalledDirectly(Net):
    def features(self, x):
        return self.relu.forward(self.conv2(self.relu.forward(self.conv1(x))))


class SharedPoolAndConvolution(Net):
    captum = "right"

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)

    def features(self, x):
        h = self.pool(self.relu(self.conv1(x)))
        return self.pool(self.relu(self.conv2(self.relu(self.conv2(h)))) + h)


class FunctionalPools(Net):
    def features(self, x):
        h = F.max_pool2d(F.relu(self.conv1(x)), 3, stride=2)
        return F.adaptive_max_pool2d(F.relu(self.conv2(h)), 2)


class PoolsWithIndices(Net):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, return_indices=True)

    def features(self, x):
        h, _ = self.pool(F.relu(self.conv1(x)))
        h, _ = F.max_pool2d(F.relu(self.conv2(h)), 2, 1, return_indices=True)
        return h

    def twin(self):
        return Twin(
            self, lambda net, x: F.max_pool2d(F.relu(net.conv2(F.max_pool2d(F.relu(net.conv1(x)), 3, 2))), 2, 1)
        )


class LocalResponseNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, alpha=1.0)

    def features(self, x):
        return F.local_response_norm(self.relu(self.conv2(self.norm(self.relu(self.conv1(x))))), 3, alpha=0.5)


class CrossMapNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.CrossMapLRN2d(5, alpha=1.0)

    def features(self, x):
        return self.relu(self.conv2(self.norm(self.relu(self.conv1(x)))))

    def twin(self):
        def features(net, x):
            h = F.relu(net.conv1(x))
            return F.relu(net.conv2(F.local_response_norm(h, 5, alpha=1.0)))

        return Twin(self, features)


class SqueezeAndExcitation(Net):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(12, 12, 1)

    def features(self, x):
        h = F.relu(self.conv1(x))
        return F.relu(self.conv2(h * torch.sigmoid(self.gate(h.mean((2, 3), keepdim=True)))))


class DenseConcat(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(15)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.conv2 = nn.Conv2d(15, 12, 3)

    def features(self, x):
        h = torch.cat([x, self.conv1(x)], 1)
        return self.relu(self.conv2(F.relu(self.norm(h), inplace=True)))


DIFFICULT = [
    net for net in list(globals().values()) if isinstance(net, type) and issubclass(net, Net) and net is not Net
]


def build(kind: type[Net], seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return kind().double().eval()


class Remembering(nn.Module):
    """Whoever runs it leaves something on it: it counts its runs in a buffer, in place, and keeps a tensor."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        self.head = nn.Linear(2, 2)
        self.register_buffer("runs", torch.zeros(()))
        self.last = None

    def forward(self, x):
        self.runs += 1
        self.last = self.body(x)
        return self.head(self.last.mean((2, 3)))


def killer(bias=-1.0):
    """A signal of 1 at class 0 is positive at the last ReLU, and negative everywhere at `early`'s; class 1 lives."""
    net = nn.Sequential()
    net.add_module("early", nn.Conv2d(1, 2, 1))
    net.add_module("early_relu", nn.ReLU())
    net.add_module("late", nn.Conv2d(2, 2, 1))
    net.add_module("late_relu", nn.ReLU())
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    with torch.no_grad():
        net.early.weight.copy_(torch.ones(2, 1, 1, 1))
        net.late.weight.copy_(torch.tensor([[-1.0, -2.0], [1.0, 2.0]]).view(2, 2, 1, 1))
    return net
