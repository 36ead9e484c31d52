"""Networks of timm, torchvision, segmentation_models_pytorch, MONAI and transformers, with random weights.

``pip install -e '.[test,zoo]'``; those of a library that is not installed are skipped.
"""

import pytest
import torch
import torch.nn.functional as F
from oracle import relative_error
from rectifying import project_score
from torch import nn
from zoo_nets import ZOO, make

from deconv_attr import LayerZFDeconv, NeuronZFDeconv, ScoredModel, ZFDeconv
from deconv_attr.errors import ModelError

LAYERS = {name: case for name, case in ZOO.items() if case.layer}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """At these sizes threads wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ZOO)
def test_a_map_is_that_of_autograd_with_rectified_signals(name):
    case = ZOO[name]
    model, x = make(case)
    (expected,) = project_score(model, case.score, (x,), case.activations == "rectify")
    assert expected.any()
    method = ZFDeconv(ScoredModel(model, case.score), activations=case.activations)
    assert relative_error(method.attribute(x), expected) < 1e-10


class UpTo(nn.Module):
    """A model that returns what one of its layers does, and runs on with a copy of it."""

    def __init__(self, model, layer):
        super().__init__()
        self.model, self.layer = model, layer

    def forward(self, x):
        found = []
        with self.layer.register_forward_hook(lambda module, args, output: (found.append(output), output.clone())[1]):
            return self.model(x), found[0]


@pytest.mark.parametrize("name", LAYERS)
def test_the_signal_at_a_layer_is_that_of_autograd(name):
    case = LAYERS[name]
    model, x = make(case)
    layer = model.get_submodule(case.layer)
    found = LayerZFDeconv(ScoredModel(model, case.score), layer).attribute(x)

    seen = []

    def score(outputs):
        output, at_layer = outputs
        at_layer.register_hook(seen.append)
        return case.score(output)

    project_score(UpTo(model, layer), score, (x,))
    assert seen[0].any()
    assert relative_error(found, seen[0]) < 1e-10


@pytest.mark.parametrize("name", LAYERS)
def test_a_units_map_is_that_of_autograd(name):
    case = LAYERS[name]
    model, x = make(case)
    layer = model.get_submodule(case.layer)
    found = NeuronZFDeconv(ScoredModel(model, case.score), layer).attribute(x, 1)
    (expected,) = project_score(UpTo(model, layer), lambda outputs: outputs[1][:, 1].flatten(1).amax(1), (x,))
    assert expected.any()
    assert relative_error(found, expected) < 1e-10


@pytest.mark.parametrize("name", ["transformers ViT", "transformers ConvNeXt"])
def test_the_gradients_of_a_model_without_rectifiers_are_no_deconvnet(name):
    model, x = make(ZOO[name])
    with pytest.raises(ModelError, match="ran no rectifier"):
        ZFDeconv(ScoredModel(model, ZOO[name].score), activations="gradient").attribute(x)


# ------------------------------------------------------------------------------ what they are compared with, by hand

FIRST, LAST = torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[1.0, -1.0]])

SPELLINGS = {
    "F.relu": F.relu,
    "F.relu in place": lambda h: F.relu(h, inplace=True),
    "torch.relu": torch.relu,
    "h.relu_": lambda h: h.relu_(),
    "nn.ReLU": nn.ReLU(inplace=True),
    "nn.ReLU6": nn.ReLU6(),
    "hardtanh": lambda h: F.hardtanh(h, 0, 20),
    "clamp": lambda h: h.clamp(min=0),
    "clamp_min_": lambda h: h.clamp_min_(0),
    "threshold": lambda h: F.threshold(h, 0, 0),
}


@pytest.mark.parametrize("rectifier", SPELLINGS.values(), ids=SPELLINGS)
def test_the_comparison_rectifies_the_signal_whatever_was_active(rectifier):
    x = torch.tensor([[-1.0, -1.0]])  # hidden: (-3, -2); the signal above is (1, -1), rectified (1, 0)
    (found,) = project_score(lambda x: rectifier(x @ FIRST.T) @ LAST.T, lambda output: output[:, 0], (x,))
    assert torch.equal(found, torch.tensor([[1.0, 2.0]]))


def test_the_comparison_rectifies_the_sum_of_the_signals_above_a_rectifier_in_place():
    def model(x):
        h = x @ FIRST.T
        rectified = F.relu(h, inplace=True)  # h itself: both summands are above it
        return rectified @ LAST.T + h @ torch.tensor([[-0.5, 2.0]]).T

    (found,) = project_score(model, lambda output: output[:, 0], (torch.ones(1, 2),))
    assert torch.equal(found, torch.tensor([[0.5, 1.0]]) + torch.tensor([[3.0, -1.0]]))


def test_the_comparison_unpools_at_the_switches_and_scales_by_batch_norm():
    x = torch.tensor([[[1.0, 5.0, 2.0, 3.0]]])
    norm = nn.BatchNorm1d(1, eps=0).eval()
    norm.running_var.fill_(4)
    norm.weight.data.fill_(3)

    def model(x):
        return F.max_pool1d(F.relu(norm(x)), 3, 1) * torch.tensor([2.0, 5.0])

    (found,) = project_score(model, lambda output: output[:, 0].sum(1), (x,))
    assert torch.equal(found, torch.tensor([[[0.0, 7.0 * 3 / 2, 0.0, 0.0]]]))
