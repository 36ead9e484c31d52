"""Projections of single units: what is drawn, where, in which colours, and what cannot be drawn."""

import matplotlib
import numpy as np
import pytest
import torch
from drawn import canvas, texts
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from test_pictures import random_maps

from deconv_attr.errors import InputError
from deconv_attr.visualize import (
    luminance,
    projections_figure,
    robust_scale,
    save_figure,
    signed_rgb,
    visualize_projection,
)
from deconv_attr.visualize.pictures import STYLES

BOXES = {
    "inside": (3, 4, 9, 12),
    "top left": (0, 0, 5, 4),
    "bottom right": (11, 14, 16, 20),
    "one pixel": (7, 8, 8, 9),
    "the image": (0, 0, 16, 20),
}
YELLOW, BLACK, WHITE = to_rgb("yellow"), to_rgb("black"), to_rgb("white")


def photo(seed=0, channels=3, height=16, width=20):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cut(image, box):
    top, left, bottom, right = box
    return image[:, top:bottom, left:right]


def map_of(box, seed=0, channels=3):
    top, left, bottom, right = box
    return random_maps(channels, bottom - top, right - left, seed=seed)


def drawn(axes):
    return axes.images[0].get_array()


def as_picture(image):
    return image.expand(3, -1, -1).permute(1, 2, 0).numpy()


