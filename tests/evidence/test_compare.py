import copy
import warnings
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from by_hand import ByHand
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from torch import nn

from deconv_attr import Method, compare
from deconv_attr.errors import DeadSignalWarning, InputError, ModelError, TargetError
from deconv_attr.evidence import CHECKS, Case, Check, Estimate, Failure, Finding, estimate, parameter_randomisation
from deconv_attr.evidence.methods import as_methods, controls, rule_tables, to_the_end
from deconv_attr.visualize import robust_scale

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
    assert comparison.verdict(QUICK).endswith("No maps: bad.")
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
        (None, "expected a Finding from the check 'image', got NoneType"),
        (torch.zeros(3), "expected a Finding from the check 'image', got Tensor"),
        (Finding([torch.zeros(3)] * 2), "expected 1 tensors (3,) from the check 'image', got shapes [(3,), (3,)]"),
        (Finding([torch.tensor(0.0)]), "expected 1 tensors (3,) from the check 'image', got shapes [()]"),
    ],
    ids=["nothing", "a tensor", "two columns", "one number"],
)
def test_a_check_that_finds_something_else_has_the_error_in_its_cell(inputs, found, said, monkeypatch):
    monkeypatch.setitem(CHECKS, "image", Check({"image": "nothing"}, lambda case: found))
    table = compare(ByHand(), inputs, TARGET, [lambda model, x, target: x]).table("image")
    assert table.rows[0][1] == Failure(f"InputError: {said}")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"model": lambda x: x}, ModelError, "as a torch.nn.Module, got function"),
        ({"model": nn.Conv2d(3, 3, 1).double()}, ModelError, r"scores \(N, classes\), got a tensor \(1, 3, 6, 6\)"),
        ({"inputs": torch.ones(3, 108).double()}, InputError, r"expected images \(N, C, H, W\), got \(3, 108\)"),
        ({"inputs": torch.ones(3, 3, 6, 6).double() / 0}, InputError, "finite, got 324 values"),
        ({"inputs": (torch.ones(3, 3, 6, 6),)}, InputError, "as a tensor, got tuple"),
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


def test_ctrl_c_while_things_are_put_back_is_late_and_not_lost():
    done, presses = [], iter([KeyboardInterrupt, KeyboardInterrupt])

    def restore():
        done.append("begun")
        error = next(presses, None)
        if error is not None:
            raise error
        done.append("ended")

    with pytest.raises(KeyboardInterrupt):
        to_the_end(restore)
    assert done == ["begun", "begun", "begun", "ended"]


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
    assert without.header == table.header[:-2]
    assert without.rows == [row[:-2] for row in table.rows]


@pytest.mark.parametrize("name", CHECKS)
def test_a_cell_is_the_mean_of_what_the_check_finds(name, inputs, masks):
    comparison = compare(ByHand(), inputs, TARGET, masks=masks, other=1, seed=3)
    for method, row in zip(comparison.methods, comparison.table([name]).rows, strict=True):
        maps = comparison.attributions[method.label]
        case = Case(ByHand(), method, maps, inputs, TARGET, torch.tensor([1, 1, 1]), masks, 3)
        if method.label in ("Guided backprop", "Saliency"):  # of the model that is compared
            case = Case(comparison.model, method, maps, inputs, TARGET, torch.tensor([1, 1, 1]), masks, 3)
        expected = [estimate(values, 3) for values in CHECKS[name].run(case).values]
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
    with pytest.raises(InputError, match=r"expected masks \(N, H, W\) of bool for the check 'pointing game'"):
        comparison.table(["pointing game"])


def test_a_method_that_ignores_the_model_is_caught(inputs, masks):
    """The answers are known: controls do not depend on weights or class, and one is the image."""
    table = compare(ByHand(), inputs, TARGET, controls(), masks=masks).table()
    for column in ("other class", "other class, |map|", "random weights", "random weights, |map|"):
        assert [cell.mean for cell in table.column(column)] == [1, 1]
    noise, image = table.column("image")
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
    low, high = inputs.amin((1, 2, 3)), inputs.amax((1, 2, 3))
    torch.testing.assert_close(
        images, torch.stack([(x - a) / (b - a) for x, a, b in zip(inputs, low, high, strict=True)])
    )
    assert (labels, shared) == (["a", "b", "c"], True)
    assert [(column.title, column.style, column.error) for column in columns] == [
        ("Control: noise", "heat", ""),
        ("Control: the image", "signed", ""),
        ("fails", "heat", "RuntimeError: no luck"),
    ]
    assert torch.equal(columns[1].maps, inputs)
    assert columns[2].maps is None


def test_images_to_be_shown_can_be_given(inputs, seen):
    images = torch.rand(3, 1, 6, 6)
    compare(ByHand(), inputs, TARGET, controls(), images=images).plot()
    assert torch.equal(seen["comparison_figure"][0][0], images)


def test_labels_are_the_class_and_its_probability(inputs):
    chances = ByHand()(inputs).detach().softmax(1)
    expected = [f"class {k}\n{float(chances[i, k]):.1%}" for i, k in enumerate(TARGET.tolist())]
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
    assert panels[0].curves[0].mean == [1, 1]
    steps = panels[1].curves[0]
    assert (steps.x[0], steps.x[-1]) == (0, 1)
    before = estimate(ByHand()(inputs).softmax(1).gather(1, TARGET[:, None])[:, 0])
    assert steps.mean[0] == pytest.approx(before.mean)
    assert steps.low[0] == pytest.approx(before.low)
    assert steps.high[0] == pytest.approx(before.high)


def test_a_page_is_given_what_the_comparison_has(inputs, seen, masks):
    comparison = compare(ByHand(), inputs, TARGET, [*controls(), fails], masks=masks)
    comparison.to_html("page.html", checks=["pointing game"])
    given, _ = seen["write_report"]
    path, _, facts, verdict, notes, table, images, labels, columns, figures = given
    assert path == Path("page.html")
    assert ("model", "ByHand") in facts
    assert verdict == comparison.verdict(["pointing game"])
    assert notes == comparison.notes
    assert table.header == ["method", "pointing game"]
    assert images[0].dtype == np.uint8
    assert images[0].shape == (6, 6, 3)
    assert labels == comparison.labels
    assert [column.title for column in columns] == ["Control: noise", "Control: the image", "fails"]
    assert [len(column.pictures) for column in columns] == [3, 3, 0]
    assert columns[1].scales == [f"s = {robust_scale(image):.2g}" for image in inputs]
    assert columns[2].error == "RuntimeError: no luck"
    assert figures == []


def test_where_a_page_cannot_be_written_is_said_before_any_check(inputs, tmp_path):
    comparison = compare(ByHand(), inputs, TARGET, controls())
    with pytest.raises(InputError, match=r"to end in \.html, \.htm, got .*page\.png"):
        comparison.to_html(tmp_path / "page.png")
    assert not comparison._findings


def test_a_page_is_written_for_real(inputs, tmp_path):
    path = compare(ByHand(), inputs, TARGET, controls()).to_html(tmp_path / "page.html")
    text = path.read_text()
    assert path == tmp_path / "page.html"
    assert "Control: noise" in text
    assert "image/svg+xml" in text
