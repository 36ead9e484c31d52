"""What a comparison draws: which methods in which order and style, boxes of units, labels of rows, pages."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, NoiseTunnel
from drawn import tiles, within, words
from torch import nn

from deconv_attr import Method, ZFDeconv, compare, default_methods, receptive_field, rule_tables
from deconv_attr.errors import InputError
from deconv_attr.evidence import controls
from deconv_attr.evidence.drawing import Drawing
from deconv_attr.evidence.page import page_columns, page_images
from deconv_attr.visualize import coloured, framed_pixels

SEED = torch.Generator().manual_seed(4)


def drawn(*shape):
    return torch.randn(shape, generator=SEED, dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    """Scores are linear in the mean of rectified maps: no class has a map of its own."""
    layers = [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 6, 3, stride=2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).double().eval()
    for parameter in net.parameters():
        parameter.data = drawn(*parameter.shape) / 3
    return net


@pytest.fixture(scope="module")
def inputs():
    return drawn(3, 3, 14, 17)


def zeros(model, inputs, target):
    return torch.zeros_like(inputs)


def fails(model, inputs, target):
    raise RuntimeError("no luck")


def titles(drawing):
    return [column.title for column in drawing.columns]


# ------------------------------------------------------------------------------------------------ which columns


def test_methods_with_nothing_to_show_come_last_and_those_that_failed_too(model, inputs):
    half = Method(lambda m, x, t: x * (torch.arange(len(x)) > 1).view(-1, 1, 1, 1), "zero for two of three")
    comparison = compare(model, inputs, 0, [half, Method(fails), Method(zeros), *controls()])
    assert titles(Drawing(comparison)) == [
        "Control: noise",
        "Control: the image",
        "zero for two of three",
        "fails",
        "zeros",
    ]


def test_columns_are_chosen_and_ordered_by_their_labels(model, inputs):
    comparison = compare(model, inputs, 0, [Method(zeros), *controls()])
    assert titles(Drawing(comparison, columns=["zeros", "Control: noise"])) == ["zeros", "Control: noise"]
    with pytest.raises(InputError, match=r"expected columns among .*, got 'Control noise'; the nearest .* Control: n"):
        comparison.plot(columns=["Control noise"])


def test_rows_are_chosen_by_number(model, inputs):
    comparison = compare(model, inputs, 0, controls(), labels=["a", "b", "c"])
    drawing = Drawing(comparison, rows=[2, 0])
    assert drawing.labels == ["c", "a"]
    assert torch.equal(drawing.columns[1].maps[0], inputs[2])


@pytest.mark.parametrize(
    ("maps", "style"),
    [
        (lambda m, x, t: x, "heat"),
        (lambda m, x, t: x[:, :1], "signed"),
        (lambda m, x, t: x[:, :1].abs(), "heat"),
    ],
    ids=["colours", "one channel", "one channel, positive"],
)
def test_maps_are_drawn_as_suits_them(model, inputs, maps, style):
    (column,) = Drawing(compare(model, inputs, 0, {"maps": maps})).columns
    assert column.style == style


@pytest.mark.parametrize("tunnel", [False, True])
def test_grad_cam_shows_its_positive_part_and_says_so(model, inputs, tunnel):
    cam = LayerGradCam(model, model[2])
    method = Method(NoiseTunnel(cam) if tunnel else cam, "CAM", arguments={"nt_samples": 2} if tunnel else {})
    comparison = compare(model, inputs, 0, [method])
    maps = comparison.attributions["CAM"]
    assert (maps < 0).any()
    figure = comparison.plot()
    for row, each in enumerate(maps):
        np.testing.assert_array_equal(tiles(figure)[row, 1].pixels, coloured(each.clamp(min=0), "heat"))
    assert any(text.startswith("positive part only") for text in words(figure))


def test_luminance_stands_beside_colours(model, inputs):
    comparison = compare(model, inputs, 0, [Method(zeros, style="signed"), *controls()])
    drawing = Drawing(comparison, luminance=True)
    image = "Control: the image"
    assert titles(drawing) == ["Control: noise", image, f"{image}, luminance", "zeros"]
    assert [column.style for column in drawing.columns] == ["heat", "signed", "luminance", "signed"]


def test_a_map_of_zeros_says_where_its_signal_died(inputs):
    dead = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 15, 2)).double().eval()
    dead[3].weight.data.abs_().neg_()
    with pytest.warns(UserWarning, match="ZFDeconv: the signal died for 3 of 3 images"):
        comparison = compare(dead, inputs, 1, {"ZFDeconv": lambda m, x, t: ZFDeconv(m).attribute(x, t)})
    figure = comparison.plot(rows=[1])
    said = " ".join(" ".join(within(figure, tiles(figure)[0, 1].rectangle)).split())
    assert said == "rectified away at 1"
    assert page_columns(Drawing(comparison), None)[0].scales == ["rectified away at 1"] * 3


# ------------------------------------------------------------------------------------------------ boxes


def box_of(model, inputs, row, layer, feature_map=None):
    """The receptive field of the strongest unit, found by hand."""
    output = model[: layer + 1](inputs[row : row + 1])[0].detach()
    planes = output if feature_map is None else output[feature_map : feature_map + 1]
    _, y, x = np.unravel_index(int(planes.argmax()), planes.shape)
    return receptive_field(model, str(layer), inputs.shape).box(y, x)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_units_receptive_field_is_drawn_into_its_image(model, inputs, batch_size):
    comparison = compare(model, inputs, 1, default_methods(model, inputs), batch_size=batch_size)
    assert list(comparison.units) == ["ZFDeconv from a unit of 3"]
    boxes = Drawing(comparison).boxes
    assert boxes == {row: [box_of(model, inputs, row, 3)] for row in range(3)}
    figure = comparison.plot()
    assert "box: the unit's receptive field" in words(figure)
    left, _, right, top = tiles(figure)[2, 0].rectangle
    frame = figure.axes[0].patches[-1].get_window_extent()
    y0, x0, y1, x1 = boxes[2][0]
    step = (right - left) / 17
    np.testing.assert_allclose(frame.extents, [left + x0 * step, top - y1 * step, left + x1 * step, top - y0 * step])


def test_the_unit_of_a_feature_map_is_known_too(model, inputs):
    comparison = compare(model, inputs, 1, rule_tables("3", 4))
    boxes = Drawing(comparison).boxes
    assert boxes == {row: [box_of(model, inputs, row, 3, 4)] for row in range(3)}  # all four have the same unit
    for maps in comparison.attributions.values():
        top, left, bottom, right = boxes[0][0]
        outside = maps[0].clone()
        outside[:, top:bottom, left:right] = 0
        assert not outside.any()


def test_units_of_a_class_have_the_map_of_their_class(inputs):
    layers = [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    for parameter in net.parameters():
        parameter.data = drawn(*parameter.shape) / 3
    target = torch.tensor([2, 0, 3])
    comparison = compare(net, inputs, target)
    boxes = Drawing(comparison).boxes
    assert boxes == {row: [box_of(net, inputs, row, 3, int(target[row]))] for row in range(3)}


def test_without_a_unit_or_where_its_position_is_not_known_there_is_no_box(model, inputs):
    plain = compare(model, inputs, 1, controls())
    assert Drawing(plain).boxes == {0: [], 1: [], 2: []}
    assert not any("box" in text for text in words(plain.plot()))
    chosen = compare(model, inputs, 1, rule_tables("3", lambda output: output[:, 0].mean((1, 2))))
    assert Drawing(chosen).boxes == {0: [], 1: [], 2: []}


# ------------------------------------------------------------------------------------------------ other inputs


def of(conv, pool, channels):
    net = nn.Sequential(conv(channels, 4, 3), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 2)).double().eval()
    for parameter in net.parameters():
        parameter.data = drawn(*parameter.shape) / 3
    return net


def test_further_rows_of_a_volume_say_only_what_of_it_they_show():
    volumes = drawn(2, 1, 5, 6, 7)
    comparison = compare(of(nn.Conv3d, nn.AdaptiveAvgPool3d, 1), volumes, 0, controls(), labels=["a", "b"])
    labels = Drawing(comparison).labels
    projection = "largest value of 5 slices"
    assert [label.split("\n")[0] for label in labels] == ["a", projection, "b", projection]
    assert Drawing(comparison, slices=[3]).labels == ["a\nslice 3 of 0 to 4", "b\nslice 3 of 0 to 4"]


def test_channels_are_chosen_of_inputs_and_maps():
    many = drawn(2, 5, 6, 7)
    comparison = compare(of(nn.Conv2d, nn.AdaptiveAvgPool2d, 5), many, 0, controls())
    figure = comparison.plot(channels=(3, 2, 1))
    np.testing.assert_array_equal(tiles(figure)[0, 2].pixels, coloured(many[0, [3, 2, 1]], "signed"))
    assert "image (channels 3, 2, 1)" in words(figure)


def test_a_signals_page_has_curves_and_stripes_of_the_same_width():
    signals = drawn(2, 3, 40)
    comparison = compare(of(nn.Conv1d, nn.AdaptiveAvgPool1d, 3), signals, 0, controls())
    drawing = Drawing(comparison)
    curves = page_images(drawing)
    for curve in curves:
        assert curve.shape[1] == 1200
        assert (curve == 255).mean() > 0.8
        assert (curve < 60).any()
    (_, column) = page_columns(drawing, None)
    stripes = coloured(signals[0][None], "signed")
    height = len(column.pictures[0])
    np.testing.assert_array_equal(column.pictures[0], stripes.repeat(height // 3, axis=0))
    assert column.legend.caption == "signed; white is zero"


def test_boxes_are_in_the_pixels_of_the_page(model, inputs):
    comparison = compare(model, inputs, 1)
    drawing = Drawing(comparison)
    framed, plain = page_images(drawing), [tiles(comparison.plot())[row, 0].pixels for row in range(3)]
    for row, boxes in drawing.boxes.items():
        np.testing.assert_array_equal(framed[row], framed_pixels(plain[row], boxes))
        assert (framed[row] != plain[row]).any()


def test_a_box_is_a_light_line_in_a_dark_one():
    picture = np.full((40, 300, 3), 90, np.uint8)
    drawn_ = framed_pixels(picture, [(10, 20, 30, 60)])
    changed = np.flatnonzero((drawn_ != 90).any((1, 2)))
    assert (changed.min(), changed.max()) == (10, 29)
    line = drawn_[20]
    dark = np.flatnonzero((line == 0).all(1))
    assert (dark.min(), dark.max()) == (20, 59)
    light = np.flatnonzero((line == (255, 214, 10)).all(1))
    assert light.min() == dark.min() + len(dark) // 2
    assert (line[30:50] == 90).all()
    assert (picture == 90).all()
