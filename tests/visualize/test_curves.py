"""Panels of curves: what is drawn, in which colours, and where the texts are."""

import itertools
import re

import numpy as np
import pytest
import torch
from drawn import assert_apart, canvas, texts
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as AnyFigure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from deconv_attr.errors import InputError
from deconv_attr.visualize import Curve, Panel, curves, curves_figure, save_figure

LAYERS = [f"features.{i}.{name}" for i in range(3, 11) for name in ("squeeze", "expand1x1", "expand3x3")]
LAYERS = ["original", *LAYERS[::-1], "features.0"]
LONG = "Guided backprop (own rules: Captum's misses 57 of 57 ReLUs)"
NAN = float("nan")


def curve(label, points, seed=0, height=1.0):
    rng = np.random.default_rng([seed, *label.encode()])
    mean = height * rng.random(points)
    width = 0.1 * height * rng.random(points)
    return Curve(label, list(range(points)), list(mean), list(mean - width), list(mean + width))


def panel(labels, points=5, ticks=None, title="deletion", across="share", up="probability", height=1.0):
    return Panel(title, across, up, [curve(label, points, height=height) for label in labels], ticks)


def band(axes, number=0):
    """The outline of a band, as a set of points."""
    return {tuple(point) for path in axes.collections[number].get_paths() for point in path.vertices}


def look(line):
    return line.get_color(), line.get_linestyle()


def names(axes):
    return [text.get_text() for text in axes.get_xticklabels()]


# ------------------------------------------------------------------------------------------------ what is drawn


def test_lines_and_bands_are_those_of_the_curves():
    shown = panel(["a", "b"])
    (axes,) = curves_figure([shown]).axes
    for number, (line, given) in enumerate(zip(axes.lines, shown.curves, strict=True)):
        np.testing.assert_array_equal(line.get_xdata(), given.x)
        np.testing.assert_array_equal(line.get_ydata(), given.mean)
        edges = {*zip(given.x, given.low, strict=True), *zip(given.x, given.high, strict=True)}
        assert band(axes, number) == edges
        colour = axes.collections[number].get_facecolor()[0]
        np.testing.assert_allclose(colour[:3], to_rgb(line.get_color()))
        assert 0.05 < colour[3] < 0.3
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("deletion", "share", "probability")


def test_everything_lies_within_the_axes_and_fills_them():
    shown = panel(["a", "b", "c"], height=1e-3)
    (axes,) = curves_figure([shown]).axes
    low, high = axes.get_ylim()
    values = np.array([[each.low, each.high] for each in shown.curves])
    assert low < values.min() < values.max() < high
    assert np.ptp(values) > 0.85 * (high - low)
    left, right = axes.get_xlim()
    assert left < 0 < 4 < right < 4.5


def test_panels_of_one_quantity_have_one_scale():
    shown = [panel(["a"], up="p"), panel(["b"], up="p", height=3), panel(["a"], up="q", height=1e-3)]
    first, second, third = (axes.get_ylim() for axes in curves_figure(shown).axes)
    assert first == second == curves_figure(shown[:2]).axes[0].get_ylim()
    assert first != curves_figure(shown[:1]).axes[0].get_ylim()
    assert third == curves_figure(shown[2:]).axes[0].get_ylim()


def test_one_label_has_one_look_in_all_panels():
    figure = curves_figure([panel(["a", "b", "c"]), panel(["c", "a"]), panel(["d", "b"])])
    first, second, third = ([look(line) for line in axes.lines] for axes in figure.axes)
    assert second == [first[2], first[0]]
    assert third[1] == first[1]
    assert third[0] not in first


def test_looks_differ_from_ten_methods_on_by_strokes_too():
    labels = [f"method {number}" for number in range(30)]
    (axes,) = curves_figure([panel(labels)]).axes
    looks = [look(line) for line in axes.lines]
    assert len(set(looks)) == 30
    assert {stroke for _, stroke in looks[:9]} == {"-"}
    assert "-" not in {stroke for _, stroke in looks[9:18]}


