"""Captum's tools on top of our methods, each against the same thing done by hand; and the values of LayerZFDeconv."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, LayerGradientXActivation, NoiseTunnel
from captum.attr import visualization as captum_visualization
from captum.concept import TCAV, Classifier, Concept
from captum.metrics import infidelity, sensitivity_max
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from state import snapshot
from test_captum_contract import Sum, by_hand, chain, close, images, quiet_captum
from torch import Tensor, nn
from torch.utils.data import DataLoader

from deconv_attr import GRADIENT, DeconvError, LayerZFDeconv, ZFDeconv
from deconv_attr.errors import InputError

mpl.use("Agg")

# ---------------------------------------------------------------------------------------- NoiseTunnel


def noisy(x: Tensor, samples: int, stdev: float) -> Tensor:
    """Repeat each example and add noise, drawn as NoiseTunnel draws it."""
    repeated = x.repeat_interleave(samples, dim=0)
    return repeated + torch.normal(0, torch.full(repeated.shape, stdev))


def maps_under_noise(model: nn.Sequential, x: Tensor, chunks: list[int], stdev: float, seed: int) -> Tensor:
    """Compute by hand the maps (N, samples, ...) of class 1, the noise drawn in chunks of so many samples."""
    torch.manual_seed(seed)
    parts = [noisy(x, samples, stdev) for samples in chunks]
    maps = [by_hand(model, part, [1] * len(part))["x"].view(len(x), -1, *x.shape[1:]) for part in parts]
    return torch.cat(maps, dim=1)


AVERAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "smoothgrad": lambda maps: maps.mean(1),
    "smoothgrad_sq": lambda maps: maps.square().mean(1),
    "vargrad": lambda maps: maps.square().mean(1) - maps.mean(1).square(),
}


@pytest.mark.parametrize(("size", "chunks"), [(None, [5]), (5, [5]), (2, [2, 2, 1])], ids=["at once", "of 5", "of 2"])
@pytest.mark.parametrize("kind", AVERAGES)
def test_noise_tunnel_averages_the_maps_of_the_noisy_images(kind, size, chunks):
    model, x = chain(), images()
    before = snapshot(model, x)
    torch.manual_seed(11)
    ours = NoiseTunnel(ZFDeconv(model)).attribute(
        x, nt_type=kind, nt_samples=5, nt_samples_batch_size=size, stdevs=0.5, target=1
    )
    assert snapshot(model, x) == before
    maps = maps_under_noise(model, x, chunks, 0.5, seed=11)
    assert maps.std(1).max() > 1e-4, "the noise must move some switch"
    torch.testing.assert_close(ours, AVERAGES[kind](maps), rtol=1e-9, atol=1e-14)


def test_noise_tunnel_without_noise_gives_the_plain_map():
    model, x = chain(), images()
    ours = NoiseTunnel(ZFDeconv(model)).attribute(x, nt_samples=3, stdevs=0.0, target=[2, 0, 3])
    close(ours, ZFDeconv(model).attribute(x, target=[2, 0, 3]))
    spread = NoiseTunnel(ZFDeconv(model)).attribute(x, nt_type="vargrad", nt_samples=3, stdevs=0.0, target=1)
    assert spread.abs().max() < 1e-15


def test_noise_tunnel_takes_a_pair_of_images_and_gives_a_pair():
    model, x, y = Sum(), images(), images(seed=2)
    torch.manual_seed(4)
    ours = NoiseTunnel(ZFDeconv(model)).attribute((x, y), nt_samples=4, stdevs=(0.3, 0.0), target=1)
    torch.manual_seed(4)
    together = noisy(x, 4, 0.3) + 2 * noisy(y, 4, 0.0)
    expected = by_hand(model.net, together, [1] * 12)["x"].view(3, 4, 2, 8, 8).mean(1)
    close(ours[0], expected)
    close(ours[1], 2 * expected)


# ---------------------------------------------------------------------------------------- metrics


def test_infidelity_of_a_map_is_the_number_computed_by_hand():
    model, x = chain(), images()
    step = 0.1 * images(seed=5)
    attributions = ZFDeconv(model).attribute(x, target=1)
    ours = infidelity(model, lambda x: (step, x - step), x, attributions, target=1, n_perturb_samples=1)
    with torch.no_grad():
        drop = model(x)[:, 1] - model(x - step)[:, 1]
    expected = ((step * by_hand(model, x, [1, 1, 1])["x"]).sum((1, 2, 3)) - drop).square()
    close(ours, expected)


def test_infidelity_of_a_linear_model_without_effect_of_the_rectifier_is_zero():
    # Positive weights and images: every rule lets everything pass, and the map is the exact gradient.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)).double()
    for parameter in model.parameters():
        parameter.data.abs_()
    x = images().abs() + 1

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.1 * torch.rand_like(x)
        return noise, x - noise

    attributions = ZFDeconv(model).attribute(x, target=1)
    assert infidelity(model, perturb, x, attributions, target=1).max() < 1e-20
    assert infidelity(model, perturb, x, 2 * attributions, target=1).min() > 1e-3


LAYOUTS = {
    "contiguous": (torch.contiguous_format, torch.contiguous_format),
    "images channels_last": (torch.channels_last, torch.contiguous_format),
    "model channels_last": (torch.contiguous_format, torch.channels_last),
    "both channels_last": (torch.channels_last, torch.channels_last),
}


@pytest.mark.parametrize(("of_images", "of_model"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("grad", [True, False], ids=["grad on", "grad off"])
def test_sensitivity_is_the_change_of_the_map_relative_to_it(of_images, of_model, grad):
    plain, x, step = chain(), images(), 0.1 * images(seed=5)
    expected = by_hand(plain, x, [1, 1, 1])["x"].flatten(1)
    moved = by_hand(plain, x + step, [1, 1, 1])["x"].flatten(1)
    model = copy.deepcopy(plain).to(memory_format=of_model)
    with torch.set_grad_enabled(grad):
        ours = sensitivity_max(
            ZFDeconv(model).attribute,
            x.to(memory_format=of_images),
            lambda x: x + step.to(memory_format=of_images),
            n_perturb_samples=1,
            target=1,
        )
        assert torch.is_grad_enabled() is grad
    close(ours, (moved - expected).norm(dim=1) / expected.norm(dim=1))


def test_sensitivity_with_captums_own_perturbation_equals_captums():
    model, x = chain(), images()
    found = []
    for method in (ZFDeconv, Deconvolution):
        torch.manual_seed(9)
        with quiet_captum():
            found.append(sensitivity_max(method(model).attribute, x, perturb_radius=0.2, target=[0, 1, 2]))
    close(*found)


# ---------------------------------------------------------------------------------------- concepts


class ClassMeans(Classifier):
    """A concept's vector is the mean of its activations less the mean of all."""

    def __init__(self) -> None:
        self._weights, self._classes = torch.empty(0), [0]

    def train_and_eval(self, dataloader: DataLoader, **kwargs: Any) -> dict[str, Any]:
        vectors, labels = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
        self._classes = labels.unique().tolist()
        means = [vectors[labels == label].mean(0) for label in self._classes]
        self._weights = torch.stack(means) - vectors.mean(0)
        return {"accs": torch.tensor(1.0)}

    def weights(self) -> Tensor:
        return self._weights

    def classes(self) -> list[int]:
        return self._classes


