import warnings

import oracle
import pytest
import torch
import torch.nn.functional as F
from by_hand import ByHand
from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    FeatureAblation,
    GradientShap,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    NeuronDeconvolution,
    NeuronGradient,
    NeuronGuidedBackprop,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from torch import nn

from deconv_attr import LayerZFDeconv, NeuronZFDeconv, ZFDeconv
from deconv_attr.errors import InputError
from deconv_attr.evidence.methods import (
    Method,
    as_methods,
    captum_misses,
    controls,
    default_methods,
    rule_tables,
)

TARGET = torch.tensor([4, 0, 2])


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- what can join


def test_a_captum_attribution_runs_with_its_own_arguments(inputs):
    net = ByHand()
    method = Method(IntegratedGradients(net), arguments={"n_steps": 7, "baselines": 0.5})
    expected = IntegratedGradients(net).attribute(inputs, target=TARGET, n_steps=7, baselines=0.5)
    assert torch.equal(method(net, inputs, TARGET), expected)
    assert method.label == "Integrated Gradients"


def test_a_function_runs_with_its_own_arguments(inputs):
    def scaled(model, inputs, target, by):
        return by * inputs * target.view(-1, 1, 1, 1)

    method = Method(scaled, arguments={"by": 2})
    assert torch.equal(method(ByHand(), inputs, TARGET), 2 * inputs * TARGET.view(-1, 1, 1, 1))
    assert method.label == "scaled"


def test_a_noise_tunnel_is_given_the_target(inputs):
    net = ByHand()
    arguments = {"nt_samples": 2, "stdevs": 0.0}
    maps = Method(NoiseTunnel(Saliency(net)), arguments=arguments)(net, inputs, TARGET)
    torch.testing.assert_close(maps, Saliency(net).attribute(inputs.requires_grad_(), target=TARGET))


def test_a_neurons_attribution_has_a_selector_and_no_target(inputs):
    net = ByHand()
    method = Method(NeuronGradient(net, net.conv), arguments={"neuron_selector": (1, 2, 2)})
    expected = NeuronGradient(net, net.conv).attribute(inputs.requires_grad_(), (1, 2, 2))
    assert torch.equal(method(net, inputs, TARGET), expected)


def test_a_layers_maps_are_enlarged_to_the_image(inputs):
    net = ByHand()
    maps = Method(LayerGradCam(net, net.conv))(net, inputs, TARGET)
    small = LayerGradCam(net, net.conv).attribute(inputs, target=TARGET)
    assert small.shape == (3, 1, 4, 4)
    torch.testing.assert_close(maps, F.interpolate(small, (6, 6), mode="bilinear").detach())


def test_in_parts_it_is_the_same(inputs):
    net, seen = ByHand(), []

    def spied(model, inputs, target):
        seen.append(len(inputs))
        return Saliency(model).attribute(inputs.requires_grad_(), target=target)

    whole, parts = (Method(spied, batch_size=size)(net, inputs, TARGET) for size in (None, 2))
    assert seen == [3, 2, 1]
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one method, got none"),
        ({}, "at least one method, got none"),
        ("saliency", "a list or a dict by label, got str"),
        ([Saliency], "as a Captum attribution or a function of model, inputs and target, got <class"),
        ([3], "as a Captum attribution or a function of model, inputs and target, got 3"),
        ([max, max], "expected methods of different labels, got 'max' twice"),
    ],
    ids=str,
)
def test_what_is_no_list_of_methods_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        as_methods(given)


def test_labels_are_the_keys_or_the_methods_own():
    by_key = as_methods({"mine": max, "theirs": Method(min, "another")})
    assert [method.label for method in by_key] == ["mine", "theirs"]
    assert [method.label for method in as_methods([max, Method(max, "again")])] == ["max", "again"]


def test_a_style_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="expected the style signed, luminance, heat, positive, got 'hot'"):
        Method(max, style="hot")


def test_an_attribution_of_another_model_is_refused(inputs):
    with pytest.raises(InputError, match="expected Saliency of the model that is compared, got that of another ByHand"):
        Method(Saliency(ByHand()))(ByHand(), inputs, TARGET)


