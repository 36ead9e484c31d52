import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deconv_attr.engine.layers import find_layer
from deconv_attr.errors import InputError
from deconv_attr.evidence.methods.class_map import starting_layer

CLASSES = 5


class MapPerClass(nn.Module):
    """A classifier that reads each score from a feature map of the class's own."""

    def __init__(self, relu=True, read="mean", softmax=False, functional=False, after=None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, CLASSES, 3, padding=1))
        self.relu = nn.ReLU() if relu and not functional else nn.Identity()
        self.functional, self.read, self.softmax = relu and functional, read, softmax
        self.after = nn.Linear(CLASSES, CLASSES) if after else None

    def forward(self, x):
        maps = self.relu(self.body(x))
        maps = F.relu(maps) if self.functional else maps
        pooled = {"mean": lambda m: F.adaptive_avg_pool2d(m, 1).flatten(1), "max": lambda m: m.amax((2, 3))}[self.read]
        scores = pooled(maps)
        scores = scores if self.after is None else self.after(scores)
        return scores.softmax(1) if self.softmax else scores


@pytest.fixture
def image():
    return torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("options", "layer"),
    [
        ({}, "relu"),
        ({"relu": False}, "relu"),  # an Identity, which returns the maps last
        ({"read": "max"}, "relu"),
        ({"softmax": True}, "relu"),
        ({"read": "max", "softmax": True}, "relu"),
    ],
    ids=str,
)
def test_the_layer_from_which_the_scores_are_read_is_found(options, layer, image):
    start = starting_layer(MapPerClass(**options).eval(), image)
    assert start.is_of_classes
    assert start.layer.label == layer


def test_as_many_maps_as_classes_are_not_enough(image):
    """Behind these maps comes a linear layer: a map is no class's own."""
    start = starting_layer(MapPerClass(after=True).eval(), image)
    assert not start.is_of_classes
    assert start.layer.label == "relu"  # the last of rectified maps


def test_maps_that_no_layer_returns_rectified_are_found_before_the_rectifier(image):
    """The scores are means of what F.relu returns, not of the convolution: the last rectified layer serves."""
    start = starting_layer(MapPerClass(functional=True).eval(), image)
    assert not start.is_of_classes
    assert start.layer.label == "body.1"


def test_a_classifier_with_linear_layers_starts_at_its_last_rectified_maps(image):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 7)
    )
    model.append(nn.ReLU())  # rectified, and no maps
    start = starting_layer(model, image)
    assert (start.layer.label, start.is_of_classes) == ("3", False)


def test_a_chosen_layer_is_kept_and_judged(image):
    model = MapPerClass().eval()
    inner, own = (starting_layer(model, image, find_layer(model, name)) for name in ("body.1", "relu"))
    assert (inner.layer.label, inner.is_of_classes) == ("body.1", False)
    assert (own.layer.label, own.is_of_classes) == ("relu", True)


def test_a_layer_that_runs_twice_needs_its_call(image):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Linear(3, 4)

        def forward(self, x):
            return self.head(self.relu(self.conv(self.relu(self.conv(x)))).mean((2, 3)))

    model = Twice().eval()
    assert starting_layer(model, image).layer.label == "relu#2"
    with pytest.raises(InputError, match="name the call"):
        starting_layer(model, image, find_layer(model, "relu"))


def test_a_model_without_maps_is_refused(image):
    with pytest.raises(InputError, match="expected a layer that returns rectified feature maps, got none"):
        starting_layer(nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 8, 4), nn.ReLU()), image)


def test_a_model_that_asks_for_values_is_run_with_them(image):
    class Asks(MapPerClass):
        def forward(self, x):
            return super().forward(x if x.sum() > 1e9 else x + 1)

    start = starting_layer(Asks().eval(), image)
    assert (start.layer.label, start.is_of_classes) == ("relu", True)


def test_a_model_with_a_hook_has_its_rectified_maps_too(image):
    model = MapPerClass(after=True).eval()
    model.body[0].register_forward_hook(lambda *given: None)
    start = starting_layer(model, image)
    assert (start.layer.label, start.is_of_classes) == ("relu", False)
