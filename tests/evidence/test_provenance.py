"""What was run, in words: model, weights, versions, date and call."""

from datetime import datetime, timedelta, timezone

import captum
import pytest
import torch
from by_hand import ByHand
from torch import nn

import deconv_attr
from deconv_attr import ScoredModel
from deconv_attr.engine.fingerprint import fingerprint_of
from deconv_attr.evidence import provenance
from deconv_attr.evidence.provenance import call_of, run_facts

NOON = datetime(2026, 3, 9, 13, 30, 59, tzinfo=timezone(timedelta(hours=1)))


def test_the_facts_tell_model_weights_versions_date_and_call():
    net = ByHand()
    assert run_facts(net, "compare(...)", 3, NOON) == [
        ("model", "ByHand"),
        ("weights", f"fingerprint {fingerprint_of(net)[:12]}"),
        ("images", "3"),
        ("date", "2026-03-09 12:30 UTC"),
        (
            "versions",
            f"deconv_attr {deconv_attr.__version__}, torch {torch.__version__.split('+')[0]}, "
            f"captum {captum.__version__}",
        ),
        ("call", "compare(...)"),
    ]


def test_other_weights_have_another_fingerprint():
    net = ByHand()
    before = dict(run_facts(net, "", 1, NOON))["weights"]
    assert dict(run_facts(ByHand(), "", 1, NOON))["weights"] == before
    with torch.no_grad():
        net.conv.weight[0, 0, 0, 0] += 1e-6
    assert dict(run_facts(net, "", 1, NOON))["weights"] != before


def test_without_a_date_it_is_now(monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return NOON.astimezone(tz)

    monkeypatch.setattr(provenance, "datetime", Clock)
    assert dict(run_facts(ByHand(), "", 1))["date"] == "2026-03-09 12:30 UTC"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ""),
        ({"inputs": torch.zeros(2, 3, 4, 5)}, ", inputs (2, 3, 4, 5)"),
        ({"target": torch.tensor([3, 5])}, ", target=[3, 5]"),
        ({"target": torch.arange(100)}, ", target=[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ({"target": None, "seed": 3}, ", seed=3"),
        ({"methods": ["a", "b's"]}, ", methods=['a', \"b's\"]"),
        ({"outputs": "logits"}, ", outputs='logits'"),
        ({"given": (torch.zeros(2, 3), 2.0)}, ", given=((2, 3), 2.0)"),
    ],
    ids=["nothing", "images", "classes", "many classes", "none", "names", "word", "several"],
)
def test_a_call_is_one_line_like_python(arguments, expected):
    assert call_of("compare", ByHand(), arguments) == f"compare(ByHand{expected})"


def test_a_scored_model_has_the_name_of_its_model():
    scored = ScoredModel(nn.Sequential(ByHand()), lambda output: output)
    assert call_of("compare", scored, {}) == "compare(Sequential)"
    assert dict(run_facts(scored, "", 1, NOON))["model"] == "Sequential"
