"""The checks by name: what they are called, and that each is the function of that name, of its case."""

from dataclasses import replace

import pytest
import torch
from captum.attr import InputXGradient, Saliency
from torch import nn

from deconv_attr.errors import InputError
from deconv_attr.evidence import (
    CHECKS,
    Case,
    Curve,
    Finding,
    Question,
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
    moved = case.maps.roll(4, 2).roll(4, 3)
    share = MASKS.double().mean((1, 2))
    if name == "zero maps":
        return [torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)]
    if name == "target sensitivity":
        return list(target_sensitivity(*of_method, OTHER, maps=case.maps))
    if name == "parameter randomisation":
        found = parameter_randomisation(*of_method, maps=case.maps, stages=STAGES, seed=5)
        return [found.signed.mean(0), found.absolute.mean(0), torch.tensor([0, torch.nan, 0], dtype=torch.float64)]
    if name in ("deletion", "insertion"):
        follow, sign = {"deletion": (deletion, -1), "insertion": (insertion, 1)}[name]
        here, there = (area(follow(case.model, m, X, TARGET, rank_by="size", seed=5)) for m in (case.maps, moved))
        return [here, sign * (here - there)]
    if name in ("pointing game", "mask share"):
        game = {"pointing game": pointing_game, "mask share": mask_share}[name]
        found = game(case.maps, MASKS, rank_by="size")
        return [found, found - share]
    return [
        {
            "input recovery": lambda: input_recovery(case.maps, X),
            "edge similarity": lambda: edge_similarity(case.maps, X),
            "infidelity": lambda: infidelity(*of_maps, seed=5),
            "sensitivity": lambda: sensitivity_max(*of_method, maps=case.maps, seed=5),
        }[name]()
    ]


def found_by(name, case):
    check = CHECKS[name]
    return check.run([case])[0] if check.together else check.run(case)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_the_function_of_its_name(name, case):
    found = found_by(name, case)
    expected = by_hand(name, case)
    assert len(found.values) == len(expected) == len(CHECKS[name].columns)
    for values, numbers in zip(found.values, expected, strict=True):
        torch.testing.assert_close(values, numbers, equal_nan=True)
        assert values.dtype == torch.float64


def test_columns_have_the_names_of_their_checks_and_say_what_they_mean():
    columns = [column for check in CHECKS.values() for column in check.columns.items()]
    assert len({name for name, _ in columns}) == len(columns)
    assert all(what for _, what in columns)
    for name, each in CHECKS.items():
        assert next(iter(each.columns)) == name
        assert all(column.split(", ")[0] == name for column in each.columns)
        assert each.question is None or each.question.column in each.columns


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"columns": {"average": "mean"}}, "columns of the check 'mean' as that or 'mean, ...', got 'average'"),
        ({"columns": {"mean": ""}, "question": Question("?", "median", (0, 1), (1, 2))}, "got 'median'"),
        ({"columns": {"mean": ""}, "question": Question("?", "mean", (0, 1), (1, 2), dies="zero")}, "got 'zero'"),
    ],
)
def test_a_check_has_one_name(given, message):
    before = list(CHECKS)
    with pytest.raises(InputError, match=message):
        check("mean", **given)
    assert list(CHECKS) == before


def test_curves_are_what_the_numbers_are_of(case):
    curves = {name: found_by(name, case).curve for name in WITHOUT_MASKS}
    assert [name for name, curve in curves.items() if curve] == ["parameter randomisation", "deletion", "insertion"]
    assert torch.equal(curves["deletion"].values[0].isnan(), torch.tensor([False, True, False]))
    assert curves["insertion"].steps == pytest.approx([step / 16 for step in range(17)])
    cascade = parameter_randomisation(case.model, case.method, X, TARGET, maps=case.maps, stages=STAGES, seed=5)
    torch.testing.assert_close(curves["parameter randomisation"].values, cascade.absolute, equal_nan=True)
    assert curves["parameter randomisation"].steps == cascade.layers
    assert len(cascade.layers) == STAGES


