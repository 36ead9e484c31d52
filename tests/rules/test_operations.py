"""The table of operations, row by row: what it says of a call is what the call does.

The calls stand in ``tests/support/operation_examples.py``, by the names of their operations.
"""

import math
import warnings
from functools import cache

import oracle
import pytest
import torch
import torch.nn.functional as F
from operation_examples import EXAMPLES, NOT_OFFERED, PAIR, shape_of
from reading import Of
from torch import nn
from torch.overrides import TorchFunctionMode

from deconv_attr import DECONVNET, Kind, ZFDeconv, coverage, receptive_field, register_operation
from deconv_attr.attribution.base import leaves_of
from deconv_attr.engine.dry_run import DryRunError, dry_run
from deconv_attr.engine.signal_path import SignalPath, send
from deconv_attr.errors import InputError, ModelError, RuleError
from deconv_attr.rules import operations
from deconv_attr.rules.arguments import is_in_place, mapped, named_arguments, tensors_in
from deconv_attr.rules.backward import Rule
from deconv_attr.rules.handwritten import factors_of
from deconv_attr.rules.identify import identify, operation_name
from deconv_attr.rules.operations import OPERATIONS, listed_names, row_of
from deconv_attr.rules.reads import pointwise, reads_all
from deconv_attr.rules.tables import choose

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.chain_matmul is deprecated",
    "ignore:There is a performance drop",
    "ignore:index_reduce",
    "ignore:Sparse",
)

HELPERS = {"abs", "add", "coalesce", "div", "flatten", "flip", "matmul", "select", "to_sparse", "view_as_complex"}
HELPERS |= {"zeros_like", "getitem", "T", "float", "sign"}  # that make of the input, or of constants, what a call takes
BY_VALUES = {"masked_select"}  # the shape of the output depends on the values
NOT_DRY = {  # which torch does not run on the meta device
    *("gru, packed", "gru, packed, dropout", "cpu", "pack_padded_sequence", "pad_packed_sequence"),
    *("sparse_mm", "sparse_mm, the largest", "sparse_addmm", "mm, sparse", "mv, sparse", "sparse_sum", "to_dense"),
    *("istft", "gaussian_nll_loss", "ctc_loss", "lstsq", "cov", "corrcoef"),
}
PROBABILITIES = {"binary_cross_entropy", "gaussian_nll_loss"}  # which their arguments are, or variances
OVERWRITES = {"scatter"}  # of whose first argument nothing is left in these examples
OTHERWISE_NAMED = {"where", "copy", "getitem", "setitem"}  # by torch's functions, or not taken by name
FRESH = {"empty_like", "new_empty"}  # whose values are whatever stood in memory
WIDER = {  # why a box may be larger than what is read
    "min, over a dimension": "the least of many is seldom the one at the end",
    "cumsum": "all of a dimension is taken for read",
    **dict.fromkeys(("where", "masked_fill", "pad", "constant_pad_nd"), "a constant in its place reads nothing"),
    **dict.fromkeys(("conj", "angle, gate"), "parts of a complex number read all"),
    **dict.fromkeys(("cat", "stack"), "joined maps read the union, whichever is asked for"),
    "view_as": "rows and columns are one dimension then",
    "interpolate, bicubic": "some of its weights are 0",
    "glu, the last": "all of a dimension is taken for read",
}


def uniform(key, low=-2.0, high=2.0, seed=0):
    """What an example takes, in sixteenths, which half precision keeps."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape_of(key), generator=generator, dtype=torch.float64) * (high - low) + low
    return (values * 16).round() / 16


def evaluate(key, x, seed=1):
    torch.manual_seed(seed)
    return EXAMPLES[key](x.clone())


class Calls(TorchFunctionMode):
    """The calls that read what requires grad, or if there are none, all."""

    def __init__(self):
        super().__init__()
        self.carrying, self.others = [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = operation_name(func), kwargs or {}
        if name is not None:
            carriers = [tensor for tensor in tensors_in((args, kwargs)) if tensor.requires_grad]
            call = identify(name, args, kwargs, carriers), args, kwargs
            (self.carrying if carriers else self.others).append(call)
            if carriers or not self.carrying:
                self.last = func, args, kwargs
        return func(*args, **kwargs)

    @property
    def found(self):
        return self.carrying or self.others


@cache
def calls_of(key):
    x, calls = uniform(key, 0.1, 0.9).requires_grad_().clone(), Calls()
    with warnings.catch_warnings(), calls:
        warnings.simplefilter("ignore")
        EXAMPLES[key](x)
    return calls.found


def last_call(key, x):
    """The example's own call: function, args, kwargs."""
    with Calls() as mode:
        EXAMPLES[key](x)
    return mode.last


