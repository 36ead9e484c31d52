"""What kinds of models and inputs ``project``, ``strongest`` and ``receptive_field`` serve, and what they refuse."""

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from searching import brute_force, rows
from test_projection import image, whole, wrong
from torch import nn

from deconv_attr import project, receptive_field, strongest
from deconv_attr.errors import InputError, ModelError

SHAPE = (3, 20, 18)
X = image(2, *SHAPE, dtype=torch.float64)


def net():
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU()
    for conv in parts[::2]:
        nn.init.ones_(conv.bias)  # all units live
    return nn.Sequential(*parts).double().eval()


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.net, self.make = net(), make

    def forward(self, x):
        return self.make(self.net(x))


@dataclasses.dataclass
class Fields:
    logits: torch.Tensor
    hidden: Any = None


class Named(NamedTuple):
    logits: torch.Tensor


class ModelOutput(OrderedDict):
    """As transformers' own: a dict whose entries are attributes, too."""

    def __getattr__(self, name):
        return self[name]


OUTPUTS = {
    "dict": lambda maps: {"logits": maps},
    "tuple": lambda maps: (maps, [maps]),
    "named tuple": Named,
    "dataclass": Fields,
    "ModelOutput": lambda maps: ModelOutput(logits=maps),
    "nothing": lambda maps: None,
    "text": lambda maps: "done",
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_output_of_the_model_is_no_matter(name):
    model = Returns(OUTPUTS[name]).eval()
    field, expected = receptive_field(model, "net.3", SHAPE), receptive_field(net(), "3", SHAPE)
    assert (field.size, field.stride, field.spans) == (expected.size, expected.stride, expected.spans)
    units = [(0, 1, 2, 2), (1, 2, 3, 1)]
    result = project(model, X, "net.3", units)
    for number, (example, *unit) in enumerate(units):
        assert (result.full(number) - whole(net(), X[example], "3", [tuple(unit)])[0]).abs().max() < 1e-12
    for layers in (None, ["net.1", "net.3"]):
        found = strongest(model, X, layers, k=2)
        assert {layer: rows(top) for layer, top in found.items()} == {
            f"net.{layer}": best for layer, best in brute_force(net(), X, ["1", "3"], 2).items()
        }


class Needs(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.net = net()
        self.run = forward

    def forward(self, x, scale, *, shift, twice=False):
        return self.net(x) * scale + shift


class May(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x, mask=None, *rest, **more):
        return self.net(x if mask is None else x * mask)


def asks(model, data=X, layer="net.1", shape=SHAPE):
    """Return the three calls."""
    return {
        "project": lambda: project(model, data, layer, [(0, 1)]),
        "strongest": lambda: strongest(model, data, layer, k=1),
        "strongest of all": lambda: strongest(model, data, k=1),
        "receptive_field": lambda: receptive_field(model, layer, shape),
    }


def refused(calls, kind, *words):
    for name, call in calls.items():
        with pytest.raises(kind) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text
        assert len(text) < 400
        for word in words:
            assert word in text, (name, text)


@pytest.mark.parametrize("data", [X, (X, X), [X, X], (X, X[:, 0, 0])], ids=["image", "tuple", "list", "vector"])
def test_a_model_that_needs_more_than_an_image_is_refused_and_what_it_needs_is_named(data):
    refused(asks(Needs(None).eval(), data), ModelError, "'scale', 'shift' too", "wrap it", "NeuronZFDeconv")


def test_a_model_that_may_have_more_and_one_whose_hook_gives_it_are_served():
    given = Needs(None).eval()
    for call in asks(May().eval()).values():
        call()
    handle = given.register_forward_pre_hook(lambda module, args: ((*args, 2.0), {"shift": 1.0}))
    handle.remove()
    given.register_forward_pre_hook(lambda module, args, kwargs: ((*args, 2.0), {"shift": 1.0}), with_kwargs=True)
    result = project(given, X, "net.1", [(0, 1, 2, 2)])
    assert wrong(result, whole(net(), X[0], "1", [(1, 2, 2)]), 1e-12) == {}
    assert rows(strongest(given, X, "net.1", k=2)["net.1"]) == brute_force(net(), X, ["1"], 2)["1"]


SEVERAL = {"a tuple": (X, X), "a list": [X, X], "unlike each other": (X, X[:, 0])}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_inputs_are_no_images(name):
    calls = asks(May().eval(), SEVERAL[name])
    del calls["receptive_field"]
    refused(calls, InputError, "(2, 3, 20, 18)", "each image is one (C, H, W)", "NeuronZFDeconv")


def test_a_tuple_of_images_is_a_list_of_images():
    found = project(net(), tuple(X), "3", [(0, 1, 2, 2), (1, 2, 3, 1)])
    expected = project(net(), X, "3", [(0, 1, 2, 2), (1, 2, 3, 1)])
    assert all(map(torch.equal, found.patches, expected.patches))
    assert rows(strongest(net(), tuple(X), "3", k=2)["3"]) == brute_force(net(), X, ["3"], 2)["3"]


def test_a_dict_has_no_images_by_number():
    calls = asks(net(), {"x": X}, "1")
    del calls["receptive_field"]
    refused(calls, InputError, "got a dict")


@pytest.mark.parametrize("data", [torch.ones(2, 8).long(), torch.ones(2, *SHAPE).byte(), [torch.ones(8).long()]])
def test_integers_are_refused(data):
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3), nn.ReLU()).eval()
    calls = asks(model, data, "2", (8,))
    field = calls.pop("receptive_field")
    refused(calls, InputError, "image 0", "floating point", f"torch.{str(data[0].dtype)[6:]}", "a real number")
    refused({"receptive_field": field}, ModelError, "'indices'", "torch.float32")


