import ast
import pkgutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

import deconv_attr
from deconv_attr.errors import InputError
from deconv_attr.visualize import (
    Column,
    coloured,
    comparison_figure,
    heat,
    picture_path,
    robust_scale,
    save_figure,
    signed_rgb,
)


def random_maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------ one map


def test_scale_is_the_percentile_of_magnitudes_rounded_down_to_a_value():
    values = torch.arange(1.0, 1001.0) * torch.tensor([1.0, -1.0]).repeat(500)
    assert robust_scale(values) == 995  # floor(0.995 * 999) = 994 values lie below
    assert robust_scale(values, percentile=50) == 500
    assert robust_scale(values, percentile=100) == 1000


def test_scale_ignores_zeros_and_a_single_outlier():
    sparse = torch.zeros(100, 100)
    sparse[3, 4] = -3.0
    assert robust_scale(sparse) == 3
    outlier = torch.ones(500)
    outlier[7] = 1e9
    assert robust_scale(outlier) == 1
    assert robust_scale(torch.zeros(4)) == 0


def test_signed_map_is_drawn_around_mid_grey_channel_by_channel():
    red, green, blue = [[2.0, -2.0]], [[1.0, 0.0]], [[-1.0, 9.0]]
    picture = signed_rgb(torch.tensor([red, green, blue]), scale=2)
    np.testing.assert_array_equal(picture, [[[1, 0.75, 0.25], [0, 0.5, 1]]])


def test_signed_map_turns_into_its_negative_and_ignores_units():
    attribution = random_maps(3, 9, 7)
    np.testing.assert_allclose(signed_rgb(-attribution), 1 - signed_rgb(attribution), atol=1e-15)
    np.testing.assert_allclose(signed_rgb(1e-6 * attribution), signed_rgb(attribution), atol=1e-12)


def test_one_outlier_does_not_flatten_the_rest():
    attribution = random_maps(3, 32, 32)
    before = signed_rgb(attribution)
    attribution[1, 5, 5] = 1e6
    after = signed_rgb(attribution)
    assert after[5, 5, 1] == 1
    after[5, 5, 1] = before[5, 5, 1]
    np.testing.assert_allclose(after, before, atol=0.01)


def test_map_of_zeros_is_plain_mid_grey_and_cold():
    assert (signed_rgb(torch.zeros(3, 4, 5)) == 0.5).all()
    assert (signed_rgb(torch.ones(3, 4, 5), scale=0.0) == 0.5).all()
    assert (heat(torch.zeros(3, 4, 5)) == 0).all()


def test_single_channel_is_drawn_in_greys():
    picture = signed_rgb(torch.tensor([[[4.0, -1.0]]]), scale=4)
    np.testing.assert_array_equal(picture, [[[1, 1, 1], [0.375, 0.375, 0.375]]])


def test_heat_is_the_largest_magnitude_over_channels():
    attribution = torch.tensor([[[3.0, 0.0]], [[-4.0, 1.0]]])
    np.testing.assert_array_equal(heat(attribution, scale=4), [[1, 0.25]])
    np.testing.assert_array_equal(heat(attribution, scale=2), [[1, 0.5]])
    np.testing.assert_array_equal(heat(-attribution.flip(0), scale=4), heat(attribution, scale=4))


def test_heat_takes_its_scale_of_the_strengths():
    # 7 pixels of 1000 are strong in one channel of three: 0.7 % of the strengths, 0.23 % of the values.
    attribution = torch.ones(3, 20, 50)
    attribution[1, 0, :7] = -10
    expected = np.full((20, 50), 0.1)
    expected[0, :7] = 1
    np.testing.assert_array_equal(heat(attribution), expected)
    assert robust_scale(attribution) == 1


def test_maps_that_require_grad_are_drawn_and_left_alone():
    attribution = random_maps(3, 4, 4).requires_grad_()
    before = attribution.detach().clone()
    signed_rgb(attribution)
    heat(attribution)
    assert torch.equal(attribution, before)
    assert attribution.requires_grad


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4), (1, 3, 4, 4)], ids=str)
def test_shape_that_is_no_picture_is_named(shape):
    with pytest.raises(
        InputError, match=r"expected a picture of shape \(3, H, W\) or \(1, H, W\), got \(" + str(shape)[1:-1]
    ):
        signed_rgb(torch.ones(shape))