def concepts() -> list[Concept]:
    torch.manual_seed(21)
    bright, striped = torch.rand(6, 2, 8, 8).double() + 1, torch.randn(6, 2, 8, 1).double().expand(6, 2, 8, 8)
    return [
        Concept(number, name, DataLoader(examples, batch_size=3))
        for number, (name, examples) in enumerate({"bright": bright, "striped": striped}.items())
    ]


def tcav_scores(model: nn.Module, method: Any, where: Any, layers: list[str]) -> dict[str, dict[str, Tensor]]:
    tcav = TCAV(model, layers, classifier=ClassMeans(), layer_attr_method=method, save_path=str(where))
    (scores,) = tcav.interpret(images(8), [concepts()], target=1).values()
    return scores


def test_tcav_with_our_gradients_scores_as_with_captums_default(tmp_path):
    model, layers = chain(), ["conv1", "pool", "conv2"]
    before = snapshot(model)
    ours = tcav_scores(model, LayerZFDeconv(model, model.fc, rules=GRADIENT), tmp_path / "ours", layers)
    assert snapshot(model) == before
    with quiet_captum():
        default = tcav_scores(model, None, tmp_path / "captums", layers)
        named = LayerGradientXActivation(model, None, multiply_by_inputs=False)
        expected = tcav_scores(model, named, tmp_path / "named", layers)
    for layer in layers:
        for kind in ("sign_count", "magnitude"):
            close(ours[layer][kind], expected[layer][kind])
            close(ours[layer][kind], default[layer][kind])


