"""Cascading randomisation: what is compared where the answer is known, and that weights come back."""

import warnings

import pytest
import torch
from captum.attr import Saliency
from state import snapshot
from torch import nn

from deconv_attr import DeadSignalWarning, ZFDeconv
from deconv_attr.errors import InputError
from deconv_attr.evidence import CHECKS, Case, cascade, parameter_randomisation, spearman
from deconv_attr.evidence.methods import Method, controls

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, 6, 6, generator=GENERATOR)
TARGET = torch.tensor([1, 3])
PATTERN = torch.randn(2, 3, 6, 6, generator=GENERATOR)
ONES = torch.ones(3, 2, dtype=torch.float64)


class Net(nn.Module):
    """Three layers with weights, top, middle and bottom."""

    def __init__(self):
        super().__init__()
        self.bottom = nn.Conv2d(3, 4, 3)
        self.middle = nn.Conv2d(4, 4, 3)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.top = nn.Linear(4, 5)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=GENERATOR) / 3

    def forward(self, x):
        return self.top(self.norm(self.middle(self.bottom(x).relu())).relu().mean((2, 3)))


@pytest.fixture(autouse=True)
def _seed_each_test():
    GENERATOR.manual_seed(1)


def net():
    return Net().eval()


# ------------------------------------------------------------------------------ what is compared


@pytest.mark.parametrize("method", controls(), ids=lambda method: method.label)
def test_a_method_that_ignores_the_model_scores_1(method):
    found = parameter_randomisation(net(), method, X, TARGET)
    torch.testing.assert_close(found.signed, ONES)
    torch.testing.assert_close(found.absolute, ONES)


def pattern_of(parameter):
    """Make a method whose map is the first numbers of one tensor."""

    def explain(model, inputs, target):
        values = model.get_parameter(parameter).detach().flatten()
        return values[:12].repeat(9).view(1, 3, 6, 6).repeat(len(inputs), 1, 1, 1)

    return explain


def test_a_method_that_reads_the_top_only_changes_at_once_and_never_again():
    found = parameter_randomisation(net(), pattern_of("top.weight"), X, TARGET).signed
    assert (found < 0.9).all()
    assert torch.equal(found, found[:1].expand(3, 2))


def test_a_method_that_reads_the_bottom_only_changes_at_last():
    found = parameter_randomisation(net(), pattern_of("bottom.weight"), X, TARGET).signed
    torch.testing.assert_close(found[:2], ONES[:2])
    assert (found[2] < 0.9).all()


def test_of_a_linear_model_the_gradients_are_its_weights():
    model, weights = nn.Sequential(nn.Flatten(), nn.Linear(108, 5)), []

    def looks(model, inputs, target):
        weights.append(model[1].weight[target].detach().clone())
        return PATTERN

    parameter_randomisation(model, looks, X, TARGET, seed=4, draws=1)
    trained, drawn = weights
    saliency = Method(Saliency(model), arguments={"abs": False})
    found = parameter_randomisation(model, saliency, X, TARGET, seed=4, draws=1)
    assert found.layers == ["1"]
    assert torch.equal(found.signed[0], spearman(trained, drawn))
    assert torch.equal(found.absolute[0], spearman(trained.abs(), drawn.abs()))


def test_signs_count_only_where_they_should():
    calls = []

    def flips(model, inputs, target):
        calls.append(1)
        return PATTERN if len(calls) == 1 else -PATTERN

    found = parameter_randomisation(net(), flips, X, TARGET, draws=1)
    torch.testing.assert_close(found.signed, -ONES)
    torch.testing.assert_close(found.absolute, ONES)


def dying(stage, alive=PATTERN):
    """Make a method whose maps are zero from a stage on, counted from 1, with a warning; before, they never change."""
    calls = []

    def dies(model, inputs, target):
        warnings.warn("dead", DeadSignalWarning, stacklevel=1)
        calls.append(1)
        return alive[: len(inputs)] * (len(calls) <= stage)

    return dies


