"""Cascading randomisation: which weights go, in which order, and what they become."""

import pytest
import torch
import torch.nn.functional as F
from state import snapshot
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from deconv_attr.evidence import parameter_randomisation

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, 6, 6, generator=GENERATOR)
TARGET = torch.tensor([1, 3])
PATTERN = torch.randn(2, 3, 6, 6, generator=GENERATOR)


class Plain(nn.Module):
    """Three layers, registered from the last to the first."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 5)
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.conv1 = nn.Conv2d(3, 4, 3)

    def features(self, x):
        return self.conv2(self.conv1(x).relu()).relu()

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


class Twice(Plain):
    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.between = nn.Conv2d(3, 3, 1)

    def features(self, x):
        return super().features(self.shared(self.between(self.shared(x))))


class Tied(Plain):
    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv00 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv00.weight = self.conv0.weight

    def features(self, x):
        return super().features(self.conv0(self.conv00(x)))


class Auxiliary(Plain):
    def __init__(self):
        super().__init__()
        self.auxiliary = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))

    def features(self, x):
        h = super().features(x)
        return h + self.auxiliary(h).mean() if self.training else h


class AuxiliaryLinear(Auxiliary):
    def __init__(self):
        super().__init__()
        self.auxiliary = nn.Linear(4, 5)


class Attention(Plain):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def features(self, x):
        rows = (x + 0).relu_().flatten(1, 2)  # in place, as is usual: what is written is looked after
        return super().features(self.attention(rows, rows, rows)[0].view_as(x))


class SureAttention(Attention):
    """So sure of its class that no change of a weight changes the probabilities."""

    def forward(self, x):
        return (super().forward(x) * 1e4).softmax(1)


class Encoder(Plain):
    """Torch has a faster way for these in eval mode, in which none of their parts runs."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def features(self, x):
        return super().features(self.encoder(x.flatten(1, 2)).view_as(x))


