"""What a model's outputs are: by the operation that made them, by their values, and as they are said to be."""

import pytest
import torch
from state import snapshot
from torch import nn

from deconv_attr import ScoredModel
from deconv_attr.errors import InputError
from deconv_attr.evidence import OUTPUTS, kind_of_outputs, probabilities, scores_of

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(6, 3, 4, 4, generator=GENERATOR, dtype=torch.float64)


class Body(nn.Module):
    """Linear scores of 5 classes, and what a function makes of them."""

    def __init__(self, end=lambda scores: scores, classes=5, bias=0.0):
        super().__init__()
        self.fc = nn.Linear(48, classes).double()
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=GENERATOR, dtype=torch.float64) / 3
        self.fc.bias.data += bias
        self.end = end

    def forward(self, x):
        return self.end(self.fc(x.flatten(1)))


@pytest.fixture(autouse=True)
def _seed_each_test():
    GENERATOR.manual_seed(1)


ENDS = {
    "linear": (lambda s: s, "logits"),
    "relu": (lambda s: s.relu(), "logits"),
    "relu, then a mean": (lambda s: (s.relu()[..., None] * torch.ones(3)).mean(2), "logits"),
    "softmax": (lambda s: s.softmax(1), "probabilities"),
    "sigmoid": (lambda s: s.sigmoid(), "probabilities"),
    "sigmoid, chosen and reshaped": (lambda s: s.sigmoid()[:, [0, 2]].unsqueeze(2).squeeze(2), "probabilities"),
    "sigmoid, sliced": (lambda s: s.sigmoid()[:, 1:], "probabilities"),
    "mean of sigmoids": (lambda s: s[:, :, None].expand(-1, -1, 3).sigmoid().mean(2), "probabilities"),
    "log-softmax": (lambda s: s.log_softmax(1), "log-probabilities"),
    "log of a softmax": (lambda s: s.softmax(1).log(), "log-probabilities"),
    "logsigmoid": (lambda s: nn.functional.logsigmoid(s), "log-probabilities"),
    "one minus the other": (lambda s: torch.cat([1 - s[:, :1].sigmoid(), s[:, :1].sigmoid()], 1), "probabilities"),
    "softmax by hand": (lambda s: s.exp() / s.exp().sum(1, keepdim=True), "probabilities"),
    "sigmoid by hand": (lambda s: 1 / (1 + (-s).exp()), "values"),
    "clipped to [0, 1]": (lambda s: s.clamp(0, 1), "values"),
    "scaled tanh": (lambda s: 3 * s.tanh(), "logits"),
}


@pytest.mark.parametrize("name", ENDS)
def test_outputs_are_known_by_the_operation_that_made_them(name):
    end, expected = ENDS[name]
    model = Body(end)
    before = snapshot(model, X)
    assert kind_of_outputs(model, X) == expected
    assert kind_of_outputs(ScoredModel(model, lambda output: output), X) == expected
    assert snapshot(model, X) == before
    with torch.inference_mode():
        assert kind_of_outputs(model, X.clone()) == expected


@pytest.mark.parametrize("bias", [0.0, 250.0])
def test_of_a_single_class_a_logit_cannot_be_told_from_a_value(bias):
    assert kind_of_outputs(Body(classes=1, bias=bias), X) == "values"
    assert kind_of_outputs(Body(lambda s: s[:, 0], classes=1), X) == "values"
    assert kind_of_outputs(Body(lambda s: s.sigmoid()[:, 0], classes=1), X) == "probabilities"


def test_small_logits_between_0_and_1_are_logits():
    model = Body()
    model.fc.weight.data /= 100
    model.fc.bias.data = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    assert ((model(X) > 0) & (model(X) < 1)).all()
    assert kind_of_outputs(model, X) == "logits"


def test_a_model_without_a_graph_is_told_by_its_values():
    def cut(end):
        return Body(lambda s: end(s).detach())

    assert kind_of_outputs(cut(lambda s: s.softmax(1)), X) == "probabilities"
    assert kind_of_outputs(cut(lambda s: s.log_softmax(1)), X) == "log-probabilities"
    assert kind_of_outputs(cut(lambda s: s), X) == "logits"


def test_a_model_that_writes_into_its_input_and_is_given_more():
    class Writes(Body):
        def forward(self, x, shift):
            assert len(x) == len(shift)
            return super().forward(x.sub_(shift.view(-1, 1, 1, 1)))

    model, shift = Writes(lambda s: s.sigmoid()), torch.randn(6, generator=GENERATOR, dtype=torch.float64)
    before = snapshot(model, X, shift)
    assert kind_of_outputs(model, X, shift) == "probabilities"
    assert snapshot(model, X, shift) == before


# -------------------------------------------------------------------------------- probabilities, scores

SCORES = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("logits", SCORES.exp() / SCORES.exp().sum(1, keepdim=True)),
        ("binary logits", 1 / (1 + (-SCORES).exp())),
        ("log-probabilities", SCORES.exp()),
        ("probabilities", SCORES),
        ("values", SCORES),
    ],
)
def test_probabilities_of_what_the_outputs_are_said_to_be(outputs, expected):
    torch.testing.assert_close(probabilities(SCORES, outputs), expected)
    assert outputs in OUTPUTS


def test_probabilities_of_what_scores_look_like():
    torch.testing.assert_close(probabilities(SCORES), SCORES.softmax(1))
    torch.testing.assert_close(probabilities(SCORES.log_softmax(1)), SCORES.softmax(1))
    given = SCORES.softmax(1)
    assert probabilities(given) is given
    half = given.half()
    assert probabilities(half) is half
    single = SCORES[:, :1]
    assert probabilities(single) is single


@pytest.mark.parametrize(
    "scores",
    [[[0.5, 0.5], [2.0, 3.0]], [[1.5, -0.5], [0.5, 0.5]], [[0.0, 0.0], [0.3, 0.7]], [[0.6, 0.5]], [[-0.7, -0.6]]],
    ids=["one row sums to 1", "negative", "nothing", "sums to 1.1", "no logarithms"],
)
def test_what_only_looks_like_probabilities_is_scores(scores):
    torch.testing.assert_close(probabilities(torch.tensor(scores)), torch.tensor(scores).softmax(1))


@pytest.mark.parametrize("outputs", ["scores", "softmax", 3, True])
def test_other_outputs_are_refused(outputs):
    with pytest.raises(InputError, match=r"outputs as one of 'logits', 'binary logits', 'probabilities', .*, got"):
        probabilities(SCORES, outputs)


def test_scores_run_in_parts_with_what_is_theirs():
    seen = []

    class Sees(Body):
        def forward(self, x, shift, factor):
            seen.append((len(x), len(shift)))
            return factor * super().forward(x)[:, 0] + shift

    many = torch.randn(70, 3, 4, 4, generator=GENERATOR, dtype=torch.float64)
    shift = torch.arange(70.0, dtype=torch.float64)
    model = Sees()
    found = scores_of(model, many, (shift, 2.0))
    assert seen == [(32, 32), (32, 32), (6, 6)]
    assert found.shape == (70, 1)
    torch.testing.assert_close(found[:, 0], model(many, shift, 2.0))
    assert not found.requires_grad
