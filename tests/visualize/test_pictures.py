import ast
import pkgutil
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from drawn import bars, legend, tiles, within, words
from matplotlib.image import imread
from PIL import Image

import deconv_attr
from deconv_attr.errors import InputError
from deconv_attr.visualize import (
    Column,
    colour_bar,
    coloured,
    comparison_figure,
    heat,
    in_bytes,
    own_scale,
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


def test_one_channel_diverges_around_white_and_the_negative_is_the_other_colour():
    values = torch.tensor([[[0.0, 2.0, -2.0, 1.0, -1.0]]])
    white, red, blue, rose, pale = coloured(values, "signed", 2).astype(int)[0]
    assert np.ptp(white) < 3
    assert white.min() > 240
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    assert np.abs(white - rose).sum() < np.abs(white - red).sum()
    assert np.abs(white - pale).sum() < np.abs(white - blue).sum()


def test_of_many_channels_the_sum_is_signed():
    maps = random_maps(5, 4, 4)
    np.testing.assert_array_equal(coloured(maps, "signed"), coloured(maps.sum(0, keepdim=True), "signed"))


def test_the_positive_part_has_nothing_of_the_negative():
    maps = torch.tensor([[[4.0, -4.0, 0.0, 1.0]], [[0.0, 0.0, 0.0, 1.0]]])
    drawn = coloured(maps, "positive", 4)
    np.testing.assert_array_equal(drawn, coloured(torch.tensor([[[4.0, 0.0, 0.0, 2.0]]]), "heat", 4))
    assert own_scale(-maps.abs(), "positive") == 0


def test_luminance_is_that_of_the_colours():
    maps = random_maps(3, 4, 5)
    red, green, blue = maps.numpy()
    expected = 255 * (0.5 + 0.5 * (0.299 * red + 0.587 * green + 0.114 * blue) / 9)
    grey = coloured(maps, "luminance", 9)
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 0] - expected).max() <= 1
    picture = Image.fromarray(in_bytes(signed_rgb(maps, 9)))  # Pillow knows the same weights
    assert np.abs(grey[..., 0] - np.asarray(picture.convert("L"), dtype=float)).max() <= 2


def test_colour_bar_runs_from_the_least_to_the_greatest_value():
    for style, channels, least in (("signed", 3, -1), ("signed", 1, -1), ("heat", 3, 0), ("luminance", 3, -1)):
        bar = colour_bar(channels, style)
        for place, value in ((0, least), (-1, 1)):
            maps = torch.full((channels, 1, 1), float(value)) if value else torch.zeros(channels, 1, 1)
            np.testing.assert_allclose(bar[0, place].astype(int), coloured(maps, style, 1.0)[0, 0].astype(int), atol=1)


def test_heat_takes_its_scale_of_the_strengths():
    # 7 pixels of 1000 are strong in one channel of three: 0.7 % of the strengths, 0.23 % of the values.
    attribution = torch.ones(3, 20, 50, dtype=torch.float64)
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
    with pytest.raises(InputError, match="style signed, luminance, heat, positive, got 'warm'"):
        coloured(torch.ones(3, 2, 2), "warm")
    with pytest.raises(InputError, match="first: expected the style signed, luminance, heat, positive, got 'warm'"):
        comparison_figure(torch.ones(1, 3, 2, 2), [Column("first", torch.ones(1, 3, 2, 2), "warm")], [""])


# ------------------------------------------------------------------------------------------------ the grid


def texts(figure):
    """All texts that are drawn: an axis that is off keeps ticks, which are not."""
    for axes in figure.axes:
        yield from [*axes.texts, axes.title]
        if not axes.images:
            yield from [*axes.get_xticklabels(), axes.xaxis.label]


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
            np.testing.assert_array_equal(grid[row, column].pixels, picture)


def test_shared_scale_is_that_of_all_rows_and_stands_at_the_bar(images, columns):
    figure = comparison_figure(images, columns, ["a", "b"], shared_scale=True)
    scale = robust_scale(columns[0].maps)
    hottest = robust_scale((3 * columns[0].maps).abs().amax(1))
    for row in range(2):
        grid = tiles(figure)
        expected = coloured(columns[0].maps[row], "signed", scale), coloured(columns[1].maps[row], "heat", hottest)
        for column, picture in enumerate(expected, start=1):
            np.testing.assert_array_equal(grid[row, column].pixels, picture)
    ends = [legend(figure, bar)[0] for bar in bars(figure)]
    assert ends == [[f"{-scale:.3g}", "0", f"{scale:.3g}"], ["0", f"{hottest:.3g}"]]
    assert not any(text.startswith("scale ") for text in words(figure))


