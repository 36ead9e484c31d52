"""A small chain, an image and a class, on which abilities are shown; and its deconvnet by the oracle."""

import oracle
import torch
from oracle import relative_error
from torch import Tensor, nn

LAYER, UNIT, TARGET = "4", (0, 3, 1), 2
SHAPE = (1, 3, 26, 22)


def chain(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 6 * 5, 3, bias=bias),
    ).eval()


def lower_part(model: nn.Sequential | None = None) -> nn.Sequential:
    return (model or chain())[: int(LAYER) + 1]


def upper_part(model: nn.Sequential) -> nn.Sequential:
    return model[int(LAYER) + 1 :]


def image() -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


def one_hot(scores: Tensor, place: tuple[int, ...] = (TARGET,)) -> Tensor:
    start = torch.zeros_like(scores)
    start[(slice(None), *place)] = 1
    return start


def projection(x: Tensor, place: tuple[int, ...]) -> Tensor:
    """Send 1 from a unit (map, row, column) of the layer down to the pixels."""
    (found,) = oracle.project(lower_part(), (x,), one_hot(lower_part()(x), place))
    assert found.any()
    return found


def gradient_at_the_layer(x: Tensor, targets: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores of the targets, the layer's activations, and the one's gradient by the other."""
    model = chain()
    activations = lower_part(model)(x)
    scores = upper_part(model)(activations)[range(len(x)), targets]
    return scores, activations, torch.autograd.grad(scores.sum(), activations, retain_graph=True)[0]


def same(found: Tensor, expected: Tensor) -> bool:
    return relative_error(found.detach(), expected.detach()) < 1e-5