def notes(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


# ------------------------------------------------------------------------------------------------ one unit


def test_projection_alone_is_drawn_with_its_own_robust_scale():
    projection = random_maps(3, 7, 5)
    projection[0, 0, 0] = 1e6
    figure, axes = visualize_projection(projection)
    assert figure.axes == [axes]
    np.testing.assert_array_equal(drawn(axes), signed_rgb(projection))
    assert notes(axes) == [f"scale {robust_scale(projection):.3g}"]
    assert robust_scale(projection) < 10


def test_a_given_scale_is_used_and_written():
    projection = torch.tensor([[[0.5, -1.0]], [[0.0, 4.0]], [[1.0, -0.5]]])
    _, axes = visualize_projection(projection, scale=2)
    np.testing.assert_array_equal(drawn(axes), [[[0.625, 0.5, 0.75], [0.25, 1, 0.375]]])
    assert notes(axes) == ["scale 2"]


@pytest.mark.parametrize("box", BOXES.values(), ids=list(BOXES))
def test_three_tiles_are_projection_patch_and_image(box):
    image, projection = photo(), map_of(box)
    figure, axes = visualize_projection(projection, image, torch.tensor(box))
    assert figure.axes == list(axes)
    for tile, expected in zip(axes, [signed_rgb(projection), *map(as_picture, (cut(image, box), image))], strict=True):
        np.testing.assert_array_equal(drawn(tile), expected)
    assert [tile.get_title() for tile in axes] == ["projection", "patch", "image"]
    lefts = [tile.get_position().x0 for tile in axes]
    assert lefts == sorted(lefts)


@pytest.mark.parametrize("box", BOXES.values(), ids=list(BOXES))
def test_box_lies_on_the_borders_of_pixels(box):
    top, left, bottom, right = box
    _, axes = visualize_projection(map_of(box), photo(), box)
    for line in axes[2].patches[-2:]:
        assert line.get_bbox().extents.tolist() == [left - 0.5, top - 0.5, right - 0.5, bottom - 0.5]
        assert not line.get_fill()
    assert (*axes[2].get_xlim(), *axes[2].get_ylim()) == (-0.5, 19.5, 15.5, -0.5)


@pytest.mark.parametrize("box", BOXES.values(), ids=list(BOXES))
@pytest.mark.parametrize("colour", ["black", "white", "yellow", "grey"])
def test_box_is_seen_on_any_image_and_whole_at_its_border(box, colour):
    image = torch.tensor(to_rgb(colour)).view(3, 1, 1).expand(3, 16, 20)
    figure, axes = visualize_projection(map_of(box), image, box)
    pixels, place = canvas(figure)
    top, left, bottom, right = (edge - 0.5 for edge in box)
    middle = (left + right) / 2, (top + bottom) / 2
    edges = [(left, middle[1], 0, -1), (right, middle[1], 0, 1), (middle[0], top, -1, 0), (middle[0], bottom, 1, 0)]
    for x, y, down, across in edges:
        row, column = place(axes[2], x, y)
        seen = [pixels[row + step * down, column + step * across] for step in range(-6, 7)]
        bright = [step for step, found in zip(range(-6, 7), seen, strict=True) if np.allclose(found, YELLOW, atol=0.3)]
        dark = [step for step, found in zip(range(-6, 7), seen, strict=True) if np.allclose(found, BLACK, atol=0.3)]
        assert {-1, 0, 1} & set(bright), "the light line is not on the border"
        assert {1, 2, 3} & set(dark), "the dark line is cut or missing on the outside"


def test_pixels_are_drawn_sharp_row_0_on_top_whatever_the_users_own_style():
    projection = random_maps(3, 7, 5)
    with matplotlib.rc_context({"image.origin": "lower", "image.interpolation": "bilinear", "image.aspect": "auto"}):
        figure, axes = visualize_projection(projection)
        pixels, place = canvas(figure)
    expected = signed_rgb(projection)
    for row in range(7):
        for column in range(5):
            for x, y in [(column - 0.4, row - 0.4), (column, row), (column + 0.4, row + 0.4)]:
                np.testing.assert_allclose(pixels[place(axes, x, y)], expected[row, column], atol=0.005)
    assert place(axes, 0, 0)[0] < place(axes, 0, 6)[0]
    square = [place(axes, *corner) for corner in ((0, 0), (4, 4))]
    assert square[1][0] - square[0][0] == pytest.approx(square[1][1] - square[0][1], abs=1)


def test_one_channel_is_drawn_in_greys():
    projection, image = random_maps(1, 4, 4), photo(channels=1)
    _, axes = visualize_projection(projection, image, (2, 2, 6, 6))
    for tile, expected in zip(
        axes, [signed_rgb(projection), *map(as_picture, (image[:, 2:6, 2:6], image))], strict=True
    ):
        np.testing.assert_array_equal(drawn(tile), expected)
        assert (np.ptp(drawn(tile), axis=2) == 0).all()


def test_projection_of_zeros_is_grey_and_says_so_in_its_middle():
    for scale in (None, 3.0):
        figure, axes = visualize_projection(torch.zeros(3, 6, 8), photo(), BOXES["inside"], scale=scale)
        assert (drawn(axes[0]) == 0.5).all()
        assert notes(axes[0]) == ["zero everywhere"]
        figure.draw_without_rendering()
        word, tile = axes[0].texts[0].get_window_extent(), axes[0].get_window_extent()
        assert (word.x0 + word.x1, word.y0 + word.y1) == pytest.approx((tile.x0 + tile.x1, tile.y0 + tile.y1), abs=4)


@pytest.mark.parametrize("given", [list, tuple, np.array], ids=["list", "tuple", "array"])
def test_callers_own_axes_are_drawn_on_and_the_others_left_alone(given):
    figure = Figure()
    grid = figure.subplots(2, 3)
    box = BOXES["inside"]
    answer, axes = visualize_projection(map_of(box), photo(), box, plt_fig_axis=(figure, given(list(grid[1]))))
    assert answer is figure
    assert list(axes) == list(grid[1])
    assert [len(tile.images) for tile in grid.flat] == [0, 0, 0, 1, 1, 1]
    answer, tile = visualize_projection(map_of(box), plt_fig_axis=(figure, grid[0, 1]), title="own")
    assert (answer, tile) == (figure, grid[0, 1])
    assert [len(tile.images) for tile in grid.flat] == [0, 1, 0, 1, 1, 1]
    assert grid[0, 1].get_title() == "own"
    assert len(figure.axes) == 6


def test_new_figure_has_the_size_that_was_asked_for():
    figure, _ = visualize_projection(random_maps(3, 4, 4), fig_size=(5, 3))
    assert figure.get_size_inches().tolist() == [5, 3]


@pytest.mark.parametrize("title", ["features.5, map 10, unit (3, 4) of a photograph", "$x^$ a_b\\frac", "W" * 60])
def test_title_is_broken_to_its_tile_and_is_no_formula(title):
    box = BOXES["inside"]
    own = Figure(figsize=(6, 5))
    for figure in (None, (own, own.subplots(1, 3))):
        figure, axes = visualize_projection(map_of(box), photo(), box, title=title, plt_fig_axis=figure)
        figure.draw_without_rendering()
        heading, tile = axes[0].title.get_window_extent(), axes[1].get_window_extent()
        assert axes[0].get_title().replace("\n", "").replace(" ", "") == title.replace(" ", "")
        assert heading.x0 >= 0
        assert heading.x1 <= tile.x0
        assert heading.y1 <= figure.bbox.y1
        assert [tile.get_title() for tile in axes[1:]] == ["patch", "image"]


@pytest.fixture
def pyplot():
    """Pyplot without a window, and without any figure before and after."""
    with matplotlib.rc_context({"backend": "agg"}):
        from matplotlib import pyplot

        pyplot.switch_backend("agg")
        pyplot.close("all")
        yield pyplot
        pyplot.close("all")


def test_figure_is_one_of_pyplots_only_if_asked(pyplot):
    visualize_projection(random_maps(3, 4, 4))
    projections_figure([random_maps(3, 4, 4)])
    assert pyplot.get_fignums() == []
    figure, _ = visualize_projection(random_maps(3, 4, 4), use_pyplot=True)
    assert pyplot.get_fignums() == [figure.number]
    assert pyplot.gcf() is figure


def test_tensors_are_left_alone():
    projection, image = map_of(BOXES["inside"]).requires_grad_(), photo()
    box = torch.tensor(BOXES["inside"], dtype=torch.int32)
    before = [tensor.detach().clone() for tensor in (projection, image, box)]
    visualize_projection(projection, image, box)
    projections_figure([projection], [image], box[None], shared_scale=True)
    assert projection.requires_grad
    for tensor, copy in zip((projection, image, box), before, strict=True):
        assert torch.equal(tensor, copy)


# ------------------------------------------------------------------------------------------------ many units


def strips(figure, tiles=3):
    """The axes of each unit, in the order in which they were made."""
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) % tiles == 0
    return [pictures[i : i + tiles] for i in range(0, len(pictures), tiles)]


