"""Models that ask for values behind some of their layers, as detectors do: what is known of the layers before."""

import pytest
import torch
from reading import Of
from searching import brute_force, rows
from test_projection import alone, corners_edges_middle, image, outputs, whole, with_a_hook, wrong
from torch import nn
from torchvision.models import detection

from deconv_attr import project, receptive_field, strongest
from deconv_attr.engine.dry_run import DryRunError, dry_run, plain_run
from deconv_attr.errors import InputError, ModelError
from deconv_attr.units.receptive_fields import layer_fields

SHAPE = (3, 40, 36)


def backbone():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 5, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
    )
    return net.double().eval()


def by_a_loop(maps):
    for value in maps.amax((1, 2, 3)).tolist():
        maps = maps * (2.0 if value > 0 else 1.0)
    return maps


def by_numpy(maps):
    return maps[torch.from_numpy(maps.detach().cpu().numpy().mean((1, 2, 3)) > -1)]


ASKS = {  # how a model asks for values, and the call that is named; each leaves as many rows as it finds
    "nonzero": (lambda maps: maps[(maps.amax((1, 2, 3)) > 0).nonzero()[:, 0]], "nonzero"),
    "a mask": (lambda maps: maps[maps.amax((1, 2, 3)) > 0], "getitem"),
    "where": (lambda maps: maps[torch.where(maps.amax((1, 2, 3)) > 0)[0]], "where"),
    "masked_select": (lambda maps: maps - maps.masked_select(maps > 0).sum(), "masked_select"),
    "unique": (lambda maps: maps - maps.round().unique().sum(), "unique"),
    "if": (lambda maps: maps if maps.mean() > 0 else -maps, "bool"),
    "float": (lambda maps: maps * float(maps.amax()), "float"),
    "item": (lambda maps: maps * maps.amax().item(), "item"),
    "a loop": (by_a_loop, "tolist"),
    "numpy": (lambda maps: maps + float(maps.detach().numpy().mean()), "numpy"),
    "numpy, by the CPU": (by_numpy, "cpu"),
}


class Detector(nn.Module):
    def __init__(self, asks):
        super().__init__()
        self.backbone, self.head, self.asks = backbone(), nn.Conv2d(5, 3, 1).double(), asks

    def forward(self, x):
        return {"scores": self.head(self.asks(self.backbone(x)))}


def of(name):
    return Detector(ASKS[name][0]).eval()


def as_data(field):
    return field.shape, field.size, field.stride, field.offset, field.mixer, field.obstacle, field.spans


@pytest.mark.parametrize("name", ASKS)
def test_layers_that_ran_before_have_the_receptive_fields_of_the_backbone_alone(name):
    model = of(name)
    for layer in ("0", "2", "3", "5"):
        found, expected = (
            receptive_field(net, f"{prefix}{layer}", SHAPE) for net, prefix in ((model, "backbone."), (backbone(), ""))
        )
        assert as_data(found) == as_data(expected)
        assert as_data(receptive_field(model, f"backbone.{layer}#1", SHAPE)) == as_data(expected)
    assert as_data(receptive_field(model, "backbone", SHAPE)) == as_data(receptive_field(backbone(), "", SHAPE))


@pytest.mark.parametrize("name", ASKS)
def test_layers_that_run_later_are_refused_with_the_call_that_asks(name):
    with pytest.raises(ModelError, match="without values: ") as caught:
        receptive_field(of(name), "head", SHAPE)
    text = str(caught.value)
    assert "\n" not in text
    assert f"'{ASKS[name][1]}' in the model itself ({__file__}:" in text
    assert text.endswith(" asks for values")


@pytest.mark.parametrize("name", ASKS)
def test_all_layers_are_listed_and_those_before_with_their_fields(name):
    listed = {row[0]: row[1:] for row in layer_fields(of(name), SHAPE)}
    alone = {row[0]: row[1:] for row in layer_fields(backbone(), SHAPE)}
    assert list(listed) == [*(f"backbone.{layer}" for layer in alone), "backbone", "head"]
    for layer, (_, shape, field) in alone.items():
        assert listed[f"backbone.{layer}"][1] == shape
        assert as_data(listed[f"backbone.{layer}"][2]) == as_data(field)
    assert listed["head"][1][0] == 3
    assert listed["head"][2] is None


