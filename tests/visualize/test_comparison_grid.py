"""The grid of methods at every size: where tiles and texts lie, what is written, what a failed method leaves."""

import gc

import numpy as np
import pytest
import torch
from drawn import assert_apart, bars, canvas, legend, points, texts, tiles, within, words
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as PlainFigure
from test_pictures import random_maps

from deconv_attr.errors import InputError
from deconv_attr.visualize import Column, coloured, comparison_figure, comparison_grid, robust_scale
from deconv_attr.visualize.page_layout import broken, text_width

TITLES = [
    "ZFDeconv",
    "ZFDeconv, strongest unit of classifier.2",
    "Guided backprop (own rules: Captum's misses 57 of 57 ReLUs)",
    "IntegratedGradients",
    "$x^$ a_b\\frac",
    "W" * 40,
]
ERROR = "ValueError: module features.3 (conv.py, line 212) got a tensor of shape (3, 64, 55, 55), expected 4 channels"
STYLES = ["signed", "heat", "luminance", "positive"]


@pytest.fixture(autouse=True)
def freed():
    """Free the figures of a test, 80 MB each, before the next one draws its own."""
    yield
    gc.collect()


def maps_of(rows, height=6, width=6, seed=0):
    return 1e-4 * random_maps(rows, 3, height, width, seed=seed)


def some_columns(maps, number):
    return [Column(TITLES[i % len(TITLES)], maps, STYLES[i % 4]) for i in range(number)]


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
    figure = comparison_figure(torch.rand(rows, 3, 6, 6), columns, [LABELS["name"]] * rows, shared_scale)
    assert_apart(figure)


