import copy
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import oracle
import pytest
import torch
from by_hand import ByHand
from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Saliency
from torch import nn

from deconv_attr import Method, compare
from deconv_attr.engine.fingerprint import KnownWeights
from deconv_attr.errors import DeadSignalWarning, InputError, ModelError, TargetError
from deconv_attr.evidence import (
    CHECKS,
    Case,
    Check,
    Estimate,
    Failure,
    Finding,
    chosen_checks,
    estimate,
    parameter_randomisation,
    progress,
)
from deconv_attr.evidence.methods import as_methods, controls, rule_tables
from deconv_attr.visualize import robust_scale, short

DEFAULTS = ["ZFDeconv from the score", "ZFDeconv from a unit of relu", "Guided backprop", "Saliency"]
TARGET = torch.tensor([4, 0, 2])
QUICK = ["zero maps", "input recovery", "target sensitivity"]


class Noisy(ByHand):
    """With what a forward pass in training mode would change, or be changed by."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3).double()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return super().forward(self.drop(self.norm(x)))


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def masks():
    masks = torch.zeros(3, 6, 6, dtype=torch.bool)
    masks[:, 2:4] = True
    return masks


def fails(model, inputs, target):
    raise RuntimeError("no luck\nat all")


# ------------------------------------------------------------------------------------------------- the maps


def test_each_method_is_what_the_literature_says(inputs):
    net = ByHand()
    found, expected = compare(net, inputs, TARGET).attributions, net.by_hand(inputs, TARGET)
    assert list(found) == DEFAULTS
    torch.testing.assert_close(found["ZFDeconv from the score"], expected["ZFDeconv"])
    torch.testing.assert_close(found["Guided backprop"], expected["Guided backprop"])
    torch.testing.assert_close(found["Saliency"], expected["Saliency"])


def test_each_image_is_explained_alone(inputs):
    together = compare(ByHand(), inputs, TARGET).attributions
    parts = compare(ByHand(), inputs, TARGET, batch_size=2).attributions
    for image in range(3):
        alone = compare(ByHand(), inputs[image : image + 1], TARGET[image : image + 1]).attributions
        for title in DEFAULTS:
            torch.testing.assert_close(alone[title][0], together[title][image])
            torch.testing.assert_close(parts[title][image], together[title][image])


@pytest.mark.parametrize("target", [2, [2, 2, 2], (2, 2, 2), np.int64(2), torch.tensor(2), torch.tensor([2] * 3)])
def test_a_target_is_named_as_everywhere_in_captum(target, inputs):
    maps = compare(ByHand(), inputs, target).attributions["Saliency"]
    torch.testing.assert_close(maps, ByHand().by_hand(inputs, torch.tensor([2, 2, 2]))["Saliency"])


def test_any_method_can_join_with_its_arguments_and_a_label(inputs):
    net = ByHand()
    methods = {
        "twice": lambda model, x, target: 2 * x,
        "five steps": Method(IntegratedGradients(net), arguments={"n_steps": 5}),
    }
    found = compare(net, inputs, TARGET, methods).attributions
    assert torch.equal(found["twice"], 2 * inputs)
    assert torch.equal(found["five steps"], IntegratedGradients(net).attribute(inputs, target=TARGET, n_steps=5))


def test_the_rule_tables_of_the_literature_can_be_compared(inputs):
    assert list(compare(ByHand(), inputs, TARGET, rule_tables("linear", 3)).attributions) == list(oracle.TABLES)


def test_a_method_that_fails_has_its_error_in_its_cell_and_the_others_stand(inputs, masks):
    net = ByHand()
    comparison = compare(net, inputs, TARGET, {"good": controls()[1], "bad": fails}, masks=masks)
    assert list(comparison.attributions) == ["good"]
    assert isinstance(comparison.errors["bad"], RuntimeError)
    table = comparison.table(QUICK)
    good, bad = table.rows
    assert all(isinstance(cell, Estimate) for cell in good[1:])
    assert bad[1:] == [Failure("RuntimeError: no luck")] * 4
    assert comparison.notes == ["bad has no maps: RuntimeError: no luck"]
    assert "bad: RuntimeError: no luck" in str(table)


def test_a_check_that_fails_has_its_error_in_its_cell(inputs):
    calls = []

    def second_time_unlucky(model, x, target):
        calls.append(1)
        return x if len(calls) == 1 else fails(model, x, target)

    table = compare(ByHand(), inputs, TARGET, [second_time_unlucky]).table(QUICK)
    name, zero, image, signed, absolute = table.rows[0]
    assert name == "second_time_unlucky"
    assert (zero.mean, image.mean) == (0, pytest.approx(1))
    assert signed == absolute == Failure("RuntimeError: no luck")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "expected a Finding from the check 'mine', got NoneType"),
        (torch.zeros(3), "expected a Finding from the check 'mine', got Tensor"),
        (Finding([torch.zeros(3)] * 2), "expected 1 tensors (3,) from the check 'mine', got shapes [(3,), (3,)]"),
        (Finding([torch.tensor(0.0)]), "expected 1 tensors (3,) from the check 'mine', got shapes [()]"),
    ],
    ids=["nothing", "a tensor", "two columns", "one number"],
)
def test_a_check_that_finds_something_else_has_the_error_in_its_cell(inputs, found, said, monkeypatch):
    monkeypatch.setitem(CHECKS, "mine", Check({"mine": "nothing"}, lambda case: found))
    table = compare(ByHand(), inputs, TARGET, [lambda model, x, target: x]).table("mine")
    assert table.rows[0][1] == Failure(f"InputError: {said}")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"model": lambda x: x}, ModelError, "as a torch.nn.Module, got function"),
        ({"model": nn.Conv2d(3, 3, 1).double()}, ModelError, r"scores \(N, classes\), got a tensor \(1, 3, 6, 6\)"),
        ({"inputs": torch.ones(3, 108).double()}, InputError, r"volumes \(N, C, D, H, W\), got \(3, 108\)"),
        ({"inputs": torch.ones(3, 3, 6, 6).double() / 0}, InputError, "finite, got 324 values"),
        ({"inputs": [torch.ones(3, 3, 6, 6)]}, InputError, "as a tensor, got list"),
        (
            {"inputs": (torch.ones(3, 3, 6, 6), torch.ones(2, 1))},
            InputError,
            "input 1 with 3 rows, as the first, got 2",
        ),
        ({"outputs": "scores"}, InputError, "outputs as one of 'logits', 'binary logits', .*, got 'scores'"),
        ({"target": [1, 2]}, TargetError, "1 class for all images or 1 for each of 3, got 2"),
        ({"target": 5}, TargetError, "target between 0 and 4, got 5"),
        ({"target": [0, -1, 2]}, TargetError, "target between 0 and 4, got -1"),
        ({"target": 1.5}, TargetError, "as a class, or one for each image, got 1.5"),
        ({"target": None}, TargetError, "as a class, or one for each image, got None"),
        ({"target": "cat"}, TargetError, "as a class, or one for each image, got 'cat'"),
        ({"other": 7}, TargetError, "other between 0 and 4, got 7"),
        ({"methods": []}, InputError, "at least one method"),
        ({"batch_size": 0}, InputError, "batch_size of at least 1, got 0"),
        ({"labels": ["a"]}, InputError, r"labels as a list of 3 strings, got \['a'\]"),
        (
            {"images": torch.zeros(2, 3, 6, 6)},
            InputError,
            r"between 0 and 1, got torch.float32 \(2, 3, 6, 6\)",
        ),
        ({"masks": torch.zeros(3, 6, 6)}, InputError, r"masks \(3, 6, 6\) of bool, got torch.float32 \(3, 6, 6\)"),
        ({"masks": 5}, InputError, r"masks \(3, 6, 6\) of bool, got int"),
        ({"images": [1, 2, 3]}, InputError, "between 0 and 1, got list"),
        ({"labels": [1, 2, 3]}, InputError, "labels as a list of 3 strings"),
        ({"other": [0, 0, 1]}, TargetError, "another class than target, got class 0 as both"),
        ({"seed": -1}, InputError, "seed as an int of at least 0, got -1"),
        ({"batch_size": "2"}, InputError, "batch_size of at least 1, got '2'"),
        ({"masks": torch.zeros(4, 6, 6).bool()}, InputError, r"masks \(3, 6, 6\) of bool, got torch.bool \(4, 6, 6\)"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_no_method_could_explain_is_one_sentence(changed, error, message, inputs):
    given = {"model": ByHand(), "inputs": inputs, "target": TARGET, **changed}
    with pytest.raises(error, match=message):
        compare(**given)


# ------------------------------------------------------------------------------------------------- nothing is touched


def state(model):
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [len(getattr(module, kind)) for module in model.modules() for kind in hooks],
        [module.inplace for module in model.modules() if hasattr(module, "inplace")],
        [(parameter.requires_grad, parameter.grad, parameter.data_ptr()) for parameter in model.parameters()],
    )


def interrupted(model, inputs, target):
    raise KeyboardInterrupt


@pytest.mark.parametrize("end", ["success", "failure", "interrupt", "bad target"])
def test_model_inputs_and_warnings_are_left_as_they_were(end, inputs, masks):
    model = Noisy().train()
    model.norm.eval()
    model.conv.weight.requires_grad_(False)
    before, pixels, filters = state(model), inputs.clone(), list(warnings.filters)
    random_state = torch.get_rng_state()
    methods = {"success": None, "failure": [fails], "interrupt": [interrupted], "bad target": None}[end]
    target = 9 if end == "bad target" else TARGET
    try:
        compare(model, inputs, target, methods, masks=masks).table()
    except (KeyboardInterrupt, TargetError):
        assert end in ("interrupt", "bad target")
    after = state(model)
    assert before[1:] == after[1:]
    assert all(torch.equal(before[0][key], after[0][key]) for key in before[0])
    assert torch.equal(inputs, pixels)
    assert not inputs.requires_grad
    assert inputs.grad is None
    assert list(warnings.filters) == filters
    assert torch.equal(torch.get_rng_state(), random_state)


class Counts(ByHand):
    """Whose forward writes into a buffer, a plain tensor, a number and a list, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3).double())
        self.plain, self.calls, self.seen = torch.zeros(1), 0, []

    def forward(self, x):
        with torch.no_grad():
            self.mean.mul_(0.9).add_(x.mean((0, 2, 3)))
            self.plain.add_(1)
        self.calls += 1
        self.seen.append(x)
        return super().forward(x + self.mean.view(1, 3, 1, 1))


