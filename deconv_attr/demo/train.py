"""Train the embedded model: ``python -m deconv_attr.demo.train [--output PATH] [--seed SEED]``.

Eight thousand images are drawn once; every epoch shows each of them flipped and turned by quarters at
random. CPU only, a few minutes on two cores.

The same seed on the same machine and version of torch gives the same weights, bit for bit. Elsewhere convolutions
add in another order, and only the accuracy is the same, to about a percent.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..engine.modes import keep_random_state
from ..engine.undo import Undo
from .outlines import SIZE
from .shapes import Shapes
from .zfnet import WEIGHTS, MiniZFNet, normalise

__all__ = ["accuracy", "main", "train"]

BATCH = 32
PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.5
"""Strong, so that the random first weights fade: left in the filters, they are noise in every map."""
THREADS = 2
"""Sums depend on the number of threads."""
UNSEEN_SEED = 1_000_003
"""The seed of images that no training with a smaller seed has drawn."""


def _be_deterministic(seed: int, undo: Undo) -> None:
    """Seed torch, choose deterministic kernels and a fixed number of threads, until that is undone."""
    keep_random_state(torch.device("cpu"), undo)
    undo.later(partial(torch.set_num_threads, torch.get_num_threads()))
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    undo.later(partial(torch.use_deterministic_algorithms, enabled, warn_only=warn_only))
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def _drawn(shapes: Shapes) -> tuple[Tensor, Tensor]:
    """Return all images as bytes, ``(N, 3, 96, 96)``, and their labels."""
    images = torch.empty(len(shapes), 3, SIZE, SIZE, dtype=torch.uint8)
    labels = torch.empty(len(shapes), dtype=torch.long)
    for index in range(len(shapes)):
        image, label = shapes[index]
        images[index] = image.mul(255).round()
        labels[index] = label
    return images, labels


def _turned(images: Tensor) -> Tensor:
    """Return the batch under a random symmetry of the square, none of which changes a shape's class."""
    quarter_turns, mirrored = divmod(int(torch.randint(8, ())), 2)
    images = images.rot90(quarter_turns, dims=(2, 3))
    return images.flip(3) if mirrored else images


def train(
    images: int = 8_000,
    epochs: int = 9,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> MiniZFNet:
    """Train a model from scratch.

    Parameters
    ----------
    images
        The number of images to draw.
    epochs
        The number of epochs.
    seed
        The seed of the images, the first weights and the order.
    report
        Called with the progress, a line per epoch.

    Returns
    -------
    MiniZFNet
        In eval mode.
    """
    undo = Undo()
    with undo, undo:
        _be_deterministic(seed, undo)
        pictures, labels = _drawn(Shapes(images, seed))
        model = MiniZFNet()
        optimiser = torch.optim.AdamW(model.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
        steps = epochs * -(-images // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.2)
        for epoch in range(epochs):
            loss_sum = 0.0
            order = torch.randperm(images)
            for start in range(0, images, BATCH):
                chosen = order[start : start + BATCH]
                batch = normalise(_turned(pictures[chosen]).float() / 255)
                loss = nn.functional.cross_entropy(model(batch), labels[chosen])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
                loss_sum += loss.item() * len(chosen)
            report(f"epoch {epoch + 1:2d} of {epochs}: loss {loss_sum / images:.4f}")
        return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, shapes: Shapes) -> float:
    """Return the share of images whose highest score is that of their class."""
    images, labels = _drawn(shapes)
    hits = 0
    for start in range(0, len(shapes), 256):
        batch = slice(start, start + 256)
        scores = model(normalise(images[batch].float() / 255))
        hits += int((scores.argmax(1) == labels[batch]).sum())
    return hits / len(shapes)


def main(arguments: list[str] | None = None) -> None:
    """Train, print the accuracy, and write the weights."""
    parser = argparse.ArgumentParser(description="Train the miniature ZFNet on generated shapes.")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="where the weights go (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of images, first weights and order (%(default)s)")
    options = parser.parse_args(arguments)

    model = train(seed=options.seed)
    print(f"accuracy on 2,000 unseen images: {accuracy(model, Shapes(2_000, UNSEEN_SEED)):.1%}")
    torch.save(model.state_dict(), options.output)
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