def test_map_that_is_not_finite_is_an_error():
    attribution = torch.ones(3, 2, 2)
    attribution[0, 0, 0], attribution[1, 1, 1] = torch.nan, torch.inf
    for draw in (signed_rgb, heat):
        with pytest.raises(InputError, match="of finite values, got 2 that"):
            draw(attribution)
        with pytest.raises(InputError, match="of finite values, got 2 that"):
            draw(attribution, scale=1.0)


def test_map_that_is_no_tensor_is_an_error():
    with pytest.raises(InputError, match=r"expected a tensor of shape \(3, H, W\) or \(1, H, W\), got a ndarray"):
        signed_rgb(np.ones((4, 4, 3)))


def test_colours_are_those_of_the_map_in_bytes():
    attribution = torch.tensor([[[0.0, 1.0, -1.0, 0.25]], [[0.5, -4.0, 0.0, 0.0]], [[-0.5, 0.0, 2.0, 0.0]]])
    signed = coloured(attribution, "signed", 2)
    assert signed.dtype == np.uint8
    # 255 * (0.5 + 0.5 * v / 2), clipped, to the nearest byte
    np.testing.assert_array_equal(signed, [[[128, 159, 96], [191, 0, 128], [64, 128, 255], [143, 128, 128]]])
    hot = coloured(attribution, "heat", 4)
    # The strengths 0.5, 4, 2 and 0.25 of 4: entries 32, 255, 128 and 16 of the 256 of a table.
    table = np.array(matplotlib.colormaps["inferno"].colors)[[32, 255, 128, 16]]
    np.testing.assert_array_equal(hot, [np.round(255 * table)])


@pytest.mark.parametrize("style", ["signed", "heat"])
def test_colours_have_the_maps_own_scale_unless_one_is_given(style):
    attribution = random_maps(3, 6, 5)
    own = robust_scale(attribution if style == "signed" else attribution.abs().amax(0))
    np.testing.assert_array_equal(coloured(attribution, style), coloured(attribution, style, own))
    assert (coloured(attribution, style) != coloured(attribution, style, 2 * own)).any()


def test_unknown_style_is_an_error():
    with pytest.raises(InputError, match="style signed or heat, got 'warm'"):
        coloured(torch.ones(3, 2, 2), "warm")
    with pytest.raises(InputError, match="first: expected the style signed or heat, got 'warm'"):
        comparison_figure(torch.ones(1, 3, 2, 2), [Column("first", torch.ones(1, 3, 2, 2), "warm")], [""])


# ------------------------------------------------------------------------------------------------ the grid


def tiles(figure):
    """The pictures of the grid by (row, column), read from their places."""
    drawn = [axes for axes in figure.axes if axes.images]
    tops = sorted({round(axes.get_position().y1, 6) for axes in drawn}, reverse=True)
    lefts = sorted({round(axes.get_position().x0, 6) for axes in drawn})
    return {(tops.index(round(a.get_position().y1, 6)), lefts.index(round(a.get_position().x0, 6))): a for a in drawn}


def texts(figure):
    """All texts that are drawn: an axis that is off keeps ticks, which are not."""
    for axes in figure.axes:
        yield from [*axes.texts, axes.title]
        if not axes.images:
            yield from [*axes.get_xticklabels(), axes.xaxis.label]


def words(figure):
    return [text.get_text() for text in texts(figure)]


def bar_ticks(figure):
    bars = [axes for axes in figure.axes if not axes.images]
    return [[tick.get_text() for tick in bar.get_xticklabels()] for bar in bars]