def test_legend_names_the_look_of_each_label_once():
    labels = ["a", LONG, "c", "$x^$", "e"]
    figure = curves_figure([panel(labels[:3]), panel(labels[1:])])
    drawn = {
        given.label: look(line)
        for axes, shown in zip(figure.axes, (labels[:3], labels[1:]), strict=True)
        for given, line in zip([curve(label, 1) for label in shown], axes.lines, strict=True)
    }
    places = texts(figure)
    written = {text.get_text(): Bbox.from_extents(places[text]) for text in figure.texts}
    assert list(written) == labels
    samples = [(look(line), line.get_window_extent()) for line in figure.findobj(Line2D, False) if line.axes is None]
    for label, place in written.items():
        left = [
            (place.x0 - found.x1, style)
            for style, found in samples
            if found.x1 <= place.x0 and place.y0 < (found.y0 + found.y1) / 2 < place.y1
        ]
        assert min(left)[1] == drawn[label]


def test_colours_can_be_told_apart_whatever_the_eye():
    # Machado, Oliveira and Fernandes 2009: protanopia, deuteranopia, tritanopia, on linear RGB.
    eyes = [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]

    def lab(colour, eye):
        rgb = np.array(to_rgb(colour))
        rgb = np.clip(eye @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
        white = np.array([0.9505, 1, 1.089])
        xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]] @ rgb / white
        x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    def nearest(colours):
        seen = [[lab(colour, np.array(eye)) for colour in colours] for eye in eyes]
        return min(np.linalg.norm(a - b) for found in seen for a, b in itertools.combinations(found, 2))

    okabe_ito = "#000000 #E69F00 #56B4E9 #009E73 #F0E442 #0072B2 #D55E00 #CC79A7".split()
    assert nearest([*curves.COLOURS, "white"]) >= nearest(okabe_ito) > 15
    assert nearest([*curves.DARK_COLOURS, curves.DARK_PAPER]) >= nearest(okabe_ito)


# ------------------------------------------------------------------------------------------------ gaps


@pytest.mark.parametrize("points", [8, 80])
def test_nan_is_a_gap_and_a_lonely_point_a_dot(points):
    mean = [0.5] * points
    mean[2] = mean[4] = NAN
    low, high = [0.2 if value == value else NAN for value in mean], [0.8 if value == value else NAN for value in mean]
    shown = Panel("t", "x", "y", [Curve("a", range(points), mean, low, high)])
    figure = curves_figure([shown])
    (axes,) = figure.axes
    pixels, place = canvas(figure)
    colour, white = to_rgb(curves.COLOURS[0]), (1, 1, 1)
    np.testing.assert_allclose(pixels[place(axes, 0.5, 0.5)], colour, atol=0.02)
    np.testing.assert_allclose(pixels[place(axes, 3, 0.5)], colour, atol=0.02)
    for gap in (2, 4):
        np.testing.assert_allclose(pixels[place(axes, gap, 0.5)], white, atol=0.12)  # a line of the grid, at most
        np.testing.assert_allclose(pixels[place(axes, gap, 0.71)], white, atol=0.01)
    pale = pixels[place(axes, 0.5, 0.71)]
    np.testing.assert_allclose(pale, 0.85 + 0.15 * np.array(colour), atol=0.02)
    assert len(axes.lines[0].get_markevery()) == (points if points == 8 else 1)


@pytest.mark.parametrize("values", [[], [NAN, NAN], [0.0, 0.0], [1.0, 1.0], [7.0]], ids=str)
def test_curves_without_extent_are_drawn(values):
    figure = curves_figure([Panel("t", "x", "y", [Curve("a", range(len(values)), values, values, values)])])
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert all(low < value < high for value in values if value == value)
    assert_apart(figure)


def test_hollow_dots_are_white_inside_and_where_they_should_be():
    curve = Curve("a", [0, 1, 2], [0.9, 0.5, 0.0], [0.8, 0.4, 0.0], [1.0, 0.6, 0.1], [False, True, True])
    axes = curves_figure([Panel("p", "x", "y", [curve])]).axes[0]
    line, dots = axes.lines
    assert (list(dots.get_xdata()), list(dots.get_ydata())) == ([1, 2], [0.5, 0.0])
    assert dots.get_linestyle() == "None"
    assert to_rgb(dots.get_markerfacecolor()) == (1, 1, 1)
    assert dots.get_markeredgecolor() == line.get_color()
    full = Curve("a", curve.x, curve.mean, curve.low, curve.high, [False] * 3)
    assert len(curves_figure([Panel("p", "x", "y", [full])]).axes[0].lines) == 1