def test_an_attribution_of_a_wrapped_model_is_the_models_own(inputs):
    net = ByHand()
    wrapped = nn.Sequential(net, nn.Softmax(1))
    maps = Method(Saliency(wrapped))(net, inputs, TARGET)
    assert torch.equal(maps, Saliency(wrapped).attribute(inputs.requires_grad_(), target=TARGET))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: None, "as one tensor in floating point, got NoneType"),
        (lambda x: (x,), "as one tensor in floating point, got tuple"),
        (lambda x: x > 0, "in floating point, got torch.bool"),
        (lambda x: x + 1j, "in floating point, got torch.complex128"),
        (lambda x: x[:2], r"expected maps \(3, 3, 6, 6\), or \(3, 1, 6, 6\) for all channels, got \(2, 3, 6, 6\)"),
        (lambda x: x[:, :2], r"got \(3, 2, 6, 6\)"),
        (lambda x: x[:, 0], r"got \(3, 6, 6\)"),
        (lambda x: x / 0 * 0, "finite, got 324 values that are NaN"),
    ],
)
def test_what_are_no_maps_is_refused(returned, message, inputs):
    with pytest.raises(InputError, match=message):
        Method(lambda model, x, target: returned(x))(ByHand(), inputs, TARGET)


def test_a_method_cannot_write_into_the_inputs(inputs):
    before = inputs.clone()
    Method(lambda model, x, target: x.zero_())(ByHand(), inputs, TARGET)
    assert torch.equal(inputs, before)


# ------------------------------------------------------------------------------------ how pixels are ranked

RANKED = {
    "value": [
        lambda net: IntegratedGradients(net),
        lambda net: InputXGradient(net),
        lambda net: DeepLift(net),
        lambda net: GradientShap(net),
        lambda net: LRP(net),
        lambda net: Occlusion(net),
        lambda net: FeatureAblation(net),
        lambda net: ShapleyValueSampling(net),
        lambda net: LayerGradCam(net, net.conv),
        lambda net: NoiseTunnel(IntegratedGradients(net)),
        lambda net: lambda model, inputs, target: inputs,
    ],
    "size": [
        lambda net: Saliency(net),
        lambda net: GuidedBackprop(net),
        lambda net: Deconvolution(net),
        lambda net: GuidedGradCam(net, net.conv),
        lambda net: NeuronGradient(net, net.conv),
        lambda net: NeuronGuidedBackprop(net, net.conv),
        lambda net: NeuronDeconvolution(net, net.conv),
        lambda net: NoiseTunnel(NoiseTunnel(Saliency(net))),
        lambda net: IntegratedGradients(net, multiply_by_inputs=False),
        lambda net: DeepLift(net, multiply_by_inputs=False),
        lambda net: ZFDeconv(net),
        lambda net: NeuronZFDeconv(net, "conv"),
        lambda net: LayerZFDeconv(net, "conv"),
    ],
}


@pytest.mark.parametrize(("ranking", "make"), [(name, make) for name, makes in RANKED.items() for make in makes])
def test_contributions_are_ranked_by_value_and_directions_by_size(ranking, make):
    explain = make(ByHand())
    assert Method(explain).ranking == ranking
    for name in RANKED:
        assert Method(explain, rank_by=name).ranking == name


def test_what_multiplies_by_the_inputs_is_asked_of_the_attribution():
    net = ByHand()
    assert Method(IntegratedGradients(net)).multiplies_by_inputs
    assert Method(NoiseTunnel(InputXGradient(net))).multiplies_by_inputs
    assert not Method(IntegratedGradients(net, multiply_by_inputs=False)).multiplies_by_inputs
    assert not Method(Saliency(net)).multiplies_by_inputs
    assert not Method(lambda model, inputs, target: inputs).multiplies_by_inputs


def test_the_built_in_methods_are_ranked_by_size(inputs):
    net = ByHand(functional=True)
    built_in = [*default_methods(net, inputs, "conv"), *rule_tables("conv", 1)]
    assert {method.ranking for method in built_in} == {"size"}


def test_another_ranking_is_refused():
    with pytest.raises(InputError, match="expected rank_by as 'value' or 'size', got 'strength'"):
        Method(max, rank_by="strength")


# -------------------------------------------------------------------------- signals, volumes, further arguments