@pytest.mark.parametrize("name", ASKS)
def test_project_uses_crops_there_as_in_the_backbone_alone(name):
    model, x = of(name), image(*SHAPE, dtype=torch.float64)
    units = corners_edges_middle(outputs(backbone(), x, "5"))[::2]
    result = alone(model, x, "backbone.5", units)
    assert bool(result.from_crop.all())
    assert wrong(result, whole(backbone(), x, "5", units), 1e-10) == {}
    expected = alone(backbone(), x, "5", units)
    assert torch.equal(result.boxes, expected.boxes)
    assert all(map(torch.equal, result.patches, expected.patches))


@pytest.mark.parametrize("name", ASKS)
def test_strongest_searches_what_is_known(name):
    model, images = of(name), image(20, *SHAPE, dtype=torch.float64)
    found = strongest(model, images, k=3)
    assert list(found) == ["backbone.2", "backbone.5"]
    expected = brute_force(backbone(), images, ["2", "5"], 3)
    assert {layer: rows(top) for layer, top in found.items()} == {
        f"backbone.{layer}": best for layer, best in expected.items()
    }
    blocks = []
    model.backbone[0].register_forward_hook(lambda module, args, output: blocks.append(len(output)))
    assert list(strongest(model, images[:2], ["backbone.5"], k=1)) == ["backbone.5"]
    assert set(blocks) == {1}  # with a hook nothing is known without values


def test_images_run_together_as_far_as_the_layers_are_known():
    shapes = []
    note = Of(lambda x: (x.is_meta or shapes.append(len(x)), x)[1])
    model, images = nn.Sequential(note, of("if")).eval(), image(20, *SHAPE, dtype=torch.float64)
    strongest(model, images, ["1.backbone.2", "1.backbone.5"], k=1)
    assert shapes == [1, 20]  # one of them to count the layers' calls
    shapes.clear()
    strongest(model, images, ["1.backbone.2", "1.head"], k=1)
    assert shapes == [1] * 21


class Twice(nn.Module):
    """Runs one ReLU before it asks for values, and again after."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()

    def forward(self, x):
        h = self.relu(self.conv(x))
        return self.relu(h - 1) if h.sum() >= 0 else h


def test_a_module_that_runs_again_later_is_asked_for_by_its_call():
    model, x = Twice().eval(), image(2, *SHAPE)
    message = "layer 'relu' runs 2 times in one forward pass: name the call, 'relu#1' to 'relu#2'"
    for ask in (
        lambda: receptive_field(model, "relu", SHAPE),
        lambda: project(model, x, "relu", [(0, 1)]),
        lambda: strongest(model, x, "relu"),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    assert receptive_field(model, "relu#1", SHAPE).size == (3, 3)
    assert bool(alone(model, x[0], "relu#1", [(1, 5, 5), (0, 4, 4)]).from_crop.all())
    assert [row[0] for row in layer_fields(model, SHAPE)] == ["conv", "relu#1", "relu#2"]
    assert list(strongest(model, x, k=1)) == ["relu#1"]
    with pytest.raises(ModelError, match="without values"):
        receptive_field(model, "relu#2", SHAPE)


def test_an_image_that_the_model_does_not_take_is_refused_also_where_the_layer_has_run():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 30))
    for layer in ("1", "1#1"):
        with pytest.raises(ModelError, match="does not run on an input of shape"):
            receptive_field(model, layer, (3, 20, 20))
        with pytest.raises(InputError, match=r"does not take an image of shape \(3, 20, 20\)"):
            project(model, image(1, 3, 20, 20), layer, [(0, 1)])
    with pytest.raises(InputError, match=r"does not take an image of shape \(3, 20, 20\)"):
        strongest(model, image(1, 3, 20, 20), "1")


def test_a_model_that_fails_on_zeros_is_known_as_far_as_it_asks_for_values():
    model = Detector(lambda maps: maps.flatten()[(maps.flatten() > 9).nonzero()[:, 0]].max().view(1, 1, 1, 1)).eval()
    with pytest.raises(RuntimeError, match="max"):
        model(torch.zeros(1, *SHAPE, dtype=torch.float64))
    assert as_data(receptive_field(model, "backbone.5", SHAPE)) == as_data(receptive_field(backbone(), "5", SHAPE))
    assert [row[0] for row in layer_fields(model, SHAPE)] == [*(f"backbone.{n}" for n in range(6)), "backbone"]
    with pytest.raises(ModelError, match="asks for values"):
        receptive_field(model, "head", SHAPE)
    with torch.device("meta"):
        model = Detector(ASKS["if"][0])
    assert receptive_field(model.to("meta"), "backbone.5", SHAPE).size == (9, 9)


def test_where_no_layer_is_known_strongest_says_why():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(x if x.mean() > 0 else -x)

    x = image(2, *SHAPE)
    message = "name the layers (it does not run without values: "
    for model, cause in ((Looks(), "'bool' in the model itself"), (with_a_hook(), "there is a forward hook on")):
        with pytest.raises(InputError, match="no layer known to return rectified feature maps") as caught:
            strongest(model.eval(), x)
        assert message + cause in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"name the layers$"):  # it runs without values
        strongest(nn.Sequential(nn.Conv2d(3, 2, 3)).eval(), x)


def noisy(maps):
    return maps + torch.rand_like(maps) if maps.mean() > -9 else maps


def test_random_numbers_behind_the_layer_are_no_matter_and_before_it_they_are():
    model, x = Detector(noisy).eval(), image(3, *SHAPE, dtype=torch.float64)
    before = torch.get_rng_state()
    result, found = alone(model, x[0], "backbone.5", [(1, 2, 2), (3, 4, 9)]), strongest(model, x, k=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert bool(result.from_crop.all())
    assert rows(found["backbone.5"]) == brute_force(backbone(), x, ["5"], 2)["5"]
    for ask in (lambda: project(model, x, "head", [(0, 1)]), lambda: strongest(model, x, "head")):
        with pytest.raises(ModelError, match=r"expected the model in eval mode: .* is random"):
            ask()


def test_functional_dropout_is_refused_wherever_it_is_active():
    drop = nn.functional.dropout
    before = nn.Sequential(nn.Conv2d(3, 4, 3), Of(lambda x: drop(x, 0.5)), nn.ReLU()).eval()
    asked = nn.Sequential(Of(lambda x: x if x.mean() > 0 else -x), *before).eval()
    x = image(2, *SHAPE)
    for model, layer in ((before, "2"), (asked, "3")):
        for ask in (lambda: project(model, x, layer, [(0, 1)]), lambda: strongest(model, x, layer)):  # noqa: B023
            with pytest.raises(ModelError, match=r"expected the model in eval mode: .* is random"):
                ask()


def test_a_dry_run_that_ends_hands_over_what_it_knew():
    model, x = of("nonzero"), image(13, *SHAPE, dtype=torch.float64)
    with pytest.raises(DryRunError) as caught:
        dry_run(model, [x], reach=True)
    known = caught.value.known
    assert [run.layer.name for run in known] == [*(f"backbone.{layer}" for layer in range(6)), "backbone"]
    assert all(run.dry and run.reach is not None for run in known)
    runs = plain_run(model, [x[:1]], known=known)
    assert runs[: len(known)] == known
    assert [(run.layer.name, run.dry) for run in runs[len(known) :]] == [("head", False), ("", False)]


class OfImages(nn.Module):
    """A detector of torchvision's, which takes a list of images, for batches."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(list(x))