def test_what_a_forward_pass_writes_is_put_back_and_methods_start_alike(inputs):
    net = Counts()
    table = compare(net, inputs, TARGET).table()
    assert (net.mean.any(), net.plain.item(), net.calls, net.seen) == (False, 0, 0, [])
    other = compare(net, inputs, TARGET, as_methods(list(reversed(compare(net, inputs, TARGET).methods)))).table()
    assert [str(row) for row in other.rows] == [str(row) for row in reversed(table.rows)]


def test_a_method_that_changes_modes_targets_or_generators_changes_nothing(inputs):
    def wild(model, x, target):
        model.train()
        target.fill_(0)
        np.random.seed(7)  # noqa: NPY002
        torch.manual_seed(7)
        return x

    net, target = Noisy().eval(), TARGET.clone()
    drawn = np.random.get_state()[1].copy()  # noqa: NPY002
    comparison = compare(net, inputs, target, {"wild": wild, "saliency": Saliency(net)})
    assert not net.training
    assert torch.equal(target, TARGET)
    assert torch.equal(comparison.target, TARGET)
    assert np.array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002
    alone = compare(net, inputs, TARGET, {"saliency": Saliency(net)})
    assert torch.equal(comparison.attributions["saliency"], alone.attributions["saliency"])


def test_random_methods_draw_the_same_numbers(inputs):
    net = ByHand()
    methods = {"noisy": Method(NoiseTunnel(Saliency(net)), arguments={"nt_samples": 3, "stdevs": 0.5})}
    tables = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        tables.append(str(compare(net, inputs, TARGET, methods).table(QUICK)))
    assert tables[0] == tables[1]