def test_panel_may_be_empty():
    figure = curves_figure([panel([]), panel(["a"])])
    assert [len(axes.lines) for axes in figure.axes] == [0, 1]
    assert_apart(figure)
    assert_apart(curves_figure([panel([])]))


# ------------------------------------------------------------------------------------------------ ticks


def test_few_short_names_stand_upright():
    (axes,) = curves_figure([panel(["a"], 4, ["all", "fc2", "fc1", "conv"])]).axes
    assert names(axes) == ["all", "fc2", "fc1", "conv"]
    assert [text.get_rotation() for text in axes.get_xticklabels()] == [0] * 4
    assert list(axes.get_xticks()) == [0, 1, 2, 3]


def test_the_names_of_26_layers_are_all_there():
    assert len(LAYERS) == 26
    figure = curves_figure([panel(["a"], 26, LAYERS)])
    (axes,) = figure.axes
    assert names(axes) == LAYERS
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {90}
    assert_apart(figure)


@pytest.mark.parametrize("count", [60, 61, 100, 333])
def test_names_are_thinned_out_between_the_first_and_the_last(count):
    ticks = [f"layer.{number}.conv" for number in range(count)]
    figure = curves_figure([panel(["a"], count, ticks)])
    (axes,) = figure.axes
    assert_apart(figure)
    places = [int(place) for place in axes.get_xticks()]
    assert [ticks[place] for place in places] == names(axes)
    assert (places[0], places[-1]) == (0, count - 1)
    assert 15 < len(places) < count
    steps = np.diff(places)
    assert len(set(steps[:-1])) == 1
    assert steps[0] <= steps[-1] < 2 * steps[0]
    places_of_text = texts(figure)
    for place, text in zip(places, axes.get_xticklabels(), strict=True):
        left, _, right, _ = places_of_text[text]
        assert (left + right) / 2 == pytest.approx(axes.transData.transform((place, 0))[0], abs=1)


@pytest.mark.parametrize("height", [1, 1e-7, 2e6, -3])
def test_numbers_at_the_ticks_are_the_places_of_the_ticks(height):
    (axes,) = curves_figure([panel(["a", "b"], 11, height=height)]).axes
    for axis in (axes.xaxis, axes.yaxis):
        found = [float(text.get_text()) for text in axis.get_ticklabels()]
        np.testing.assert_allclose(found, axis.get_ticklocs(), rtol=1e-5, atol=1e-6 * abs(height))
        assert 3 <= len(found) <= 8


# ------------------------------------------------------------------------------------------------ places


@pytest.mark.parametrize("number", [1, 2, 6, 12])
@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("words", ["short", "long"])
def test_nothing_is_cut_and_nothing_lies_on_anything_else(words, panels, number):
    labels = [LONG, "$x^$ a_b\\frac", *(f"method {i}" for i in range(10))][:number]
    title, across, up = "deletion", "share of pixels deleted", "probability"
    if words == "long":
        labels = [f"{label}, {LONG}, {LONG}" for label in labels]
        title, across, up = (" ".join([word] * 12) for word in (title, across, up))
    shown = [
        panel(labels, 26, LAYERS, title, across, up),
        panel(labels, 51, None, "insertion", across, "p", height=1e-7),
        panel(labels, 3, ["a", "b", "$c^$" * 6], title, "x", up),
    ]
    figure = curves_figure(shown[:panels])
    assert_apart(figure)
    written = ["".join(text.get_text().split()) for text in figure.texts]
    assert written == ["".join(label.split()) for label in labels]
    for axes, each in zip(figure.axes, shown, strict=False):
        found = axes.get_title(), axes.get_xlabel(), axes.get_ylabel()
        assert [" ".join(text.split()) for text in found] == [each.title, each.across, each.up]
    places = [axes.get_window_extent() for axes in figure.axes]
    assert [place.x0 for place in places] == sorted(place.x0 for place in places)
    assert len({(place.y0, place.y1) for place in places}) == 1
    assert figure.get_size_inches()[0] <= 7


