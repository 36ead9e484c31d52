"""Figure 2 of the paper: for every feature map its strongest projections in a square, beside their image patches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from .page_layout import BETWEEN, DPI, GAP, LABEL_SIZE, NARROWEST, broken, columns_for
from .tile_page import LOWEST, MOST_MAPS, Scaled, TilePage, check_number, short, text_height
from .tiles import MapTiles
from .unit_input import checked_text

__all__ = ["MOST_MAPS", "MOST_TILES", "gallery_figure"]

MOST_TILES = 100
"""How many projections of a feature map a page can hold."""

SQUARE = 240  # pixels: the side that a square of small tiles is magnified to, nearly
NOTE = "left: projections, each around mid-grey with its own contrast; right: the image patches"
LIFT = 0.03  # inches, of a label above its block
DEAD = "not active in these images"


def gallery_figure(layer: str, maps: Sequence[MapTiles], k: int, facts: str = "") -> Figure:
    """Draw a block for each feature map: the projections of its strongest units in a square, beside their patches.

    Above each block stand the map's number and its strongest activation. Tiles are sharp: small ones are magnified by
    a whole number; only big ones on a page of many are shrunk.

    Parameters
    ----------
    layer : str
        The layer's name, the title.
    maps : sequence of MapTiles
        1 to :data:`MOST_MAPS`. A map without units gets a block that says so.
    k : int
        How many units of each map there is room for, 1 to :data:`MOST_TILES`, in the square with the fewest columns
        that holds them; a map may have fewer, and of more the first k are drawn.
    facts : str
        What else the title says, such as the number of maps.

    Raises
    ------
    InputError
        If there are no maps, too many of them, or if k is no such number.
    """
    check_number(len(maps), MOST_MAPS, "feature maps")
    check_number(k, MOST_TILES, "units of each feature map")
    title = "   ".join(text for text in (checked_text(layer, "a layer"), checked_text(facts, "facts")) if text)
    blocks = [[Scaled(tiles, k, SQUARE, 2 * len(maps)) for tiles in (m.projections, m.patches) if len(m)] for m in maps]
    squares = [square for block in blocks for square in block]
    width = max(NARROWEST, max((square.width for square in squares), default=SQUARE / DPI))
    height = max(LOWEST, max((square.height for square in squares), default=SQUARE / DPI))
    across = width + GAP + width
    labels = [broken(_label(tiles), LABEL_SIZE, across) for tiles in maps]
    above = max(text_height(label, LABEL_SIZE) for label in labels)
    step = above + height + BETWEEN
    columns = columns_for(len(maps), across + BETWEEN, step)
    rows = math.ceil(len(maps) / columns)
    page = TilePage(title, NOTE, columns * (across + BETWEEN) - BETWEEN, rows * step - BETWEEN)
    for number, (label, block) in enumerate(zip(labels, blocks, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * (across + BETWEEN), page.top + row * step + above
        page.write(left, top - LIFT, label, fontsize=LABEL_SIZE)
        for place, square in enumerate(block):
            page.show(square, left + place * (width + GAP), top, width, height)
        if not block:
            page.blank(DEAD, LABEL_SIZE, left, top, across, height)
    return page.figure


def _label(tiles: MapTiles) -> str:
    return f"map {tiles.number}" + (f"   {short(tiles.values[0])}" if len(tiles) else "")
