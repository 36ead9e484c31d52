"""ZFDeconv against the oracle on the difficult graphs; and Captum's error there, so that we notice if it is mended."""

import warnings

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from nets import DIFFICULT, CrossMapNorm, Net, Twin, build
from oracle import project, project_class, relative_error
from state import graphs_left
from torch import nn

from deconv_attr import TABLES, ZFDeconv, coverage


def captums_map(model, x, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return captum.attr.Deconvolution(model).attribute(x, **kwargs)


@pytest.fixture(params=DIFFICULT, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def test_agrees_with_the_oracle(kind):
    net, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    for target in range(4):
        (expected,) = project_class(net.twin(), (x,), target)
        assert expected.any()
        assert relative_error(ZFDeconv(net).attribute(x, target=target), expected) < 1e-10


@pytest.mark.parametrize("table", TABLES)
def test_each_table_agrees_with_the_oracle(kind, table):
    if kind is CrossMapNorm and table != "DeconvNet":
        pytest.skip("torch's CrossMapLRN2d keeps the first channel in every sum: its twin has other numbers")
    net, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    (expected,) = project_class(net.twin(), (x,), 1, table=table)
    assert expected.any()
    assert relative_error(ZFDeconv(net, rules=TABLES[table]).attribute(x, target=1), expected) < 1e-10


def test_captum_is_right_or_wrong_as_we_say(kind):
    net, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    (expected,) = project_class(net.twin(), (x,), 1)
    if kind.captum == "raises":
        with pytest.raises((RuntimeError, TypeError, IndexError, AttributeError, AssertionError)):
            captums_map(net, x.clone(), target=1)
    else:
        wrong = relative_error(captums_map(net, x.clone(), target=1), expected) > 1e-3
        assert wrong == (kind.captum == "wrong")


def test_agrees_in_channels_last(kind):
    net, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    (expected,) = project_class(net.twin(), (x,), 2)
    net = net.to(memory_format=torch.channels_last)
    found = ZFDeconv(net).attribute(x.to(memory_format=torch.channels_last), target=2)
    assert found.is_contiguous()
    assert relative_error(found, expected) < 1e-10


def test_the_forward_pass_computes_what_it_computes_without_us(kind):
    net, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    seen = []
    net.head.register_forward_hook(lambda module, args, output: seen.append(output.detach().clone()))
    plain = net(x.clone())
    ZFDeconv(net).attribute(x, target=0)
    assert torch.equal(seen[0], plain)
    assert torch.equal(seen[1], plain)


def test_no_call_leaves_its_graph_in_memory(kind):
    net, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    with graphs_left() as left:
        ZFDeconv(net).attribute(x, target=1)
    assert left == []


class WithSecondInput(Net):
    """A ReLU branch that only the second argument feeds."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x, y):
        return self.head(self.relu(self.conv2(self.relu(self.conv1(x)) + self.relu(self.other(y)))).mean((2, 3)))


def test_a_relu_branch_of_additional_arguments_with_frozen_weights():
    net = build(WithSecondInput).requires_grad_(False)
    x, y = torch.randn(2, 2, 3, 9, 9, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        captums_map(net, x.clone(), target=1, additional_forward_args=y)
    (expected,) = project_class(net, (x,), 1, (y,))
    assert relative_error(ZFDeconv(net).attribute(x, target=1, additional_forward_args=y), expected) < 1e-10


def test_two_inputs_each_get_their_own_map():
    net = build(WithSecondInput)
    x, y = torch.randn(2, 2, 3, 9, 9, dtype=torch.float64)
    for found, expected in zip(ZFDeconv(net).attribute((x, y), target=3), project_class(net, (x, y), 3), strict=True):
        assert relative_error(found, expected) < 1e-10


class IgnoresItsSecondInput(Net):
    def forward(self, x, y):
        return self.head(self.relu(self.conv1(x)).mean((2, 3)))


def test_an_input_the_model_does_not_use_gets_zeros():
    net = build(IgnoresItsSecondInput)
    x, y = torch.randn(2, 2, 3, 9, 9, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        captums_map(net, (x.clone(), y.clone()), target=1)
    first, second = ZFDeconv(net).attribute((x, y), target=1)
    assert relative_error(first, project_class(net, (x, y), 1)[0]) < 1e-10
    assert torch.equal(second, torch.zeros_like(y))


class Segmenter(Net):
    """SegNet's way: the switches of the pool serve the unpooling above it."""

    def forward(self, x):
        h, indices = F.max_pool2d(self.relu(self.conv1(x)), 3, 3, return_indices=True)
        return self.head(F.relu(self.conv2(F.max_unpool2d(h, indices, 3, 3))).mean((2, 3)))


def test_unpooling_in_the_forward_pass_is_linear():
    net, x = build(Segmenter), torch.randn(2, 3, 9, 9, dtype=torch.float64)
    h = net.relu(net.conv1(x))
    _, indices = F.max_pool2d(h, 3, 3, return_indices=True)
    kept = torch.zeros(2, 12, 81, dtype=torch.float64).scatter(2, indices.flatten(2), 1).view_as(h)

    def features(self, x):  # unpooling after pooling keeps the maxima where they are
        return F.relu(self.conv2(kept * F.relu(self.conv1(x))))

    (expected,) = project_class(Twin(net, features), (x,), 1)
    assert relative_error(ZFDeconv(net).attribute(x, target=1), expected) < 1e-10


def test_one_unit_of_a_feature_map_by_a_tuple_target():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 4, 3)).double()
    x = torch.randn(2, 3, 13, 13, dtype=torch.float64)
    start = torch.zeros(2, 4, 3, 3, dtype=torch.float64)
    start[:, 2, 1, 0] = 1
    (expected,) = project(net, (x,), start)
    assert relative_error(ZFDeconv(net).attribute(x, target=(2, 1, 0)), expected) < 1e-10


def test_every_rectifier_and_pool_of_a_difficult_graph_is_covered(kind):
    net = build(kind)
    report = coverage(net, torch.randn(kind.shape, dtype=torch.float64))
    assert len(report.rectifiers) >= 2
    assert {call.rule for call in report.rectifiers} == {"rectify"}
    assert report.uncovered == []
