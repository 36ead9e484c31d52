"""How programs hold our methods: copied, pickled, sent to workers, averaged, with layers set later, around tokens."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import (
    GradientAttribution,
    LayerAttribution,
    LayerGradCam,
    NeuronAttribution,
    NeuronDeconvolution,
    NoiseTunnel,
)
from state import snapshot
from test_captum_contract import quiet_captum
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import deconv_attr
from deconv_attr import (
    DECONVNET,
    TABLES,
    LayerZFDeconv,
    Method,
    NeuronZFDeconv,
    ScoredModel,
    ZFDeconv,
    compare,
)
from deconv_attr.errors import InputError
from deconv_attr.rules import RECTIFY


def chain(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3), nn.PReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(20, 4)).eval()


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def logits(output: Mapping[str, Tensor]) -> Tensor:
    return output["logits"]


class InDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = chain()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.net(x)}


RULES = {**DECONVNET, nn.PReLU: RECTIFY}
INSTANCES: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "ZFDeconv": lambda: (ZFDeconv(chain(), rules=RULES), {"target": 1}),
    "by name": lambda: (ZFDeconv(chain(), rules={**DECONVNET, "1": RECTIFY}), {"target": 1}),
    "NeuronZFDeconv": lambda: (NeuronZFDeconv(chain(), "3", activations="rectify"), {"neuron_selector": 2}),
    "LayerZFDeconv": lambda: (LayerZFDeconv(chain(), "0", activations="gradient", overlap="mean"), {"target": 1}),
    "a list of layers": lambda: (LayerZFDeconv(chain(), ["0", "2"], rules=RULES), {"target": 1}),
    "ScoredModel": lambda: (ZFDeconv(ScoredModel(InDict(), logits), rules=RULES), {"target": 1}),
}


def explained(method: Any, arguments: dict[str, Any]) -> list[Tensor]:
    maps = method.attribute(images(), **arguments)
    return maps if isinstance(maps, list) else [maps]


# ---------------------------------------------------------------------------------------- copies and workers

COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda method: pickle.loads(pickle.dumps(method)),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", INSTANCES)
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_a_copy_explains_as_the_original_does(kind, way, used):
    method, arguments = INSTANCES[kind]()
    before = explained(method, arguments) if used else None
    other = COPIES[way](method)
    found = explained(other, arguments)
    assert all(map(torch.equal, found, before or explained(method, arguments)))
    if way != "copy":
        assert other.model is not method.model


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_pickled_rule_by_rule(name):
    table = pickle.loads(pickle.dumps(dict(TABLES[name])))
    x = images()
    ours = ZFDeconv(chain(), rules=table, activations="gradient").attribute(x, 1)
    assert torch.equal(ours, ZFDeconv(chain(), rules=TABLES[name], activations="gradient").attribute(x, 1))


def test_workers_that_are_spawned_explain_what_they_are_sent():
    work = [INSTANCES[kind]() for kind in ("ZFDeconv", "NeuronZFDeconv", "ScoredModel")]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        sent = list(pool.map(explained, *zip(*work, strict=True)))
    for (method, arguments), found in zip(work, sent, strict=True):
        torch.testing.assert_close(found, explained(method, arguments))


def test_workers_of_joblib_explain_what_they_are_sent():
    joblib = pytest.importorskip("joblib")
    method, arguments = INSTANCES["ZFDeconv"]()
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(explained)(method, arguments) for _ in range(2))
    torch.testing.assert_close(found[0], explained(method, arguments))


def test_an_averaged_model_and_the_one_inside_are_explained_alike():
    model = chain()
    averaged = AveragedModel(model)
    averaged.update_parameters(chain(seed=1))
    averaged.eval()
    ours = ZFDeconv(averaged, activations="rectify").attribute(images(), 1)
    assert torch.equal(ours, ZFDeconv(averaged.module, activations="rectify").attribute(images(), 1))
    again = AveragedModel(averaged.module)  # which deep-copies a model that has been explained
    assert torch.equal(ours, ZFDeconv(again, activations="rectify").attribute(images(), 1))


# ---------------------------------------------------------------------------------------- Captum's kinds


def test_the_methods_are_gradient_attributions_where_captums_are():
    model = chain()
    for method, kind in ((NeuronZFDeconv, NeuronAttribution), (LayerZFDeconv, LayerAttribution)):
        ours = method(model, "3")
        assert isinstance(ours, GradientAttribution)
        assert isinstance(ours, kind)
    assert isinstance(LayerGradCam(model, model[3]), GradientAttribution)
    assert isinstance(ZFDeconv(model), GradientAttribution)


@pytest.mark.parametrize("stdev", [0.0, 0.3])
def test_noise_tunnel_averages_all_three_over_noisy_images(stdev):
    model, x = chain(), images()
    made: dict[str, tuple[Any, dict[str, Any]]] = {
        "score": (ZFDeconv(model, rules=RULES), {"target": 1}),
        "layer": (LayerZFDeconv(model, "0", rules=RULES), {"target": 1}),
        "unit": (NeuronZFDeconv(model, "3", rules=RULES), {"neuron_selector": (2, 1, 1)}),
    }
    for name, (method, arguments) in made.items():
        torch.manual_seed(3)
        ours = NoiseTunnel(method).attribute(x, nt_samples=4, stdevs=stdev, **arguments)
        torch.manual_seed(3)
        repeated = x.repeat_interleave(4, dim=0)
        noisy = repeated + torch.normal(0, torch.full(repeated.shape, stdev))
        maps = method.attribute(noisy, **arguments)
        torch.testing.assert_close(ours, maps.view(len(x), 4, *maps.shape[1:]).mean(1), msg=name)


def test_compare_takes_a_noise_tunnel_for_the_method_inside():
    model, x = chain(), images()
    unit = {"neuron_selector": (1, 1, 1)}
    inside: dict[str, tuple[Any, dict[str, Any]]] = {
        "Grad-CAM": (LayerGradCam(model, model[0]), {}),
        "a unit": (NeuronZFDeconv(model, "3", rules=RULES), unit),
        "Captum's unit": (NeuronDeconvolution(model, model[3]), unit),
        "score": (ZFDeconv(model, rules=RULES), {}),
    }
    methods = [Method(method, name, arguments=arguments) for name, (method, arguments) in inside.items()]
    for name, (method, arguments) in inside.items():
        given = {**arguments, "nt_samples": 2, "stdevs": 0.0}
        methods.append(Method(NoiseTunnel(method), f"noisy {name}", arguments=given))
    with quiet_captum():
        comparison = compare(model, x, 1, methods)
    assert not comparison.errors
    for name in inside:
        torch.testing.assert_close(comparison.attributions[name], comparison.attributions[f"noisy {name}"])


# ---------------------------------------------------------------------------------------- layers


def test_a_layer_may_be_set_later_and_until_then_there_is_a_named_error():
    model, x = chain(), images()
    method = LayerZFDeconv(model, None, rules=RULES)
    before = snapshot(model, x)
    for layer in (None, []):
        method.layer = layer
        with pytest.raises(InputError, match=r"a layer to read the signal at, got .*set the attribute 'layer'"):
            method.attribute(x, 1)
    assert snapshot(model, x) == before
    for layer in (model[0], "0"):
        method.layer = layer
        assert torch.equal(method.attribute(x, 1), LayerZFDeconv(model, "0", rules=RULES).attribute(x, 1))


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize("top", [None, "4"])
def test_a_list_of_layers_gives_the_signals_at_each(top, at_input, size):
    model, x = chain(), images()
    options = {"attribute_to_layer_input": at_input, "internal_batch_size": size, "from_layer": top}
    ours = LayerZFDeconv(model, [model[0], "3", "2"], rules=RULES).attribute(x, 1, **options)
    assert isinstance(ours, list)
    for layer, found in zip(["0", "3", "2"], ours, strict=True):
        assert torch.equal(found, LayerZFDeconv(model, layer, rules=RULES).attribute(x, 1, **options))


def test_every_layer_of_a_list_must_be_one_of_the_models():
    with pytest.raises(InputError, match="the model has no layer '9'"):
        LayerZFDeconv(chain(), ["0", "9"])
    with pytest.raises(InputError, match="expected the layer as a module or its dotted name, got NoneType"):
        NeuronZFDeconv(chain(), None)  # type: ignore[arg-type]


def test_a_dead_signal_at_a_layer_is_reported_at_the_callers_line():
    model = chain()
    model[6].weight.data[1] = -model[6].weight.data[1].abs()
    with pytest.warns(UserWarning, match="rectified away") as caught:
        LayerZFDeconv(model, ["0", "3"], rules=RULES).attribute(images(), 1)
    assert {warning.filename for warning in caught} == {__file__}


# ---------------------------------------------------------------------------------------- selectors


def test_a_selector_may_return_one_element():
    model, x = chain(), images()
    method = NeuronZFDeconv(model, "3", rules=RULES)
    alone = method.attribute(x[:1], lambda output: output[0, 2, 1, 1])
    torch.testing.assert_close(alone, method.attribute(x[:1], (2, 1, 1)))
    for selector in (lambda output: output[:, 2, 1, 1].sum(), lambda output: output[:, 2, 1, 1].sum()[None, None]):
        torch.testing.assert_close(method.attribute(x, selector), method.attribute(x, (2, 1, 1)))
    layer = LayerZFDeconv(model, "0", rules=RULES)
    ours = layer.attribute(x, lambda output: output[:, 2, 1, 1].sum(), from_layer="3")
    torch.testing.assert_close(ours, layer.attribute(x, (2, 1, 1), from_layer="3"))


@pytest.mark.parametrize(
    "found", [lambda o: o[0, :2, 0, 0], lambda o: 1.0, lambda o: o.argmax()], ids=["two", "a float", "an index"]
)
def test_a_selector_that_returns_anything_else_is_refused(found):
    with pytest.raises(AssertionError, match=r"expected the neuron_selector to return one number an example \(N,\)"):
        NeuronZFDeconv(chain(), "3", rules=RULES).attribute(images(), found)


# ---------------------------------------------------------------------------------------- tokens


class TextNet(nn.Module):
    """A convolution over the embeddings of tokens, as in Captum's tutorial on IMDB."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 8)
        self.conv, self.relu, self.head = nn.Conv1d(8, 16, 3), nn.ReLU(), nn.Linear(16, 4)

    def above(self, embedded: Tensor) -> Tensor:
        found: Tensor = self.head(self.relu(self.conv(embedded.transpose(1, 2))).amax(2))
        return found

    def forward(self, tokens: Tensor, factor: Tensor | float = 1.0) -> Tensor:
        return self.above(self.embedding(tokens) * factor)


