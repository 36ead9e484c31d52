"""Maps that are zero: what methods say of signals that die, for all images of a comparison, once for each method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.base import SINGLE_UNIT
from ..engine.diagnosis import first_few
from ..engine.restore import collect_dead_signals
from ..engine.undo import Undo
from ..errors import DeadSignalWarning
from .methods import Method, starts_at_unit
from .similarity import is_zero

__all__ = ["MethodResult", "dead_signals", "explained"]

ZERO = "zero everywhere"


@dataclass
class MethodResult:
    """Maps of one method, and what it said of signals that died.

    Parameters
    ----------
    maps : Tensor
        (N, C, ...) or (N, 1, ...).
    units : tuple or None
        Layer, and positions (N, axes) of its units, where single units are explained.
    died : dict of str to list of int
        The images whose signals died, by where they did; their maps are zero.
    advice : str
        What the method advises for them.
    further : list of str
        What it said of no particular image.
    """

    maps: Tensor
    units: tuple[str, Tensor] | None = None
    died: dict[str, list[int]] = field(default_factory=dict)
    advice: str = ""
    further: list[str] = field(default_factory=list)

    @property
    def zero_reasons(self) -> dict[int, str]:
        """Why maps are zero, by the number of the image."""
        known = {image: caption for caption, images in self.died.items() for image in images}
        return {image: known.get(image, ZERO) for image in is_zero(self.maps).nonzero().flatten().tolist()}


def explained(
    method: Method, model: nn.Module, inputs: Tensor, target: Tensor | None, others: tuple[Any, ...]
) -> MethodResult:
    """Explain images by a method; its arguments are those of :class:`Method`.

    A warning counts examples of one call of ``attribute``. Those are the images of a batch, unless the method makes
    other calls, as a ``NoiseTunnel`` or a function does: then its examples are others in number, or their maps live.
    """
    found = MethodResult(torch.empty(0))
    parts = []
    undo = Undo()
    with undo, undo:
        heard = collect_dead_signals(undo)
        for rows, part in method.in_batches(model, inputs, target, others):
            parts.append(part)
            zero = is_zero(part.maps).tolist()
            for warning in heard:
                examples = [example for some in warning.where.values() for example in some]
                if examples and warning.count == len(zero) and all(zero[example] for example in examples):
                    found.advice = warning.advice
                    for caption, some in warning.where.items():
                        found.died.setdefault(caption, []).extend(rows.start + example for example in some)
                elif str(warning) not in found.further:
                    found.further.append(str(warning))
            heard.clear()
    found.maps = torch.cat([part.maps for part in parts])
    positions = [part.positions for part in parts if part.positions is not None]
    if len(positions) == len(parts):
        found.units = parts[0].layer, torch.cat(positions)
    return found


def dead_signals(methods: Sequence[Method], found: Mapping[str, MethodResult]) -> Iterator[DeadSignalWarning]:
    """Yield a warning for each method whose signals died.

    Parameters
    ----------
    methods : sequence of Method
        All methods of a comparison.
    found : mapping of str to MethodResult
        What they found by label, of those that succeeded.
    """
    units = {
        method.label: found[method.label] for method in methods if starts_at_unit(method) and method.label in found
    }
    for label, each in found.items():
        said = [_sentence(each, units)] if each.died else []
        said += each.further[:1]
        if len(each.further) > 1:
            said.append(f"(And {len(each.further) - 1} more.)")
        if said:
            yield DeadSignalWarning(f"{label}: {' '.join(said)}", each.died, len(each.maps), each.advice)


def _sentence(each: MethodResult, units: Mapping[str, MethodResult]) -> str:
    dead = sorted(image for images in each.died.values() for image in images)
    where = list(each.died)
    if len(where) > 1:
        where = [f"{caption} ({first_few(images)})" for caption, images in each.died.items()]
    advice = each.advice
    if advice == SINGLE_UNIT:  # which another method of the comparison may follow
        alive = [label for label, unit in units.items() if not is_zero(unit.maps)[dead].all()]
        advice = f"Look at {alive[0]} instead." if alive else advice
    return (
        f"the signal died for {len(dead)} of {len(each.maps)} images ({first_few(dead)}), their maps are zero: "
        f"{'; '.join(where)}. {advice}"
    )