@pytest.mark.parametrize("shared_scale", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("shape", ASPECTS.values(), ids=list(ASPECTS))
@pytest.mark.parametrize("rows", [2, 20])
def test_nothing_is_cut_whatever_the_aspect(rows, shape, shared_scale):
    columns = [*some_columns(maps_of(rows, *shape), 3), Column("a method that failed", None, error=ERROR)]
    figure = comparison_figure(torch.rand(rows, 3, *shape), columns, [LABELS["name"]] * rows, shared_scale)
    assert_apart(figure)
    for tile in tiles(figure).values():
        width, height = tile.size
        assert width / height == pytest.approx(shape[1] / shape[0], rel=1e-6)


@pytest.mark.parametrize("label", LABELS.values(), ids=list(LABELS))
@pytest.mark.parametrize("rows", [1, 3, 30])
def test_labels_keep_to_their_rows(label, rows):
    figure = comparison_figure(torch.rand(rows, 3, 6, 6), some_columns(maps_of(rows), 1), [label] * rows)
    assert_apart(figure)
    first = min(tile.rectangle[0] for tile in tiles(figure).values())
    written = ["".join(text.get_text().split()) for text, box in texts(figure).items() if box[2] < first]
    wanted = "".join(label.split())
    assert len(written) == (rows if wanted else 0)
    if label != LABELS["story"]:
        assert set(written) <= {wanted}
    else:
        assert all(text.endswith("…") and wanted.startswith(text[:-1]) and len(text) > 100 for text in written)


def test_long_titles_are_written_out_above_their_columns_on_one_base():
    for tile in (None, 0.7):
        columns = some_columns(maps_of(1), 6 if tile is None else 12)
        figure = comparison_figure(torch.rand(1, 3, 6, 6), columns, [""], tile=tile)
        grid = tiles(figure)
        top = grid[0, 0].rectangle[3]
        titles = sorted((tuple(box), text.get_text()) for text, box in texts(figure).items() if box[1] >= top)
        wanted = ["image", *(column.title for column in columns)]
        assert ["".join(text.split()) for _, text in titles] == ["".join(title.split()) for title in wanted]
        assert np.ptp([box[1] for box, _ in titles]) < 1
        for column, (box, _) in enumerate(titles):
            left, _, right, _ = grid[0, column].rectangle
            assert (box[0] + box[2]) / 2 == pytest.approx((left + right) / 2, abs=2)
            assert 0 <= box[1] - top < 0.1 * figure.dpi


def test_names_of_methods_are_broken_between_words_in_narrow_columns_too():
    maps = maps_of(1).expand(40, -1, -1, -1)
    columns = [Column("the IntegratedGradients", maps), Column("ZFDeconv of features.12.expand3x3_activation", maps)]
    figure = comparison_figure(torch.rand(40, 3, 6, 6), columns, [""] * 40)
    titles = [text.get_text() for text in texts(figure)]
    assert "the\nIntegratedGradients" in titles
    assert "ZFDeconv of\nfeatures.12.\nexpand3x3_\nactivation" in titles


@pytest.mark.parametrize(
    ("rows", "number", "inches"),
    [(1, 1, 2.1), (1, 4, 1.27), (12, 2, 2.1), (48, 2, 1.05), (1, 27, 0.88), (120, 1, 0.7), (1, 70, 0.88)],
)
def test_tiles_get_smaller_where_there_are_many(rows, number, inches):
    columns = [Column("m", None, error="-")] * number
    figure = comparison_figure(torch.zeros(rows, 1, 2, 2), columns, [""] * rows)
    assert tiles(figure)[0, 0].size == pytest.approx((inches * figure.dpi,) * 2, rel=0.01)


# ------------------------------------------------------------------------------------------------ in a paper


@pytest.mark.parametrize("number", [1, 4, 6, 12, 30])
@pytest.mark.parametrize("rows", [1, 6])
def test_texts_are_readable_where_the_figure_is_as_wide_as_a_papers_text(rows, number):
    maps = maps_of(rows)
    maps[-1] = 0
    columns = [*some_columns(maps, number), Column("failed", None, error=ERROR)]
    figure = comparison_figure(torch.rand(rows, 3, 6, 6), columns, [LABELS["name"]] * rows)
    assert points(figure) >= 6
    assert figure.get_size_inches()[0] <= 7.001


@pytest.mark.parametrize("width", [3.4, 5.0, 12.0])
def test_a_figure_has_the_width_and_the_letters_that_are_asked_for(width):
    columns = some_columns(maps_of(2), 2)
    figure = comparison_figure(torch.rand(2, 3, 6, 6), columns, ["a", "b"], width=width, font_size=6.5)
    assert figure.get_size_inches()[0] == pytest.approx(width)
    assert {text.get_fontsize() for text in texts(figure)} == {6.5}
    assert_apart(figure)


def test_a_tile_has_the_size_that_is_asked_for():
    columns = some_columns(maps_of(2, 6, 3), 2)
    figure = comparison_figure(torch.rand(2, 3, 6, 3), columns, ["a", "b"], tile=1.3)
    width, height = tiles(figure)[1, 1].size
    assert (width, height) == pytest.approx((0.65 * figure.dpi, 1.3 * figure.dpi))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 0}, "expected width as a positive number of inches, got 0"),
        ({"width": "7"}, "expected width as a positive number of inches, got '7'"),
        ({"tile": -1.0}, "expected tile as a positive number of inches, got -1.0"),
        ({"font_size": float("nan")}, "expected font_size as a positive number of points, got nan"),
        ({"width": 7, "tile": 1}, "expected width or tile, got both"),
        ({"width": 1.5}, r"expected a width of at least 2\.0 inches, for labels, an image and a map, got 1\.5"),
        ({"cmap": "warm"}, "expected cmap as the name of a colour map of matplotlib, got 'warm'"),
        ({"cmap": {"hot": "magma"}}, "expected the style signed, luminance, heat, positive, got 'hot'"),
        ({"axes": [1, 2, 3, 4]}, "expected axes of matplotlib, a row for each image, got a int"),
    ],
    ids=["zero", "text", "negative", "nan", "both", "narrow", "no colour map", "no style", "no axes"],
)
def test_sizes_and_colours_that_are_none_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        comparison_figure(torch.rand(1, 3, 6, 6), some_columns(maps_of(1), 3), [""], **sizes)


def test_colour_maps_are_of_one_channel_and_by_style():
    one, three = random_maps(1, 1, 4, 5), random_maps(1, 3, 4, 5)
    columns = [Column("a", one), Column("b", three, "heat"), Column("c", three)]

    def drawn(cmap):
        return [tiles(comparison_figure(three.sigmoid(), columns, [""], cmap=cmap))[0, c].pixels for c in (1, 2, 3)]

    plain, every, heat = drawn(None), drawn("PuOr"), drawn({"heat": "magma"})
    np.testing.assert_array_equal(every[0], coloured(one[0], "signed", cmap="PuOr"))
    np.testing.assert_array_equal(every[1], coloured(three[0], "heat", cmap="PuOr"))
    np.testing.assert_array_equal(every[2], plain[2])
    np.testing.assert_array_equal(heat[0], plain[0])
    np.testing.assert_array_equal(heat[1], coloured(three[0], "heat", cmap="magma"))
    assert (every[0] != plain[0]).any()
    assert (heat[1] != plain[1]).any()


