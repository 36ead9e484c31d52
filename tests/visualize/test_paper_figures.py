"""Galleries and evolutions: which tile lies where on the drawn page, pixel by pixel; what is written and refused."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from deconv_attr.errors import InputError
from deconv_attr.visualize import MOST_MAPS, evolution_figure, gallery_figure, save_figure
from deconv_attr.visualize.tile_page import Tiling
from deconv_attr.visualize.tiles import MapTiles

LONG = "backbone.layer4.2.some_very_long_name_of_a_block_that_is_repeated.relu#2"
DEAD = "not active in these images"
FACTS = "256 maps, receptive field 35 x 35"


def tiles(number, count, height=5, width=None, value=12.345):
    """Tiles whose every pixel has a colour of its own, none of them white."""
    shape = (count, height, height if width is None else width, 3)
    projections, patches = np.random.default_rng(number).integers(0, 250, (2, *shape), dtype=np.uint8)
    whole = [(0, 0, *shape[1:3])] * count
    values = [value * 0.9**i for i in range(count)]
    return MapTiles(
        layer="features.5",
        number=number,
        values=values,
        scales=[0.5 + each for each in values],
        images=[0] * count,
        positions=[(0, 0)] * count,
        boxes=whole,
        insides=whole,
        projections=projections,
        patches=patches,
    )


def plain(count, side):
    """Tiles that are of one colour each, and all of different ones."""
    colours = np.arange(2 * count * 3, dtype=np.uint8).reshape(2, count, 1, 1, 3) * 4
    projections, patches = (each.repeat(side, 1).repeat(side, 2) for each in colours)
    return replace(tiles(0, count, side), projections=projections, patches=patches)


def pages(figure):
    """The drawn page, and where its axes lie in it: top, left, bottom, right."""
    agg = FigureCanvasAgg(figure)
    agg.draw()
    pixels = np.asarray(agg.buffer_rgba())[..., :3]
    boxes = [axes.get_window_extent() for axes in figure.axes]
    return pixels, [
        [len(pixels) - round(box.y1), round(box.x0), len(pixels) - round(box.y0), round(box.x1)] for box in boxes
    ]


def find(page, tile):
    """The only place (top, left) of a tile on a page, and how many times it is magnified; every pixel is compared."""
    found = []
    same = (page == tile[0, 0]).all(-1)
    inside = np.zeros_like(same)
    inside[1:] |= same[:-1]
    inside[:, 1:] |= same[:, :-1]
    for top, left in np.argwhere(same & ~inside):
        right = left
        while right < page.shape[1] and (page[top, right] == tile[0, 0]).all():
            right += 1
        times = right - left
        drawn = page[top : top + times * tile.shape[0], left : left + times * tile.shape[1]]
        large = tile.repeat(times, 0).repeat(times, 1)
        if drawn.shape == large.shape and (drawn == large).all():
            found.append((int(top), int(left), int(times)))
    if not found and tuple(map(int, matplotlib.__version__.split(".")[:2])) < (3, 11):
        pytest.skip("matplotlib before 3.11 draws some pictures a pixel too wide or too high")
    assert len(found) == 1, found
    return found[0]


def nothing_is_cut(figure):
    """The words of a figure, none of which leaves the page or lies on a picture, on other words or another's place."""
    figure.draw_without_rendering()
    written = [(text, axes) for axes in figure.axes for text in axes.texts] + [(text, None) for text in figure.texts]
    extents = [text.get_window_extent() for text, _ in written]
    frames = {axes: axes.get_window_extent() for axes in figure.axes}
    for (text, owner), extent in zip(written, extents, strict=True):
        assert min(extent.x0, extent.y0) >= 0, text.get_text()
        assert extent.x1 <= figure.bbox.x1, text.get_text()
        assert extent.y1 <= figure.bbox.y1, text.get_text()
        for axes, frame in frames.items():
            if axes is owner and not axes.images and frame.overlaps(extent):  # an empty place, which holds its text
                assert frame.x0 <= extent.x0 < extent.x1 <= frame.x1, text.get_text()
                assert frame.y0 <= extent.y0 < extent.y1 <= frame.y1, text.get_text()
            else:
                assert not frame.overlaps(extent), text.get_text()
        assert not any(extent.overlaps(other) for other in extents if other is not extent), text.get_text()
    for frame in frames.values():
        assert not any(frame.overlaps(other) for other in frames.values() if other is not frame)
        assert figure.bbox.x0 <= frame.x0 < frame.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= frame.y0 < frame.y1 <= figure.bbox.y1
    return [text.get_text() for text, owner in written if owner is None] + [
        text.get_text() for text, owner in written if owner is not None
    ]


