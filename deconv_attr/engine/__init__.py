"""Runs a model under a table of rules, or without values: the only chapter that touches a model.

`Coverage` is its report: every call of a forward pass through which a signal goes back, and the rule that it was given.
`coverage` returns it.

## Where the rules are put

On autograd's own graph, as hooks on the nodes that a forward pass has left, once it has ended. So a rule belongs to a
*call*, not to a module: a ReLU may be functional, in place, shared by two branches, or read a tensor that others read
too. These may be part of a model, too: views that are written in place, tensor subclasses, `vmap`, activation
checkpointing (`use_reentrant=False`), parameters that are divided or quantised (DTensor, FSDP2, torchao), your own
backward hooks, other networks.

The deconvnet needs the filters and the switches only. So what autograd keeps of calls with large results is packed: of
a convolution's input the shape, of a ReLU's output nothing, of a max-pool's indices a byte each where it fits.

## What a call leaves behind

Nothing. After any exit, an error or Ctrl-C included, these are as they were: the model, its hooks, flags and
statistics, what it keeps in attributes, lists and dicts, and your tensors.

Other threads may use the model meanwhile, with three exceptions:

- While a thread randomises the model's weights (`parameter_randomisation`, or the check of that name), it is an error
  to explain that model in another thread.
- `compare` puts eval mode, and the hooks of other methods, on the model itself: no other thread should use that model
  meanwhile. Comparisons in several threads follow one another.
- `copy.deepcopy(model)` may meet a hook just as it is taken off. It raises Python's "mutated during iteration" then,
  and works when it is called again.
"""

from .coverage import Call, Coverage

__all__ = ["Call", "Coverage"]