def bar_ticks(figure):
    (bar,) = (axes for axes in figure.axes if not axes.images)
    return [tick.get_text() for tick in bar.get_xticklabels()]


def units(number):
    """Projections, images and boxes of as many units, of several sizes and strengths."""
    boxes = [list(BOXES.values())[k % len(BOXES)] for k in range(number)]
    projections = [10.0 ** (k % 3) * map_of(box, seed=k) for k, box in enumerate(boxes)]
    return projections, [photo(k) for k in range(number)], torch.tensor(boxes)


def test_each_unit_has_its_projection_its_patch_and_its_image_with_its_box():
    projections, images, boxes = units(7)
    figure = projections_figure(projections, images, boxes)
    for axes, projection, image, box in zip(strips(figure), projections, images, boxes.tolist(), strict=True):
        for tile, expected in zip(
            axes, [signed_rgb(projection), *map(as_picture, (cut(image, box), image))], strict=True
        ):
            np.testing.assert_array_equal(drawn(tile), expected)
        top, left, bottom, right = box
        extents = axes[2].patches[-1].get_bbox().extents.tolist()
        assert extents == [left - 0.5, top - 0.5, right - 0.5, bottom - 0.5]


@pytest.mark.parametrize(("number", "columns"), [(1, 1), (3, 1), (9, 3), (32, 3)])
def test_units_stand_in_rows_each_below_its_label(number, columns):
    labels = [f"unit {k}" for k in range(number)]
    figure = projections_figure(*units(number), labels)
    places = {text.get_text(): text.get_position() for text in figure.texts}
    for k, axes in enumerate(strips(figure)):
        x, y = places[f"unit {k}"]
        assert x <= axes[0].get_position().x0
        assert y >= max(tile.get_position().y1 for tile in axes)
        above = [other for other, (left, bottom) in places.items() if left == x and bottom > y and other in labels]
        assert above == [f"unit {j}" for j in range(k % columns, k, columns)]
    assert len({x for name, (x, _) in places.items() if name in labels}) == columns


def test_tiles_keep_their_aspect_and_share_their_longer_side():
    for options in ({}, {"tile": 0.8}, {"width": 3.3}):
        figure = projections_figure(*units(5), **options)
        longer = set()
        for axes in strips(figure):
            for tile in axes:
                height, width = drawn(tile).shape[:2]
                found = tile.get_window_extent()
                assert found.width / found.height == pytest.approx(width / height, rel=1e-6)
                longer.add(round(max(found.width, found.height) / figure.dpi, 6))
        assert len(longer) == 1
        assert longer == {0.8} or "tile" not in options


def test_without_images_there_are_projections_alone():
    projections, *_ = units(4)
    figure = projections_figure(projections, labels=list("abcd"))
    for (tile,), projection in zip(strips(figure, 1), projections, strict=True):
        np.testing.assert_array_equal(drawn(tile), signed_rgb(projection))
    assert [text.get_text() for text in figure.texts] == list("abcd")


def test_own_scales_stand_below_their_projections():
    projections, images, boxes = units(4)
    figure = projections_figure(projections, images, boxes)
    assert [notes(axes[0]) for axes in strips(figure)] == [[f"scale {robust_scale(p):.3g}"] for p in projections]
    assert bar_ticks(figure) == ["-scale", "0", "scale"]


