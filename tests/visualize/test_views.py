"""What is shown of signals, volumes, videos and images of many channels: which values, which words, what is refused."""

import pytest
import torch
from test_pictures import random_maps

from deconv_attr.errors import InputError
from deconv_attr.visualize import view_of

VOLUMES = random_maps(2, 1, 6, 4, 5)
VIDEOS = random_maps(2, 3, 20, 4, 5, seed=1)
MANY = random_maps(2, 5, 4, 6, seed=2)
SIGNALS = random_maps(2, 4, 30, seed=3)


def between(values):
    return (values - values.min()) / (values.max() - values.min())


def test_an_image_is_one_row_from_its_minimum_to_its_maximum():
    inputs = random_maps(3, 3, 4, 5)
    view = view_of(inputs, [])
    assert (view.stacked, view.words, [row.example for row in view.rows]) == (False, "image", [0, 1, 2])
    for row, one in zip(view.rows, inputs, strict=True):
        torch.testing.assert_close(row.image, between(one))
        assert torch.equal(row.part(2 * one), 2 * one)


def test_rows_are_chosen_by_number():
    view = view_of(MANY, [], examples=[1])
    assert [row.example for row in view.rows] == [1]
    with pytest.raises(InputError, match="expected rows as numbers from 0 to 1, got 2"):
        view_of(MANY, [], examples=[2])


def test_of_many_channels_the_mean_is_shown_or_those_that_are_chosen():
    view = view_of(MANY, [])
    assert view.words == "image (mean of 5 channels)"
    torch.testing.assert_close(view.rows[1].image, between(MANY[1].mean(0, keepdim=True)))
    assert torch.equal(view.rows[1].part(MANY[0]), MANY[0])
    view = view_of(MANY, [], channels=(3, 2, 1))
    assert view.words == "image (channels 3, 2, 1)"
    torch.testing.assert_close(view.rows[1].image, between(MANY[1][[3, 2, 1]]))
    assert torch.equal(view.rows[1].part(MANY[0]), MANY[0][[3, 2, 1]])
    assert torch.equal(view.rows[1].part(MANY[0][:1]), MANY[0][:1])  # a map for all channels
    assert view_of(MANY, [], channels=[4]).words == "image (channel 4)"


def test_a_signal_is_itself_and_its_map_a_stripe_for_each_channel():
    view = view_of(SIGNALS, [])
    assert (view.stacked, view.words, view.axis) == (True, "signal", "sample")
    assert torch.equal(view.rows[1].image, SIGNALS[1])
    assert torch.equal(view.rows[1].part(SIGNALS[0]), SIGNALS[0][None])
    view = view_of(SIGNALS, [], channels=[2, 0])
    assert torch.equal(view.rows[1].image, SIGNALS[1][[2, 0]])
    assert torch.equal(view.rows[1].part(SIGNALS[0]), SIGNALS[0][[2, 0]][None])


def test_of_a_volume_the_slice_with_the_strongest_maps_is_shown_and_its_projection():
    maps = torch.zeros_like(VOLUMES)
    maps[0, :, 2] = 1e-3
    maps[1, :, 5] = -7
    view = view_of(VOLUMES, [maps, torch.zeros_like(maps)])
    assert not view.stacked
    assert [(row.example, row.words) for row in view.rows] == [
        (0, "slice 2 of 0 to 5"),
        (0, "largest value of 6 slices"),
        (1, "slice 5 of 0 to 5"),
        (1, "largest value of 6 slices"),
    ]
    first, projected = view.rows[:2]
    torch.testing.assert_close(first.image, between(VOLUMES[0])[:, 2])
    assert torch.equal(first.part(VOLUMES[1]), VOLUMES[1][:, 2])
    torch.testing.assert_close(projected.image, between(VOLUMES[0]).amax(1))
    brute = torch.stack([max(line, key=abs) for line in VOLUMES[1, 0].flatten(1).T]).view(1, 4, 5)
    assert torch.equal(projected.part(VOLUMES[1]), brute)


