"""The strongest activations of every feature map: against brute force, whoever reads the images and in what order."""

import re

import nets
import pytest
import torch
from PIL import Image
from searching import brute_force, rows, same
from state import snapshot
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)
from torchvision_nets import build

from deconv_attr import Photographs, strongest
from deconv_attr.errors import InputError, ModelError, SignalError, SkippedImagesWarning
from deconv_attr.gallery.images import standard_preprocessing
from deconv_attr.gallery.search.top_k import TopK


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(5),
    ).eval()


@pytest.fixture
def images(net):
    torch.manual_seed(1)
    pixels = torch.randn(70, 3, 12, 12)
    with torch.no_grad():
        net(pixels[:1])
    return pixels


def check(model, images, found, k=9):
    expected = brute_force(model, images, list(found), k)
    for layer, top in found.items():
        assert rows(top) == expected[layer], layer


# The result


def test_it_equals_brute_force(net, images):
    found = strongest(net, images)
    assert list(found) == ["1", "4"]
    assert found["4"].values.shape == (8, 9)
    assert found["4"].positions.shape == (8, 9, 2)
    check(net, images, found)


@pytest.mark.parametrize("k", [1, 3, 70])
def test_for_any_k(net, images, k):
    check(net, images, strongest(net, images, k=k), k)


def test_fewer_images_than_k_leave_places_of_nobody(net, images):
    top = strongest(net, images[:4], "4")["4"]
    assert (top.images[:, 4:] == -1).all()
    assert (top.values[:, 4:] == -torch.inf).all()
    assert (top.positions[:, 4:] == -1).all()
    assert [len(of_map) for of_map in rows(top)] == [4] * 8
    check(net, images[:4], {"4": top})


def test_ties_go_to_the_lower_image_and_the_first_unit(net, images):
    same_images = images[:5].repeat(8, 1, 1, 1)  # image n is n + 5, n + 10, ...
    found = strongest(net, same_images)
    check(net, same_images, found)
    assert found["4"].images[0, :8].sort().values.tolist() == found["4"].images[0, :8].tolist()


def test_a_map_that_is_never_active_names_the_first_images(net, images):
    with torch.no_grad():
        net[3].weight[2], net[3].bias[2] = 0.0, -1.0
    top = strongest(net, images, "4")["4"]
    assert top.values[2].tolist() == [0.0] * 9
    assert top.images[2].tolist() == list(range(9))
    assert not top.positions[2].any()
    check(net, images, {"4": top})


def test_layers_before_their_rectifier_and_vectors(net, images):
    with torch.no_grad():
        net[3].bias[0] -= 9
    found = strongest(net, images, ["3", net[6], "4"])
    assert list(found) == ["3", "6", "4"]
    assert found["6"].positions.shape == (5, 9, 0)
    assert (found["3"].values[0] < 0).all()
    assert (found["4"].values[0] == 0).all()
    check(net, images, found)


def test_in_double_precision(net, images):
    net, images = net.double(), images.double()
    found = strongest(net, images)
    assert found["4"].values.dtype == torch.float64
    check(net, images, found)


def test_a_layer_in_another_precision_than_the_images(net, images):
    class Fine(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x):
            return self.same(x.double() * 1e-9 + 1).relu()

    found = strongest(Fine().eval(), images, "same")
    assert found["same"].values.dtype == torch.float64
    check(Fine(), images, found)


def test_in_half_precision_values_are_exact(net, images):
    net, images = net.bfloat16(), images.bfloat16()
    found = strongest(net, images)
    assert found["4"].values.dtype == torch.float32
    check(net, images, found)


def test_of_a_layer_that_runs_twice_a_call_is_searched():
    model, images = nets.build(nets.SharedPoolAndConvolution).float().eval(), torch.randn(20, 3, 9, 9)
    found = strongest(model, images)
    assert any("#2" in layer for layer in found), list(found)
    check(model, images, found)
    with pytest.raises(InputError, match="times in one forward pass: name the call"):
        strongest(model, images, next(layer.partition("#")[0] for layer in found if "#2" in layer))


