"""The pointing game and the share inside masks, with masks made by hand."""

import numpy as np
import pytest
import torch

from deconv_attr.errors import InputError
from deconv_attr.evidence import mask_share, pointing_game

MASK = torch.zeros(1, 4, 6, dtype=torch.bool)
MASK[:, 1:3, 2:5] = True  # 6 of 24 pixels
PERFECT = MASK[:, None].double()


def at(*pixels, channels=1):
    """Make a map that is zero but at some pixels (channel, row, column, value)."""
    maps = torch.zeros(1, channels, 4, 6)
    for channel, row, column, value in pixels:
        maps[0, channel, row, column] = value
    return maps


@pytest.mark.parametrize("check", [pointing_game, mask_share])
@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        (PERFECT, 1),
        (-3 * PERFECT, 1),
        (PERFECT.expand(1, 3, 4, 6), 1),
        (1 - PERFECT, 0),
        (at((0, 1, 2, 1.0)), 1),
        (at((0, 0, 2, 1.0)), 0),
        (torch.ones(1, 1, 4, 6), 6 / 24),
        (at((2, 2, 4, -5.0), channels=3), 1),
    ],
    ids=["perfect", "negative", "three channels", "anti", "a pixel inside", "a pixel outside", "even", "one channel"],
)
def test_maps_whose_place_is_known(check, maps, expected):
    found = check(maps, MASK, rank_by="size")
    assert found.dtype == torch.float64
    assert found.tolist() == [pytest.approx(expected)]


def test_the_strongest_pixel_alone_is_asked():
    maps = at((0, 0, 0, 2.0), (0, 1, 2, 1.9), (0, 1, 3, -1.9))
    assert pointing_game(maps, MASK, rank_by="size").item() == 0
    assert mask_share(maps, MASK, rank_by="size").item() == pytest.approx(3.8 / 5.8)
    maps[0, 0, 1, 2] = -2.1
    assert pointing_game(maps, MASK, rank_by="size").item() == 1


def test_of_several_strongest_pixels_the_share_counts():
    maps = at((0, 0, 0, 2.0), (0, 1, 2, 2.0), (0, 1, 3, -2.0), (0, 1, 4, 1.0))
    assert pointing_game(maps, MASK, rank_by="size").item() == pytest.approx(2 / 3)


def test_strength_is_the_greatest_of_the_channels_not_their_sum():
    maps = at((0, 1, 2, 1.0), (1, 1, 2, 1.0), (2, 1, 2, -1.0), (0, 0, 0, 1.5), channels=3)
    assert pointing_game(maps, MASK, rank_by="size").item() == 0
    assert mask_share(maps, MASK, rank_by="size").item() == pytest.approx(1 / 2.5)


@pytest.mark.parametrize("check", [pointing_game, mask_share])
def test_by_value_what_lowers_the_score_does_not_count(check):
    maps = at((0, 0, 0, -9.0), (1, 0, 0, 1.0), (0, 1, 2, 2.0), (1, 1, 2, -1.0), channels=2)
    assert check(maps, MASK).item() == check(maps, MASK, rank_by="value").item() == 1
    assert check(maps, MASK, rank_by="size").item() == {pointing_game: 0, mask_share: 2 / 11}[check]


def test_of_a_map_that_raises_the_score_nowhere_there_is_no_share():
    assert mask_share(-PERFECT, MASK).isnan().item()
    assert pointing_game(-PERFECT, MASK).item() == 0  # the first pixels are those that do not lower it


@pytest.mark.parametrize("check", [pointing_game, mask_share])
@pytest.mark.parametrize("size", [(24,), (4, 2, 3)], ids=["signals", "volumes"])
def test_signals_and_volumes_have_masks_too(check, size):
    maps = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    found = check(maps.reshape(1, 3, *size), MASK.reshape(1, *size), rank_by="size")
    torch.testing.assert_close(found, check(maps, MASK, rank_by="size"))


def test_by_chance_the_game_is_won_as_often_as_the_mask_is_large():
    noise = torch.randn(4000, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    masks = MASK.expand(4000, 4, 6)
    assert pointing_game(noise, masks).mean().item() == pytest.approx(0.25, abs=0.03)
    assert mask_share(noise, masks).mean().item() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("check", [pointing_game, mask_share])
def test_each_image_has_its_mask_and_zero_maps_have_no_number(check):
    maps = torch.cat([PERFECT, 0 * PERFECT, PERFECT, PERFECT])
    masks = torch.cat([MASK, MASK, ~MASK, torch.zeros_like(MASK)])
    found = check(maps.half().requires_grad_(), masks)
    assert found.isnan().tolist() == [False, True, False, False]
    assert found[[0, 2, 3]].tolist() == [1, 0, 0]


@pytest.mark.parametrize("check", [pointing_game, mask_share])
@pytest.mark.parametrize(
    ("masks", "found"),
    [
        (MASK.float(), r"torch.float32 \(1, 4, 6\)"),
        (MASK[:, None], r"torch.bool \(1, 1, 4, 6\)"),
        (MASK.expand(2, 4, 6), r"torch.bool \(2, 4, 6\)"),
        (MASK.transpose(1, 2), r"torch.bool \(1, 6, 4\)"),
        (MASK[0], r"torch.bool \(4, 6\)"),
        (np.zeros((1, 4, 6), dtype=bool), "ndarray"),
        (None, "NoneType"),
    ],
    ids=["floats", "a channel", "too many", "turned", "one for all", "numpy", "none"],
)
def test_other_masks_are_refused(check, masks, found):
    with pytest.raises(InputError, match=rf"expected masks \(1, 4, 6\) of bool, got {found}"):
        check(PERFECT, masks)