def test_tcav_with_the_deconvnet_scores_the_signal_at_each_layer(tmp_path):
    model, x, layers = chain(), images(8), ["conv1", "pool", "conv2"]
    ours = tcav_scores(model, LayerZFDeconv(model, model.fc), tmp_path, layers)
    signals = by_hand(model, x, [1] * 8)
    for layer in layers:
        upto = model[: list(dict(model.named_children())).index(layer) + 1]
        with torch.no_grad():
            examples = [upto(torch.cat(list(concept.data_iter))).flatten(1) for concept in concepts()]
        vectors = torch.stack([one.mean(0) for one in examples]) - torch.cat(examples).mean(0)
        scores = signals[layer].flatten(1).float() @ vectors.float().T
        torch.testing.assert_close(ours[layer]["magnitude"], scores.mean(0), rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(ours[layer]["sign_count"], (scores > 0).float().mean(0))
        assert scores.abs().max() > 1e-5


# ---------------------------------------------------------------------------------------- pictures


def test_a_map_can_be_shown_by_captum():
    model, x = chain(), images(1)
    ours = ZFDeconv(model).attribute(x, target=1)
    figure = Figure()
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    captum_visualization.visualize_image_attr(
        ours[0].permute(1, 2, 0).numpy(), sign="all", plt_fig_axis=(figure, axis), use_pyplot=False
    )
    shown = np.asarray(axis.images[0].get_array())
    total = by_hand(model, x, [1])["x"][0].sum(0).numpy()
    ordered = np.sort(np.abs(total).flatten())
    scale = ordered[np.searchsorted(np.cumsum(ordered), 0.98 * ordered.sum())]
    np.testing.assert_allclose(shown, np.clip(total / scale, -1, 1), rtol=1e-9)
    assert shown.min() < -0.1
    assert shown.max() > 0.1
    figure.canvas.draw()
    assert mpl._pylab_helpers.Gcf.get_all_fig_managers() == []


# ---------------------------------------------------------------------------------------- only the name changes


def a_pipeline(method: type[Any], model: nn.Module, x: Tensor, target: Any) -> dict[str, Tensor]:
    """Run what a user of Captum's Deconvolution may have written."""
    explainer = method(model)
    attributions = explainer.attribute(x, target=target)
    torch.manual_seed(0)
    smooth = NoiseTunnel(explainer).attribute(x, nt_type="smoothgrad", nt_samples=4, stdevs=0.2, target=target)
    torch.manual_seed(0)
    return {
        "map": attributions,
        "smooth": smooth,
        "sensitivity": sensitivity_max(explainer.attribute, x, perturb_radius=0.2, target=target),
        "infidelity": infidelity(model, lambda x: (0.1 * torch.ones_like(x), x - 0.1), x, attributions, target=target),
    }


@pytest.mark.parametrize("target", [1, [2, 0, 3], torch.tensor([1, 1, 0])], ids=["int", "list", "tensor"])
def test_in_a_pipeline_on_a_plain_chain_only_the_class_name_changes(target):
    model, x = chain(), images()
    with quiet_captum():
        expected = a_pipeline(Deconvolution, model, x, target)
    ours = a_pipeline(ZFDeconv, model, x, target)
    for name, value in expected.items():
        close(ours[name], value)


# ---------------------------------------------------------------------------------------- LayerZFDeconv's values


class Stack(nn.Module):
    """Three linear layers and two rectifiers, which may work in place: (N, 5) -> (N, 3)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.low, self.middle, self.top = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 3)
        self.relu1, self.relu2 = nn.ReLU(inplace), nn.ReLU(inplace)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.relu2(self.middle(self.relu1(self.low(x)))))


class FunctionalStack(Stack):
    def forward(self, x: Tensor) -> Tensor:
        return self.top(F.relu_(self.middle(self.low(x).clamp_(min=0))))


def matrices(model: Stack, classes: list[int]) -> dict[tuple[str, bool], Tensor]:
    """Compute the signal at (layer, whether at its input) by the transposed weight matrices."""
    low, middle, top = (layer.weight.detach() for layer in (model.low, model.middle, model.top))
    scores = torch.eye(3, dtype=torch.float64)[classes]
    above_relu2 = scores @ top
    below_relu2 = above_relu2.clamp(min=0)
    above_relu1 = below_relu2 @ middle
    below_relu1 = above_relu1.clamp(min=0)
    return {
        ("top", False): scores,
        ("top", True): above_relu2,
        ("relu2", False): above_relu2,
        ("relu2", True): below_relu2,
        ("middle", False): below_relu2,
        ("middle", True): above_relu1,
        ("relu1", False): above_relu1,
        ("relu1", True): below_relu1,
        ("low", False): below_relu1,
        ("low", True): below_relu1 @ low,
    }


def vectors(count: int = 4) -> Tensor:
    return torch.randn(count, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


PLACES = list(matrices(Stack(), [0]))


@pytest.mark.parametrize("inplace", [False, True], ids=["relu", "relu in place"])
@pytest.mark.parametrize(
    ("layer", "at_input"), PLACES, ids=lambda v: v if isinstance(v, str) else ["output", "input"][v]
)
def test_the_signal_at_a_layer_is_that_of_the_transposed_matrices(layer, at_input, inplace):
    model, x, classes = Stack(inplace), vectors(), [0, 1, 2, 1]
    before = snapshot(model, x)
    method = LayerZFDeconv(model, getattr(model, layer))
    ours = method.attribute(x, target=classes, attribute_to_layer_input=at_input)
    assert snapshot(model, x) == before
    close(ours, matrices(model, classes)[layer, at_input])


@pytest.mark.parametrize(("layer", "at_input"), [place for place in PLACES if "relu" not in place[0]])
def test_rectifiers_written_as_functions_in_place_give_the_same_signal(layer, at_input):
    model, x, classes = FunctionalStack(), vectors(), [0, 1, 2, 1]
    ours = LayerZFDeconv(model, getattr(model, layer)).attribute(x, classes, attribute_to_layer_input=at_input)
    close(ours, matrices(model, classes)[layer, at_input])


@pytest.mark.parametrize("layer", ["conv1", "act1", "pool", "conv2", "act2", "flat", "fc"])
def test_the_signal_at_the_layers_of_a_convolutional_chain_is_the_one_computed_by_hand(layer):
    model, x = chain(), images()
    close(
        LayerZFDeconv(model, getattr(model, layer)).attribute(x, target=[2, 0, 3]), by_hand(model, x, [2, 0, 3])[layer]
    )


def test_the_input_of_a_layer_carries_what_the_output_of_the_one_below_carries():
    model, x = chain(), images()
    names = [name for name, _ in model.named_children()]
    for below, layer in pairwise(names):
        ours = LayerZFDeconv(model, getattr(model, layer)).attribute(x, target=1, attribute_to_layer_input=True)
        close(ours, by_hand(model, x, [1, 1, 1])[below])


def test_the_input_of_the_first_layer_and_of_the_model_carry_the_map():
    model, x = chain(), images()
    expected = by_hand(model, x, [1, 1, 1])["x"]
    for layer in (model.conv1, model):
        close(LayerZFDeconv(model, layer).attribute(x, target=1, attribute_to_layer_input=True), expected)


@pytest.mark.parametrize("at_input", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("layer", ["conv1", "act1", "pool", "conv2", "act2"])
def test_with_the_gradient_table_a_layer_carries_captums_layer_gradient(layer, at_input):
    model, x = chain(), images()
    reference = LayerGradientXActivation(model, getattr(model, layer), multiply_by_inputs=False)
    with quiet_captum():
        expected = reference.attribute(x, target=1, attribute_to_layer_input=at_input)
    ours = LayerZFDeconv(model, getattr(model, layer), rules=GRADIENT)
    close(ours.attribute(x, target=1, attribute_to_layer_input=at_input), expected)


def test_the_signal_above_the_last_rectifier_is_the_plain_gradient():
    torch.manual_seed(2)
    head = OrderedDict(pad=nn.ZeroPad2d(1), conv=nn.Conv2d(3, 4, 3), avg=nn.AvgPool2d(2), flat=nn.Flatten())
    model = nn.Sequential(OrderedDict(stem=nn.Conv2d(2, 3, 3), relu=nn.ReLU(), **head, fc=nn.Linear(36, 5))).double()
    x = images()
    features = model.relu(model.stem(x)).detach().requires_grad_()
    (expected,) = torch.autograd.grad(model[2:](features)[:, 4].sum(), features)
    close(LayerZFDeconv(model, model.relu).attribute(x, target=4), expected)
    close(LayerZFDeconv(model, model.stem).attribute(x, target=4), expected.clamp(min=0))


def test_the_layer_may_be_reassigned():
    model, x = chain(), images()
    method = LayerZFDeconv(model, model.fc)
    expected = by_hand(model, x, [1, 1, 1])
    for layer in ("conv1", "conv2", "conv1", "pool"):
        method.layer = getattr(model, layer)
        close(method.attribute(x, target=1), expected[layer])


class Pair(nn.Module):
    """A layer of two inputs and two outputs."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * a, 3 * b


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.left, self.right, self.pair, self.top = nn.Linear(5, 4), nn.Linear(5, 4), Pair(), nn.Linear(8, 3)
        self.relu = nn.ReLU()
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.relu(torch.cat(self.pair(self.left(x), self.right(x)), 1)))