def test_what_was_compared_is_kept_as_it_was(inputs, masks):
    net, x, target = ByHand(), inputs.clone(), TARGET.clone()
    expected = str(compare(net, inputs, TARGET, controls(), masks=masks).table())
    given = masks.clone()
    comparison = compare(net, x, target, controls(), masks=given)
    x.zero_(), target.zero_(), given.zero_()
    assert str(comparison.table()) == expected


def test_a_model_that_was_trained_since_is_refused(inputs):
    net = ByHand()
    comparison = compare(net, inputs, TARGET)
    with torch.no_grad():
        net.conv.weight.add_(1)
    with pytest.raises(InputError, match="expected the model as it was compared, got other weights; compare again"):
        comparison.table()


def test_ctrl_c_in_a_cascade_leaves_the_weights(inputs):
    net, calls = ByHand(), []

    def interrupts(model, x, target):
        calls.append(1)
        if len(calls) == 3:  # the maps, those of the trained model once more, the first stage
            raise KeyboardInterrupt
        return x

    before = state(net)
    comparison = compare(net, inputs, TARGET, [interrupts])
    with pytest.raises(KeyboardInterrupt):
        comparison.table(["parameter randomisation"])
    after = state(net)
    assert before[1:] == after[1:]
    assert all(torch.equal(before[0][key], after[0][key]) for key in before[0])


def test_within_inference_mode_it_is_the_same(inputs):
    net = ByHand()
    expected = compare(net, inputs, TARGET)
    with torch.inference_mode():
        found = compare(net, inputs, TARGET)
    assert not found.errors
    for label, maps in expected.attributions.items():
        assert torch.equal(found.attributions[label], maps)


def test_training_mode_does_not_show(inputs):
    model = Noisy()
    model.norm.running_mean += 0.5
    expected = compare(copy.deepcopy(model).eval(), inputs, TARGET)
    found = compare(model.train(), inputs, TARGET)
    for title in DEFAULTS:
        assert torch.equal(found.attributions[title], expected.attributions[title])
    assert str(found.table()) == str(expected.table())


def test_a_dead_signal_is_announced_and_noted(inputs):
    net = ByHand()
    net.linear.weight.data.abs_().neg_()
    with pytest.warns(DeadSignalWarning, match="died for 3 of 3"):
        comparison = compare(net, inputs, TARGET)
    assert "ZFDeconv from the score is zero for 3 of 3 images" in comparison.notes
    table = comparison.table()  # no further warning
    assert table.rows[0][1].mean == 1
    assert all(cell.count == 0 for cell in table.rows[0][2:])