def test_legend_is_as_short_as_its_width_allows():
    five = curves_figure([panel([f"method {i}" for i in range(5)])] * 3)
    assert len({round(text.get_position()[1], 6) for text in five.texts}) == 1
    six = curves_figure([panel([LONG[:40] + str(i) for i in range(6)])] * 3)
    tops = [round(text.get_position()[1], 6) for text in six.texts]
    assert [tops.count(top) for top in sorted(set(tops))] == [2, 2, 2]


# ------------------------------------------------------------------------------------------------ options


def sizes(figure):
    """The sizes of all texts, in points."""
    return {text.get_fontsize() for text in texts(figure)}


SIX = [panel(["a", "b"], title=f"panel {number}") for number in range(6)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_a_figure_is_readable_in_a_paper(count):
    figure = curves_figure(SIX[:count])
    assert figure.get_size_inches()[0] <= 7
    assert min(sizes(figure)) >= 6
    assert_apart(figure)


@pytest.mark.parametrize(("count", "rows"), [(3, [3]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3])])
def test_panels_go_on_in_further_rows(count, rows):
    figure = curves_figure(SIX[:count])
    tops = [round(axes.get_position().y1, 6) for axes in figure.axes]
    assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == rows
    assert len({round(axes.get_position().width, 6) for axes in figure.axes}) == 1
    assert [axes.get_title() for axes in figure.axes] == [f"panel {number}" for number in range(count)]


@pytest.mark.parametrize(("width", "columns"), [(3.5, 1), (5.2, 2), (12.0, 6), (9.5, 9)])
def test_width_and_columns_are_as_asked(width, columns):
    figure = curves_figure(SIX, width=width, columns=columns)
    assert figure.get_size_inches()[0] == width
    lefts = [round(axes.get_position().x0, 6) for axes in figure.axes]
    assert len(set(lefts)) == min(columns, 6)
    assert_apart(figure)


@pytest.mark.parametrize("size", [5, 8, 12])
def test_all_texts_follow_the_font_size(size):
    figure = curves_figure(SIX[:2], font_size=size)
    assert sizes(figure) == {size, 9 / 8 * size, 7 / 8 * size}
    assert_apart(figure)


def test_colours_are_those_of_the_labels_in_order_and_then_dashed():
    axes = curves_figure([panel(["a", "b", "c"]), panel(["c"])], colours=["tab:red", (0, 0.5, 1)]).axes
    assert [look(line) for line in axes[0].lines] == [("tab:red", "-"), ((0, 0.5, 1), "-"), ("tab:red", "--")]
    assert look(axes[1].lines[0]) == ("tab:red", "--")


def test_given_axes_are_drawn_on_and_nothing_else_of_their_figure():
    figure = AnyFigure(figsize=(7, 3))
    own, first, second = figure.subplots(1, 3)
    own.plot([0, 1], [0, 1])
    size = tuple(figure.get_size_inches())
    assert curves_figure([panel(["a", "$x^$"]), panel(["a"])], axes=np.array([first, second])) is figure
    assert (figure.axes, tuple(figure.get_size_inches())) == ([own, first, second], size)
    assert (len(own.lines), own.get_title(), own.get_legend(), figure.texts) == (1, "", None, [])
    assert [len(axes.lines) for axes in (first, second)] == [2, 1]
    assert first.get_legend() is None
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["a", "$x^$"]
    figure.draw_without_rendering()


