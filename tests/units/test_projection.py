"""``project``: single units of a layer to pixels, from crops and from whole images."""

import warnings
from functools import partial

import pytest
import torch
import torchvision
from nets import SqueezeAndExcitation
from oracle import project as project_by_hand
from oracle import relative_error
from torch import Tensor, fx, nn
from torchvision_nets import build

from deconv_attr import DeadSignalWarning, NeuronZFDeconv, project, receptive_field


class Watched(nn.Module):
    """Notes the shape of every batch that a model runs on, dry runs excepted."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        seen: list[tuple[int, ...]] = []  # one of the model's own would be put back
        self.read = lambda: seen

    @property
    def seen(self) -> list[tuple[int, ...]]:
        return self.read()

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            self.seen.append(tuple(x.shape))
        return self.net(x)


def image(*shape, seed=0, dtype=torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def outputs(model, x, layer) -> Tensor:
    """What a layer gives for one image (C, *axes), found without the package."""
    name, _, call = layer.partition("#")
    kept = []
    module = model.get_submodule(name)
    with module.register_forward_hook(lambda m, a, out: kept.append(out.detach().clone())), torch.no_grad():
        model(x[None].clone())
    return kept[int(call or 1) - 1][0]


def corners_edges_middle(output: Tensor, weakest=False) -> list[tuple[int, ...]]:
    """Units (map, *position) of (maps, *positions): at each such place the strongest map, or the weakest."""
    axes = [torch.tensor(sorted({0, 1 % n, n // 2, n - 1})) for n in output.shape[1:]]
    places = torch.cartesian_prod(*axes).view(-1, len(axes)).tolist() if axes else [[]]
    pick = torch.argmin if weakest else torch.argmax
    return [(int(pick(output[(slice(None), *place)])), *place) for place in places]


def whole(model, x, layer, units, **choices) -> Tensor:
    """Each unit alone, from the whole image (C, *axes), started with its activation."""
    method = NeuronZFDeconv(model, layer, **choices)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        return method.attribute(x.expand(len(units), *x.shape), list(units), start="activation")


def alone(model, x, layer, units, **options):
    """Project each unit from an image of its own, so that whole images are never cheaper."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        rows = [(number, *unit) for number, unit in enumerate(units)]
        return project(model, [x] * len(units), layer, rows, **options)


def together(model, x, layer, units, **options):
    """Project all units from one image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        return project(model, x[None], layer, [(0, *unit) for unit in units], **options)


def by_hand(model, x, layer, units) -> Tensor:
    """The same from the oracle, on the model's operations up to the layer."""
    graph = fx.Tracer().trace(model)
    name, _, call = layer.partition("#")
    last = [node for node in graph.nodes if node.op == "call_module" and node.target == name][int(call or 1) - 1]
    for node in reversed(list(graph.nodes)):
        if node is last:
            break
        graph.erase_node(node)
    graph.output(last)
    upto = fx.GraphModule(model, graph).eval()
    batch = x.expand(len(units), *x.shape)
    with torch.no_grad():
        output = upto(batch.clone())
    start = torch.zeros_like(output)
    for number, unit in enumerate(units):
        start[(number, *unit)] = output[(number, *unit)]
    return project_by_hand(upto, (batch,), start)[0]


def wrong(result, expected, tolerance) -> dict:
    """The units whose projections differ, and by how much; one that must be zero must be exactly that."""
    pairs = {tuple(u): (result.full(i), expected[i]) for i, u in enumerate(result.units.tolist())}
    return {
        unit: (found - want).norm().item() / want.norm().item() if want.any() else "not zero"
        for unit, (found, want) in pairs.items()
        if not (found - want).norm() <= tolerance * want.norm()
    }


# ---------------------------------------------------------------------------------------- torchvision's networks

ZOO = {  # the size of the image, and the stages
    "alexnet": ((97, 84), "features.0 features.5 features.12"),
    "vgg11": ((45, 64), "features.2 features.10 features.20"),
    "squeezenet1_0": ((97, 84), "features.2 features.5 features.8 classifier.1"),
    "resnet18": ((97, 70), "relu#1 layer1 layer2.0.relu#2 layer4"),
    "googlenet": ((70, 99), "conv3 inception3a inception4a.branch4.1 inception5b"),
    "densenet121": ((97, 75), "features.pool0 features.denseblock2"),
}
STAGES = [(name, layer) for name, (_, layers) in ZOO.items() for layer in layers.split()]
LEAVES = {
    "alexnet": "features.8",
    "resnet18": "layer2.1.relu#2",
    "squeezenet1_0": "features.5.expand3x3",
    "googlenet": "maxpool3",
    "densenet121": "features.transition1.pool",
}