def test_shared_scale_is_that_of_all_values_and_stands_at_the_bar():
    projections, images, boxes = units(4)
    figure = projections_figure(projections, images, boxes, shared_scale=True)
    scale = robust_scale(torch.cat([projection.flatten() for projection in projections]))
    assert scale not in [robust_scale(projection) for projection in projections[:2]]
    for axes, projection in zip(strips(figure), projections, strict=True):
        np.testing.assert_array_equal(drawn(axes[0]), signed_rgb(projection, scale))
        assert notes(axes[0]) == []
    assert bar_ticks(figure) == [f"{-scale:.3g}", "0", f"{scale:.3g}"]


@pytest.mark.parametrize("shared_scale", [False, True])
def test_units_of_zeros_say_so(shared_scale):
    projections, images, boxes = units(3)
    projections[1] = torch.zeros_like(projections[1])
    figure = projections_figure(projections, images, boxes, shared_scale=shared_scale)
    said = [[note.replace("\n", " ") for note in notes(axes[0])] for axes in strips(figure)]
    assert ["zero everywhere" in each for each in said] == [False, True, False]
    assert (drawn(strips(figure)[1][0]) == 0.5).all()
    dead = projections_figure([torch.zeros(3, 4, 4)] * 2, shared_scale=shared_scale)
    assert bar_ticks(dead) == (["0"] if shared_scale else ["-scale", "0", "scale"])


@pytest.mark.parametrize("shared_scale", [False, True])
def test_one_outlier_does_not_flatten_the_rest(shared_scale):
    projections = [random_maps(3, 16, 16, seed=k) for k in range(3)]
    before = strips(projections_figure(projections, shared_scale=shared_scale), 1)
    projections[1][2, 5, 5] = -1e6
    after = strips(projections_figure(projections, shared_scale=shared_scale), 1)
    for number, ((old,), (new,)) in enumerate(zip(before, after, strict=True)):
        expected = drawn(old).copy()
        if number == 1:
            assert drawn(new)[5, 5, 2] == 0
            expected[5, 5, 2] = 0
        np.testing.assert_allclose(drawn(new), expected, atol=0.01)


@pytest.mark.parametrize("side", [2, 5, 11, 12])
def test_one_outlying_pixel_does_not_flatten_a_small_map(side):
    projection = random_maps(3, side, side)
    projection[:, 1, 1] = 0
    largest = float(projection.abs().max())
    projection[:, 1, 1] = 1e6
    assert 0.3 * largest < robust_scale(projection) <= largest


def nothing_is_cut(figure):
    """The words of a figure, none of which leaves the page or lies on a picture or on other words."""
    figure.draw_without_rendering()
    extents = {text: text.get_window_extent() for text in texts(figure)}
    frames = [axes.get_window_extent() for axes in figure.axes]
    for text, extent in extents.items():
        assert min(extent.x0, extent.y0) >= 0, text.get_text()
        assert extent.x1 <= figure.bbox.x1, text.get_text()
        assert extent.y1 <= figure.bbox.y1, text.get_text()
        zero = text.get_text().replace("\n", " ") == "zero everywhere"  # in the middle of its own tile
        assert sum(frame.overlaps(extent) for frame in frames) == zero, text.get_text()
        assert not any(extent.overlaps(other) for other in extents.values() if other is not extent), text.get_text()
    for frame in frames:
        assert not any(frame.overlaps(other) for other in frames if other is not frame)
    return [text.get_text() for text in extents]


LABELS = ["x", "W" * 70, "features.5, map 10, unit (3, 4): 1.2e+03\nblack and gold garden spider", "$x^$ a_b\\frac", ""]


@pytest.mark.parametrize("with_images", [True, False], ids=["images", "projections"])
@pytest.mark.parametrize(("number", "shared_scale"), [(1, False), (3, True), (9, False), (32, True)])
def test_nothing_is_cut_and_nothing_lies_on_anything_else(number, shared_scale, with_images):
    projections, images, boxes = units(number)
    projections[-1], boxes[-1] = torch.zeros(3, 6, 6), torch.tensor((2, 2, 8, 8))  # fills its tile down to the note
    given = (images, boxes) if with_images else (None, None)
    labels = [LABELS[k % len(LABELS)] for k in range(number, 0, -1)]
    figure = projections_figure(projections, *given, labels, shared_scale=shared_scale)
    words = nothing_is_cut(figure)
    # Long labels are broken, and nothing of them is left out.
    written = {word.replace("\n", "").replace(" ", "") for word in words}
    assert {label.replace("\n", "").replace(" ", "") for label in labels if label} <= written


