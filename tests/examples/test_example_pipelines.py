"""The examples that put ZFDeconv into other libraries' tools: what they give is recomputed without those tools."""

import inspect
import runpy
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import oracle
import pytest
import torch
from captum.attr import Deconvolution
from torch import nn

from deconv_attr.demo import CLASS_NAMES, Shapes, load_model, normalise

EXAMPLES = Path(__file__).parents[2] / "examples"
METHODS = ("Deconvolution", "ZFDeconv", "ZFDeconv*")
TRIANGLE, DISC = CLASS_NAMES.index("triangle"), CLASS_NAMES.index("disc")


def run(name):
    """Run an example: its names, what `main` gives, and what it prints."""
    names = runpy.run_path(str(EXAMPLES / name))
    with redirect_stdout(StringIO()) as printed:
        found = names["main"]()
    return names, found, printed.getvalue()


@pytest.fixture(scope="module")
def model():
    return load_model()


def pictures(label, count, seed):
    """The first pictures of one class."""
    shapes = (Shapes(200, seed=seed)[number] for number in range(200))
    found = [normalise(image) for image, its_label in shapes if its_label == label]
    return torch.stack(found[:count])


def deconvnet(model, x, target):
    (maps,) = oracle.project_class(model, (x,), target)
    return maps


# ------------------------------------------------------------------------------------------ Captum


@pytest.fixture(scope="module")
def captum():
    return run("captum_pipeline.py")


@pytest.fixture(scope="module")
def results(captum):
    return captum[1][0]


@pytest.fixture(scope="module")
def concepts(captum):
    return captum[1][1]


@pytest.fixture(scope="module")
def triangles():
    return pictures(TRIANGLE, 6, seed=7)


def test_the_pipeline_takes_the_class_and_nothing_else_of_the_method(captum):
    names, _, _ = captum
    assert list(inspect.signature(names["pipeline"]).parameters) == ["attribution_class", "model", "x", "target"]
    assert "deconv_attr" not in inspect.getsource(names["pipeline"])
    assert "ZFDeconv" not in names["pipeline"].__code__.co_names


def test_the_maps_are_the_oracles_and_captums(captum, results, model, triangles):
    assert tuple(results) == METHODS
    with captum[0]["without_captums_notices"]():
        captums = Deconvolution(model).attribute(triangles, target=TRIANGLE)
    assert oracle.relative_error(results["ZFDeconv"].maps, deconvnet(model, triangles, TRIANGLE)) < 1e-5
    assert oracle.relative_error(results["Deconvolution"].maps, captums) < 1e-6
    assert 1e-3 < oracle.relative_error(results["ZFDeconv"].maps, captums) < 0.1


def test_with_the_gradient_at_the_normalisation_all_numbers_are_captums(results):
    ours, captums = results["ZFDeconv*"], results["Deconvolution"]
    for name in ("maps", "smooth", "infidelity", "sensitivity"):
        assert oracle.relative_error(getattr(ours, name), getattr(captums, name)) < 1e-5, name
        assert oracle.relative_error(getattr(results["ZFDeconv"], name), getattr(captums, name)) > 1e-5, name


def test_smoothgrad_averages_the_maps_of_noisy_images(results, model, triangles):
    torch.manual_seed(0)
    repeated = triangles.repeat_interleave(8, dim=0)
    noisy = repeated + torch.normal(0, torch.full_like(repeated, 0.1))
    expected = deconvnet(model, noisy, TRIANGLE).view(6, 8, 3, 96, 96).mean(1)
    assert oracle.relative_error(results["ZFDeconv"].smooth, expected) < 1e-5


def test_infidelity_is_what_the_map_does_not_tell_of_the_scores(results, model, triangles):
    torch.manual_seed(0)
    noise = 0.1 * torch.randn_like(triangles.repeat_interleave(20, dim=0))
    maps = deconvnet(model, triangles, TRIANGLE).repeat_interleave(20, dim=0)
    with torch.no_grad():
        before, after = (
            model(triangles)[:, TRIANGLE],
            model(triangles.repeat_interleave(20, dim=0) - noise)[:, TRIANGLE],
        )
    drop, told = before[:, None] - after.view(6, 20), (maps * noise).flatten(1).sum(1).view(6, 20)
    scale = (drop * told).mean(1, keepdim=True) / told.square().mean(1, keepdim=True)
    expected = (scale * told - drop).square().mean(1)
    assert torch.allclose(results["ZFDeconv"].infidelity, expected, rtol=1e-3)