# ------------------------------------------------------------------------------------------------- checks


def test_the_table_has_a_row_for_each_method_and_a_column_for_each_number(inputs, masks):
    comparison = compare(ByHand(), inputs, TARGET, masks=masks)
    table = comparison.table()
    assert table.header == ["method", *(column for check in CHECKS.values() for column in check.columns)]
    assert table.column("method") == DEFAULTS
    assert all(isinstance(cell, Estimate) for row in table.rows for cell in row[1:])
    without = compare(ByHand(), inputs, TARGET).table()
    assert without.header == table.header[:-4]
    assert without.rows == [row[:-4] for row in table.rows]


@pytest.mark.parametrize("name", CHECKS)
def test_a_cell_is_the_mean_of_what_the_check_finds(name, inputs, masks):
    comparison = compare(ByHand(), inputs, TARGET, masks=masks, other=1, seed=3)
    for method, row in zip(comparison.methods, comparison.table([name]).rows, strict=True):
        maps = comparison.attributions[method.label]
        case = Case(ByHand(), method, maps, inputs, TARGET, torch.tensor([1, 1, 1]), masks, 3)
        if method.label in ("Guided backprop", "Saliency"):  # of the model that is compared
            case = Case(comparison.model, method, maps, inputs, TARGET, torch.tensor([1, 1, 1]), masks, 3)
        found = CHECKS[name].run([case])[0] if CHECKS[name].together else CHECKS[name].run(case)
        expected = [estimate(values, 3, found.draw) for values in found.values]
        assert str(row[1:]) == str(expected)


def test_the_other_class_is_the_likeliest_that_is_not_the_target(inputs):
    comparison = compare(ByHand(), inputs, TARGET)
    scores = ByHand()(inputs)
    for image, label in enumerate(TARGET):
        order = scores[image].argsort(descending=True).tolist()
        assert comparison.other[image] == next(each for each in order if each != label)


def test_with_one_class_there_is_no_other(inputs):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 1)).double()
    table = compare(model, inputs, 0, [controls()[1]]).table(["target sensitivity", "input recovery"])
    assert "one class" in table.rows[0][1].text
    assert table.rows[0][3].mean == pytest.approx(1)


def test_what_was_computed_once_is_kept(inputs):
    calls = []

    def counted(model, x, target):
        calls.append(len(x))
        return x

    comparison = compare(ByHand(), inputs, TARGET, [counted])
    first = comparison.table()
    count = len(calls)
    assert str(comparison.table()) == str(first)
    comparison.verdict()
    comparison.plot_curves()
    assert len(calls) == count


def test_checks_that_do_not_exist_or_need_masks_are_refused(inputs):
    comparison = compare(ByHand(), inputs, TARGET)
    with pytest.raises(InputError, match="expected the name of a check, got 'deletoin'; the nearest are deletion"):
        comparison.table(["deletoin"])
    with pytest.raises(InputError, match=r"expected masks \(N, ...\) of bool for the check 'pointing game'"):
        comparison.table(["pointing game"])


def test_a_method_that_ignores_the_model_is_caught(inputs, masks):
    """The answers are known: controls do not depend on weights or class, and one is the image."""
    table = compare(ByHand(), inputs, TARGET, controls(), masks=masks).table()
    for name in ("target sensitivity", "parameter randomisation"):
        for column in (name, f"{name}, |map|"):
            assert [cell.mean for cell in table.column(column)] == [pytest.approx(1)] * 2
    noise, image = table.column("input recovery")
    assert noise.mean < 0.3
    assert image.mean == pytest.approx(1)


def test_numbers_are_the_same_for_the_same_seed(inputs):
    first, second, other = (str(compare(ByHand(), inputs, TARGET, seed=seed).table()) for seed in (5, 5, 6))
    assert first == second
    assert first != other


# ------------------------------------------------------------------------------------------------- pictures and page


@pytest.fixture
def seen(monkeypatch):
    """What is given to the figures and the page."""
    given = {}
    for name in ("comparison_figure", "curves_figure", "write_report"):
        monkeypatch.setattr(
            f"deconv_attr.evidence.comparison.{name}", lambda *a, _name=name, **k: given.update({_name: (a, k)})
        )
    return given


def test_a_plot_shows_each_method_in_its_own_way(inputs, seen):
    comparison = compare(ByHand(), inputs, TARGET, [*controls(), fails], labels=["a", "b", "c"])
    comparison.plot(shared_scale=True)
    (images, columns, labels, shared), _ = seen["comparison_figure"]
    torch.testing.assert_close(images, [(x - x.min()) / (x.max() - x.min()) for x in inputs])
    assert (labels, shared) == (["a", "b", "c"], True)
    assert [(column.title, column.style, column.error) for column in columns] == [
        ("Control: noise", "heat", ""),
        ("Control: the image", "signed", ""),
        ("fails", "signed", "RuntimeError: no luck"),
    ]
    assert torch.equal(torch.stack(columns[1].maps), inputs)
    assert columns[2].maps is None


