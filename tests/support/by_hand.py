"""A network small enough that its maps can be written down, by the methods of the literature."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ByHand(nn.Module):
    """Convolution, rectifier, linear; (N, 3, 6, 6) to (N, 5). Spelled with a module or without."""

    def __init__(self, functional: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3).double()
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(4 * 4 * 4, 5).double()
        self.functional = functional
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = F.relu(x) if self.functional else self.relu(x)
        return self.linear(x.flatten(1))

    def by_hand(self, inputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the maps as transposed filters of the rectified, masked and whole signal."""
        signal = self.linear.weight[target].reshape(-1, 4, 4, 4)
        lit = self.conv(inputs) > 0
        below = {
            "ZFDeconv": signal.clamp(min=0),
            "Guided backprop": signal.clamp(min=0) * lit,
            "Saliency": signal * lit,
        }
        return {title: F.conv_transpose2d(signal, self.conv.weight).detach() for title, signal in below.items()}
