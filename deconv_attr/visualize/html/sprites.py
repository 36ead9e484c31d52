"""Pictures as files: the tiles of a feature map on one sprite sheet, and the format that suits a size.

A sheet is the montage of projections, a seam, and the montage of patches. The tile in row r and column c of either
begins at pixel ``r (h + gap)``, ``c (w + gap)`` of its montage; the patches' montage begins at column ``right``. What
lies outside of an image is as dark as the gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from ..tiles import Bytes, MapTiles, columns_of, fit, squares

__all__ = ["SpriteSheet", "encoded", "sprite_sheet"]

PLATE = (24, 24, 27)  # --plate in page.css
LEAST = 16  # pixels; smaller tiles are magnified, so that a gap of one pixel stays narrower than they are
LARGEST_EXACT = 64  # pixels; larger pictures are hardly magnified on the page, and as PNG three times as large
QUALITY = 90


@dataclass(frozen=True, eq=False)
class SpriteSheet:
    """The tiles of one feature map as one picture; lengths in its pixels.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 3), bytes.
    tile : tuple of int
        Height and width of a tile on the sheet, an integer multiple of its own.
    gap : int
        Between two tiles.
    columns : int
        The number of columns of either montage.
    right : int
        The column where the patches' montage begins.
    """

    pixels: Bytes
    tile: tuple[int, int]
    gap: int
    columns: int
    right: int


def sprite_sheet(tiles: MapTiles, slots: int) -> SpriteSheet:
    """Return a sheet of the projections of a feature map, with its patches beside them.

    Parameters
    ----------
    tiles : MapTiles
        n >= 1 units.
    slots : int
        The number of slots for units on either side, at least n.
    """
    _, height, width, _ = tiles.patches.shape
    longer = max(height, width)
    longer *= max(1, LEAST // longer)
    gap = max(1, round(longer / 32))  # about a pixel of the screen where large tiles are shown small
    seam = 4 * gap
    pixels = squares(tiles, slots, longer, gap, seam, PLATE)
    return SpriteSheet(
        pixels=pixels,
        tile=fit(height, width, longer),
        gap=gap,
        columns=columns_of(slots),
        right=(pixels.shape[1] + seam) // 2,
    )


def encoded(pixels: Bytes, visible: int, quality: int = QUALITY) -> tuple[str, bytes]:
    """Return the ending and the content of a picture's file.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 3), bytes.
    visible : int
        The longer side of the part that is visible at a time, in pixels: small pictures are magnified, and are kept
        exactly, as PNG; large ones become JPEG, with full resolution of colours.
    quality : int
        Of a JPEG, up to 95.
    """
    file = BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if visible <= LARGEST_EXACT:
        picture.save(file, "PNG", optimize=True)
        return ".png", file.getvalue()
    picture.save(
        file, "JPEG", quality=quality, subsampling="4:4:4"
    )  # not optimized: Pillow's buffer is too small for noise
    return ".jpg", file.getvalue()
