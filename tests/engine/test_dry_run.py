"""What a dry run makes of a model: what mixes the image, what spoils a crop; and that it changes nothing."""

import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from nets import DIFFICULT, Net
from nets import build as build_net
from reading import Of, bounding_box, contains, conv, other_values, positive, same, support, units
from state import snapshot
from torch import nn
from torchvision.ops import drop_block2d, stochastic_depth

from deconv_attr import DECONVNET, receptive_field
from deconv_attr.engine.dry_run import DryRunError, dry_run
from deconv_attr.engine.layers import Layer, find_layer
from deconv_attr.errors import InputError, ModelError
from deconv_attr.units.runner import LayerRunner

SHAPE = (2, 12, 14)


def ramp(x, dim=-1):
    return torch.arange(x.shape[dim], dtype=torch.float64)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x + x.flip(2)

    @staticmethod
    def backward(ctx, signal):
        return signal


@torch.library.custom_op("deconv_attr_tests::spread_", mutates_args=("x",))
def spread_(x: torch.Tensor) -> None:
    x.add_(x.mean((2, 3), keepdim=True))


@spread_.register_fake
def _(x):
    return None


def attention(x, heads):
    tokens = x.flatten(2).transpose(1, 2)
    return heads(tokens, tokens, tokens)[0].transpose(1, 2).view_as(x)


GLOBAL = {  # the graph, and the operation to be named
    "squeeze and excitation": (
        lambda: Of(lambda x, a: x * torch.sigmoid(a(x.mean((2, 3), keepdim=True))), same()),
        "mean",
    ),
    "gate by a pooled map": (lambda: Of(lambda x, p: x * p(x), nn.AdaptiveAvgPool2d(1)), "adaptive_avg_pool2d"),
    "group norm": (lambda: nn.GroupNorm(2, 2), "group_norm"),
    "instance norm": (lambda: nn.InstanceNorm2d(2), "instance_norm"),
    "layer norm of all": (lambda: nn.LayerNorm(SHAPE), "layer_norm"),
    "softmax over space": (lambda: Of(lambda x: x.flatten(2).softmax(-1).view_as(x)), "softmax"),
    "attention": (lambda: Of(attention, nn.MultiheadAttention(2, 1, batch_first=True)), ""),
    "gram": (lambda: Of(lambda x: x @ (x.mT @ x)), "matmul"),
    "sum of all": (lambda: Of(lambda x: x / x.sum()), "sum"),
    "sum of no dimension in particular": (lambda: Of(lambda x: x + x.sum(dim=[])), "sum"),
    "maximum of no dimension in particular": (lambda: Of(lambda x: x + x.amax(dim=())), "amax"),
    "max over space": (lambda: Of(lambda x: x - x.max(3, keepdim=True)[0].max(2, keepdim=True)[0]), "max"),
    "einsum": (lambda: Of(lambda x: torch.einsum("nchw,ncvw->nchv", x, x)), "einsum"),
    "fourier": (lambda: Of(lambda x: torch.fft.fft2(x).real), "fft"),
    "dynamic filters": (lambda: Of(lambda x: F.conv2d(x, x[:1].mean((2, 3), keepdim=True).expand(2, 2, 1, 1))), ""),
    "batch norm that trains": (lambda: Of(lambda x: F.batch_norm(x, None, None, training=True)), "batch_norm"),
}  # fmt: skip


@pytest.mark.parametrize("name", GLOBAL)
def test_an_operation_that_reads_all_of_the_image_is_named_and_boxes_are_the_image(name):
    make, operation = GLOBAL[name]
    field = receptive_field(nn.Sequential(positive(make()), nn.Identity()), "1", SHAPE)
    assert operation in field.mixer
    assert "test_dry_run.py:" in field.mixer or ("'0" in field.mixer and ".py" not in field.mixer)
    assert field.obstacle != ""
    assert field.box(0, 0) == field.box(5, 7) == (0, 0, 12, 14)


def test_an_operation_that_reads_one_axis_leaves_the_other_local():
    field = receptive_field(Of(lambda x, a: a(x).mean(3, keepdim=True) + x, same()), "", SHAPE)
    assert "mean" in field.mixer
    assert (field.size, field.box(4, 6), field.box(0, 0)) == ((3, 14), (3, 0, 6, 14), (0, 0, 2, 14))