def test_images_to_be_shown_can_be_given(inputs, seen):
    images = torch.rand(3, 1, 6, 6)
    compare(ByHand(), inputs, TARGET, controls(), images=images).plot()
    assert torch.equal(torch.stack(seen["comparison_figure"][0][0]), images)


def test_labels_are_the_class_and_its_probability(inputs):
    chances = ByHand()(inputs).detach().softmax(1)
    expected = [f"class {k}\nprobability {float(chances[i, k]):.1%}" for i, k in enumerate(TARGET.tolist())]
    assert compare(ByHand(), inputs, TARGET, controls()).labels == expected


def test_curves_are_means_with_intervals(inputs, seen):
    comparison = compare(ByHand(), inputs, TARGET, [*as_methods([fails]), *controls()])
    comparison.plot_curves()
    (panels,), _ = seen["curves_figure"]
    assert [panel.title for panel in panels] == ["parameter randomisation", "deletion", "insertion"]
    for panel in panels:
        assert [curve.label for curve in panel.curves] == ["Control: noise", "Control: the image"]
    cascade = parameter_randomisation(ByHand(), controls()[0], inputs, TARGET)
    assert list(panels[0].ticks) == list(cascade.layers) == ["linear", "conv"]
    assert panels[0].curves[0].mean == pytest.approx([1, 1])
    assert panels[0].curves[0].hollow == [False, False]
    assert panels[0].across == "random down to"
    steps = panels[1].curves[0]
    assert (steps.x[0], steps.x[-1]) == (0, 1)
    before = estimate(ByHand()(inputs).softmax(1).gather(1, TARGET[:, None])[:, 0])
    assert steps.mean[0] == pytest.approx(before.mean)
    assert steps.low[0] == pytest.approx(before.low)
    assert steps.high[0] == pytest.approx(before.high)


def test_a_page_is_given_what_the_comparison_has(inputs, seen, masks):
    comparison = compare(ByHand(), inputs, TARGET, [*controls(), fails], masks=masks)
    comparison.to_html("page.html", checks=["pointing game"])
    given, options = seen["write_report"]
    path, _, facts, verdict, notes, table, images, labels, columns, figures, answers = given
    assert path == Path("page.html")
    assert dict(facts)["model"] == "ByHand"
    assert dict(facts)["call"] == (
        "compare(ByHand, inputs (3, 3, 6, 6), target=[4, 0, 2], methods=['Control: noise', 'Control: the image', "
        "'fails'], masks (3, 6, 6), seed=0)"
    )
    assert verdict == comparison.verdict(["pointing game"]).opening
    assert answers is None  # of three images
    assert notes == comparison.notes
    assert table.header == ["check", "Control: noise", "Control: the image", "fails"]
    assert [row[0].text for row in table.rows] == ["pointing game", "pointing game, gain"]
    assert list(table.legend) == ["pointing game", "pointing game, gain"]
    assert table.failures == [("fails", "RuntimeError: no luck")]
    assert images[0].dtype == np.uint8
    assert images[0].shape == (6, 6, 3)
    assert labels == comparison.labels
    assert [column.title for column in columns] == ["Control: noise", "Control: the image", "fails"]
    assert [len(column.pictures) for column in columns] == [3, 3, 0]
    assert columns[1].scales == [f"scale {short(robust_scale(image))}" for image in inputs]
    assert [column.legend.ends for column in columns[:2]] == [["0", "scale"], ["-scale", "0", "scale"]]
    assert columns[2].legend is None
    assert options == {"head": "image", "boxed": "", "stacked": False}
    assert columns[2].error == "RuntimeError: no luck"
    assert figures == []


def test_a_map_of_zeros_has_no_scale(inputs, seen):
    def some(model, x, target):
        return x * torch.tensor([0.0, 1.0, 1e6], dtype=x.dtype)[:, None, None, None]

    compare(ByHand(), inputs, TARGET, [some]).to_html("page.html", checks=QUICK)
    (column,) = seen["write_report"][0][8]
    assert column.scales[0] == "zero everywhere"
    assert column.scales[2].startswith("scale ")
    assert "e+" not in column.scales[2]


def test_the_curves_of_a_page_are_drawn_for_light_and_dark_and_told_in_words(inputs, seen):
    comparison = compare(ByHand(), inputs, TARGET, controls())
    comparison.to_html("page.html", checks=["deletion", "insertion"])
    deletion, insertion = seen["write_report"][0][9]
    curves = comparison._panel("deletion").curves
    ends = "; ".join(f"{each.label} from {short(each.mean[0])} to {short(each.mean[-1])}" for each in curves)
    assert (
        deletion.alternative == f"Curves of deletion, probability of the class by share of pixels taken away: {ends}."
    )
    assert insertion.alternative.startswith("Curves of insertion, ")
    assert b">Control: noise</text>" in deletion.light
    assert b"#0072b2" in deletion.light
    assert b"#5652ff" in deletion.dark
    comparison.to_html("page.html", checks=["deletion", "insertion"])
    assert seen["write_report"][0][9][0].light == deletion.light  # the same file each time


