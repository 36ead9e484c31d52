"""A trained network and photographs; skipped where the folder with them is missing."""

import re
import warnings
from copy import deepcopy

import captum.attr
import pytest
import torch
import torchvision
from oracle import project_class, relative_error
from PIL import Image
from torchvision.models import SqueezeNet1_0_Weights
from trained import DATA, WEIGHTS, squeezenet

from deconv_attr import DeadSignalWarning, ZFDeconv

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="the trained weights are not here")


@pytest.fixture(scope="module")
def model():
    return squeezenet()


@pytest.fixture(scope="module")
def photographs():
    files = sorted((DATA / "imagenet_sample").glob("*.jpg"))[::31][:16]
    prepare = SqueezeNet1_0_Weights.DEFAULT.transforms()
    return torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])


@pytest.fixture(scope="module")
def maps(model, photographs):
    """Ours, the top classes, and the warnings."""
    with torch.no_grad():
        top = model(photographs).argmax(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attributions, report = ZFDeconv(model).attribute(
            photographs, target=top, internal_batch_size=4, return_coverage=True
        )
    return attributions, top, caught, report


def test_the_dying_signal_is_reported_on_exactly_the_images_whose_map_is_zero(model, photographs, maps):
    attributions, top, caught, report = maps
    zero = (~attributions.flatten(1).any(1)).nonzero().flatten().tolist()
    assert 8 < len(zero) < 16  # trained SqueezeNet loses the signal on most photographs, as the README says
    assert {warning.category for warning in caught} == {DeadSignalWarning}
    assert list(report.notes) == [str(warning.message) for warning in caught]
    assert sum(int(re.search(r"died for (\d+) of 16", str(w.message))[1]) for w in caught) == len(zero)
    assert any("'relu' in module 'features.9.squeeze_activation'" in str(w.message) for w in caught)
    for example in range(5):  # one by one, so that the sentence names a single image
        with warnings.catch_warnings(record=True) as alone:
            warnings.simplefilter("always")
            ZFDeconv(model).attribute(photographs[example : example + 1], target=top[example : example + 1])
        assert bool(alone) == (example in zero)


def test_agrees_with_captum_on_photographs(model, photographs, maps):
    """In double precision. In single precision either is some 1e-6 off, for sums are rounded in another order."""
    attributions, top, _, _ = maps
    alive = attributions.flatten(1).any(1)
    net, x = deepcopy(model).double(), photographs[alive].double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = captum.attr.Deconvolution(net).attribute(x.clone(), target=top[alive])
    assert relative_error(ZFDeconv(net).attribute(x, target=top[alive]), expected) < 1e-12
    for found, exact in zip(attributions[alive].double(), expected, strict=True):
        assert relative_error(found, exact) < 1e-5


def test_agrees_with_the_oracle_on_a_photograph(model, photographs, maps):
    attributions, top, _, _ = maps
    alive = int(attributions.flatten(1).any(1).nonzero()[0])
    net, x = torchvision.models.squeezenet1_0(weights=None).double().eval(), photographs[alive : alive + 1].double()
    net.load_state_dict(model.state_dict())
    (expected,) = project_class(net, (x,), int(top[alive]))
    assert relative_error(ZFDeconv(net).attribute(x, target=int(top[alive])), expected) < 1e-10


def test_a_single_unit_survives_where_the_class_score_dies(model, photographs, maps):
    """The paper's start, by the part of the model up to a convolution: what the warning recommends."""
    attributions, top, _, _ = maps
    dead = (~attributions.flatten(1).any(1)).nonzero().flatten()
    part = torch.nn.Sequential(model.features, model.classifier[:2])
    with torch.no_grad():
        scores = part(photographs[dead])
    units = []
    for score, target in zip(scores, top[dead].tolist(), strict=True):
        row, column = divmod(int(score[target].argmax()), score.shape[-1])
        units.append((target, row, column))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ZFDeconv(part).attribute(photographs[dead], target=units)
    assert found.flatten(1).any(1).all()
