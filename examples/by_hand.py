"""The same map as in one_call.py, by hand: up through the network, then down, one operation after the other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv_attr.demo import Shapes, load_model, normalise


def down(module: nn.Module, x: Tensor, signal: Tensor, switches: Tensor | None) -> Tensor:
    """Send a signal from a module's output to its input x."""
    if isinstance(module, nn.Conv2d):  # filtering: the transposed filters, no bias
        smallest = F.conv_transpose2d(signal, module.weight, None, module.stride, module.padding)
        missing = [n - m for n, m in zip(x.shape[2:], smallest.shape[2:], strict=True)]
        return F.conv_transpose2d(signal, module.weight, None, module.stride, module.padding, missing)
    if isinstance(module, nn.Linear):
        return signal @ module.weight
    if isinstance(module, nn.ReLU):  # rectification: of the signal itself
        return signal.clamp(min=0)
    if isinstance(module, nn.MaxPool2d):  # unpooling: each value at its switch; windows overlap, so they add
        assert switches is not None
        below = torch.zeros_like(x).flatten(2)
        return below.scatter_add(2, switches.flatten(2), signal.flatten(2)).view_as(x)
    if isinstance(module, (nn.LocalResponseNorm, nn.Dropout)):  # no contrast normalisation on the way down
        return signal
    if isinstance(module, nn.Flatten):
        return signal.view_as(x)
    raise NotImplementedError(type(module).__name__)


@torch.no_grad()
def main() -> Tensor:
    """Give the map (1, 3, 96, 96) of the top class."""
    model = load_model()
    image, _ = Shapes(1, seed=7)[0]
    path = []
    x = normalise(image)[None]
    for module in (*model.features, nn.Flatten(), *model.classifier):
        switches = None
        if isinstance(module, nn.MaxPool2d):
            window = module.kernel_size, module.stride, module.padding
            y, switches = F.max_pool2d(x, *window, ceil_mode=module.ceil_mode, return_indices=True)
        else:
            y = module(x.clone())
        path.append((module, x, switches))
        x = y
    signal = F.one_hot(x.argmax(1), x.shape[1]).to(x)  # 1 at the top class, 0 elsewhere
    for module, x, switches in reversed(path):
        signal = down(module, x, signal, switches)
    print(f"the map reaches {signal.abs().max():.3f}")
    return signal


if __name__ == "__main__":
    main()