def test_sensitivity_is_the_largest_move_of_the_map(results, model, triangles):
    torch.manual_seed(0)
    maps, largest = deconvnet(model, triangles, TRIANGLE), torch.zeros(6)
    moved = triangles.repeat_interleave(4, dim=0) + torch.empty(24, 3, 96, 96).uniform_(-0.05, 0.05)
    moves = (deconvnet(model, moved, TRIANGLE).view(6, 4, -1) - maps.flatten(1)[:, None]).norm(dim=2)
    largest = moves.amax(1) / maps.flatten(1).norm(dim=1)
    assert torch.allclose(results["ZFDeconv"].sensitivity, largest, rtol=1e-4)


def layer_signals(model, x, target, name):
    """The signal at `features.13`, by the oracle, or by autograd."""
    above = nn.Sequential(*model.features[14:], *model.classifier)
    with torch.no_grad():
        values = model.features[:14](x)
    if name == "LayerZFDeconv":
        return deconvnet(above, values, target)
    values.requires_grad_()
    return torch.autograd.grad(above(values)[:, target].sum(), values)[0]


@pytest.mark.parametrize("method", ["gradient", "LayerZFDeconv"])
@pytest.mark.parametrize("label", [TRIANGLE, DISC], ids=["triangles", "discs"])
def test_the_concepts_scores_are_those_of_the_signal_at_the_layer(label, method, captum, concepts, model):
    names, _, _ = captum
    with torch.no_grad():
        stripes, dots = (
            model.features[:14](names["gratings"](30, seed=number, dots=bool(number))).flatten(1).mean(0)
            for number in (0, 1)
        )
    direction = (stripes - dots) / 2
    along = layer_signals(model, pictures(label, 6, seed=7), label, method).flatten(1) @ direction
    found = concepts[f"{CLASS_NAMES[label]}s", method]
    towards, mean = (along > 0).float().mean().item(), along.mean().item()
    assert found["sign_count"] == pytest.approx([towards, 1 - towards])
    assert found["magnitude"] == pytest.approx([mean, -mean], rel=1e-3)


@pytest.mark.parametrize("dots", [False, True], ids=["stripes", "dots"])
def test_stripes_go_one_way_and_dots_go_two(dots, captum):
    names, _, _ = captum
    for picture in names["gratings"](5, seed=2, dots=dots).sum(1).double():
        slopes = torch.stack(torch.gradient(picture)).flatten(1)
        weaker, stronger = torch.linalg.eigvalsh(slopes @ slopes.T)
        assert (weaker > 0.3 * stronger) if dots else (weaker < 0.05 * stronger)


def test_the_figure_shows_the_image_and_the_smooth_map(results, triangles):
    for result in results.values():
        image, heat, *_ = (axes.images[0].get_array() for axes in result.figure.axes)
        np.testing.assert_allclose(image / 255, triangles[0].permute(1, 2, 0) / 4 + 0.5, atol=0.01)
        total = result.smooth[0].sum(0)
        inside = np.abs(heat) < 1  # the rest is cut off
        scale = total[inside].norm() / torch.tensor(heat[inside]).norm()
        np.testing.assert_allclose(heat[inside], total[inside] / scale, atol=1e-3)
    assert mpl._pylab_helpers.Gcf.get_all_fig_managers() == []


def test_no_other_warnings_are_silenced(captum):
    with captum[0]["without_captums_notices"]():
        warnings.warn("Setting backward hooks on ReLU activations. The hooks will be removed", stacklevel=1)
        warnings.warn("Input Tensor 0 did not already require gradients, required_grads has been set", stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)
    with pytest.raises(UserWarning, match="Setting backward hooks"):
        Deconvolution(nn.Sequential(nn.Linear(2, 2), nn.ReLU())).attribute(torch.ones(1, 2, requires_grad=True), 0)


def test_the_numbers_are_printed(captum, results, concepts):
    _, _, printed = captum
    rows = {
        "largest value of the maps": [r.maps.abs().max() for r in results.values()],
        "maps: distance from Captum's": [
            oracle.relative_error(r.maps, results["Deconvolution"].maps) for r in results.values()
        ],
        "infidelity, mean": [r.infidelity.mean() for r in results.values()],
        "sensitivity_max, mean": [r.sensitivity.mean() for r in results.values()],
    }
    for (images, method), scores in concepts.items():
        pairs = zip(scores["sign_count"], scores["magnitude"], strict=True)
        rows[f"{images:12}{method}"] = [value for pair in pairs for value in pair]
    for name, values in rows.items():
        (line,) = (line for line in printed.splitlines() if line.startswith(name))
        written = [float(part) for part in line.removeprefix(name).split()]
        assert written == pytest.approx([float(value) for value in values], rel=0.01, abs=0.006)


