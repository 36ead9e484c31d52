"""Every node that torch's autograd can make is in the table, or is unknown for a reason."""

import re

import pytest
import torch

from deconv_attr.rules.identify import _canonical
from deconv_attr.rules.operations import is_listed

WRITTEN_FOR = "2.14"  # other versions of torch have other nodes
RIGHTLY_UNKNOWN = {  # patterns of canonical names, by the reason
    "the derivative of another operation, as a model that takes gradients inside of itself has it": """
        .*_backward .*_backward_data .*_backward_overrideable .*_grad""",
    "of nested tensors: their examples have different shapes, and a signal of one shape has no meaning": """
        .*AutogradNestedTensor.* nested_.* to_padded_tensor""",
    "rectifiers inside of one kernel, which no rule reaches": "multi_margin_loss multilabel_margin_loss",
    "its maximum with an initial value would be a rectifier that no rule reaches": "segment_reduce",
    "its mode may be a ReLU; and cuDNN sends no gradient in eval mode": "rnn",
    "its mask, which may be the sign of activations, is sparse: it cannot be looked at": "sparse_mask",
    "autograd has no derivative": "geqrf unique.*",
    "autograd's derivative is wrong: it keeps what has been overwritten": "as_strided_scatter",
    "it writes into its observers, unseen": "fused_moving_avg_obs_fq_helper",
    "it writes into a table of weights": "embedding_renorm",
    "it looks for the next number in memory": "nextafter",
    "of optimizers: many tensors at once, of which one may be the signal": "foreach_.*",
    "of torch's own tests": "test_.* TestAutograd.*",
    "of torch's own machinery, over several machines or for errors": "SendRpcBackward UndefinedGradBackward",
}


def nodes_of_torch():
    """The canonical names of all of autograd's nodes that are written in C++."""
    return {_canonical(name): name for name in dir(torch._C._functions) if "Backward" in name}


def reason_for(name):
    """Why an operation is unknown; None if nobody says so."""
    return next(
        (why for why, names in RIGHTLY_UNKNOWN.items() if any(re.fullmatch(each, name) for each in names.split())), None
    )


def test_every_node_of_torch_is_listed_or_rightly_unknown():
    gaps = [name for name in nodes_of_torch() if not is_listed(name) and reason_for(name) is None]
    print(f"{len(gaps)} of {len(nodes_of_torch())} kinds of nodes are unknown without a reason: {' '.join(gaps)}")
    if gaps and not torch.__version__.startswith(WRITTEN_FOR):
        pytest.skip(f"torch {torch.__version__} has other nodes: {' '.join(gaps)}")
    assert gaps == []


def test_no_reason_is_given_for_what_is_listed():
    both = [name for name in nodes_of_torch() if is_listed(name) and reason_for(name) is not None]
    assert both == ["unfold_backward"]  # of which torch.istft is made


def test_a_copy_of_a_view_is_the_view():
    named = {_canonical(name): _canonical(f"{name}_copy") for name in ("ViewBackward0", "SliceBackward0", "TBackward0")}
    assert named == {"view": "view", "getitem": "getitem", "t": "t"}