@pytest.mark.parametrize(
    ("conv", "shape", "mode"),
    [(nn.Conv1d, (2, 3, 12), "linear"), (nn.Conv3d, (2, 3, 6, 7, 8), "trilinear")],
    ids=["signals", "volumes"],
)
def test_a_layers_maps_are_enlarged_to_signals_and_volumes(conv, shape, mode):
    net = nn.Sequential(conv(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).double()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net(x)
    maps = Method(LayerGradCam(net, net[0]))(net, x, torch.tensor([1, 2]))
    small = LayerGradCam(net, net[0]).attribute(x, target=torch.tensor([1, 2]))
    torch.testing.assert_close(maps, F.interpolate(small, shape[2:], mode=mode).detach())


def test_further_arguments_go_where_they_belong(inputs):
    class Shifted(ByHand):
        def forward(self, x, shift):
            return super().forward(x + shift.view(-1, 1, 1, 1))

    net, shift, seen = Shifted(), torch.arange(3.0).double(), []

    def spied(model, inputs, target, additional_forward_args):
        seen.append(additional_forward_args)
        return inputs

    expected = Saliency(net).attribute(inputs.clone().requires_grad_(), TARGET, True, shift)
    assert torch.equal(Method(Saliency(net))(net, inputs, TARGET, (shift,)), expected)
    assert torch.equal(Method(Saliency(net), batch_size=2)(net, inputs, TARGET, (shift,)), expected)
    Method(spied, batch_size=2)(net, inputs, TARGET, (shift, "more"))
    assert [(rows.tolist(), more) for rows, more in seen] == [([0, 1], "more"), ([2], "more")]
    own = Method(Saliency(net), arguments={"additional_forward_args": 0 * shift})
    assert not torch.equal(own(net, inputs, TARGET, (shift,)), expected)  # the method's own go before


# ------------------------------------------------------------------------------------------------- what is built in


@pytest.mark.parametrize("functional", [False, True], ids=["module", "functional"])
def test_the_defaults_are_what_the_literature_says(functional, inputs):
    net = ByHand(functional)
    score, unit, guided, saliency = default_methods(net, inputs, "relu" if not functional else "conv")
    by_hand = net.by_hand(inputs, TARGET)
    for method, name in ((score, "ZFDeconv"), (guided, "Guided backprop"), (saliency, "Saliency")):
        torch.testing.assert_close(method(net, inputs, TARGET), by_hand[name])
    activations = net.conv(inputs).relu() if not functional else net.conv(inputs)
    strongest = activations.flatten(1).max(1)
    signal = torch.zeros_like(activations).flatten(1).scatter(1, strongest.indices[:, None], strongest.values[:, None])
    expected = F.conv_transpose2d(signal.view_as(activations), net.conv.weight)
    torch.testing.assert_close(unit(net, inputs, TARGET), expected.detach())
    assert [method.style for method in (score, unit, guided, saliency)] == ["signed"] * 3 + [None]
    assert unit.label == f"ZFDeconv from a unit of {'conv' if functional else 'relu'}"
    ours = "Guided backprop (our rules: Captum's misses 1 of 1 ReLUs)"
    assert guided.label == (ours if functional else "Guided backprop")
    assert isinstance(guided.explain, GuidedBackprop) is not functional


def test_from_the_classs_own_map_its_strongest_unit_is_sent_down(inputs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = model.append(nn.Flatten()).double()
    for parameter in model[2].parameters():
        parameter.data.abs_()  # so that each class's map is active, and no signal dies
    unit = default_methods(model, inputs)[1]
    assert unit.label == "ZFDeconv from the class's map 3"
    maps = model[:4](inputs)
    for image, label in enumerate(TARGET):
        place = divmod(int(maps[image, label].argmax()), 4)
        signal = torch.zeros(1, 4, 4, 4, dtype=torch.float64)
        signal[0, :, place[0], place[1]] = maps[image, label].max() * model[2].weight[label, :, 0, 0]
        expected = F.conv_transpose2d(signal.clamp(min=0), model[0].weight).detach()
        torch.testing.assert_close(unit(model, inputs, TARGET)[image : image + 1], expected)


def test_choices_reach_every_deconvnet(inputs):
    class Leaky(ByHand):
        def __init__(self):
            super().__init__()
            self.relu = nn.LeakyReLU()

    net = Leaky()
    score, *_ = default_methods(net, inputs, "conv", activations="rectify")
    expected = ZFDeconv(net, activations="rectify").attribute(inputs, target=TARGET)
    torch.testing.assert_close(score(net, inputs, TARGET), expected)


def test_where_there_is_no_layer_to_start_from_only_that_method_fails(inputs):
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, 5)).double()
    score, unit, guided, saliency = default_methods(model, inputs)
    with pytest.raises(InputError, match="name a layer to start from"):
        unit(model, inputs, TARGET)
    for method in (score, guided, saliency):
        assert method(model, inputs, TARGET).any()
    with pytest.raises(InputError, match="no layer 'gone'"):
        default_methods(model, inputs, "gone")


