"""Which units are meant, which images, and what a caller who errs is told."""

import threading
import warnings

import numpy as np
import pytest
import torch
from reading import Of
from state import snapshot
from test_projection import (
    Local,
    corners_edges_middle,
    dead,
    image,
    outputs,
    strongest,
    whole,
    with_a_hook,
    wrong,
)
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from deconv_attr import DeadSignalWarning, NeuronZFDeconv, ZFDeconv, project, receptive_field
from deconv_attr.errors import InputError, ModelError, SignalError, TargetError
from deconv_attr.units import scheduler


class Scores(nn.Module):
    """A local net, a pool over all of it, and a layer of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.local, self.fc, self.relu = Local(), nn.Linear(8, 5), nn.ReLU()
        self.spare, self.pair = nn.ReLU(), Pair()

    def forward(self, x):
        return self.relu(self.fc(self.pair(self.relu(self.local(x)))[0].amax((2, 3))))


class Pair(nn.Module):
    def forward(self, h):
        return h, h


class Labelled(torch.utils.data.Dataset):
    """A data set of (image, label), and what has been read of it."""

    def __init__(self, images):
        self.images, self.read = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.append(index)
        return self.images[index], index % 2


IMAGES = [image(3, 40, 36, seed=seed, dtype=torch.float64) for seed in range(4)]
SIZES = [image(3, 30 + 7 * seed, 44 - 5 * seed, seed=seed, dtype=torch.float64) for seed in range(4)]
LAYER, ROWS = "local.net.4", [(2, 1, 5, 6), (0, 3, 0, 0), (2, 1, 5, 6), (3, 7, 14, 9), (1, 0, 9, 12), (0, 2, 8, 3)]


def model_():
    return Scores().double().eval()


def per_unit(model, images, rows, layer=LAYER):
    return [whole(model, images[i], layer, [tuple(unit)])[0] for i, *unit in rows]


def quietly(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadSignalWarning)
        return project(*args, **kwargs)


SPELLED = {
    "a list of tuples": ROWS,
    "a list of lists": [list(row) for row in ROWS],
    "a tensor": torch.tensor(ROWS),
    "a tensor of int32": torch.tensor(ROWS, dtype=torch.int32),
    "an array": np.array(ROWS),
    "an array of uint8": np.array(ROWS, dtype=np.uint8),
}


@pytest.mark.parametrize("units", SPELLED.values(), ids=SPELLED)
def test_units_may_be_spelled_in_many_ways_and_come_back_in_their_order(units):
    model = model_()
    result = quietly(model, torch.stack(IMAGES), LAYER, units)
    assert wrong(result, per_unit(model, IMAGES, ROWS), 1e-10) == {}
    table = torch.tensor(ROWS)
    assert torch.equal(result.units, table)
    assert torch.equal(result.images, table[:, 0])
    assert torch.equal(result.maps, table[:, 1])
    assert torch.equal(result.positions, table[:, 2:])
    assert len(result) == len(ROWS)
    assert all(
        patch.shape == (3, bottom - top, right - left)
        for patch, (top, left, bottom, right) in zip(result.patches, result.boxes.tolist(), strict=True)
    )


@pytest.mark.parametrize("batch_size", [1, 3, 100, None])
@pytest.mark.parametrize("images", [IMAGES, SIZES, SIZES[::-1]], ids=["one size", "growing", "shrinking"])
def test_images_may_differ_in_size_and_the_batch_size_changes_nothing(images, batch_size, monkeypatch):
    model, rows = model_(), []
    for number, x in enumerate(images):
        rows += [(number, *unit) for unit in corners_edges_middle(outputs(model, x, LAYER))[1 :: 2 + number]]
    rows = rows[::2] + rows[1::2]
    expected = per_unit(model, images, rows)
    for given in (images, Labelled(images)):
        result = quietly(model, given, LAYER, rows, batch_size=batch_size)
        assert wrong(result, expected, 1e-10) == {}
        assert result.image_shapes == [images[i].shape for i, *_ in rows]
    crowd = [row for row in rows for _ in range(9)]
    monkeypatch.setattr(scheduler, "_LARGE", 0)  # as if their fields were large: then whole images are cheaper
    result = quietly(model, images, LAYER, crowd, batch_size=batch_size)
    assert not result.from_crop.all()
    assert wrong(result, [want for want in expected for _ in range(9)], 1e-10) == {}


def test_only_the_images_that_are_needed_are_read():
    data = Labelled(IMAGES)
    quietly(model_(), data, LAYER, [(2, 1, 5, 6), (1, 1, 5, 6)])
    assert set(data.read) == {1, 2}


STRONGEST = {  # units, and the image and map that each means; None: any image
    "an int": (3, [(None, 3)]),
    "maps": ([3, 0, 3, 7], [(None, 3), (None, 0), (None, 3), (None, 7)]),
    "maps in an array": (np.array([5, 1]), [(None, 5), (None, 1)]),
    "images and maps": ([(2, 3), (0, 1), (2, 7), (2, 3)], [(2, 3), (0, 1), (2, 7), (2, 3)]),
}


@pytest.mark.parametrize("images", [IMAGES, SIZES], ids=["one size", "many sizes"])
@pytest.mark.parametrize(("units", "meant"), STRONGEST.values(), ids=STRONGEST)
@pytest.mark.parametrize("layer", ["local.net.4", "local.net.3"], ids=["rectified", "signed"])
def test_without_a_position_the_strongest_unit_is_meant(units, meant, images, layer):
    model, rows = model_(), []
    layers = [outputs(model, x, layer) for x in images]
    for number, feature_map in meant:
        candidates = range(len(images)) if number is None else [number]
        best = max(candidates, key=lambda i: layers[i][feature_map].max().item())
        plane = layers[best][feature_map]
        rows.append((best, feature_map, *map(int, torch.unravel_index(plane.argmax(), plane.shape))))
    for batch_size in (1, None):
        result = quietly(model, images, layer, units, batch_size=batch_size)
        assert result.units.tolist() == [list(row) for row in rows]
        assert wrong(result, per_unit(model, images, rows, layer), 1e-10) == {}


def test_of_equals_the_first_is_the_strongest():
    model, x = Local().eval(), image(3, 40, 40)
    with torch.no_grad():
        model.net[3].weight[4] = 0
        model.net[3].bias[4] = 1
    assert quietly(model, [x, x], "net.4", [4]).units.tolist() == [[0, 4, 0, 0]]
    assert quietly(model, [x, x], "net.4", [(1, 4)]).units.tolist() == [[1, 4, 0, 0]]


VECTORS = {
    "images and units": ([(1, 2), (0, 4)], lambda values: [(1, 2), (0, 4)]),
    "units": ([2, 4], lambda values: [(int(values[:, unit].argmax()), unit) for unit in (2, 4)]),
    "a unit": (3, lambda values: [(int(values[:, 3].argmax()), 3)]),
}


@pytest.mark.parametrize(("units", "meant"), VECTORS.values(), ids=VECTORS)
def test_units_of_a_layer_of_vectors_have_no_position(units, meant):
    model = model_()
    rows = meant(torch.stack([outputs(model, x, "fc") for x in IMAGES]))
    result = quietly(model, torch.stack(IMAGES), "fc", units)
    assert result.units.tolist() == [list(row) for row in rows]
    assert wrong(result, per_unit(model, IMAGES, rows, "fc"), 1e-10) == {}
    assert result.boxes.tolist() == [[0, 0, 40, 36]] * len(rows)
    assert result.positions.shape == (len(rows), 0)


def test_the_call_of_a_module_is_named_by_its_number():
    model, unit = model_(), [(1, 2, 3, 4)]
    with pytest.raises(InputError, match="layer 'relu' runs 2 times in one forward pass: name the call, 'relu#1'"):
        project(model, IMAGES, "relu", unit)
    result = quietly(model, IMAGES, "relu#1", unit)
    assert wrong(result, per_unit(model, IMAGES, unit, "relu#1"), 1e-10) == {}
    assert torch.equal(result.activations[0], outputs(model, IMAGES[1], "relu#1")[2, 3, 4])
    by_vector = quietly(model, IMAGES, "relu#2", [(1, 2)])
    assert wrong(by_vector, per_unit(model, IMAGES, [(1, 2)], "relu#2"), 1e-10) == {}


def test_a_single_number_for_each_image_is_a_layer_too():
    model = nn.Sequential(Scores(), nn.Linear(5, 1), nn.Flatten(0)).double().eval()
    with pytest.raises(InputError, match=r"layer '2.*'.*\(\)"):
        project(model, IMAGES, "2", [(0, 0)])


# ---------------------------------------------------------------------------------------- what is refused


def nan_at(x):
    x = x.clone()
    x[0, 3, 3] = torch.nan
    return x


UNIT = [(0, 1, 5, 5)]
BAD = {  # layer, units, options; the error and what it says
    "unknown layer": ("local.net.9", UNIT, {}, InputError, ("no layer 'local.net.9'", "nearest are local.net.")),
    "a layer that does not run": ("spare", UNIT, {}, InputError, ("layer 'spare", "does not run")),
    "an output that is no tensor": ("pair", UNIT, {}, InputError, ("a tensor (N, maps, ...)", "pair")),
    "image out of range": (LAYER, [(0, 1, 5, 5), (9, 1, 5, 5)], {}, InputError, ("unit 1", "image 9", "4 images")),
    "negative image": (LAYER, [(-1, 1, 5, 5)], {}, InputError, ("unit 0", "image -1", "4 images")),
    "map out of range": (LAYER, [(0, 8, 5, 5)], {}, TargetError, ("unit 0, (0, 8, 5, 5)", "(8, 20, 18)")),
    "map alone out of range": (LAYER, [1, 8], {}, TargetError, ("unit 1, 8,", "(8, 20, 18)")),
    "negative map": (LAYER, [(0, -1)], {}, TargetError, ("unit 0, (0, -1)", "(8, 20, 18)")),
    "row out of range": (LAYER, [(0, 1, 20, 5)], {}, TargetError, ("(0, 1, 20, 5)", "(8, 20, 18)")),
    "column out of range": (LAYER, [(0, 1, 5, -2)], {}, TargetError, ("(0, 1, 5, -2)", "(8, 20, 18)")),
    "in a later, smaller image": (
        LAYER,
        [(0, 1, 19, 17), (1, 1, 19, 17)],
        {"images": [IMAGES[0], IMAGES[1][:, :20]]},
        TargetError,
        ("unit 1, (1, 1, 19, 17)", "(8, 10, 18)"),
    ),
    "unit of a vector": ("fc", [(0, 5)], {}, TargetError, ("(0, 5)", "(5,)")),
    "no units": (LAYER, [], {}, InputError, ("at least one unit",)),
    "a unit of nothing": (LAYER, torch.zeros(2, 0).long(), {}, InputError, ("at least one unit",)),
    "floats": (LAYER, [1.0], {}, InputError, ("integers", "torch.float32")),
    "bools": (LAYER, [True], {}, InputError, ("integers", "torch.bool")),
    "ragged": (LAYER, [(0, 1), (1, 2, 3, 4)], {}, InputError, ("rows of one length", "(1, 2, 3, 4)")),
    "words": (LAYER, "all", {}, InputError, ("integers", "'all'")),
    "nothing": (LAYER, None, {}, InputError, ("integers", "None")),
    "three dimensions": (LAYER, [[[1]]], {}, InputError, ("(K,) or (K, columns)", "(1, 1, 1)")),
    "three columns": (LAYER, [(0, 1, 5)], {}, InputError, ("(image, map, row, column)", "3 numbers")),
    "five columns": (LAYER, [(0, 1, 5, 5, 5)], {}, InputError, ("(image, map, row, column)", "5 numbers")),
    "a position in a vector": ("fc", [(0, 1, 5, 5)], {}, InputError, ("(image, map)", "4 numbers")),
    "too many expected": (LAYER, UNIT, {"expected": torch.ones(2)}, InputError, ("of 1 units", "(2,)")),
    "expected without positions": (LAYER, [1], {"expected": torch.ones(1)}, InputError, ("positions", "1 numbers")),
    "expected as words": (LAYER, UNIT, {"expected": ["one"]}, InputError, ("'one'",)),
    "batch size 0": (LAYER, UNIT, {"batch_size": 0}, InputError, ("at least 1", "got 0")),
    "unknown choice": (LAYER, UNIT, {"overlap": "max"}, InputError, ("expected overlap as one of", "'max'")),
    "unknown keyword": (LAYER, UNIT, {"overlapping": "sum"}, (InputError, TypeError), ("overlapping",)),
    "NaN": (LAYER, UNIT, {"images": [nan_at(IMAGES[0])]}, InputError, ("image 0 finite", "NaN")),
    "integers": (LAYER, UNIT, {"images": IMAGES[0][None].long()}, InputError, ("floating point", "torch.int64")),
    "arrays": (LAYER, UNIT, {"images": [IMAGES[0].numpy()]}, InputError, ("image 0", "ndarray")),
    "a number": (LAYER, UNIT, {"images": 7}, InputError, ("a tensor, a list or a data set", "int")),
    "no images": (LAYER, [1], {"images": []}, InputError, ("at least one image",)),
    "image too small": (LAYER, UNIT, {"images": [IMAGES[0][:, :1, :1]]}, InputError, ("(3, 1, 1)", "too small")),
    "wrong channels": (LAYER, UNIT, {"images": [IMAGES[0][:2, :9, :9]]}, InputError, ("(2, 9, 9)", "channels")),
    "no model": (LAYER, UNIT, {"model": torch.relu}, ModelError, ("torch.nn.Module",)),
}


@pytest.mark.parametrize(("layer", "units", "options", "error", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_sentence_and_nothing_is_changed(layer, units, options, error, says):
    given = {"model": model_(), "images": torch.stack(IMAGES), **options}
    watched = given["model"] if isinstance(given["model"], nn.Module) else nn.Identity()
    before = snapshot(watched, *IMAGES)
    with pytest.raises(error) as raised:
        project(layer=layer, units=units, **given)
    assert snapshot(watched, *IMAGES) == before
    assert "\n" not in str(raised.value)
    assert [part for part in says if part not in str(raised.value)] == [], raised.value


# ---------------------------------------------------------------------------------------- what it leaves, and says


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("at", [0, 1], ids=["whole image", "crops"])
def test_nothing_is_changed_by_an_error_in_any_forward_pass_or_by_success(error, at):
    calls, armed = [], False

    def interrupted(x):
        calls.extend([None] * (not x.is_meta))
        if armed and len(calls) > at:
            raise error
        return x

    model, x = Local(interrupted).eval(), image(2, 3, 64, 64)
    units, before = [(0, *strongest(model, x[0])), (1, *strongest(model, x[1]))], snapshot(model, x)
    project(model, x, "net.4", units)
    assert snapshot(model, x) == before
    calls.clear()
    armed = True
    with pytest.raises(error):
        project(model, x, "net.4", units)
    assert snapshot(model, x) == before


@pytest.mark.parametrize("layer", ["net.0", "net.3"])
def test_another_thread_may_run_and_project_the_model_in_the_midst_of_a_projection(layer):
    x, rows, found, mine = image(4, 3, 40, 40), [(i, 2, 3 * i, 9) for i in range(4)], [], threading.get_ident()

    def work():
        with torch.no_grad():
            found.append(model(x))
        found.append(quietly(model, x, "net.3", rows))

    def meanwhile(x):
        if armed and threading.get_ident() == mine and not x.is_meta:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        return x

    model, armed = Local(meanwhile).eval(), False
    plain, other, expected = model(x).detach(), quietly(model, x, "net.3", rows), quietly(model, x, layer, rows)
    armed = True
    results = [(quietly(model, x, layer, rows), expected)]
    results += [(projection, other) for projection in found[1::2]]
    assert len(found) >= 4
    assert all(torch.equal(output, plain) for output in found[::2])
    for result, wanted in results:
        assert torch.equal(result.from_crop, wanted.from_crop)
        assert torch.equal(result.boxes, wanted.boxes)
        assert all(map(torch.equal, result.patches, wanted.patches))


def test_dead_units_are_announced_once_with_their_numbers_and_the_place():
    model, x = Local().double().eval(), image(3, 40, 40, dtype=torch.float64)
    silent, loud = dead(model, x), strongest(model, x)
    with torch.no_grad():
        model.net[3].weight[7] = -model.net[3].weight[7].abs()
        model.net[3].bias[7] = 9
    for make in (lambda n: [x] * n, lambda n: [x, *[x[:, :38]] * (n - 1)]):
        rows = [(0, *loud), (1, *silent), (2, 7, 4, 4), (3, 7, 9, 9)]
        with pytest.warns(DeadSignalWarning) as said:
            result = project(model, make(4), "net.4", rows)
        assert [result.full(i).any().item() for i in range(4)] == [True, False, False, False]
        texts = sorted(str(warning.message) for warning in said)
        assert len(texts) == 2
        assert "died for 1 of 4 units (1), their projections are zero: their activation is 0" in texts[0]
        assert "died for 2 of 4 units (2, 3)" in texts[1]
        assert "rectified away at 'relu' in module 'net.1'" in texts[1]


def test_numbers_that_are_lost_are_an_error_that_names_the_operation():
    model, x = Local().eval(), image(3, 40, 40)
    with torch.no_grad():
        model.net[0].weight[0, 0, 0, 0] = torch.nan
    for images, rows in ((x[None], [(0, 1, 5, 5)]), (x[None], [(0, 1, 5, 5)] * 400)):
        with pytest.raises(SignalError, match=r"NaN or infinite from 'conv2d' in module 'net\.0' on"):
            project(model, images, "net.3", rows)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_a_random_layer_is_refused(kind):
    layer = nn.Sequential(nn.Flatten(2), kind(), nn.Unflatten(2, (40, 40))) if kind is nn.Dropout1d else kind()
    model = nn.Sequential(layer, nn.Conv2d(3, 2, 3), nn.ReLU()).train()
    with pytest.raises(ModelError, match=r"expected the model in eval mode: .*dropout"):
        project(model, image(1, 3, 40, 40), "2", UNIT)


@pytest.mark.parametrize("make", [Local, with_a_hook], ids=["dry run", "no dry run"])
def test_a_model_in_training_mode_is_refused(make):
    model = nn.Sequential(make(), nn.BatchNorm2d(8)).train()
    with pytest.raises(ModelError, match=r"expected the model in eval mode: .*module '1'"):
        project(model, image(1, 3, 40, 40), "1", [(0, 1, 5, 5)])


def minibatch_deviation(h):
    return torch.cat([h, (h.var(0, correction=0) + 1e-8).sqrt().mean().expand(len(h), 1, *h.shape[2:])], 1)


MIXING = {  # examples of a batch read each other
    "deviation": lambda: Of(lambda x, a, b: b(minibatch_deviation(a(x))), nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3)),
    "mean": lambda: Of(lambda x, a: a(x - x.mean(0, keepdim=True) / 2), nn.Conv2d(3, 4, 3)),
    "statistics, no dry run": lambda: with_a_hook_on(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).requires_grad_(False)
    ),
}


def with_a_hook_on(model):
    model[0].register_forward_hook(lambda module, args, output: None)
    return model


@pytest.mark.parametrize("batch_size", [1, None])
@pytest.mark.parametrize("name", MIXING)
def test_an_image_runs_alone_where_a_model_mixes_its_batch(name, batch_size):
    torch.manual_seed(0)
    model, images = nn.Sequential(MIXING[name](), nn.ReLU()).double().eval(), image(3, 3, 20, 20, dtype=torch.float64)
    rows = [
        (number, *unit) for number in range(3) for unit in corners_edges_middle(outputs(model, images[number], "1"))
    ]
    for units in (rows[::4], rows * 3):
        result = quietly(model, images, "1", units, batch_size=batch_size)
        assert wrong(result, per_unit(model, images, units, "1"), 1e-10) == {}


class Frames(nn.Module):
    """Folds the frames of a video into the batch."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        n, c, t, h, w = x.shape
        y = self.net(x.transpose(1, 2).reshape(n * t, c, h, w))
        return y.view(n, t, *y.shape[1:]).mean(1)


