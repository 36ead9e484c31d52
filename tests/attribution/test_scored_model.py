"""What of a model's output is explained: outputs that are not one tensor, regions, and functions of the inputs."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from captum.attr import GuidedBackprop, InputXGradient, IntegratedGradients, LayerGradCam, Saliency
from captum.attr import LayerActivation as CaptumLayerActivation
from state import snapshot
from test_captum_contract import quiet_captum
from torch import Tensor, nn

from deconv_attr import (
    LayerZFDeconv,
    Method,
    NeuronZFDeconv,
    ScoredModel,
    ZFDeconv,
    compare,
    coverage,
    default_methods,
    project,
    receptive_field,
    strongest,
)
from deconv_attr.errors import InputError, ModelError, TargetError


class Net(nn.Module):
    """A net of maps of scores (N, 5, 6, 6), returned as they are or in something."""

    def __init__(self, into: Callable[[Tensor], Any] = lambda scores: scores) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
        self.head = nn.Conv2d(6, 5, 1)
        self.into = into
        self.double().eval()

    def forward(self, x: Tensor) -> Any:
        return self.into(self.head(self.features(x)))


class Pooled(Net):
    """The same with scores (N, 5)."""

    def forward(self, x: Tensor) -> Any:
        return self.into(self.head(self.features(x)).mean((2, 3)))


@dataclass
class Output:
    loss: None
    logits: Tensor


class ModelOutput(OrderedDict[str, Any]):
    """As those of Hugging Face: a dict whose entries are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


Named = namedtuple("Named", ["hidden", "scores"])

OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "dict": (lambda s: {"out": s, "aux": s * 2}, lambda output: output["out"]),
    "tuple": (lambda s: (s.mean(), s), lambda output: output[1]),
    "list": (lambda s: [s], lambda output: output[0]),
    "named tuple": (lambda s: Named(s * 3, s), lambda output: output.scores),
    "dataclass": (lambda s: Output(None, s), lambda output: output.logits),
    "ModelOutput": (lambda s: ModelOutput(logits=s), lambda output: output.logits),
    "nested": (lambda s: {"levels": [{"scores": s}, None]}, lambda output: output["levels"][0]["scores"]),
    "one for each image": (lambda s: [{"scores": each} for each in s], lambda o: torch.stack([i["scores"] for i in o])),
}


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_hand(model: Net, x: Tensor, signal: Callable[[Tensor], Tensor]) -> Tensor:
    """Send a signal (N, 5, 3, 3) at the maps of scores down the net by hand; `signal` makes it of them."""
    conv1, _, _, conv2, _ = model.features
    with torch.no_grad():
        one = conv1(x).clamp(min=0)
        pooled, switches = nn.functional.max_pool2d(one, 2, return_indices=True)
        scores = model.head(conv2(pooled).clamp(min=0))
        r = nn.functional.conv_transpose2d(signal(scores), model.head.weight)
        r = nn.functional.conv_transpose2d(r.clamp(min=0), conv2.weight)
        r = nn.functional.max_unpool2d(r, switches, 2, output_size=one.shape[2:])
        return nn.functional.conv_transpose2d(r.clamp(min=0), conv1.weight)


def one_score(scores: Tensor) -> Tensor:
    signal = torch.zeros_like(scores)
    signal[:, 2, 1, 0] = 1
    return signal


@pytest.mark.parametrize("kind", OUTPUTS)
def test_scores_inside_of_any_output_are_explained_without_a_wrapper(kind):
    into, score = OUTPUTS[kind]
    model, x = Net(into), images()
    before = snapshot(model, x)
    scored = ScoredModel(model, score)
    torch.testing.assert_close(ZFDeconv(scored).attribute(x, (2, 1, 0)), by_hand(model, x, one_score))
    assert snapshot(model, x) == before


def region(scores: Tensor) -> Tensor:
    signal = torch.zeros_like(scores)
    signal[:, 3, 1:, :2] = 0.25
    return signal


def test_a_class_over_a_region_is_the_sum_of_its_scores():
    model, x = Net(lambda s: {"out": s}), images()
    scored = ScoredModel(model, lambda output: output["out"][:, 3, 1:, :2].mean((1, 2)))
    want = by_hand(model, x, region)
    torch.testing.assert_close(ZFDeconv(scored).attribute(x), want)
    torch.testing.assert_close(ZFDeconv(scored).attribute(x, 0), want)
    torch.testing.assert_close(ZFDeconv(scored).attribute_targets(x, [None, 0])[1], want)


