"""How the cost of an explanation grows, as a picture: with the image, with the batch, with the depth of the layer.

    pip install -e . && python tests/benchmarks/growth.py --output costs.png

VGG-16 with random weights on a CPU; the numbers go to stdout. Run it on an idle machine.
"""

import argparse
import datetime
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from costs import head, machine, row
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from measure import in_turns, peak_growth
from peers import CAPTUM, OURS, PLAIN, Case, build, prepare, quiet

SIDES = [112, 160, 224, 320, 448, 640, 896]
BATCHES = [1, 2, 4, 8, 16]
POOLS = ["features.4", "features.9", "features.16", "features.23", "features.30"]
SCORE = "score"
PANELS = {
    "side": "image side, pixels (batch 1, a score)",
    "batch": "images in a batch (224 pixels, a score)",
    "layer": "layer, features.N, of one unit (batch 4)",
}
LINES = {OURS: ("#c0392b", "-", "deconv_attr"), CAPTUM: ("#2c6fbb", "-", "Captum"), PLAIN: ("#777777", "--", PLAIN)}
MEASURES = ["time, s", "peak memory growth, MB"]
COLUMNS = [("panel", "<5"), ("at", ">11"), ("line", "<20"), *((name, f">{len(name)}") for name in MEASURES)]

# A panel: for each place on the axis and each line, how the call is prepared, or what it was found to cost.
Panel = dict[Any, dict[str, Callable]]
Costs = dict[Any, dict[str, tuple[float, float | None]]]


def prepare_unit(case: Case, layer: str, name: str) -> Callable:
    """Prepare a call that explains the middle unit of the first map of one of VGG-16's pools."""
    from captum.attr import NeuronDeconvolution

    from deconv_attr import NeuronZFDeconv

    model, x = build(case)
    middle = case.side // 2 ** (POOLS.index(layer) + 2)
    if name == PLAIN:
        return partial(torch.no_grad()(model.features[: int(layer.rpartition(".")[2]) + 1]), x)
    if name == OURS:
        return partial(NeuronZFDeconv(model, layer).attribute, x, (0, middle, middle))
    return partial(quiet(NeuronDeconvolution(model, model.get_submodule(layer)).attribute), x, (0, middle, middle))


def panels(quick: bool) -> dict[str, Panel]:
    def scores(case: Case) -> dict[str, Callable]:
        return {name: partial(prepare, case, name) for name in LINES}

    def units(layer: str) -> dict[str, Callable]:
        return {name: partial(prepare_unit, Case("vgg16", 4), layer, name) for name in LINES}

    return {
        "side": {side: scores(Case("vgg16", side=side)) for side in (SIDES[:3] if quick else SIDES)},
        "batch": {batch: scores(Case("vgg16", batch)) for batch in (BATCHES[:2] if quick else BATCHES)},
        "layer": {layer: units(layer) for layer in (POOLS[:2] if quick else POOLS)} | {SCORE: scores(Case("vgg16", 4))},
    }


def measured(name: str, panel: Panel, rounds: int, children: int) -> Costs:
    """Measure one panel, and print each point as soon as it is known."""
    costs: Costs = {}
    for place, prepares in panel.items():
        times = in_turns({line: ready() for line, ready in prepares.items()}, rounds)
        costs[place] = {}
        for line, ready in prepares.items():
            time, growth = statistics.median(times[line]), peak_growth(ready, children=children)
            costs[place][line] = time, growth
            cells = [name, str(place), line, f"{time:.3g}", "-" if growth is None else f"{growth:.0f}"]
            print(row(cells, COLUMNS), flush=True)
    return costs


def draw(found: dict[str, Costs]) -> Figure:
    unknown = any(
        growth is None for costs in found.values() for point in costs.values() for _, growth in point.values()
    )
    measures = MEASURES[:1] if unknown else MEASURES
    figure = Figure(figsize=(9.5, 0.3 + 2.35 * len(measures)), layout="constrained")
    axes = figure.subplots(len(measures), len(found), sharex="col", sharey="row", squeeze=False)
    for column, (name, costs) in enumerate(found.items()):
        named = name == "layer"
        places = range(len(costs)) if named else list(costs)
        for measure, ax in enumerate(axes[:, column]):
            for line, (colour, style, label) in LINES.items():
                heights = [point[line][measure] for point in costs.values()]
                ax.plot(places, heights, style, color=colour, label=label, marker="o", markersize=3.5, linewidth=1.6)
            ax.set(xscale="linear" if named else "log", yscale="log")
            ax.set_xticks(places, [str(place).removeprefix("features.") for place in costs])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.grid(color="#e6e6e6", linewidth=0.6)
            ax.spines[["top", "right"]].set_visible(False)
        axes[-1, column].set_xlabel(PANELS[name])
    for ax, label in zip(axes[:, 0], measures, strict=True):
        ax.set_ylabel(label)
        ax.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", default="costs.png", help="the picture (default: costs.png)")
    parser.add_argument("--quick", action="store_true", help="only the smaller points")
    parser.add_argument("--rounds", type=int, default=5, help="how often each line has its turn (default: 5)")
    parser.add_argument("--children", type=int, default=3, help="processes for each peak of memory; 0: none")
    options = parser.parse_args(argv)
    print(f"{datetime.date.today()}, torch {torch.__version__}, {machine('cpu')}; VGG-16, {options.rounds} rounds\n")
    print(head(COLUMNS))
    found = {
        name: measured(name, panel, options.rounds, options.children) for name, panel in panels(options.quick).items()
    }
    draw(found).savefig(options.output, dpi=160)


if __name__ == "__main__":
    main()
