"""Time where there is little arithmetic, so that what Python does for each call shows: ``python little.py``.

One image, one thread; beside a plain forward pass with autograd's backward, the floor, and beside Captum.
"""

import statistics
from functools import partial

import torch
from measure import in_turns, ratio
from peers import CAPTUM, OURS, TARGET, Case, build, prepare
from torch import Tensor, nn

ROUNDS = 25
CASES = [Case(name, side=32) for name in ("resnet18", "resnet50", "densenet121", "googlenet")]
CASES.append(Case("squeezenet1_0", side=64))
FLOOR = "forward and autograd's backward"


def gradient(model: nn.Module, x: Tensor, target: int) -> Tensor:
    leaf = x.detach().requires_grad_()
    scores = model(leaf)[:, target]
    return torch.autograd.grad(scores, leaf, torch.ones_like(scores))[0]


def times(case: Case, rounds: int = ROUNDS) -> dict[str, list[float]]:
    calls = {method: prepare(case, method) for method in (CAPTUM, OURS)}
    return in_turns({FLOOR: partial(gradient, *build(case), TARGET), **calls}, rounds)


def main() -> None:
    torch.set_num_threads(1)
    for case in CASES:
        found = times(case)
        floor = statistics.median(found[FLOOR]) * 1000
        print(
            f"{case.model}, {case.side}x{case.side}: floor {floor:.0f} ms, ours {ratio(found[OURS], found[FLOOR]):.2f} "
            f"of it, {ratio(found[OURS], found[CAPTUM]):.2f} of Captum's time",
            flush=True,
        )


if __name__ == "__main__":
    main()