def test_methods_of_contributions_are_ranked_by_value(case):
    case = replace(case, method=Method(InputXGradient(case.model)))
    expected = {
        "deletion": area(deletion(case.model, case.maps, X, TARGET, seed=5)),
        "insertion": area(insertion(case.model, case.maps, X, TARGET, seed=5)),
        "mask share": mask_share(case.maps, MASKS),
        "pointing game": pointing_game(case.maps, MASKS),
        "infidelity": infidelity(case.model, case.maps, X, TARGET, multiplies_by_inputs=True, seed=5),
    }
    for name, values in expected.items():
        torch.testing.assert_close(found_by(name, case).values[0], values, equal_nan=True)


@pytest.mark.parametrize(
    ("outputs", "label"), [(None, ""), ("binary logits", ""), ("values", "score")], ids=["seen", "binary", "values"]
)
def test_curves_are_of_what_the_outputs_are(case, outputs, label):
    found = found_by("deletion", replace(case, outputs=outputs))
    expected = deletion(case.model, case.maps, X, TARGET, rank_by="size", outputs=outputs, seed=5)
    torch.testing.assert_close(found.curve.values, expected, equal_nan=True)
    assert found.curve.up == label


def test_the_models_answers_to_noise_are_asked_once_for_all_methods(case):
    runs = []
    with case.model.register_forward_pre_hook(lambda module, args: runs.append(len(args[0]))):
        first = found_by("infidelity", case)
        alone = len(runs)
        again = found_by("infidelity", replace(case, method=Method(lambda *given: case.maps)))
    assert alone == len(runs) == 11
    torch.testing.assert_close(again.values, first.values, equal_nan=True)


def test_a_map_gains_where_the_score_comes_from_and_nothing_where_it_does_not_matter():
    """The score is the light in a corner; the map marks that corner, or all of the image alike."""

    class Corner(nn.Module):
        def forward(self, x):
            return x[:, :, :4, :4].mean((1, 2, 3))

    inputs = torch.zeros(2, 1, 8, 8)
    inputs[:, :, :4, :4] = 1
    even = torch.ones(2, 1, 8, 8)
    for maps, least, greatest in ((inputs, 0.1, 0.5), (1 - inputs, -0.5, -0.1), (even, 0, 0)):
        case = Case(Corner(), Method(lambda *given: None), maps, inputs, None, outputs="values")
        for name in ("deletion", "insertion"):
            gain = found_by(name, case).values[1]
            assert gain[0] == gain[1]
            assert least <= gain[0] <= greatest
    case = Case(Corner(), Method(lambda *given: None), inputs, inputs, None, outputs="values")
    # The corner is a quarter of the image: the score falls to the mean colour, a quarter, and stays there.
    assert found_by("deletion", case).values[0].tolist() == [0.25 * (1 + 0.25) / 2 + 0.75 * 0.25] * 2


def test_most_maps_are_zero_among_those_that_count():
    nan = float("nan")
    values = torch.tensor([[0.0, 0.0, 1.0], [0.0, nan, 1.0], [0.0, nan, nan]])
    zero = torch.tensor([[True, True, False], [True, True, False], [True, True, False]])
    assert Curve(values, [1, 2, 3], zero).mostly_zero == [True, False, True]
    assert Curve(values, [1, 2, 3]).mostly_zero == [False] * 3


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
        (["deletion", "qqq"], "expected the name of a check, got 'qqq'; all of them: zero maps, target sensitivity, "),
        (["mask share"], r"expected masks \(N, ...\) of bool for the check 'mask share', got none"),
        ([3], "expected the name of a check, got 3"),
    ],
)
def test_a_wrong_check_is_refused(names, message):
    with pytest.raises(InputError, match=message):
        chosen_checks(names, None)


@pytest.mark.parametrize("name", ["pointing game", "mask share"])
def test_a_case_without_masks_is_refused_where_they_are_needed(name, case):
    with pytest.raises(InputError, match="expected masks"):
        CHECKS[name].run(replace(case, masks=None))


def test_a_check_that_is_named_twice_runs_once():
    assert chosen_checks(["deletion", "insertion", "deletion"], None) == ["deletion", "insertion"]


def test_a_name_alone_is_one_check():
    assert chosen_checks("deletion", None) == ["deletion"]
    with pytest.raises(InputError, match="got 'deletions'"):
        chosen_checks("deletions", None)