@pytest.fixture
def columns():
    maps = random_maps(2, 3, 8, 8)
    maps[1] *= 100
    return [Column("first", maps), Column("second", -3 * maps, "heat")]


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_rows_are_images_and_columns_methods(images, columns):
    grid = tiles(comparison_figure(images, columns, ["a", "b"]))
    assert set(grid) == {(row, column) for row in range(2) for column in range(3)}
    for row in range(2):
        photo = np.round(255 * images[row].permute(1, 2, 0).numpy())
        expected = [photo, coloured(columns[0].maps[row], "signed"), coloured(columns[1].maps[row], "heat")]
        for column, picture in enumerate(expected):
            np.testing.assert_array_equal(grid[row, column].images[0].get_array(), picture)


def test_shared_scale_is_that_of_all_rows_and_stands_at_the_bar(images, columns):
    figure = comparison_figure(images, columns, ["a", "b"], shared_scale=True)
    scale = robust_scale(columns[0].maps)
    hottest = robust_scale((3 * columns[0].maps).abs().amax(1))
    for row in range(2):
        grid = tiles(figure)
        expected = coloured(columns[0].maps[row], "signed", scale), coloured(columns[1].maps[row], "heat", hottest)
        for column, picture in enumerate(expected, start=1):
            np.testing.assert_array_equal(grid[row, column].images[0].get_array(), picture)
    assert bar_ticks(figure) == [[f"{-scale:.2g}", "0", f"{scale:.2g}"], ["0", f"{hottest:.2g}"]]
    assert not any(text.startswith("s = ") for text in words(figure))


def test_own_scales_stand_below_their_maps(images, columns):
    figure = comparison_figure(images, columns, ["a", "b"])
    assert bar_ticks(figure) == [["-s", "0", "s"], ["0", "s"]]
    for row in range(2):
        assert f"s = {robust_scale(columns[0].maps[row]):.2g}" in words(figure)
        assert f"s = {robust_scale(columns[1].maps[row].abs().amax(0)):.2g}" in words(figure)


@pytest.mark.parametrize("shared_scale", [True, False])
def test_map_of_zeros_says_so(images, columns, shared_scale):
    columns[0].maps[0] = 0
    columns[1].maps[:] = 0
    figure = comparison_figure(images, columns, ["a", "b"], shared_scale)
    grid = tiles(figure)
    marked = {place for place, axes in grid.items() if "zero everywhere" in [t.get_text() for t in axes.texts]}
    assert marked == {(0, 1), (0, 2), (1, 2)}
    if shared_scale:
        assert bar_ticks(figure)[1] == ["0"]


@pytest.mark.parametrize(
    ("maps", "labels", "message"),
    [(2, 1, "expected 2 labels for 2 images, got 1"), (3, 2, "expected 2 first maps for 2 images, got 3")],
)
def test_numbers_of_images_maps_and_labels_must_agree(images, maps, labels, message):
    with pytest.raises(InputError, match=message):
        comparison_figure(images, [Column("first", torch.ones(maps, 3, 8, 8))], ["a"] * labels)


def test_image_is_drawn_clipped_to_its_range(caplog):
    image = torch.tensor([-0.01, 0.25, 1.01]).view(3, 1, 1)
    figure = comparison_figure(image[None], [], ["a"])
    np.testing.assert_array_equal(tiles(figure)[0, 0].images[0].get_array(), [[[0, 64, 255]]])
    assert not caplog.records  # matplotlib would clip too, and complain


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([-2.1, 0.0, 2.6], r"between 0 and 1, got values from -2\.1 to 2\.6"),
        ([0, 128, 255], "between 0 and 1, got values from 0 to 255"),
        ([0.0, torch.nan, 1.0], "expected an image of finite values, got 1 that"),
    ],
    ids=["normalised", "bytes", "NaN"],
)
def test_image_that_would_be_drawn_wrongly_is_an_error(values, message):
    with pytest.raises(InputError, match=message):
        comparison_figure(torch.tensor(values).view(1, 3, 1, 1), [], ["a"])


# ------------------------------------------------------------------------------------------------ the file