def columns_of(k):
    return next(columns for columns in range(1, k + 1) if columns**2 >= k)


def white(page):
    return (page == 255).all(-1)


# ------------------------------------------------------------------------------------------------ gallery


def gap_of(figure):
    """White pixels between two tiles."""
    return int(0.014 * figure.dpi)


@pytest.mark.parametrize("k", [1, 4, 5, 9, 25])
@pytest.mark.parametrize(("height", "width"), [(5, 5), (11, 4), (3, 13)], ids=["square", "tall", "wide"])
def test_tiles_lie_row_by_row_projections_left_patches_right_pixel_by_pixel(k, height, width):
    shown = tiles(41, k, height, width)
    figure = gallery_figure("features.5", [shown], k)
    page, _ = pages(figure)
    left = [find(page, tile) for tile in shown.projections]
    right = [find(page, tile) for tile in shown.patches]
    (first_top, first_left, times), columns, gap = left[0], columns_of(k), gap_of(figure)
    for i, (top, at, each) in enumerate(left):
        row, column = divmod(i, columns)
        gap_above = top - first_top - row * height * times
        gap_beside = at - first_left - column * width * times
        assert (each, gap_above, gap_beside) == (times, gap * row, gap * column)
        assert white(page[top + height * times, at : at + width * times]).all()
    across = right[0][1] - first_left
    assert across == columns * width * times + gap * (columns - 1) + int(0.06 * figure.dpi)
    assert [(top, at + across, each) for top, at, each in left] == right


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 64])
def test_blocks_flow_left_to_right_and_top_to_bottom_on_a_page_of_good_shape(count):
    maps = [tiles(number, 4, 7) for number in range(count)]
    figure = gallery_figure("features.5", maps, 4)
    page, boxes = pages(figure)
    assert len(boxes) == count
    starts = [find(page, m.projections[0])[:2] for m in [*maps[:5], maps[-1]]]
    assert starts == [tuple(box[:2]) for box in [*boxes[:5], boxes[-1]]]
    corners = [(top, left) for top, left, _, _ in boxes]
    assert corners == sorted(corners)
    columns = len({left for _, left in corners})
    assert [left for _, left in corners] == [corners[i % columns][1] for i in range(count)]
    width, height = figure.get_size_inches()
    assert 3 < width <= 7
    assert height < 11  # even 64 maps fit on a sheet
    if 3 < count < 64:
        assert 1.2 < width / height < 1.9


def test_white_between_blocks_is_more_than_between_halves_and_that_more_than_between_tiles():
    maps = [tiles(number, 9, 35) for number in range(16)]
    figure = gallery_figure("features.5", maps, 9)
    page, boxes = pages(figure)
    ends = [find(page, maps[0].projections[2]), find(page, maps[0].patches[0])]
    halves = ends[1][1] - ends[0][1] - 35 * ends[0][2]
    blocks, down = boxes[1][1] - boxes[0][3], boxes[4][0] - boxes[0][2]
    assert boxes[4][1] == boxes[0][1]
    assert min(blocks, down) >= 2 * halves >= 8 * gap_of(figure)
    assert white(page[boxes[0][0] : boxes[0][2], boxes[0][3] : boxes[1][1]]).all()


@pytest.mark.parametrize(("side", "times"), [(1, 79), (5, 16), (35, 3), (51, 2), (75, 2), (163, 1)])
def test_small_tiles_grow_by_a_whole_number_and_big_ones_keep_their_pixels(side, times):
    shown = tiles(3, 9, side)
    figure = gallery_figure("features.5", [shown], 9)
    page, boxes = pages(figure)
    assert [find(page, tile)[2] for tile in (shown.projections[8], shown.patches[0])] == [times] * 2
    assert 150 <= figure.dpi <= 600
    assert (boxes[0][3] - boxes[0][1]) / figure.dpi == pytest.approx(2 * 1.6 + 0.06, abs=0.03)