TITLES = [None, "", "W" * 200, "map 12 at 3, 11 of features.5\n" * 7, LABELS[2]]


@pytest.mark.parametrize("size", [None, (6, 7), (9, 5)])
@pytest.mark.parametrize("title", TITLES, ids=["none", "empty", "long", "lines", "two"])
@pytest.mark.parametrize("shape", [(20, 20), (6, 30), (30, 6)], ids=str)
def test_a_projection_s_own_figure_has_room_for_its_words(shape, title, size):
    height, width = shape
    given = random_maps(3, height, width), torch.rand(3, 40, 50), (2, 3, 2 + height, 3 + width)
    for arguments in (given, given[:1]):
        figure, _ = visualize_projection(*arguments, title=title, fig_size=size)
        words = "".join(nothing_is_cut(figure)).split()
        assert "".join((title or "").split()) in "".join(words)
        assert size is None or tuple(figure.get_size_inches()) == size


def test_the_rows_of_a_caller_s_page_keep_clear_of_each_other():
    figure = Figure()
    for number, row in enumerate(figure.subplots(4, 3)):
        visualize_projection(
            random_maps(3, 8, 8), photo(), (2, 2, 10, 10), title=f"map {number}", plt_fig_axis=(figure, row)
        )
    figure.draw_without_rendering()
    notes_ = [text.get_window_extent() for text in texts(figure) if text.get_text().startswith("scale ")]
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    assert len(notes_) == 4
    assert not any(note.overlaps(title) for note in notes_ for title in titles)


def test_notes_of_slivers_have_room():
    figure = projections_figure([torch.zeros(3, 35, 2)] * 6)
    assert [word.replace("\n", " ") for word in nothing_is_cut(figure)].count("zero everywhere") == 6


def test_page_is_no_larger_than_its_pictures():
    square, landscape, portrait = (
        projections_figure([torch.ones(3, *shape)] * 3, columns=3).get_size_inches()
        for shape in ((8, 8), (8, 16), (16, 12))
    )
    np.testing.assert_allclose(square - landscape, [0, 0.75])
    np.testing.assert_allclose(square - portrait, [3 * 0.375, 0])


def test_label_stands_above_its_own_tiles_only():
    projections, images, boxes = units(9)
    figure = projections_figure(projections, images, boxes, ["W" * 200] + ["b"] * 8)
    figure.draw_without_rendering()
    (long,) = (text.get_window_extent() for text in figure.texts if text.get_text().startswith("W"))
    second = strips(figure)[1][0].get_window_extent()
    assert long.x1 <= second.x0


def test_figure_of_projections_can_be_saved(tmp_path):
    figure = projections_figure([torch.ones(3, 2, 2)], [torch.zeros(3, 8, 8)], [(0, 0, 2, 2)])
    save_figure(figure, tmp_path / "a.png")
    pixels = matplotlib.image.imread(tmp_path / "a.png")
    for tile, colour in zip(strips(figure)[0], (WHITE, BLACK, BLACK), strict=True):
        place = tile.get_position()
        row = int(len(pixels) * (1 - (place.y0 + place.y1) / 2))
        column = int(pixels.shape[1] * (place.x0 + place.x1) / 2)
        np.testing.assert_array_equal(pixels[row, column, :3], colour)


# ------------------------------------------------------------------------------------------------ in a paper


def font_sizes(figure):
    return {text.get_fontsize() for text in texts(figure)}


def test_figures_have_texts_of_8_points_in_the_width_of_a_paper_or_as_asked():
    labels = [f"unit {number}" for number in range(6)]
    for options, width, size in (({}, 7, 8), ({"width": 3.3, "font_size": 6.5}, 3.3, 6.5), ({"columns": 3}, 7, 8)):
        figure = projections_figure(*units(6), labels, **options)
        assert figure.get_figwidth() == width
        assert font_sizes(figure) == {size}
        assert set(labels) < set(nothing_is_cut(figure))
        left = {round(axes[0].get_window_extent().x0) for axes in strips(figure)[:3]}
        assert len(left) >= options.get("columns", 1)
    figure, _ = visualize_projection(map_of(BOXES["inside"]), photo(), BOXES["inside"], title="a", font_size=11)
    assert font_sizes(figure) == {11}
    assert font_sizes(visualize_projection(random_maps(3, 4, 4))[0]) == {8}


