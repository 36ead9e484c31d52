"""The adjoints of filters: equal to autograd's, also where only a window of the signal is computed."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv_attr import DECONVNET
from deconv_attr.engine.signal_path import SignalPath
from deconv_attr.rules import filtering


class Of(nn.Module):
    """A convolution spelled by a function of the image, the filters and the bias."""

    def __init__(self, function: Callable[..., Tensor], weight: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(weight))
        self.bias = nn.Parameter(torch.randn(weight[0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, self.bias)


MODULES = {  # (C, *axes) and the module
    "1d": ((2, 17), lambda: nn.Conv1d(2, 3, 3)),
    "1d, stride 3, padding 2, dilation 2": ((2, 19), lambda: nn.Conv1d(2, 4, 3, 3, 2, 2, groups=2)),
    "2d": ((3, 9, 11), lambda: nn.Conv2d(3, 4, 3)),
    "2d, 1x1": ((3, 5, 6), lambda: nn.Conv2d(3, 4, 1)),
    "2d, 1x1, stride 3, rows never read": ((3, 9, 11), lambda: nn.Conv2d(3, 4, 1, 3)),
    "2d, padding 1": ((3, 9, 11), lambda: nn.Conv2d(3, 4, 3, padding=1)),
    "2d, padding larger than the filter": ((3, 5, 4), lambda: nn.Conv2d(3, 4, 3, padding=5)),
    "2d, padding larger, stride 2": ((3, 5, 4), lambda: nn.Conv2d(3, 4, (2, 3), 2, (4, 6))),
    "2d, filter larger than the image": ((3, 4, 5), lambda: nn.Conv2d(3, 4, 7, padding=3)),
    "2d, stride 2, a rest": ((3, 10, 13), lambda: nn.Conv2d(3, 4, 3, 2)),
    "2d, stride larger than the filter": ((3, 11, 14), lambda: nn.Conv2d(3, 4, 2, 4, 1)),
    "2d, uneven": ((3, 13, 16), lambda: nn.Conv2d(3, 4, (2, 5), (3, 2), (1, 3), (4, 1))),
    "2d, dilation 3": ((3, 12, 10), lambda: nn.Conv2d(3, 4, 3, padding=2, dilation=3)),
    "2d, groups": ((4, 7, 8), lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2)),
    "2d, depthwise": ((4, 7, 8), lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4)),
    "2d, same, odd filter": ((3, 8, 7), lambda: nn.Conv2d(3, 4, (3, 5), padding="same")),
    "2d, same, even filter": ((3, 8, 7), lambda: nn.Conv2d(3, 4, (4, 2), padding="same")),
    "2d, same, even filter, dilated": ((3, 12, 11), lambda: nn.Conv2d(3, 4, (2, 4), padding="same", dilation=(3, 2))),
    "2d, valid": ((3, 8, 7), lambda: nn.Conv2d(3, 4, 3, padding="valid")),
    "2d, reflected": ((3, 8, 7), lambda: nn.Conv2d(3, 4, 5, 2, padding=2, padding_mode="reflect")),
    "2d, circular": ((3, 8, 7), lambda: nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="circular")),
    "2d, replicated": ((3, 8, 7), lambda: nn.Conv2d(3, 4, 3, padding=3, padding_mode="replicate")),
    "2d, reflected same, even": ((3, 8, 7), lambda: nn.Conv2d(3, 4, 4, padding="same", padding_mode="reflect")),
    "2d, no bias": ((3, 8, 7), lambda: nn.Conv2d(3, 4, 3, bias=False)),
    "2d, interleaved, 7x7 as in ResNet": ((3, 21, 24), lambda: nn.Conv2d(3, 4, 7, 2, 3)),
    "2d, interleaved, 11x11 as in AlexNet": ((3, 35, 32), lambda: nn.Conv2d(3, 4, 11, 4, 2)),
    "2d, interleaved, uneven": ((2, 13, 16), lambda: nn.Conv2d(2, 4, (2, 5), (3, 2), (1, 3))),
    "2d, five channels, stride 2, a rest": ((5, 10, 13), lambda: nn.Conv2d(5, 4, 3, 2, 1)),
    "2d, five channels, 1x1, stride 3": ((5, 9, 11), lambda: nn.Conv2d(5, 4, 1, 3)),
    "2d, five channels, padding larger": ((5, 5, 4), lambda: nn.Conv2d(5, 4, (2, 3), 2, (4, 6))),
    "2d, five channels, uneven": ((5, 13, 16), lambda: nn.Conv2d(5, 4, (2, 5), (3, 2), (1, 3), (4, 1))),
    "3d": ((2, 5, 6, 7), lambda: nn.Conv3d(2, 3, (1, 2, 3), (2, 1, 2), (0, 1, 2))),
    "3d, same": ((2, 5, 6, 7), lambda: nn.Conv3d(2, 4, (2, 3, 4), padding="same", groups=2)),
    "transposed, 1d": ((4, 9), lambda: nn.ConvTranspose1d(4, 2, 3, 2, 1, output_padding=1)),
    "transposed, 2d": ((3, 5, 6), lambda: nn.ConvTranspose2d(3, 4, 3)),
    "transposed, 2d, stride, groups": (
        (4, 5, 6),
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), 1, (1, 0), groups=2),
    ),
    "transposed, 2d, dilated, end beyond a stride": (
        (3, 5, 6),
        lambda: nn.ConvTranspose2d(3, 4, 3, 1, 2, 2, dilation=3),
    ),
    "transposed, 3d": ((2, 3, 4, 5), lambda: nn.ConvTranspose3d(2, 3, (1, 2, 3), 2, 0, 1)),
    "linear": ((3, 5, 7), lambda: nn.Linear(7, 4)),
    "linear, no bias": ((3, 7), lambda: nn.Linear(7, 4, bias=False)),
}
SPELLINGS = {
    "torch.conv2d by position": lambda x, w, b: torch.conv2d(x, w, b, 2, 1, 1, 1),
    "F.conv2d, padding of one entry": lambda x, w, b: F.conv2d(x, w, b, (2,), (1,), (2,)),
    "F.conv2d by keyword": lambda x, w, b: F.conv2d(input=x, weight=w, bias=b, padding=(1, 2)),
    "F.conv2d, the filter first": lambda x, w, b: F.conv2d(weight=w, input=x, stride=2),
    "torch.conv2d, same": lambda x, w, b: torch.conv2d(x, w, None, 1, "same", 2),
    "F.conv2d, no batch": lambda x, w, b: torch.stack([F.conv2d(image, w, b, 2, 1) for image in x]),
    "twice with the same filter": lambda x, w, b: F.conv2d(F.conv2d(x, w, b, 2)[:, :2], w, b),
}
NEVER_CUT = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
CASES = {
    **MODULES,
    **{
        name: ((2, 9, 12), lambda function=function: Of(function, (4, 2, 3, 3))) for name, function in SPELLINGS.items()
    },
}


def signals(shape: torch.Size, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return signals (N, C, *axes): units at all corners and in the middle, a pair of corners, none, all."""
    torch.manual_seed(2)
    full = torch.randn(shape, dtype=dtype)
    found = {"full": full, "none": torch.zeros_like(full)}
    corners = torch.cartesian_prod(*(torch.tensor(sorted({0, n // 2, n - 1})) for n in shape[2:])).view(
        -1, len(shape) - 2
    )
    for number, place in enumerate(corners.tolist()):
        found[f"unit {tuple(place)}"] = torch.zeros_like(full)
        found[f"unit {tuple(place)}"][(number % shape[0], number % shape[1], *place)] = 1.5
    found["two corners of two examples"] = found[f"unit {(0,) * (len(shape) - 2)}"].clone()
    found["two corners of two examples"][-1, -1][tuple(n - 1 for n in shape[2:])] = -2
    return found


def send(model: nn.Module, x: Tensor, signal: Tensor, narrow: bool) -> Tensor:
    path = SignalPath(model, DECONVNET, narrow=narrow)
    with path, path:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(path.run(model, (leaf,), whole=False), leaf, signal)[0]


@pytest.fixture
def asked(monkeypatch):
    """The windows that are computed: (lengths below, lengths of the signal)."""
    lengths, computed = [], filtering.Filters.back

    def spy(filters, window, below):
        lengths.append((tuple(below), tuple(window.shape[2:])))
        return computed(filters, window, below)

    monkeypatch.setattr(filtering.Filters, "back", spy)
    return lengths


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])  # other kernels
@pytest.mark.parametrize("narrow", [False, True], ids=["whole", "window"])
@pytest.mark.parametrize(("shape", "build"), CASES.values(), ids=CASES)
def test_the_signal_below_is_the_one_of_autograd(shape, build, narrow, dtype, asked):
    torch.manual_seed(0)
    model, x = build().to(dtype).eval(), torch.randn(2, *shape, dtype=dtype)
    leaf = x.clone().requires_grad_()
    output = model(leaf)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for name, signal in signals(output.shape, dtype).items():
        (expected,) = torch.autograd.grad(output, leaf, signal, retain_graph=True)
        asked.clear()
        found = send(model, x, signal, narrow)
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, msg=name)
        if not isinstance(model, NEVER_CUT):
            assert bool(asked) == (narrow and bool(signal.any())), name


def test_only_the_cone_of_a_unit_is_computed(asked):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 3, 2)).double()
    signal = torch.zeros(1, 2, 49, 49, dtype=torch.float64)
    signal[0, 1, 20, 48] = 1
    send(model, torch.rand(1, 3, 198, 198, dtype=torch.float64), signal, True)
    assert asked == [((3, 3), (1, 1)), ((5, 5), (3, 3)), ((13, 11), (5, 4))]  # the last of 99 columns