def test_signals_are_stacked(seen):
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()).double()
    x = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    compare(model, x, 1, controls()).to_html("page.html", checks=QUICK)
    assert seen["write_report"][1] == {"head": "signal", "boxed": "", "stacked": True}


def test_options_of_curves_reach_the_figure_and_wrong_ones_are_refused_before_any_check(inputs, seen):
    comparison = compare(ByHand(), inputs, TARGET, controls())
    with pytest.raises(InputError, match=r"^expected columns as a number of at least 1, got 0$"):
        comparison.plot_curves(columns=0)
    with pytest.raises(InputError, match=r"^expected 3 axes, one for each panel"):
        comparison.plot_curves(axes=[])
    assert not comparison._findings._found
    options = {"width": 5.0, "columns": 2, "font_size": 7.0, "colours": ["red", "blue"]}
    comparison.plot_curves(**options)
    assert seen["curves_figure"][1] == {**options, "axes": None}


def test_where_a_page_cannot_be_written_is_said_before_any_check(inputs, tmp_path):
    comparison = compare(ByHand(), inputs, TARGET, controls())
    with pytest.raises(InputError, match=r"to end in \.html, \.htm, got .*page\.png"):
        comparison.to_html(tmp_path / "page.png")
    assert not comparison._findings._found


def test_a_page_is_written_for_real(inputs, tmp_path):
    path = compare(ByHand(), inputs, TARGET, controls()).to_html(tmp_path / "page.html")
    text = path.read_text()
    assert path == tmp_path / "page.html"
    assert "Control: noise" in text
    assert "image/svg+xml" in text