def test_columns_are_those_that_were_asked_for():
    for columns in (1, 2, 4, 6):
        figure = projections_figure([random_maps(3, 8, 8)] * 4, columns=columns)
        lefts = [axes.get_window_extent().x0 for (axes,) in strips(figure, 1)]
        assert len(set(lefts)) == min(columns, 4)


def test_large_pictures_keep_their_pixels_on_a_small_page():
    figure = projections_figure([random_maps(3, 300, 300)], width=1.5)
    ((axes,),) = strips(figure, 1)
    assert axes.get_window_extent().width >= 300
    assert figure.dpi <= 600


@pytest.mark.parametrize("with_images", [True, False], ids=["images", "projections"])
def test_units_on_the_callers_axes(with_images):
    projections, images, boxes = units(2)
    projections[1] = torch.zeros_like(projections[1])
    figure = Figure()
    grid = figure.subplots(3, 3)
    if with_images:
        own, given = grid[1:], (images, boxes)
        shown = [tile for row in own for tile in row]
    else:
        own, given = grid[1, :2], ()
        shown = list(own)
    labels = ["first", "second"]
    answer = projections_figure(projections, *given, labels=labels, axes=own, font_size=6)
    assert answer is figure
    assert [axes for axes in grid.flat if axes.images] == shown
    assert len(figure.axes) == 9  # no colour bar
    rows = own if with_images else own[:, None]
    np.testing.assert_array_equal(drawn(rows[0, 0]), signed_rgb(projections[0]))
    assert [row[0].get_title() for row in rows] == labels
    assert [tile.get_title() for tile in rows[0][1:]] == (["patch", "image"] if with_images else [])
    assert notes(rows[0, 0]) == [f"scale {robust_scale(projections[0]):.3g}"]
    assert [note.replace("\n", " ") for note in notes(rows[1, 0])] == ["zero everywhere"]
    assert font_sizes(figure) >= {6}
    assert {text.get_fontsize() for row in rows for tile in row for text in [*tile.texts, tile.title]} == {6}


def test_projections_of_one_channel_are_drawn_in_colours():
    projection = torch.tensor([[[-2.0, 0.0, 2.0]]])
    _, axes = visualize_projection(projection, scale=2, cmap="RdBu_r")
    np.testing.assert_allclose(drawn(axes)[0], matplotlib.colormaps["RdBu_r"]([0.0, 0.5, 1.0])[:, :3])
    figure = projections_figure([projection, random_maps(1, 4, 4)], cmap=matplotlib.colormaps["RdBu_r"])
    tile = strips(figure, 1)[1][0]
    expected = matplotlib.colormaps["RdBu_r"](signed_rgb(random_maps(1, 4, 4))[..., 0])[..., :3]
    np.testing.assert_array_equal(drawn(tile), expected)
    assert legend(figure) == "signed; the middle is zero"
    (bar,) = (axes for axes in figure.axes if not axes.images)
    assert bar.collections[-1].get_cmap().name == "RdBu_r"
    coloured = projections_figure([random_maps(3, 4, 4)], cmap="RdBu_r")  # RGB stays RGB
    np.testing.assert_array_equal(drawn(strips(coloured, 1)[0][0]), signed_rgb(random_maps(3, 4, 4)))


def legend(figure):
    (bar,) = (axes for axes in figure.axes if not axes.images)
    return bar.get_xlabel().replace("\n", " ")