def test_64_maps_of_tiles_of_75_pixels_lose_none():
    maps = [tiles(number, 9, 75) for number in range(64)]
    figure = gallery_figure(LONG, maps, 9, FACTS)
    nothing_is_cut(figure)
    page, _ = pages(figure)
    for tile in (maps[0].projections[0], maps[63].patches[8]):
        assert find(page, tile)[2] == 1


def test_tiles_too_big_for_their_page_are_shrunk_and_stay_in_order():
    maps = [plain(9, 224)] * 30
    figure = gallery_figure("features.12", maps, 9)
    page, ((top, left, bottom, right), *_) = pages(figure)
    assert figure.dpi == 600
    half = (right - left - 36) // 2
    for start, pictures in ((left, maps[0].projections), (right - half, maps[0].patches)):
        for place in range(9):
            row, column = divmod(place, 3)
            y, x = top + (bottom - top) * (2 * row + 1) // 6, start + half * (2 * column + 1) // 6
            np.testing.assert_array_equal(page[y, x], pictures[place, 0, 0])
        borders = [white(page[top + 10, start : start + half]).sum(), white(page[top:bottom, start + 10]).sum()]
        assert borders == [2 * gap_of(figure)] * 2


def test_tiles_of_several_sizes_fill_squares_of_one_size():
    shapes = [(30, 30), (10, 10), (7, 21), (19, 19), (1, 1)]
    maps = [tiles(number, 4, *shape) for number, shape in enumerate(shapes)]
    figure = gallery_figure("features.5", [*maps, tiles(9, 0, 0)], 4)
    page, boxes = pages(figure)
    longest = {
        max(bottom - top, (right - left - int(0.06 * figure.dpi)) // 2) for top, left, bottom, right in boxes[:5]
    }
    assert len(longest) == 1
    *_, times = find(page, maps[0].projections[3])
    assert find(page, maps[1].patches[0])[2] == 3 * times  # a third of the pixels: three times as large
    assert 2 * 30 * times + gap_of(figure) in longest
    top, left, bottom, right = boxes[3]  # 19 pixels, no whole number of times: each tile still fills its square
    assert white(page[top:bottom, left:right]).mean() < 0.1
    assert DEAD in nothing_is_cut(figure)


def test_a_large_tile_is_magnified_by_a_whole_number_too():
    shown = tiles(3, 1, 7)
    page, _ = pages(gallery_figure("features.5", [shown], 1))
    assert find(page, shown.projections[0])[2] == 35  # not 246 pixels, the inches at 154 per inch, but 245


def test_tiles_that_are_resampled_by_little_are_smooth():
    wave = (120 + 100 * np.sin(np.arange(200) / 3)).astype(np.uint8)
    smooth = np.broadcast_to(wave[None, None, :, None], (1, 200, 200, 3)).copy()
    small = np.ascontiguousarray(smooth[:, :150, :150])
    maps = [replace(tiles(0, 1, side), projections=each, patches=each) for side, each in ((200, smooth), (150, small))]
    page, boxes = pages(gallery_figure("features.5", maps, 1))
    top, left, bottom, _ = boxes[1]
    assert bottom - top == 400
    drawn = page[(top + bottom) // 2, left : left + 400, 0].astype(float)
    np.testing.assert_allclose(
        drawn, np.interp((np.arange(400) + 0.5) * 150 / 400 - 0.5, range(150), wave[:150]), atol=9
    )
    assert abs(np.diff(drawn)).max() < 20  # sharp pixels of up to 3 x 3 would leap by 33


@pytest.mark.parametrize("inside", [(2, 1, 5, 4), (0, 0, 5, 3), (0, 5, 5, 5)], ids=["within", "left", "nothing"])
def test_what_lies_outside_of_an_image_stays_white(inside):
    top, left, bottom, right = inside
    shown = replace(tiles(3, 4, 5), insides=[(0, 0, 5, 5), inside, (0, 0, 5, 5), (0, 0, 5, 5)])
    figure = gallery_figure("features.5", [shown], 4)
    page, _ = pages(figure)
    for pictures in (shown.projections, shown.patches):
        down, across, times = find(page, pictures[0])
        across += 5 * times + gap_of(figure)
        tile = page[down : down + 5 * times, across : across + 5 * times].copy()
        part = tile[top * times : bottom * times, left * times : right * times]
        large = pictures[1].repeat(times, 0).repeat(times, 1)
        np.testing.assert_array_equal(part, large[top * times : bottom * times, left * times : right * times])
        part[:] = 255
        assert white(tile).all()


def test_empty_places_are_white_and_more_units_than_places_are_left_out():
    few, many = tiles(1, 5, 6), tiles(2, 12, 6)
    page, ((top, _, bottom, _), *_) = pages(gallery_figure("features.5", [few, many], 9))
    for pictures in (few.projections, few.patches):
        *_, times = find(page, pictures[4])
        begin = find(page, pictures[0])[1]
        side, end = 6 * times, find(page, pictures[2])[1] + 6 * times
        assert white(page[bottom - side : bottom, begin:end]).all()
        assert white(page[top + side + 2 : bottom, end - side : end]).all()
        assert not white(page[top : top + side, begin:end]).all()
    find(page, many.projections[8])
    with pytest.raises(AssertionError):
        find(page, many.projections[9])


@pytest.mark.parametrize("maps", [[0], [0, 0, 0], [9, 0, 3]], ids=str)
@pytest.mark.parametrize("shape", [(5, 5), (1, 60), (60, 1)], ids=str)
def test_map_that_is_never_active_says_so_in_an_empty_block(maps, shape):
    figure = gallery_figure("features.5", [tiles(number, count, *shape) for number, count in enumerate(maps)], 9)
    words = [word.replace("\n", " ") for word in nothing_is_cut(figure)]
    assert words.count(DEAD) == maps.count(0)
    dead = [axes for axes in figure.axes if axes.texts]
    assert all(not axes.images and axes.get_facecolor()[:3] == to_rgb("0.95") for axes in dead)
    assert {f"map {number}" for number, count in enumerate(maps) if not count} < set(words)


def test_labels_say_number_and_strongest_activation_and_stand_above_their_blocks():
    values = {1: 12.345, 20: 3.4, 300: 0.01234, 4000: 999.7, 50000: 123456.7, 6: 1.5e9}
    figure = gallery_figure("features.5", [tiles(number, 3, value=value) for number, value in values.items()], 4, FACTS)
    words = nothing_is_cut(figure)
    expected = ["12.3", "3.4", "0.0123", "1000", "123457", "1.5·10⁹"]
    labels = [f"map {number}, strongest {value}" for number, value in zip(values, expected, strict=True)]
    assert [word for word in words if word.startswith("map")] == labels
    assert words[0] == f"features.5   {FACTS}"
    assert words[1].replace("\n", " ") == (
        "left: projections, grey is zero, each with its own contrast; right: the image patches; "
        "white: outside of the image"
    )
    texts = {text.get_text(): text.get_window_extent() for text in figure.texts}
    for label, axes in zip(labels, figure.axes, strict=True):
        frame = axes.get_window_extent()
        assert texts[label].x0 == pytest.approx(frame.x0, abs=3)
        assert 0 <= texts[label].y0 - frame.y1 < 15
    assert all(texts[words[0]].y0 > texts[label].y1 and texts[words[1]].y1 < texts[label].y0 for label in labels)


@pytest.mark.parametrize(("count", "k"), [(1, 1), (2, 9), (3, 1), (16, 4)])
@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (40, 2), (35, 35)], ids=str)
def test_no_text_of_a_gallery_is_cut_or_covered(count, k, shape):
    maps = [tiles(10**7 + number, k * (number != 1), *shape, value=-1.234e-5) for number in range(count)]
    words = nothing_is_cut(gallery_figure(f"{LONG}$x^$\\frac", maps, k, f"{FACTS}, {FACTS}"))
    assert "".join(words[0].split()) == "".join(f"{LONG}$x^$\\frac{FACTS},{FACTS}".split())


