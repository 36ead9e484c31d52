"""The grid of methods at every size: where tiles and texts lie, what is written, what a failed method leaves."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from test_pictures import bar_ticks, random_maps, tiles
from test_projection_figures import canvas

from deconv_attr.errors import InputError
from deconv_attr.visualize import Column, coloured, comparison_figure, comparison_grid, robust_scale

TITLES = [
    "ZFDeconv",
    "ZFDeconv, strongest unit of classifier.2",
    "Guided backprop (own rules: Captum's misses 57 of 57 ReLUs)",
    "IntegratedGradients",
    "$x^$ a_b\\frac",
    "W" * 40,
]
ERROR = "ValueError: module features.3 (conv.py, line 212) got a tensor of shape (3, 64, 55, 55), expected 4 channels"


def maps_of(rows, height=6, width=6, seed=0):
    return 1e-4 * random_maps(rows, 3, height, width, seed=seed)


def some_columns(maps, number):
    return [Column(TITLES[i % len(TITLES)], maps, ["signed", "heat"][i % 2]) for i in range(number)]


def extents(figure):
    """Each text that is drawn: its axes, or None, and its place in pixels."""
    figure.draw_without_rendering()
    found = [(text, None) for text in figure.texts]
    for axes in figure.axes:
        found += [(text, axes) for text in [*axes.texts, axes.title]]
        if axes.axison:
            found += [(text, axes) for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]]
            found += [(axes.xaxis.label, axes), (axes.yaxis.label, axes)]
    return {text: (axes, text.get_window_extent()) for text, axes in found if text.get_text()}


def inside(small, large):
    return large.x0 <= small.x0 and small.x1 <= large.x1 and large.y0 <= small.y0 and small.y1 <= large.y1


def overlaps(places, others):
    """Which places lie on which others, (n, m), of places (n, 4) and (m, 4): left, bottom, right, top."""
    first, second = places[:, None], others[None]
    return ((first[..., :2] < second[..., 2:]) & (second[..., :2] < first[..., 2:])).all(-1)


def assert_apart(figure):
    """Nothing is cut, and nothing lies on anything else, but for what is written into a tile, wholly."""
    found = extents(figure)
    frames = [axes.get_window_extent() for axes in figure.axes]
    own = dict(zip(figure.axes, frames, strict=True))
    tiles_, texts = (np.array([each.extents for each in group]) for group in (frames, [e for _, e in found.values()]))
    outside = np.array([axes is None or not inside(extent, own[axes]) for axes, extent in found.values()])
    for places in (tiles_, texts):
        assert (places[:, :2] >= 0).all()
        assert (places[:, 2:] <= figure.bbox.max).all()
        np.testing.assert_array_equal(overlaps(places, places), np.eye(len(places), dtype=bool))
    assert not overlaps(texts[outside], tiles_).any()


def said(axes):
    return [text.get_text() for text in axes.texts]


# ------------------------------------------------------------------------------------------------ places

SIZES = {"1 x 3": (1, 3), "1 x 12": (1, 12), "3 x 4": (3, 4), "12 x 3": (12, 3), "40 x 2": (40, 2), "10 x 14": (10, 14)}
ASPECTS = {"square": (6, 6), "wide": (6, 15), "very wide": (2, 18), "tall": (15, 6), "very tall": (18, 2)}
LABELS = {
    "none": "",
    "letter": "x",
    "name": "black and gold garden spider\n41.6%",
    "dollars": "$x^$ a_b\\frac",
    "word": "W" * 40 + "\n1.0%",
    "story": "a photograph of a spider in its web, " * 40,
}


@pytest.mark.parametrize("shared_scale", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize(("rows", "number"), SIZES.values(), ids=list(SIZES))
def test_nothing_is_cut_and_nothing_lies_on_anything_else(rows, number, shared_scale):
    maps = maps_of(rows)
    maps[0] = 0
    columns = [*some_columns(maps, number), Column("a method that failed", None, error=ERROR)]
    assert_apart(comparison_figure(torch.rand(rows, 3, 6, 6), columns, [LABELS["name"]] * rows, shared_scale))


@pytest.mark.parametrize("shared_scale", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("shape", ASPECTS.values(), ids=list(ASPECTS))
@pytest.mark.parametrize("rows", [2, 20])
def test_nothing_is_cut_whatever_the_aspect(rows, shape, shared_scale):
    columns = [*some_columns(maps_of(rows, *shape), 3), Column("a method that failed", None, error=ERROR)]
    figure = comparison_figure(torch.rand(rows, 3, *shape), columns, [LABELS["name"]] * rows, shared_scale)
    assert_apart(figure)
    for axes in tiles(figure).values():
        extent = axes.get_window_extent()
        assert extent.width / extent.height == pytest.approx(shape[1] / shape[0], rel=1e-6)


@pytest.mark.parametrize("label", LABELS.values(), ids=list(LABELS))
@pytest.mark.parametrize("rows", [1, 3, 30])
def test_labels_keep_to_their_rows(label, rows):
    figure = comparison_figure(torch.rand(rows, 3, 6, 6), some_columns(maps_of(rows), 1), [label] * rows)
    assert_apart(figure)
    written = ["".join(text.get_text().split()) for text in figure.texts[2:]]
    wanted = "".join(label.split())
    assert len(written) == rows
    if label != LABELS["story"]:
        assert written == [wanted] * rows
    else:
        assert all(text.endswith("…") and wanted.startswith(text[:-1]) and len(text) > 100 for text in written)


def test_long_titles_are_written_out_above_their_columns_on_one_base():
    for number in (3, 12):
        columns = some_columns(maps_of(1), number)
        figure = comparison_figure(torch.rand(1, 3, 6, 6), columns, [""])
        titles = [(text, extent) for text, (axes, extent) in extents(figure).items() if axes is None]
        wanted = ["image", *(column.title for column in columns)]
        assert ["".join(text.get_text().split()) for text, _ in titles] == ["".join(title.split()) for title in wanted]
        assert np.ptp([extent.y0 for _, extent in titles]) < 1
        for column, (_, extent) in enumerate(titles):
            tile = tiles(figure)[0, column].get_window_extent()
            assert (extent.x0 + extent.x1) / 2 == pytest.approx((tile.x0 + tile.x1) / 2, abs=2)
            assert 0 <= extent.y0 - tile.y1 < 0.1 * figure.dpi


def test_names_of_methods_are_broken_between_words_in_narrow_columns_too():
    maps = maps_of(1).expand(40, -1, -1, -1)
    figure = comparison_figure(torch.rand(40, 3, 6, 6), [Column("the IntegratedGradients", maps)], [""] * 40)
    assert figure.texts[1].get_text() == "the\nIntegratedGradients"


@pytest.mark.parametrize(
    ("rows", "number", "inches"),
    [(1, 3, 2.1), (12, 6, 2.1), (48, 3, 1.05), (1, 27, 1.05), (120, 1, 0.7), (1, 70, 0.7)],
)
def test_tiles_get_smaller_where_there_are_many(rows, number, inches):
    columns = [Column("m", None, error="-")] * number
    figure = comparison_figure(torch.zeros(rows, 1, 2, 2), columns, [""] * rows)
    extent = tiles(figure)[0, 0].get_window_extent()
    assert (extent.width, extent.height) == pytest.approx((inches * figure.dpi,) * 2)


def test_scale_shared_by_a_narrow_column_stands_below_its_bar():
    maps = maps_of(40)
    figure = comparison_figure(torch.zeros(40, 3, 6, 6), [Column("m", maps)], [""] * 40, shared_scale=True)
    assert bar_ticks(figure) == [["-s", "0", "s"]]
    assert f"s = {robust_scale(maps):.2g}" in figure.axes[-1].get_xlabel().splitlines()
    alone = comparison_figure(torch.zeros(40, 3, 6, 6), [Column("m", maps)], [""] * 40)
    assert "s =" not in alone.axes[-1].get_xlabel()


# ------------------------------------------------------------------------------------------------ a failed method


def test_failed_method_says_why_and_the_others_stand():
    maps, images = maps_of(3), torch.rand(3, 3, 6, 6)
    columns = [Column("one", maps), Column("two", None, error=ERROR), Column("three", 2 * maps, "heat")]
    figure = comparison_figure(images, columns, list("abc"))
    blank = [axes for axes in figure.axes if not axes.images and said(axes)]
    assert [" ".join("".join(said(axes)).split()) for axes in blank] == [ERROR, "error", "error"]
    grid = tiles(figure)
    for row in range(3):
        for column in (0, 2):
            expected = coloured(columns[column].maps[row], columns[column].style)
            drawn = grid[row, {0: 1, 2: 2}[column]].images[0].get_array()
            np.testing.assert_array_equal(drawn, expected)
        places = [axes.get_window_extent() for axes in (grid[row, 1], blank[row], grid[row, 2])]
        assert [place.x0 for place in places] == sorted(place.x0 for place in places)
        assert np.ptp([place.y0 for place in places]) < 1e-6
    assert [names for names in bar_ticks(figure) if names] == [["-s", "0", "s"], ["0", "s"]]
    assert len(figure.axes) == 3 * 4 + 2
    pixels, _ = canvas(figure)
    corner = blank[1].get_window_extent()
    found = pixels[len(pixels) - 1 - int(corner.y0 + 5), int(corner.x0 + 5)]
    np.testing.assert_allclose(found, to_rgb("0.95"), atol=0.005)


@pytest.mark.parametrize("rows", [1, 40])
def test_long_error_is_cut_to_its_tile(rows):
    error = " ".join(f"{number}:" + "module" * 3 for number in range(200))
    figure = comparison_figure(torch.zeros(rows, 3, 6, 6), [Column("m", None, error=error)], [""] * rows)
    (text,) = next(axes for axes in figure.axes if not axes.images).texts
    assert text.get_text().endswith("…")
    assert error.replace(" ", "").startswith("".join(text.get_text()[:-1].split()))
    assert len(text.get_text()) > 30
    figure.draw_without_rendering()
    assert inside(text.get_window_extent(), text.axes.get_window_extent())


def test_all_methods_may_fail_and_need_not_say_why():
    figure = comparison_figure(torch.zeros(2, 3, 6, 6), [Column("m", None), Column("n", None)], ["a", "b"])
    blank = [axes for axes in figure.axes if not axes.images]
    assert [said(axes) for axes in blank] == [["no maps"], ["error"]] * 2
    assert_apart(figure)


# ------------------------------------------------------------------------------------------------ colours


@pytest.mark.parametrize("shared_scale", [False, True], ids=["own", "shared"])
def test_pixels_are_the_colours_of_the_maps(shared_scale):
    maps = random_maps(2, 3, 5, 5)
    maps[1] *= 3
    columns = [Column(style, maps, style) for style in ("signed", "heat")]
    figure = comparison_figure(torch.rand(2, 3, 5, 5), columns, ["", ""], shared_scale)
    pixels, place = canvas(figure)
    for number, column in enumerate(columns, start=1):
        strengths = maps if column.style == "signed" else maps.abs().amax(1)
        for image in range(2):
            scale = robust_scale(strengths if shared_scale else strengths[image])
            expected = coloured(maps[image], column.style, scale) / 255
            axes = tiles(figure)[image, number]
            found = [[pixels[place(axes, x, y)] for x in range(5)] for y in range(5)]
            np.testing.assert_allclose(found, expected, atol=1e-6)


# ------------------------------------------------------------------------------------------------ refusals


def test_picture_has_no_more_pixels_than_can_be_written():
    with pytest.raises(InputError, match=r"expected at most \d+ images of this shape, .* 65500 pixels .*, got 5000"):
        comparison_figure(torch.zeros(5000, 1, 2, 2), [], [""] * 5000)
    columns = [Column("m", None)] * 1000
    with pytest.raises(InputError, match=r"expected at most \d+ methods of this shape, .* 65500 pixels .*, got 1000"):
        comparison_figure(torch.zeros(1, 1, 2, 2), columns, [""])


@pytest.mark.parametrize("shared_scale", [False, True], ids=["own", "shared"])
def test_the_number_that_the_error_names_is_exact(monkeypatch, shared_scale):
    for name, value in {"PIXELS": 4000, "ROWS": 1, "COLUMNS": 1}.items():  # tiles are smallest from 9 on
        monkeypatch.setattr(comparison_grid, name, value)

    def draw(rows, number):
        columns = [Column("m", None, error="-")] * number
        return comparison_figure(torch.zeros(rows, 1, 2, 2), columns, ["name"] * rows, shared_scale)

    def most(rows, number):
        with pytest.raises(InputError, match="expected at most") as caught:
            draw(rows, number)
        return int(str(caught.value).split("at most ")[1].split()[0])

    rows, number = most(90, 1), most(1, 90)
    for figure, side in ((draw(rows, 1), 1), (draw(1, number), 0)):
        step = figure.dpi * (0.96 if side else 0.95)
        assert 4000 - step < figure.get_size_inches()[side] * figure.dpi <= 4000
    assert (most(rows + 1, 1), most(1, number + 1)) == (rows, number)


def test_error_names_the_method_or_the_image():
    images, maps = torch.rand(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    maps[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"^second: expected a map of finite values, got 1 that"):
        comparison_figure(images, [Column("first", images), Column("second", maps)], ["", ""])
    with pytest.raises(InputError, match=r"^first: expected a picture of shape .*, got \(2, 4, 4\)"):
        comparison_figure(images, [Column("first", images[:, :2])], ["", ""])
    images[1] = 7
    with pytest.raises(InputError, match=r"^image 1: expected an image between 0 and 1"):
        comparison_figure(images, [], ["", ""])


def test_heat_takes_any_number_of_channels():
    maps = random_maps(1, 7, 4, 4)
    figure = comparison_figure(torch.rand(1, 3, 4, 4), [Column("m", maps, "heat")], [""])
    np.testing.assert_array_equal(tiles(figure)[0, 1].images[0].get_array(), coloured(maps[0], "heat"))


@pytest.mark.parametrize(
    ("images", "maps", "message"),
    [
        ((0, 3, 4, 4), (0, 3, 4, 4), r"at least one image, .*, got \(0, 3, 4, 4\)"),
        ((3, 4, 4), (3, 3, 4, 4), r"at least one image, of shape \(N, 3, H, W\) or \(N, 1, H, W\), got \(3, 4, 4\)"),
        ((2, 3, 4, 4), (2, 4, 4), r"expected m maps \(N, C, H, W\), got \(2, 4, 4\)"),
    ],
)
def test_shapes_that_are_no_images_or_maps_are_refused(images, maps, message):
    with pytest.raises(InputError, match=message):
        comparison_figure(torch.zeros(images), [Column("m", torch.zeros(maps))], [""] * images[0])
