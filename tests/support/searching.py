"""The search a second time, by brute force: the strongest activation of each map in each image is kept, and sorted."""

import numpy as np
import torch


class Keeper:
    """A forward hook that keeps, of one call of a layer, lists (N, maps) of (value, position)."""

    def __init__(self, call):
        self.call, self.runs, self.found = call, 0, []

    def __call__(self, module, args, output):
        self.runs += 1
        if self.runs == self.call:
            self.found += [[strongest_of(plane) for plane in image.double().numpy()] for image in output.detach()]


def strongest_of(plane):
    """Return the highest value and its position, in reading order the first."""
    position = np.unravel_index(int(plane.argmax()), plane.shape)
    return float(plane[position]), tuple(map(int, position))


def brute_force(model, images, layers, k, block=16):
    """Return for each layer lists (maps, k) of (value, image, position); a layer is ``name`` or ``name#call``."""
    keepers, handles = {}, []
    for layer in layers:
        name, _, call = layer.partition("#")
        keepers[layer] = Keeper(int(call or 1))
        handles.append(model.get_submodule(name).register_forward_hook(keepers[layer]))
    with torch.no_grad():
        for some in images.tensor_split(max(1, len(images) // block)):
            for keeper in keepers.values():
                keeper.runs = 0
            model(some)
    for handle in handles:
        handle.remove()
    return {layer: best_of(keeper.found, k) for layer, keeper in keepers.items()}


def best_of(found, k):
    """Sort what was found in each map by value, then by image."""
    best = []
    for of_map in zip(*found, strict=True):
        ranked = [(value, image, position) for image, (value, position) in enumerate(of_map)]
        best.append(sorted(ranked, key=lambda each: (-each[0], each[1]))[:k])
    return best


def rows(top):
    """Return a layer's table in the same form, without those of no image."""
    return [
        [(value, image, tuple(place)) for value, image, place in zip(*of_map, strict=True) if image >= 0]
        for of_map in zip(top.values.double().tolist(), top.images.tolist(), top.positions.tolist(), strict=True)
    ]


def same(found, other):
    """Whether two results hold the same arrays, bit for bit."""
    return list(found) == list(other) and all(
        torch.equal(getattr(found[layer], part), getattr(other[layer], part))
        for layer in found
        for part in ("values", "images", "positions")
    )
