"""What belongs to the caller during a forward pass: the model's tensors, and the arguments beside the inputs.

They are read, never written, and the signal does not go to them. Batch-norm statistics move on a copy that
lives as long as the pass; a parameter takes part as its bare data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from .operations import tensors_in

__all__ = ["Belongings"]


class Belongings:
    """Copy-on-write for the caller's tensors.

    Parameters
    ----------
    model : nn.Module
        All tensors of its modules: parameters, buffers, plain attributes.
    others : tuple
        Further arguments of the model.
    carries : callable
        Whether a tensor carries the signal. One that requires grad and does not is a parameter, or comes from
        a computation of the caller's.
    """

    def __init__(self, model: nn.Module, others: tuple[Any, ...], carries: Callable[[Tensor], bool]) -> None:
        held = [
            (module._parameters, module._buffers, [v for k, v in vars(module).items() if not k.startswith("_")])
            for module in model.modules()
        ]
        self._owned = {id(tensor): tensor for tensor in tensors_in((held, others))}
        self._copies: dict[int, Tensor] = {}
        self._carries = carries

    def protect(self, written: Iterable[Tensor]) -> None:
        """Make copies of those tensors, about to be written, that are the caller's."""
        for tensor in written:
            if id(tensor) in self._owned and id(tensor) not in self._copies:
                self._copies[id(tensor)] = tensor.detach().clone()

    def stand_in(self, value: Any) -> Any:
        """Replace, inside lists, tuples and dicts too, written tensors by their copies and parameters by their data."""
        if isinstance(value, Tensor):
            if value.is_inference():  # autograd would refuse to keep it
                self.protect([value])
            copy = self._copies.get(id(value))
            if copy is not None:
                return copy
            return value.detach() if value.requires_grad and not self._carries(value) else value
        if type(value) in (list, tuple):
            return type(value)(self.stand_in(item) for item in value)
        if type(value) is dict:
            return {key: self.stand_in(item) for key, item in value.items()}
        return value

    def original(self, result: Any) -> Any:
        """Give back the caller's tensor where an in-place call returned its copy."""
        for identity, copy in self._copies.items():
            if result is copy:
                return self._owned[identity]
        return result