def name_of(key):
    return key.split(",")[0]


def of_kind(*kinds):
    return pytest.mark.parametrize("key", [key for key in EXAMPLES if calls_of(key)[-1][0].kind in kinds])


every_example = pytest.mark.parametrize("key", EXAMPLES)


# ---------------------------------------------------------------------------------- the examples


@every_example
def test_an_example_is_the_call_that_it_is_called(key):
    *before, (operation, _, _) = calls_of(key)
    assert operation.name == name_of(key)
    assert operation.kind in row_of(name_of(key)).kinds
    assert {operation.name for operation, _, _ in before} <= HELPERS


def test_every_name_has_an_example():
    assert {name_of(key) for key in EXAMPLES} == {*listed_names()} - {*NOT_OFFERED}
    lacking = [row.names[0] for row in OPERATIONS if {*row.names} <= {*NOT_OFFERED}]
    assert lacking == ["upsample", "pin_memory"]


def test_every_kind_that_a_row_may_be_of_has_an_example():
    seen = {(id(row_of(name_of(key))), calls_of(key)[-1][0].kind) for key in EXAMPLES}
    decided = [(row, kind) for row in OPERATIONS for kind in (row.decision.kinds if row.decision else (row.kind,))]
    lacking = [(row.names[0], kind) for row, kind in decided if (id(row), kind) not in seen]
    assert lacking == [("relu6", Kind.ACTIVATION), ("upsample", Kind.LINEAR), ("pin_memory", Kind.LINEAR)]


def test_the_paper_has_rules_for_these():
    found = {kind: {key for key in EXAMPLES if calls_of(key)[-1][0].kind is kind} for kind in Kind}
    pools = ("max_pool", "adaptive_max_pool", "fractional_max_pool")
    assert found[Kind.RECTIFIER] == {"relu", "relu6", *(key for key in EXAMPLES if key.endswith(", rectifier"))}
    assert found[Kind.MAX_POOL] == {key for key in EXAMPLES if key.startswith(pools)}
    assert found[Kind.BATCH_NORM] == {key for key in EXAMPLES if key.startswith("batch_norm")}
    assert found[Kind.CONTRAST_NORM] == {"local_response_norm"}


@cache
def products_of(key):
    """The constants by which a call multiplies: with x and one of them doubled, it gives more than the double."""
    function, args, kwargs = last_call(key, uniform(key, 0.1, 0.9).requires_grad_().clone())
    carrier = next(tensor for tensor in tensors_in((args, kwargs)) if tensor.requires_grad)

    def at(scale, constant):
        def scaled(value):
            return (value * scale if value is carrier or value is constant else value).detach().clone()

        args_, kwargs_ = mapped(lambda v: scaled(v) if isinstance(v, torch.Tensor) else v, (args, kwargs))
        return tensors_in(function(*args_, **kwargs_))[0]

    def is_product(constant):
        none, once, twice = (at(scale, constant) for scale in (0.0, 1.0, 2.0))
        return not torch.allclose(twice - none, 2 * (once - none))

    constants = [t for t in tensors_in((args, kwargs)) if not t.requires_grad and t.is_floating_point()]
    return carrier, [constant for constant in constants if is_product(constant)], args, kwargs


@of_kind(Kind.LINEAR)
def test_a_product_of_two_signals_is_a_gate(key):
    carrier, products, args, kwargs = products_of(key)
    for constant in products:
        assert identify(name_of(key), args, kwargs, [carrier, constant]).kind is Kind.GATE


def test_what_is_said_to_be_a_product_is_one():
    seen = {
        id(row_of(name_of(key))) for key in EXAMPLES if calls_of(key)[-1][0].kind is Kind.LINEAR and products_of(key)[1]
    }
    assert [row.names[0] for row in OPERATIONS if row.either and id(row) not in seen] == []