@pytest.mark.parametrize("make", [nn.Sequential, lambda *net: with_a_hook_on(nn.Sequential(*net))], ids=["dry", "hook"])
def test_a_layer_without_a_row_for_each_image_is_refused(make):
    model, x = Frames(make(nn.Conv2d(3, 6, 3), nn.ReLU())).eval(), image(2, 3, 2, 20, 20)
    for units in ([(0, 3, 9, 9)], [(0, 3)], [3]):
        with pytest.raises(InputError, match=r"one row for each image in the output of layer 'net.1'"):
            project(model, x, "net.1", units)
    for selector in (3, (3, 9, 9), (3, slice(None))):
        with pytest.raises(InputError, match=r"one row for each of the 2 examples .* \(4, 6, 18, 18\)"):
            NeuronZFDeconv(model, "net.1").attribute(x, selector)
    summed = NeuronZFDeconv(model, "net.1").attribute(x, lambda output: output[:, 3, 9, 9].view(2, 2).sum(1))
    assert summed.shape == x.shape


NOISY = {
    "dropped rows": lambda: StochasticDepth(0.5, "row"),
    "noise": lambda: Of(lambda x: x + torch.randn_like(x)),
    "functional dropout": lambda: Of(lambda x: nn.functional.dropout(x)),
}