def test_a_function_of_the_inputs_is_explained_as_captums_methods_take_it():
    model, x = Net(lambda s: {"out": s}), images()

    def forward(images: Tensor, factor: float) -> Tensor:
        found: Tensor = factor * model(images)["out"][:, 3, 1:, :2].mean((1, 2))
        return found

    ours = ZFDeconv(ScoredModel(model, forward_func=forward)).attribute(x, additional_forward_args=4.0)
    torch.testing.assert_close(ours, 4 * by_hand(model, x, region))


def test_a_function_of_the_inputs_may_run_a_part_of_the_model_but_not_another_model():
    model, x = Net(), images()
    part = ScoredModel(model, forward_func=lambda images: model.head(model.features(images))[:, 2, 1, 0])
    torch.testing.assert_close(ZFDeconv(part).attribute(x), by_hand(model, x, one_score))
    other = Pooled()
    before = snapshot(model, x)
    with pytest.raises(ModelError, match="expected a forward_func that runs the model that is given, a Net, got one"):
        ZFDeconv(ScoredModel(model, forward_func=other)).attribute(x, 2)
    assert snapshot(model, x) == before


def test_the_layers_keep_their_names_and_the_model_is_trained_as_before():
    model = Net(lambda s: {"out": s})
    scored = ScoredModel(model, lambda output: output["out"])
    assert dict(scored.named_modules()) == dict(model.named_modules())
    assert list(scored.modules()) == list(model.modules())
    assert [name for name, _ in scored.named_parameters()] == [name for name, _ in model.named_parameters()]
    scored.train()
    assert model.training
    assert model.features.training
    scored.eval()
    assert not model.training
    calls = coverage(scored, images())
    assert [call.path for call in calls if call.operation == "conv2d"] == ["features.0", "features.3", "head"]
    other = deepcopy(scored)
    assert other.model is not model
    torch.testing.assert_close(other(images()), scored(images()))


@pytest.mark.parametrize("layer", ["features.3", "features"])
def test_layers_and_neurons_are_those_of_the_model(layer):
    model, x = Net(lambda s: {"out": s}), images()
    plain, scored = Net(), ScoredModel(model, lambda output: output["out"])
    ours = LayerZFDeconv(scored, layer).attribute(x, (2, 1, 0))
    torch.testing.assert_close(ours, LayerZFDeconv(plain, layer).attribute(x, (2, 1, 0)))
    ours = NeuronZFDeconv(scored, layer).attribute(x, (1, 1, 1))
    torch.testing.assert_close(ours, NeuronZFDeconv(plain, layer).attribute(x, (1, 1, 1)))
    field = receptive_field(scored, layer, (3, 12, 12))
    assert field.size == receptive_field(plain, layer, (3, 12, 12)).size
    maps = [project(net, x, layer, [(0, 3), (2, 3)]) for net in (scored, plain)]
    assert all(map(torch.equal, maps[0].patches, maps[1].patches))
    found = [strongest(net, x, [layer], k=2)[layer].values for net in (scored, plain)]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    "method", [Saliency, InputXGradient, IntegratedGradients, GuidedBackprop], ids=lambda method: method.__name__
)
def test_captums_methods_explain_the_same_score(method):
    model, x = Pooled(lambda s: {"logits": s}), images()
    scored = ScoredModel(model, lambda output: output["logits"])
    with quiet_captum():
        ours, plain = (method(net).attribute(x, target=2) for net in (scored, Pooled()))
    torch.testing.assert_close(ours, plain)


def test_a_comparison_explains_the_score_by_all_methods():
    model, plain, x = Pooled(lambda s: {"logits": s}), Pooled(), images()
    scored = ScoredModel(model, lambda output: output["logits"])
    before = snapshot(model, x)

    def methods(net: nn.Module) -> list[Any]:
        own = [
            Method(LayerGradCam(net, net.get_submodule("features.3" if net is plain else "model.features.3")), "CAM")
        ]
        return [*default_methods(net, x), *own, InputXGradient(net)]

    ours, theirs = compare(scored, x, 2, methods(scored)), compare(plain, x, 2, methods(plain))
    assert not ours.errors
    assert list(ours.attributions) == list(theirs.attributions)
    for label, maps in ours.attributions.items():
        torch.testing.assert_close(maps, theirs.attributions[label], msg=label)
    assert str(ours.table(["deletion", "parameter randomisation"])) == str(
        theirs.table(["deletion", "parameter randomisation"])
    )
    assert snapshot(model, x) == before


def test_a_comparison_of_one_score_needs_no_target():
    model, x = Net(lambda s: {"out": s}), images()
    scored = ScoredModel(model, lambda output: output["out"][:, 3, 1:, :2].mean((1, 2)))
    comparison = compare(scored, x)
    assert not comparison.errors
    torch.testing.assert_close(comparison.attributions["ZFDeconv from the score"], by_hand(model, x, region))
    gradient = Saliency(scored).attribute(x.requires_grad_(), abs=False)
    torch.testing.assert_close(comparison.attributions["Saliency"], gradient)
    with pytest.raises(TargetError, match="got None"):
        compare(Pooled(), x)