@every_example
def test_arguments_have_the_names_by_which_a_call_takes_them(key):
    function, args, kwargs = last_call(key, uniform(key, 0.1, 0.9))
    given = named_arguments(function, name_of(key), args, kwargs)
    if len(given) < len(args) + len(kwargs):  # not all of them have one
        assert name_of(key) in ("max", "min") or calls_of(key)[-1][0].kind in (
            Kind.LINEAR,
            Kind.GATE,
            Kind.CONSTANT,
            Kind.UNKNOWN,
        )
        return
    if name_of(key) in OTHERWISE_NAMED:
        return
    results = []
    for first, named in ((args, kwargs), (args[:1], {k: v for k, v in given.items() if k != "input" or not args})):
        torch.manual_seed(0)
        args_, kwargs_ = mapped(lambda v: v.detach().clone() if isinstance(v, torch.Tensor) else v, (first, named))
        results.append(tensors_in(function(*args_, **kwargs_)))
    assert name_of(key) in FRESH or all(map(torch.equal, *map(numbers, results)))


def numbers(results):
    return [result.nan_to_num() for result in results]


# ---------------------------------------------------------------------------------- kind: the signal


def sent(key, x, rules=DECONVNET, unit=False, function=None, **options):
    """A signal for an example's output, and what becomes of it at the input."""
    net = Of(function or EXAMPLES[key])
    path, leaves = SignalPath(net, rules, **options), leaves_of([x])
    torch.manual_seed(1)
    with path, path:
        output = path.run(net, leaves, whole=False)
        signal = uniform_like(output, unit)
        return signal, send(output, leaves, signal)[0]


