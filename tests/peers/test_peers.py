"""The table of this package beside others, in README.md: each cell is what its test finds.

A row is a measure, a function of a tool that gives a cell's text, and the text that is expected for each tool. Cells of
a tool that is not installed are skipped; see `peer_tools.py`.
"""

import re
from collections.abc import Callable
from importlib.metadata import requires, version
from pathlib import Path
from typing import NamedTuple

import nets
import peer_maps as maps
import peer_methods as methods
import peer_units as units
import pytest
from pages import rows
from peer_maps import maps_of
from peer_tools import DECONV_ATTR, NO, TOOLS, Tool, ability

README = Path(__file__).with_name("README.md")


class Row(NamedTuple):
    title: str
    measure: Callable[[Tool], str]
    cells: tuple[str, ...]  # of TOOLS


def row(title: str, measure: Callable[[Tool], str], *cells: str) -> Row:
    assert len(cells) == len(TOOLS)
    return Row(title, measure, cells)


GROUPS = {
    "The map of a class score": [
        row(
            "AlexNet, VGG-11, SqueezeNet, ResNet-18",
            maps_of("alexnet", "vgg11", "squeezenet1_1", "resnet18"),
            *("right", "right", "right", "right", "right"),
        ),
        row(
            "`F.relu`, `torch.relu`; GoogLeNet",
            maps_of(nets.FunctionalRelu, nets.TorchRelu, "googlenet"),
            *("right", "gradient", "gradient", "gradient", "right"),
        ),
        row(
            "`x.relu()`, `x.clamp(min=0)`, ReLU6; MobileNetV2",
            maps_of(nets.TensorRelu, nets.ClampMin, nets.Relu6, "mobilenet_v2"),
            *("right", "gradient", "gradient", "gradient", "gradient"),
        ),
        row("DenseNet-121: one `F.relu`", maps_of("densenet121"), "right", "wrong", "wrong", "wrong", "right"),
        row(
            "a ReLU whose input is read elsewhere too, or that runs on two branches",
            maps_of(nets.PreActivationResidual, nets.InputAlsoConcatenated, nets.OneReluOnTwoInterleavedBranches),
            *("right", "wrong", "right", "right", "right"),
        ),
        row(
            "an in-place ReLU whose result is not used",
            maps_of(nets.InPlaceReluResultIgnored, nets.InPlaceReluOfASlice),
            *("right", "wrong", "wrong", "wrong", "wrong"),
        ),
        row(
            "max-pools that overlap: values add",
            maps_of(nets.SharedPoolAndConvolution),
            *("right", "right", "right", "right", "right"),
        ),
        row(
            f"the {len(nets.DIFFICULT)} difficult graphs that we test with (`tests/support/nets.py`)",
            maps.how_many,
            *("34 right", "3 right, 1 error", "6 right, 1 error", "6 right, 1 error", "18 right"),
        ),
        row(
            "local response norm: in the paper the signal passes unchanged",
            maps.contrast_norm,
            *("unchanged", *["by its gradient"] * 4),
        ),
        row(
            "an activation without a rule (GELU)",
            maps.without_a_rule,
            *("an error that names it", *["by its gradient"] * 4),
        ),
        row("the signal dies", maps.dead_signal, "zeros and a warning", *["zeros"] * 4),
        row("lists what each operation was given", maps.COVERAGE, "yes", NO, NO, NO, NO),
        row("models of several inputs", maps.several_inputs, "yes", "yes", "no", "no", "no"),
    ],
    "What a call leaves behind": [
        row(
            "model and image as before",
            maps.AS_BEFORE,
            "yes",
            "yes",
            "yes",
            "no: weights frozen",
            "no: image requires grad",
        ),
        row(
            "the same after an error in the model",
            maps.AS_BEFORE_AFTER_AN_ERROR,
            *("yes", "no: image requires grad", "yes", "no: weights frozen", "no: image requires grad, weights frozen"),
        ),
        row(
            "batch-norm statistics stay in training mode",
            maps.statistics_in_training_mode,
            *("yes", "no", "no", "no", "yes"),
        ),
        row(
            "a gradient that another thread takes meanwhile",
            maps.gradient_in_another_thread,
            *("right", "wrong", "wrong", "wrong", "error"),
        ),
        row("warnings of a healthy call", maps.warnings_of_a_healthy_call, "none", "2", "none", "none", "none"),
    ],
    "Single units, data sets": [
        row(
            "the map of one unit of a layer",
            units.ONE_UNIT,
            *("yes", "yes", "if the model is cut there", "yes, channels summed", "if the model is cut there"),
        ),
        row("a unit's receptive field, in pixels", units.BOX, "yes", NO, NO, "a crop of its map", NO),
        row(
            "each feature map's strongest units over a data set, projected (figure 2)",
            units.FIGURE_2,
            *("yes", NO, NO, "yes, and by relevance", NO),
        ),
        row("the same over a training (figure 4)", units.FIGURE_4, "yes", NO, NO, NO, NO),
    ],
    "Checks of maps": [
        row("weights randomised (Adebayo et al. 2018)", methods.RANDOMISATION, "yes", NO, NO, NO, NO),
        row("infidelity (Yeh et al. 2019)", methods.INFIDELITY, "yes", "yes", NO, NO, NO),
        row("pointing game", methods.POINTING, "yes", NO, NO, NO, "yes"),
    ],
    "Other methods": [
        row("guided backprop", methods.GUIDED, "yes", "yes", "yes", "yes", "yes"),
        row("averages over noise (SmoothGrad)", methods.AVERAGE, "yes", "yes", "yes", NO, NO),
        row("layer-wise relevance propagation", methods.LRP, NO, "yes", "yes", "yes", NO),
        row("relevance that goes through chosen feature maps", methods.CONDITIONAL, NO, NO, NO, "yes", NO),
        row("integrated gradients", methods.INTEGRATED, NO, "yes", "yes", NO, NO),
        row("occlusion, or random masks (RISE)", methods.OCCLUSION, NO, "yes", "yes", NO, "yes"),
        row("Grad-CAM", methods.GRAD_CAM, NO, "yes", NO, NO, "yes"),
    ],
}