# In these the rectifiers are calls within the model, and no layer returns what they do.
NAMELESS = (
    nets.FunctionalRelu,
    nets.FunctionalReluInPlace,
    nets.TorchRelu,
    nets.TensorRelu,
    nets.TensorReluInPlace,
    nets.FunctionalReluUnderscore,
    nets.AtenRelu,
    nets.ClampMin,
    nets.Clips,
    nets.InPlaceReluBesideASum,
    nets.SubclassThatDoesMore,
    nets.ForwardCalledDirectly,
    nets.FunctionalPools,
    nets.PoolsWithIndices,
    nets.SqueezeAndExcitation,
)


KINDS = [kind for kind in nets.Net.__subclasses__() if kind.__module__ == "nets"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_on_difficult_graphs(kind):
    model, images = nets.build(kind).float().eval(), torch.randn(20, *kind.shape[1:])
    found = strongest(model, images, layers="conv1" if kind in NAMELESS else None, k=3)
    alone = kind is nets.CrossMapNorm  # it is not known to leave the examples of a batch apart
    for layer, expected in brute_force(model, images, list(found), 3, block=1 if alone else 16).items():
        assert rows(found[layer]) == expected, layer


@pytest.mark.parametrize(
    ("name", "layers", "some"),
    [
        ("alexnet", 5, "features.0"),
        ("googlenet", 57, "inception3a.branch2.1"),
        ("resnet18", 17, "layer1.0.relu#2"),
        ("densenet121", 120, "features.denseblock1.denselayer1.relu1"),
        ("mobilenet_v2", 35, "features.1.conv.0.2"),
        ("squeezenet1_0", 26, "features.3.expand3x3_activation"),
    ],
)
def test_the_default_is_every_rectified_feature_map_that_has_a_name(name, layers, some):
    found = strongest(build(name, torch.float32), torch.randn(1, 3, 64, 64), k=1)
    assert len(found) == layers
    assert some.replace("features.0", "features.1") in found
    assert all(top.positions.shape[2] == 2 for top in found.values())


# Whoever reads


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 7, 32])
def test_batches_workers_and_order_of_a_loader_play_no_part(net, images, batch, workers):
    expected = strongest(net, images)
    loader = DataLoader(TensorDataset(images, torch.arange(70)), batch, shuffle=True, num_workers=workers)
    before = torch.get_rng_state()
    found = strongest(net, loader)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(found, expected)


def test_drop_last_drops_nothing_and_a_sampler_chooses(net, images):
    assert same(strongest(net, DataLoader(TensorDataset(images), 32, drop_last=True)), strongest(net, images))
    some = DataLoader(TensorDataset(images), 4, sampler=[5, 3, 60, 3])
    found = strongest(net, some)
    assert found.searched.nonzero().flatten().tolist() == [3, 5, 60]
    assert same(found, strongest(net, images, images=[60, 3, 5]))
    batches = DataLoader(TensorDataset(images), batch_sampler=[[5, 3], [60]])
    assert same(found, strongest(net, batches))
    assert len(strongest(net, DataLoader(TensorDataset(images), None)).searched.nonzero()) == 70
    torch.manual_seed(0)
    weighted = DataLoader(TensorDataset(images), 4, sampler=WeightedRandomSampler(torch.ones(70), 30))
    before = torch.get_rng_state()
    strongest(net, weighted)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaders_collate_function_is_used(net, images):
    def collate(items):
        return torch.stack([pixels * 2 for pixels, _ in items]), None

    loader = DataLoader(TensorDataset(images, torch.arange(70)), 7, collate_fn=collate)
    check(net, images * 2, strongest(net, loader))
    wrong = DataLoader(TensorDataset(images), 7, collate_fn=lambda items: {"pixels": items})
    with pytest.raises(
        InputError, match=r"expected a tensor \(1, C, H, W\).* from the DataLoader's collate_fn, got dict"
    ):
        strongest(net, wrong)


class OneBuffer(Dataset):
    """Fills the same memory again for each image."""

    def __init__(self, images):
        self.images, self.buffer = images, torch.empty_like(images[0])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return self.buffer.copy_(self.images[number])


def test_a_data_set_that_fills_one_buffer(net, images):
    assert same(strongest(net, OneBuffer(images)), strongest(net, images))


def test_arrays_and_joined_data_sets(net, images):
    arrays = list(images.numpy())
    for data in (arrays, DataLoader(arrays, 7), ConcatDataset([TensorDataset(images[:9]), TensorDataset(images[9:])])):
        found = strongest(net, data)
        assert all(torch.equal(found[layer].images, strongest(net, images)[layer].images) for layer in found)