def uniform_like(output, unit=False):
    generator = torch.Generator().manual_seed(3)
    signal = (torch.randn(output.shape, generator=generator) * 16).round() / 16
    if unit:
        mask = torch.zeros(output.numel())
        mask[output.numel() // 2] = 1
        signal = mask.view_as(signal) * (signal.abs() + 1)
    return signal.to(output.dtype)


@of_kind(Kind.LINEAR)
def test_what_a_linear_operation_sends_is_its_adjoint(key):
    x = uniform(key)
    signal, below = sent(key, x)
    change = evaluate(key, x) - evaluate(key, torch.zeros_like(x))
    expected = (change.double() if change.is_floating_point() else change).mul(signal.conj()).real.sum()
    torch.testing.assert_close((x * below).sum(), expected.double(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("key", [key for key in EXAMPLES if row_of(name_of(key)).adjoint is not None])
def test_the_signal_of_a_single_unit_is_the_same_by_the_column_adjoint(key):
    signal, narrow = sent(key, uniform(key), unit=True, narrow=True)
    _, whole = sent(key, uniform(key), unit=True)
    assert signal.count_nonzero() == 1
    assert whole.any()
    torch.testing.assert_close(narrow, whole, rtol=1e-12, atol=1e-12)


@of_kind(Kind.RECTIFIER)
def test_a_rectifier_rectifies_the_signal_and_nothing_else(key):
    signal, below = sent(key, uniform(key))
    assert torch.equal(below, signal.clamp(min=0))


@of_kind(Kind.MAX_POOL)
def test_a_max_pool_sends_to_its_switches(key):
    x = uniform(key)
    signal, below = sent(key, x)
    if name_of(key).startswith("fractional"):  # at random windows
        pool = getattr(F, name_of(key))
        torch.manual_seed(1)
        _, at = pool(x, 2, output_ratio=(0.7,) * (x.dim() - 2), return_indices=True)
        expected = torch.zeros_like(x).flatten(2).scatter_add(2, at.flatten(2), signal.flatten(2)).view_as(x)
    else:
        (expected,) = oracle.project(Of(EXAMPLES[key]), (x,), signal)
    torch.testing.assert_close(below, expected, rtol=1e-12, atol=1e-12)


@of_kind(Kind.BATCH_NORM)
def test_a_batch_norm_scales(key):
    if "training" in key:
        signal, below = sent(key, x := uniform(key))
        factor = PAIR / (x.var((0, 2, 3), correction=0) + 1e-5).sqrt()
    else:
        signal, below = sent(key, uniform(key))
        factor = PAIR / (PAIR + 1e-5).sqrt()
    torch.testing.assert_close(below, signal * factor[:, None, None], rtol=1e-12, atol=1e-12)


@of_kind(Kind.CONTRAST_NORM)
def test_a_contrast_normalisation_passes_the_signal(key):
    signal, below = sent(key, uniform(key))
    assert torch.equal(below, signal)


@of_kind(Kind.GATE)
def test_a_gate_sends_the_gradient(key):
    x = uniform(key, 0.1, 0.9)
    signal, below = sent(key, x)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(evaluate(key, leaf), leaf, signal)
    assert below.any()
    torch.testing.assert_close(below, expected, rtol=1e-12, atol=1e-12)


@of_kind(Kind.GATE)
def test_a_gate_is_not_linear(key):
    x, y = uniform(key), uniform(key, seed=1)
    parts = [evaluate(key, each) for each in (x + y, torch.zeros_like(x), x, y)]
    assert not torch.allclose(parts[0] + parts[1], parts[2] + parts[3])


@of_kind(Kind.STEP)
def test_a_step_sends_zeros_and_the_report_says_so(key):
    x = uniform(key, 0.1, 0.9)
    net = Of(lambda x: x + EXAMPLES[key](x.clone()))
    signal, below = sent(key, x, function=net)
    assert torch.equal(below, signal)
    found = [(call.kind, call.rule) for call in coverage(net, x) if call.operation == name_of(key)]
    assert found == [(Kind.STEP, "zero gradient")]


@of_kind(Kind.ACTIVATION, Kind.UNKNOWN)
def test_what_the_paper_has_no_rule_for_is_refused_by_name(key):
    with pytest.raises(RuleError, match=rf"^no rule for '{name_of(key)}' in the model itself"):
        sent(key, uniform(key))


@of_kind(Kind.MASK)
def test_a_mask_is_no_way_around(key):
    path, leaves = SignalPath(Of(lambda x: x * EXAMPLES[key](x)), DECONVNET), leaves_of([uniform(key)])
    with path, path, pytest.raises(RuleError, match=rf"rectifier written by hand|no rule for '{name_of(key)}'"):
        path.run(Of(lambda x: x * EXAMPLES[key](x)), leaves, whole=False)


@of_kind(Kind.CONSTANT)
def test_a_constant_carries_no_signal(key):
    x = uniform(key, 0.1, 0.9)
    with pytest.raises((ModelError, RuleError), match=rf"output does not depend|no rule for '{name_of(key)}'"):
        sent(key, x)
    try:
        _, below = sent(key, x, choose(DECONVNET, nn.Identity(), unknown="gradient"))
    except ModelError:
        return
    assert not below.any()


# ---------------------------------------------------------------------------------- shape, reads


@every_example
def test_a_dry_run_has_the_shape_and_the_type_of_the_output(key):
    x = uniform(key, 0.1, 0.9)
    if key in {*BY_VALUES, *NOT_DRY}:
        with pytest.raises(DryRunError):
            dry_run(Of(EXAMPLES[key]), [x])
        return
    output = evaluate(key, x)
    for reach in (False, True):
        run = dry_run(Of(EXAMPLES[key]), [x], reach=reach)[-1]
        assert (run.shape, run.dtype, run.dry) == (tuple(output.shape), output.dtype, True)


def influences(key, seed):
    """Which elements of the input each element of the output follows, at a random point: (elements, *input)."""
    leaf = uniform(key, seed=seed).requires_grad_()
    output = evaluate(key, leaf, seed)
    units = torch.eye(output.numel(), dtype=output.dtype).view(-1, *output.shape)
    try:
        (found,) = torch.autograd.grad(output, leaf, units, is_grads_batched=True, retain_graph=True)
    except RuntimeError:  # a backward that cannot be batched
        found = torch.stack([torch.autograd.grad(output, leaf, unit, retain_graph=True)[0] for unit in units])
    return found.nan_to_num() != 0


def hull(read, axis):
    """The first and the last position along an axis of the input; inf and -inf where nothing is read."""
    lines = read.movedim(axis, 1).flatten(2).any(2)
    position = torch.arange(lines.shape[1], dtype=torch.float64)
    return torch.where(lines, position, math.inf).amin(1), torch.where(lines, position, -math.inf).amax(1)


def reported(extent, shape):
    first, last = extent.bounds[:2].expand(2, *shape).flatten(1)
    return -first, last


DIFFERENTIABLE = [
    key
    for key in EXAMPLES
    if calls_of(key)[-1][0].kind not in (Kind.MASK, Kind.CONSTANT, Kind.STEP) and key not in {*BY_VALUES, *NOT_DRY}
]


@pytest.mark.parametrize("key", DIFFERENTIABLE)
def test_reads_is_what_the_gradients_reach(key):
    """At each of many points within it, and unless the row knows nothing, all together no less."""
    run = dry_run(Of(EXAMPLES[key]), [uniform(key)], reach=True)[-1]
    if not run.shape:  # a single number for all examples
        assert run.mixed
        return
    tight = row_of(name_of(key)).reads is not reads_all and key not in WIDER
    read = torch.tensor(False)
    for seed in range(20):
        read = read | influences(key, seed)
        # A dry run's batch has a size that no other dimension has: only then do shapes tell rows apart.
        assert run.mixed or key in ("T", "t") or not reads_other_rows(read, run.shape)
        boxes = [(hull(read, 3 + axis), reported(extent, run.shape)) for axis, extent in enumerate(run.reach.extents)]
        assert all((box[0] <= found[0]).all() and (found[1] <= box[1]).all() for found, box in boxes)
        equal = all(torch.equal(*pair) for found, box in boxes for pair in zip(found, box, strict=True))
        if equal:
            break
    assert equal or not tight


def reads_other_rows(read, shape):
    rows = read.view(shape[0], -1, *read.shape[1:]).transpose(1, 2).flatten(3).any(3).any(2)
    return bool(rows[~torch.eye(len(rows), dtype=torch.bool)].any())


# ---------------------------------------------------------------------------------- values, random


@every_example
def test_values_are_whose_values_a_call_reads(key):
    # Many arguments of constants are probabilities.
    is_constant = calls_of(key)[-1][0].kind is Kind.CONSTANT or key in PROBABILITIES
    function, args, kwargs = last_call(key, uniform(key, 0.1, 0.9) if is_constant else uniform(key))
    name, tensors = name_of(key), tensors_in((args, kwargs))
    said = {"all": tensors, "first": tensors[:1], "rest": tensors[1:]}[row_of(name).values]

    def results(changed=None):
        def value(tensor):
            if tensor is changed:
                tensor = (1.0 if is_constant else -0.1) - tensor.flip(*range(tensor.dim()))
            return tensor.detach().clone()

        torch.manual_seed(0)
        args_, kwargs_ = mapped(lambda v: value(v) if isinstance(v, torch.Tensor) else v, (args, kwargs))
        return [result.nan_to_num() for result in tensors_in(function(*args_, **kwargs_))]

    for tensor in [each for each in tensors if each.is_floating_point() and each.layout is torch.strided]:
        reads = not all(map(torch.equal, results(), results(tensor)))
        is_said = any(tensor is each for each in said)
        assert reads == is_said or is_in_place(function) or name in {*FRESH, *OVERWRITES}


@every_example
def test_what_is_random_changes_from_run_to_run_and_what_is_not_does_not(key):
    name = name_of(key)
    if name in FRESH or "packed" in key:
        pytest.skip("its values are whatever stood in memory" if name in FRESH else "torch's own argument of dropout")
    if name == "batch_norm" or (name in ("gru", "lstm") and "dropout" in key):
        pytest.skip("depends on the batch, or draws within torch")
    *_, (_, args, kwargs) = calls_of(key)
    random = row_of(name).random
    x = uniform(key, -2 if name == "rrelu" else 0.1, 0.9)
    first, *others = (evaluate(key, x, seed) for seed in range(8))  # of a few elements, two may be equal
    assert all(torch.equal(first, each) for each in others) != (random is not None and random(args, kwargs))


# ---------------------------------------------------------------------------------- weighs, sparse results


@pytest.mark.parametrize("key", [key for key in EXAMPLES if row_of(name_of(key)).weighs is not None])
def test_what_a_call_weighs_is_found_however_its_arguments_are_given(key):
    function, args, kwargs = last_call(key, uniform(key).requires_grad_().clone())
    given = named_arguments(function, name_of(key), args, kwargs)
    named = {"self" if name == "input" and "aten" in repr(function) else name: given[name] for name in given}
    for each in (
        (args, kwargs),
        (args[:1], {k: v for k, v in named.items() if k not in ("input", "self")}),
        ((), named),
    ):
        found = factors_of(row_of(name_of(key)).weighs, *each, whole=False)
        assert all(x.shape == factor.shape for x, factor in found)


ADJACENCY = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
SPARSE = {  # whose results are sparse: the call, and the same of dense tensors
    "to_sparse": (lambda x: x.to_sparse().to_dense(), lambda x: 1 * x),
    "coalesce": (lambda x: x.to_sparse().coalesce().to_dense(), lambda x: 1 * x),
    "values": (lambda x: x.to_sparse().values().view(3, 3), lambda x: 1 * x),
    "a sparse product of both": (
        lambda x: torch.sparse.mm(ADJACENCY.to_sparse(), x.to_sparse()).to_dense(),
        ADJACENCY.mm,
    ),
    "sampled": (
        lambda x: torch.sparse.sampled_addmm(ADJACENCY.to_sparse_csr(), x, ADJACENCY, beta=0.0).to_dense(),
        lambda x: (x @ ADJACENCY) * (ADJACENCY != 0),
    ),
    "sparse_coo_tensor": (
        lambda x: torch.sparse_coo_tensor(torch.tensor([[2, 0, 2]]), x, (3, 3)).to_dense(),
        lambda x: torch.zeros_like(x).index_add(0, torch.tensor([2, 0, 2]), x),
    ),
    "softmax": (lambda x: torch.sparse.softmax(x.to_sparse(), 1).to_dense(), lambda x: x.softmax(1)),
    "log_softmax": (lambda x: torch.sparse.log_softmax(x.to_sparse(), 1).to_dense(), lambda x: x.log_softmax(1)),
}


@pytest.mark.parametrize(("sparse", "dense"), SPARSE.values(), ids=SPARSE)
def test_a_sparse_result_sends_what_the_dense_one_sends(sparse, dense):
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found, expected = (sent("relu", x, function=each)[1] for each in (sparse, dense))
    assert expected.any()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_norms_that_torch_export_writes_are_given_the_rules_of_the_modules():
    torch.manual_seed(0)
    norms = nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(6), nn.InstanceNorm2d(4)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *norms, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5))
    net[2].running_var.uniform_(0.5, 1.5)
    net, x = net.double().eval(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    exported = torch.export.export(net, (x,)).run_decompositions().module()
    torch.testing.assert_close(ZFDeconv(exported).attribute(x, target=1), ZFDeconv(net).attribute(x, target=1))
    kinds = {call.operation: call.rule for call in coverage(exported, x)}
    assert [kinds[f"{name}_norm"] for name in ("batch", "group", "layer", "instance")] == ["scale", *["gradient"] * 3]


def quantised(by_channel, low):
    """A fake quantisation of four channels whose range begins at these steps of 0.1."""
    scale, zero = torch.full((4,), 0.1), -torch.tensor(low, dtype=torch.int32)
    if by_channel:
        return lambda h: torch.fake_quantize_per_channel_affine(h, scale, zero, 1, 0, 99)
    return lambda h: torch.fake_quantize_per_tensor_affine(h, 0.1, int(zero[0]), 0, 99)


@pytest.mark.parametrize("by_channel", [False, True], ids=["per tensor", "per channel"])
def test_a_fake_quantisation_is_a_rectifier_where_its_range_begins_at_0_and_a_gate_where_below(by_channel):
    h = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    signal, below = sent("relu", h, function=quantised(by_channel, [0] * 4))
    torch.testing.assert_close(below, signal.clamp(min=0))
    signal, below = sent("relu", h, function=quantised(by_channel, [-3] * 4))
    passed = h >= -0.35  # what is rounded to -0.3
    assert not passed.all()
    torch.testing.assert_close(below, signal * passed)
    if by_channel:
        with pytest.raises(RuleError, match="no rule for 'fake_quantize_per_channel_affine'"):
            sent("relu", h, function=quantised(True, [0, 0, -3, 0]))


# ---------------------------------------------------------------------------------- spellings

X = torch.tensor([[[[-1.0, 2.0], [7.0, 0.5]]]])
SPELLINGS = {
    "clamp_max": [lambda x: x.clamp_max(6), lambda x: x.clamp(max=6), lambda x: torch.clip(x, None, 6)],
    "clamp_min": [lambda x: x.clamp_min(0), lambda x: x.clamp(min=0), lambda x: torch.clip(x, 0)],
    "relu": [F.relu, torch.relu, lambda x: x.clone().relu_(), torch.ops.aten.relu, torch.ops.aten.relu.default],
    "relu6": [F.relu6, lambda x: x.clamp(0, 6), lambda x: F.hardtanh(x, 0, 6)],
    "add": [lambda x: x + 1, lambda x: torch.add(x, 1), lambda x: x.clone().add_(1), lambda x: 1 + x],
    "sigmoid": [torch.sigmoid, torch.special.expit, lambda x: x.sigmoid()],
    "cat": [lambda x: torch.cat([x]), lambda x: torch.concat([x]), lambda x: torch.concatenate([x])],
    "abs": [torch.abs, torch.absolute, abs],
    "atan": [torch.atan, torch.arctan],
    "i0e": [torch.special.i0e, torch.ops.aten.special_i0e],
    "inv": [lambda x: torch.linalg.inv(x), torch.inverse, lambda x: torch.linalg.inv_ex(x)[0]],
    "remainder": [lambda x: x % 3, lambda x: torch.remainder(x, 3), lambda x: x.clone().remainder_(3)],
    "trunc": [torch.trunc, torch.fix, lambda x: x.clone().fix_()],
    "eq": [lambda x: x * x.eq(x.abs()), lambda x: x * (x == x.abs())],
}


@pytest.mark.parametrize("spellings", SPELLINGS.values(), ids=SPELLINGS)
def test_the_spellings_of_a_call_are_given_the_same(spellings):
    def given(function):
        *_, call = coverage(Of(function), X)
        return call.kind, call.rule

    def answer(function):
        path, leaves = SignalPath(Of(function), DECONVNET), leaves_of([X])
        try:
            with path, path:
                output = path.run(Of(function), leaves, whole=False)
                return send(output, leaves, torch.ones_like(output))[0].tolist()
        except RuleError as error:
            return str(error).split(": ")[-1]

    assert len({given(function) for function in spellings}) == 1
    assert len({str(answer(function)) for function in spellings}) == 1


# ---------------------------------------------------------------------------------- operations of one's own


@pytest.fixture
def table():
    """Take what a test registers out of the table again."""
    before = dict(operations._ROWS)
    yield
    operations._ROWS.clear()
    operations._ROWS.update(before)
    for known in operations._CACHES:
        known.cache_clear()


@torch.library.custom_op("deconv_attr_tests::scaled", mutates_args=())
def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


scaled.register_autograd(lambda ctx, signal: signal * 2)
scaled.register_fake(torch.empty_like)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, signal):
        return signal * 2


def net_with(function):
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)
    net = Of(lambda x, first, second: second(function(torch.relu(first(x)))).relu().flatten(1), *parts)
    return net.double().eval()