# ------------------------------------------------------------------------------------------ Quantus


@pytest.fixture(scope="module")
def quantus():
    pytest.importorskip("quantus")
    return run("quantus_metrics.py")


@pytest.fixture(scope="module")
def table(quantus):
    return quantus[1]


@pytest.fixture(scope="module")
def samples():
    shapes = Shapes(16, seed=13)
    return [shapes.sample(number) for number in range(16)]


@pytest.fixture(scope="module")
def strengths(model, samples):
    """What each method's map amounts to at each pixel, (16, 96, 96), without Quantus and Captum."""
    return {name: strengths_of(model, samples, name) for name in ("ZFDeconv", "Saliency")}


def strengths_of(model, samples, name):
    return torch.stack(
        [one_map(model, normalise(sample.image)[None], sample.label, name)[0].abs().sum(0) for sample in samples]
    )


def one_map(model, x, label, name):
    if name == "ZFDeconv":
        return deconvnet(model, x, label)
    x.requires_grad_()
    return torch.autograd.grad(model(x)[0, label], x)[0]


every_method = pytest.mark.parametrize("method", ["ZFDeconv", "Saliency"])


def test_without_quantus_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "quantus", None)
    with pytest.raises(SystemExit, match=r"^This example needs Quantus, which is not installed: pip install quantus$"):
        runpy.run_path(str(EXAMPLES / "quantus_metrics.py"))


@every_method
def test_maps_on_the_object_are_counted(method, table, strengths, samples):
    maps, masks = strengths[method], torch.stack([sample.mask for sample in samples])
    hits = [bool(mask.flatten()[strength.argmax()]) for strength, mask in zip(maps, masks, strict=True)]
    inside = (maps * masks).sum((1, 2)) / maps.sum((1, 2))
    assert table[method]["pointing game"] == sum(hits) / 16
    assert table[method]["mass on the object"] == pytest.approx(inside.mean().item(), rel=1e-4)


@every_method
def test_sparseness_is_half_the_mean_difference_of_two_pixels(method, table, strengths):
    ranked = strengths[method].flatten(1).sort().values.double()
    between = ranked[:, 1:].sub(ranked[:, :-1])  # |a - b| summed over all pairs: each gap counts where it lies between
    below = torch.arange(1, ranked.shape[1])
    pairs = (between * below * (ranked.shape[1] - below)).sum(1)
    gini = pairs / (ranked.shape[1] * ranked.sum(1))
    assert table[method]["sparseness"] == pytest.approx(gini.mean().item(), rel=1e-3)


@every_method
def test_pixel_flipping_is_the_mean_probability_while_pixels_turn_grey(method, table, strengths, samples, model):
    x = normalise(torch.stack([sample.image for sample in samples])).flatten(1)
    labels = torch.tensor([sample.label for sample in samples])
    order = strengths[method].flatten(1).repeat(1, 3).argsort(descending=True)
    curve = []
    for turned in order.split(x.shape[1] // 24, dim=1):
        x.scatter_(1, turned, 0)
        with torch.no_grad():
            curve.append(model(x.view(16, 3, 96, 96)).softmax(1).gather(1, labels[:, None]).mean().item())
    assert len(curve) == 24
    assert table[method]["pixel flipping"] == pytest.approx(np.mean(curve), abs=0.005)


@every_method
def test_mprt_is_the_rank_correlation_with_the_maps_of_random_models(method, table, strengths, samples):
    def ranks(maps):
        return maps.flatten(1).argsort().argsort().double()

    random = load_model()
    layers = [m for m in random.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    correlations = []
    for layer in reversed(layers):
        torch.manual_seed(43)
        layer.reset_parameters()
        both = zip(ranks(strengths[method]), ranks(strengths_of(random, samples, method)), strict=True)
        correlations.append(np.mean([torch.corrcoef(torch.stack(pair))[0, 1] for pair in both]))
    assert table[method]["MPRT, top layer random"] == pytest.approx(correlations[0], abs=0.01)
    assert table[method]["MPRT, all layers random"] == pytest.approx(correlations[-1], abs=0.01)


def test_the_table_is_printed(quantus, table):
    _, _, printed = quantus
    for metric in table["ZFDeconv"]:
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{metric:26}") and "er" in line)
        written = [float(part) for part in line.split()[-2:]]
        assert written == pytest.approx([table["ZFDeconv"][metric], table["Saliency"][metric]], abs=0.0006)