def test_luminance_is_that_of_pillow_around_mid_grey():
    projections = [random_maps(3, 6, 5, seed=seed) for seed in range(2)]
    figure = projections_figure(projections, luminance=True)
    for (tile,), projection in zip(strips(figure, 1), projections, strict=True):
        red, green, blue = projection.double()
        grey = (0.299 * red + 0.587 * green + 0.114 * blue)[None]
        np.testing.assert_allclose(drawn(tile), signed_rgb(grey), atol=1e-6)
        assert notes(tile) == [f"scale {robust_scale(grey):.3g}"]
        _, axes = visualize_projection(projection, luminance=True)
        np.testing.assert_allclose(drawn(axes), signed_rgb(grey), atol=1e-6)
    assert legend(figure) == "signed luminance; grey is zero"
    pixels = torch.randint(0, 256, (1, 3, 9, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pillow = np.asarray(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).convert("L"))
    assert abs(luminance(pixels.double())[0, 0].numpy() - pillow).max() <= 1
    one = random_maps(1, 6, 5)
    np.testing.assert_array_equal(drawn(visualize_projection(one, luminance=True)[1]), signed_rgb(one))


def test_the_colour_bar_says_what_the_colours_mean():
    assert legend(projections_figure([random_maps(3, 4, 4)])) == STYLES["signed"].caption(3)
    assert legend(projections_figure([random_maps(1, 4, 4)])) == "signed; grey is zero"
    assert legend(projections_figure([random_maps(1, 4, 4), random_maps(3, 4, 4)])) == STYLES["signed"].caption(3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": -1}, "expected width as a positive number of inches, got -1"),
        ({"tile": "big"}, "expected tile as a positive number of inches, got 'big'"),
        ({"width": 5, "tile": 1}, "expected width or tile, got both"),
        ({"columns": 0}, "expected columns as a number of at least 1, got 0"),
        ({"font_size": None}, "expected font_size as a positive number of points, got None"),
        ({"width": 0.15}, "expected a width with room for tiles in columns=1, got 0.15 inches"),
        ({"axes": [], "tile": 1}, "expected axes or tile, got both"),
        ({"axes": []}, "expected axes of the shape (2, 1), for projection of each unit, got (0,)"),
        ({"axes": ["a", "b"]}, "expected axes of matplotlib, for projection of each unit, got a str"),
        ({"cmap": "blurple"}, "expected cmap as a colour map of matplotlib or its name, got 'blurple'"),
        ({"cmap": 5}, "expected cmap as a colour map of matplotlib or its name, got 5"),
    ],
    ids=str,
)
def test_sizes_axes_and_colours_that_make_no_sense(options, said):
    with pytest.raises(InputError) as caught:
        projections_figure([GOOD, GOOD], **options)
    assert str(caught.value) == said


def test_a_font_size_or_colours_that_make_no_sense_for_one_unit():
    with pytest.raises(InputError, match="expected font_size as a positive number of points, got 0"):
        visualize_projection(GOOD, font_size=0)
    with pytest.raises(InputError, match="expected cmap as a colour map of matplotlib or its name, got 'blurple'"):
        visualize_projection(GOOD, cmap="blurple")


# ------------------------------------------------------------------------------------------------ bad input

HOLE = torch.full((3, 4, 4), torch.nan)
GOOD, IMAGE, BOX = torch.ones(3, 4, 4), torch.zeros(3, 16, 20), (2, 3, 6, 7)

BAD = {
    "two channels": (
        torch.ones(2, 4, 4),
        IMAGE,
        BOX,
        r"expected a picture of shape \(3, H, W\) or \(1, H, W\), got \(2, 4, 4\)",
    ),
    "batch": (GOOD[None], IMAGE, BOX, r"got \(1, 3, 4, 4\)"),
    "no pixels": (torch.ones(3, 0, 4), IMAGE, BOX, r"got \(3, 0, 4\)"),
    "array": (np.ones((4, 4, 3)), IMAGE, BOX, "expected a tensor .* got a ndarray"),
    "NaN": (HOLE, IMAGE, BOX, "expected a map of finite values, got 48 that are NaN or infinite"),
    "NaN image": (GOOD, torch.full((3, 16, 20), torch.nan), BOX, "expected an image of finite values, got 960 that"),
    "normalised image": (GOOD, IMAGE - 2, BOX, "expected an image between 0 and 1, got values from -2 to -2"),
    "batch of images": (GOOD, IMAGE[None], BOX, r"got \(1, 3, 16, 20\)"),
    "no box": (
        GOOD,
        IMAGE,
        None,
        "expected an image with the box in which the projection lies, got an image and no box",
    ),
    "no image": (
        GOOD,
        None,
        BOX,
        r"expected a box with the image that it lies in, got the box \(2, 3, 6, 7\) and no image",
    ),
    "three numbers": (GOOD, IMAGE, (2, 3, 6), r"4 whole numbers, top, left, bottom, right; got \(2, 3, 6\)"),
    "fractions": (GOOD, IMAGE, torch.tensor([2.5, 3, 6.5, 7]), r"4 whole numbers.*got \[2\.5, 3\.0, 6\.5, 7\.0\]"),
    "too many boxes": (GOOD, IMAGE, torch.tensor([BOX]), r"4 whole numbers.*got \[\[2, 3, 6, 7\]\]"),
    "above": (
        GOOD,
        IMAGE,
        (-1, 3, 3, 7),
        "left < right <= 20 in an image of 16 x 20 pixels, got top -1",
    ),
    "below": (GOOD, IMAGE, (13, 3, 17, 7), "image of 16 x 20 pixels, got top 13, left 3, bottom 17, right 7"),
    "left": (GOOD, IMAGE, (2, -1, 6, 3), "got top 2, left -1"),
    "right": (GOOD, IMAGE, (2, 17, 6, 21), "got top 2, left 17, bottom 6, right 21"),
    "empty": (GOOD, IMAGE, (6, 3, 6, 7), "got top 6, left 3, bottom 6, right 7"),
    "inverted": (GOOD, IMAGE, (2, 7, 6, 3), "got top 2, left 7, bottom 6, right 3"),
    "another size": (GOOD, IMAGE, (2, 3, 6, 8), r"a projection of 4 x 5 pixels in the box \(2, 3, 6, 8\), got 4 x 4"),
}