class Bare(Plain):
    """Reads parameters of its own, of a list, and of a child that never runs."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))
        self.factors = nn.ParameterList([torch.zeros(3, 1, 1)])
        self.unrun = nn.Conv2d(3, 3, 1)

    def features(self, x):
        return super().features(F.conv2d(x + self.shift, self.unrun.weight, self.unrun.bias) * self.factors[0])


class Boxed(Plain):
    """Reads the weights of a layer in a container; neither runs."""

    def __init__(self):
        super().__init__()
        self.box = nn.ModuleDict({"unrun": nn.Conv2d(3, 3, 1)})

    def features(self, x):
        return super().features(F.conv2d(x, self.box["unrun"].weight, self.box["unrun"].bias))


class Scale(nn.Module):
    """Has a part that others run, before it."""

    def __init__(self):
        super().__init__()
        self.factor, self.part = nn.Parameter(torch.zeros(3, 1, 1)), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return x * self.factor


class Outside(Plain):
    def __init__(self):
        super().__init__()
        self.scale = Scale()

    def features(self, x):
        return super().features(self.scale(self.scale.part(x)))


class Norm(Plain):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def features(self, x):
        return super().features(self.norm(x))


def parametrised():
    return nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def made(build):
    """Make a net in eval mode, with no parameter whose values are all the same."""
    model, generator = build().eval(), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 3
    return model


class Watch:
    """A method whose map never changes; it looks at the model's weights instead."""

    def __init__(self, model):
        self.trained = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self.stages = []

    def __call__(self, model, inputs, target):
        self.stages.append({name: parameter.detach().clone() for name, parameter in model.named_parameters()})
        return PATTERN[: len(inputs)].to(inputs)

    def changes(self):
        """Return for each stage the parameters that changed in it."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        return [{name for name in new if not torch.equal(old[name], new[name])} for old, new in pairs]


def of(name, *parameters):
    return {f"{name}.{parameter}" for parameter in parameters or ("weight", "bias")}


ALL = [("fc", of("fc")), ("conv2", of("conv2")), ("conv1", of("conv1"))]

ATTENTION = ("attention", of("attention", "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"))

CASCADES = [
    (Plain, ALL),
    (Twice, [*ALL, ("shared", of("shared")), ("between", of("between"))]),
    (Tied, [*ALL, ("conv0", of("conv0")), ("conv00", of("conv00", "bias"))]),
    (Auxiliary, ALL),
    (Norm, [*ALL, ("norm", of("norm"))]),
    (Attention, [*ALL, ATTENTION]),
    (SureAttention, [*ALL, ATTENTION]),
    (Bare, [*ALL, ("Bare", {"shift", "factors.0", *of("unrun")})]),
    (Boxed, [*ALL, ("Boxed", of("box.unrun"))]),
    (Outside, [*ALL, ("scale", {"scale.factor"}), ("scale.part", of("scale.part"))]),
    (
        parametrised,
        [
            ("3", of("3")),
            ("0.parametrizations.weight", of("0.parametrizations.weight", "original0", "original1")),
            ("0", {"0.bias"}),
        ],
    ),
    (AuxiliaryLinear, ALL),
]


@pytest.mark.parametrize(("build", "expected"), CASCADES)
def test_layers_lose_their_weights_from_the_last_that_runs_to_the_first(build, expected):
    model = made(build)
    watch, before = Watch(model), snapshot(model, X)
    found = parameter_randomisation(model, watch, X, TARGET, draws=1)
    assert snapshot(model, X) == before
    assert list(zip(found.layers, watch.changes(), strict=True)) == expected


def test_parts_of_an_encoder_layer_lose_their_weights_one_by_one():
    model = made(Encoder)
    watch = Watch(model)
    found = parameter_randomisation(model, watch, X, TARGET, draws=1)
    parts = ["norm2", "linear2", "linear1", "norm1", "self_attn"]
    assert found.layers == ["fc", "conv2", "conv1", *(f"encoder.{part}" for part in parts)]
    assert set().union(*watch.changes()) == set(watch.trained)


@pytest.mark.parametrize(
    ("stages", "depths"),
    [(None, [1, 2, 3, 4, 5]), (1, [5]), (2, [1, 5]), (3, [1, 3, 5]), (4, [1, 2, 4, 5]), (9, [1, 2, 3, 4, 5])],
)
def test_stages_are_spread_between_the_first_and_the_last_layer(stages, depths):
    model = made(Twice)
    watch = Watch(model)
    found = parameter_randomisation(model, watch, X, TARGET, draws=1, stages=stages)
    order = ["fc", "conv2", "conv1", "shared", "between"]
    assert found.layers == [order[depth - 1] for depth in depths]
    assert found.signed.shape == found.absolute.shape == (len(depths), 2)
    starts = [0, *depths[:-1]]
    assert watch.changes() == [
        set().union(*(of(name) for name in order[start:end])) for start, end in zip(starts, depths, strict=True)
    ]


def test_filters_and_matrices_are_normal_around_0_with_their_own_size():
    model = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 300)))
    with torch.no_grad():
        weight = model[1].weight
        weight.copy_(3 + 0.5 * (weight > 0.5))  # two values, most of them the lower
    watch = Watch(model)
    parameter_randomisation(model, watch, X, TARGET, draws=1)
    old, new = watch.trained["1.weight"].double(), watch.stages[-1]["1.weight"].double()
    size = old.square().mean().sqrt()
    assert abs(new.mean()) < 4 * size / old.numel() ** 0.5
    assert new.std().item() == pytest.approx(size.item(), rel=0.02)
    assert (new.abs() < size).double().mean().item() == pytest.approx(0.6827, abs=0.01)
    assert abs(torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1]) < 0.03


def test_biases_and_factors_keep_their_mean_and_spread():
    model = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 3000)))
    with torch.no_grad():
        bias = model[1].bias
        bias.copy_(3 + 0.5 * (bias > 0.1))
    watch = Watch(model)
    parameter_randomisation(model, watch, X, TARGET, draws=1)
    old, new = watch.trained["1.bias"].double(), watch.stages[-1]["1.bias"].double()
    spread = old.std(correction=0)
    assert abs(new.mean() - old.mean()) < 4 * spread / old.numel() ** 0.5
    assert new.std().item() == pytest.approx(spread.item(), rel=0.05)


def test_each_draw_begins_with_the_trained_weights():
    model = made(Plain)
    watch = Watch(model)
    parameter_randomisation(model, watch, X, TARGET, draws=2)
    trained, *stages = watch.stages
    assert len(stages) == 6  # three for each image
    for first in (stages[0], stages[3]):
        assert {name for name in first if not torch.equal(first[name], trained[name])} == of("fc")
    assert not any(torch.equal(stages[2][name], stages[5][name]) for name in trained)


def test_vectors_whose_numbers_are_all_the_same_stay():
    model = made(Norm)
    nn.init.ones_(model.norm.weight)
    nn.init.constant_(model.fc.bias, 0.1)
    watch = Watch(model)
    parameter_randomisation(model, watch, X, TARGET, draws=1)
    assert watch.changes() == [of("fc", "weight"), of("conv2"), of("conv1"), of("norm", "bias")]


def test_what_is_drawn_depends_on_the_seed_alone():
    def drawn(seed, stages=None):
        watch = Watch(model)
        parameter_randomisation(model, watch, X, TARGET, draws=1, seed=seed, stages=stages)
        return watch.stages[-1]

    model = made(Plain)
    first = drawn(0)
    torch.rand(1)  # of torch's own generator
    assert all(torch.equal(value, first[name]) for name, value in drawn(0).items())
    assert all(torch.equal(value, first[name]) for name, value in drawn(0, stages=1).items())
    assert not any(torch.equal(value, first[name]) for name, value in drawn(1).items())