@pytest.mark.parametrize(
    ("layer", "count", "k", "facts", "said"),
    [
        ("f", 0, 9, "", "expected 1 to 64 feature maps on a page, got 0"),
        ("f", MOST_MAPS + 1, 9, "", "expected 1 to 64 feature maps on a page, got 65"),
        ("f", 1, 0, "", "expected 1 to 100 units of each feature map on a page, got 0"),
        ("f", 1, 101, "", "expected 1 to 100 units of each feature map on a page, got 101"),
        (5, 1, 9, "", "expected a layer as a text, got 5"),
        ("f", 1, 9, None, "expected facts as a text, got None"),
    ],
)
def test_what_a_gallery_refuses(layer, count, k, facts, said):
    with pytest.raises(InputError) as caught:
        gallery_figure(layer, [tiles(0, 1)] * count, k, facts)
    assert str(caught.value) == said


def test_written_file_has_the_very_pixels(tmp_path):
    shown = tiles(41, 9, 35)
    save_figure(gallery_figure("features.5", [shown], 9), tmp_path / "gallery.png")
    page = (255 * imread(tmp_path / "gallery.png")[..., :3]).round().astype(np.uint8)
    for tile in [*shown.projections, *shown.patches]:
        find(page, tile)


def test_given_tiles_are_not_changed():
    shown = tiles(41, 9)
    before = [shown.projections.copy(), shown.patches.copy()]
    pages(gallery_figure("features.5", [shown], 4))
    np.testing.assert_array_equal([shown.projections, shown.patches], before)