@pytest.mark.parametrize(("projection", "image", "box", "message"), BAD.values(), ids=list(BAD))
def test_unit_that_cannot_be_drawn_is_an_error(projection, image, box, message):
    with pytest.raises(InputError, match=message) as error:
        visualize_projection(projection, image, box)
    assert "\n" not in str(error.value)
    images, boxes = (None if given is None else [good, given] for good, given in [(IMAGE, image), (BOX, box)])
    with pytest.raises(InputError, match=f"^unit [01]: .*{message}"):
        projections_figure([GOOD, projection], images, boxes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([],), "at least one projection, got none"),
        (([GOOD] * 2, [IMAGE], [BOX] * 2), "expected 2 images for 2 projections, got 1"),
        (([GOOD] * 2, [IMAGE] * 2, torch.tensor([BOX] * 3)), "expected 2 boxes for 2 projections, got 3"),
        (([GOOD] * 2, None, None, ["a"]), "expected 2 labels for 2 projections, or none, got 1"),
    ],
    ids=["none", "images", "boxes", "labels"],
)
def test_numbers_of_projections_images_boxes_and_labels_must_agree(given, message):
    with pytest.raises(InputError, match=message):
        projections_figure(*given)


@pytest.mark.parametrize("scale", [-1.0, torch.nan, torch.inf])
def test_scale_must_be_a_finite_number(scale):
    with pytest.raises(InputError, match=f"finite number of at least 0, got {scale}"):
        visualize_projection(GOOD, scale=scale)


WRONG = {
    "label": (lambda: projections_figure([GOOD], labels=[982]), "expected a label as a text, got 982"),
    "title": (lambda: visualize_projection(GOOD, title=3), "expected a title as a text, got 3"),
    "some images": (
        lambda: projections_figure([GOOD] * 2, [IMAGE, None], [BOX, None]),
        "expected an image and a box for all projections or for none, got them for some",
    ),
    "scale": (lambda: visualize_projection(GOOD, scale="a"), "finite number of at least 0, got 'a'"),
    "scales": (lambda: visualize_projection(GOOD, scale=torch.ones(2)), "finite number of at least 0, got tensor"),
    "size": (lambda: visualize_projection(GOOD, fig_size=(3,)), r"a width and a height in inches, got \(3,\)"),
    "axes alone": (lambda: visualize_projection(GOOD, plt_fig_axis=Figure().subplots()), "a pair of a figure and its"),
    "no figure": (
        lambda: visualize_projection(GOOD, plt_fig_axis=(None, Figure().subplots())),
        "a pair of a figure and its axes, got a NoneType first",
    ),
    "sparse": (
        lambda: visualize_projection(GOOD.to_sparse()),
        "expected a map that is dense and of real numbers, got torch.sparse_coo",
    ),
    "complex": (lambda: visualize_projection(GOOD.to(torch.complex64)), "of real numbers, got .* of torch.complex64"),
}


@pytest.mark.parametrize(("draw", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_drawn_is_one_sentence(draw, message):
    with pytest.raises(InputError, match=message) as caught:
        draw()
    assert "\n" not in str(caught.value)


def test_no_labels_may_be_none():
    assert projections_figure([GOOD], labels=None).texts == []


@pytest.mark.parametrize("number", [1, 2, 4])
def test_number_of_axes_must_be_that_of_the_tiles(number):
    figure = Figure()
    axes = figure.subplots(1, number)
    with pytest.raises(
        InputError, match=f"expected 3 axes in plt_fig_axis, for projection, patch, image; got {number}"
    ):
        visualize_projection(GOOD, IMAGE, BOX, plt_fig_axis=(figure, axes))
    if number > 1:
        with pytest.raises(InputError, match=f"expected 1 axes in plt_fig_axis, for projection; got {number}"):
            visualize_projection(GOOD, plt_fig_axis=(figure, axes))
    assert not any(tile.images for tile in figure.axes)
