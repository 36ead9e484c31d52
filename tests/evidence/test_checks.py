"""The checks by name: what they are called, and that each is the function of that name, of its case."""

import pytest
import torch
from captum.attr import Saliency
from torch import nn

from deconv_attr.errors import InputError
from deconv_attr.evidence import (
    CHECKS,
    Case,
    Finding,
    area,
    check,
    checks,
    chosen_checks,
    deletion,
    edge_similarity,
    infidelity,
    input_recovery,
    insertion,
    mask_share,
    parameter_randomisation,
    pointing_game,
    sensitivity_max,
    target_sensitivity,
)
from deconv_attr.evidence.methods import Method
from deconv_attr.evidence.randomisation import STAGES

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(3, 3, 8, 8, generator=GENERATOR)
TARGET, OTHER = torch.tensor([0, 1, 3]), torch.tensor([1, 2, 0])
MASKS = torch.rand(3, 8, 8, generator=GENERATOR) > 0.7
WITHOUT_MASKS = [
    "zero maps",
    "target sensitivity",
    "parameter randomisation",
    "input recovery",
    "edge similarity",
    "deletion",
    "insertion",
    "infidelity",
    "sensitivity",
]


@pytest.fixture
def case():
    layers = [layer for _ in range(9) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(192, 4)).eval()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 3
    method = Method(Saliency(net), arguments={"abs": False})
    maps = method(net, X, TARGET)
    maps[1] = 0
    maps[2, :, 3:] = 0  # equally strong, and so in an order that is drawn
    return Case(net, method, maps, X, TARGET, OTHER, MASKS, seed=5)


def by_hand(name, case):
    """Ask the functions themselves."""
    of_maps = (case.model, case.maps, X, TARGET)
    of_method = (case.model, case.method, X, TARGET)
    if name == "zero maps":
        return [torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)]
    if name == "target sensitivity":
        return list(target_sensitivity(*of_method, OTHER))
    if name == "parameter randomisation":
        found = parameter_randomisation(*of_method, stages=STAGES, seed=5)
        return [found.signed.mean(0), found.absolute.mean(0)]
    return [
        {
            "input recovery": lambda: input_recovery(case.maps, X),
            "edge similarity": lambda: edge_similarity(case.maps, X),
            "deletion": lambda: area(deletion(*of_maps, seed=5)),
            "insertion": lambda: area(insertion(*of_maps, seed=5)),
            "infidelity": lambda: infidelity(*of_maps, seed=5),
            "sensitivity": lambda: sensitivity_max(*of_method, seed=5),
            "pointing game": lambda: pointing_game(case.maps, MASKS),
            "mask share": lambda: mask_share(case.maps, MASKS),
        }[name]()
    ]


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_the_function_of_its_name(name, case):
    found = CHECKS[name].run(case)
    expected = by_hand(name, case)
    assert len(found.values) == len(expected) == len(CHECKS[name].columns)
    for values, numbers in zip(found.values, expected, strict=True):
        torch.testing.assert_close(values, numbers, equal_nan=True)
        assert values.dtype == torch.float64


def test_columns_have_names_of_their_own_and_say_what_they_mean():
    columns = [column for check in CHECKS.values() for column in check.columns.items()]
    assert len({name for name, _ in columns}) == len(columns)
    assert all(what for _, what in columns)


def test_curves_are_what_the_numbers_are_of(case):
    curves = {name: CHECKS[name].run(case).curve for name in WITHOUT_MASKS}
    assert [name for name, curve in curves.items() if curve] == ["parameter randomisation", "deletion", "insertion"]
    assert torch.equal(curves["deletion"].values[0].isnan(), torch.tensor([False, True, False]))
    assert curves["insertion"].steps == pytest.approx([step / 16 for step in range(17)])
    cascade = parameter_randomisation(case.model, case.method, X, TARGET, stages=STAGES, seed=5)
    assert torch.equal(curves["parameter randomisation"].values, cascade.absolute)
    assert curves["parameter randomisation"].steps == cascade.layers
    assert len(cascade.layers) == STAGES


def test_of_a_cascade_the_stages_with_a_map_count(case):
    explain, start = case.method, case.model[0].weight.data_ptr()

    def dies(model, inputs, target):
        return explain(model, inputs, target) * (model[0].weight.data_ptr() == start)  # others at the last stage only

    case = Case(case.model, Method(dies), case.maps, X, TARGET, OTHER)
    found = CHECKS["parameter randomisation"].run(case)
    assert found.curve.values.isnan().any(1).tolist() == [*[False] * (STAGES - 1), True]
    torch.testing.assert_close(found.values[1], found.curve.values[:-1].mean(0))
    assert not found.values[0].isnan().any()


# -------------------------------------------------------------------------------- registered and chosen


def test_a_new_check_follows_the_others_and_is_run_by_name(monkeypatch, case):
    monkeypatch.setattr(checks, "CHECKS", dict(CHECKS))
    known = list(CHECKS)

    @check("mean", columns={"mean": "mean of the map"})
    def mean(case):
        return Finding([case.maps.mean((1, 2, 3))])

    assert list(checks.CHECKS) == [*WITHOUT_MASKS, "mean", *known[len(WITHOUT_MASKS) :]]
    assert torch.equal(checks.CHECKS["mean"].run(case).values[0], mean(case).values[0])
    assert chosen_checks(None, None) == [*WITHOUT_MASKS, "mean"]


def test_the_order_of_a_table_does_not_depend_on_the_order_of_registration(monkeypatch):
    monkeypatch.setattr(checks, "CHECKS", {})
    for name in reversed(CHECKS):
        known = CHECKS[name]
        check(name, columns=known.columns, needs_masks=known.needs_masks)(known.run)
    assert list(checks.CHECKS) == list(CHECKS)


def test_without_masks_the_checks_that_need_them_are_left_out():
    assert chosen_checks(None, None) == WITHOUT_MASKS
    assert chosen_checks(None, MASKS) == [*WITHOUT_MASKS, "pointing game", "mask share"]


def test_checks_keep_the_order_of_who_asks():
    assert chosen_checks(["insertion", "deletion"], None) == ["insertion", "deletion"]
    assert chosen_checks([], MASKS) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["deletions"], "expected the name of a check, got 'deletions'; the nearest are deletion"),
        (["deletion", "qqq"], "expected the name of a check, got 'qqq'$"),
        (["mask share"], r"expected masks \(N, H, W\) of bool for the check 'mask share', got none"),
        ([3], "expected the name of a check, got 3"),
    ],
)
def test_a_wrong_check_is_refused(names, message):
    with pytest.raises(InputError, match=message):
        chosen_checks(names, None)


@pytest.mark.parametrize("name", ["pointing game", "mask share"])
def test_a_case_without_masks_is_refused_where_they_are_needed(name, case):
    with pytest.raises(InputError, match="expected masks"):
        CHECKS[name].run(Case(case.model, case.method, case.maps, X, TARGET, OTHER))


def test_a_check_that_is_named_twice_runs_once():
    assert chosen_checks(["deletion", "insertion", "deletion"], None) == ["deletion", "insertion"]


def test_a_name_alone_is_one_check():
    assert chosen_checks("deletion", None) == ["deletion"]
    with pytest.raises(InputError, match="got 'deletions'"):
        chosen_checks("deletions", None)
