"""Pictures as files: the tiles of a feature map on one sprite sheet, and the format that suits a size.

A sheet is the montage of projections, a seam, and the montage of patches. The tile in row r and column c of either
begins at pixel ``r (h + gap)``, ``c (w + gap)`` of its montage; the patches' montage begins at column ``right``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from ..tiles import Bytes, MapTiles, montage

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
    zoom = max(1, LEAST // longer)
    gap = max(1, round(longer * zoom / 32))  # about a pixel of the screen where large tiles are shown small
    left, right = (
        montage(pictures.repeat(zoom, axis=1).repeat(zoom, axis=2), slots, gap, PLATE)
        for pictures in (tiles.projections, tiles.patches)
    )
    seam = np.full((len(left), 4 * gap, 3), PLATE, dtype=np.uint8)
    return SpriteSheet(
        pixels=np.concatenate([left, seam, right], axis=1),
        tile=(height * zoom, width * zoom),
        gap=gap,
        columns=math.isqrt(slots - 1) + 1,
        right=left.shape[1] + seam.shape[1],
    )


def encoded(pixels: Bytes, visible: int) -> tuple[str, bytes]:
    """Return the ending and the content of a picture's file.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 3), bytes.
    visible : int
        The longer side of the part that is visible at a time, in pixels: small pictures are magnified, and are kept
        exactly, as PNG; large ones become JPEG, with full resolution of colours.
    """
    file = BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if visible <= LARGEST_EXACT:
        picture.save(file, "PNG", optimize=True)
        return ".png", file.getvalue()
    picture.save(
        file, "JPEG", quality=QUALITY, subsampling="4:4:4"
    )  # not optimized: Pillow's buffer is too small for noise
    return ".jpg", file.getvalue()