def test_the_rule_tables_explain_the_same_unit(inputs):
    net = ByHand()
    methods = rule_tables("linear", 3)
    assert [method.label for method in methods] == list(oracle.TABLES)
    for method in methods:
        start = net.linear(net.conv(inputs).relu().flatten(1))[:, 3]
        signal = (start[:, None] * net.linear.weight[3]).reshape(3, 4, 4, 4)
        maps = net.conv(inputs)
        below = oracle.TABLES[method.label]["relu"](maps, maps.relu(), signal, {})
        expected = F.conv_transpose2d(below, net.conv.weight).detach()
        torch.testing.assert_close(method(net, inputs, TARGET), expected)


def test_controls_know_neither_model_nor_class(inputs):
    noise, image = controls()
    assert torch.equal(image(ByHand(), inputs, TARGET), inputs)
    drawn = noise(ByHand(), inputs, TARGET)
    assert torch.equal(drawn, noise(ByHand(), inputs + 1, TARGET * 0))
    assert abs(float(drawn.mean())) < 0.2
    assert abs(float(drawn.std()) - 1) < 0.1


# ------------------------------------------------------------------- what Captum's guided backprop misses


def test_captum_misses_nothing_on_modules(inputs):
    net = ByHand()
    assert captum_misses(net, inputs, as_methods([GuidedBackprop(net), Saliency(net)])) == []


def test_functional_rectifier_is_noted_and_really_missed(inputs):
    net = ByHand(functional=True)
    methods = as_methods({"guided": GuidedBackprop(net), "mine": max, "deconv": Deconvolution(net)})
    first, second = captum_misses(net, inputs, methods)
    kinds = {"a": NoiseTunnel(GuidedBackprop(net)), "b": NoiseTunnel(Saliency(net))}
    kinds["c"] = NeuronGuidedBackprop(net, net.conv)
    assert [note[0] for note in captum_misses(net, inputs, as_methods(kinds))] == ["a", "c"]
    assert first.startswith("guided: Captum's rule is for nn.ReLU modules only")
    assert second.startswith("deconv: Captum's rule is for")
    assert "at 1 of this model's 1 rectifiers; the first is 'relu'" in first
    assert "by_hand.py:" in first
    for method in (methods[0], methods[2]):
        torch.testing.assert_close(method(net, inputs, TARGET), net.by_hand(inputs, TARGET)["Saliency"])


def test_only_the_missed_rectifiers_are_counted(inputs):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.relu6 = nn.ReLU(), nn.ReLU6()

        def forward(self, x):
            return torch.relu(self.relu6(self.relu(x))).flatten(1)

    net = Mixed()
    (note,) = captum_misses(net, inputs, as_methods([GuidedBackprop(net)]))
    assert "at 2 of this model's 3 rectifiers" in note
    assert "in module 'relu6'" in note


@pytest.mark.parametrize("kind", [Saliency, InputXGradient, GuidedBackprop])
def test_only_captums_notices_are_silenced(kind, inputs):
    class Warns(ByHand):
        def forward(self, x):
            warnings.warn("look at me", UserWarning, stacklevel=1)
            return super().forward(x)

    net = Warns()
    with pytest.warns(UserWarning, match="look at me") as caught:
        Method(kind(net))(net, inputs, TARGET)
    assert {str(warning.message) for warning in caught} == {"look at me"}
