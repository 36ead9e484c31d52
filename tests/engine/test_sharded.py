"""Models whose parameters are divided among processes: DTensor, tensor parallel, FSDP2. Here one process holds all."""

import copy

import pytest
import torch
from torch import nn

from deconv_attr import LayerZFDeconv, NeuronZFDeconv, ZFDeconv, coverage, project
from deconv_attr.engine.copy_on_write import run_plainly
from deconv_attr.engine.layer_reader import LayerReader
from deconv_attr.engine.layers import find_layer
from deconv_attr.errors import ModelError, RuleError

distributed = pytest.importorskip("torch.distributed")
if not distributed.is_available():
    pytest.skip("torch was built without torch.distributed", allow_module_level=True)
from torch.distributed.device_mesh import init_device_mesh  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from torch.distributed.tensor import DTensor, Replicate, distribute_module, distribute_tensor  # noqa: E402
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:DTensor random operators")  # torch 2.6, on a CPU


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def network():
    torch.manual_seed(0)
    convolutions = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    return nn.Sequential(*convolutions, nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)).eval()


def image():
    torch.manual_seed(1)
    return torch.randn(2, 3, 16, 16)


def sharded(mesh, net=None):
    net = net or network()
    for layer in (net[0], net[4]):
        fully_shard(layer, mesh=mesh)
    net = fully_shard(net, mesh=mesh)
    skip_unless_it_runs(net, image())
    net.reshard()
    return net


def skip_unless_it_runs(net, x):
    try:
        net(x)
    except (AttributeError, RuntimeError) as error:
        pytest.skip(f"this version of torch does not run such a model on a CPU: {error}")


def test_fsdp2(mesh):
    net, x = sharded(mesh), image()
    before = {name: (id(p), p.full_tensor().clone()) for name, p in net.named_parameters()}
    expected = ZFDeconv(network()).attribute(x, target=1)
    for _ in range(2):
        assert torch.equal(ZFDeconv(net).attribute(x, target=1), expected)
    for name, parameter in net.named_parameters():
        assert id(parameter) == before[name][0]
        assert torch.equal(parameter.full_tensor(), before[name][1])
        assert parameter.grad is None
    torch.testing.assert_close(net(x), network()(x))


@pytest.mark.parametrize("layer", ["0", "2", "5"])
def test_fsdp2_at_a_layer(mesh, layer):
    net, x = sharded(mesh), image()
    before = {name: id(parameter) for name, parameter in net.named_parameters()}
    method, expected = LayerZFDeconv(net, layer), LayerZFDeconv(network(), layer)
    assert torch.equal(method.attribute(x, target=1), expected.attribute(x, target=1))
    method, expected = NeuronZFDeconv(net, layer), NeuronZFDeconv(network(), layer)
    assert torch.equal(method.attribute(x, 1), expected.attribute(x, 1))
    assert {name: id(parameter) for name, parameter in net.named_parameters()} == before
    torch.testing.assert_close(net(x), network()(x))


def test_fsdp2_allows_one_signal_a_pass(mesh):
    with pytest.raises(ModelError, match="FSDP2, which gives them back"):
        project(sharded(mesh), image(), "5", [(0, 1)])


def test_fsdp2_after_an_error(mesh):
    net, x = sharded(mesh, nn.Sequential(*network(), nn.GELU()).eval()), image()
    for _ in range(2):
        with pytest.raises(RuleError, match="'gelu' in module '8'"):
            ZFDeconv(net).attribute(x, target=1)
    torch.testing.assert_close(net(x), nn.functional.gelu(network()(x)))


class Inside(nn.Module):
    """A model of DTensors behind plain images and scores."""

    def __init__(self, net, mesh):
        super().__init__()
        self.net, self.mesh = net, mesh

    def forward(self, x):
        return self.net(DTensor.from_local(x, self.mesh, [Replicate()])).to_local()


def test_dtensors_as_parameters(mesh):
    net, x = Inside(distribute_module(network(), mesh), mesh), image()
    skip_unless_it_runs(net, x)
    assert torch.equal(ZFDeconv(net).attribute(x, target=1), ZFDeconv(network()).attribute(x, target=1))
    found, expected = coverage(net, x), coverage(network(), x)
    assert [(call.operation, call.rule) for call in found.calls] == [(c.operation, c.rule) for c in expected.calls]
    assert torch.equal(found.switches["net.3"].indices, expected.switches["3"].indices)


def test_dtensors_as_images_too(mesh):
    net, x = distribute_module(network(), mesh), image()
    images = distribute_tensor(x, mesh, [Replicate()])
    skip_unless_it_runs(net, images)
    found = ZFDeconv(net).attribute(images, target=1)
    assert torch.equal(found.full_tensor(), ZFDeconv(network()).attribute(x, target=1))


def test_tensor_parallel(mesh):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(2, 12)
    parallel = parallelize_module(copy.deepcopy(net), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    assert torch.equal(ZFDeconv(parallel).attribute(x, target=1), ZFDeconv(net).attribute(x, target=1))


class Redistribute(torch.autograd.Function):
    """A function of the user's own that is called like one of DTensor's."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, signal):
        return signal


def test_a_function_that_is_called_like_one_of_dtensors_is_none():
    class Net(nn.Module):
        def forward(self, x):
            return Redistribute.apply(torch.relu(x)).flatten(1)

    with pytest.raises(RuleError, match="RedistributeBackward"):
        ZFDeconv(Net()).attribute(image(), target=1)


@pytest.mark.parametrize("layer", ["0", "2", "5"])
def test_a_pass_of_fsdp2_without_a_signal_gives_the_parameters_back(mesh, layer):
    net, x = sharded(mesh), image()
    before = {name: id(parameter) for name, parameter in net.named_parameters()}
    found = run_plainly(net, LayerReader(find_layer(net, layer), last=True).until(net), x)
    torch.testing.assert_close(found, network()[: int(layer) + 1](x))
    assert {name: id(parameter) for name, parameter in net.named_parameters()} == before
