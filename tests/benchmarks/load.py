"""What much work costs: searching, projecting, explaining and showing more and more, in time and in memory.

    pip install -e '.[test]' && python tests/benchmarks/load.py --output load.png --readme tests/benchmarks/README.md

Each point is measured in a process of its own, which loads the model and warms up first (``measure.py``). Pages are
opened in Chromium where it is installed. Run it on an idle machine; ``--check`` fails where a bound does not hold.
"""

import argparse
import datetime
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from costs import head, machine, row
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from measure import MB, Call, Cost, cost, cost_in_a_process, give_back
from peers import quiet
from torch import nn

SEARCH, PROJECT, EXPLAIN, GALLERY, COMPARISON = (
    "images searched",
    "units projected",
    "images explained",
    "maps in a gallery",
    "maps in a comparison",
)
SIZES = {
    SEARCH: [1_000, 3_000, 10_000, 30_000, 100_000],
    PROJECT: [200, 600, 2_000, 6_000, 20_000],
    EXPLAIN: [8, 25, 75, 200],
    GALLERY: [500, 1_000, 2_000, 5_000],
    COMPARISON: [500, 1_000, 2_000, 5_000],
}
PANELS = [[SEARCH], [PROJECT], [EXPLAIN], [GALLERY, COMPARISON]]
QUICK = 2  # sizes of each work
FILTERS = 5_000  # of the layer that the gallery shows
METHODS = 4  # of a comparison
BATCH = 8
WIDTHS = [1280, 390]  # pixels of the window
COLOURS = ["#c0392b", "#2c6fbb"]
COLUMNS = [
    ("work", "<20"),
    ("size", ">7"),
    ("s", ">7"),
    ("ms each", ">7"),
    ("MB growth", ">9"),
    ("MB result", ">9"),
    ("MB beside it", ">12"),
]
SHOWN = [
    ("page", "<20"),
    ("maps", ">7"),
    ("window", ">6"),
    ("MB", ">5"),
    ("s to load", ">9"),
    ("ms to react", ">11"),
    ("elements", ">8"),
    ("MB of heap", ">10"),
    ("faults", "<6"),
]

sys.path.append(str(Path(__file__).parents[1] / "support"))  # where pytest does not do so: in a program

# Bounds: of the exponent of time over the upper tenfold of sizes, and of the growth of memory over it.
LINEAR = (0.8, 1.2)
FLAT, FLAT_SHARE = 100, 0.2  # MB; of the growth at a tenth
LOAD, REACT, LARGEST = 3, 0.5, 200  # s, s, MB of a page

Costs = dict[int, Cost]


# ------------------------------------------------------------------------------------------------ the work


def search(size: int, folder: Path) -> Call:
    from deconv_attr import strongest
    from deconv_attr.demo import GeneratedImages, load_model

    model = load_model()
    strongest(model, GeneratedImages(64))
    return partial(strongest, model, GeneratedImages(size))


def projection(size: int, folder: Path) -> Call:
    """Prepare ten units of each image: in ten maps the strongest."""
    from deconv_attr import project
    from deconv_attr.demo import GeneratedImages, load_model

    model, layer = load_model(), "features.5"  # 48 maps, a receptive field of 27 x 27 pixels
    data = GeneratedImages(math.ceil(size / 10))
    units = [(unit // 10, unit % 48) for unit in range(size)]
    call = quiet(partial(project, batch_size=100))  # by default what fills 256 MB: 223 images, 2,912 crops
    call(model, data, layer, units[:100])
    return partial(call, model, data, layer, units)


def explanation(size: int, folder: Path) -> Call:
    from real_data import DATA, photographs, squeezenet
    from torchvision.models import squeezenet1_0

    from deconv_attr import ZFDeconv

    torch.manual_seed(0)
    if DATA.is_dir():
        model, x = squeezenet(), photographs(size)
    else:
        model, x = squeezenet1_0().eval(), torch.randn(size, 3, 224, 224)
    with torch.no_grad():
        target = torch.cat([model(batch).argmax(1) for batch in x.split(BATCH)])
    call = quiet(partial(ZFDeconv(model).attribute, internal_batch_size=BATCH))  # some signals die: so they do in use
    call(x[:BATCH], target[:BATCH])
    return partial(call, x, target)


def gallery(size: int, folder: Path) -> Call:
    """Prepare the page of some maps of one layer: their nine strongest units each, projected."""
    from deconv_attr import Gallery, strongest
    from deconv_attr.demo import GeneratedImages

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, FILTERS, 8, stride=4), nn.ReLU()).eval()
    data = GeneratedImages(100)
    found = strongest(model, data)
    Gallery(model, data, found, maps=range(3)).to_html(folder / "gallery")
    return partial(Gallery(model, data, found, maps=range(size)).to_html, folder / "gallery")