@pytest.mark.parametrize("hook", [False, True], ids=["dry run", "no dry run"])
@pytest.mark.parametrize("name", NOISY)
def test_a_model_that_gives_other_values_in_each_run_is_refused(name, hook):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), NOISY[name](), nn.ReLU()).train()
    with pytest.raises(ModelError, match=r"expected the model in eval mode: .* is random"):
        project(with_a_hook_on(model) if hook else model, image(1, 3, 20, 20), "2", [(0, 1, 5, 5)])


def test_inference_mode_makes_no_difference():
    x = image(2, 3, 40, 40)
    model = nn.Sequential(Local(), nn.BatchNorm2d(8)).eval()
    with torch.inference_mode():
        born = nn.Sequential(Local(), nn.BatchNorm2d(8)).eval()
        born.load_state_dict(model.state_dict())
    expected = quietly(model, x, "1", [1, 2])
    with torch.inference_mode():
        results = [quietly(model, x, "1", [1, 2]), quietly(born, x, "1", [1, 2])]
        fields = [receptive_field(model, "1", x.shape)]
        maps = [NeuronZFDeconv(born, "1").attribute(x, 1), ZFDeconv(born).attribute(x, (1, 2, 3))]
    for result in (*results, quietly(born, x, "1", [1, 2])):
        assert torch.equal(result.units, expected.units)
        assert all(map(torch.equal, result.patches, expected.patches))
    assert fields[0].size == receptive_field(born, "1", x.shape).size
    assert torch.equal(maps[0], NeuronZFDeconv(model, "1").attribute(x, 1))
    assert torch.equal(maps[1], ZFDeconv(model).attribute(x, (1, 2, 3)))


