"""A node of autograd's graph and the call that made it are one operation, and are given one rule."""

import pytest
import torch
import torch.nn.functional as F
from nets import DIFFICULT, build
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision_nets import RIGHT_IN_CAPTUM, WRONG_IN_CAPTUM, images
from torchvision_nets import build as build_torchvision

from deconv_attr import DECONVNET, Kind, coverage
from deconv_attr.rules.arguments import tensors_in
from deconv_attr.rules.identify import identify, identify_node, operation_name
from deconv_attr.rules.kinds import Operation, Question
from deconv_attr.rules.operations import listed_names
from deconv_attr.rules.tables import choose, rule_for

ALL = choose(DECONVNET, nn.Identity(), activations="rectify", unknown="gradient")


class Calls(TorchFunctionMode):
    """What the calls themselves say: with frozen weights, what requires grad carries the signal."""

    def __init__(self, rules):
        super().__init__()
        self.rules, self.found = rules, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = operation_name(func), kwargs or {}
        carriers = [] if name is None else [t for t in tensors_in((args, kwargs)) if t.requires_grad]
        operation = identify(name, args, kwargs, carriers) if carriers and torch.is_grad_enabled() else None
        before = carriers[0].grad_fn if carriers else None
        result = func(*args, **kwargs)
        made = [t.grad_fn for t in (*tensors_in(result), *carriers[:1]) if t.grad_fn is not None]
        if operation is not None and any(node is not before for node in made):
            rule = rule_for(self.rules, operation)
            self.found.append((operation.name, operation.kind, "no rule" if rule is None else rule.name))
        return result


class Recorded(nn.Module):
    def __init__(self, net, calls):
        super().__init__()
        self.net, self.calls = net.requires_grad_(False), [calls]

    def forward(self, x):
        with self.calls[0]:
            return self.net(x)


def by_calls_and_by_nodes(net, x, rules=DECONVNET):
    calls = Calls(rules)
    report = coverage(Recorded(net, calls), x, rules=rules)
    return calls.found, [(call.operation, call.kind, call.rule) for call in report.calls]


@pytest.mark.parametrize("rules", [DECONVNET, ALL], ids=["deconvnet", "all"])
@pytest.mark.parametrize("kind", DIFFICULT, ids=lambda kind: kind.__name__)
def test_a_difficult_graph_is_given_the_rules_of_its_calls(kind, rules):
    net, x = build(kind), torch.randn(kind.shape, dtype=torch.float64)
    by_calls, by_nodes = by_calls_and_by_nodes(net, x, rules)
    if kind.__name__ == "CrossMapNorm":  # its function is no call that a mode sees
        by_nodes = [entry for entry in by_nodes if entry[0] != "local_response_norm"]
    if kind.__name__ == "InPlaceReluSeenThroughAView":  # autograd made the views anew from their written base
        by_calls = [entry for entry in by_calls if entry[0] not in ("getitem", "transpose")]
        by_nodes = [entry for entry in by_nodes if entry[0] not in ("getitem", "transpose")]
    assert by_nodes == by_calls
    assert len(by_nodes) > 4


@pytest.mark.parametrize("name", [*RIGHT_IN_CAPTUM, *WRONG_IN_CAPTUM])
def test_torchvisions_networks_are_given_the_rules_of_their_calls(name):
    by_calls, by_nodes = by_calls_and_by_nodes(build_torchvision(name), images(name))
    assert by_nodes == by_calls