IMAGE = torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "function"),
    {"deconv_attr_tests::scaled": scaled, "DoubledBackward": Doubled.apply}.items(),
    ids=["torch.library", "autograd.Function"],
)
def test_a_registered_operation_is_given_the_rule_of_its_kind(table, name, function):
    net, expected = net_with(function), ZFDeconv(net_with(lambda x: x * 2)).attribute(IMAGE, target=3)
    assert expected.any()
    with pytest.raises(RuleError, match=f"no rule for '{name}'"):
        ZFDeconv(net).attribute(IMAGE, target=3)
    register_operation(name, kind=Kind.LINEAR, reads=pointwise)
    torch.testing.assert_close(ZFDeconv(net).attribute(IMAGE, target=3), expected)
    halved = {**DECONVNET, name: Rule("halve", lambda signal, _: signal)}
    torch.testing.assert_close(ZFDeconv(net, rules=halved).attribute(IMAGE, target=3), expected / 2)


def test_of_an_operation_that_is_registered_again_the_last_word_counts(table):
    register_operation("deconv_attr_tests::scaled", kind=Kind.GATE)
    register_operation("deconv_attr_tests::scaled", kind=Kind.LINEAR, reads=pointwise)
    (call,) = [call for call in coverage(net_with(scaled), IMAGE).calls if "scaled" in call.operation]
    assert call.kind is Kind.LINEAR