def test_a_layer_of_two_tensors_gives_a_tuple_of_two_signals():
    model, x = Branches(), vectors()
    above = model.top.weight.detach()[0].clamp(min=0).expand(4, 8)
    outputs = LayerZFDeconv(model, model.pair).attribute(x, target=0)
    inputs = LayerZFDeconv(model, model.pair).attribute(x, target=0, attribute_to_layer_input=True)
    assert type(outputs) is type(inputs) is tuple
    for number, factor in enumerate((2, 3)):
        close(outputs[number], above[:, 4 * number : 4 * number + 4])
        close(inputs[number], factor * above[:, 4 * number : 4 * number + 4])


# ---------------------------------------------------------------------------------------- layers that are refused


class Rerouted(nn.Module):
    """The stack, with one more layer that a forward function may use as it likes."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.stack, self.spare = Stack(), nn.Linear(5, 5).double()
        self._route = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._route(self, x)


def refused(model: nn.Module, layer: Any, error: type[Exception], says: str, at_input: bool) -> None:
    x = vectors()
    before = snapshot(model, x)
    with pytest.raises(error, match=says):
        LayerZFDeconv(model, layer).attribute(x, target=0, attribute_to_layer_input=at_input)
    assert snapshot(model, x) == before


@pytest.mark.parametrize("at_input", [False, True], ids=["output", "input"])
def test_a_layer_that_does_not_run_or_runs_twice_is_refused(at_input):
    idle = Rerouted(lambda self, x: self.stack(x))
    refused(idle, idle.spare, InputError, "layer 'spare' does not run in a forward pass of these inputs", at_input)
    twice = Rerouted(lambda self, x: self.stack(self.spare(self.spare(x))))
    says = "layer 'spare' runs 2 times in one forward pass: name the call, 'spare#1' to 'spare#2'"
    refused(twice, twice.spare, InputError, says, at_input)
    refused(twice, nn.Linear(5, 5), InputError, "one of the model's modules, got another Linear", at_input)


def test_a_layer_whose_output_is_not_used_is_refused_by_name():
    aside = Rerouted(lambda self, x: (self.spare(x), self.stack(x))[1])
    refused(aside, aside.spare, DeconvError, "layer", at_input=False)


@pytest.mark.parametrize("at_input", [False, True], ids=["output", "input"])
def test_a_layer_that_does_not_see_the_image_is_refused_by_name(at_input):
    constant = Rerouted(lambda self, x: self.stack(x + self.spare(torch.ones(1, 5, dtype=torch.float64))))
    refused(constant, constant.spare, DeconvError, "layer", at_input)


@pytest.mark.parametrize("layer", ["conv1", None], ids=["a name", "None"])
def test_a_layer_that_is_no_module_is_refused_by_name(layer):
    refused(Stack(), layer, DeconvError, "layer", at_input=False)


@pytest.mark.parametrize("layer", ["middle", "relu2"])
def test_a_layer_that_is_called_by_keyword_carries_the_signal_at_its_input_too(layer):
    class Keywords(Stack):
        def forward(self, x: Tensor) -> Tensor:
            return self.top(self.relu2(input=self.middle(input=self.relu1(self.low(x)))))

    model, x = Keywords(), vectors()
    for at_input in (False, True):
        ours = LayerZFDeconv(model, getattr(model, layer)).attribute(x, target=1, attribute_to_layer_input=at_input)
        close(ours, matrices(model, [1] * 4)[layer, at_input])


def test_a_signal_that_dies_above_the_layer_is_announced_as_for_a_map():
    model, x = Stack(), vectors()
    with torch.no_grad():
        model.top.weight[0] = -1
    with pytest.warns(
        UserWarning, match="The signal died for 4 of 4 examples.*rectified away at 'relu' in module 'relu2'"
    ):
        ours = LayerZFDeconv(model, model.low).attribute(x, target=0)
    assert torch.equal(ours, torch.zeros_like(ours))
