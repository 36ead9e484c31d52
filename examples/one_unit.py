"""What made one unit of a feature map answer? The paper's three steps by hand, down to the pixels.

Zeiler and Fergus, section 2.1: "To examine a given convnet activation, we set all other activations in the layer to
zero and pass the feature maps as input to the attached deconvnet layer. Then we successively (i) unpool, (ii) rectify
and (iii) filter to reconstruct the activity in the layer beneath that gave rise to the chosen activation. This is then
repeated until input pixel space is reached."

Here: the strongest unit of feature map 41 of the embedded network's third rectified layer, `features.9`. At the end the
same in one line, and the difference.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv_attr import NeuronZFDeconv, project
from deconv_attr.demo import CLASS_NAMES, Shapes, load_model, normalise

LAYER, MAP = 9, 41


# ------------------------------------------------------------------------------------------ the three steps


def unpool(signal: Tensor, switches: Tensor, size: torch.Size) -> Tensor:
    """Put each value back where its window had its maximum, and zeros everywhere else.

    The windows are 3x3 and 2 apart, so they overlap, and one place can be the maximum of up to four. Its values add:
    `F.max_unpool2d` would keep one of them, and that may be a zero.
    """
    below = signal.new_zeros(size).flatten(2)
    return below.scatter_add(2, switches.flatten(2), signal.flatten(2)).view(size)


def rectify(signal: Tensor) -> Tensor:
    """Keep what is positive of the signal itself; which units were active on the way up plays no part."""
    return signal.clamp(min=0)


def filter_down(signal: Tensor, conv: nn.Conv2d, size: torch.Size) -> Tensor:
    """Spread each value by its filter and add up: the transposed filters, no bias.

    A stride leaves open which size it came from, so the size below has to be said.
    """
    smallest = F.conv_transpose2d(signal, conv.weight, None, conv.stride, conv.padding)
    missing = [n - m for n, m in zip(size[2:], smallest.shape[2:], strict=True)]
    return F.conv_transpose2d(signal, conv.weight, None, conv.stride, conv.padding, missing)


# ------------------------------------------------------------------------------------------ up, start, down


class Call(NamedTuple):
    """A layer as it ran on the way up, and all that the way down needs to know of it."""

    name: str
    layer: nn.Module
    size: torch.Size
    """Of what went in."""
    switches: Tensor | None
    """Of a max-pool: the place of each window's maximum, a number from 0 to H W - 1."""


class Step(NamedTuple):
    """The signal below one layer."""

    name: str
    what: str
    signal: Tensor


def up(layers: nn.Sequential, x: Tensor) -> tuple[Tensor, list[Call]]:
    """Run the layers; give what comes out, and the calls."""
    calls = []
    for number, layer in enumerate(layers):
        size, switches = x.shape, None
        if isinstance(layer, nn.MaxPool2d):
            window = layer.kernel_size, layer.stride, layer.padding
            x, switches = F.max_pool2d(x, *window, return_indices=True)
        else:
            x = layer(x)
        calls.append(Call(f"features.{number}", layer, size, switches))
    return x, calls


def only_the_strongest(feature_maps: Tensor, number: int) -> Tensor:
    """Set all activations to zero but the largest of one map."""
    start = torch.zeros_like(feature_maps)
    place = feature_maps[0, number].argmax()
    start[0, number].view(-1)[place] = feature_maps[0, number].view(-1)[place]
    return start


def down(signal: Tensor, calls: list[Call]) -> list[Step]:
    """Send the signal back through the calls, the last first."""
    steps = []
    for name, layer, size, switches in reversed(calls):
        if isinstance(layer, nn.MaxPool2d) and switches is not None:
            signal, what = unpool(signal, switches, size), "unpool"
        elif isinstance(layer, nn.ReLU):
            signal, what = rectify(signal), "rectify"
        elif isinstance(layer, nn.Conv2d):
            signal, what = filter_down(signal, layer, size), "filter"
        elif isinstance(layer, nn.LocalResponseNorm):
            what = "pass on"  # no contrast normalisation on the way down
        else:
            raise NotImplementedError(f"{name}: no rule for {type(layer).__name__}")
        steps.append(Step(name, what, signal))
    return steps


# ------------------------------------------------------------------------------------------ the account


class Account(NamedTuple):
    """What the example found."""

    activation: float
    start: Tensor
    steps: list[Step]
    by_hand: Tensor
    """The projection, (1, 3, 96, 96)."""
    in_one_line: Tensor
    from_project: Tensor


@torch.no_grad()
def main() -> Account:
    """Project one unit by hand, tell what happens at each step, and compare with the library."""
    model = load_model()
    image, label = Shapes(1, seed=7)[0]
    x = normalise(image)[None]

    feature_maps, calls = up(model.features[: LAYER + 1], x)
    start = only_the_strongest(feature_maps, MAP)
    steps = down(start, calls)
    by_hand = steps[-1].signal

    _, _, row, column = start.nonzero()[0].tolist()
    activation = start.max().item()
    print(
        f"A {CLASS_NAMES[label]}. The strongest unit of map {MAP} of features.{LAYER} is at ({row}, {column}), with an"
    )
    print(
        f"activation of {activation:.3f}. All {start.numel() - 1:,} others are set to zero, and this one goes down:\n"
    )
    print(f"  {'layer':12}{'step':10}{'signal below':>14}{'not zero':>10}{'lowest':>9}{'highest':>9}")
    print(line("", "start", start))
    for step in steps:
        print(line(*step))
    print(f"\n{REMARKS}")

    in_one_line = NeuronZFDeconv(model, f"features.{LAYER}").attribute(x, MAP, start="activation")
    from_project = project(model, x, f"features.{LAYER}", [(0, MAP)]).full(0)[None]
    largest = by_hand.abs().max()
    print(f"The projection reaches {largest:.4f}. The same in one line, and the largest difference to the way by hand:")
    print(f"  NeuronZFDeconv(model, 'features.9').attribute(x, {MAP}, start='activation')  ", end="")
    print(f"{(in_one_line - by_hand).abs().max():.0e}")
    print(f"  project(model, x, 'features.9', [(0, {MAP})]).full(0)                        ", end="")
    print(f"{(from_project - by_hand).abs().max():.0e}")
    return Account(activation, start, steps, by_hand, in_one_line, from_project)


def line(name: str, what: str, signal: Tensor) -> str:
    """Write one line of the account."""
    shape = "x".join(str(n) for n in signal.shape[1:])
    low, high = signal.min().item(), signal.max().item()
    return f"  {name:12}{what:10}{shape:>14}{int(signal.count_nonzero()):10,}{low:9.4f}{high:9.4f}"


REMARKS = """Filtering fans out, in the end to the pixels of the unit's receptive field. Unpooling adds up the values
that share a switch, so fewer are left. Rectifying takes what has become negative. Nothing is rectified after the last
filter: the pixels are signed, brighter and darker than grey.
"""


if __name__ == "__main__":
    main()