@pytest.mark.parametrize("spelling", [Tensor.tolist, Tensor.float, Tensor.double], ids=["list", "float", "double"])
def test_expected_activations_count_with_the_digits_that_they_have(spelling):
    model, images = model_(), torch.stack(IMAGES)
    output = outputs(model, images[0], LAYER)[:, 3:-3, 3:-3]
    units = [(0, each, *divmod(int(output[each].argmax()), output.shape[2])) for each in range(8)]
    units = [(image, each, row + 3, column + 3) for image, each, row, column in units]
    first = quietly(model, images, LAYER, units)
    again = quietly(model, images, LAYER, units, expected=spelling(first.activations))
    assert (first.activations != first.activations.float()).sum() > 4
    assert first.from_crop.all()
    assert again.from_crop.all()
    off = [value * (1 + 1e-5) for value in first.activations.tolist()]
    result = quietly(model, images, LAYER, units, expected=off)
    assert torch.equal(result.from_crop, first.activations == 0)


def test_a_module_may_be_named_by_any_of_its_names():
    model = Local().eval()
    model.alias = model.net[3]
    found = quietly(model, image(1, 3, 40, 40), "alias", [1])
    assert found.layer == "alias"
    assert torch.equal(found.patches[0], quietly(model, image(1, 3, 40, 40), "net.3", [1]).patches[0])