# ------------------------------------------------------------------------------------------------ evolution


def table(rows, columns, *shape, count=2):
    """Columns of maps with numbers 0, 10, 20, ...; tiles of all cells differ."""
    made = [
        [tiles(1000 * column + row, count, *shape, value=column + 0.123) for row in range(rows)] for column in columns
    ]
    return [[replace(each, number=10 * row) for row, each in enumerate(column)] for column in made]


@pytest.mark.parametrize("patches", [False, True], ids=["projections", "and patches"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (9, 4), (35, 35), (163, 163)], ids=str)
def test_rows_are_maps_and_columns_checkpoints(patches, shape):
    columns = table(3, range(4), *shape)
    figure = evolution_figure("features.5", ["epoch 1", "epoch 2", "epoch 40", "x"], columns, patches=patches)
    page, _ = pages(figure)
    places = [[find(page, cell.projections[0]) for cell in column] for column in columns]
    for column in range(4):
        for row in range(3):
            assert places[column][row] == (places[0][row][0], places[column][0][1], places[0][0][2])
    assert [p[0][1] for p in places] == sorted(p[0][1] for p in places)
    assert [p[0] for p in places[0]] == sorted(p[0] for p in places[0])
    assert len(figure.axes) == 12
    if patches:
        top, left, times = places[2][1]
        beside = find(page, columns[2][1].patches[0])
        assert beside == (top, left + shape[1] * times + int(0.03 * figure.dpi), times)


def test_evolution_is_labelled_with_maps_checkpoints_and_activations():
    labels = ["epoch 1", "epoch 2", "epoch 40", "$x^$"]
    figure = evolution_figure("features.5", labels, table(3, range(4)))
    nothing_is_cut(figure)
    texts = {text.get_text(): text.get_window_extent() for text in figure.texts}
    assert {"features.5", *labels, "map 0", "map 10", "map 20"} < set(texts)
    frames = [axes.get_window_extent() for axes in figure.axes]  # column by column
    for column, label in enumerate(labels):
        frame, text = frames[3 * column], texts[label]
        assert (text.x0 + text.x1) / 2 == pytest.approx((frame.x0 + frame.x1) / 2, abs=4)
        assert 0 <= text.y0 - frame.y1 < 15
    for row in range(3):
        frame, text = frames[row], texts[f"map {10 * row}"]
        assert (text.y0 + text.y1) / 2 == pytest.approx((frame.y0 + frame.y1) / 2, abs=8)
        assert 0 < frame.x0 - text.x1 < 25
    notes = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert notes == [[f"activation {value}"] for value in ("0.123", "1.12", "2.12", "3.12") for _ in range(3)]