def test_each_example_has_a_window_of_its_own(asked):
    model = nn.Conv2d(1, 2, (3, 2), (2, 1), dilation=(2, 1)).double()
    signal = torch.zeros(2, 2, 48, 99, dtype=torch.float64)
    signal[0, 0, 4, 7] = signal[1, 1, 9, 30] = 1
    send(model, torch.rand(2, 1, 100, 100, dtype=torch.float64), signal, True)
    assert asked == [((5, 2), (1, 1))]
    signal[0, 1, 6, 8] = 1  # the largest window serves for all
    send(model, torch.rand(2, 1, 100, 100, dtype=torch.float64), signal, True)
    assert asked[1] == ((9, 3), (3, 2))


def test_a_signal_of_zeros_is_not_computed_and_is_zero(asked):
    model, x = nn.Conv2d(1, 2, 3).double(), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    assert not send(model, x, torch.zeros(1, 2, 6, 6, dtype=torch.float64), True).any()
    assert asked == []


def test_a_signal_that_starts_everywhere_is_not_cut(asked):
    model, x = nn.Conv2d(1, 2, 3).double(), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    send(model, x, torch.ones(1, 2, 6, 6, dtype=torch.float64), False)
    assert asked == []


IMAGE_IN_THE_FILTER = {
    "the image is the filter": lambda x, w, b: F.conv2d(w[:, :1, :1, :1], x[:, :1, :1, :1].transpose(0, 1)),
    "the image is both": lambda x, w, b: F.conv2d(x, x[:, :, :3, :3]),
    "the image is the bias": lambda x, w, b: F.conv2d(x, w, x.sum((0, 2, 3))[:1].expand(4)),
}


@pytest.mark.parametrize("function", IMAGE_IN_THE_FILTER.values(), ids=IMAGE_IN_THE_FILTER)
def test_an_image_in_the_place_of_the_filter_is_left_to_autograd(function, asked):
    torch.manual_seed(0)
    model, x = Of(function, (4, 2, 3, 3)).double(), torch.randn(1, 2, 9, 12, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    output = model(leaf)
    (expected,) = torch.autograd.grad(output, leaf, torch.ones_like(output))
    torch.testing.assert_close(send(model, x, torch.ones_like(output), True), expected, rtol=1e-12, atol=1e-12)
    assert asked == []
