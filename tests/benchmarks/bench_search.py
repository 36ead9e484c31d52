"""What the search for the strongest activations costs, and the gallery, on trained SqueezeNet and 500 photographs.

    pip install -e '.[test,bench]' && pytest -s tests/benchmarks/bench_search.py

Times are taken in turns in one process, and ratios are medians of the rounds'. Run it on an idle machine.
"""

import statistics
import time
import warnings

import pytest
import torch
from captum.attr import NeuronDeconvolution
from measure import in_turns, peak_growth, ratio
from real_data import DATA, needs_data, photographs, squeezenet
from torch.utils.data import Dataset

from deconv_attr import Gallery, Photographs, strongest

LAYER, TOP, SAMPLE = "features.5", 9, 64

pytestmark = needs_data


@pytest.fixture(scope="module")
def model():
    return squeezenet()


@pytest.fixture(scope="module")
def images():
    return photographs(500)


def pass_over(model, images, size):
    with torch.no_grad():
        for start in range(0, len(images), size):
            model(images[start : start + size])


def test_the_search_of_all_layers_against_the_plain_forward_pass(model, images):
    calls = {
        "search": lambda: strongest(model, images),
        "forward, batches of 16": lambda: pass_over(model, images, 16),
        "forward, batches of 32": lambda: pass_over(model, images, 32),
    }
    times = in_turns(calls, rounds=4)
    print()
    for name, seconds in times.items():
        print(f"{name}: {statistics.median(seconds):.2f} s, search / this {ratio(times['search'], seconds):.3f}")
    assert ratio(times["search"], times["forward, batches of 32"]) <= 1.10


def captum_loop(model, images, found, maps):
    """The work of the gallery for some maps: each unit's signal, over the whole image."""
    method, top = NeuronDeconvolution(model, model.get_submodule(LAYER)), found[LAYER]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two on every healthy call
        for feature_map in maps:
            for image, place in zip(top.images[feature_map].tolist(), top.positions[feature_map].tolist(), strict=True):
                method.attribute(images[image : image + 1], (feature_map, *place))


def test_the_gallery_of_a_layer_against_a_loop_of_captums(model, images):
    """Captum's loop is timed on a sample of the maps, and extrapolated; its search is one plain forward pass."""
    begin = time.perf_counter()
    found = strongest(model, images, LAYER, TOP)
    search = time.perf_counter() - begin
    gallery = Gallery(model, images, found, picture=torch.sigmoid)
    maps = len(list(gallery.tiles(LAYER)))
    ours = time.perf_counter() - begin
    some = torch.randperm(maps, generator=torch.Generator().manual_seed(0))[: SAMPLE // TOP].tolist()
    captum_loop(model, images, found, some[:1])
    begin = time.perf_counter()
    captum_loop(model, images, found, some)
    each = (time.perf_counter() - begin) / (len(some) * TOP)
    begin = time.perf_counter()
    pass_over(model, images, 32)
    theirs = time.perf_counter() - begin + each * maps * TOP
    print(
        f"\n{maps} maps, {maps * TOP} units: ours {ours:.1f} s (search {search:.1f}), "
        f"Captum's loop {theirs:.0f} s (extrapolated, {each * 1000:.0f} ms a unit): {theirs / ours:.1f} times"
    )
    assert theirs / ours >= 8  # the search alone is a forward pass of 500 images, and takes most of ours


class Repeated(Dataset):
    """The photographs, again and again."""

    def __init__(self, count):
        self.data, self.count = Photographs(DATA / "imagenet_sample"), count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return self.data[number % len(self.data)]


class Prepared:
    def __init__(self, count):
        self.count = count

    def __call__(self):
        model, data = squeezenet(), Repeated(self.count)
        strongest(model, data, images=range(16))
        return lambda: strongest(model, data)


def test_memory_does_not_grow_with_the_number_of_images():
    growths = {count: peak_growth(Prepared(count), children=1) for count in (500, 5000)}
    print(f"\ngrowth of the peak in MB, over that of a first block of images: {growths}")
    assert growths[5000] - growths[500] <= 75  # by that much two runs over 500 images may differ, of 1 GB in all
