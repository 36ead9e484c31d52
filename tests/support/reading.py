"""What units read of an image, found without the package: make a pixel huge, and see which units change.

Weights are positive, so a huge pixel reaches, through ReLUs and max-pools too, every unit that depends on it.
"""

import contextlib

import numpy as np
import torch
from torch import Tensor, nn

from deconv_attr import DECONVNET
from deconv_attr.engine.layers import find_layer
from deconv_attr.units.runner import LayerRunner


class Of(nn.Module):
    """A function of the image and of some modules."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.parts)


def conv(size=3, into=2, out=2, **more):
    return nn.Conv2d(into, out, size, **more)


def same(size=3, into=2, out=2):
    return conv(size, into, out, padding=size // 2)


def positive(model, seed=0):
    """Set positive weights in every filter that sum to about 1."""
    torch.manual_seed(seed)
    for weight in model.parameters():
        with torch.no_grad():
            weight.uniform_(0.5, 1.5).div_(weight[0].numel() if weight.dim() > 1 else 1)
    return model.double().eval()


class Reached(Exception):  # noqa: N818, for it is none
    """The layer has run."""


def units(model, x, layer=None):
    """Run the model up to a layer, without the package, and give the layer's output."""
    kept = []

    def keep(module, args, output):
        kept.append(output.detach().clone())
        raise Reached

    handle = (layer or model).register_forward_hook(keep)
    try:
        with torch.no_grad(), contextlib.suppress(Reached):
            model(x.clone())
    finally:
        handle.remove()
    return kept[-1]


def support(model, shape, seed=0) -> Tensor:
    """Return which unit depends on which pixel: (H, W, *units)."""
    torch.manual_seed(seed)
    x = torch.rand(1, *shape, dtype=torch.float64)
    _, height, width = shape
    huge = torch.zeros(height, width, *shape, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            huge[row, column, :, row, column] = 1e6 * (1 + torch.rand(shape[0], dtype=torch.float64))
    changed = units(model, torch.cat([x, x + huge.flatten(0, 1)]))
    changed = ((changed[1:] - changed[:1]).abs() > 1e-9).any(1)
    return changed.view(height, width, *changed.shape[1:])


def bounding_box(pixels: Tensor):
    if not pixels.any():
        return None
    rows, columns = pixels.any(1).nonzero().flatten(), pixels.any(0).nonzero().flatten()
    return rows[0].item(), columns[0].item(), rows[-1].item() + 1, columns[-1].item() + 1


def wrong_boxes(model, field, shape, tight=True):
    reads, wrong = support(model, shape), []
    for unit in [(r, c) for r in range(reads.shape[2]) for c in range(reads.shape[3])]:
        box, expected = field.box(*unit), bounding_box(reads[(..., *unit)])
        if expected is None:
            right = not tight or (box[2] - box[0]) * (box[3] - box[1]) == 0
        else:
            right = box == expected if tight else contains(box, expected)
        if not right:
            wrong.append((unit, box, expected))
    return wrong


def contains(box, inner):
    return box[0] <= inner[0] and box[1] <= inner[1] and box[2] >= inner[2] and box[3] >= inner[3]


def other_values(model, x, layer="", positions=None):
    """Run the crops of units: those whose values change, and those to which the package gives no crop."""
    whole, wrong, without = units(model, x, model.get_submodule(layer)), [], []
    runner = LayerRunner(model, DECONVNET, find_layer(model, layer), None)
    geometry = runner.geometry(x[0])
    everywhere = [(r, c) for r in range(whole.shape[2]) for c in range(whole.shape[3])]
    for unit in positions or everywhere:
        window = None if geometry.crops is None else geometry.crops.window(unit)
        cut = None if window is None else x[(..., *window)]
        if cut is None or not runner.same_reads(geometry, x[0].shape, cut[0].shape, unit, [w.start for w in window]):
            without.append(unit)
            continue
        part = units(model, cut, model.get_submodule(layer))
        if not torch.allclose(
            part[(0, ..., *geometry.crops.position_in_crop(unit))], whole[(0, ..., *unit)], rtol=1e-9, atol=1e-12
        ):
            wrong.append((unit, window))
    return wrong, without


def bytes_of(picture):
    return np.asarray((np.asarray(picture) * 255).round(), np.int64)