def test_maps_that_die_at_stage_3_count_as_changed_and_raise_no_warning():
    found = parameter_randomisation(net(), dying(3), X, TARGET, draws=1)
    expected = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)[:, None].expand(3, 2)
    torch.testing.assert_close(found.signed, expected)
    torch.testing.assert_close(found.absolute, expected)
    assert found.zero.tolist() == [[False, False], [False, False], [True, True]]


def test_where_the_trained_models_map_is_zero_there_is_no_number():
    half = PATTERN * torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    found = parameter_randomisation(net(), lambda model, x, target: half, X, TARGET, draws=1)
    assert found.signed.isnan().tolist() == found.absolute.isnan().tolist() == [[True, False]] * 3
    assert found.zero[:, 0].all()


def cases_of(*methods, inputs=X):
    model = net()
    target = torch.zeros(len(inputs), dtype=torch.long)
    found = []
    for method in methods:
        maps = Method(method)(model, inputs, target)
        found.append(Case(model, Method(method), maps, inputs, target))
    return found


def check_of(*methods, inputs=X):
    return CHECKS["parameter randomisation"].run(cases_of(*methods, inputs=inputs))


def test_of_how_many_stages_and_images_a_number_is_is_said():
    many = torch.randn(7, 3, 6, 6, generator=GENERATOR)

    def dies(model, inputs, target):  # when the middle layer is random
        return inputs * torch.equal(model.middle.weight, middle)

    model = net()
    middle = model.middle.weight.detach().clone()
    target = torch.zeros(7, dtype=torch.long)
    case = Case(model, Method(dies), many, many, target)
    (found,) = CHECKS["parameter randomisation"].run([case])
    signed, absolute, zero = found.values
    torch.testing.assert_close(signed, torch.full((7,), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(absolute, signed)
    torch.testing.assert_close(zero, torch.full((7,), 2 / 3, dtype=torch.float64))
    assert found.basis == "3 stages x 7 images, 5 draws of the weights"
    assert found.note == "is zero for 14 of 21 maps under random weights, all of them from 'middle' on"
    assert found.draw.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert found.curve.zero.tolist() == [[False] * 7, [True] * 7, [True] * 7]
    assert found.curve.mostly_zero == [False, True, True]
    (alive,) = check_of(controls()[1])
    assert (alive.note, alive.basis) == ("", "3 stages x 2 images, 2 draws of the weights")


def test_all_methods_see_the_same_weights_and_each_has_its_error():
    seen = {"a": [], "b": []}

    def looks(name):
        def explain(model, inputs, target):
            seen[name].append([parameter.detach().clone() for parameter in model.parameters()])
            return inputs

        return explain

    calls = []

    def fails(model, inputs, target):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no luck")
        return inputs

    first, error, last = check_of(looks("a"), fails, looks("b"))
    assert isinstance(error, RuntimeError)
    assert len(calls) == 3  # not asked again
    assert len(seen["a"]) == len(seen["b"]) == 7  # the trained model's, and three stages for each of two images
    for one, other in zip(seen["a"][1:], seen["b"][1:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    torch.testing.assert_close(first.values[0], last.values[0])


def test_weights_are_drawn_once_for_all_methods(monkeypatch):
    drawn = []
    monkeypatch.setattr(cascade, "_random_like", lambda parameter, generator: drawn.append(1) or parameter.data)
    check_of(*controls())
    assert len(drawn) == 2 * 6  # draws, tensors; not once more for the second method


def test_each_image_has_one_draw_and_its_own_class_and_arguments():
    seen = []

    class Shifted(Net):
        def forward(self, x, shift):
            return super().forward(x + shift.view(-1, 1, 1, 1))

    def looks(model, inputs, target, additional_forward_args):
        seen.append((inputs[:, 0, 0, 0].tolist(), target.tolist(), additional_forward_args[0].tolist()))
        return inputs

    inputs, target = torch.arange(7.0).view(7, 1, 1, 1) + torch.randn(1, 3, 6, 6), torch.arange(7) % 5
    found = parameter_randomisation(
        Shifted().eval(), looks, inputs, target, additional_forward_args=target.float(), stages=1, draws=3
    )
    assert found.draw.tolist() == [0, 1, 2, 0, 1, 2, 0]
    for rows, (images, classes, shifts) in zip([[0, 3, 6], [1, 4], [2, 5]], seen[1:], strict=True):
        assert images == inputs[rows, 0, 0, 0].tolist()
        assert classes == target[rows].tolist()
        assert shifts == classes


def test_a_model_of_one_score_has_a_cascade_too():
    class Single(Net):
        def forward(self, x):
            return super().forward(x)[:, 1]

    model = Single().eval()
    found = parameter_randomisation(model, Method(Saliency(model), arguments={"abs": False}), X, None)
    assert found.layers == ["top", "middle", "bottom"]
    assert (found.signed[-1].abs() < 0.9).all()


def test_other_warnings_are_heard():
    def warns(model, inputs, target):
        warnings.warn("look at me", UserWarning, stacklevel=1)
        return PATTERN

    with pytest.warns(UserWarning, match="look at me"):
        parameter_randomisation(net(), warns, X, TARGET, draws=1)


def test_the_seed_decides_and_torchs_generator_stays():
    def found(seed):
        return parameter_randomisation(model, pattern_of("bottom.weight"), X, TARGET, seed=seed).signed

    model, before = net(), torch.get_rng_state()
    first = found(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(found(0), first)
    assert not torch.equal(found(1), first)


@pytest.mark.parametrize(
    ("model", "stages", "message"),
    [
        (nn.Flatten(), None, "a model with weights to randomise, got one without"),
        (net(), 0, "stages of at least 1, got 0"),
        (net(), -1, "stages of at least 1, got -1"),
        (net(), {"draws": 0}, "draws of at least 1, got 0"),
    ],
)
def test_what_cannot_be_randomised_is_refused(model, stages, message):
    given = stages if isinstance(stages, dict) else {"stages": stages}
    with pytest.raises(InputError, match=message):
        parameter_randomisation(model, controls()[0], X, TARGET, **given)


# ------------------------------------------------------------------------------ what is put back


def awkward():
    """Make a model of which many facts are out of the ordinary."""
    model = net().train()
    model.middle.weight.requires_grad_(False)
    model.bottom.weight.data = model.bottom.weight.data.contiguous(memory_format=torch.channels_last)
    model.top.register_forward_hook(lambda module, args, output: None)
    model.top.register_forward_pre_hook(lambda module, args: None)
    model(X).sum().backward()
    return model


def places(model):
    return [parameter.data_ptr() for parameter in model.parameters()]


def test_after_success_nothing_has_changed():
    model, inputs = awkward(), X.clone()
    before, memory = snapshot(model, inputs, TARGET), places(model)
    found = parameter_randomisation(model, ZFDeconv(model), inputs, TARGET)
    assert snapshot(model, inputs, TARGET) == before
    assert places(model) == memory
    assert (found.signed[-1] < 0.99).all()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2, 4])
def test_after_an_error_nothing_has_changed(error, call):
    model, calls = awkward(), []

    def fails(model, inputs, target):
        calls.append(1)
        if len(calls) == call:
            raise error
        return PATTERN

    before, memory = snapshot(model, X), places(model)
    with pytest.raises(error):
        parameter_randomisation(model, fails, X, TARGET, draws=1)
    assert len(calls) == call
    assert snapshot(model, X) == before
    assert places(model) == memory


def test_random_weights_are_of_the_same_kind_and_written_nowhere():
    model = awkward().to(torch.float16)
    held = {name: parameter.detach() for name, parameter in model.named_parameters()}
    copies = {name: value.clone() for name, value in held.items()}
    seen = []

    def looks(model, inputs, target):
        seen.append([(p.dtype, p.stride(), p.requires_grad) for p in model.parameters()])
        assert all(torch.equal(held[name], copies[name]) for name in held)
        return PATTERN.to(inputs)

    parameter_randomisation(model.eval(), looks, X.half(), TARGET, draws=1)
    assert len(seen) == 4
    assert all(kinds == seen[0] for kinds in seen)