def test_a_page_of_many_images_has_the_lines_of_the_verdict(seen):
    many = torch.randn(10, 3, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    comparison = compare(ByHand(), many, 1, controls())
    comparison.to_html("page.html", checks=QUICK)
    given, _ = seen["write_report"]
    answers = given[-1]
    assert answers.header == ["question", "Control: noise", "Control: the image"]
    assert [(cell.text, cell.kind) for cell in answers.rows[1][1:]] == [("no", "no"), ("no", "no")]
    assert [cell.text for cell in answers.rows[2]][1:] == ["yes", "no"]
    assert answers.legend[answers.rows[2][0].text] == "from input recovery"


def test_where_maps_are_zero_at_a_stage_its_dot_is_hollow_and_a_note_says_so(inputs, seen):
    net = ByHand()
    conv = net.conv.weight.detach().clone()

    def dies(model, x, target):
        return x * torch.equal(model.conv.weight, conv)

    comparison = compare(net, inputs, TARGET, [dies])
    said = "dies is zero for 3 of 6 maps under random weights, all of them from 'conv' on"
    assert said not in comparison.notes  # before the check has run
    comparison.plot_curves()
    (panels,), _ = seen["curves_figure"]
    assert panels[0].curves[0].mean == pytest.approx([1, 0])
    assert panels[0].curves[0].hollow == [False, True]
    assert panels[0].across == "random down to (hollow dots: most maps are zero)"
    table = comparison.table(["parameter randomisation"])
    assert said in comparison.notes
    assert said in str(table)
    assert "(2 stages x 3 images, 3 draws of the weights)" in str(table)
    assert [cell.mean for cell in table.rows[0][1:]] == [pytest.approx(0.5)] * 3


# ---------------------------------------------------------------------- what the model returns, and is given


class Squeezed(ByHand):
    """Returns one score for each image, (N,)."""

    def forward(self, x):
        return super().forward(x)[:, 1]


class Column(ByHand):
    def forward(self, x):
        return super().forward(x)[:, 1:2]


def test_a_regression_needs_no_target_whichever_shape_it_has(inputs, masks):
    squeezed = compare(Squeezed(), inputs, masks=masks)
    column = compare(Column(), inputs, masks=masks)
    assert list(squeezed.attributions) == list(column.attributions) == DEFAULTS
    for title in DEFAULTS:
        torch.testing.assert_close(squeezed.attributions[title], column.attributions[title])
    assert str(squeezed.table()) == str(column.table())
    values = ByHand()(inputs)[:, 1]
    assert squeezed.labels == column.labels == [f"output\nvalue {v:.4g}" for v in values.tolist()]
    assert squeezed.other is None
    with pytest.raises(TargetError, match="no target for a model that returns one score for each image, got 1"):
        compare(Squeezed(), inputs, 1)


def test_curves_of_a_regression_are_of_its_values(inputs, seen):
    comparison = compare(Squeezed(), inputs)
    comparison.plot_curves()
    (panels,), _ = seen["curves_figure"]
    assert [panel.up for panel in panels] == ["rank correlation of |map|", "score", "score"]
    assert panels[1].curves[0].mean[0] == pytest.approx(ByHand()(inputs)[:, 1].mean().item())


@pytest.mark.parametrize(
    ("end", "outputs", "label"),
    [
        (nn.Sigmoid(), None, lambda scores: f"class 2\nprobability {scores.sigmoid()[2]:.1%}"),
        (nn.Identity(), "binary logits", lambda scores: f"class 2\nprobability {scores.sigmoid()[2]:.1%}"),
        (nn.Identity(), "values", lambda scores: f"output 2\nvalue {scores[2]:.4g}"),
        (nn.LogSoftmax(1), None, lambda scores: f"class 2\nprobability {scores.softmax(0)[2]:.1%}"),
    ],
    ids=["sigmoid", "said to be binary", "said to be values", "log-softmax"],
)
def test_what_the_outputs_are_is_seen_or_said(end, outputs, label, inputs, seen):
    net = ByHand()
    comparison = compare(nn.Sequential(net, end), inputs, 2, controls(), outputs=outputs)
    scores = net(inputs).detach()
    assert comparison.labels == [label(row) for row in scores]
    comparison.plot_curves()
    (panels,), _ = seen["curves_figure"]
    own = {"values": scores}.get(outputs, scores.softmax(1) if isinstance(end, nn.LogSoftmax) else scores.sigmoid())
    assert panels[1].curves[0].mean[0] == pytest.approx(float(own[:, 2].mean()))


class Shifted(ByHand):
    """Is given more than images: a tensor with a row for each, and a number."""

    def forward(self, x, shift, factor=1.0):
        assert len(x) == len(shift)
        return factor * super().forward(x + shift.view(-1, 1, 1, 1))


SHIFT = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("how", ["arguments", "several inputs", "batches"])
def test_what_the_model_is_given_beside_the_images_reaches_methods_and_checks(how, inputs, masks):
    net = Shifted()
    given, further = (inputs, (SHIFT, 2.0)) if how != "several inputs" else ((inputs, SHIFT), 2.0)
    size = 2 if how == "batches" else None
    methods = None if how != "batches" else [Saliency(net), IntegratedGradients(net)]
    found = compare(net, given, TARGET, methods, additional_forward_args=further, masks=masks, batch_size=size)
    assert not found.errors

    class Bound(ByHand):  # the same without further arguments: it knows the images by their sums, and noise of them
        def forward(self, x):
            rows = (x.flatten(1).sum(1)[:, None] - inputs.flatten(1).sum(1)).abs().argmin(1)
            return 2.0 * super().forward(x + SHIFT[rows].view(-1, 1, 1, 1))

    bound = Bound()
    alone = [Saliency(bound), IntegratedGradients(bound)] if methods else None
    expected = compare(bound, inputs, TARGET, alone, masks=masks)
    assert list(found.attributions) == list(expected.attributions)
    assert found.labels == expected.labels
    table = found.table()
    assert not table.failures
    if how != "batches":
        assert torch.equal(found.other, expected.other)
        for title, maps in expected.attributions.items():
            if title != "Saliency":
                torch.testing.assert_close(found.attributions[title], maps)
    for name in ("deletion", "insertion", "infidelity", "parameter randomisation", "sensitivity"):
        assert all(isinstance(cell, Estimate) and cell.count == 3 for cell in table.column(name))


def test_tokens_may_be_a_further_input_and_not_the_one_that_is_explained(inputs):
    class Chosen(ByHand):
        def forward(self, x, token):
            return super().forward(x) * token[:, None]

    token = torch.tensor([1, 2, 3])
    found = compare(Chosen(), (inputs, token), TARGET, controls())
    assert found.labels != compare(Chosen(), (inputs, 0 * token), TARGET, controls()).labels
    with pytest.raises(InputError, match=r"expected the input in floating point, got torch\.int64"):
        compare(Chosen(), (token[:, None, None, None], inputs), TARGET)


@pytest.mark.parametrize(
    ("conv", "pool", "shape"),
    [
        (nn.Conv1d, nn.AdaptiveAvgPool1d, (3, 1, 24)),
        (nn.Conv1d, nn.AdaptiveAvgPool1d, (3, 4, 24)),
        (nn.Conv2d, nn.AdaptiveAvgPool2d, (3, 2, 9, 12)),
        (nn.Conv2d, nn.AdaptiveAvgPool2d, (3, 5, 9, 12)),
        (nn.Conv3d, nn.AdaptiveAvgPool3d, (3, 1, 6, 7, 8)),
        (nn.Conv3d, nn.AdaptiveAvgPool3d, (3, 3, 6, 7, 8)),
    ],
    ids=["signals", "signals of 4 channels", "2 channels", "5 channels", "volumes", "coloured volumes"],
)
def test_signals_volumes_and_many_channels_pass_all_checks(conv, pool, shape, tmp_path):
    generator = torch.Generator().manual_seed(0)
    layers = [conv(shape[1], 6, 3), nn.ReLU(), conv(6, 4, 3), nn.ReLU(), pool(1), nn.Flatten()]
    model = nn.Sequential(*layers).double().eval()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    masks = x[:, 0] > 0.5
    methods = [*compare(model, x, 1).methods, Method(LayerGradCam(model, model[0])), *controls()]
    comparison = compare(model, x, 1, methods, masks=masks)
    assert not comparison.errors
    assert methods[1].label == "ZFDeconv from the class's map 3"
    table = comparison.table()
    assert not table.failures
    image = table.rows[-1]
    assert image[table.header.index("input recovery")].mean == pytest.approx(1)
    assert image[table.header.index("edge similarity")].count == 3
    comparison.plot().canvas.draw()
    assert comparison.to_html(tmp_path / "page.html", checks=QUICK).stat().st_size > 1000


# --------------------------------------------------------------------------------------- methods that write


def writes_and_puts_back(model, x, target):
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.conv.weight.zero_()
    model.load_state_dict(own)
    return x


def test_a_method_that_puts_the_weights_back_disturbs_no_other(inputs, tmp_path):
    comparison = compare(ByHand(), inputs, TARGET, [writes_and_puts_back, *controls()])
    table = comparison.table()
    assert not table.failures
    assert str(table.rows[1:]) == str(compare(ByHand(), inputs, TARGET, controls()).table().rows)
    assert comparison.to_html(tmp_path / "page.html").exists()


def test_a_method_that_keeps_other_weights_is_named(inputs):
    def trains(model, x, target):
        with torch.no_grad():
            model.conv.weight.mul_(1.001)
        return x

    with pytest.raises(InputError, match="expected trains to leave the model's weights, got others after it"):
        compare(ByHand(), inputs, TARGET, [controls()[0], trains])


@pytest.mark.parametrize("change", ["a row moved", "one bit", "another type"])
def test_weights_are_known_by_their_values(change):
    model = ByHand()
    known, weight = KnownWeights(model), model.conv.weight
    assert known.unchanged()
    with torch.no_grad():
        weight.copy_(weight.clone())
    assert known.unchanged()
    with torch.no_grad():
        if change == "a row moved":
            weight.copy_(weight.clone().roll(1, 0))
        elif change == "one bit":
            weight.view(torch.int64)[0, 0, 0, 0] += 1
        else:
            model.float()
    assert not known.unchanged()


# --------------------------------------------------------------------------------------- bars and estimates


class Bar:
    made: ClassVar = []

    def __init__(self, **given):
        self.given, self.names, self.n = given, [], 0
        Bar.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def set_description(self, name):
        self.names.append(name)

    def update(self, share=1):
        self.n += share


@pytest.fixture
def bars(monkeypatch):
    Bar.made = []
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    return Bar.made


def test_bars_show_methods_and_checks_and_end_at_their_end(inputs, bars):
    comparison = compare(ByHand(), inputs, TARGET, controls())
    comparison.table()
    methods, checks = bars
    assert methods.names == ["Control: noise", "Control: the image"]
    assert (methods.given["total"], methods.n) == (2, 2)
    assert checks.names == list(chosen_checks(None, None))
    assert checks.n == pytest.approx(checks.given["total"])
    assert not any(bar.given["disable"] for bar in bars)
    comparison.table()
    assert len(bars) == 2  # all is known


def test_bars_can_be_left_out(inputs, bars):
    compare(ByHand(), inputs, TARGET, controls(), show_progress=False).table()
    assert all(bar.given["disable"] for bar in bars)


def test_no_bars_where_nobody_looks(inputs, capsys):
    compare(ByHand(), inputs, TARGET, controls()).table(QUICK)
    assert capsys.readouterr() == ("", "")


def test_the_time_of_long_checks_is_told_before(inputs, bars, monkeypatch):
    ticks = iter(range(0, 10**6, 10))  # ten seconds pass from one look at the clock to the next
    monkeypatch.setattr("deconv_attr.evidence.comparison.perf_counter", lambda: next(ticks))
    comparison = compare(ByHand(), inputs, TARGET, controls())
    assert comparison.estimated_seconds(["zero maps"]) == 0
    assert comparison.estimated_seconds(["sensitivity"]) == 10 * 2 * 10
    assert comparison.estimated_seconds(["deletion"]) == 2 * 17 * 2 * 10
    comparison.table(["sensitivity", "zero maps"])
    assert bars[1].names == ["sensitivity, about 3 min in all", "zero maps, about 3 min in all"]
    assert comparison.estimated_seconds(["sensitivity"]) == 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "about 1 s"), (61, "about 61 s"), (200, "about 3 min"), (9000, "about 2.5 h")]
)
def test_a_time_is_told_in_words(seconds, words):
    assert progress.in_words(seconds) == words