def test_own_scales_stand_below_their_maps(images, columns):
    figure = comparison_figure(images, columns, ["a", "b"])
    assert [legend(figure, bar)[0] for bar in bars(figure)] == [["-scale", "0", "scale"], ["0", "scale"]]
    for row in range(2):
        assert f"scale {robust_scale(columns[0].maps[row]):.3g}" in words(figure)
        assert f"scale {robust_scale(columns[1].maps[row].abs().amax(0)):.3g}" in words(figure)


def test_numbers_are_written_out(images):
    for size, said in ((200, "200"), (1234, "1234"), (2e7, "2·10⁷"), (1.25e-7, "1.25·10⁻⁷"), (0.00025, "0.00025")):
        maps = torch.full((2, 1, 8, 8), size, dtype=torch.float64)
        figure = comparison_figure(images, [Column("m", maps)], ["a", "b"])
        assert words(figure).count(f"scale {said}") == 2


@pytest.mark.parametrize("shared_scale", [True, False])
def test_map_of_zeros_says_so(images, columns, shared_scale):
    columns[0].maps[0] = 0
    columns[1].maps[:] = 0
    figure = comparison_figure(images, columns, ["a", "b"], shared_scale)
    grid = tiles(figure)
    marked = {place for place, tile in grid.items() if within(figure, tile.rectangle)}
    assert marked == {(0, 1), (0, 2), (1, 2)}
    if shared_scale:
        assert legend(figure, bars(figure)[1])[0] == ["0"]


def test_map_of_zeros_says_why(images):
    column = Column("m", torch.zeros(2, 3, 8, 8), zero={1: "rectified away at features.3"})
    figure = comparison_figure(images, [column], ["a", "b"])
    said = [" ".join(" ".join(within(figure, tiles(figure)[row, 1].rectangle)).split()) for row in range(2)]
    assert said == ["zero everywhere", "rectified away at features.3"]


@pytest.mark.parametrize(
    ("maps", "labels", "message"),
    [(2, 1, "expected 2 labels for 2 images, got 1"), (3, 2, "expected 2 first maps for 2 images, got 3")],
)
def test_numbers_of_images_maps_and_labels_must_agree(images, maps, labels, message):
    with pytest.raises(InputError, match=message):
        comparison_figure(images, [Column("first", torch.ones(maps, 3, 8, 8))], ["a"] * labels)


def test_a_map_without_a_positive_part_is_not_said_to_be_zero(images):
    figure = comparison_figure(images, [Column("m", torch.full((2, 1, 8, 8), -1.0), "positive")], ["a", "b"])
    assert [" ".join(within(figure, tiles(figure)[row, 1].rectangle)) for row in range(2)] == ["no positive part"] * 2


def test_image_is_drawn_clipped_to_its_range(caplog):
    image = torch.tensor([-0.01, 0.25, 1.01]).view(3, 1, 1)
    figure = comparison_figure(image[None], [], ["a"])
    np.testing.assert_array_equal(tiles(figure)[0, 0].pixels, [[[0, 64, 255]]])
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
    left, bottom, right, top = tiles(figure)[0, 0].rectangle
    middle = pixels[int(height - (bottom + top) / 2), int((left + right) / 2), :3]
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


def test_a_notebook_is_given_a_png_and_its_size(images):
    figure = comparison_figure(images, [], ["a", "b"])
    content, size = figure._repr_png_()
    pixels = imread(BytesIO(content))
    width, height = figure.get_size_inches()
    assert size == {"width": round(120 * width), "height": round(120 * height)}
    assert pixels.shape[:2] == (int(150 * height), int(150 * width))


def test_pictures_of_a_huge_figure_are_no_finer_than_it_is():
    images = torch.rand(250, 3, 240, 240)
    maps = random_maps(250, 3, 9, 9)
    figure = comparison_figure(images, [Column("m", maps)] * 4, [""] * 250)
    assert figure.dpi == 150
    grid = tiles(figure)
    side = round(grid[0, 0].size[0])
    assert grid[7, 0].pixels.shape == (side, side, 3)
    assert grid[7, 1].pixels.shape == (9, 9, 3)
    small = torch.nn.functional.interpolate(images[7:8], (side, side), mode="area")[0].permute(1, 2, 0)
    assert np.abs(grid[7, 0].pixels / 255 - small.numpy()).mean() < 0.06
    assert tiles(comparison_figure(images[:1], [], [""]))[0, 0].pixels.shape == (240, 240, 3)


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
    drawing = (
        "comparison_grid comparison_stack callers_axes curves figure files page_layout paper paper_figures pictures "
        "projection_page projections tile_page"
    )
    assert importers == {f"deconv_attr.visualize.{module}" for module in drawing.split()}


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