def test_saved_picture_shows_the_figure(tmp_path, images):
    dark = torch.zeros(1, 3, 8, 8)
    figure = comparison_figure(dark, [Column("first", torch.zeros(1, 1, 8, 8))], ["a"])
    save_figure(figure, tmp_path / "picture.png")
    pixels = imread(tmp_path / "picture.png")
    width, height = figure.get_size_inches() * figure.dpi
    assert pixels.shape[:2] == (int(height), int(width))
    box = tiles(figure)[0, 0].get_position()
    middle = pixels[int(height * (1 - (box.y0 + box.y1) / 2)), int(width * (box.x0 + box.x1) / 2), :3]
    assert (middle == 0).all()
    assert (pixels[1, 1, :3] == 1).all()


@pytest.mark.parametrize("ending", [".jpg", ".pdf", ".svg", ".PNG"])
def test_every_promised_format_can_be_written(tmp_path, ending):
    path = tmp_path / f"picture{ending}"
    save_figure(comparison_figure(torch.rand(1, 3, 8, 8), [], ["a"]), path)
    start = {".jpg": b"\xff\xd8", ".pdf": b"%PDF", ".svg": b"<?xml", ".PNG": b"\x89PNG"}[ending]
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("picture", "expected the name of a picture to end in .png, .jpg, .pdf, .svg, got .*picture"),
        ("picture.gif", "to end in .png"),
        ("nowhere/picture.png", "there is no folder .*nowhere"),
        ("folder.png", "it is a folder"),
    ],
)
def test_place_that_cannot_be_written_is_an_error(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=message):
        picture_path(tmp_path / name)
    with pytest.raises(InputError, match=message):
        save_figure(comparison_figure(torch.rand(1, 3, 8, 8), [], ["a"]), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_folder_without_permission_is_an_error(tmp_path, monkeypatch):
    # Permissions do not bind root, so the system's answer is put in its mouth.
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match=r"cannot write .*picture\.png: permission denied"):
        picture_path(tmp_path / "picture.png")


def test_a_write_that_fails_is_an_error_and_leaves_the_older_file(tmp_path, monkeypatch):
    def full(figure, file, **options):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    path = tmp_path / "picture.png"
    path.write_bytes(b"older")
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", full)
    with pytest.raises(InputError, match=r"cannot write .*picture\.png: No space left on device"):
        save_figure(comparison_figure(torch.rand(1, 3, 8, 8), [], ["a"]), path)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"older"]


def test_drawing_leaves_the_users_matplotlib_alone(tmp_path, images, columns):
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams), _pylab_helpers.Gcf.get_all_fig_managers()
    save_figure(comparison_figure(images, columns, ["a", "b"]), tmp_path / "picture.png")
    assert (dict(matplotlib.rcParams), _pylab_helpers.Gcf.get_all_fig_managers()) == before


def imports(tree):
    """The names of the modules that a tree of statements imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def modules():
    for module in pkgutil.walk_packages(deconv_attr.__path__, "deconv_attr."):
        yield module.name, ast.parse(Path(module.module_finder.find_spec(module.name).origin).read_text())


def test_only_this_package_imports_matplotlib():
    importers = {name for name, tree in modules() if any(n.split(".")[0] == "matplotlib" for n in imports(tree))}
    drawing = "comparison_grid curves figure files page_layout paper paper_figures pictures projection_page projections"
    assert importers == {f"deconv_attr.visualize.{module}" for module in [*drawing.split(), "tile_page"]}


def test_pyplot_is_imported_in_one_function_only():
    importers = {name: tree for name, tree in modules() if "matplotlib.pyplot" in imports(tree)}
    assert set(importers) == {"deconv_attr.visualize.projections"}
    (tree,) = importers.values()
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if "matplotlib.pyplot" in imports(node)] == ["_new_axes"]
    outside = ast.Module([node for node in tree.body if node not in functions], [])
    assert "matplotlib.pyplot" not in imports(outside)


def test_a_figure_is_written_through_a_symbolic_link(tmp_path):
    link, target = tmp_path / "latest.png", tmp_path / "first.png"
    target.write_bytes(b"before")
    link.symlink_to(target)
    save_figure(comparison_figure(torch.rand(1, 3, 8, 8), [], ["a"]), link)
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"\x89PNG")
