"""What an explanation costs: time and memory of the deconvnet, here and elsewhere, beside a plain forward pass.

    pip install -e '.[peers]' && python tests/benchmarks/costs.py

Times are medians of rounds in which the methods take turns in one process; ratios of times are medians of the rounds'
ratios. Memory is the growth of the peak over what the process holds after it has loaded the model, made the input and
imported the package (`measure.py`). Run it on an idle machine.
"""

import argparse
import datetime
import os
import platform
import re
import statistics
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import torch
from measure import in_turns, peak_growth, ratio
from peers import METHODS, OURS, PLAIN, Case, build, difference, prepare
from torch import Tensor

MODELS = ["alexnet", "vgg16", "squeezenet1_0", "resnet18", "resnet50", "googlenet", "densenet121"]
COLUMNS = [
    ("model", "<13"),
    ("batch", ">5"),
    ("method", "<20"),
    ("ms", ">7"),
    ("/ plain", ">7"),
    ("ours / it", ">9"),
    ("MB", ">6"),
    ("/ plain", ">7"),
    ("ours / it", ">9"),
    ("map", "<4"),
]


SUMMARY = ["model", "batch", "forward pass", "ours / forward", *(f"ours / {n.split()[0]}" for n in list(METHODS)[2:])]


def machine(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name()
    about = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*:\s*(.+)", about.read_text()) if about.exists() else None
    return f"{name[1] if name else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def head(columns: list[tuple[str, str]]) -> str:
    lines = [name for name, _ in columns], ["-" * int(form[1:]) for _, form in columns]
    return "\n".join(row(cells, columns) for cells in lines)


def row(cells: list[str], columns: list[tuple[str, str]]) -> str:
    """Lay out the cells of one method; columns are names and formats."""
    return "  ".join(format(cell, form) for cell, (_, form) in zip(cells, columns, strict=True)).rstrip()


def summary(rows: list[list[str]]) -> list[str]:
    """Put the rows of one case into one, for a README: pairs of time and memory."""
    (model, batch, _, seconds, _, _, megabytes, *_), ours, *peers = rows
    cells = [model, batch, f"{seconds} ms, {megabytes} MB", f"{ours[4]}, {ours[7]}"]
    for *_, time, _, _, memory, found in peers:
        cells.append(f"{time}, {memory}" + ("" if found == "same" else f" (map off by {found})") if time else found)
    return cells


def first_maps(case: Case) -> tuple[dict[str, Tensor | None], dict[str, str]]:
    """Run each method once: the map of each, and why there is none."""
    maps, excuses = {}, {}
    for name, method in METHODS.items():
        if not method.installed:
            excuses[name] = "not installed"
            continue
        try:
            maps[name] = prepare(case, name)()
        except Exception as error:  # whatever a peer makes of a network
            if name in (PLAIN, OURS):
                raise
            excuses[name] = f"raises {type(error).__name__}"
            build.cache_clear()  # it may have left its marks on the model
    return maps, excuses


def measured(case: Case, rounds: int, children: int) -> Iterator[list[str]]:
    """Measure one case; one row of cells for each method."""
    maps, excuses = first_maps(case)
    times = in_turns({name: prepare(case, name) for name in maps}, rounds, case.device)
    peaks = {name: peak_growth(partial(prepare, case, name), case.device, children) for name in maps}
    for name in METHODS:
        start = [case.model, str(case.batch), name]
        if name in excuses:
            yield [*start, *[""] * 6, excuses[name]]
            continue
        yield [
            *start,
            f"{1000 * statistics.median(times[name]):.1f}",
            f"{ratio(times[name], times[PLAIN]):.2f}",
            f"{ratio(times[OURS], times[name]):.2f}",
            *memory_cells(peaks[name], peaks[PLAIN], peaks[OURS]),
            "" if name in (PLAIN, OURS) else compared(maps[name], maps[OURS]),
        ]


def memory_cells(growth: float | None, plain: float | None, ours: float | None) -> list[str]:
    if growth is None:
        return ["-"] * 3
    return [f"{growth:.0f}", f"{growth / plain:.2f}", f"{ours / growth:.2f}"]


def compared(found: Tensor, ours: Tensor) -> str:
    apart = difference(found, ours)
    return "same" if apart < 1e-4 else f"{apart:.2g}"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS, help="networks by torchvision's names")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8], help="images a call (default: 1 8)")
    parser.add_argument("--rounds", type=int, default=10, help="how often each method has its turn (default: 10)")
    parser.add_argument("--side", type=int, default=224, help="height and width of the images (default: 224)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    parser.add_argument("--channels-last", action="store_true", help="lay model and images out as (N, H, W, C)")
    parser.add_argument("--children", type=int, default=3, help="processes for each peak of memory on a CPU; 0: none")
    parser.add_argument("--markdown", action="store_true", help="print one row for each case, as in the README")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here, skipped")
        return
    print(
        f"{datetime.date.today()}, torch {torch.__version__}, {machine(options.device)}; "
        f"{options.side}x{options.side} pixels, {options.rounds} rounds\n"
    )
    print(f"| {' | '.join(SUMMARY)} |\n|{'---|' * len(SUMMARY)}" if options.markdown else head(COLUMNS))
    for model, batch in product(options.models, options.batch):
        case = Case(model, batch, options.side, options.device, options.channels_last)
        rows = list(measured(case, options.rounds, options.children))
        lines = [f"| {' | '.join(summary(rows))} |"] if options.markdown else [row(cells, COLUMNS) for cells in rows]
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