def test_a_rule_finds_the_arguments_of_a_call_however_they_were_given():
    seen = []
    mine = Rule("mine", lambda signal, kept: signal * kept, lambda forward: seen.append(forward) or 2.0)
    for function in (nn.Hardshrink(0.1), lambda x: F.hardshrink(x, 0.1), lambda x: F.hardshrink(x, lambd=0.1)):
        ZFDeconv(net_with(function), rules={**DECONVNET, "hardshrink": mine}).attribute(IMAGE, target=3)
    assert [forward.arguments["lambd"] for forward in seen] == [0.1] * 3
    assert not any(tensor.requires_grad for forward in seen for tensor in (forward.input, forward.output))


def test_a_rule_that_keeps_something_of_a_call_whose_arguments_have_no_names_is_refused():
    mine = Rule("mine", lambda signal, kept: signal, lambda forward: None)
    method = ZFDeconv(net_with(lambda x: x.max(3)[0][..., None]), rules={**DECONVNET, "max": mine})
    with pytest.raises(RuleError, match=r"^2 arguments by their positions, which have no names, .* 'max' in .*: name"):
        method.attribute(IMAGE, target=3)


@pytest.mark.parametrize(
    ("back", "said"),
    [
        (lambda signal, _: None, "expected a tensor from the rule 'mine', got NoneType"),
        (lambda signal, _: signal.sum(), r"expected a signal of shape \(1, 2, 2, 2\) from the rule 'mine', got \(\)"),
    ],
    ids=["nothing", "another shape"],
)
@pytest.mark.parametrize(
    "options", [{}, {"before": True}, {"keep": lambda forward: None}], ids=["below", "above", "between two nodes"]
)
def test_a_rule_that_makes_no_signal_is_named(back, said, options):
    rules = {**DECONVNET, "relu": Rule("mine", back, **options)}
    with pytest.raises(RuleError, match=said):
        ZFDeconv(net_with(lambda x: x), rules=rules).attribute(IMAGE, target=3)