@pytest.mark.parametrize("patches", [False, True])
@pytest.mark.parametrize("shape", [(5, 5), (1, 60), (60, 1)], ids=str)
def test_cell_without_a_unit_says_so(patches, shape):
    columns = table(2, range(3), *shape)
    columns[0][1] = replace(tiles(0, 0, *shape), number=10)
    figure = evolution_figure("features.5", ["a", "b", "c"], columns, patches=patches)
    words = nothing_is_cut(figure)
    assert words.count("not active") == 1
    (empty,) = (axes for axes in figure.axes if not axes.images)
    page, boxes = pages(figure)
    box = boxes[figure.axes.index(empty)]
    below = find(page, columns[0][0].projections[0])[0]
    assert box[0] > below
    assert box[3] < find(page, columns[1][1].projections[0])[1]
    nothing_is_cut(evolution_figure("features.5", ["a"], [[tiles(0, 0, *shape)]], patches=patches))


@pytest.mark.parametrize("patches", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (40, 2), (35, 35)], ids=str)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (2, 12), (12, 2)])
def test_no_text_of_an_evolution_is_cut_or_covered(rows, columns, shape, patches):
    labels = ["runs/2026-11-25/checkpoint_best_validation_accuracy.pt", "W" * 70, *["epoch 64"] * 10][:columns]
    words = nothing_is_cut(evolution_figure(LONG, labels, table(rows, range(columns), *shape), patches=patches))
    together = ["".join(word.split()) for word in words]
    assert together[0] == LONG
    assert set(labels) - {"epoch 64"} < {*together}


def test_short_words_are_turned_where_they_would_be_torn_apart():
    labels = [f"epoch {number}" for number in range(16)]
    narrow = evolution_figure("features.5", labels, table(2, range(16)))
    words = nothing_is_cut(narrow)
    assert set(labels) < set(words)
    values = [text for axes in narrow.axes for text in axes.texts]
    assert [text.get_text() for text in values[::2]] == ["0.123", *(f"{n + 0.123:.3g}" for n in range(1, 16))]
    assert {text.get_rotation() for text in values} == {90}
    assert "below: the activation" in words[1].replace("\n", " ")
    wide = evolution_figure("features.5", labels, table(2, range(16)), width=20)
    assert "activation 1.12" in nothing_is_cut(wide)
    assert not {text.get_rotation() for text in [*wide.texts, *wide.axes[0].texts]} - {0}


@pytest.mark.parametrize("patches", [False, True], ids=["projections", "and patches"])
def test_a_projection_of_zeros_says_so_in_its_tile(patches):
    columns = table(1, range(2), 35)
    columns[1][0] = replace(columns[1][0], scales=[0.0, 1.0])
    figure = evolution_figure("features.5", ["a", "b"], columns, patches=patches)
    figure.draw_without_rendering()
    alive, dead = ([text.get_text().replace("\n", " ") for text in axes.texts] for axes in figure.axes)
    assert alive == ["activation 0.123"]
    assert dead == ["activation 1.12", "zero everywhere"]
    word, frame = figure.axes[1].texts[1].get_window_extent(), figure.axes[1].get_window_extent()
    assert (word.x0 + word.x1) / 2 == pytest.approx(frame.x0 + frame.width / (4 if patches else 2), abs=3)
    assert (word.y0 + word.y1) / 2 == pytest.approx((frame.y0 + frame.y1) / 2, abs=3)


def test_a_page_too_large_for_its_pixels_has_fewer_for_an_inch():
    maps = [tiles(0, 1, 224)]
    tiling = Tiling(maps, 1, 0.5, 0.03, patches=False)
    assert tiling.dpi(20) == 448
    assert tiling.picture(maps[0], 448).shape == (224, 224, 3)
    assert tiling.dpi(7 * 150) == 154  # 25 million pixels
    assert tiling.picture(maps[0], 154).shape == (77, 77, 3)


# ------------------------------------------------------------------------------------------------ in a paper


def sizes_of(figure):
    return {text.get_fontsize() for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]}


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (9, 3), (16, 4), (64, 6)])
def test_by_default_a_figure_has_texts_of_8_points_in_the_width_of_a_paper(count, columns):
    figure = gallery_figure("features.5", [tiles(number, 1, 9) for number in range(count)], 9)
    assert figure.get_figwidth() == pytest.approx({1: 3.36, 4: 6.78}.get(count, 7))
    assert len({round(axes.get_window_extent().x0) for axes in figure.axes}) == columns
    assert sizes_of(figure) == {8}
    labels = [text.get_text() for text in figure.texts if text.get_text().startswith("map ")]
    assert all(label.endswith(",\nstrongest 12.3" if count == 64 else ", strongest 12.3") for label in labels)
    table_ = evolution_figure("features.5", ["a"] * 8, table(2, range(8)))
    assert (table_.get_figwidth(), sizes_of(table_)) == (7, {8})


