"""A miniature of ZFNet, and its embedded weights.

ZFNet's order of operations on 96x96 pixels: every kind of layer that the paper projects through, in
0.2 million weights. As in torchvision's AlexNet, the parts are ``features`` and ``classifier``.

| layer | filters | stride | output |
|---|---|---|---|
| ``features.0`` convolution, ReLU | 16 of 7x7 | 2 | 46x46 |
| ``features.2`` max-pool 3x3, normalisation | | 2 | 23x23 |
| ``features.4`` convolution, ReLU | 48 of 5x5 | 1 | 23x23 |
| ``features.6`` max-pool 3x3, normalisation | | 2 | 12x12 |
| ``features.8``, ``.10``, ``.12`` convolutions, ReLUs | 64, 64, 48 of 3x3 | 1 | 12x12 |
| ``features.14`` max-pool 3x3 | | 2 | 5x5 |
| ``classifier`` linear, ReLU, linear | 64, 8 | | |
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..engine.modes import keep_random_state
from ..engine.undo import Undo
from ..errors import InputError
from .outlines import CLASS_NAMES

__all__ = ["MEAN", "STD", "WEIGHTS", "MiniZFNet", "load_model", "normalise"]

MEAN = (0.5, 0.5, 0.5)
"""Subtracted from the red, green and blue of an image in [0, 1]."""

STD = (0.25, 0.25, 0.25)
"""The divisors of red, green and blue after that."""

WEIGHTS = Path(__file__).with_name("weights.pt")
"""The embedded weights; ``python -m deconv_attr.demo.train`` makes them."""


def normalise(images: Tensor) -> Tensor:
    """Return images in [0, 1], ``(..., 3, H, W)``, as the model's inputs."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std


class MiniZFNet(nn.Module):
    """Scores of the eight shapes, ``(N, 8)``, from normalised images, ``(N, 3, 96, 96)``."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 7, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.LocalResponseNorm(5),
            nn.Conv2d(16, 48, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.LocalResponseNorm(5),
            nn.Conv2d(48, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 48, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(48 * 5 * 5, 64),
            nn.ReLU(),
            nn.Linear(64, len(CLASS_NAMES)),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # torch's own first weights are too small for this depth: training would idle for epochs.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores before the softmax, (N, 8).

        Parameters
        ----------
        images : Tensor
            (N, 3, 96, 96), normalised.
        """
        scores: Tensor = self.classifier(self.features(images))
        return scores


def load_model(path: Path | None = None) -> MiniZFNet:
    """Return a trained model in eval mode, on the CPU.

    Parameters
    ----------
    path : Path, optional
        A file that ``python -m deconv_attr.demo.train`` wrote; by default the embedded weights.

    Raises
    ------
    InputError
        If there is no such file.
    """
    path = WEIGHTS if path is None else path
    if not path.is_file():
        raise InputError(f"expected weights at {path}, got none; python -m deconv_attr.demo.train makes them")
    undo = Undo()
    with undo, undo:
        keep_random_state(torch.device("cpu"), undo)  # from which the first weights are drawn
        model = MiniZFNet()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()