def test_the_receptive_field_goes_through_a_registered_operation(table):
    net = Of(lambda x, first: scaled(first(x)), nn.Conv2d(1, 2, 3))
    assert receptive_field(net, "", (1, 6, 6)).mixer
    register_operation("deconv_attr_tests::scaled", kind=Kind.LINEAR, reads=pointwise)
    assert receptive_field(net, "", (1, 6, 6)).size == (3, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "relu", "kind": Kind.LINEAR}, "got 'relu', which is listed as rectifier"),
        ({"name": "", "kind": Kind.LINEAR}, "expected the name of an operation, got ''"),
        ({"name": "mine", "kind": "linear"}, "expected a Kind for 'mine', got 'linear'"),
        ({"name": "mine", "kind": Kind.LINEAR, "reads": "pointwise"}, "expected Reads for 'mine'"),
    ],
    ids=["listed", "no name", "no kind", "no reads"],
)
def test_a_bad_registration_is_one_sentence_and_changes_nothing(arguments, said):
    before = listed_names()
    with pytest.raises(InputError, match=said):
        register_operation(**arguments)
    assert listed_names() == before


def test_what_has_a_kind_and_no_rule_of_reading_is_known_and_nothing_is_read_without_a_kind():
    unread = [name for name in listed_names() if row_of(name).reads is reads_all]
    print(f"{len(unread)} operations have a kind, and may read anything: {' '.join(unread)}")
    unknown = {name for row in OPERATIONS if row.kind is Kind.UNKNOWN for name in row.names}
    assert unknown == {"rnn_relu", "rnn_relu_cell"}
    assert unknown <= {*unread}