def test_maps_of_any_scale_count_alike_for_the_slice():
    strong, weak = torch.zeros_like(VOLUMES), torch.zeros_like(VOLUMES)
    strong[:, :, 1, 0, 0] = 1e6
    weak[:, :, 4] = 1e-6
    other = torch.zeros_like(VOLUMES)
    other[:, :, 4, 1, 1] = 1
    assert view_of(VOLUMES, [strong, weak, other]).rows[0].words == "slice 4 of 0 to 5"
    assert view_of(VOLUMES, [0 * strong]).rows[0].words == "slice 3 of 0 to 5"


def test_slices_are_chosen():
    view = view_of(VOLUMES, [], slices=[5, 0])
    assert [row.words for row in view.rows] == ["slice 5 of 0 to 5", "slice 0 of 0 to 5"] * 2
    assert torch.equal(view.rows[3].part(VOLUMES[0]), VOLUMES[0][:, 0])


def test_a_video_is_a_strip_of_frames():
    view = view_of(VIDEOS, [])
    assert (view.stacked, view.words, view.axis) == (True, "video", "")
    assert view.rows[0].words == "frames 0, 3, 5, 8, 11, 14, 16, 19 of 0 to 19"
    view = view_of(VIDEOS, [], frames=[2, 7])
    strip = view.rows[1].part(VIDEOS[0])
    assert strip.shape == (3, 4, 11)
    assert torch.equal(strip[..., :5], VIDEOS[0][:, 2])
    assert torch.equal(strip[..., 6:], VIDEOS[0][:, 7])
    assert not strip[..., 5].any()
    torch.testing.assert_close(view.rows[1].image[..., 6:], between(VIDEOS[1])[:, 7])
    assert (view.rows[1].image[..., 5] == 1).all()


def test_volumes_in_colour_and_videos_in_grey_are_shown_if_asked_for():
    assert not view_of(VIDEOS, [], slices=[3]).stacked
    assert view_of(VOLUMES, [], frames=[3]).stacked


def test_images_to_show_stand_for_the_inputs():
    images = torch.rand(2, 3, 4, 6)
    view = view_of(MANY, [], images)
    assert view.words == "image"
    assert torch.equal(view.rows[1].image, images[1])
    other = SIGNALS[:, :1]
    assert torch.equal(view_of(SIGNALS, [], other).rows[1].image, other[1])


@pytest.mark.parametrize(
    ("inputs", "choice", "message"),
    [
        (MANY, {"channels": [5]}, "expected channels as numbers from 0 to 4, got 5"),
        (MANY, {"channels": [True]}, "expected channels as numbers from 0 to 4, got True"),
        (MANY, {"channels": []}, "expected channels as numbers from 0 to 4, got none"),
        (MANY, {"channels": [0, 1]}, "expected one of the channels, or three as red, green and blue, got 2"),
        (MANY, {"slices": [0]}, r"expected slices with inputs \(N, C, D, H, W\) only, got inputs \(2, 5, 4, 6\)"),
        (SIGNALS, {"frames": [0]}, r"expected frames with inputs \(N, C, D, H, W\) only, got inputs \(2, 4, 30\)"),
        (VOLUMES, {"slices": [6]}, "expected slices as numbers from 0 to 5, got 6"),
        (VIDEOS, {"frames": ["a"]}, "expected frames as numbers from 0 to 19, got 'a'"),
        (VIDEOS, {"frames": [0], "slices": [0]}, "expected slices, of volumes, or frames, of videos, got both"),
    ],
    ids=["channel", "bool", "none", "two", "no volume", "no video", "slice", "text", "both"],
)
def test_what_is_not_there_is_refused(inputs, choice, message):
    with pytest.raises(InputError, match=message):
        view_of(inputs, [], **choice)
