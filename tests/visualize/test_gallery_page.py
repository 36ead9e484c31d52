"""The page of a gallery: what is written, under which names, what is left of an older one, what cannot be written."""

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconv_attr.errors import InputError
from deconv_attr.visualize.html import PageLayer, write_gallery
from deconv_attr.visualize.html.sprites import PLATE, sprite_sheet
from deconv_attr.visualize.tiles import MapTiles

FACTS = [("model", "a net"), ("images", "4 generated")]
ASSETS = ("page.css", "gallery.css", "page.js", "gallery.js", "cards.js", "units.js")
NASTY = ["<script>alert(1)</script>.jpg", "a\"b'c&d.jpg", "</script>", "x\u2028y\ud800.jpg", "long" * 200]


def bytes_of(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def map_tiles(number=0, units=4, height=5, width=7, layer="conv", images=None):
    """Random tiles of a feature map, in numpy's numbers."""
    rng = np.random.default_rng([number, units, height, width])
    return MapTiles(
        layer=layer,
        number=np.int64(number),
        values=[np.float32(value) for value in sorted(rng.gamma(2, 3, units), reverse=True)],
        images=list(rng.integers(0, 4, units)) if images is None else images,
        positions=[tuple(position) for position in rng.integers(0, 9, (units, 2))],
        boxes=[(top, left, top + height, left + width) for top, left in rng.integers(0, 20, (units, 2))],
        scales=[np.float32(scale) for scale in rng.gamma(2, 1e-3, units)],
        insides=[(0, 0, height, width)] * units,
        projections=rng.integers(0, 256, (units, height, width, 3), dtype=np.uint8),
        patches=rng.integers(0, 256, (units, height, width, 3), dtype=np.uint8),
    )


def photo(number):
    return bytes_of(number, 30, 40, 3)


def write(folder, *layers, title="A gallery", name=lambda number: f"{number}.jpg", picture=photo):
    return write_gallery(folder, title, FACTS, layers, name, picture)


def layer_of(*maps, name="conv", facts="maps of a layer"):
    return PageLayer(name, facts, maps)


def data_of(folder, slug="conv"):
    """What the page's script is given of a layer."""
    text = (folder / f"files/layer-{slug}.js").read_text(encoding="ascii")
    return json.loads(re.fullmatch(r"galleryLayer\((.*)\);\n", text)[1])


def pixels_of(path):
    return np.asarray(Image.open(BytesIO(path.read_bytes())))


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class Parsed(HTMLParser):
    """The tags of a page with their attributes, and the texts between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


# ------------------------------------------------------------------------------------------------ what is written


def test_files_are_where_the_page_looks_for_them(tmp_path):
    index = write(tmp_path / "new", layer_of(map_tiles(3, images=[0, 1, 1, 3]), map_tiles(77, units=0), name="f.1/a b"))
    assert index == tmp_path / "new/index.html"
    assert files_below(tmp_path / "new") == {
        "index.html",
        *(f"files/{name}" for name in (*ASSETS, "layer-f.1-a-b.js")),
        "files/maps-f.1-a-b/map-3.png",
        *(f"files/image-{number}.png" for number in (0, 1, 3)),
    }
    for tag, attributes in Parsed(index.read_text()).tags:
        link = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        assert link in (None, "data:,") or (index.parent / link).is_file()


def test_numbers_are_read_back_as_they_were(tmp_path):
    tiles = replace(map_tiles(12, units=5), scales=[0.0012345678, 123456.7, 0.0, 1.0, np.float32(2.5)])
    write(tmp_path, layer_of(tiles))
    (found,) = data_of(tmp_path)["maps"]
    assert found["number"] == 12
    assert found["values"] == tiles.values
    assert found["scales"] == [0.001235, 123500, 0, 1, 2.5]
    assert found["images"] == tiles.images
    assert [tuple(position) for position in found["positions"]] == tiles.positions
    assert [tuple(box) for box in found["boxes"]] == tiles.boxes
    entry = data_of(tmp_path)["images"][str(tiles.images[0])]
    assert entry["name"] == f"{tiles.images[0]}.jpg"
    np.testing.assert_array_equal(pixels_of(tmp_path / entry["file"]), photo(tiles.images[0]))
    assert (entry["height"], entry["width"]) == (30, 40)


def test_an_activation_that_is_no_finite_number_is_null(tmp_path):
    tiles = map_tiles(units=3)
    tiles.values[:] = [float("inf"), 1.0, float("nan")]
    write(tmp_path, layer_of(tiles))
    assert data_of(tmp_path)["maps"][0]["values"] == [None, 1.0, None]


@pytest.mark.parametrize(
    ("units", "height", "width"),
    [(1, 5, 7), (2, 16, 16), (4, 35, 20), (9, 64, 64), (25, 11, 11), (3, 1, 1), (9, 3, 9)],
    ids=lambda size: str(size),
)
def test_tiles_cut_out_of_their_sheet_are_the_tiles(tmp_path, units, height, width):
    tiles = map_tiles(1, units, height, width)
    write(tmp_path, layer_of(tiles))
    found = data_of(tmp_path)["maps"][0]["sheet"]
    pixels = pixels_of(tmp_path / found["file"])
    assert pixels.shape == (found["height"], found["width"], 3)
    down, across = found["tile"]
    assert max(down, across) > 8
    for start, pictures in ((0, tiles.projections), (found["right"], tiles.patches)):
        for rank, picture in enumerate(pictures):
            row, column = divmod(rank, found["columns"])
            top, left = row * (down + found["gap"]), start + column * (across + found["gap"])
            cut = pixels[top : top + down, left : left + across]
            np.testing.assert_array_equal(cut, np.kron(picture, np.ones((down // height, across // width, 1))))


def test_what_lies_outside_of_an_image_is_as_dark_as_the_gaps():
    tiles = map_tiles(1, 4, 8, 8)
    sheet = sprite_sheet(replace(tiles, insides=[(0, 0, 8, 8), (3, 0, 8, 2), (0, 0, 8, 8), (0, 0, 0, 8)]), 4)
    down, across = sheet.tile
    assert (down, across) == (16, 16)
    for start, pictures in ((0, tiles.projections), (sheet.right, tiles.patches)):
        second = sheet.pixels[:down, start + across + sheet.gap :][:, :across]
        np.testing.assert_array_equal(second[6:, :4], np.kron(pictures[1], np.ones((2, 2, 1)))[6:, :4])
        assert (second[:6] == PLATE).all()
        assert (second[:, 4:] == PLATE).all()
        assert (sheet.pixels[down + sheet.gap :, start + across + sheet.gap :][:, :across] == PLATE).all()


def test_large_tiles_and_images_are_jpeg_in_full_colours(tmp_path):
    smooth = np.linspace(0, 255, 120, dtype=np.uint8)[None, :, None] * np.array([1, 0, 0], dtype=np.uint8)
    large = np.broadcast_to(smooth, (1, 100, 120, 3)).copy()
    tiles = replace(map_tiles(0, 1, 100, 120, images=[0]), projections=large, patches=large)
    write(tmp_path, layer_of(tiles), picture=lambda number: large[0])
    path = tmp_path / "files/maps-conv/map-0.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert [factors[1:3] for factors in picture.layer] == [(1, 1)] * 3
    made = sprite_sheet(tiles, 1)
    assert np.abs(pixels_of(path).astype(int) - made.pixels).mean() < 2
    assert (tmp_path / "files/image-0.jpg").is_file()


def test_large_tiles_may_be_noise(tmp_path):
    write(tmp_path, layer_of(map_tiles(0, 9, 227, 227)))  # more bytes than Pillow expects of a JPEG
    assert pixels_of(tmp_path / "files/maps-conv/map-0.jpg").shape[0] > 3 * 227


def test_a_map_of_few_units_has_room_for_all(tmp_path):
    write(tmp_path, replace(layer_of(map_tiles(1, 2), map_tiles(0, 9), map_tiles(2, 0)), slots=9))
    few, full, none = data_of(tmp_path)["maps"]
    assert {**full["sheet"], "file": ""} == {**few["sheet"], "file": ""}
    assert "sheet" not in none
    assert none["values"] == []


def test_names_and_pictures_are_asked_for_once_and_only_if_used(tmp_path):
    named, drawn = [], []

    def name(number):
        named.append(number)
        return "x"

    def picture(number):
        drawn.append(number)
        return photo(number)

    maps = [map_tiles(0, 3, images=[5, 2, 5]), map_tiles(1, 2, images=[np.int64(2), 9])]
    write(tmp_path, layer_of(*maps), layer_of(*maps, name="b"), name=name, picture=picture)
    assert sorted(named) == sorted(drawn) == [2, 5, 9]


def test_layers_and_maps_are_written_before_the_next_is_asked_for(tmp_path):
    def maps(slug):
        for number in range(4):
            if number:
                assert (tmp_path / f"files/maps-{slug}/map-{number - 1}.png").is_file()
            yield map_tiles(number)

    def layers():
        yield PageLayer("a", "", maps("a"))
        assert len(data_of(tmp_path, "a")["maps"]) == 4
        yield PageLayer("b", "", maps("b"))

    write_gallery(tmp_path, "streamed", FACTS, layers(), str, photo)
    assert len(data_of(tmp_path, "b")["maps"]) == 4


# ------------------------------------------------------------------------------------------------ names


def test_texts_are_escaped_in_the_page(tmp_path):
    index = write(tmp_path, *(layer_of(name=text, facts=text) for text in NASTY), title=NASTY[0])
    raw = index.read_bytes().decode()
    parsed = Parsed(raw)
    scripts = [attributes for tag, attributes in parsed.tags if tag == "script"]
    assert len(scripts) == 4
    assert all(attributes["src"].startswith("files/") for attributes in scripts)
    assert not [key for _, attributes in parsed.tags for key in attributes if key.startswith("on") or key == "style"]
    for text in NASTY:
        assert text.replace("\ud800", "?") in parsed.texts
    assert [attributes["data-facts"] for _, attributes in parsed.tags if "data-facts" in attributes] == [
        text.replace("\ud800", "?") for text in NASTY
    ]


def test_nothing_remote_is_named(tmp_path):
    write(tmp_path, layer_of(map_tiles()))
    for path in [tmp_path / "index.html", *tmp_path.glob("files/*.js"), *tmp_path.glob("files/*.css")]:
        assert not re.search(r"https?:|//[a-z]|innerHTML|eval\(", path.read_text(), flags=re.IGNORECASE)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', (tmp_path / "index.html").read_text())[1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_image_names_are_safe_in_the_data(tmp_path):
    write(tmp_path, layer_of(map_tiles(units=5, images=list(range(5)))), name=lambda number: NASTY[number])
    content = (tmp_path / "files/layer-conv.js").read_bytes()
    assert b"<" not in content
    assert content.isascii()
    assert content.count(b"\n") == 1
    assert [data_of(tmp_path)["images"][str(number)]["name"] for number in range(5)] == NASTY


def test_layers_have_distinct_safe_file_names(tmp_path):
    names = ["a#1", "a/1", "a 1", "A-1", "a-1-2", "..", "", "../../etc", "ä", "x" * 300, "x" * 301, "con.js", "a-1."]
    index = write(tmp_path / "page", *(layer_of(map_tiles(3), name=name, facts=name) for name in names))
    slugs = [tag["data-slug"] for _, tag in Parsed(index.read_text()).tags if "data-slug" in tag]
    assert len({slug.casefold() for slug in slugs}) == len(names)
    for slug, name in zip(slugs, names, strict=True):
        assert re.fullmatch(r"[\w.-]{1,90}", slug, flags=re.ASCII)
        assert (tmp_path / f"page/files/maps-{slug}/map-3.png").is_file(), name
        assert data_of(tmp_path / "page", slug)["slug"] == slug
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


# ------------------------------------------------------------------------------------------------ older galleries


def test_what_an_earlier_gallery_left_is_removed_and_nothing_else(tmp_path):
    write(tmp_path, layer_of(*map(map_tiles, range(5))), layer_of(map_tiles(9, images=[7] * 4), name="gone"))
    (tmp_path / "files/maps-conv/map-9.png.part").write_text("a run of an older version that was cut off")
    (tmp_path / "files/view.js").write_text("a script of an older version")
    for name in ("maps-conv/.map-8.png.17.unfinished", ".layer-conv.js.17.unfinished"):
        (tmp_path / "files" / name).write_text("a run that was cut off")
    others = {
        "notes.txt",
        "map-1.png",
        "files/image-1.tif",
        "files/.mine.txt.17.unfinished",
        "files/maps-conv/notes.txt",
        "files/mine/map-2.png",
    }
    (tmp_path / "files/mine").mkdir()
    for name in others:
        (tmp_path / name).write_text("mine")
    write(tmp_path, layer_of(map_tiles(3, images=[0, 1, 0, 1])))
    assert files_below(tmp_path) - others == {
        "index.html",
        *(f"files/{name}" for name in (*ASSETS, "layer-conv.js")),
        "files/maps-conv/map-3.png",
        "files/image-0.png",
        "files/image-1.png",
    }
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    assert not (tmp_path / "files/maps-gone").exists()


def test_links_to_elsewhere_are_not_followed_when_removing(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "map-1.png").write_text("mine")
    write(tmp_path / "page", layer_of(map_tiles()))
    (tmp_path / "page/files/maps-old").symlink_to(elsewhere)
    write(tmp_path / "page", layer_of(map_tiles()))
    assert (elsewhere / "map-1.png").read_text() == "mine"


def test_no_page_shows_files_of_two_galleries(tmp_path):
    index = write(tmp_path, layer_of(map_tiles(0)))

    def maps():
        assert index.exists()  # nothing is lost to what fails before the first file
        yield map_tiles(0)
        assert not index.exists()
        raise RuntimeError("the model fails")

    with pytest.raises(RuntimeError, match="the model fails"):
        write(tmp_path, PageLayer("conv", "", maps()))
    assert not index.exists()
    assert write(tmp_path, layer_of(map_tiles(0))).exists()


# ------------------------------------------------------------------------------------------------ what fails


def never():
    raise AssertionError("a layer was computed for a page that cannot be written")
    yield


def test_a_page_that_is_no_gallery_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("<title>my home page</title>")
    with pytest.raises(InputError, match=r"cannot write .*index\.html: there is one already that is not a gallery's"):
        write_gallery(tmp_path, "", [], never(), str, photo)
    assert files_below(tmp_path) == {"index.html"}


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*b: there is no folder .*a$"):
        write_gallery(tmp_path / "a/b", "", [], never(), str, photo)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "page").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*page: File exists"):
        write_gallery(tmp_path / "page", "", [], never(), str, photo)


def test_a_folder_in_the_place_of_a_file_is_named_and_nothing_half_written_is_left(tmp_path):
    (tmp_path / "files/maps-conv/map-0.png").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot write .*map-0\.png: Is a directory"):
        write(tmp_path, layer_of(map_tiles(0)))
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_full_disk_is_named_and_leaves_no_page(tmp_path, monkeypatch):
    index = write(tmp_path, layer_of(map_tiles(0)))
    replace = Path.replace

    def full(source, target):
        if target.name == "units.js":
            raise OSError(28, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"cannot write .*units\.js: No space left on device"):
        write(tmp_path, layer_of(map_tiles(1)))
    assert not index.exists()
    assert not list(tmp_path.rglob("*.unfinished"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot write .*: permission denied"):
        write_gallery(tmp_path, "", [], never(), str, photo)
