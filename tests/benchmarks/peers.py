"""The deconvnet as several packages compute it, each as its own documentation says, and the networks to run it on.

A method is a function of (model, x, target) that returns a map of x's shape. Packages are imported on first use.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial, wraps
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models as zoo

PLAIN, OURS, CAPTUM, ZENNIT, TORCHRAY = (
    "plain forward",
    "ZFDeconv",
    "Captum Deconvolution",
    "zennit DeconvNet",
    "TorchRay deconvnet",
)
TARGET = 3


def quiet(function: Callable) -> Callable:
    """Silence what peers say on every healthy call, or when imported."""

    @wraps(function)
    def silent(*args):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args)

    return silent


@torch.no_grad()
def plain_forward(model: nn.Module, x: Tensor, target: int) -> None:
    model(x)


def zf_deconv(model: nn.Module, x: Tensor, target: int) -> Tensor:
    from deconv_attr import ZFDeconv

    return ZFDeconv(model).attribute(x, target=target)


@quiet
def captum_deconvolution(model: nn.Module, x: Tensor, target: int) -> Tensor:
    from captum.attr import Deconvolution

    return Deconvolution(model).attribute(x, target=target)


@quiet
def zennit_deconvnet(model: nn.Module, x: Tensor, target: int) -> Tensor:
    from zennit.attribution import Gradient
    from zennit.composites import DeconvNet

    def signal(scores: Tensor) -> Tensor:
        start = torch.zeros_like(scores)
        start[:, target] = 1
        return start

    with Gradient(model, DeconvNet()) as attributor:
        _, found = attributor(x, signal)
    return found


@quiet
def torchray_deconvnet(model: nn.Module, x: Tensor, target: int) -> Tensor:
    from torchray.attribution.deconvnet import deconvnet

    # It would set requires_grad on x, and return the greatest of the channels.
    return deconvnet(model, x.detach(), target, gradient_to_saliency=lambda pixels: pixels.grad)


class Method(NamedTuple):
    package: str
    explain: Callable[[nn.Module, Tensor, int], Tensor | None]

    @property
    def installed(self) -> bool:
        return find_spec(self.package.partition(".")[0]) is not None


METHODS = {
    PLAIN: Method("torch", plain_forward),
    OURS: Method("deconv_attr.attribution", zf_deconv),  # deconv_attr itself imports next to nothing
    CAPTUM: Method("captum.attr", captum_deconvolution),
    ZENNIT: Method("zennit.composites", zennit_deconvnet),
    TORCHRAY: Method("torchray.attribution.deconvnet", torchray_deconvnet),
}


@dataclass(frozen=True)
class Case:
    """A network of torchvision with random weights, and (batch, 3, side, side) random pixels."""

    model: str
    batch: int = 1
    side: int = 224
    device: str = "cpu"
    channels_last: bool = False


@lru_cache(maxsize=1)  # the methods share one model; a benchmark takes one case after the other
def build(case: Case) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    options = {"init_weights": False} if case.model == "googlenet" else {}
    model = zoo.get_model(case.model, weights=None, **options).eval()
    x = torch.randn(case.batch, 3, case.side, case.side)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    return model.to(case.device, memory_format=layout), x.to(case.device, memory_format=layout)


def prepare(case: Case, name: str) -> Callable[[], Tensor | None]:
    """Build the case and import the method's package, so that the call which is returned only explains."""
    method = METHODS[name]
    quiet(import_module)(method.package)
    return partial(method.explain, *build(case), TARGET)


def difference(found: Tensor, ours: Tensor) -> float:
    return float((found - ours).norm() / ours.norm())
