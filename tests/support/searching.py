"""The search a second time, by brute force: all activations of all images are kept, and sorted."""

import numpy as np
import torch


class Keeper:
    """A forward hook that keeps all that one call of a layer gives."""

    def __init__(self, call):
        self.call, self.runs, self.outputs = call, 0, []

    def __call__(self, module, args, output):
        self.runs += 1
        if self.runs == self.call:
            self.outputs.append(output.detach().clone())


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
    return {layer: best_of(torch.cat(keeper.outputs).double().numpy(), k) for layer, keeper in keepers.items()}


def best_of(outputs, k):
    """Sort by value, then by image, then in reading order."""
    best = []
    for planes in outputs.swapaxes(0, 1):
        places = [np.unravel_index(int(plane.argmax()), plane.shape) for plane in planes]
        found = [(float(plane[place]), image) for image, (plane, place) in enumerate(zip(planes, places, strict=True))]
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        best.append([(value, image, tuple(map(int, places[image]))) for value, image in found[:k]])
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
