"""Parsers of foreign text and bytes: a valid result or one sentence. ``python tests/adversary/fuzz.py`` tries more."""

import pytest
from fuzzing import TARGETS, limited_memory, outcome
from hypothesis import HealthCheck, Phase, given, settings


@pytest.mark.parametrize("name", TARGETS)
def test_a_result_or_one_sentence(name):
    target = TARGETS[name]

    @settings(
        max_examples=max(60, 600 // target.cost),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # the example that fails tells more than the time that a smaller one takes
    )
    @given(target.examples)
    def check(example):
        outcome(target, example)

    with limited_memory():
        check()