def test_a_comparison_refuses_a_method_of_another_score_of_the_model():
    model, x = Pooled(), images()
    scored = ScoredModel(model, lambda output: output[:, :2])
    for other in (model, ScoredModel(model, lambda output: output[:, 2:])):
        comparison = compare(scored, x, 1, [Saliency(other)])
        assert "ScoredModel that is compared" in str(comparison.errors["Saliency"])
    assert "that is compared" in str(compare(model, x, 1, [Saliency(scored)]).errors["Saliency"])


BAD_SCORES: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "a dict": (lambda output: output, ModelError, "got a dict with the keys 'out'"),
    "a number": (lambda output: 1.0, ModelError, "got a float"),
    "integers": (lambda output: output["out"].argmax(1), ModelError, "torch.int64"),
    "one number for all": (
        lambda output: output["out"].sum(),
        ModelError,
        "each of the 3 examples, got a single number",
    ),
    "other rows": (lambda output: output["out"].flatten(0, 1), ModelError, r"of the 3 examples, .*\(15, 3, 3\)"),
}


@pytest.mark.parametrize("kind", BAD_SCORES)
@pytest.mark.parametrize("method", ["ZFDeconv", "LayerZFDeconv", "compare"])
def test_a_score_of_the_wrong_shape_is_one_sentence_and_changes_nothing(kind, method):
    score, error, says = BAD_SCORES[kind]
    model, x = Net(lambda s: {"out": s}), images()
    before = snapshot(model, x)
    scored = ScoredModel(model, score)

    def comparison() -> None:  # which asks for the scores of one image first, and then each method
        for problem in compare(scored, x, 0).errors.values():
            raise problem

    calls = {
        "ZFDeconv": lambda: ZFDeconv(scored).attribute(x, 1),
        "LayerZFDeconv": lambda: LayerZFDeconv(scored, "head").attribute(x, 1),
        "compare": comparison,
    }
    if kind == "other rows" and method == "compare":
        says = r"each of the 1 examples, .*\(5, 3, 3\)"
    with pytest.raises(error, match=says):
        calls[method]()
    assert snapshot(model, x) == before


def test_one_number_is_the_score_of_one_image():
    model, x = Net(lambda s: {"out": s}), images(1)
    scored = ScoredModel(model, lambda output: output["out"][0, 3, 1:, :2].mean())
    torch.testing.assert_close(ZFDeconv(scored).attribute(x), by_hand(model, x, region))


def test_what_cannot_be_a_scored_model_is_refused():
    with pytest.raises(ModelError, match=r"expected the model as a torch\.nn\.Module, got function"):
        ScoredModel(lambda x: x, lambda output: output)  # type: ignore[arg-type]
    for functions in ({}, {"score": abs, "forward_func": abs}):
        with pytest.raises(InputError, match="either a score"):
            ScoredModel(Net(), **functions)
    with pytest.raises(InputError, match="expected the score as a function, got 3"):
        ScoredModel(Net(), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("dict", r"a dict with the keys 'out', 'aux': .*lambda output: output\['out'\]\)"),
        ("tuple", r"a tuple: .*lambda output: output\[0\]\)"),
        ("dataclass", r"an Output with the fields loss, logits: .*lambda output: output\.logits\)"),
        ("ModelOutput", r"a ModelOutput with the keys 'logits': .*lambda output: output\['logits'\]\)"),
        ("nested", r"a dict with the keys 'levels': .*lambda output: \.\.\.\)"),
    ],
)
def test_a_model_of_another_output_is_told_how_to_say_what_its_scores_are(kind, says):
    with pytest.raises(ModelError, match=says):
        ZFDeconv(Net(OUTPUTS[kind][0])).attribute(images(), 1)
    with pytest.raises(ModelError, match=r"as ScoredModel\(model"):
        compare(Net(OUTPUTS[kind][0]), images(), 1)


def test_a_report_is_of_whatever_a_model_returns():
    for kind, (into, _) in OUTPUTS.items():
        found = [call.operation for call in coverage(Net(into), images()) if call.kind.value == "rectifier"]
        assert found == ["relu", "relu"], kind


def test_captums_layer_activation_of_a_scored_model_is_the_models():
    model, x = Net(lambda s: {"out": s}), images()
    scored = ScoredModel(model, lambda output: output["out"])
    torch.testing.assert_close(CaptumLayerActivation(scored, model.features[1]).attribute(x), model.features[:2](x))