def test_one_more_axes_hold_the_legend_alone():
    figure = AnyFigure()
    first, last = figure.subfigures(1, 2)[0].subplots(1, 2)
    assert curves_figure([panel(["a", "b"])], axes=[first, last]) is figure
    assert first.get_legend() is None
    assert not last.axison
    handles = last.get_legend().legend_handles
    assert [look(line) for line in handles] == [look(line) for line in first.lines]
    lone = AnyFigure().subplots()
    assert curves_figure([panel(["a"])], axes=lone).axes == [lone]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width as a positive number of inches, got 0"),
        ({"width": "7"}, "width as a positive number of inches, got '7'"),
        ({"font_size": NAN}, "font_size as a positive number of points, got nan"),
        ({"columns": 0}, "columns as a number of at least 1, got 0"),
        ({"columns": 1.5}, "columns as a number of at least 1, got 1.5"),
        ({"colours": []}, r"colours as a sequence of matplotlib's colours, got \[\]"),
        ({"colours": "red"}, r"colours as a sequence of matplotlib's colours, got \['red'\]"),
        ({"colours": ["red", "rde"]}, r"colours as a sequence of matplotlib's colours, got \['rde'\]"),
        (
            {"width": 1, "columns": 2},
            "a greater width or fewer columns for text of 8 points, got a width of 1 inches for 2",
        ),
        ({"axes": []}, r"2 axes, one for each panel, or one more for the legend, got \[\]"),
        ({"axes": ["a", "b"]}, r"2 axes, one for each panel, or one more for the legend, got \['a', 'b'\]"),
        (
            {"axes": AnyFigure().subplots(2), "width": 7},
            "axes or width, got both",
        ),
        ({"axes": [AnyFigure().subplots(), AnyFigure().subplots()]}, "axes of one figure, got some of several"),
    ],
    ids=lambda value: " and ".join(value) if isinstance(value, dict) else "",
)
def test_options_that_are_none_are_refused(options, message):
    with pytest.raises(InputError, match=f"^expected {message}$"):
        curves_figure([panel(["a"]), panel(["b"])], **options)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_panels_of_a_page_look_as_they_do_beside_each_other(dark):
    shown = [panel(["a", "b"], up="p"), panel(["b"], up="p", height=3)]
    alone = curves.panel_figures(shown, width=3.6, font_size=9, dark=dark)
    together = curves_figure(shown, colours=curves.DARK_COLOURS if dark else None)
    for figure, axes in zip(alone, together.axes, strict=True):
        assert figure.get_size_inches()[0] == 3.6
        assert figure.axes[0].get_ylim() == axes.get_ylim()
        assert [look(line) for line in figure.axes[0].lines] == [look(line) for line in axes.lines]
        assert_apart(figure)
        written = {to_rgb(text.get_color()) for text in texts(figure)}
        assert written == {to_rgb("#ECECEE" if dark else "black")}
        assert figure.get_facecolor()[:3] == to_rgb(curves.DARK_PAPER if dark else "white")


def test_a_pdf_has_fonts_that_journals_take(tmp_path):
    path = tmp_path / "curves.pdf"
    curves_figure([panel(["a", LONG])]).savefig(path)
    content = path.read_bytes()
    assert content.count(b"/FontFile2") > 0
    assert not re.search(rb"/Type3|/Subtype\s*/Type3|/FontFile[^2]", content)


# ------------------------------------------------------------------------------------------------ the rest


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ([], "^expected at least one panel, got none$"),
        (
            [Panel("deletion", "", "", [Curve("Saliency", [0, 1], [0, 1], [0, 1], [0, 1, 2])])],
            r"^expected 2 mean, low and high, as many as x, in the curve Saliency of deletion, got \(2, 2, 3\)$",
        ),
        (
            [Panel("deletion", "", "", [Curve("Saliency", [0, 2], [0, 1], [0, 1], [0, 1])], ["a", "b"])],
            r"^expected x from 0 to 1, the last tick, in the curve Saliency of deletion, got \[0, 2\]$",
        ),
    ],
    ids=["none", "lengths", "ticks"],
)
def test_what_cannot_be_drawn_is_refused(panels, message):
    with pytest.raises(InputError, match=message):
        curves_figure(panels)


def test_tensors_and_arrays_are_taken_as_lists_are():
    given = curve("a", 4)
    (expected,) = curves_figure([Panel("t", "x", "y", [given])]).axes[0].lines
    for kind in (np.array, torch.tensor):
        other = Curve("a", *(kind(values) for values in (given.x, given.mean, given.low, given.high)))
        (line,) = curves_figure([Panel("t", "x", "y", [other], list("abcd"))]).axes[0].lines
        np.testing.assert_array_equal(line.get_ydata(), expected.get_ydata())


def test_figure_can_be_written(tmp_path):
    for ending in (".png", ".svg", ".pdf"):
        save_figure(curves_figure([panel(["a", "b"])]), tmp_path / f"curves{ending}")
    assert len(list(tmp_path.iterdir())) == 3