def test_a_structural_error_ends_the_search_at_once(net, images):
    reads = []

    class Wrong(Labels):
        def __len__(self):
            return 5000

        def __getitem__(self, number):
            reads.append(number)
            return super().__getitem__(number)

    with pytest.raises(InputError, match="expected image 0 as a tensor"):
        strongest(net, Wrong())
    assert reads == [0]


def test_the_loaders_own_generator_stays(net, images):
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    strongest(net, DataLoader(TensorDataset(images), 7, shuffle=True, generator=generator))
    assert torch.equal(generator.get_state(), before)


def test_images_of_several_sizes(images):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    sizes = [torch.randn(3, 8 + n % 3, 10 + n % 2) for n in range(40)]
    found = strongest(model, sizes, k=40)
    for of_map in rows(found["1"]):
        assert {image for _, image, _ in of_map} == set(range(40))
        for value, image, place in of_map:
            with torch.no_grad():
                output = model(sizes[image][None])[0]
            assert value == pytest.approx(float(output.amax((1, 2))[rows(found["1"]).index(of_map)]), abs=1e-6)
            assert output[rows(found["1"]).index(of_map)][place] == pytest.approx(value, abs=1e-6)


def test_parts_merge_to_the_whole(net, images):
    whole = strongest(net, images)
    parts = [strongest(net, images, images=some) for some in (range(32, 64), range(32), range(60, 70))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged.searched.all()
    for layer in whole:
        assert torch.equal(merged[layer].images, whole[layer].images)
        torch.testing.assert_close(merged[layer].values, whole[layer].values)
    assert torch.equal(strongest(net, images, images=torch.arange(70)).searched, merged.searched)
    again = merged.merge(parts[0])
    assert same(again, merged)  # nobody counts twice


def test_parts_with_fewer_than_k_images_merge(net, images):
    few = strongest(net, images, "4", images=range(4))
    merged = few.merge(strongest(net, images, "4", images=range(2, 6)))
    top = merged["4"]
    assert (top.images[:, 6:] == -1).all()
    assert (top.positions[:, 6:] == -1).all()
    assert (top.values[:, 6:] == -torch.inf).all()
    assert [sorted(of_map) for of_map in top.images[:, :6].tolist()] == [list(range(6))] * 8


def test_what_cannot_be_merged(net, images):
    found = strongest(net, images)
    with pytest.raises(InputError, match="expected another result to merge with, got a NoneType"):
        found.merge(None)
    with pytest.raises(InputError, match="the result to merge with has other k: expected 9, got 3"):
        found.merge(strongest(net, images, k=3))
    with pytest.raises(InputError, match="the result to merge with has other layers"):
        found.merge(strongest(net, images, "4"))
    with pytest.raises(InputError, match="is of another data set: 69 images"):
        found.merge(strongest(net, images[:69]))
    with torch.no_grad():
        net[0].bias[0] += 1
    with pytest.raises(InputError, match="is of another model"):
        found.merge(strongest(net, images))


# A folder


def paint(folder, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        pixels = torch.randint(0, 256, (16, 20, 3), generator=generator, dtype=torch.uint8).numpy()
        path = folder / ("sub" if number % 2 else ".") / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    paint(tmp_path, 12)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


SMALL = standard_preprocessing(12, 12, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_a_folder_is_read_in_the_order_of_its_names(net, images, folder):
    data = Photographs(folder, SMALL)
    assert data.names == [f"{n:02}.png" for n in range(0, 12, 2)] + [f"sub/{n:02}.png" for n in range(1, 12, 2)]
    check(net, torch.stack([data[n] for n in range(12)]), strongest(net, data))


def test_unreadable_images_are_skipped_counted_and_named(net, images, folder):
    (folder / "00.png").write_bytes(b"no image")  # the first
    (folder / "sub" / "03.png").write_bytes((folder / "sub" / "03.png").read_bytes()[:300])
    data = Photographs(folder, SMALL)
    with pytest.warns(SkippedImagesWarning, match=r"2 of 12 images could not be read and were skipped \(00\.png: "):
        found = strongest(net, data)
    assert [(image.number, image.name) for image in found.skipped] == [(0, "00.png"), (7, "sub/03.png")]
    good = [n for n in range(12) if n not in (0, 7)]
    expected = brute_force(net, torch.stack([data[n] for n in good]), ["4"], 9)["4"]
    assert rows(found["4"]) == [[(v, good[i], p) for v, i, p in of_map] for of_map in expected]
    with pytest.raises(InputError, match=r"cannot read image 0 \(00\.png\): .*no image in a format that is read"):
        strongest(net, data, strict=True)
    with pytest.raises(InputError, match=r"cannot read image 7 \(sub/03\.png\)"):
        strongest(net, data, images=range(1, 12), strict=True)


def test_folders_without_images(net, images, tmp_path):
    with pytest.raises(InputError, match=r"expected images in .* or its subfolders, got none"):
        strongest(net, tmp_path)
    with pytest.raises(InputError, match=r"expected a folder of images at .*, got none"):
        strongest(net, tmp_path / "nowhere")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="got a file"):
        strongest(net, str(tmp_path / "a.png"))
    with pytest.raises(
        InputError, match="expected an image that can be read among 1, got none; the first: cannot read image 0"
    ):
        strongest(net, tmp_path)


def test_a_plain_path_gets_the_usual_preprocessing(folder):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    data = Photographs(folder)
    assert data[0].shape == (3, 224, 224)
    check(model, torch.stack([data[n] for n in range(12)]), strongest(model, str(folder)))


# What it refuses


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3, 12, 12)


class Restless(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return torch.rand(3, 12, 12)


class Labels(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return {"pixels": torch.zeros(3, 12, 12)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(0, 3, 12, 12), "expected at least one image, got none"),
        (7, "expected images that have numbers, as a folder, .*, got a int"),
        (Stream(), "expected images that have numbers, .*, got a Stream"),
        (Restless(), "expected the same pixels each time image 0 is read"),
        (Labels(), "expected image 0 as a tensor .* got dict"),
        (torch.zeros(4, 3, 12, 12, dtype=torch.uint8), "in floating point"),
        (torch.zeros(4, 3, 1, 1), r"the model does not take an image of shape \(3, 1, 1\)"),
        (torch.zeros(4, 5, 12, 12), r"the model does not take an image of shape \(5, 12, 12\)"),
        (torch.full((4, 3, 12, 12), torch.nan), "expected image 0 finite"),
        ([torch.zeros(3, 12, 12), torch.zeros(3, 12, 12).double()], "expected images of one type"),
    ],
)
def test_data_that_cannot_be_searched(net, images, data, message):
    with pytest.raises(InputError, match=message) as caught:
        strongest(net, data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "nowhere"}, "no layer 'nowhere'"),
        ({"layers": []}, "expected at least one layer, got none"),
        ({"layers": "5#2"}, "the module runs once"),
        ({"k": 0}, "expected k as a whole number of at least 1, got 0"),
        ({"k": True}, "expected k as a whole number"),
        ({"images": [70]}, "expected images as numbers from 0 to 69, got 70"),
        ({"images": 5}, "expected images as numbers, got 5"),
        ({"images": [1.5]}, "expected images as numbers"),
        ({"layers": 5}, "expected the layer as a module or its dotted name, got int"),
        ({"checkpoint_every": "a"}, "expected checkpoint_every in seconds, got 'a'"),
        ({"file": "x" * 250}, "File name too long"),
        ({"images": []}, "expected images as numbers"),
        ({"workers": -1}, "expected workers as a number of processes"),
        ({"file": "/nowhere/top.npz"}, "there is no folder /nowhere"),
        ({"file": "/"}, "it is a folder"),
    ],
)
def test_arguments_that_make_no_sense(net, images, options, message):
    with pytest.raises(InputError, match=message):
        strongest(net, images, **options)