@pytest.mark.parametrize(("name", "layer"), STAGES, ids=[f"{name}, {layer}" for name, layer in STAGES])
def test_a_cut_out_gives_the_projection_of_the_whole_image(name, layer):
    model, x, layer = Watched(build(name, torch.float32)), image(3, *ZOO[name][0]), f"net.{layer}"
    output = outputs(model, x, layer)
    units = corners_edges_middle(output)
    expected = whole(model, x, layer, units)
    assert expected.flatten(1).any(1).sum() >= 0.7 * len(units)
    model.seen.clear()
    result = alone(model, x, layer, units)
    assert result.from_crop.all()
    assert wrong(result, expected, 1e-6) == {}
    torch.testing.assert_close(result.activations, torch.stack([output[u] for u in units]), rtol=1e-5, atol=1e-5)
    field = receptive_field(model, layer, x.shape)
    sample, *cuts = model.seen
    assert sample == (1, *x.shape)
    for cut in cuts:
        for length, size, stride, n in zip(cut[2:], field.size, field.stride, x.shape[1:], strict=True):
            assert length <= min(n, size + 2 * stride)


@pytest.mark.parametrize(("name", "layer"), LEAVES.items(), ids=LEAVES)
def test_in_double_precision_the_oracle_agrees_from_cut_outs_and_from_whole_images(name, layer):
    model, x = build(name), image(3, 65, 74, dtype=torch.float64)
    *_, unit = corners_edges_middle(outputs(model, x, layer))
    (expected,) = by_hand(model, x, layer, [unit])
    assert expected.any()
    cut, whole_image = alone(model, x, layer, [unit]), together(model, x, layer, [unit] * 20)
    assert cut.from_crop.all()
    assert not whole_image.from_crop.any()
    for result in (cut, whole_image):
        assert relative_error(result.full(len(result) - 1), expected) < 1e-10


CROWDED = {"alexnet": (65, "features.4"), "resnet18": (40, "layer1"), "squeezenet1_0": (49, "features.5")}


@pytest.mark.parametrize("name", CROWDED)
def test_where_units_crowd_an_image_it_is_run_whole_in_one_batch(name):
    size, layer = CROWDED[name]
    model, x = Watched(build(name)), image(3, size, size + 9, dtype=torch.float64)
    output = outputs(model, x, f"net.{layer}")
    units = corners_edges_middle(output) * 3
    expected = whole(model, x, f"net.{layer}", units)
    model.seen.clear()
    result = together(model, x, f"net.{layer}", units)
    assert model.seen == [(4, *x.shape)]  # one batch of copies, so that filters are read once for several signals
    assert not result.from_crop.any()
    assert wrong(result, expected, 1e-10) == {}
    assert all(result.patches[i].shape == want[window(result, i)].shape for i, want in enumerate(expected))


def test_however_many_units_crowd_an_image_small_fields_are_cut_out():
    model, x = Watched(build("squeezenet1_0")), image(3, 65, 74, dtype=torch.float64)
    layer = "net.features.1"
    units = corners_edges_middle(outputs(model, x, layer))
    expected = whole(model, x, layer, units).repeat(25, 1, 1, 1)
    units = units * 25  # fields of 7 x 7: together more than two images
    model.seen.clear()
    result = together(model, x, layer, units)
    assert [shape for shape in model.seen if shape[2:] == x.shape[1:]] == [(1, *x.shape)]  # a sample of activations
    assert sum(torch.Size(shape).numel() for shape in model.seen[1:]) <= len(units) * 3 * 9**2
    assert result.from_crop.all()
    assert wrong(result, expected, 1e-10) == {}


def window(result, number):
    starts, ends = result.boxes[number].view(2, -1).tolist()
    return (..., *map(slice, starts, ends))


# ---------------------------------------------------------------------------------------- where a crop will not do


class Local(nn.Module):
    """A small local net, and a change to what goes into it."""

    def __init__(self, change=None, channels=3) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1)
        self.net, self.change = nn.Sequential(*layers, nn.ReLU()), change

    def forward(self, x):
        return self.net(x if self.change is None else self.change(x))


def coordinates(x):
    across = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype, device=x.device).expand(len(x), 1, *x.shape[2:])
    return torch.cat([x, across], 1)


def wide_is_bright(x):
    return x * 3 if x.shape[-1] > 40 else x


def looks_at_values(x):
    return x * 3 if float(x.detach().mean()) > 0.4 else x


def refuses_small(error, x):
    if x.shape[-1] < 40:
        raise error("too small")
    return x