def written(write):
    """Make a graph that changes h, pointwise of the image, and returns it."""

    def graph(x, *modules):
        h = x * 1.0
        write(h, x, *modules)
        return h

    return lambda: Of(graph, same(5), same())


def set_item(h, x, a, b):
    h[:, :1] = a(x)[:, :1]


def set_rows(h, x, a, b):
    h[:, :, ::2] *= 2


def set_border(h, x, a, b):
    h[:, :, 0] = 0


def set_ramp(h, x, a, b):
    h[:, :1] += ramp(x)


def set_data(h, x, a, b):
    h.data = a(x)


def assigned(x, a, b):
    h = torch.zeros_like(x)
    h[:, :1, 1:] = b(x)[:, :1, :-1]
    h[:, 1:] = a(x)[:, 1:]
    return h


def accumulated(add, x, a):
    total = torch.zeros_like(x)
    add(total, a(x))
    return total


def summed(add):
    return Of(lambda x, a, b: b(accumulated(add, x, a)), same(5), same())


def written_constant(x, a, b):
    h = torch.zeros(x.shape, dtype=x.dtype)
    h[:] = a(x)
    return x + h


def earlier_view(x, a, b):
    h = x * 1.0
    view = h[:, 1:]
    h += a(x)
    return view + b(x)[:, 1:]


def windows(x, a):
    """Convolve each pair of rows by itself."""
    n, c, height, width = x.shape
    x = F.pad(x, (0, 0, 0, height % 2))
    rows = x.view(n, c, -1, 2, width).transpose(1, 2).reshape(-1, c, 2, width)
    return a(rows).view(n, -1, c, 2, width).transpose(1, 2).reshape(n, c, -1, width)[:, :, :height]


def upsampled(x, a, b):
    return a(x) + b(F.avg_pool2d(x, 2, ceil_mode=True))[:, :, : x.shape[2], : x.shape[3]]


class Repeated(nn.Module):
    def forward(self, x):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def reduced(x, a, b):
    return torch.cat([a(x), b(F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:])], 1)


def on_rows(module):
    return lambda: Of(lambda x, m: m(x.transpose(1, 2)).transpose(1, 2), module())