def test_a_single_image_without_a_batch_is_refused():
    calls = asks(net(), X[0], "1")
    del calls["receptive_field"]
    refused(calls, InputError, "(20, 18)", "a batch of one, (1, C, H, W)")


def one_map():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()).double().eval()


def test_a_grey_image_without_a_batch_is_refused_though_the_model_takes_it():
    calls = asks(one_map(), X[0, :1], "1")
    del calls["receptive_field"]
    refused(calls, InputError, "got rows of shape (20, 18)", "a batch of one, (1, C, H, W)")
    for layer, shape in (("0", (4, 20)), ("1", (4, 20))):  # sequences (C, L) are images of one axis
        sequence = nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU()).double().eval()
        assert strongest(sequence, image(2, *shape, dtype=torch.float64), layer, k=1)[layer].positions.shape[-1] == 1


def test_a_model_that_takes_sequences_one_at_a_time_is_served():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 2, 3).double()

        def forward(self, x):
            assert len(x) == 1
            return self.conv(x)

    x = image(2, 4, 20, dtype=torch.float64)
    assert len(project(One().eval(), x, "conv", [(0, 1, 2), (1, 0, 3)])) == 2
    assert list(strongest(One().eval(), x, "conv", k=1)) == ["conv"]


SHAPES = {
    "negative": ((3, -1, 16), "(3, -1, 16)"),
    "fractions": ((3.0, 16, 16), "(3.0, 16, 16)"),
    "words": ("abc", "'abc'"),
    "a number": (5, "got 5"),
    "nothing": (None, "got None"),
    "no number": ((), "got ()"),
    "the image itself": (torch.zeros(1, 1, 1), "got tensor"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_no_shape_is_refused(name):
    shape, words = SHAPES[name]
    refused({"receptive_field": lambda: receptive_field(net(), "1", shape)}, InputError, "(C, H, W)", words)


def test_numbers_of_any_kind_make_a_shape():
    expected = receptive_field(net(), "3", SHAPE)
    for shape in (torch.Size(SHAPE), list(SHAPE), torch.tensor(SHAPE), (2, *SHAPE)):
        assert receptive_field(net(), "3", shape).spans == expected.spans


def quantised():
    model = nn.Sequential(net().float(), nn.Flatten(), nn.Linear(256, 2))
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def exported(*, whole_program):
    program = torch.export.export(net(), (X,))
    return program if whole_program else program.module()


REFUSED = {
    "quantised": (quantised, ("quantised", "the model as it was before")),
    "scripted": (lambda: torch.jit.script(net()), ("TorchScript", "the original Module")),
    "traced": (lambda: torch.jit.trace(net(), X), ("TorchScript", "the original Module")),
    "a script inside": (lambda: nn.Sequential(torch.jit.script(net())), ("module '0' is TorchScript",)),
    "exported": (lambda: exported(whole_program=True), ("torch.nn.Module, got ExportedProgram",)),
    "exported, as a module": (lambda: exported(whole_program=False), ("torch.export", "the Module that was exported")),
    "a function": (lambda: torch.relu, ("torch.nn.Module",)),
}


@pytest.mark.filterwarnings("ignore")  # torch's of its old tools
@pytest.mark.parametrize("name", REFUSED)
def test_models_without_layers_of_their_own_are_refused_in_one_sentence(name):
    make, words = REFUSED[name]
    refused(asks(make(), layer="0"), ModelError, *words)


@pytest.mark.parametrize("wrap", [torch.fx.symbolic_trace, torch.compile, nn.DataParallel])
def test_models_whose_layers_still_run_are_served(wrap):
    model = wrap(net())
    prefix = {torch.fx.symbolic_trace: "", torch.compile: "_orig_mod.", nn.DataParallel: "module."}[wrap]
    layer = f"{prefix}3"
    assert receptive_field(model, layer, SHAPE).size == (5, 5)
    result = project(model, X, layer, [(0, 1, 2, 2)])
    assert wrong(result, whole(net(), X[0], "3", [(1, 2, 2)]), 1e-12) == {}
    for layers in (layer, None):
        assert rows(strongest(model, X, layers, k=2)[layer]) == brute_force(net(), X, ["3"], 2)["3"]


TRAINING = {
    "dropout": nn.Dropout(),
    "dropout of maps": nn.Dropout2d(),
    "batch norm": nn.BatchNorm2d(4),
}


@pytest.mark.parametrize("name", TRAINING)
def test_a_model_in_training_mode_is_refused_where_that_counts(name):
    model = nn.Sequential(*net()[:2], TRAINING[name].double(), nn.ReLU()).train()
    calls = asks(model, X, "3")
    calls.pop("receptive_field")()  # what is read is the same
    refused(calls, ModelError, "expected the model in eval mode", "module '2'")
    assert len(project(model, X, "1", [(0, 1, 2, 2)])) == 1  # nothing random has run by then
    assert list(strongest(model, X, "1", k=1)) == ["1"]