def test_a_model_that_changes_from_run_to_run(net, images):
    restless = nn.Sequential(nn.Dropout(), *net).train()
    with pytest.raises(ModelError, match="expected the model in eval mode"):
        strongest(restless, images, "2")
    late = nn.Sequential(*net, nn.Dropout()).train()
    check(net, images, {"4": strongest(late, images, "4")["4"]})  # chance comes after the layer


def test_activations_that_are_no_numbers(net, images):
    with torch.no_grad():
        net[3].bias[5] = torch.inf
    with pytest.raises(SignalError, match="map 5 of layer '4' has NaN or infinity in image 0"):
        strongest(net, images)
    assert list(strongest(net, images, "1")) == ["1"]


def test_the_model_runs_as_far_as_the_last_layer(net, images):
    class Costly(nn.Module):
        runs = 0

        def forward(self, x):
            Costly.runs += not x.is_meta
            return x

    model = nn.Sequential(*net, Costly()).eval()
    strongest(model, images, ["4", "1"])
    assert Costly.runs == 0
    strongest(model, images, "6")
    assert Costly.runs == 0
    strongest(model, images, ["7"])
    assert Costly.runs == 4


def test_no_rectifier(images):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.GELU()).eval()
    with pytest.raises(InputError, match="no layer known to return rectified feature maps: name the layers"):
        strongest(model, images)
    check(model, images, strongest(model, images, "1"))