def test_a_pdf_has_no_type_3_fonts(tmp_path):
    figure = comparison_figure(torch.rand(1, 3, 6, 6), some_columns(maps_of(1), 3), [LABELS["name"]])
    figure.savefig(tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


def test_small_figures_are_finer():
    small = comparison_figure(torch.rand(1, 3, 6, 6), [], [""])
    large = comparison_figure(torch.rand(300, 3, 6, 6), some_columns(maps_of(300), 3), [""] * 300)
    assert (small.dpi, large.dpi) == (300, 150)


# ------------------------------------------------------------------------------------------------ a caller's axes


def test_a_callers_axes_are_drawn_on_and_nothing_else():
    maps = maps_of(2)
    maps[1, :] = 0
    columns = [Column("one", maps), Column("two", None, error=ERROR)]
    figure = PlainFigure(figsize=(6, 4))
    axes = figure.subplots(2, 4)
    before = figure.get_size_inches().tolist(), len(figure.axes), len(figure.texts)
    boxes = {0: [(1, 2, 4, 6)]}
    found = comparison_figure(torch.rand(2, 3, 6, 6), columns, ["a", "b"], boxes=boxes, axes=axes[:, :3])
    assert found is figure
    assert (figure.get_size_inches().tolist(), len(figure.axes), len(figure.texts)) == before
    np.testing.assert_array_equal(axes[0, 1].images[0].get_array(), coloured(maps[0], "signed"))
    assert [each.get_title() for each in axes[0]] == ["image", "one", "two", ""]
    written = [[text.get_text().replace("\n", " ") for text in each.texts] for each in axes[:, 1]]
    assert written[0][0].startswith("scale ")
    assert "zero everywhere" in written[1]
    assert any("signed, per colour channel; grey is zero" in text for text in written[1])
    assert ERROR.split(":")[0] in axes[0, 2].texts[0].get_text()
    assert [patch.get_bbox().bounds for patch in axes[0, 0].patches] == [(1.5, 0.5, 4, 3)] * 2
    assert not axes[0, 3].has_data()


def test_texts_on_a_callers_axes_have_the_size_that_is_asked_for():
    axes = PlainFigure().subplots(1, 2)
    comparison_figure(torch.rand(1, 3, 6, 6), some_columns(maps_of(1), 1), ["a"], axes=axes, font_size=5)
    assert {text.get_fontsize() for each in axes for text in [each.title, *each.texts]} == {5}


def test_another_number_of_axes_is_refused():
    axes = PlainFigure().subplots(2, 2)
    with pytest.raises(InputError, match=r"expected axes of the shape \(2, 3\), a row for each image, got \(2, 2\)"):
        comparison_figure(torch.rand(2, 3, 6, 6), some_columns(maps_of(2), 2), ["", ""], axes=axes)


# ------------------------------------------------------------------------------------------------ boxes


def test_boxes_are_drawn_along_the_borders_of_pixels():
    figure = comparison_figure(
        torch.zeros(2, 3, 6, 12), [], ["a", "b"], boxes={1: [(1, 3, 4, 12)]}, boxed="box: a field"
    )
    left, _, right, top = tiles(figure)[1, 0].rectangle
    frames = [patch.get_window_extent().extents for patch in figure.axes[0].patches]
    step = (right - left) / 12
    expected = (left + 3 * step, top - 4 * step, right, top - step)
    assert len(frames) == 2
    for frame in frames:
        np.testing.assert_allclose(frame, expected, atol=1e-6)
    assert "box: a field" in words(figure)


# ------------------------------------------------------------------------------------------------ a failed method


def test_failed_method_says_why_and_the_others_stand():
    maps, images = maps_of(3), torch.rand(3, 3, 6, 6)
    columns = [Column("one", maps), Column("two", None, error=ERROR), Column("three", 2 * maps, "heat")]
    figure = comparison_figure(images, columns, list("abc"))
    blank = [patch.get_window_extent().extents for patch in figure.axes[0].patches]
    assert [" ".join("".join(within(figure, box)).split()) for box in blank] == [ERROR, "error", "error"]
    grid = tiles(figure)
    for row in range(3):
        for column in (0, 2):
            expected = coloured(columns[column].maps[row], columns[column].style)
            np.testing.assert_array_equal(grid[row, {0: 1, 2: 2}[column]].pixels, expected)
        places = [grid[row, 1].rectangle, blank[row], grid[row, 2].rectangle]
        assert [place[0] for place in places] == sorted(place[0] for place in places)
        assert np.ptp([place[1] for place in places]) < 1e-6
    assert [legend(figure, bar)[0] for bar in bars(figure)] == [["-scale", "0", "scale"], ["0", "scale"]]
    pixels, _ = canvas(figure)
    found = pixels[len(pixels) - 1 - int(blank[1][1] + 5), int(blank[1][0] + 5)]
    np.testing.assert_allclose(found, to_rgb("0.95"), atol=0.005)


@pytest.mark.parametrize("rows", [1, 40])
def test_long_error_is_cut_to_its_tile(rows):
    error = " ".join(f"{number}:" + "module" * 3 for number in range(200))
    figure = comparison_figure(torch.zeros(rows, 3, 6, 6), [Column("m", None, error=error)], [""] * rows)
    (text,) = within(figure, figure.axes[0].patches[0].get_window_extent().extents)
    assert text.endswith("…")
    assert error.replace(" ", "").startswith("".join(text[:-1].split()))
    assert len(text) > 30


def test_all_methods_may_fail_and_need_not_say_why():
    figure = comparison_figure(torch.zeros(2, 3, 6, 6), [Column("m", None), Column("n", None)], ["a", "b"])
    blank = [patch.get_window_extent().extents for patch in figure.axes[0].patches]
    assert [within(figure, box) for box in blank] == [["no maps"], ["error"]] * 2
    assert_apart(figure)


# ------------------------------------------------------------------------------------------------ colours


@pytest.mark.parametrize("shared_scale", [False, True], ids=["own", "shared"])
def test_pixels_are_the_colours_of_the_maps(shared_scale):
    maps = random_maps(2, 3, 5, 5)
    maps[1] *= 3
    columns = [Column(style, maps, style) for style in ("signed", "heat")]
    figure = comparison_figure(torch.rand(2, 3, 5, 5), columns, ["", ""], shared_scale)
    pixels, _ = canvas(figure)
    for number, column in enumerate(columns, start=1):
        strengths = maps if column.style == "signed" else maps.abs().amax(1)
        for image in range(2):
            scale = robust_scale(strengths if shared_scale else strengths[image])
            expected = coloured(maps[image], column.style, scale) / 255
            left, bottom, right, top = tiles(figure)[image, number].rectangle
            across = [int(left + (x + 0.5) * (right - left) / 5) for x in range(5)]
            down = [int(len(pixels) - top + (y + 0.5) * (top - bottom) / 5) for y in range(5)]
            np.testing.assert_allclose(pixels[np.ix_(down, across)], expected, atol=1e-6)


def test_the_legend_says_what_the_colours_mean():
    columns = [Column(style, random_maps(1, channels, 4, 4), style) for style in STYLES for channels in (1, 3, 5)]
    figure = comparison_figure(torch.rand(1, 3, 4, 4), columns, [""])
    found = [legend(figure, bar)[1] for bar in bars(figure)]
    assert found == [
        "signed; white is zero",
        "signed, per colour channel; grey is zero",
        "signed, sum of 5 channels; white is zero",
        "|map|; black is zero",
        "|map|, the largest of the colour channels; black is zero",
        "|map|, the largest of 5 channels; black is zero",
        "signed; grey is zero",
        "signed, luminance; grey is zero",
        "signed, sum of 5 channels; grey is zero",
        "positive part only; black is zero or less",
        "positive part of the sum of the colour channels; black is zero or less",
        "positive part of the sum of 5 channels; black is zero or less",
    ]


# ------------------------------------------------------------------------------------------------ refusals


def test_picture_has_no_more_pixels_than_can_be_written():
    with pytest.raises(InputError, match=r"expected at most \d+ images of this shape by 0 methods, .* got 5000"):
        comparison_figure(torch.zeros(5000, 1, 2, 2), [], [""] * 5000)
    columns = [Column("m", None)] * 4000
    with pytest.raises(InputError, match=r"expected at most 0 images of this shape by 4000 methods, .* got 1"):
        comparison_figure(torch.zeros(1, 1, 2, 2), columns, [""])


def test_methods_that_have_no_space_stand_in_a_further_band():
    maps = maps_of(2)
    columns = [Column(f"m{number}", (1 + number) * maps) for number in range(9)]
    columns[8] = Column("m8", None, error="none")
    images = torch.rand(2, 3, 6, 6)
    figure = comparison_figure(images, columns, ["a", "b"], boxes={0: [(1, 1, 3, 3)]})
    grid = tiles(figure)
    assert {row for row, _ in grid} == {0, 1, 2, 3}
    for band, first in ((0, 0), (1, 5)):
        for row in range(2):
            np.testing.assert_array_equal(grid[2 * band + row, 0].pixels, grid[row, 0].pixels)
            for place in range(5 if band == 0 else 3):
                expected = coloured(columns[first + place].maps[row], "signed")
                np.testing.assert_array_equal(grid[2 * band + row, 1 + place].pixels, expected)
    assert words(figure).count("a") == words(figure).count("b") == words(figure).count("image") == 2
    assert len(figure.axes[0].patches) == 2 * 2 + 2  # the box in each band, and two empty tiles
    assert_apart(figure)


@pytest.mark.parametrize("shared_scale", [False, True], ids=["own", "shared"])
def test_the_number_that_the_error_names_is_exact(monkeypatch, shared_scale):
    for name, value in {"PIXELS": 4000, "ROWS": 1}.items():  # tiles are smallest from 9 on
        monkeypatch.setattr(comparison_grid, name, value)

    def draw(rows):
        return comparison_figure(torch.zeros(rows, 1, 2, 2), [Column("m", None)], ["name"] * rows, shared_scale)

    with pytest.raises(InputError, match="expected at most") as caught:
        draw(90)
    most = int(str(caught.value).split("at most ")[1].split()[0])
    height = draw(most).get_size_inches()[1] * 150
    assert 4000 - 150 * 1.05 < height <= 4000
    with pytest.raises(InputError, match=f"expected at most {most} images"):
        draw(most + 1)


def test_error_names_the_method_or_the_image():
    images, maps = torch.rand(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    maps[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"^second: expected a map of finite values, got 1 that"):
        comparison_figure(images, [Column("first", images), Column("second", maps)], ["", ""])
    images[1] = 7
    with pytest.raises(InputError, match=r"^image 1: expected an image between 0 and 1"):
        comparison_figure(images, [], ["", ""])


def test_maps_take_any_number_of_channels():
    maps = random_maps(1, 7, 4, 4)
    figure = comparison_figure(torch.rand(1, 3, 4, 4), [Column("m", maps, style) for style in STYLES], [""])
    for column, style in enumerate(STYLES, start=1):
        np.testing.assert_array_equal(tiles(figure)[0, column].pixels, coloured(maps[0], style))


@pytest.mark.parametrize(
    ("images", "maps", "message"),
    [
        ((0, 3, 4, 4), (0, 3, 4, 4), "at least one image, .*, got none"),
        ((3, 4, 4), (3, 3, 4, 4), r"at least one image, each of shape \(3, H, W\) or \(1, H, W\), got .*\(4, 4\)"),
        ((2, 3, 4, 4), (2, 4, 4), r"expected m maps \(N, C, H, W\), got \(N, 4, 4\)"),
    ],
)
def test_shapes_that_are_no_images_or_maps_are_refused(images, maps, message):
    with pytest.raises(InputError, match=message):
        comparison_figure(torch.zeros(images), [Column("m", torch.zeros(maps))], [""] * images[0])


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("probability 39.2%", 0.8, ["probability", "39.2%"]),
        ("features.12.expand3x3_activation", 1.0, ["features.12.", "expand3x3_", "activation"]),
        ("W" * 12, 0.5, ["W" * 4] * 3),
        ("one two", 9, ["one two"]),
        ("", 1, []),
    ],
    ids=["a number", "a name", "a word", "short", "nothing"],
)
def test_texts_are_broken_after_spaces_and_dots(text, width, lines):
    assert broken(text, 8, width).splitlines() == lines


def test_no_number_is_broken_at_its_point():
    width = 1.05 * text_width("probability 39.", 8)  # where there is space for no more
    assert broken("probability 39.2%", 8, width).splitlines() == ["probability", "39.2%"]
