"""Runs a max-pool, and reads its switches from the node that autograd made."""

import torch.nn.functional as F

from deconv_attr.rules.switches import switches_of


def pool_with_switches(name, x, *args, **kwargs):
    pooled, _ = getattr(F, f"{name}_with_indices")(x.detach().requires_grad_(), *args, **kwargs)
    return pooled.detach(), switches_of(pooled.grad_fn)