CELLS = [
    pytest.param(row.measure, tool, cell, id=f"{row.title.replace('`', '')}-{tool.name}")
    for group in GROUPS.values()
    for row in group
    for tool, cell in zip(TOOLS, row.cells, strict=True)
]


@pytest.mark.parametrize(("measure", "tool", "cell"), CELLS)
def test_a_cell_says_what_the_tool_does(measure, tool, cell):
    if not tool.installed:
        pytest.skip(f"{tool.distribution} is not installed")
    found = tool.loud(measure)(tool)
    assert found == cell, f"{tool.distribution} {version(tool.distribution)}; the table is of {tool.version}"


def table() -> list[list[str]]:
    """Return the table as it stands in README.md, a list of cells for each line."""
    lines = [["", *(tool.heading for tool in TOOLS)], ["---"] * (len(TOOLS) + 1)]
    for title, group in GROUPS.items():
        lines.append([f"**{title}**", *[""] * len(TOOLS)])
        lines += [[row.title, *row.cells] for row in group]
    return lines


def test_the_readmes_table_is_this_one():
    found = re.search(r"<!-- peers table -->\n(.*?)<!-- end of peers table -->", README.read_text(), re.DOTALL)
    assert found
    assert rows(found[1]) == table()


def test_a_tool_that_has_what_a_row_says_it_lacks_is_noticed():
    assert ability("zfdeconv$", {})(DECONV_ATTR).startswith("perhaps: ")


@pytest.mark.parametrize(("tool", "other"), [("deconv-attr", "captum"), ("zennit-crp", "zennit")])
def test_what_comes_along_is_as_the_readme_says(tool, other):
    if not any(tool == each.distribution and each.installed for each in TOOLS):
        pytest.skip(f"{tool} is not installed")
    assert any(re.match(rf"{other}\b(?!-)", needed) for needed in requires(tool))