class Deeper(Local):
    """A layer that runs on wide images only, and a shorter output for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.extra(super().forward(x)) if x.shape[-1] > 40 else super().forward(x)[:, :2, :1, :1]


def with_a_hook():
    model = Local()
    model.net[0].register_forward_hook(lambda module, args, out: out * 1.5)
    return model


def grouped():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))


def mobilenet():
    torch.manual_seed(0)
    return torchvision.models.mobilenet_v3_small(weights=None)


REFUSALS = [RuntimeError, ValueError, AssertionError, IndexError]
GLOBAL = {
    "squeeze and excitation": (SqueezeAndExcitation, "conv2", {}),
    "MobileNetV3, rectify": (mobilenet, "features.2", {"activations": "rectify"}),
    "MobileNetV3, gradient": (mobilenet, "features.4", {"activations": "gradient"}),
    "group norm": (grouped, "4", {}),
    "coordinates": (partial(Local, coordinates, 4), "net.4", {}),
    "depends on the size": (partial(Local, wide_is_bright), "net.4", {}),
    "looks at values": (partial(Local, looks_at_values), "net.4", {}),
    "a hook of the user's": (with_a_hook, "net.4", {}),
    **{
        f"refuses small images, {e.__name__}": (partial(Local, partial(refuses_small, e)), "net.4", {})
        for e in REFUSALS
    },
    "the layer runs on wide images only": (Deeper, "extra", {}),
    "small images have fewer units": (Deeper, "", {}),
}


@pytest.mark.parametrize(("make", "layer", "choices"), GLOBAL.values(), ids=GLOBAL)
def test_what_is_not_local_is_projected_from_whole_images(make, layer, choices):
    model, x = make().double().eval(), image(3, 52, 60, dtype=torch.float64)
    units = corners_edges_middle(outputs(model, x, layer))
    expected = whole(model, x, layer, units, **choices)
    assert expected.flatten(1).any(1).sum() >= 0.7 * len(units)
    result = alone(model, x, layer, units, **choices)
    assert not result.from_crop.any()
    assert wrong(result, expected, 1e-10) == {}


def strongest(model, x, layer="net.4"):
    """The strongest unit (map, row, column) away from the borders of all images of these tests."""
    output = outputs(model, x, layer)[:, 8:16, 8:16]
    feature_map, row, column = map(int, torch.unravel_index(output.argmax(), output.shape))
    return feature_map, row + 8, column + 8


def dead(model, x, layer="net.4"):
    feature_map, row, column = (outputs(model, x, layer)[:, 8:16, 8:16] == 0).nonzero()[0].tolist()
    return feature_map, row + 8, column + 8


BLIND = {  # images (C, H, W), whose first unit says nothing of the crops of the second
    "a dark image first": (lambda x: x * 1e-5, strongest),
    "a dead unit first": (lambda x: x, dead),
    "a smaller image first": (lambda x: x[:, :40, :40], strongest),
}


@pytest.mark.parametrize(("first", "unit"), BLIND.values(), ids=BLIND)
def test_the_check_of_cut_outs_is_not_blinded_by_the_first_unit(first, unit):
    model, x = Local(wide_is_bright).eval(), image(3, 64, 64)
    with torch.no_grad():
        model.net[0].bias.zero_()
        model.net[3].bias.zero_()
    images = [first(image(3, 64, 64, seed=1)), x]
    units = [unit(model, images[0]), strongest(model, x)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        result = project(model, images, "net.4", [(i, *u) for i, u in enumerate(units)])
    expected = [whole(model, image, "net.4", [u])[0] for image, u in zip(images, units, strict=True)]
    assert wrong(result, expected, 1e-6) == {}


def test_expected_activations_spare_the_whole_image_and_one_that_is_wrong_is_served_from_it():
    model, x = Watched(Local()).eval(), image(3, 64, 64)
    output = outputs(model, x, "net.net.4")
    units = corners_edges_middle(output)
    expected, values = whole(model, x, "net.net.4", units), torch.stack([output[unit] for unit in units])
    for spoilt in ([], [5], [0, 7]):
        model.seen.clear()
        given = values.clone()
        given[spoilt] *= 1.01
        result = alone(model, x, "net.net.4", units, expected=given)
        assert (~result.from_crop).nonzero().flatten().tolist() == spoilt
        assert sum(shape[0] for shape in model.seen if shape[1:] == x.shape) == len(spoilt)
        assert wrong(result, expected, 1e-6) == {}
        assert torch.equal(result.activations > 0, values > 0)


class Permuted(nn.Module):
    """Takes the columns of an image of one width in another order."""

    def __init__(self, written):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.register_buffer("order", torch.arange(24))
        self.written = written

    def forward(self, x):
        if self.written:
            self.order.copy_(torch.arange(23, -1, -1))
        return self.out(self.conv(x[..., self.order]).relu())


@pytest.mark.parametrize("written", [False, True])
def test_places_that_a_cut_out_does_not_have_are_served_from_the_whole_image(written):
    torch.manual_seed(0)
    model, x = Permuted(written).double().eval(), image(3, 24, 24, dtype=torch.float64)
    units = corners_edges_middle(outputs(model, x, "out"))
    result = project(model, x[None], "out", [(0, *unit) for unit in units])
    assert wrong(result, whole(model, x, "out", units), 1e-10) == {}