UNSEEN = {  # a too small box is silent; these write where it is hard to see
    "slice assigned": written(set_item),
    "slices assigned to zeros": lambda: Of(assigned, same(5), same()),
    "slices assigned to zeros that are read": lambda: Of(lambda x, a, b: b(assigned(x, a, b)), same(5), same()),
    "copied into zeros": lambda: summed(lambda total, h: total.copy_(h)),
    "accumulated beside the image": lambda: Of(
        lambda x, a: x + accumulated(lambda total, h: total.add_(h), x, a), same(9)
    ),
    "mean of what was accumulated": lambda: Of(
        lambda x, a: x + accumulated(lambda total, h: total.add_(h), x, a).mean((2, 3), keepdim=True), same()
    ),
    "view taken before a write": lambda: Of(earlier_view, same(5), same()),
    "written through detach": written(lambda h, x, a, b: h.detach().add_(a(x))),
    "written through data": written(lambda h, x, a, b: h.data.add_(a(x))),
    "data assigned": written(set_data),
    "written through a view": written(lambda h, x, a, b: h[:, 1:].add_(a(x)[:, 1:])),
    "written through a view of a view": written(lambda h, x, a, b: h.mT[:, 1:].mul_(a(x).mT[:, 1:])),
    "copied into a view": written(lambda h, x, a, b: h[:, :1].copy_(a(x)[:, :1])),
    "written through a diagonal": written(lambda h, x, a, b: h[:, 0].diagonal(dim1=1, dim2=2).add_(h.sum())),
    "index_copy_": written(lambda h, x, a, b: h.index_copy_(1, torch.tensor([0]), a(x)[:, :1])),
    "out=": written(lambda h, x, a, b: torch.add(x, a(x), out=h)),
    "foreach": written(lambda h, x, a, b: torch._foreach_add_([h], [a(x)])),
    "aten": written(lambda h, x, a, b: torch.ops.aten.add_.Tensor(h, a(x))),
    "operation of the user's that writes": written(lambda h, x, a, b: spread_(h)),
    "autograd function": lambda: Of(lambda x: Doubled.apply(x)),
    "cross-map norm": lambda: nn.Sequential(same(), nn.CrossMapLRN2d(3, alpha=1.0)),
    "neighbours normalised across rows": on_rows(lambda: nn.LocalResponseNorm(3, alpha=1.0)),
    "unfold": lambda: Of(lambda x: F.unfold(x, 3, padding=1).view(len(x), 18, *x.shape[2:])),
    "Tensor.unfold": lambda: Of(lambda x: x.unfold(2, 3, 1).sum(-1)),
    "unpool": lambda: Of(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
    "grid sample": lambda: Of(
        lambda x: F.grid_sample(x, torch.rand(1, 5, 6, 2).double().expand(len(x), -1, -1, -1), align_corners=False)
    ),
    "scale factor that does not divide": lambda: nn.Upsample(scale_factor=1.7, mode="bilinear"),
    "scale factor below one": lambda: nn.Upsample(scale_factor=0.4, mode="bilinear"),
    "antialias": lambda: Of(lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", antialias=True)),
    "nearest-exact": lambda: nn.Upsample(size=(5, 20), mode="nearest-exact"),
    "linear over the width": lambda: Of(lambda x, a: a(x), nn.Linear(14, 3)),
    "convolution of rows as channels": on_rows(lambda: conv((1, 3), 12, 12)),
    "torch conv by keyword": lambda: Of(lambda x, a: torch.conv2d(input=x, weight=a.weight, bias=a.bias), conv()),
    "sum of halves": lambda: Of(lambda x: sum(x.chunk(2, 2))),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSEEN)
def test_a_box_is_never_too_small(name):
    model = positive(UNSEEN[name]())
    field, reads = receptive_field(model, "", SHAPE), support(model, SHAPE)
    for row in range(reads.shape[2]):
        for column in range(reads.shape[3]):
            expected = bounding_box(reads[..., row, column])
            assert expected is None or contains(field.box(row, column), expected)


def test_what_is_written_into_a_constant_is_not_followed():
    with pytest.raises(ModelError, match="writes what depends on the inputs into a tensor that does not"):
        receptive_field(Of(written_constant, same(5), same()), "", SHAPE)


SIZE = {  # a number made of the image's size on its device
    "tensor": lambda x: torch.tensor(float(x.shape[3]), device=x.device),
    "two numbers": lambda x: torch.tensor([1.0, x.shape[3]], device=x.device)[:, None, None],
    "tensor moved": lambda x: torch.tensor(float(x.shape[3])).to(x.device),
    "full": lambda x: torch.full((1,), float(x.shape[3]), device=x.device),
    "new_full": lambda x: x.new_full((1,), x.shape[3]),
    "sum of ones": lambda x: torch.ones_like(x[:1]).sum(),
    "written": lambda x: torch.zeros(1, device=x.device).add_(x.shape[3]),
    "item": lambda x: torch.tensor(float(x.shape[3]), device=x.device).item(),
    "line": lambda x: torch.linspace(0, 1, x.shape[3], device=x.device)[2],
    "last of a range": lambda x: torch.arange(x.shape[3], device=x.device).max(),
    "embedding": lambda x: F.embedding(torch.tensor(x.shape[3], device=x.device), torch.arange(40.0)[:, None]),
}


class Noting(nn.Module):
    """Writes into a buffer of its own what it sees of the image's size, and reads it again."""

    def __init__(self, note, size=()):
        super().__init__()
        self.register_buffer("noted", torch.ones(size))
        self.note, self.conv = note, same()

    def forward(self, x):
        self.note(self.noted, x)
        return self.conv(x) * self.noted


OBSTACLES = {  # the value of a unit depends on where the border is, or on how large the image is
    "coordinates": lambda: Of(lambda x, a: a(x + ramp(x)), same()),
    "coordinates as a map": lambda: Of(
        lambda x, a: a(torch.cat([x, ramp(x).expand(len(x), 1, x.shape[2], -1)], 1)), same(3, 3)
    ),
    "coordinates stacked": lambda: Of(lambda x, a: a(torch.stack([x[:, 0], ramp(x).expand_as(x[:, 0])], 1)), same()),
    "coordinates by counting": lambda: Of(lambda x, a: a(x + torch.ones_like(x).cumsum(2)), same()),
    "coordinates written": written(set_ramp),
    "coordinates written into a view": written(lambda h, x, a, b: h[:, :1].add_(ramp(x))),
    "position embedding of tokens": lambda: Of(lambda x: (x.flatten(2) + torch.arange(x[0, 0].numel())).view_as(x)),
    "checkerboard": lambda: Of(lambda x: torch.where(ramp(x) % 2 == 0, x, -x)),
    "masked": lambda: Of(lambda x: x.masked_fill(ramp(x, 2)[:, None] < 3, 0)),
    "every other row": written(set_rows),
    "every other row in place": written(lambda h, x, a, b: h[:, :, ::2].mul_(2)),
    "border set to zero": written(set_border),
    "border cropped and padded": lambda: Of(lambda x, a: a(x) + F.pad(x[:, :, 3:], (0, 0, 3, 0)), same()),
    "end cropped and padded": lambda: Of(lambda x, a: a(x) + F.pad(x[..., :-3], (0, 3)), same()),
    "border counted": lambda: Of(lambda x, a: x + a(torch.ones_like(x)), same()),
    "border counted by a pool": lambda: Of(lambda x: x * F.avg_pool2d(x.new_ones(1, 1, *x.shape[2:]), 3, 1, 1)),
    "batch norm of rows": lambda: Of(
        lambda x: F.batch_norm(x.transpose(1, 2), ramp(x, 2), 1 + ramp(x, 2)).transpose(1, 2)
    ),
    "prelu of rows": lambda: Of(lambda x: F.prelu(-x.transpose(1, 2), ramp(x, 2).to(x.dtype)).transpose(1, 2)),
    "windows": lambda: Of(windows, same()),
    "windows in the shade of a convolution": lambda: Of(
        lambda x, a, b: windows(x, a) + b(F.pad(x, (1, 2, 1, 2))), same(), conv(4)
    ),
    "windows beside a convolution": lambda: Of(lambda x, a, b: windows(x, a) + b(x), same(), same(5)),
    "halves": lambda: Of(lambda x, a: a(x) + torch.cat([h * (i + 1) for i, h in enumerate(x.chunk(2, 2))], 2), same(5)),
    "stripes": lambda: Of(lambda x, a: torch.cat([a(h) for h in x.split(6, 2)], 2), same()),
    "sum of halves": lambda: Of(lambda x: x[:, :, : x.shape[2] // 2] + x[:, :, x.shape[2] // 2 : x.shape[2] // 2 * 2]),
    "slice": lambda: Of(lambda x, a: a(x)[:, :, 4:], same()),
    "slice of the end": lambda: Of(lambda x, a: a(x)[..., :-4], same()),
    "factorised reduction": lambda: Of(reduced, conv(1, stride=2), conv(1, stride=2)),
    "upsampled branch beside a wider one": lambda: Of(upsampled, same(9), nn.ConvTranspose2d(2, 2, 2, 2)),
    "repeated branch beside a wider one": lambda: Of(upsampled, same(9), Repeated()),
    "flip": lambda: Of(lambda x, a: a(x) + x.flip(3), same()),
    "roll": lambda: Of(lambda x, a: a(x) + x.roll(1, 2), same()),
    "adaptive pool": lambda: nn.AdaptiveAvgPool2d((4, 7)),
    "interpolation to a size": lambda: Of(lambda x: F.interpolate(x, size=(6, 7))),
    "pool of a size read off the image": lambda: Of(lambda x: F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))),
    "number read off the image": lambda: Of(lambda x: x / x.shape[2]),
    "number of pixels": lambda: Of(lambda x: x / x[0, 0].numel()),
    "choice by the image's size": lambda: Of(lambda x, a, b: a(x) if x.size(2) > 8 else b(x), same(), same()),
    "size noted in a buffer": lambda: Noting(lambda noted, x: noted.fill_(x.shape[3])),
    "size noted by a view": lambda: Noting(lambda noted, x: noted.view(-1)[:1].fill_(x.shape[3]), (1,)),
    "size noted in a buffer's data": lambda: Noting(lambda noted, x: noted.data.fill_(x.shape[3])),
    "a ramp noted in a buffer": lambda: Noting(lambda noted, x: noted[: x.shape[3]].copy_(ramp(x)), (14,)),
    "places of maxima": lambda: Of(lambda x: torch.mul(*F.max_pool2d(x, 2, return_indices=True))),
    **{f"size, {name}": (lambda make=make: Of(lambda x, a: a(x) * make(x), same())) for name, make in SIZE.items()},
}  # fmt: skip


SEEN_IN_THE_CUT_OUT = {
    f"size, {name}" for name in SIZE
} | {  # not before: the calls there have other numbers, or read other pixels
    "pool of a size read off the image",
    "number read off the image",
    "number of pixels",
    "size noted in a buffer",
    "size noted by a view",
    "size noted in a buffer's data",
    "choice by the image's size",
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_makes_a_cut_out_another_image_is_an_obstacle_or_seen_in_the_cut_out(name):
    model, x = OBSTACLES[name]().double().eval(), torch.rand(1, *SHAPE, dtype=torch.float64)
    field = receptive_field(model, "", x.shape)
    assert (field.obstacle == "") == (name in SEEN_IN_THE_CUT_OUT)
    assert other_values(model, x)[0] == []


def test_a_cut_out_at_another_place_than_the_grid_s_does_not_pass():
    model, x = nn.Sequential(conv(stride=2), nn.ReLU(), same(into=2)).eval(), torch.rand(1, 2, 40, 40)
    runner = LayerRunner(model, DECONVNET, find_layer(model, "2"), None)
    geometry = runner.geometry(x[0])
    window = geometry.crops.window((8, 9))
    cut, corner = x[(..., *window)][0].shape, [part.start for part in window]
    assert runner.same_reads(geometry, x[0].shape, cut, (8, 9), corner)
    for elsewhere in ([corner[0] + 1, corner[1]], [corner[0], corner[1] - 2]):
        assert not runner.same_reads(geometry, x[0].shape, cut, (8, 9), elsewhere)
    assert not runner.same_reads(geometry, x[0].shape, torch.Size((2, *(edge - 2 for edge in cut[1:]))), (8, 9), corner)


class WithoutWidening(nn.Module):
    """ResNet's option A: the shortcut is a slice with more, empty, feature maps."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 2, 4, stride=2, padding=1), same(3, 4, 4)

    def forward(self, x):
        return F.relu(self.b(F.relu(self.a(x))) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))


PLAIN = {
    "option A": (WithoutWidening, "", SHAPE),
    "zeros on the input's device": (
        lambda: Of(lambda x, a: torch.cat([a(x), torch.zeros(len(x), 1, *x.shape[2:], device=x.device)], 1), same()),
        "",
        SHAPE,
    ),
    "channels permuted": (
        lambda: Of(
            lambda x, a, b: a(b(x)[:, torch.tensor([4, 3, 2, 1, 0], device=x.device)]), same(into=5), same(out=5)
        ),
        "",
        SHAPE,
    ),
    "channels selected": (
        lambda: Of(lambda x, a, b: a(b(x).index_select(1, torch.tensor([3, 1]).to(x.device))), same(), same(out=5)),
        "",
        SHAPE,
    ),
    **{
        f"mean of {shape}, {name}": (
            lambda take=take, shape=shape: Of(lambda x, a: a(x - take(torch.full(shape, 0.4), x)), same()),
            "",
            SHAPE,
        )
        for shape in ((), (1,), (2, 1, 1))
        for name, take in {
            "to": lambda mean, x: mean.to(x),
            "type_as": lambda mean, x: mean.type_as(x),
            "moved": lambda mean, x: mean.to(x.device, x.dtype),
        }.items()
    },
    **{
        f"accumulated, {name}": (lambda add=add: summed(add), "", SHAPE)
        for name, add in {
            "+=": lambda total, h: total.__iadd__(h),
            "filled": lambda total, h: total.fill_(0).add_(h),
            "lerp": lambda total, h: total.lerp_(h, 0.5),
        }.items()
    },
    "device as a text": (lambda: Of(lambda x, a: a(x) * torch.ones(1, device=str(x.device)), same()), "", SHAPE),
    "device's type": (lambda: Of(lambda x, a: a(x) * torch.ones(1, device=x.device.type), same()), "", SHAPE),
    "constant to the CPU and back": (
        lambda: Of(lambda x, a: a(x) * torch.ones(1, device=x.device).to("cpu").to(x.device), same()),
        "",
        SHAPE,
    ),
    "places of a constant": (
        lambda: Of(lambda x, a: a(x[:, torch.tensor([1, 1], device=x.device).nonzero().flatten()]), same()),
        "",
        SHAPE,
    ),
    "cast and back": (lambda: Of(lambda x, a: a(x.float().to(x)), same()), "", SHAPE),
    "regnet": (lambda: tv.regnet_x_400mf(), "trunk_output", (3, 64, 96)),
    "convnext's stem": (lambda: tv.convnext_tiny(), "features.0.0", (3, 64, 96)),
    "resnext": (lambda: tv.resnext50_32x4d(), "layer2", (3, 64, 96)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_have_no_obstacle(name):
    make, layer, shape = PLAIN[name]
    model = make().double().eval()
    field = receptive_field(model, layer, shape)
    assert (field.mixer, field.obstacle) == ("", "")
    assert other_values(model, torch.rand(1, *shape, dtype=torch.float64), layer, [(0, 0), (1, 2)]) == ([], [])


def test_constants_of_a_model_on_the_meta_device_are_no_places():
    with torch.device("meta"):
        model = Of(lambda x, a: a(x[:, a.weight.argmax(1).flatten()[:2]]), same(1))
    assert receptive_field(model, "", SHAPE).mixer != ""


MIXED = {  # examples that read each other, or are no longer the rows
    "mean of the batch": lambda x: x - x.mean(0, keepdim=True) / 2,
    "mean of all": lambda x: x - x.mean(),
    "mean of the batch, counted from the end": lambda x: x - x.mean(-4, keepdim=True),
    "softmax over the batch": lambda x: x.softmax(0),
    "maximum over the batch": lambda x: x - x.max(0).values,
    "deviation": lambda x: torch.cat([x, x.var(0, correction=0).mean().expand(len(x), 1, *x.shape[2:])], 1),
    "turned round": lambda x: x.flip(0),
    "moved on": lambda x: x.roll(1, 0),
    "moved on, flat": lambda x: x.roll(1),
    "turned": lambda x: x.rot90(2),
    "sorted by a constant": lambda x: x[torch.arange(len(x)).flip(0)],
    "selected": lambda x: x.index_select(0, torch.arange(len(x)).flip(0)),
    "einsum": lambda x: torch.einsum("nchw,mchw->nchw", x, x),
    "first example": lambda x: x - x[:1],
    "pairs": lambda x: x.view(-1, 1, *x.shape[2:]).view(x.shape),
    "not known": lambda x: torch.sort(x, 0).values,
    "shifted by padding": lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, -1)),
    "turned round, several": lambda x: x.flip(1, 0),
    "number of examples": lambda x: x / x.shape[0],
    "number of each example": lambda x: x * torch.arange(1.0, len(x) + 1, device=x.device).view(-1, 1, 1, 1),
    "written": lambda x: x - torch.zeros_like(x).add_(x).mean(0, keepdim=True),
    "turned by keyword": lambda x: torch.rot90(x, dims=[0, 2], k=2),
    "by a list": lambda x: x[list(range(len(x)))[::-1]],
}
UNMIXED = {
    "as it is": lambda x: x,
    "norm of channels": lambda x: F.normalize(x),
    "mean of the image": lambda x: x - x.mean((2, 3), keepdim=True),
    "softmax": lambda x: x.softmax(1),
    "maximum": lambda x: x - x.max(1, keepdim=True).values,
    "rows": lambda x: x[:, :, 1:],
    "every row": lambda x: x[...],
    "halves": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "flipped": lambda x: x.flip(2),
    "flat": lambda x: x.flatten(1),
    "shuffled": lambda x: x.view(len(x), 2, 1, *x.shape[2:]).transpose(1, 2).flatten(1, 2),
    "group norm": lambda x: F.group_norm(x, 2),
    "padded": lambda x: F.pad(x, (1, 1, 0, 0, 0, 1, 0, 0)),
    "the same for each example": lambda x: x * torch.full((len(x), 1, 1, 1), 2.0, device=x.device),
    "rows of the image": lambda x: x * torch.arange(1.0, x.shape[2] + 1)[:, None],
}


@pytest.mark.parametrize("name", [*MIXED, *UNMIXED])
def test_examples_that_depend_on_each_other_are_found(name):
    model, x = Of({**MIXED, **UNMIXED}[name]), torch.rand(3, *SHAPE)
    together, apart = model(x), torch.cat([model(each[None]) for each in x])
    if name not in ("pairs", "not known"):  # not proved to be apart
        assert torch.allclose(together, apart) == (name in UNMIXED)
    (run,) = dry_run(model, [torch.rand(13, *SHAPE)], layer=find_layer(model, ""), reach=True)
    assert (run.mixed == "") == (name in UNMIXED)


# ------------------------------------------------------------------------------------------- nothing is touched


class Spoiled(nn.Module):
    """Does to itself whatever a forward should not."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = conv(), nn.BatchNorm2d(2), nn.Dropout(0.3)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))
        self.table, self.cache, self.last = torch.zeros(3), [], None

    def forward(self, x):
        self.count = self.count + 1
        self.seen += 1
        self.table[0] = 5.0
        self.seen.view(-1)[:1].mul_(3)
        self.conv.weight.data.mul_(0.5)
        self.last = self.drop(self.norm(self.conv(x)))
        self.new_attribute = torch.rand(2)
        return F.relu_(self.last)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [Spoiled, *DIFFICULT], ids=lambda kind: kind.__name__)
def test_a_dry_run_changes_nothing(kind, training):
    model = build_net(kind) if issubclass(kind, Net) else kind()
    model.train(training)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    x = torch.rand(kind.shape if issubclass(kind, Net) else (1, *SHAPE), dtype=next(model.parameters()).dtype)
    before, random_state = snapshot(model, x), torch.get_rng_state()
    receptive_field(model, "", x.shape)
    dry_run(model, [x], reach=True)
    assert snapshot(model, x) == before
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_dry_run_that_fails_changes_nothing_either(kind):
    class Failing(Spoiled):
        def forward(self, x):
            super().forward(x)
            raise kind("on purpose")

    model, x = Failing(), torch.rand(1, *SHAPE)
    before, random_state = snapshot(model, x), torch.get_rng_state()
    expected = ModelError if issubclass(kind, Exception) else kind
    with pytest.raises(expected, match="on purpose"):
        receptive_field(model, "conv" if kind is ValueError else "norm", x.shape)
    assert snapshot(model, x) == before
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_of_the_users_is_not_run_but_named(register):
    model, ran = nn.Sequential(conv(), nn.ReLU()), []
    getattr(model[1], register)(lambda *given: ran.append(given))
    with pytest.raises(ModelError, match="forward hook on '1'"):
        receptive_field(model, "0", SHAPE)
    assert ran == []


def test_another_thread_sees_nothing_of_a_dry_run():
    model, real = nn.Sequential(conv(), Of(lambda x: x * 2), nn.BatchNorm2d(2).eval()), torch.rand(1, *SHAPE)
    expected, found = units(model, real), []

    class Pause(nn.Module):
        def forward(self, x):
            if x.is_meta:
                thread = threading.Thread(target=lambda: found.extend(units(model, real) for _ in range(3)))
                thread.start()
                thread.join(30)
            return x

    model.insert(1, Pause())
    field = receptive_field(model, "2", SHAPE)
    assert (field.size, field.obstacle) == ((3, 3), "")
    assert len(found) == 3
    assert all(torch.equal(each, expected) for each in found)
    assert len(dry_run(model, [real], layer=find_layer(model, "2"))) == 1


# --------------------------------------------------------------------------------------------------- the runs


def test_a_dry_run_lists_each_call_of_each_layer_with_its_shape():
    relu = nn.ReLU()
    model = nn.Sequential(conv(), relu, conv(3, 2, 5, stride=2), relu, nn.Flatten(), nn.Linear(100, 3))
    runs = dry_run(model, [torch.rand(4, *SHAPE)])
    assert [(run.layer.name, run.layer.call, run.shape) for run in runs] == [
        ("0", 1, (4, 2, 10, 12)),
        ("1", 1, (4, 2, 10, 12)),
        ("2", 1, (4, 5, 4, 5)),
        ("1", 2, (4, 5, 4, 5)),
        ("4", 1, (4, 100)),
        ("5", 1, (4, 3)),
        ("", 1, (4, 3)),
    ]


def test_chance_is_named_from_the_layer_on_where_it_is_thrown():
    model = nn.Sequential(conv(), nn.Dropout(), conv(), nn.BatchNorm2d(2))
    chances = {run.layer.name: run.random for run in dry_run(model, [torch.rand(1, *SHAPE)], reach=True)}
    assert chances["0"] == ""
    assert all("dropout" in chances[name] for name in "1 2 3".split())
    assert all(run.random == "" for run in dry_run(model.eval(), [torch.rand(1, *SHAPE)], reach=True))


RANDOM = {
    "noise": lambda x: x + torch.randn_like(x),
    "noise without a device": lambda x: x + torch.rand(1),
    "bernoulli": lambda x: x * torch.empty(len(x), 1, 1, 1, device=x.device).bernoulli_(0.5),
    "uniform": lambda x: x + x.new_empty(1).uniform_(),
    "order": lambda x: x[:, torch.randperm(2, device=x.device)],
    "gumbel": lambda x: F.gumbel_softmax(x, dim=1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
    "stochastic depth": lambda x: stochastic_depth(x, 0.5, "row"),
    "drop block": lambda x: drop_block2d(x, 0.5, 3),
    "fractional pool": lambda x: F.fractional_max_pool2d(x, 2, output_ratio=(0.7, 0.7)),
}


@pytest.mark.parametrize("name", RANDOM)
def test_every_random_operation_is_named_and_leaves_the_generator_alone(name):
    model, random_state = Of(RANDOM[name]), torch.get_rng_state()
    (run,) = dry_run(model, [torch.rand(1, *SHAPE)], layer=find_layer(model, ""), reach=True)
    assert "test_dry_run.py" in run.random or "torchvision" in run.random
    assert torch.equal(torch.get_rng_state(), random_state) is False  # by the test's own torch.rand
    after = torch.get_rng_state()
    dry_run(model, [torch.empty(1, *SHAPE)], layer=find_layer(model, ""), reach=True)
    assert torch.equal(torch.get_rng_state(), after)


def test_dropout_of_nothing_is_not_random():
    for drop in (nn.Dropout(0.0).train(), Of(lambda x: F.dropout(x, 0.0, True)), Of(lambda x: F.dropout2d(x, p=0.0))):
        (run,) = dry_run(drop, [torch.rand(1, *SHAPE)], layer=Layer("", drop), reach=True)
        assert run.random == ""


def test_attention_in_eval_mode_is_not_random():
    for training in (False, True):
        heads = nn.MultiheadAttention(2, 1, dropout=0.5, batch_first=True).train(training)
        (run,) = dry_run(Of(attention, heads), [torch.rand(1, *SHAPE)], layer=Layer("", heads), reach=True)
        assert (run.random != "") == training


def test_further_arguments_of_the_model_are_given_and_left_alone():
    class Scaled(nn.Module):
        def forward(self, x, scale, offsets):
            scale.mul_(2)
            return x * scale + offsets[0]

    scale, offset = torch.ones(2, 1, 1), torch.zeros(1)
    model = Scaled()
    before = snapshot(model, scale, offset)
    (run,) = dry_run(model, [torch.rand(3, *SHAPE)], [scale, [offset]], reach=True)
    assert run.shape == (3, *SHAPE)
    assert run.reach.obstacle == ""
    assert snapshot(model, scale, offset) == before
    with pytest.raises(DryRunError):
        dry_run(model, [torch.rand(3, *SHAPE)])
    with pytest.raises(InputError, match="no layer"):
        find_layer(model, "conv")


@pytest.mark.parametrize("rectify", [torch.relu_, lambda x: torch.nn.functional.relu(x, inplace=True)])
def test_a_rectifier_that_writes_into_a_view_reads_what_the_view_has_read(rectify):
    def some_rectified(x, first, second):
        maps = first(x)
        rectify(maps[:, :1])
        return second(maps)

    model = Of(some_rectified, conv(), same(into=2)).double().eval()
    field = receptive_field(model, "", SHAPE)
    assert field.mixer == ""
    assert other_values(model, torch.rand(1, *SHAPE, dtype=torch.float64))[0] == []


def test_a_constant_that_leaves_the_device_keeps_its_values():
    def shifted(x, first):
        shift = torch.arange(2, device=x.device).cpu().numpy()[1]
        return first(x) + int(shift)

    (run,) = dry_run(Of(shifted, conv()), [torch.rand(1, *SHAPE)], layer=None, reach=True)[-1:]
    assert run.dry
    assert run.shape == (1, 2, *run.shape[2:])


def test_what_torch_imports_on_the_way_leaves_no_filters_of_warnings():
    program = """
import sys, warnings, torch
from deconv_attr import receptive_field
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5))
before = list(warnings.filters)
receptive_field(model, "3", (1, 3, 6, 6))
assert warnings.filters == before, warnings.filters
assert "sympy" in sys.modules  # else there was nothing to see
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