def comparison(size: int, folder: Path) -> Call:
    """Prepare the page of some maps, which have been computed, with one check."""
    from deconv_attr import compare
    from deconv_attr.demo import CLASS_NAMES, GeneratedImages, load_model

    model, data = load_model(), GeneratedImages(size // METHODS)
    x = torch.stack([data[number] for number in range(len(data))])

    def page(count: int) -> Call:
        target = torch.arange(count) % len(CLASS_NAMES)
        found = quiet(partial(compare, batch_size=BATCH))(model, x[:count], target)
        assert len(found.attributions) == METHODS
        found.table(["zero maps"])
        return partial(found.to_html, folder / "comparison.html", checks=["zero maps"])

    page(2)()
    return page(len(x))


WORKS = {SEARCH: search, PROJECT: projection, EXPLAIN: explanation, GALLERY: gallery, COMPARISON: comparison}


def prepared(name: str, size: int, folder: Path) -> Call:
    call = WORKS[name](size, folder)
    give_back()
    return call


# ------------------------------------------------------------------------------------------------ pages in a browser


class Use(NamedTuple):
    """A page in a window: its size in MB, seconds to load and to react, elements, MB of heap, and what is wrong."""

    megabytes: float
    load: float
    react: float
    elements: int
    heap: float
    faults: list[str]


Uses = dict[str, dict[int, dict[int, Use]]]  # by work, size and width

# Both wait for two frames: then what was asked for has been drawn.
LOADED = """
    const [selector, done] = arguments;
    const drawn = () => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() / 1000)));
    const poll = () =>
      document.readyState === "complete" && document.querySelector(selector) ? drawn() : setTimeout(poll, 5);
    poll();"""
CLICKED = """
    const [selector, done] = arguments;
    const last = [...document.querySelectorAll(selector)].at(-1);
    last.scrollIntoView();
    const opened = () => document.getElementById("view").open
      && [...document.querySelectorAll("#view img[src]")].every((image) => image.complete);
    setTimeout(() => {
      const begin = performance.now();
      const ended = () => done((performance.now() - begin) / 1000);
      const drawn = () => requestAnimationFrame(() => requestAnimationFrame(ended));
      const poll = () => (opened() ? drawn() : setTimeout(poll, 2));
      last.click();
      poll();
    }, 500);"""


def uses(name: str, folder: Path, widths: list[int]) -> dict[int, Use]:
    """Open a page in windows of several widths, and in each the last map large."""
    if not widths or not all(map(shutil.which, ("chromium", "chromedriver"))):
        return {}
    from browsing import Page, chromium

    index = folder / "gallery" / "index.html" if name == GALLERY else folder / "comparison.html"
    selector = ".card" if name == GALLERY else ".picture"
    found = {}
    for width in widths:
        with chromium() as driver:  # a new one each time: nothing is in its memory
            driver.set_script_timeout(300)
            driver.execute_cdp_cmd("Performance.enable", {})
            page = Page(driver, index)
            page.load(width=width, height=844)
            load = driver.execute_async_script(LOADED, selector)
            react = driver.execute_async_script(CLICKED, selector)
            metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            heap = next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize")
            faults = [entry["message"] for entry in page.console()]
            if page.run("return document.scrollingElement.scrollWidth") > width:
                faults.append("scrolls sideways")
            elements = page.run("return document.querySelectorAll('*').length")
            found[width] = Use(megabytes(index), load, react, elements, heap / MB, faults)
    return found


def megabytes(index: Path) -> float:
    files = [index] if index.name != "index.html" else [path for path in index.parent.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / MB


# ------------------------------------------------------------------------------------------------ bounds


def upper(sizes: list[int]) -> list[int]:
    """Return the largest sizes, from about a tenth of the largest on."""
    tenth = min(sizes, key=lambda size: abs(math.log(size / max(sizes) * 10)))
    return [size for size in sizes if size >= tenth]


def exponent(costs: Costs) -> float:
    """Return the power of the size by which time grows over the upper tenfold: 1 is linear."""
    sizes = upper(list(costs))
    if len(sizes) < 2:
        return math.nan
    return statistics.linear_regression(np.log(sizes), np.log([costs[size].seconds for size in sizes])).slope


def beside(cost: Cost) -> float | None:
    """Return the growth of memory without the result, MB."""
    return None if cost.growth is None else cost.growth - cost.held


def broken(name: str, costs: Costs) -> list[str]:
    """Say which bounds the cost of some work does not keep."""
    sizes, faults = upper(list(costs)), []
    if len(sizes) > 1 and not LINEAR[0] <= exponent(costs) <= LINEAR[1]:
        faults.append(f"{name}: time grows by the power {exponent(costs):.2f} of the size")
    less, most = beside(costs[sizes[0]]), beside(costs[sizes[-1]])
    if less is not None and most is not None and most - less > max(FLAT, FLAT_SHARE * less):
        faults.append(f"{name}: memory grows from {less:.0f} to {most:.0f} MB beside the result")
    return faults


def unusable(name: str, size: int, width: int, use: Use) -> list[str]:
    """Say which bounds a page does not keep."""
    faults = list(use.faults)
    if use.megabytes > LARGEST:
        faults.append(f"{use.megabytes:.0f} MB")
    if use.load > LOAD:
        faults.append(f"{use.load:.1f} s to load")
    if use.react > REACT:
        faults.append(f"{use.react:.1f} s to react")
    return [f"{size} {name}, {width} pixels wide: {fault}" for fault in faults]


# ------------------------------------------------------------------------------------------------ tables, figure


def cost_cells(name: str, size: int, cost: Cost) -> list[str]:
    memory = ["-" if value is None else f"{value:.0f}" for value in (cost.growth, cost.held, beside(cost))]
    return [name, f"{size:,}", f"{cost.seconds:.3g}", f"{1000 * cost.seconds / size:.3g}", *memory]


def use_cells(name: str, size: int, width: int, use: Use) -> list[str]:
    return [
        name,
        f"{size:,}",
        str(width),
        f"{use.megabytes:.0f}",
        f"{use.load:.2f}",
        f"{1000 * use.react:.0f}",
        f"{use.elements:,}",
        f"{use.heap:.0f}",
        "; ".join(use.faults) or "none",
    ]


def markdown(cells: list[list[str]], columns: list[tuple[str, str]]) -> str:
    marks = ["---:" if ">" in form else "---" for _, form in columns]
    rows = [[name for name, _ in columns], marks, *cells]
    return "\n".join(f"| {' | '.join(each)} |" for each in rows)


def put_into(readme: Path, text: str) -> None:
    """Replace what stands between the marks of a README."""
    begin, end = "<!-- load.py -->", "<!-- end of load.py -->"
    before, _, rest = readme.read_text(encoding="utf-8").partition(begin)
    readme.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def draw(found: dict[str, Costs], used: Uses) -> Figure:
    """Draw a column for each kind of work: time above, memory below."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(2, len(PANELS), sharex="col", sharey="row", squeeze=False)
    for (above, below), names in zip(axes.T, PANELS, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            label = name.rpartition(" ")[2] if len(names) > 1 else ""
            curve(
                above,
                {size: cost.seconds for size, cost in found[name].items()},
                colour,
                "-",
                f"{label} written" if label else "measured",
            )
            growths = {size: cost.growth for size, cost in found[name].items() if cost.growth is not None}
            curve(below, growths, colour, "-", f"{label} growth")
            if any(cost.held >= 1 for cost in found[name].values()):
                nets = {size: max(1, growth - found[name][size].held) for size, growth in growths.items()}
                curve(below, nets, colour, "--", "without the result")
            loads = {size: max(use.load for use in each.values()) for size, each in used.get(name, {}).items() if each}
            curve(above, loads, colour, "--", f"{label} opened")
            if len(names) == 1 or name == GALLERY:
                sizes = upper(list(found[name]))
                last = found[name][sizes[-1]].seconds
                slope = [0.6 * last * size / sizes[-1] for size in sizes]
                above.plot(sizes, slope, ":", color="#777777", label="linear")
        below.set_xlabel(names[0] if len(names) == 1 else "maps on a page")
        for ax in (above, below):
            ax.set(xscale="log", yscale="log")
            ax.yaxis.set(major_locator=LogLocator(subs=(1,)), minor_locator=NullLocator())
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            ax.grid(color="#e6e6e6", linewidth=0.6)
            ax.spines[["top", "right"]].set_visible(False)
            if ax.lines:  # where memory is not known, there are none
                ax.legend(frameon=False, fontsize=8, loc="upper left")
        sizes = list(found[names[0]])
        below.set_xticks(sizes, [f"{size // 1000}k" if size % 1000 == 0 else f"{size}" for size in sizes])
        below.xaxis.set_minor_locator(NullLocator())
    for ax in axes[:, 0]:
        ax.set_ylim(top=20 * ax.get_ylim()[1])  # room for the legends
    axes[0, 0].set_ylabel("time, s")
    axes[1, 0].set_ylabel("peak memory growth, MB")
    return figure


def curve(ax: Any, points: dict[int, float], colour: str, style: str, label: str) -> None:
    if points:
        label = label.strip()
        ax.plot(*zip(*points.items(), strict=True), style, color=colour, marker="o", markersize=3.5, label=label)


# ------------------------------------------------------------------------------------------------ program


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", default="load.png", help="the picture (default: load.png)")
    parser.add_argument("--quick", action="store_true", help=f"only the first {QUICK} sizes of each kind of work")
    parser.add_argument("--children", type=int, default=1, help="processes for each point; 0: here, no memory")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS, help="of windows; none: open no page")
    parser.add_argument("--readme", type=Path, help="a README whose tables, between two marks, are replaced")
    parser.add_argument("--check", action="store_true", help="fail where a bound does not hold")
    return parser.parse_args(argv)


def measured(name: str, size: int, children: int, folder: Path) -> Cost:
    ready: Callable[[], Call] = partial(prepared, name, size, folder)
    if not children:
        return cost(ready)._replace(growth=None)
    costs = [cost_in_a_process(ready) for _ in range(children)]
    return Cost(*(None if None in values else statistics.median(values) for values in zip(*costs, strict=True)))


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    begin = time.perf_counter()
    about = f"{datetime.date.today()}, torch {torch.__version__}, {machine('cpu')}"
    print(f"{about}\n\n{head(COLUMNS)}")
    found: dict[str, Costs] = {}
    used: Uses = {}
    for name, sizes in SIZES.items():
        found[name] = {}
        for size in sizes[: QUICK if options.quick else None]:
            with tempfile.TemporaryDirectory() as folder:
                found[name][size] = measured(name, size, options.children, Path(folder))
                if name in (GALLERY, COMPARISON):
                    used.setdefault(name, {})[size] = uses(name, Path(folder), options.widths)
            print(row(cost_cells(name, size, found[name][size]), COLUMNS), flush=True)
    report(about, found, used, options.readme)
    draw(found, used).savefig(options.output, dpi=160)
    print(f"\n{(time.perf_counter() - begin) / 60:.1f} minutes in all")
    faults = [fault for name, costs in found.items() for fault in broken(name, costs)]
    faults += [fault for name, size, width, use in flat(used) for fault in unusable(name, size, width, use)]
    print("\n".join(faults) or "all bounds hold")
    if options.check and faults:
        sys.exit(1)


def flat(used: Uses) -> list[tuple[str, int, int, Use]]:
    return [
        (name, size, width, use)
        for name, sizes in used.items()
        for size, widths in sizes.items()
        for width, use in widths.items()
    ]


def report(about: str, found: dict[str, Costs], used: Uses, readme: Path | None) -> None:
    """Print how pages are used and how costs grow, and write all tables into a README."""
    shown = [use_cells(*each) for each in flat(used)]
    print("\n".join(["", head(SHOWN), *(row(cells, SHOWN) for cells in shown)]))
    growing = [f"{name}: time by the power {exponent(costs):.2f} of the size" for name, costs in found.items()]
    print("\n" + "\n".join(growing))
    if readme:
        costs = [cost_cells(name, size, cost) for name, sizes in found.items() for size, cost in sizes.items()]
        lines = [f"- {line}" for line in growing]
        put_into(readme, "\n".join([about + ".", "", markdown(costs, COLUMNS), "", *lines, "", markdown(shown, SHOWN)]))


if __name__ == "__main__":
    main()