SMALL = {"min_size": 64, "max_size": 64}
DETECTORS = {
    "fasterrcnn_resnet50_fpn": (SMALL, "net.backbone.body.layer1.0.relu#1"),
    "retinanet_resnet50_fpn": (SMALL, "net.backbone.body.layer1.0.relu#1"),
    "ssdlite320_mobilenet_v3_large": ({}, "net.backbone.features.0.2.block.0.2"),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_torchvisions_detectors_are_served_as_they_are(name):
    options, layer = DETECTORS[name]
    torch.manual_seed(0)
    model = OfImages(getattr(detection, name)(weights=None, weights_backbone=None, **options)).eval()
    x = image(2, 3, 64, 64)
    field = receptive_field(model, layer, x.shape)
    assert field.obstacle  # it resizes the image
    expected = brute_force(model, x, [layer], 1, block=1)[layer]
    found = strongest(model, x, layer, k=1)
    assert rows(found[layer]) == expected
    assert field.shape[0] == len(expected)
    best = max(range(len(expected)), key=lambda number: expected[number][0][0])
    value, number, place = expected[best][0]
    choices = {"activations": "gradient"}
    result = project(model, x, layer, [(number, best, *place)], **choices)
    assert float(result.activations[0]) == pytest.approx(value, rel=1e-5)
    assert wrong(result, whole(model, x[number], layer, [(best, *place)], **choices), 1e-5) == {}


def test_batch_statistics_are_refused_where_the_layer_is_not_known():
    x, asks_first = image(2, *SHAPE), Of(lambda x: x if x.mean() > 0 else -x)
    model = nn.Sequential(asks_first, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train()
    for ask in (lambda: project(model, x, "3", [(0, 1)]), lambda: strongest(model, x, "3")):
        with pytest.raises(ModelError, match="expected the model in eval mode: module '2'"):
            ask()
