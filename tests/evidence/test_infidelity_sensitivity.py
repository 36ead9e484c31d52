"""Infidelity and sensitivity against their formulas, with the noise that the model saw; and in closed form."""

import warnings

import pytest
import torch
from captum.attr import InputXGradient, Saliency
from captum.metrics import infidelity as captums_infidelity
from captum.metrics import sensitivity_max as captums_sensitivity
from state import snapshot
from torch import nn

from deconv_attr import DeadSignalWarning
from deconv_attr.errors import InputError
from deconv_attr.evidence import infidelity, sensitivity_max
from deconv_attr.evidence.methods import Method, controls

GENERATOR = torch.Generator().manual_seed(0)


def noise(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def filled(net):
    for parameter in net.parameters():
        parameter.data = noise(*parameter.shape) / 3
    return net.eval()


def linear():
    return filled(nn.Sequential(nn.Flatten(), nn.Linear(75, 4)))


def curved():
    return filled(nn.Sequential(nn.Flatten(), nn.Linear(75, 9), nn.Tanh(), nn.Linear(9, 4)))


def recorded(net):
    seen = []
    net.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    return seen


def noisy(seen, inputs):
    """Return by image what ran beside the inputs themselves, (N, samples, ...); samples come one after the other."""
    images = torch.cat(seen).view(-1, *inputs.shape)
    return torch.stack([each for each in images if not torch.equal(each, inputs)], 1)


def weights_of(net, target):
    return net[1].weight[target].detach().view(-1, 3, 5, 5)


def saliency(net):
    return Method(Saliency(net), arguments={"abs": False})


X, MAPS, TARGET = noise(3, 3, 5, 5), noise(3, 3, 5, 5), torch.tensor([1, 3, 0])


@pytest.fixture(autouse=True)
def _seed_each_test():
    GENERATOR.manual_seed(1)


# --------------------------------------------------------------------------------------- infidelity


@pytest.mark.parametrize(("count", "samples"), [(1, 10), (2, 3), (3, 40), (3, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_infidelity_is_its_formula_for_the_noise_that_was_drawn(count, samples, channels):
    net, inputs, maps, target = curved(), 5 * X[:count], MAPS[:count, :channels], TARGET[:count]
    seen = recorded(net)
    found = infidelity(net, maps, inputs, target, samples=samples, noise=0.3)
    shown = noisy(seen, inputs)
    assert shown.shape[1] == samples
    for image in range(count):
        score = net(inputs[image, None])[0, target[image]]
        said, done = [], []
        for sample in shown[image, :samples]:
            change = inputs[image] - sample
            said.append((change * maps[image]).sum())
            done.append(score - net(sample[None])[0, target[image]])
        said, done = torch.stack(said), torch.stack(done)
        factor = (said * done).sum() / (said * said).sum()
        expected = ((factor * said - done) ** 2).mean() / (done**2).mean()
        assert found[image].item() == pytest.approx(expected.item(), abs=1e-9)


def test_noise_is_normal_in_the_images_own_units():
    net, inputs = curved(), X * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1) + 7
    seen = recorded(net)
    infidelity(net, MAPS, inputs, TARGET, noise=0.2, samples=100)
    changes = (inputs[:, None] - noisy(seen, inputs)[:, :100]) / inputs.std((1, 2, 3), correction=0).view(3, 1, 1, 1, 1)
    for change in changes:
        assert change.mean().abs() < 0.01
        assert change.std().item() == pytest.approx(0.2, rel=0.05)
        assert (change.abs() < 0.2).double().mean().item() == pytest.approx(0.683, abs=0.02)
    correlations = torch.corrcoef(changes.reshape(300, 75)) - torch.eye(300)
    assert correlations.abs().max() < 0.6  # each draw is another: of 75 numbers, 5 standard deviations


def test_the_gradient_of_a_linear_model_leaves_nothing_unexplained():
    net = linear()
    maps = saliency(net)(net, X, TARGET)
    torch.testing.assert_close(maps, weights_of(net, TARGET))
    for factor in (1, -1, 1e-6, 1e6):
        assert infidelity(net, factor * maps, X, TARGET).abs().max() < 1e-12
    assert infidelity(net, weights_of(net, (TARGET + 1) % 4), X, TARGET).min() > 0.3


def test_of_a_linear_model_it_is_the_angle_between_map_and_gradient():
    net = linear()
    maps = MAPS + weights_of(net, TARGET) * 2
    cosine = torch.cosine_similarity(maps.flatten(1), weights_of(net, TARGET).flatten(1))
    found = infidelity(net, maps, X, TARGET, samples=1000)
    torch.testing.assert_close(found, 1 - cosine**2, rtol=0, atol=0.08)


@pytest.mark.parametrize(("count", "samples"), [(500, 4), (100, 20)])
def test_a_map_of_noise_explains_what_fits_by_chance(count, samples):
    net, inputs, maps = curved(), noise(count, 3, 5, 5), noise(count, 3, 5, 5)
    found = infidelity(net, maps, inputs, torch.arange(count) % 4, samples=samples)
    assert found.mean().item() == pytest.approx(1 - 1 / samples, abs=0.05)
    assert (found <= 1).all()


@pytest.mark.parametrize("factor", [-1, 1e-9, 1e9])
def test_a_map_has_no_unit(factor):
    net = curved()
    torch.testing.assert_close(infidelity(net, factor * MAPS, X, TARGET), infidelity(net, MAPS, X, TARGET))


@pytest.mark.parametrize("factor", [1e-30, 1e-22, 1e22, 1e30])
def test_a_map_has_no_unit_in_single_precision_either(factor):
    net, maps, inputs = curved().float(), MAPS.float(), X.float()
    expected = infidelity(net, maps, inputs, TARGET)
    torch.testing.assert_close(infidelity(net, factor * maps, inputs, TARGET), expected, rtol=1e-3, atol=1e-3)


def test_infidelity_is_never_negative():
    net, inputs = linear().float(), noise(32, 3, 5, 5).float()
    target = torch.arange(32) % 4
    assert (infidelity(net, weights_of(net, target), inputs, target) >= 0).all()


def test_where_there_is_nothing_to_compare_infidelity_has_no_number():
    net, maps, inputs = linear(), MAPS.clone(), X.clone()
    maps[0] = 0
    inputs[1] = 0  # has no standard deviation, and so no noise
    assert infidelity(net, maps, inputs, TARGET).isnan().tolist() == [True, True, False]
    nn.init.zeros_(net[1].weight)
    assert infidelity(net, MAPS, X, TARGET).isnan().all()


def test_an_image_of_one_colour_has_no_infidelity():
    inputs = X.clone()
    inputs[1] = 0.3
    assert infidelity(linear(), MAPS, inputs, TARGET).isnan().tolist() == [False, True, False]


def test_of_many_images_each_has_its_own_number():
    net, inputs, maps = curved(), noise(67, 3, 5, 5), noise(67, 3, 5, 5)
    target = torch.arange(67) // 3 % 4  # whose order is not that of the parts
    seen = recorded(net)
    found = infidelity(net, maps, inputs, target)
    assert found.shape == (67,)
    assert [len(batch) for batch in seen] == [32, 32, 3] * 11
    maps = torch.autograd.functional.jacobian(lambda x: net(x).gather(1, target[:, None]).sum(), inputs)
    assert infidelity(net, maps, inputs, target, noise=1e-4).max() < 1e-3  # none is given another's map or class


def given_noise(drawn):
    """Make Captum's perturbation of noise that is known, one draw a call."""
    draws = iter(drawn)

    def perturb(images):
        change = next(draws)
        return change, images - change

    return perturb


def test_infidelity_is_captums_over_that_of_an_empty_map():
    net, inputs = curved(), 5 * X
    seen = recorded(net)
    found = infidelity(net, MAPS, inputs, TARGET, samples=4)
    changes = list((inputs[:, None] - noisy(seen, inputs)).unbind(1))
    normed, plain = (
        captums_infidelity(
            net,
            given_noise(changes),
            inputs,
            maps,
            target=TARGET,
            n_perturb_samples=4,
            max_examples_per_batch=3,
            normalize=normalize,
        )
        for maps, normalize in ((MAPS, True), (0 * MAPS, False))
    )
    torch.testing.assert_close(found, normed / plain)


def test_contributions_are_divided_by_the_inputs():
    net, inputs = linear(), X.clone()
    inputs[0, 0, 0, 0] = 0
    method = Method(InputXGradient(net))
    maps = method(net, inputs, TARGET)
    assert method.multiplies_by_inputs
    assert not saliency(net).multiplies_by_inputs
    assert infidelity(net, maps, inputs, TARGET).min() > 0.1
    divided = infidelity(net, maps, inputs, TARGET, multiplies_by_inputs=True)
    assert divided[1:].max() < 1e-12  # exact, but at an input of zero, whose contribution says nothing of its weight
    assert 0 < divided[0] < 0.2


@pytest.mark.parametrize("size", [(75,), (5, 3, 5)], ids=["signals", "volumes"])
def test_signals_and_volumes_have_an_infidelity(size):
    net = curved()
    inputs, maps = (tensor.reshape(3, 1, *size) for tensor in (X, MAPS))
    expected = infidelity(net, MAPS, X, TARGET)
    torch.testing.assert_close(infidelity(net, maps, inputs, TARGET), expected)


def test_a_model_of_one_score_and_further_arguments():
    net, shift = curved(), noise(3)

    class Single(nn.Module):
        def forward(self, x, shift):
            return net(x + shift.view(-1, 1, 1, 1))[:, 1]

    class Shifted(nn.Module):
        def forward(self, x):
            return net(x + shift.view(-1, 1, 1, 1))

    found = infidelity(Single(), MAPS, X, None, additional_forward_args=shift)
    torch.testing.assert_close(found, infidelity(Shifted(), MAPS, X, torch.ones(3, dtype=torch.long)))


# -------------------------------------------------------------------------------------- sensitivity


@pytest.mark.parametrize(("count", "samples"), [(2, 3), (3, 10), (3, 1), (3, 40)])
def test_sensitivity_is_the_largest_change_for_the_noise_that_was_drawn(count, samples):
    seen = []

    def explain(model, inputs, target):
        seen.append(inputs.clone())
        return (inputs * (1 + target.view(-1, 1, 1, 1))).sin()

    inputs, target = X[:count], TARGET[:count]
    found = sensitivity_max(linear(), explain, inputs, target, samples=samples, radius=0.3)
    shown = noisy(seen, inputs)
    assert shown.shape[1] == samples
    assert (shown - inputs[:, None]).abs().max() <= 0.3
    expected = []
    for image, own, others in zip(inputs, target, shown, strict=True):
        maps = [(each * (1 + own)).sin() for each in (image, *others)]
        expected.append(max(((each - maps[0]).norm() / maps[0].norm()).item() for each in maps[1:]))
    assert found.tolist() == pytest.approx(expected)
    assert found.dtype == torch.float64


def test_noise_is_uniform_within_the_radius():
    seen = []
    sensitivity_max(linear(), lambda model, x, target: seen.append(x.clone()) or x, X, TARGET, radius=0.5, samples=40)
    changes = noisy(seen, X) - X[:, None]
    assert changes.abs().max() <= 0.5
    assert torch.histc(changes, 5, -0.5, 0.5).tolist() == pytest.approx([1800] * 5, rel=0.1)
    assert len(changes.flatten().unique()) > 8900


def test_the_gradient_of_a_linear_model_is_not_sensitive():
    net = linear()
    assert sensitivity_max(net, saliency(net), X, TARGET).tolist() == [0, 0, 0]


def test_a_copy_of_the_image_changes_as_the_image_does():
    inputs = noise(2, 3, 40, 40)
    found = sensitivity_max(linear(), controls()[1], inputs, TARGET[:2], radius=0.1)
    expected = 0.1 * (4800 / 3) ** 0.5 / inputs.flatten(1).norm(dim=1)
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_sensitivity_is_captums_for_the_same_noise(batch_size):
    net, seen = curved(), []

    @torch.enable_grad()
    def gradient(model, inputs, target):
        assert len(inputs) == len(target)
        seen.append(inputs.detach().clone())
        return torch.autograd.grad(model(inputs.requires_grad_()).gather(1, target[:, None]).sum(), inputs)[0]

    found = sensitivity_max(net, Method(gradient, batch_size=batch_size), X, TARGET, samples=4)
    shown = iter(noisy(seen, X).unbind(1))
    expected = captums_sensitivity(
        lambda inputs, target: (gradient(net, inputs[0].detach() if isinstance(inputs, tuple) else inputs, target),),
        X,
        lambda images, radius: next(shown),
        n_perturb_samples=4,
        max_examples_per_batch=3,
        target=TARGET,
    )
    torch.testing.assert_close(found, expected)


def test_maps_that_are_known_are_not_made_again():
    calls = []
    method = Method(lambda model, x, target: calls.append(1) or x.sin())
    found = sensitivity_max(linear(), method, X, TARGET, samples=2)
    assert len(calls) == 3
    known = sensitivity_max(linear(), method, X, TARGET, samples=2, maps=X.sin())
    assert len(calls) == 5
    assert torch.equal(known, found)


@pytest.mark.parametrize("factor", [1e-30, 1e-22, 1e22, 1e30])
def test_how_sensitive_a_map_is_does_not_depend_on_its_unit_in_single_precision(factor):
    found = [
        sensitivity_max(curved().float(), lambda model, x, target, by=by: by * x, X.float(), TARGET)
        for by in (1, factor)
    ]
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)


def test_of_many_images_each_is_as_sensitive_as_its_class():
    def explain(model, inputs, target):
        return inputs + 1000 * target.view(-1, 1, 1, 1)

    inputs, target = noise(67, 3, 5, 5), torch.arange(67) // 3 % 4
    found = sensitivity_max(linear(), explain, inputs, target, radius=0.1)
    expected = 0.1 * (75 / 3) ** 0.5 / explain(None, inputs, target).flatten(1).norm(dim=1)
    torch.testing.assert_close(found, expected, rtol=0.3, atol=0)


def test_dead_maps_are_not_sensitive_or_insensitive():
    def dies(model, inputs, target):
        warnings.warn("dead", DeadSignalWarning, stacklevel=1)
        return inputs * (target == 3).view(-1, 1, 1, 1)

    assert sensitivity_max(linear(), dies, X, TARGET).isnan().tolist() == [True, False, True]


def test_maps_of_any_memory_format_are_compared():
    method = Method(lambda model, x, target: x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(
        sensitivity_max(linear(), method, X, TARGET), sensitivity_max(linear(), controls()[1], X, TARGET)
    )


# --------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("check", [infidelity, sensitivity_max])
def test_the_seed_decides_and_torchs_generator_stays(check):
    net = curved()
    asked = saliency(net) if check is sensitivity_max else MAPS
    before = torch.get_rng_state()
    first = check(net, asked, X, TARGET, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(check(net, asked, X, TARGET, seed=1), first)
    assert not torch.equal(check(net, asked, X, TARGET, seed=2), first)


@pytest.mark.parametrize("check", [infidelity, sensitivity_max])
def test_no_samples_are_refused(check):
    with pytest.raises(InputError, match="expected samples of at least 1, got 0"):
        check(linear(), MAPS if check is infidelity else controls()[0], X, TARGET, samples=0)


class Moving(nn.Module):
    """Has statistics that move, and counts its runs."""

    def __init__(self):
        super().__init__()
        self.norm, self.runs = nn.BatchNorm2d(3).double(), 0

    def forward(self, x):
        self.runs += 1
        return self.norm(x).tanh().mean((2, 3))


def test_infidelity_leaves_model_and_tensors_as_they_were():
    net, target = Moving().train(), torch.tensor([0, 1, 2])
    before = snapshot(net, X, MAPS, target)
    infidelity(net, MAPS, X, target)
    assert snapshot(net, X, MAPS, target) == before


def test_sensitivity_leaves_model_and_tensors_as_they_were():
    net = curved().train()
    before = snapshot(net, X, TARGET)
    sensitivity_max(net, saliency(net), X, TARGET)
    assert snapshot(net, X, TARGET) == before


def test_a_model_that_writes_into_its_input_gives_the_same_infidelity():
    class Darkens(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.sub_(0.5))

    net = curved()
    inputs = X + 0.5
    before = snapshot(net, inputs)
    found = infidelity(Darkens(net), MAPS, inputs, TARGET)
    assert snapshot(net, inputs) == before
    torch.testing.assert_close(found, infidelity(net, MAPS, X, TARGET))
