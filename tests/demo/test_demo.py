"""The embedded default: pictures against geometry worked out by hand, weights against unseen pictures."""

import doctest
from math import acos, pi, sin, sqrt

import numpy as np
import pytest
import torch
from captum.attr import Deconvolution
from torch import nn
from torch.utils.data import DataLoader

import deconv_attr.demo
from deconv_attr.demo import CLASS_NAMES, SIZE, MiniZFNet, Shapes, load_model, normalise
from deconv_attr.demo import train as training
from deconv_attr.demo.outlines import cover
from deconv_attr.demo.shapes import draw_scene
from deconv_attr.demo.zfnet import WEIGHTS
from deconv_attr.errors import InputError

UNSEEN = 4242


def common_area(big: float, small: float, apart: float) -> float:
    """Area that two discs share."""
    to_big = acos((apart**2 + big**2 - small**2) / (2 * apart * big))
    to_small = acos((apart**2 + small**2 - big**2) / (2 * apart * small))
    return big**2 * (to_big - sin(2 * to_big) / 2) + small**2 * (to_small - sin(2 * to_small) / 2)


AREAS = {
    "disc": pi,
    "ring": pi * (1 - 0.56**2),
    "square": 2,
    "triangle": 3 * sqrt(3) / 4,
    "cross": 8 * 0.96 * 0.28 - 4 * 0.28**2,
    "star": 5 * 0.42 * sin(pi / 5),
    "crescent": pi - common_area(1, 0.8, 0.45),
    "heart": 1.1**2 + pi * 0.55**2,
}


@pytest.fixture(scope="module")
def model() -> MiniZFNet:
    return load_model()