@pytest.mark.parametrize("columns", [None, 1, 5])
def test_a_gallery_in_a_width_of_columns_with_texts_of_a_size(columns):
    maps = [tiles(number, 9, 9) for number in range(5)]
    figure = gallery_figure("features.5", maps, 9, FACTS, width=5.5, columns=columns, font_size=6.5)
    nothing_is_cut(figure)
    page, boxes = pages(figure)
    assert figure.get_figwidth() == 5.5
    assert sizes_of(figure) == {6.5}
    for tile in (*maps[0].projections, *maps[4].patches):
        find(page, tile)
    lefts = sorted({left for _, left, _, _ in boxes})
    assert columns in (None, len(lefts))
    assert page.shape[1] - 0.25 * figure.dpi < max(box[3] for box in boxes) <= page.shape[1]


def test_an_evolution_in_a_width_with_texts_of_a_size():
    columns = table(2, range(3), 9)
    figure = evolution_figure("features.5", list("abc"), columns, width=3.25, font_size=7)
    nothing_is_cut(figure)
    page, _ = pages(figure)
    find(page, columns[2][1].projections[0])
    assert figure.get_figwidth() == 3.25
    assert sizes_of(figure) == {7}


def test_a_gallery_on_the_callers_axes():
    figure = Figure(figsize=(7, 3))
    grid = figure.subplots(2, 3)
    maps = [replace(tiles(5, 9, 7), insides=[(0, 0, 7, 7)] * 8 + [(0, 0, 7, 2)]), tiles(6, 0), tiles(7, 9, 5)]
    assert gallery_figure("features.5", maps, 9, axes=grid[1], font_size=6) is figure
    assert [axes.get_title() for axes in grid[1]] == ["map 5, strongest 12.3", "map 6", "map 7, strongest 12.3"]
    assert {axes.title.get_fontsize() for axes in grid[1]} == {6}
    assert [len(axes.images) for axes in grid.flat] == [0, 0, 0, 1, 0, 1]
    assert [text.get_text().replace("\n", " ") for text in grid[1, 1].texts] == [DEAD]
    assert [axes.get_title() for axes in grid[0]] == [""] * 3
    assert all(axes.axison for axes in grid[0])
    assert not figure.texts
    picture = np.asarray(grid[1, 0].images[0].get_array())
    for tile in [*maps[0].projections[:8], *maps[0].patches[:8]]:
        find(picture, tile)
    with pytest.raises(AssertionError):
        find(picture, maps[0].patches[8])  # part of it is outside of its image
    assert white(picture[-1, -1])
    many = Figure().subplots(2, 2)
    gallery_figure("features.5", maps[:1] * 4, 9, axes=many)
    assert all(axes.images for axes in many.flat)


