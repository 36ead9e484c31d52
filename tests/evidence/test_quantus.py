"""Quantus' metrics on the same maps: equal where they define the same thing. Skipped where Quantus is not installed."""

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

from deconv_attr.evidence import cascade, deletion, infidelity, parameter_randomisation
from deconv_attr.evidence.methods import Method

quantus = pytest.importorskip("quantus", reason="needs Quantus: pip install quantus")
pytestmark = pytest.mark.filterwarnings("ignore")

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(3, 1, 8, 8, generator=GENERATOR)
MAPS = torch.randn(3, 1, 8, 8, generator=GENERATOR)
TARGET = torch.tensor([1, 3, 0])
GIVEN = {"disable_warnings": True, "display_progressbar": False}


class Stored:
    """A layer whose random weights depend on their shapes alone, so that Quantus and we draw the same."""

    trained = False

    def reset_parameters(self):  # also called when the layer is made, whose weights are others
        for parameter in self.parameters():
            parameter.data = stored_like(parameter) if self.trained else 0.3 * stored_like(parameter).flip(0)


class StoredConv(Stored, nn.Conv2d):
    pass


class StoredLinear(Stored, nn.Linear):
    pass


def stored_like(parameter):
    """Return numbers that depend on a tensor's shape alone."""
    drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return drawn / parameter[0].numel() ** 0.5


def net():
    layers = StoredConv(1, 4, 3), nn.Tanh(), StoredConv(4, 5, 3), nn.Tanh(), nn.Flatten(), StoredLinear(80, 4)
    model = nn.Sequential(*layers).eval()
    for layer in model:
        layer.trained = True
    return model


def arrays(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


def test_parameter_randomisation_is_mprt_from_the_top_down(monkeypatch):
    monkeypatch.setattr(cascade, "_random_like", lambda parameter, generator: stored_like(parameter))
    model = net()
    method = Method(Saliency(model), arguments={"abs": False})

    def explain(model, inputs, targets, **_):
        x = torch.as_tensor(inputs).requires_grad_()
        return Saliency(model).attribute(x, torch.as_tensor(targets), abs=False).detach().numpy()

    for absolute in (False, True):
        mprt = quantus.MPRT(abs=absolute, normalise=False, layer_order="top_down", **GIVEN)
        x, y = arrays(X, TARGET)
        expected = mprt(model=model, x_batch=x, y_batch=y, explain_func=explain, channel_first=True, device="cpu")
        found = parameter_randomisation(model, method, X, TARGET, draws=1)
        stages = [each for name, each in expected.items() if name != "original"]
        assert [name for name in expected if name != "original"] == list(found.layers) == ["5", "2", "0"]
        np.testing.assert_allclose(found.absolute if absolute else found.signed, stages, atol=1e-6)


@pytest.mark.parametrize("softmax", [True, False], ids=["probabilities", "scores"])
def test_deletion_is_pixel_flipping_with_the_mean(softmax):
    model = net()
    flipping = quantus.PixelFlipping(
        features_in_step=8, perturb_baseline="mean", abs=False, normalise=False, return_auc_per_sample=False, **GIVEN
    )
    x, y, a = arrays(X, TARGET, MAPS)
    expected = flipping(model=model, x_batch=x, y_batch=y, a_batch=a, channel_first=True, softmax=softmax, device="cpu")
    found = deletion(model, MAPS, X, TARGET, steps=8, outputs="logits" if softmax else "values")
    # Quantus takes the mean of the image as it is at each step: the deleted pixels hardly move it.
    np.testing.assert_allclose(found[1].numpy(), np.array(expected)[:, 0], atol=1e-6)
    np.testing.assert_allclose(found[1:].numpy().T, expected, atol=0.02)


def test_infidelity_differs_as_its_docstring_says():
    """Of a linear model both are 0 for the gradient; of twice the gradient ours alone, for a map has no unit."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False)).eval()
    gradient = model[1].weight[TARGET].detach().view(3, 1, 8, 8)
    quantuss = quantus.Infidelity(
        perturb_baseline="black", perturb_patch_sizes=[2], n_perturb_samples=1, abs=False, normalise=False, **GIVEN
    )
    for factor, exact in ((1.0, True), (2.0, False)):
        x, y, a = arrays(X, TARGET, factor * gradient)
        theirs = quantuss(model=model, x_batch=x, y_batch=y, a_batch=a, channel_first=True, device="cpu")
        assert (max(theirs) < 1e-8) == exact
        assert (min(theirs) > 1e-2) != exact
        assert infidelity(model, factor * gradient, X, TARGET).max() < 1e-6