def test_the_result_is_not_the_callers_tensor():
    units = torch.tensor(ROWS)
    result = quietly(model_(), IMAGES, LAYER, units)
    units.zero_()
    assert result.units.tolist() == [list(row) for row in ROWS]


def test_a_data_set_may_fill_the_same_memory_again():
    class Refilled:
        memory = torch.empty_like(IMAGES[0])

        def __len__(self):
            return len(IMAGES)

        def __getitem__(self, index):
            return self.memory.copy_(IMAGES[index])

    model = model_()
    for units in (ROWS, ROWS * 40):
        result = quietly(model, Refilled(), LAYER, units)
        assert wrong(result, per_unit(model, IMAGES, units), 1e-10) == {}


WRONG = {
    "bool": (lambda: Of(lambda x: x > 0), "", InputError, "in floating point as the output .* got one of torch.bool"),
    "complex": (lambda: Of(lambda x: torch.complex(x, x)), "", InputError, "got one of torch.complex64"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "0", ModelError, "module '0' has none yet"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_has_no_units_is_refused(name):
    make, layer, kind, words = WRONG[name]
    for units in ([1], [(0, 1)]):
        with pytest.raises(kind, match=words):
            project(make().eval(), image(1, 3, 20, 20), layer, units)


def test_images_of_two_types_and_odd_batch_sizes_are_refused():
    with pytest.raises(InputError, match=r"image 1 of torch.float32 after torch.float64"):
        project(model_(), [IMAGES[0], IMAGES[1].float()], LAYER, [1])
    for size in ("3", 0, 2.5):
        with pytest.raises(InputError, match="expected a batch_size of at least 1"):
            project(model_(), IMAGES, LAYER, ROWS, batch_size=size)
