"""The coverage report: what it lists, where it says it was, and how it prints."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from deconv_attr import GRADIENT, GUIDED_BACKPROP, Kind, ZFDeconv, coverage
from deconv_attr.rules.identify import identify, operation_name


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.register_buffer("mask", torch.ones(4, 1, 1))

    def forward(self, x):
        h = self.relu(self.conv(x))
        h = F.relu(h - 1) * self.mask  # this line is looked for below
        return h + h.shape[0] * torch.sigmoid(h)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.tail = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2))

    def forward(self, x):
        return self.tail(self.block(x))


LINE = next(
    i for i, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith("is looked for below")
)


def test_every_call_is_listed_in_order_with_its_rule_and_source():
    report = coverage(Model(), torch.randn(1, 3, 4, 4))
    here = f"{__file__}:{LINE}"
    after = f"{__file__}:{LINE + 1}"
    assert [(c.path, c.operation, c.rule, c.source) for c in report.calls] == [
        ("block.conv", "conv2d", "adjoint", ""),
        ("block.relu", "relu", "rectify", ""),
        ("block", "sub", "adjoint", here),
        ("block", "relu", "rectify", here),
        ("block", "mul", "adjoint", here),
        ("block", "sigmoid", "gradient", after),
        ("block", "mul", "adjoint", after),
        ("block", "add", "adjoint", after),
        ("tail.0", "max_pool2d", "unpool", ""),
        ("tail.1", "flatten", "adjoint", ""),
        ("tail.2", "linear", "adjoint", ""),
    ]


def test_it_prints_as_a_table():
    text = str(coverage(Model(), torch.randn(1, 3, 4, 4))).splitlines()
    assert text[0].split() == ["module", "operation", "rule", "source"]
    assert text[4].split() == ["block", "relu", "rectify", f"test_coverage.py:{LINE}"]
    assert text[-1].startswith("11 calls (7 linear: adjoint; 2 rectifier: rectify; 1 gate or head: gradient;")
    starts = {line.index(f" {word} ") for line, word in zip(text[1:5], ["conv2d", "relu", "sub", "relu"], strict=True)}
    assert len(starts) == 1  # the columns are aligned


def test_the_report_of_an_attribution_is_the_same():
    model, x = Model(), torch.randn(1, 3, 4, 4)
    _, report = ZFDeconv(model).attribute(x, target=1, return_coverage=True)
    assert str(report) == str(coverage(model, x))


@pytest.mark.parametrize(("rules", "rule"), [(GUIDED_BACKPROP, "guided"), (GRADIENT, "gradient")])
def test_another_table_is_reported_as_such(rules, rule):
    report = coverage(Model(), torch.randn(1, 3, 4, 4), rules=rules)
    assert [call.rule for call in report.rectifiers] == [rule, rule]


def test_a_product_of_two_signals_is_a_gate():
    class Product(nn.Module):
        def forward(self, x):
            h = torch.relu(x)
            return h * h.flip(1)

    report = coverage(Product(), torch.randn(1, 4))
    assert [(call.operation, call.kind) for call in report.calls][-1] == ("mul", Kind.GATE)


def test_what_the_signal_does_not_go_through_is_not_listed():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            scale = torch.relu(self.weight).sum()
            size = torch.tensor(x.shape).float().relu()
            return torch.relu(x) * scale * size[0] + x.detach().relu().sum()

    assert [call.operation for call in coverage(Beside(), torch.randn(1, 4)).calls] == ["relu", "mul", "mul", "add"]


def test_the_report_of_googlenet_names_the_lines_of_torchvision():
    model = torchvision.models.googlenet(weights=None, init_weights=False).eval()
    report = coverage(model, torch.randn(1, 3, 64, 64))
    assert len(report.rectifiers) == 57
    file, line = report.rectifiers[0].source.rsplit(":", 1)
    assert file.endswith("googlenet.py")
    assert "relu" in Path(file).read_text().splitlines()[int(line) - 1]


def test_a_model_may_return_anything_to_a_report():
    class Dictionary(nn.Module):
        def forward(self, x):
            return {"out": torch.relu(x), "aux": [torch.sigmoid(x)]}

    assert [call.operation for call in coverage(Dictionary(), torch.randn(1, 4)).calls] == ["relu", "sigmoid"]


ZEROS, ONES, X = torch.zeros(3), torch.ones(3), torch.randn(3, requires_grad=True)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "kind"),
    [
        (torch.relu, (X,), {}, Kind.RECTIFIER),
        (torch.Tensor.relu_, (X,), {}, Kind.RECTIFIER),
        (torch.clamp, (X, 0), {}, Kind.RECTIFIER),
        (torch.clip, (X,), {"min": 0, "max": 6}, Kind.RECTIFIER),
        (torch.Tensor.clamp_, (X,), {"min": ZEROS}, Kind.RECTIFIER),
        (torch.clamp, (X,), {"min": 0.1}, Kind.ACTIVATION),
        (torch.clamp, (X,), {"max": 1}, Kind.ACTIVATION),
        (torch.clamp, (X, 0, 0), {}, Kind.ACTIVATION),
        (torch.clamp, (X,), {"min": ONES}, Kind.ACTIVATION),
        (F.hardtanh, (X, 0, 1), {}, Kind.RECTIFIER),
        (F.hardtanh, (X,), {}, Kind.ACTIVATION),
        (F.threshold, (X, 0, 0), {}, Kind.RECTIFIER),
        (F.threshold, (X, 0, 1), {}, Kind.ACTIVATION),
        (F.threshold, (X, 1, 0), {}, Kind.ACTIVATION),
        (torch.maximum, (X, ZEROS), {}, Kind.RECTIFIER),
        (torch.max, (ZEROS, X), {}, Kind.RECTIFIER),
        (torch.maximum, (X, ONES), {}, Kind.ACTIVATION),
        (torch.maximum, (X, X), {}, Kind.GATE),
        (torch.max, (X, 0), {}, Kind.GATE),
        (torch.Tensor.__add__, (X, 1), {}, Kind.LINEAR),
        (torch.Tensor.__radd__, (X, 1), {}, Kind.LINEAR),
        (torch.Tensor.__iadd__, (X, 1), {}, Kind.LINEAR),
        (torch.Tensor.__gt__, (X, 0), {}, Kind.MASK),
        (torch.ops.aten.relu.default, (X,), {}, Kind.RECTIFIER),
        (F.max_pool2d, (X, 2), {}, Kind.MAX_POOL),
        (F.max_pool2d_with_indices, (X, 2), {}, Kind.MAX_POOL),
        (torch.Tensor.clamp_max, (X, 1), {}, Kind.ACTIVATION),
        (torch.fft.fft, (X,), {}, Kind.LINEAR),
        (torch.special.i0e, (X,), {}, Kind.GATE),
        (torch.Tensor.fix_, (X,), {}, Kind.STEP),
        (F.multi_margin_loss, (X,), {}, Kind.UNKNOWN),
    ],
)
def test_a_call_is_of_its_kind(function, args, kwargs, kind):
    carriers = [value for value in args if value is X]
    assert (
        identify(operation_name(function), args, kwargs, carriers[:1] if args[-1] is not X else carriers).kind is kind
    )