def test_an_evolution_on_the_callers_axes():
    figure = Figure(figsize=(5, 3))
    grid = figure.subplots(3, 2)
    columns = table(2, range(2), 7)
    columns[1][0] = replace(columns[1][0], scales=[0.0, 1.0])
    columns[1][1] = replace(tiles(0, 0), number=10)
    assert evolution_figure("features.5", ["early", "late"], columns, axes=grid[1:], font_size=6) is figure
    assert [axes.get_title() for axes in grid.flat] == ["", "", "early", "late", "", ""]
    notes = [{text.get_text() for text in axes.texts} for axes in grid.flat]
    assert notes[2] == {"map 0", "activation 0.123"}
    assert notes[3] == {"activation 1.12", "zero everywhere"}
    assert notes[4] == {"map 10", "activation 0.123"}
    assert notes[5] == {"not active"}
    assert notes[:2] == [set(), set()]
    find(np.asarray(grid[2, 0].images[0].get_array()), columns[0][1].projections[0])
    evolution_figure("features.5", ["early"], columns[:1], axes=Figure().subplots(2))  # a column of axes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0}, "expected width as a positive number of inches, got 0"),
        ({"width": "7"}, "expected width as a positive number of inches, got '7'"),
        ({"width": float("nan")}, "expected width as a positive number of inches, got nan"),
        ({"font_size": -1}, "expected font_size as a positive number of points, got -1"),
        ({"columns": 0}, "expected columns as a number of at least 1, got 0"),
        ({"columns": 1.5}, "expected columns as a number of at least 1, got 1.5"),
        ({"columns": 30}, "expected a width with room for tiles in columns=30, got 7 inches"),
        ({"width": 0.2}, "expected a width with room for tiles in columns=1, got 0.2 inches"),
        ({"axes": [], "width": 3}, "expected axes or width, got both"),
        ({"axes": [], "columns": 3}, "expected axes or columns, got both"),
        ({"axes": [0, 1, 2]}, r"expected axes of the shape (2,), one for each map, got (3,)"),
        ({"axes": [0, 1]}, "expected axes of matplotlib, one for each map, got a int"),
    ],
    ids=str,
)
def test_sizes_and_axes_that_make_no_sense(options, said):
    with pytest.raises(InputError) as caught:
        gallery_figure("f", [tiles(0, 9), tiles(1, 9)], 9, **options)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": -2}, "expected width as a positive number of inches, got -2"),
        ({"width": 0.5}, "expected a width with room for tiles in columns=2, got 0.5 inches"),
        ({"axes": [0], "width": 3}, "expected axes or width, got both"),
        ({"axes": [0, 1]}, r"expected axes of the shape (3, 2), one for each map and checkpoint, got (2,)"),
    ],
    ids=str,
)
def test_sizes_and_axes_that_make_no_sense_for_an_evolution(options, said):
    with pytest.raises(InputError) as caught:
        evolution_figure("f", ["a", "b"], table(3, [0, 1]), **options)
    assert str(caught.value) == said


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("labels", "columns", "said"),
    [
        ([], [], "expected 1 to 32 checkpoints on a page, got 0"),
        (["a"] * 33, table(1, [0]) * 33, "expected 1 to 32 checkpoints on a page, got 33"),
        (["a"], [[]], "expected 1 to 64 feature maps on a page, got 0"),
        (["a"], table(65, [0]), "expected 1 to 64 feature maps on a page, got 65"),
        (["a"], table(1, [0, 1]), "expected 2 labels, one for each column, got 1"),
        (
            ["a", "b"],
            [*table(2, [0]), *table(1, [0])],
            "expected the same feature maps at each checkpoint, 2 of them, got 1 at b",
        ),
        (
            ["a", "b"],
            [table(2, [0])[0], table(2, [0])[0][::-1]],
            "expected one feature map in a row, got 0 at a and 10 at b",
        ),
        (["a", 2], table(1, [0, 1]), "expected a label as a text, got 2"),
    ],
)
def test_what_an_evolution_refuses(labels, columns, said):
    with pytest.raises(InputError) as caught:
        evolution_figure("features.5", labels, columns)
    assert str(caught.value) == said


def test_a_page_of_one_tile_is_wide_enough_for_its_note():
    (_, note, *_) = nothing_is_cut(evolution_figure("f", ["a"], table(1, [0], 40, 2)))
    assert note.count("\n") < 4


def test_a_projection_of_zeros_in_a_gallery_says_so_in_its_tile():
    shown = tiles(3, 4, 8)
    zero = replace(shown, scales=[1.0, 0.0, 1.0, 0.0])
    figure = gallery_figure("features.5", [zero, shown], 4, columns=1)
    figure.draw_without_rendering()
    found = [text.get_window_extent() for text in figure.texts if text.get_text() == "zero"]
    (square, _) = [axes.get_window_extent() for axes in figure.axes]
    assert len(found) == 2
    tile = square.height / 2
    for place, middle in zip(found, (square.y1 - tile / 2, square.y0 + tile / 2), strict=True):
        assert (place.y0 + place.y1) / 2 == pytest.approx(middle, abs=0.05 * tile)
        assert (place.x0 + place.x1) / 2 == pytest.approx(square.x0 + 1.5 * tile, abs=0.05 * tile)
    assert not [text for text in gallery_figure("f", [zero] * 64, 4).texts if text.get_text() == "zero"]  # no space
