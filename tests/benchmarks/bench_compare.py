"""What `compare` costs beside its methods alone: four methods, eight images of 224x224.

    pip install -e '.[test,bench]' && pytest tests/benchmarks/bench_compare.py

In turns, in one process. Run it on an idle machine.
"""

import warnings
from functools import partial

import pytest
import torch
from measure import in_turns, ratio
from torchvision import models

from deconv_attr import DeadSignalWarning, compare
from deconv_attr.evidence.methods import default_methods

ROUNDS = 7


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet18", "vgg11"])
def test_a_comparison_costs_little_more_than_its_methods_alone(name):
    torch.manual_seed(0)
    model = models.get_model(name, weights=None).eval()
    x, target = torch.randn(8, 3, 224, 224), torch.arange(8)
    methods = default_methods(model, x)
    calls = {"compare": partial(compare, model, x, target)}
    calls |= {method.label: partial(method, model, x, target) for method in methods}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        times = in_turns(calls, ROUNDS)
    alone = [sum(turn) for turn in zip(*(times[method.label] for method in methods), strict=True)]
    found = ratio(times["compare"], alone)
    print(f"\n{name}: compare takes {found:.2f} of the sum of its {len(methods)} methods")
    assert found <= 1.2