@pytest.fixture(scope="module")
def unseen() -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels, drawn once for all tests."""
    pairs = list(Shapes(800, UNSEEN))
    return torch.stack([image for image, _ in pairs]), torch.tensor([label for _, label in pairs])


# Pictures.


def test_every_class_has_an_area_to_compare_with():
    assert set(AREAS) == set(CLASS_NAMES)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.5])
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_an_outline_has_its_area_and_stays_in_its_circle(name, angle):
    row, column, radius = 45.3, 50.6, 36.0
    coverage = cover(name, row, column, radius, angle)
    assert coverage.sum() / radius**2 == pytest.approx(AREAS[name], rel=0.01)
    rows, columns = np.nonzero(coverage >= 0.5)
    assert radius - 6 < np.hypot(rows - row, columns - column).max() <= radius + 1


def test_an_outline_turns_clockwise_about_its_centre():
    # The crescent's bulge is on its left; a quarter turn brings it to the top.
    for angle, bulge in [(0.0, (48, 20)), (pi / 2, (20, 48)), (pi, (48, 76))]:
        coverage = cover("crescent", 48, 48, 30, angle)
        assert coverage[bulge] == 1
        assert coverage[96 - bulge[0], 96 - bulge[1]] == 0


def test_an_edge_is_anti_aliased():
    coverage = cover("square", 48, 48, 30.25 * sqrt(2), 0)
    # The side lies 30.25 pixels from the centre: the pixel 30 away is covered up to its quarter beyond.
    assert coverage[48, 77:80].tolist() == pytest.approx([1, 0.75, 0], abs=1e-4)


def test_an_image_is_the_same_in_whatever_order_it_is_asked_for():
    shapes = Shapes(9, seed=3)
    forwards = [shapes.sample(i) for i in range(9)]
    backwards = [Shapes(20, seed=3).sample(i) for i in reversed(range(9))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.mask, other.mask)
        assert one.label == other.label
    batch, labels = next(iter(DataLoader(shapes, batch_size=9)))
    assert torch.equal(batch, torch.stack([sample.image for sample in forwards]))
    assert labels.tolist() == [sample.label for sample in forwards]


def test_drawing_leaves_the_global_generators_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    Shapes(1)[0]
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_no_two_images_are_alike():
    images = [Shapes(20, seed)[i][0] for seed in (0, 1) for i in range(20)]
    for i, image in enumerate(images):
        for other in images[:i]:
            assert (image - other).abs().mean() > 0.02


def test_images_are_numbers_in_range(unseen):
    images, _ = unseen
    assert images.shape == (800, 3, SIZE, SIZE)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_shape_is_drawn_where_the_mask_says():
    shapes = Shapes(60, UNSEEN)
    for index in range(60):
        image, mask, label = shapes.sample(index)
        background, paint, coverage, true_label = draw_scene(UNSEEN, index)
        assert torch.equal(mask, shapes.mask(index))
        assert label == true_label
        outside, inside = coverage == 0, coverage == 1
        assert not mask.numpy()[outside].any()
        assert mask.numpy()[inside].all()
        assert np.array_equal(image.numpy()[:, outside], background[:, outside])
        assert np.allclose(image.numpy()[:, inside], paint[:, inside], atol=1e-6)
        # Where the mask ends, so does the picture's difference from its background.
        changed = np.abs(image.numpy() - background).max(0) > 0.05
        assert np.mean(changed == mask.numpy()) > 0.95
        assert np.mean(changed[inside]) > 0.9


def test_masks_lie_within_the_frame_and_have_the_area_of_their_class():
    shapes = Shapes(200, UNSEEN)
    for index in range(200):
        _, mask, label = shapes.sample(index)
        assert not torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()
        area = AREAS[CLASS_NAMES[label]]
        assert 0.95 * area * 17**2 < mask.sum() < 1.05 * area * 36**2


def test_classes_are_about_equally_frequent(unseen):
    counts = unseen[1].bincount(minlength=8)
    assert counts.min() > 65
    assert counts.max() < 135


def test_colour_says_nothing_about_the_class(unseen):
    images, labels = unseen
    means = images.mean((2, 3))
    per_class = torch.stack([means[labels == label].mean(0) for label in range(8)])
    # Eight averages of a hundred images each spread by a tenth of one image's spread.
    assert (per_class.std(0) < 0.2 * means.std(0)).all()


def test_a_data_set_ends_and_counts_from_its_end():
    shapes = Shapes(3, seed=1)
    assert len(list(shapes)) == len(shapes) == 3
    assert torch.equal(shapes[-1][0], shapes[2][0])
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"expected an index below 3, got {index}"):
            shapes[index]


@pytest.mark.parametrize("wrong", [{"length": -1}, {"length": 1, "seed": -2}])
def test_negative_numbers_are_refused(wrong):
    with pytest.raises(InputError, match="at least 0, got"):
        Shapes(**wrong)


# Model and weights.


def test_normalise_subtracts_the_mean_and_divides_by_the_deviation():
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1).expand(2, 3, 4, 4)
    expected = torch.tensor([-2.0, 0.0, 2.0]).view(3, 1, 1).expand(2, 3, 4, 4)
    assert torch.equal(normalise(images), expected)


def test_the_network_is_as_deep_and_as_small_as_it_says():
    network = MiniZFNet()
    assert 100_000 <= sum(weight.numel() for weight in network.parameters()) <= 300_000
    signal, sizes = torch.zeros(1, 3, SIZE, SIZE), {}
    for index, layer in enumerate(network.features):
        signal = layer(signal)
        sizes[index] = tuple(signal.shape[1:])
    table = {0: (16, 46, 46), 2: (16, 23, 23), 4: (48, 23, 23), 6: (48, 12, 12), 8: (64, 12, 12)}
    assert {index: sizes[index] for index in table} == table
    assert (sizes[10], sizes[12], sizes[14]) == ((64, 12, 12), (48, 12, 12), (48, 5, 5))


def test_the_weights_are_small_enough_to_ship():
    assert WEIGHTS.stat().st_size <= 1_000_000


def test_the_model_knows_unseen_shapes(model):
    assert not model.training
    assert training.accuracy(model, Shapes(1_000, UNSEEN)) >= 0.97


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")
def test_the_signal_from_the_top_class_reaches_the_pixels(model, unseen):
    inputs = normalise(unseen[0][:100]).requires_grad_()
    maps = Deconvolution(model).attribute(inputs, target=model(inputs).argmax(1))
    assert maps.abs().amax((1, 2, 3)).min() > 1e-4


def test_loading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    load_model()
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_weights_are_an_error_with_a_remedy(tmp_path):
    with pytest.raises(InputError, match=r"python -m deconv_attr\.demo\.train"):
        load_model(tmp_path / "nowhere.pt")


def test_the_example_in_the_docstring_holds():
    assert doctest.testmod(deconv_attr.demo).failed == 0


# Training.


def test_a_short_training_lowers_the_loss_and_repeats_bit_for_bit():
    def run():
        lines = []
        trained = training.train(images=32, epochs=3, seed=5, report=lines.append)
        assert not trained.training
        return [float(line.rsplit(maxsplit=1)[1]) for line in lines], trained.state_dict()

    losses, weights = run()
    again, same_weights = run()
    assert losses[-1] < losses[0]
    assert losses == again
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)


def global_state():
    return (
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


@pytest.mark.parametrize("interrupted", [False, True])
def test_training_leaves_the_global_state_as_it_was(interrupted):
    during = []

    def report(_line):
        during.append(global_state())
        if interrupted:
            raise KeyboardInterrupt

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False, warn_only=True)
    try:
        before = global_state()
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                training.train(images=8, epochs=1, report=report)
        else:
            training.train(images=8, epochs=1, report=report)
        assert global_state() == before
        assert during[0][1:] == (2, True, False)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


def test_accuracy_is_the_share_of_right_answers(unseen):
    class AlwaysStar(nn.Module):
        def forward(self, images):
            return nn.functional.one_hot(torch.full((len(images),), CLASS_NAMES.index("star")), 8)

    shapes = Shapes(300, UNSEEN)
    stars = int((unseen[1][:300] == CLASS_NAMES.index("star")).sum())
    assert training.accuracy(AlwaysStar(), shapes) == stars / 300


def test_the_command_writes_weights_that_load(tmp_path, monkeypatch, capsys):
    fresh = MiniZFNet()
    monkeypatch.setattr(training, "train", lambda seed: fresh if seed == 7 else None)
    monkeypatch.setattr(training, "accuracy", lambda model, shapes: 0.5)
    training.main(["--output", str(tmp_path / "w.pt"), "--seed", "7"])
    assert "50.0%" in capsys.readouterr().out
    loaded = load_model(tmp_path / "w.pt").state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in fresh.state_dict().items())
