"""Which models take images one by one, and which images a model takes; for anything else, one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress

from torch import Tensor, nn
from torch.fx import GraphModule

from ..engine.dry_run import DryRunError, dry_run
from ..engine.layers import Layer
from ..errors import InputError, ModelError, reason

__all__ = ["check_batched", "check_takes_images", "not_taken"]


def check_takes_images(model: nn.Module, layers: Sequence[Layer] | None = None) -> None:
    """Refuse a model that needs more than an image, or whose modules do not run.

    Parameters
    ----------
    model : nn.Module
        The model.
    layers : sequence of Layer or None
        The layers that are meant; None for those that will be found.

    Raises
    ------
    ModelError
        Its forward needs further arguments, which the error names; it is a graph in which no module is called.
    """
    if isinstance(model, GraphModule) and (layers is None or any(layer.name for layer in layers)):
        called = {node.target for node in model.graph.nodes if node.op == "call_module"}
        if called <= {"_guards_fn"}:  # torch.export's own
            raise ModelError(
                "expected a model whose layers run, got a graph that calls no module, as torch.export makes it: give "
                "the Module that was exported"
            )
    if model._forward_pre_hooks:  # they may add what is needed
        return
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    except (TypeError, ValueError):  # it has none that could be read
        return
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in variadic]
    if needed:
        raise ModelError(
            f"expected a model that needs an image only, got one that needs {', '.join(map(repr, needed))} too: wrap "
            "it in a Module that fills this in; NeuronZFDeconv takes several inputs and additional_forward_args"
        )


def check_batched(model: nn.Module, image: Tensor) -> None:
    """Refuse a single image without a batch, whose rows have been taken for images (C, L), where a model takes it.

    Parameters
    ----------
    model : nn.Module
        It does not run without values on several such images.
    image : Tensor
        (C, *axes).

    Raises
    ------
    InputError
        The model runs without values on one row, as an image without a batch, and on a batch of that.
    """
    if image.dim() != 2:
        return
    with suppress(DryRunError):
        dry_run(model, [image[None]])
        dry_run(model, [image[None, None]])
        raise InputError(
            f"expected images as a batch (N, C, H, W), got rows of shape {tuple(image.shape)}, which the model takes "
            "for an image without a batch: give a batch of one, (1, C, H, W)"
        )


def not_taken(shape: Sequence[int], error: Exception) -> InputError:
    """Return the error for a model that does not take images of a shape (C, *axes), with what may be meant instead."""
    hints = {
        2: "; one image alone is given as a batch of one, (1, C, H, W)",
        4: "; each image is one (C, H, W), and several inputs of a model are for NeuronZFDeconv",
    }
    return InputError(
        f"the model does not take an image of shape {tuple(shape)}: {reason(error)}{hints.get(len(shape), '')}"
    )
