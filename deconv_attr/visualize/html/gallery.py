"""The page of a gallery: one sprite sheet for each feature map, one script of data for each layer, every image once.

::

    index.html
    files/page.css, gallery.css, page.js, gallery.js, cards.js, units.js
    files/layer-SLUG.js             galleryLayer({...}): all of a layer but pixels, loaded when it is chosen
    files/maps-SLUG/map-NUMBER.png  a sprite sheet; .jpg for large tiles
    files/image-NUMBER.jpg          a whole image; .png for small ones
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..tiles import Bytes, MapTiles
from .gallery_folder import GENERATOR, GalleryFolder
from .rendering import rendered
from .sprites import encoded, sprite_sheet

__all__ = ["PageLayer", "Slugs", "write_gallery"]

STYLES = ("page.css", "gallery.css")
SCRIPTS = ("page.js", "gallery.js", "cards.js", "units.js")
LONGEST = 80  # characters of a slug; file systems allow 255 bytes for a name


@dataclass(frozen=True, eq=False)
class PageLayer:
    """One layer of a gallery.

    Parameters
    ----------
    name : str
        Its name on the page.
    facts : str
        One line about it.
    maps : iterable of MapTiles
        Its feature maps in the order to be shown; iterated once, each written before the next is asked for.
    slots : int
        The number of slots for units; a map that is active in fewer images has empty slots.
    """

    name: str
    facts: str
    maps: Iterable[MapTiles]
    slots: int = 1


def write_gallery(
    folder: str | Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    layers: Iterable[PageLayer],
    name: Callable[[int], str],
    picture: Callable[[int], Bytes],
) -> Path:
    """Write a page to browse the feature maps of layers: projections beside patches, and the images they come from.

    An older gallery in the folder is replaced. Its index is removed first and the new one is written last: there is
    never a page of two galleries. Files that only the older one had are removed; other files stay.

    Parameters
    ----------
    folder : str or Path
        Where to write; made if its parent exists.
    title : str
        The heading.
    facts : sequence of tuple
        Pairs of a name and a text, shown below the heading.
    layers : iterable of PageLayer
        Iterated once, each written before the next is asked for.
    name : callable
        From an image's number to its name; called once for each image that a unit comes from, as is `picture`.
    picture : callable
        From an image's number to the whole image, (H, W, 3), bytes.

    Returns
    -------
    Path
        The index, to be opened in a browser.

    Raises
    ------
    InputError
        If a file cannot be written, or the folder has an index that is no gallery's.
    """
    target = GalleryFolder(folder)
    images = _Images(target, name, picture)
    slugs = Slugs()
    shown = [_write_layer(target, layer, slugs.take(layer.name), images) for layer in layers]
    templates = files(__package__) / "templates"
    for asset in (*STYLES, *SCRIPTS):
        target.write(f"files/{asset}", (templates / asset).read_bytes())
    return target.finish(
        rendered(
            "gallery.html",
            generator=GENERATOR,
            title=title,
            facts=facts,
            layers=shown,
            styles=STYLES,
            scripts=SCRIPTS,
        )
    )


def _write_layer(target: GalleryFolder, layer: PageLayer, slug: str, images: _Images) -> dict[str, Any]:
    """Write a layer's sprite sheets, then its data; return its entry in the index."""
    maps: list[dict[str, Any]] = []
    used: dict[int, dict[str, Any]] = {}
    for tiles in layer.maps:
        slots = max(layer.slots, len(tiles))
        maps.append(_numbers(tiles))
        if len(tiles):
            maps[-1]["sheet"] = _write_sheet(target, tiles, slots, f"files/maps-{slug}/map-{int(tiles.number)}")
        used |= {int(number): images.entry(int(number)) for number in tiles.images}
    target.write(f"files/layer-{slug}.js", _script({"slug": slug, "maps": maps, "images": used}))
    return {"slug": slug, "name": layer.name, "facts": layer.facts, "maps": len(maps)}


def _numbers(tiles: MapTiles) -> dict[str, Any]:
    """Return the numbers of a feature map for JSON; an activation that is not finite is null."""
    values = [float(value) for value in tiles.values]
    return {
        "number": int(tiles.number),
        "values": [value if math.isfinite(value) else None for value in values],
        "scales": [float(f"{scale:.4g}") for scale in tiles.scales],
        "images": [int(number) for number in tiles.images],
        "positions": [[int(index) for index in position] for position in tiles.positions],
        "boxes": [[int(edge) for edge in box] for box in tiles.boxes],
    }


def _write_sheet(target: GalleryFolder, tiles: MapTiles, slots: int, path: str) -> dict[str, Any]:
    """Write the sprite sheet of a feature map, and return its file and the positions of the tiles on it."""
    sheet = sprite_sheet(tiles, slots)
    ending, content = encoded(sheet.pixels, max(sheet.tile))
    target.write(path + ending, content)
    return {
        "file": path + ending,
        "height": sheet.pixels.shape[0],
        "width": sheet.pixels.shape[1],
        "tile": sheet.tile,
        "gap": sheet.gap,
        "columns": sheet.columns,
        "right": sheet.right,
    }


def _script(data: dict[str, Any]) -> bytes:
    """Call the page's function with data: a script can be loaded from a disk, where JSON cannot be fetched.

    In ASCII without ``<``: nothing that ends a line or a script.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"galleryLayer({text});\n".encode("ascii")


@dataclass(eq=False)
class _Images:
    """The whole images, each written for the first unit that comes from it."""

    target: GalleryFolder
    name: Callable[[int], str]
    picture: Callable[[int], Bytes]
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)

    def entry(self, number: int) -> dict[str, Any]:
        if number not in self.entries:
            pixels = self.picture(number)
            height, width, _ = pixels.shape
            ending, content = encoded(pixels, max(height, width))
            path = f"files/image-{number}{ending}"
            self.target.write(path, content)
            self.entries[number] = {"name": str(self.name(number)), "file": path, "height": height, "width": width}
        return self.entries[number]


class Slugs:
    """Names for files and addresses, distinct even without regard to case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """Return a name that has not been returned before."""
        plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:LONGEST].strip("-.") or "layer"
        slug = plain
        number = 1
        while slug.casefold() in self._taken:
            number += 1
            slug = f"{plain}-{number}"
        self._taken.add(slug.casefold())
        return slug