X = torch.rand(2, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
CALLS = {
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "threshold": lambda h: F.threshold(h, 0, 5),
    "threshold at zero": lambda h: F.threshold(h, 0.0, 0.0),
    "normalize": F.normalize,
    "cosine_similarity": lambda h: F.cosine_similarity(h, h.flip(1)),
    "pairwise_distance": lambda h: F.pairwise_distance(h, h.flip(1)),
    "lp_pool2d": lambda h: F.lp_pool2d(h, 2, 2),
    "lp_pool1d": lambda h: F.lp_pool1d(h.flatten(2), 2, 2),
    "instance_norm": F.instance_norm,
    "group_norm": lambda h: F.group_norm(h, 2),
    "layer_norm": lambda h: F.layer_norm(h, h.shape[1:]),
    "gumbel_softmax": lambda h: F.gumbel_softmax(h, hard=True),
    "local_response_norm": lambda h: F.local_response_norm(h, 3),
    "max_pool1d": lambda h: F.max_pool1d(h.flatten(2), 3, 2),
    "adaptive_max_pool1d": lambda h: F.adaptive_max_pool1d(h.flatten(2), 3),
    "max_pool3d": lambda h: F.max_pool3d(h, 2),
    "hardtanh": lambda h: F.hardtanh(h, -1, 1),
    "relu6": F.relu6,
    "clamp_max": lambda h: h.clamp_max(0.5),  # which some numbers reach
    "clamp(max=)": lambda h: h.clamp(max=0.5),
    "clamp, tensors": lambda h: torch.clamp(h, torch.zeros_like(h), torch.ones_like(h)),
    "maximum with zeros": lambda h: torch.maximum(h, torch.zeros(6, dtype=h.dtype)),
    "maximum with ones": lambda h: torch.maximum(torch.ones_like(h), h),
    "minimum with zeros": lambda h: torch.minimum(h, torch.zeros_like(h)),
    "fmax": lambda h: torch.fmax(h, torch.zeros_like(h)),
    "max of two": lambda h: torch.max(h, h.flip(1)),
    "max over all": lambda h: h.max(),
    "max over a dimension": lambda h: h.max(1)[0],
    "amax": lambda h: h.amax((2, 3)),
    "prelu": lambda h: F.prelu(h, torch.full((1,), 0.1, dtype=h.dtype)),
    "rrelu": F.rrelu,
    "logsigmoid": F.logsigmoid,
    "glu": lambda h: F.glu(h, 1),
    "interpolate": lambda h: F.interpolate(h, scale_factor=2.0, mode="bilinear"),
    "upsample nearest": lambda h: F.interpolate(h, scale_factor=2),
    "pad, reflect": lambda h: F.pad(h, (1, 1, 1, 1), mode="reflect"),
    "pad, replicate": lambda h: F.pad(h, (1, 1, 1, 1), mode="replicate"),
    "pad, circular": lambda h: F.pad(h, (1, 1, 1, 1), mode="circular"),
    "grid_sample": lambda h: F.grid_sample(h, torch.zeros(2, 3, 3, 2, dtype=h.dtype), align_corners=False),
    "pixel_shuffle": lambda h: F.pixel_shuffle(h, 2),
    "unfold": lambda h: F.unfold(h, 2),
    "fold": lambda h: F.fold(h.flatten(2), (6, 6), 1) if h.shape[2] == 1 else F.fold(F.unfold(h, 2), (6, 6), 2),
    "dropout": lambda h: F.dropout(h, 0.5),
    "dropout2d": lambda h: F.dropout2d(h, 0.5),
    "alpha_dropout": lambda h: F.alpha_dropout(h, 0.5, training=True),
    "attention": lambda h: F.scaled_dot_product_attention(h, h, h),
    "einsum": lambda h: torch.einsum("nchw,nchv->nhwv", h, h.flip(1)),
    "std": lambda h: h.std((2, 3)),
    "norm": lambda h: h.norm(dim=1),
    "logsumexp": lambda h: h.logsumexp(1),
    "conv1d": lambda h: F.conv1d(h.flatten(2), torch.ones(3, 4, 3, dtype=h.dtype)),
    "conv_transpose2d": lambda h: F.conv_transpose2d(h, torch.ones(4, 3, 2, 2, dtype=h.dtype), stride=2),
    "linear on tokens": lambda h: F.linear(h, torch.ones(5, 6, dtype=h.dtype)),
    "linear without bias": lambda h: F.linear(h.flatten(1), torch.ones(5, 144, dtype=h.dtype)),
    "masked_fill": lambda h: h.masked_fill(torch.ones(6, 6).triu(1).bool(), 0.0),
    "sign": lambda h: h * h.sign(),
    "gelu": F.gelu,
    "hardshrink": F.hardshrink,
    "softplus": F.softplus,
    "hardsigmoid": F.hardsigmoid,
    "t": lambda h: h.flatten(1).T,
    "cumsum": lambda h: h.cumsum(1),
    "topk": lambda h: h.topk(2, 1)[0],
    "batch_norm": lambda h: F.batch_norm(h, torch.zeros(4, dtype=h.dtype), torch.ones(4, dtype=h.dtype)),
}


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(torch.relu(x) - 0.5)


@pytest.mark.parametrize("function", CALLS.values(), ids=CALLS)
def test_a_call_is_given_the_rule_of_its_nodes(function):
    torch.manual_seed(0)
    by_calls, by_nodes = by_calls_and_by_nodes(Of(function), X)
    assert by_nodes == by_calls


def test_most_nodes_of_autograd_have_a_kind_and_the_others_are_refused():
    """What stands in the second list is differentiable, and unknown: it is refused by name."""
    nodes = [name for name in dir(torch._C._functions) if name.endswith("0") and "Foreach" not in name]
    names = {name: identify_node(Named(name), 1) for name in nodes if not _asks_for_more(name)}
    known = {name for name, operation in names.items() if operation.kind is not Kind.UNKNOWN}
    unknown = sorted(names.keys() - known)
    print(f"{len(known)} nodes are known, {len(unknown)} are not: {' '.join(unknown)}")
    assert {operation.name for name, operation in names.items() if name in known} <= {*listed_names()}
    assert len(known) > 200
    for name in ("GeqrfBackward0", "MultiMarginLossBackward0", "SparseMaskBackward0"):
        assert name in unknown


class Named:
    """A node of which only the name is asked."""

    next_functions = ()

    def __init__(self, name):
        self._name = name

    def name(self):
        return self._name


def _asks_for_more(name):
    return any(word in name for word in ("Angle", "Clamp", "Hardtanh", "Reduce", "Threshold"))


class Lookalike(torch.autograd.Function):
    """A custom function whose node is called as aten's, but for the number."""

    @staticmethod
    def forward(ctx, h):
        return h.clamp(min=0)

    @staticmethod
    def backward(ctx, signal):
        return signal


def test_a_custom_function_that_is_called_like_one_of_torchs_is_none():
    Lookalike.__name__ = Lookalike.__qualname__ = "Relu"
    Relu = type("Relu", (Lookalike,), {})  # noqa: N806
    output = Relu.apply(X.clone().requires_grad_())  # held: torch 2.6 lets go of the node with it
    node = output.grad_fn
    assert node.name() == "ReluBackward"
    assert identify_node(node, 1) == Operation("ReluBackward", Kind.UNKNOWN)


def test_what_only_values_tell_is_a_question():
    x = X.clone().requires_grad_()
    for constant, kind in ((torch.zeros_like(X), Kind.RECTIFIER), (torch.ones_like(X), Kind.ACTIVATION)):
        question = identify_node(torch.maximum(x, constant).grad_fn, 1)
        assert isinstance(question, Question)
        assert (question.yes if question.answer else question.no).kind is kind
