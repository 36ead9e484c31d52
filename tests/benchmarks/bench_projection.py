"""What ``project`` saves against a loop of Captum's ``NeuronDeconvolution``: the same maps, timed in turns.

    pip install -e '.[test,bench]' && pytest tests/benchmarks/bench_projection.py --benchmark-columns=median,rounds

Each ratio is the median over rounds of (Captum's time / ours), one after the other in one process; ours is the mean of
ten calls. Run it on an idle machine.
"""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from captum.attr import NeuronDeconvolution
from real_data import DATA, needs_data, photographs, squeezenet
from torch import Tensor
from torchvision import models as zoo
from torchvision import transforms

from deconv_attr import project
from deconv_attr.gallery.images import read_image

ROUNDS = 5
REPEATS = 10  # a single call may take 20 ms, and Captum's loop calls its method 32 times


def captum_loop(model, images, layer, units) -> list[Tensor]:
    method = NeuronDeconvolution(model, model.get_submodule(layer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two on every healthy call
        return [method.attribute(images[image : image + 1], tuple(unit))[0] for image, *unit in units]


def assert_same_maps(found, captums) -> None:
    """Captum's signal starts with 1, ours with the activation."""
    living = 0
    for number, theirs in enumerate(captums):
        expected = theirs * found.activations[number]
        living += bool(expected.any())
        assert (found.full(number) - expected).norm() <= 1e-5 * expected.norm()
    assert living > 0.9 * len(captums)


def compare(benchmark, model, images, layer, units, at_least: float) -> None:
    """Time both; the activations, by which the units were chosen, are known."""
    with torch.no_grad():
        outputs = model.features[: int(layer.split(".")[1]) + 1](images)
    known = torch.stack([outputs[tuple(unit)] for unit in units])
    found = project(model, images, layer, units, expected=known)
    assert_same_maps(found, captum_loop(model, images, layer, units))
    ratios = []

    def in_turns():
        begin = time.perf_counter()
        captum_loop(model, images, layer, units)
        between = time.perf_counter()
        return begin, between

    def ours(begin, between):
        started = time.perf_counter()
        for _ in range(REPEATS):
            project(model, images, layer, units, expected=known)
        ratios.append((between - begin) / (time.perf_counter() - started) * REPEATS)

    benchmark.pedantic(ours, setup=lambda: (in_turns(), {}), rounds=ROUNDS)
    ratio = sorted(ratios)[len(ratios) // 2]
    benchmark.extra_info["captum / ours"] = [round(ratio, 1), "of", [round(r, 1) for r in ratios]]
    print(f"\n{layer}: Captum's time / ours: {ratio:.1f} (rounds: {', '.join(f'{r:.1f}' for r in ratios)})")
    assert ratio >= at_least


@needs_data
@pytest.mark.parametrize(
    ("layer", "at_least"), [("features.2", 60), ("features.5", 25), ("features.8", 5), ("features.11", 2.5)]
)
def test_32_units_of_squeezenet_each_of_its_own_photograph(benchmark, layer, at_least):
    model, images = squeezenet(), photographs(32)
    with torch.no_grad():
        outputs = model.features[: int(layer.split(".")[1]) + 1](images)
    maps = torch.randperm(outputs.shape[1], generator=torch.Generator().manual_seed(0)).tolist()
    units = []
    for image, output in enumerate(outputs):
        feature_map = next(m for m in maps[image:] if output[m].any())
        place = int(output[feature_map].argmax())
        units.append((image, feature_map, *divmod(place, output.shape[2])))
    compare(benchmark, model, images, layer, units, at_least)


def test_64_units_of_one_image_at_the_last_convolution_of_alexnet(benchmark):
    torch.manual_seed(0)
    model, image = zoo.alexnet(weights=None).eval(), torch.rand(1, 3, 224, 224)
    with torch.no_grad():  # the signal of a negative activation is another than that of 1
        active = (model.features[:11](image)[0] > 0).nonzero()
    units = [(0, *row) for row in active[:: len(active) // 64][:64].tolist()]
    compare(benchmark, model, image, "features.10", units, 5)


@needs_data
def test_5000_units_over_500_photographs_in_bounded_memory():
    """Peak resident memory of a process of its own, over what it has after loading the model and the first image."""
    report = json.loads(subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True).stdout)
    print(f"\n{report}")
    assert report["units"] == 5000
    assert report["growth in MB"] < 1000


def peak_memory() -> int:
    """Return this process's peak in kB. Its ru_maxrss would start with that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def many_units() -> None:
    class Photographs:
        paths = sorted((DATA / "imagenet_sample").glob("*"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> Tensor:
            image = transforms.functional.center_crop(read_image(str(self.paths[index])), 224)
            pixels = transforms.functional.to_tensor(image)
            return transforms.functional.normalize(pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    model, images = squeezenet(), Photographs()
    images[0]
    before = peak_memory()
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack(
        [torch.arange(5000) % 500, *(torch.randint(0, n, (5000,), generator=generator) for n in (256, 54, 54))], 1
    )
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random units: some are not active
        found = project(model, images, "features.5", rows, show_progress=True)
    seconds = time.perf_counter() - begin
    growth = (peak_memory() - before) / 1024
    print(json.dumps({"units": len(found), "growth in MB": round(growth), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    many_units()
