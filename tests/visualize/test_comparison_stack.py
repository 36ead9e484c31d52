"""Signals and videos: all strips of one width, aligned sample by sample, with their words; nothing is cut."""

import numpy as np
import pytest
import torch
from drawn import assert_apart, bars, legend, pictures, points, texts, within, words
from matplotlib.figure import Figure as PlainFigure
from test_pictures import random_maps

from deconv_attr.visualize import Column, coloured, comparison_figure

LABELS = ["sinus rhythm\nprobability 81.0%", "a long label of a signal, " * 8]


def stacked(channels=1, length=50, methods=3, **options):
    signals = [random_maps(channels, length, seed=seed) for seed in range(2)]
    maps = random_maps(methods, 2, 1, channels, length, seed=5)
    columns = [Column(f"method {number} of features.12", each) for number, each in enumerate(maps)]
    figure = comparison_figure(signals, columns, LABELS, head="signal", stacked=True, axis="sample", **options)
    return figure, signals, columns


def strips(figure):
    """The maps in the order of their places, from the top."""
    found = [each for each in pictures(figure) if each.pixels.shape[:2] != (1, 256)]
    return sorted(found, key=lambda strip: -strip.rectangle[3])


@pytest.mark.parametrize("channels", [1, 2, 12, 64])
def test_nothing_is_cut_and_nothing_lies_on_anything_else(channels):
    figure, *_ = stacked(channels)
    assert_apart(figure)
    assert points(figure) >= 6
    assert figure.get_size_inches()[0] <= 7.001


def test_each_maps_strip_lies_below_its_signal_and_is_aligned_with_it():
    figure, signals, columns = stacked(channels=2)
    found = strips(figure)
    assert len(found) == 6
    for place, strip in enumerate(found):
        row, number = divmod(place, 3)
        np.testing.assert_array_equal(strip.pixels, coloured(columns[number].maps[row], "signed"))
        assert strip.rectangle[0::2] == pytest.approx(found[0].rectangle[0::2])
    canvas = figure.axes[0]
    curves = [line for line in canvas.lines if len(line.get_xdata()) == 50]
    assert len(curves) == 4
    for number, line in enumerate(curves):
        signal = signals[number // 2][number % 2].numpy()
        xy = canvas.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
        left, _, right, top = found[3 * (number // 2)].rectangle
        np.testing.assert_allclose(xy[:, 0], left + (np.arange(50) + 0.5) / 50 * (right - left))
        np.testing.assert_allclose(np.corrcoef(xy[:, 1], signal)[0, 1], 1)
        assert xy[:, 1].min() >= top  # above its maps


def test_words_say_title_label_scale_and_sample():
    figure, *_ = stacked()
    said = words(figure)
    assert said.count("method 1 of features.12") == 2
    assert "sinus rhythm probability 81.0%" in said
    assert sum(text.startswith("scale ") for text in said) == 6 + 0
    assert sum(text.startswith("max ") for text in said) == 2
    assert [text for text in said if text.isdigit()][:3] == ["0", "10", "20"]
    (bar,) = bars(figure)
    assert legend(figure, bar)[0] == ["-scale", "0", "scale"]
    assert "signed; white is zero" in said


def test_different_colours_have_a_legend_each_that_names_its_methods():
    maps = random_maps(2, 1, 1, 30)
    columns = [Column("a", maps), Column("b", maps), Column("c", maps, "heat")]
    signals = list(random_maps(2, 1, 30))
    figure = comparison_figure(signals, columns, ["", ""], stacked=True, axis="sample")
    assert len(bars(figure)) == 2
    assert {"a, b: signed; white is zero", "c: |map|; black is zero"} <= set(words(figure))
    assert_apart(figure)


def test_a_failed_method_and_a_map_of_zeros_say_so():
    maps = torch.zeros(1, 1, 1, 30)
    columns = [Column("a", maps, zero={0: "rectified away at 3"}), Column("b", None, error="RuntimeError: no luck")]
    figure = comparison_figure(list(random_maps(1, 1, 30)), columns, ["x"], stacked=True, axis="sample")
    (strip,) = strips(figure)
    assert within(figure, strip.rectangle) == ["rectified away at 3"]
    assert "RuntimeError: no luck" in words(figure)
    assert_apart(figure)


def test_a_constant_signal_is_a_line():
    figure = comparison_figure([torch.ones(1, 30)], [], ["x"], stacked=True, axis="sample")
    (curve,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 30]
    assert np.ptp(curve.get_ydata()) == 0


def test_frames_have_square_pixels_and_no_axis():
    video = torch.rand(3, 6, 40)
    figure = comparison_figure([video], [Column("a", video[None])], ["x"], head="video", stacked=True)
    for strip in strips(figure):
        width, height = strip.size
        assert width / height == pytest.approx(40 / 6)
    assert not [text for text in words(figure) if text.isdigit() and text != "0"]
    assert_apart(figure)


def test_width_and_letters_are_chosen():
    figure, *_ = stacked(width=4.0, font_size=6)
    assert figure.get_size_inches()[0] == pytest.approx(4)
    assert {text.get_fontsize() for text in texts(figure)} == {6}
    wide, *_ = stacked(tile=6.0)
    left, _, right, _ = strips(wide)[0].rectangle
    assert (right - left) / wide.dpi == pytest.approx(6)


def test_signals_are_drawn_on_a_callers_axes():
    signals = list(random_maps(1, 2, 30))
    maps = random_maps(1, 1, 2, 30)
    figure = PlainFigure()
    axes = figure.subplots(2, 1)
    comparison_figure(signals, [Column("a", maps)], ["x"], stacked=True, axes=axes)
    assert [len(line.get_ydata()) for line in axes[0].lines] == [30, 30]
    assert axes[0].get_xlim() == (-0.5, 29.5)
    np.testing.assert_array_equal(axes[1].images[0].get_array(), coloured(maps[0], "signed"))
    assert axes[1].get_aspect() == "auto"
