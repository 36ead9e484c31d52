"""What is known of each PyTorch operation, and how a signal goes back through it.

The forward pass runs as it is. Then a signal starts at one score and goes back through each operation by a rule:

| forward | back | remark |
|---|---|---|
| convolution | *filtering*: the transposed filters, no bias | the adjoint, not the inverse |
| ReLU | *rectification*: max(signal, 0) | the forward mask plays no part |
| max-pool | *unpooling*: each value to its recorded switch | where windows overlap, the values add |
| batch norm | the signal times gamma / sqrt(var + eps) | as if folded into the filters |
| local response normalisation | the signal unchanged | |
| everything else that is linear | its adjoint | |
| gates and heads: sigmoid, softmax, layer norm, attention | their gradient | |
| steps: floor, round | their gradient, which is zero | a coverage report says so |

An activation that is no rectifier, and an operation that is not listed, have no rule: they are errors (see
`deconv_attr.errors`).

## Other tables

The rules are one table, `DECONVNET`; `GUIDED_BACKPROP`, `DESALINET` and `GRADIENT` are three more over the same engine.
`TABLES` has all four by their names in the literature.

A table is a mapping. Its keys are kinds of operations (`Kind`), or single operations by the name that a coverage report
gives them; a name comes before a kind. Before both come modules, by name, by type, or themselves; of several that match
the first counts. The rule of a module stands for all that runs inside of it.

```python
from torch import nn

from deconv_attr import DECONVNET, GUIDED_BACKPROP, Rule, ZFDeconv
from deconv_attr.demo import embedded_images, load_model, normalise
from deconv_attr.rules import GRADIENT_RULE, RECTIFY

model = load_model()
x = normalise(embedded_images(2)[0])  # (2, 3, 96, 96)

ZFDeconv(model, rules=GUIDED_BACKPROP).attribute(x, target=0)

halved = Rule("halved", lambda signal, kept: signal / 2)  # from the signal above to the one below
ZFDeconv(model, rules={**DECONVNET, "relu": halved}).attribute(x, target=0)

ZFDeconv(model, rules={**DECONVNET, "features.3": RECTIFY, nn.PReLU: GRADIENT_RULE}).attribute(x, target=0)
```

A rule that needs something of the forward call says so by `keep`, see `Rule` and `Forward`. The four words
`activations`, `unknown`, `batch_norm` and `overlap`, which every method takes, replace single entries of its table.

## Operations of your own

`register_operation("my_ns::op", kind=Kind.LINEAR)` adds an operation of `torch.library`, or a custom
`autograd.Function` by the name of its node, for all models.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1; Springenberg
et al., "Striving for Simplicity", 2015; Mahendran and Vedaldi, "Salient Deconvolutional Networks", ECCV 2016.
"""

from .backward import ADJOINT, GRADIENT_RULE, GUIDE, PASS_THROUGH, RECTIFY, SCALE, Forward, Rule, unpooling
from .kinds import Kind, Operation
from .operations import OPERATIONS, register_operation
from .switches import Switches
from .tables import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP, TABLES, Table

__all__ = [
    "ADJOINT",
    "DECONVNET",
    "DESALINET",
    "GRADIENT",
    "GRADIENT_RULE",
    "GUIDE",
    "GUIDED_BACKPROP",
    "OPERATIONS",
    "PASS_THROUGH",
    "RECTIFY",
    "SCALE",
    "TABLES",
    "Forward",
    "Kind",
    "Operation",
    "Rule",
    "Switches",
    "Table",
    "register_operation",
    "unpooling",
]