class Asks(nn.Module):
    """Cannot be run without values; and looks at the whole batch."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 2, 3), nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x) if float(x.mean()) > 0 else -self.conv(x))


class Mixes(Asks):
    def forward(self, x):
        return self.relu(self.conv(x - x.mean(0, keepdim=True)) + self.conv(x))


@pytest.mark.parametrize("kind", [Asks, Mixes])
def test_a_model_that_reads_the_rest_of_the_batch_runs_each_image_alone(images, kind):
    torch.manual_seed(3)
    model = kind().eval()
    found = strongest(model, images, "relu")
    assert rows(found["relu"]) == brute_force(model, images, ["relu"], 9, block=1)["relu"]


# Nothing is touched


@pytest.mark.parametrize("broken", [False, True])
def test_nothing_is_touched(net, images, broken):
    before = snapshot(net, images)
    if broken:
        data = [*images[:40], torch.full((3, 12, 12), torch.nan), *images[40:]]
        with pytest.raises(InputError, match="expected image 40 finite"):
            strongest(net, data)
    else:
        strongest(net, images)
    assert snapshot(net, images) == before


def test_a_hook_of_the_callers_sees_every_image_once(net, images):
    seen = []
    handle = net[0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    with pytest.raises(InputError, match="name the layers"):  # with a hook there is no run without values
        strongest(net, images)
    seen.clear()
    strongest(net, images, "4")
    handle.remove()
    assert sum(seen) == 71  # and one to look at the layers


def test_progress_is_counted_in_images(net, images, capsys):
    strongest(net, images, show_progress=True)
    assert re.search(r"70/70 \[.*image", capsys.readouterr().err)


# The table


def random_top(seed, maps=5, k=4, images=30):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, (images, maps, 3, 3), generator=generator).float()
    return values, generator


@pytest.mark.parametrize("seed", range(20))
def test_the_table_does_not_depend_on_the_order_in_which_images_come(seed):
    outputs, generator = random_top(seed)

    def offered(groups):
        top = TopK.empty(5, 4, 2, torch.float32)
        for group in groups:
            numbers = torch.tensor(sorted(group))
            top.offer(outputs[numbers], outputs[numbers].amax((2, 3)).numpy(), numbers.numpy())
        return top

    expected = offered([range(30)])
    order = torch.randperm(30, generator=generator).tolist()
    other = offered([order[:7], order[7:8], order[8:20], order[20:]])
    halves = offered([order[:15]]).merged(offered([order[10:]]))  # some in both
    for found in (other, halves):
        for part in ("values", "images", "positions"):
            assert torch.equal(getattr(found, part), getattr(expected, part))


def test_a_model_of_one_image_at_a_time_is_given_one_at_a_time(net, images):
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.view(1, *images.shape[1:]))

    alone = strongest(Alone().eval(), images, "net.4", k=3)["net.4"]
    together = strongest(net, images, "4", k=3)["4"]
    assert torch.equal(alone.images, together.images)
    assert torch.allclose(alone.values, together.values, rtol=1e-5)


def test_a_subset_keeps_the_numbers_of_its_own(net, images):
    found = strongest(net, Subset(TensorDataset(images), [10, 20, 30]))
    assert sorted(set(found["4"].images[found["4"].images >= 0].tolist())) == [0, 1, 2]
    check(net, images[[10, 20, 30]], found)
