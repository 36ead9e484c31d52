"""``receptive_field`` against what units depend on, graph by graph."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from reading import Of, conv, other_values, positive, same, units, wrong_boxes
from torch import nn
from torchvision_nets import without_values

from deconv_attr import receptive_field
from deconv_attr.errors import InputError, ModelError
from deconv_attr.units.receptive_fields import layer_fields

SHAPE = (2, 9, 12)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def channels_last(x, norm, linear):
    return linear(norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def in_place(x, a, b):
    h = a(x)
    h += b(h)
    h.relu_().mul_(2)
    return F.relu(h, inplace=True)


def shuffled(x):
    n, c, height, width = x.shape
    return x.view(n, 2, c // 2, height, width).transpose(1, 2).reshape(n, c, height, width)


def padded(mode):
    return conv(5, padding=(2, 1), padding_mode=mode)


LOCAL = {
    "valid": lambda: conv(),
    "stride": lambda: conv(stride=2),
    "stride that leaves pixels unread": lambda: conv(2, stride=4),
    "stride, kernel, padding, dilation by axis": lambda: conv((1, 4), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "dilation and padding": lambda: nn.Sequential(conv(dilation=2, padding=2), conv(dilation=3, padding=1)),
    "padding wider than the kernel": lambda: nn.Sequential(conv(2, padding=3), conv(stride=2, padding=1)),
    "same": lambda: nn.Sequential(conv(5, padding="same", dilation=2), conv((3, 1), padding="same")),
    "same, even kernel": lambda: conv((4, 2), padding="same", dilation=2),
    "same, odd padding": lambda: conv((4, 2), padding="same"),
    "valid as a word": lambda: conv(padding="valid"),
    "reflect": lambda: padded("reflect"),
    "replicate": lambda: padded("replicate"),
    "circular": lambda: padded("circular"),
    "reflect twice": lambda: nn.Sequential(padded("reflect"), padded("reflect")),
    "replicate with stride": lambda: nn.Sequential(
        conv(5, stride=2, padding=2, padding_mode="replicate"), conv(stride=2, padding=1, padding_mode="reflect")
    ),
    "grouped": lambda: nn.Sequential(same(3, 2, 4), conv(3, 4, 4, groups=2, stride=2)),
    "max-pool": lambda: nn.Sequential(same(), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2)),
    "max-pool, ceil": lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 3, ceil_mode=True)),
    "max-pool, dilated, with indices": lambda: Of(
        lambda x: F.max_pool2d(x, 2, stride=1, padding=1, dilation=3, return_indices=True)[0]
    ),
    "average-pool, ceil": lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2, ceil_mode=True)),
    "average-pool, default stride": lambda: Of(lambda x: F.avg_pool2d(x, kernel_size=(2, 3))),
    "lp-pool": lambda: Of(lambda x: F.lp_pool2d(x, 2, 3, stride=2)),
    "F.pad": lambda: Of(lambda x, a: a(F.pad(x, (1, 0, 2, 3))), conv()),
    "F.pad, reflect": lambda: Of(lambda x, a: a(F.pad(x, (2, 1, 0, 3), mode="reflect")), conv(2)),
    "F.pad, circular": lambda: Of(lambda x, a: a(F.pad(x, (2, 1, 0, 3), mode="circular")), conv(2, stride=2)),
    "F.pad, negative": lambda: Of(lambda x, a: F.pad(a(x), (-1, 2, 0, -2)), same()),
    "F.pad of channels": lambda: Of(lambda x, a: F.pad(a(x[:, :, ::2, ::2]), (0, 0, 0, 0, 1, 1)), same()),
    "ZeroPad2d": lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), conv(stride=2), nn.ReplicationPad2d(1), conv()),
    "residual": lambda: Of(lambda x, a, b: F.relu(a(x) + b(x)), nn.Sequential(same(), same()), conv(1)),
    "residual with stride": lambda: Of(
        lambda x, a, b: F.relu(a(x) + b(x)), nn.Sequential(conv(stride=2, padding=1), same()), conv(1, stride=2)
    ),
    "pre-activation": lambda: Of(lambda x, n, a: x + a(F.relu(n(x))), nn.BatchNorm2d(2), same(5)),
    "branches of another centre": lambda: Of(
        lambda x, a, b: a(x) + b(x), conv((1, 4)), conv((1, 2), padding=(0, 1), dilation=(1, 5))
    ),
    "concat": lambda: Of(lambda x, a, b: torch.cat([a(x), x, b(x)], dim=1), same(), same(5)),
    "concat by keyword": lambda: Of(lambda x, a: torch.concat(tensors=(a(x), x), axis=-3), same()),
    "concat of zeros": lambda: Of(lambda x, a: a(torch.cat([x, x.new_zeros(x.shape)], 1)), same(3, 4)),
    "in place": lambda: Of(in_place, same(), same()),
    "result ignored": lambda: Of(lambda x, a, b: [h := a(x), F.relu_(h), b(h)][2], same(), same()),
    "functional": lambda: Of(lambda x, a: torch.relu(F.conv2d(x, a.weight, None, (2, 1), (1, 0))).clamp(min=0), conv()),
    "strided slice": lambda: Of(lambda x, a: a(x[:, :, ::2, 1::3]), conv(2)),
    "slice": lambda: Of(lambda x, a: a(x)[:, :, 1:, 2:-1], same()),
    "narrow": lambda: Of(lambda x, a: a(x.narrow(2, 2, 5)), conv()),
    "difference of slices": lambda: Of(lambda x: x[..., 2:] + x[..., :-2] + x[..., 1:-1]),
    "channel shuffle": lambda: Of(lambda x, a, b: b(shuffled(a(x))), same(3, 2, 4), same(3, 4, 4)),
    "split channels": lambda: Of(lambda x, a: torch.cat([a(x.chunk(2, 1)[0]), *x.split(1, dim=1)], 1), same(3, 1, 1)),
    "nhwc": lambda: Of(channels_last, nn.LayerNorm(2), nn.Linear(2, 3)),
    "matrix on the channels": lambda: Of(
        lambda x, a: (a(x).permute(0, 2, 3, 1) @ torch.ones(2, 3).double()).mT.transpose(1, 2), same()
    ),
    "tokens": lambda: Of(
        lambda x, a, b: b(a(x).flatten(2).mT).mT.unflatten(2, (-1, 6)), conv(stride=2, padding=1), nn.Linear(2, 4)
    ),
    "squeeze, stack, select": lambda: Of(
        lambda x, a: torch.stack([a(x)[:, 0], a(x).select(1, 1)], 1).unsqueeze(0)[0], same()
    ),
    "transposed convolution": lambda: nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1),
    "transposed convolution, dilated": lambda: nn.Sequential(
        nn.ConvTranspose2d(2, 2, (2, 3), (3, 1), dilation=(2, 1)), conv()
    ),
    "transposed convolution there and back": lambda: nn.Sequential(
        conv(2, stride=2), nn.ConvTranspose2d(2, 2, 4, 2, 1), same()
    ),
    "nearest": lambda: nn.Sequential(same(), nn.Upsample(scale_factor=2), same()),
    "nearest, smaller": lambda: Of(lambda x: F.interpolate(x, size=(4, 5))),
    "bilinear": lambda: Of(lambda x: F.interpolate(x, size=(20, 7), mode="bilinear")),
    "bicubic": lambda: Of(lambda x: F.interpolate(x, size=(6, 17), mode="bicubic")),
    "area": lambda: Of(lambda x: F.interpolate(x, size=(4, 5), mode="area")),
    "pixel shuffle": lambda: Of(lambda x, a, b: b(F.pixel_shuffle(a(x), 2)), same(3, 2, 8), same()),
    "pixel unshuffle": lambda: Of(lambda x, a: a(F.pixel_unshuffle(x[:, :, 1:], 2)), conv(3, 8)),
    "repeat_interleave": lambda: Of(lambda x, a: a(x.repeat_interleave(2, dim=2).repeat(1, 1, 1, 2)), conv()),
    "roll and flip": lambda: Of(lambda x, a: a(x.roll(2, dims=3).flip(2)), conv()),
    "turned": lambda: Of(lambda x, a: a(a(x).transpose(2, 3)).mT, conv((3, 1), padding=(1, 0))),
    "adaptive": lambda: nn.Sequential(same(), nn.AdaptiveAvgPool2d((3, 4))),
    "adaptive, not divisible": lambda: nn.Sequential(nn.AdaptiveMaxPool2d((4, 5)), conv(2)),
    "adaptive, one axis": lambda: nn.AdaptiveAvgPool2d((4, None)),
    "local response norm": lambda: nn.Sequential(same(), nn.LocalResponseNorm(3, alpha=1.0), conv(2)),
    "pointwise": lambda: Of(lambda x, a: a(x).sqrt().mul(2).add(1).div(3).pow(2).log1p(), same()),
    "maximum": lambda: Of(lambda x, a: torch.maximum(a(x), torch.max(x, torch.zeros_like(x))), same()),
    "mean over maps": lambda: Of(
        lambda x, a: a(x).mean(1, keepdim=True) + x.sum(dim=1)[:, None] + x.amax(-3, True), same()
    ),
    "normalised maps": lambda: Of(lambda x, a: F.normalize(a(x)) + torch.softmax(x, 1), same()),
    "glu": lambda: Of(lambda x, a: F.glu(a(x), dim=1), same()),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(conv()),
    "squeeze of one row": lambda: Of(lambda x, a: a(x[:, :, 4:5]), conv((1, 3), padding=(0, 1))),
    "dropout": lambda: nn.Sequential(same(), nn.Dropout2d(0.5), conv()),
}  # fmt: skip
MAY_HAVE_AN_OBSTACLE = """reflect circular transposed nearest bilinear bicubic area pixel repeat roll adaptive slice
narrow row negative tokens""".split()


@pytest.mark.parametrize("shape", [SHAPE, (2, 13, 10)], ids=str)
@pytest.mark.parametrize("name", LOCAL)
def test_a_box_is_the_bounding_box_of_the_pixels_that_a_unit_depends_on(name, shape):
    if shape != SHAPE and name in ("tokens", "pixel unshuffle"):
        shape = (2, 13, 12)
    model = positive(LOCAL[name]())
    field = receptive_field(model, model, shape)
    assert wrong_boxes(model, field, shape) == []
    assert field.mixer == ""
    output = units(model, torch.rand(1, *shape, dtype=torch.float64))
    assert field.shape == output.shape[1:]
    positions = torch.cartesian_prod(*(torch.arange(n) for n in field.shape[1:]))
    assert field.boxes(positions).tolist() == [list(field.box(*unit)) for unit in positions.tolist()]
    regular = zip(field.size, field.stride, field.offset, field.image, strict=True)
    for axis, (size, stride, offset, length) in enumerate(regular):
        for unit in positions.tolist() if size is not None else ():
            begin = offset + stride * unit[axis]
            if begin >= 0 and begin + size <= length:
                box = field.box(*unit)
                assert (box[axis], box[axis + 2]) == (begin, begin + size)


@pytest.mark.parametrize("name", LOCAL)
def test_a_unit_has_its_value_in_its_cut_out(name):
    model = positive(LOCAL[name]())
    field = receptive_field(model, model, SHAPE)
    wrong, without = other_values(model, torch.rand(1, *SHAPE, dtype=torch.float64))
    assert wrong == []
    if not any(word in name for word in MAY_HAVE_AN_OBSTACLE):
        assert (field.obstacle, without) == ("", [])


KERNELS = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2))
STEPS = st.tuples(
    st.sampled_from("conv pool average ceil residual concat pad crop strided relu up transposed".split()), KERNELS
)


class Random(nn.Module):
    """A chain of steps; a branch that does not fit is cropped as U-Net crops."""

    def __init__(self, program):
        super().__init__()
        self.program = program
        self.filters = nn.ModuleList(
            (nn.ConvTranspose2d if step == "transposed" else nn.Conv2d)(2, 2, k, s, p, dilation=d)
            for step, (k, s, p, d) in program
        )

    def forward(self, x):
        for filters, (step, (k, s, p, d)) in zip(self.filters, self.program, strict=True):
            if step in ("conv", "transposed"):
                x = F.relu(filters(x))
            elif step in ("pool", "ceil"):
                x = F.max_pool2d(x, k, s, min(p, k // 2), d, ceil_mode=step == "ceil")
            elif step == "average":
                x = F.avg_pool2d(x, k, s, min(p, k // 2))
            elif step in ("residual", "concat"):
                h = (
                    F.conv2d(x, filters.weight, padding="same")
                    if k % 2
                    else F.conv2d(F.pad(x, (0, k - 1, k - 1, 0)), filters.weight)
                )
                x = x + h if step == "residual" else torch.cat([x, h], 1)[:, 1:3]
            elif step == "pad":
                x = F.pad(x, (p, d, s, 0), mode="reflect" if k == 1 else "constant")
            elif step == "crop":
                x = x[:, :, p:, : x.shape[3] - d]
            elif step == "strided":
                x = x[:, :, ::s, p::d]
            elif step == "up":
                x = F.interpolate(x, scale_factor=d)
            else:
                x = x.relu()
        return x  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(program=st.lists(STEPS, min_size=1, max_size=4), height=st.integers(5, 8), width=st.integers(5, 9))
def test_random_networks_agree_with_what_their_units_depend_on(program, height, width):
    model, x = positive(Random(program)), torch.rand(1, 2, height, width, dtype=torch.float64)
    try:
        output = units(model, x)
    except RuntimeError:
        assume(False)
    assume(0 < output.numel() <= 400)
    field = receptive_field(model, model, x.shape)
    # Where a branch reads padding in one axis only, a box is two intervals and not the bounding box.
    tight = not {"residual", "concat"} & {step for step, _ in program}
    assert wrong_boxes(model, field, x.shape[1:], tight) == []
    assert other_values(model, x)[0] == []


def two_relus():
    model = nn.Sequential(conv(), nn.ReLU(), conv(), nn.Flatten(), nn.Linear(2 * 5 * 8, 3))
    model.add_module("again", model[4])
    model[4] = model[1]
    return model


ERRORS = {
    "unknown layer": (
        lambda: without_values("alexnet"), "featurs.3", (3, 224, 224), InputError,
        "no layer 'featurs.3'; the nearest are",
    ),
    "another's module": (two_relus, nn.ReLU(), SHAPE, InputError, "one of the model's modules, got another ReLU"),
    "no name": (two_relus, 3, SHAPE, InputError, "a module or its dotted name, got int"),
    "layer that does not run": (
        lambda: Of(lambda x, a, b: a(x), conv(), conv()), "parts.1", SHAPE, InputError,
        "layer 'parts.1' does not run",
    ),
    "several runs": (
        two_relus, "1", SHAPE, InputError,
        "layer '1' runs 2 times in one forward pass: name the call, '1#1' to '1#2'",
    ),
    "later call than there are": (
        two_relus, "1#3", SHAPE, InputError,
        "layer '1#3' is call 3, and the module runs 2 times",
    ),
    "call 0": (two_relus, "1#0", SHAPE, InputError, "expected a call as '1#1'"),
    "call x": (two_relus, "1#x", SHAPE, InputError, "expected a call as '1#1'"),
    "call of nothing": (two_relus, "1#", SHAPE, InputError, "expected a call as '1#1'"),
    "tuple": (
        lambda: nn.Sequential(Of(lambda x: (x, x))), "0", SHAPE, InputError,
        "expected a tensor .* as the output of layer '0",
    ),
    "dict": (
        lambda: Of(lambda x: {"out": x}), "", SHAPE, InputError,
        "expected a tensor .* as the output of the model",
    ),
    "small image": (
        two_relus, "0", (2, 2, 9), ModelError,
        r"input of shape \(1, 2, 2, 9\) .*kernel size \(3, 3\) has no output for an input of size \(2, 9\)",
    ),
    "other channels": (two_relus, "0", (3, 9, 12), ModelError, "does not run on an input of shape"),
    "constant": (
        lambda: nn.Sequential(Of(lambda x: torch.ones(1, 2, 3, 3))), "0", SHAPE, InputError,
        "does not depend on the image",
    ),
    "asks for values": (
        lambda: Of(lambda x, a: a(x) if x.mean() > 0 else x, conv()), "", SHAPE, ModelError,
        "without values",
    ),
    "no module": (lambda: F.relu, "0", SHAPE, ModelError, "torch.nn.Module"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_be_answered_is_one_clear_sentence(name):
    make, layer, shape, kind, words = ERRORS[name]
    with pytest.raises(kind, match=words) as caught:
        receptive_field(make(), layer, shape)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_module_that_runs_twice_has_a_field_for_each_call():
    model = two_relus()
    assert [receptive_field(model, f"1#{call}", SHAPE).size for call in (1, 2)] == [(3, 3), (9, 12)]
    assert receptive_field(model, "2", SHAPE).size == receptive_field(model, model[2], (5, *SHAPE)).size == (5, 5)


@pytest.mark.parametrize("position", [(7, 0), (0, 10), (-1, 0), (0,), (0, 0, 0)], ids=str)
def test_a_unit_that_does_not_exist_is_refused(position):
    field = receptive_field(conv(), "", SHAPE)
    with pytest.raises(InputError, match="position"):
        field.box(*position)


def test_sequences_and_volumes_have_boxes_too():
    sequence = receptive_field(nn.Sequential(nn.Conv1d(3, 4, 5, 2, 1), nn.MaxPool1d(2)), "1", (3, 20))
    assert (sequence.size, sequence.stride, sequence.offset, sequence.box(2)) == ((7,), (4,), (-1,), (7, 14))
    volume = receptive_field(nn.Conv3d(1, 1, (1, 2, 3), (1, 2, 3), (0, 0, 1)), "", (1, 1, 5, 6, 7))
    assert (volume.size, volume.stride, volume.offset) == ((1, 2, 3), (1, 2, 3), (0, 0, -1))
    assert volume.box(4, 1, 0) == (4, 2, 0, 5, 4, 2)


def test_the_default_device_does_not_matter():
    model = nn.Sequential(
        conv(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), nn.Upsample(7)
    )
    expected = receptive_field(model, "2", SHAPE)
    with torch.device("meta"):
        found = receptive_field(model, "2", SHAPE)
    assert (found.size, found.stride, found.mixer, found.obstacle) == (
        expected.size,
        expected.stride,
        expected.mixer,
        expected.obstacle,
    )
    assert all(map(torch.equal, found.reads, expected.reads))


def test_a_model_that_does_not_run_dry_is_listed_from_a_run_and_one_that_must_not_run_is_not_run():
    asks = nn.Sequential(conv(), Of(lambda x: x if x.mean() > 0 else -x))
    listed = layer_fields(asks, SHAPE)
    shape = tuple(asks[0](torch.zeros(1, *SHAPE)).shape[1:])
    assert [(name, shape) for name, _, shape, _ in listed] == [("0", shape), ("1", shape)]
    assert (listed[0][3].size, listed[1][3]) == ((3, 3), None)
    lazy = nn.Sequential(nn.LazyConv2d(2, 3))
    with pytest.raises(ModelError, match="module '0' has none yet"):
        layer_fields(lazy, SHAPE)
    assert isinstance(lazy[0], nn.LazyConv2d)
    with pytest.raises(ModelError, match=r"torch.nn.Module"):
        layer_fields(torch.relu, SHAPE)