def by_hand(model: TextNet, tokens: Tensor, factor: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the signals at the embedding and at the convolution, for class 1."""
    with torch.no_grad():
        maps = model.conv((model.embedding(tokens) * factor).transpose(1, 2)).clamp(min=0)
        largest = (maps == maps.amax(2, keepdim=True)).to(maps)  # of equals, each has its share
        signal = (model.head.weight[1][:, None] * largest / largest.sum(2, keepdim=True)).clamp(min=0)
        filtered = nn.functional.conv_transpose1d(signal, model.conv.weight)
        return filtered.transpose(1, 2) * factor, signal


def tokens(dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(2)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("size", [None, 2])
def test_tokens_are_explained_at_the_layers_above_them(dtype, size):
    model, words = TextNet().eval(), tokens(dtype)
    before = snapshot(model, words)
    at_embedding, at_conv = by_hand(model, words)
    options = {"internal_batch_size": size}
    torch.testing.assert_close(LayerZFDeconv(model, model.embedding).attribute(words, 1, **options), at_embedding)
    torch.testing.assert_close(LayerZFDeconv(model, "conv").attribute(words, 1, **options), at_conv)
    ours = LayerZFDeconv(model, "conv").attribute(words, 1, attribute_to_layer_input=True, **options)
    torch.testing.assert_close(ours, at_embedding.transpose(1, 2))
    assert snapshot(model, words) == before


def test_tokens_beside_numbers_and_further_arguments():
    model, words = TextNet().eval(), tokens()
    factor = torch.rand(3, 12, 1)
    want, _ = by_hand(model, words, factor)
    method = LayerZFDeconv(model, "embedding")
    torch.testing.assert_close(method.attribute((words, factor), 1), want)
    torch.testing.assert_close(method.attribute(words, 1, factor), want)
    swapped = LayerZFDeconv(ScoredModel(model, forward_func=lambda f, w: model(w, f)), "embedding")
    torch.testing.assert_close(swapped.attribute((factor, words), 1), want)


def test_tokens_from_units_of_a_layer_further_up():
    model, words = TextNet().eval(), tokens()
    ours = LayerZFDeconv(model, "embedding").attribute(words, (5, 3), from_layer="conv")
    want = torch.zeros(3, 12, 8)
    want[:, 3:6] = model.conv.weight[5].T.detach()
    torch.testing.assert_close(ours, want)


def test_tokens_at_a_layer_of_tokens_or_for_a_map_of_the_input_are_refused():
    model, words = TextNet().eval(), tokens()
    with pytest.raises(InputError, match=r"expected layer 'embedding' in floating point, got torch\.int64 there"):
        LayerZFDeconv(model, "embedding").attribute(words, 1, attribute_to_layer_input=True)
    for method in (ZFDeconv(model), NeuronZFDeconv(model, "conv")):
        with pytest.raises(InputError, match=r"got torch\.int64: .*LayerZFDeconv"):
            method.attribute(words, 1)


def test_integers_that_a_model_of_images_does_not_take_are_one_sentence():
    with pytest.raises(InputError, match=r"input in floating point, got torch\.int64, which the model does not take"):
        LayerZFDeconv(chain(), "0", rules=RULES).attribute(images().long(), 1)


# ---------------------------------------------------------------------------------------- weights from elsewhere


def offloaded(model: nn.Module) -> nn.Module:
    """Keep the weights elsewhere, on "meta" in the model; hooks bring them when a module runs, and take them away."""
    for module in model.modules():
        weights = dict(module._parameters)
        if not weights:
            continue

        def bring(module: nn.Module, args: Any, weights: dict[str, Any] = weights) -> None:
            module._parameters.update(weights)

        def take(module: nn.Module, args: Any, output: Any, weights: dict[str, Any] = weights) -> None:
            module._parameters.update({name: nn.Parameter(value.to("meta")) for name, value in weights.items()})

        module.register_forward_pre_hook(bring)
        module.register_forward_hook(take)
        take(module, None, None)
    return model


def test_weights_on_meta_that_hooks_bring_are_no_obstacle():
    plain, x = chain(), images()
    model = offloaded(chain())
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(model(x), plain(x))
    for made, arguments in (
        (lambda net: ZFDeconv(net, rules=RULES), {"target": 1}),
        (lambda net: LayerZFDeconv(net, "0", rules=RULES), {"target": 1}),
        (lambda net: NeuronZFDeconv(net, "3", rules=RULES), {"neuron_selector": (2, 1, 1)}),
    ):
        assert torch.equal(made(model).attribute(x, **arguments), made(plain).attribute(x, **arguments))
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_model_that_accelerate_offloads_is_explained():
    accelerate = pytest.importorskip("accelerate")
    plain, x = chain(), images()
    model = accelerate.cpu_offload(chain(), execution_device=torch.device("cpu"))
    assert torch.equal(ZFDeconv(model, rules=RULES).attribute(x, 1), ZFDeconv(plain, rules=RULES).attribute(x, 1))


def test_weights_on_meta_that_nobody_brings_are_refused():
    with pytest.raises(InputError, match=r"on the model's device \(meta\), got cpu"):
        ZFDeconv(chain().to("meta"), rules=RULES).attribute(images(), 1)


# ---------------------------------------------------------------------------------------- types


TYPED = """
import torch
from torch import Tensor, nn
from deconv_attr import Coverage, LayerZFDeconv, NeuronZFDeconv, ScoredModel, ZFDeconv

x: Tensor = torch.zeros(1)
model: nn.Module = ScoredModel(nn.ReLU(), lambda output: output.logits)
one: Tensor = ZFDeconv(model).attribute(x, target=1)
two: tuple[Tensor, ...] = ZFDeconv(model).attribute((x, x), [1, 2])
three: tuple[Tensor, Coverage] = ZFDeconv(model).attribute(x, 1, return_coverage=True)
four: tuple[tuple[Tensor, ...], Coverage] = ZFDeconv(model).attribute((x, x), return_coverage=True)
five: Tensor = NeuronZFDeconv(model, "layer").attribute(x, (1, 2, 3))
six: tuple[Tensor, Coverage] = NeuronZFDeconv(model, "layer").attribute(x, 1, return_coverage=True)
seven: Tensor = ZFDeconv(model).attribute_targets(x, [1, 2])
eight: int = ZFDeconv(model).attribute(x)  # wrong
nine: Tensor = ZFDeconv(model).attribute(x, return_coverage=True)  # wrong
ten: Tensor = ZFDeconv(model).attribute((x, x))  # wrong
"""


@pytest.mark.slow
def test_a_type_checker_knows_that_a_tensor_gives_a_tensor(tmp_path: Path):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "program.py"]
    environment = {**os.environ, "MYPYPATH": str(Path(deconv_attr.__file__).parents[1])}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    errors = [line for line in run.stdout.splitlines() if "error" in line and line.startswith("program.py")]
    wrong = [number for number, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# wrong")]
    assert sorted({int(line.split(":")[1]) for line in errors}) == wrong, run.stdout
