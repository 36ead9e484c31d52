"""The page of a comparison: everything given is in it, as texts and pixels; nothing is loaded; what is refused."""

import base64
import hashlib
import os
import re
import weakref
from html.parser import HTMLParser
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconv_attr.errors import InputError
from deconv_attr.evidence.bootstrap import Estimate
from deconv_attr.evidence.table import Answer, Failure, ResultTable, text
from deconv_attr.visualize.html import (
    LazyPictures,
    ReportColumn,
    ReportFigure,
    ReportLegend,
    report,
    report_path,
    write_report,
)

NAN = float("nan")
FACTS = [("model", "a net"), ("images", "2 generated")]
NASTY = [
    "<script>alert(1)</script>",
    "a\"b'c&d",
    "</style></script>",
    "<img src=x onerror=alert(1)>",
    "-->",
    "{{ title }}",
    "x\u2028y\ud800",
    "data:,",
]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2"><rect width="4" height="2"/></svg>'
DARK = SVG.replace(b"rect width", b"rect fill='#fff' width")
BAR = ReportLegend(np.arange(12, dtype=np.uint8).reshape(1, 4, 3), ["-scale", "0", "scale"], "signed; grey is zero")
VOID = ("meta", "link", "img", "br", "wbr")


def picture(seed, height=5, width=7):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def table_of(*cells, name="number"):
    return ResultTable(["method", name], [[f"method {place}", cell] for place, cell in enumerate(cells)])


def write(folder, name="page.html", **given):
    """Write a page of two images and one method, but for what is given."""
    images = given.get("images", [picture(number) for number in range(2)])
    usual = {
        "title": "A comparison",
        "facts": FACTS,
        "verdict": "Nothing follows.",
        "notes": [],
        "table": table_of(0.5),
        "images": images,
        "labels": [f"image {number}" for number in range(len(images))],
        "columns": [column_of("ZFDeconv", len(images))],
    }
    asked = {**usual, **given}
    return write_report(folder / name, **{**asked, "table": asked["table"].for_page()})


def figure_of(alternative="a curve"):
    return ReportFigure(alternative, SVG, DARK)


def column_of(title, images=2, **others):
    return ReportColumn(title, [picture([number, len(title)]) for number in range(images)], **others)


class Element(HTMLParser):
    """A page as a tree: tags, attributes, and children, which are elements or texts."""

    def __init__(self, page=None, tag="page", attributes=()):
        super().__init__()
        self.tag, self.attributes, self.children = tag, dict(attributes), []
        self.open = [self]
        if page is not None:
            self.feed(page)
            assert self.open == [self]

    def handle_starttag(self, tag, attrs):
        made = Element(None, tag, attrs)
        self.open[-1].children.append(made)
        if tag not in VOID:
            self.open.append(made)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)

    def everything(self):
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.everything()

    def all(self, tag, **attributes):
        return [
            each
            for each in self.everything()
            if each.tag == tag and all(each.attributes.get(name) == value for name, value in attributes.items())
        ]

    def one(self, tag, **attributes):
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


def parsed(path):
    return Element(path.read_bytes().decode())


def cells_of(page):
    """The cells of the table's body, row by row."""
    rows = page.one("table", id="numbers").one("tbody").all("tr")
    return [[each for each in row.children if isinstance(each, Element)] for row in rows]


def pixels_of(source):
    kind, content = re.fullmatch(r"data:image/(\w+);base64,(.*)", source).groups()
    with Image.open(BytesIO(base64.b64decode(content, validate=True))) as opened:
        assert opened.format == kind.upper()
        return np.asarray(opened)


def pictures_of(page):
    """What the grid shows, row by row: pixels, the words below them and the alternative."""
    rows = page.one("table", id="pictures").one("tbody").all("tr")
    return [
        [
            (pixels_of(image.attributes["src"]), caption.text, image.attributes["alt"])
            for image, caption in zip(row.all("img"), row.all("figcaption"), strict=True)
        ]
        for row in rows
    ]


# ------------------------------------------------------------------------------------------------ what is written


def lines_of(element):
    return [line for line in element.text.split("\n") if line.strip()]


def test_everything_stands_in_its_order(tmp_path):
    table = ResultTable(["check", "ZFDeconv"], [["deletion", 0.25], ["insertion", 0.5]], {"deletion": "low: good"})
    answers = ResultTable(["question", "ZFDeconv"], [["Is it?", Answer("yes", "0.10")]])
    path = write(
        tmp_path,
        table=table,
        columns=[column_of("ZFDeconv", scales=["scale 1", "scale 2"], legend=BAR)],
        notes=["note one", "note two"],
        figures=[figure_of()],
        answers=answers.for_page(),
    )
    assert path == tmp_path / "page.html"
    page = parsed(path)
    assert page.one("title").text == page.one("h1").text == "A comparison"
    pairs = list(zip(page.one("header").all("dt"), page.one("header").all("dd"), strict=True))
    assert [(word.text, fact.text) for word, fact in pairs] == FACTS
    assert [line.strip() for line in lines_of(page.one("main"))] == [
        *("Pictures", "← → ↑ ↓ move Enter or a click: large Esc close", "image", "ZFDeconv"),
        *("ZFDeconv", "-scale 0 scale", "signed; grey is zero"),
        *("image 0", "image", "ZFDeconv scale 1", "image 1", "image", "ZFDeconv scale 2"),
        *(
            "Verdict",
            "Nothing follows.",
            "question",
            "ZFDeconv",
            "Is it?",
            "ZFDeconvyes (0.10)",
            "note one",
            "note two",
        ),
        *("In numbers", "check", "ZFDeconv", "deletionlow: good", "ZFDeconv0.25", "insertion", "ZFDeconv0.5"),
        *("Curves", "Means over images, with intervals of 95 %."),
    ]
    for kind, expected in (("light", SVG), ("dark", DARK)):
        curve = page.one("img", **{"class": kind}).attributes
        assert base64.b64decode(curve["src"].removeprefix("data:image/svg+xml;base64,")) == expected
        assert curve["alt"] == "a curve"


def test_the_colours_of_a_method_stand_below_its_title(tmp_path):
    other = ReportLegend(np.full((1, 2, 3), 7, dtype=np.uint8), ["0", "<s>"], "a & b")
    columns = [column_of("one", legend=BAR), column_of("two"), column_of("three", legend=other)]
    head = parsed(write(tmp_path, columns=columns)).one("table", id="pictures").one("thead")
    cells = head.one("tr", **{"class": "legends"}).all("td")
    assert [lines_of(cell) for cell in cells] == [
        *([], [], ["one", "-scale 0 scale ", "signed; grey is zero"]),
        *(["two"], ["three", "0 <s> ", "a & b"]),
    ]
    for cell, legend, name in ((cells[2], BAR, "-scale to scale"), (cells[4], other, "0 to <s>")):
        bar = cell.one("img").attributes
        np.testing.assert_array_equal(pixels_of(bar["src"]), legend.pixels)
        assert (bar["alt"], bar["height"]) == (f"colours from {name}", "1")
    assert not parsed(write(tmp_path)).all("tr", **{"class": "legends"})


def test_stacked_pictures_have_a_block_for_each_image(tmp_path):
    failed = ReportColumn("two", [], error="RuleError: no rule")
    columns = [column_of("one", scales=["scale 1", "zero everywhere"], legend=BAR), failed]
    page = parsed(write(tmp_path, columns=columns, stacked=True))
    assert not page.all("table", id="pictures")
    pictures = page.one("div", id="pictures")
    assert len(pictures.all("img", **{"class": "bar"})) == 1
    rows = pictures.all("div", **{"class": "row"})
    assert [row.one("h3").text for row in rows] == ["image 0", "image 1"]
    assert [lines_of(row) for row in rows] == [
        ["image 0", "image ", "one scale 1", "twoRuleError: no rule"],
        ["image 1", "image ", "one zero everywhere"],
    ]
    for number, row in enumerate(rows):
        shown = [pixels_of(each.attributes["src"]) for each in row.all("img")]
        np.testing.assert_array_equal(shown, [picture(number), columns[0].pictures[number]])


def test_the_lines_of_the_verdict_stand_below_it(tmp_path):
    rows = [["Is it?", Answer("yes", "0.10"), Answer("no", "0.90"), Answer("?", "0.60, 9 of 60")]]
    answers = ResultTable(["question", "a", "b", "<c>"], rows, {"Is it?": "from image"})
    page = parsed(write(tmp_path, answers=answers.for_page()))
    table = page.one("table", id="answers")
    assert [head.text for head in table.all("th", scope="col")] == ["question", "a", "b", "<c>"]
    assert table.one("th", scope="row").text == "Is it?from image"
    assert table.one("th", scope="row").attributes["abbr"] == "Is it?"
    found = [(cell.attributes["class"], *[span.text for span in cell.all("span")]) for cell in table.all("td")]
    assert found == [
        ("yes", "a", "yes (0.10)", "(0.10)"),
        ("no", "b", "no (0.90)", "(0.90)"),
        ("unsaid", "<c>", "? (0.60, 9 of 60)", "(0.60, 9 of 60)"),
    ]


def test_what_is_not_given_leaves_no_trace(tmp_path):
    page = parsed(write(tmp_path, columns=[], images=[]))
    assert [heading.text for heading in page.one("main").all("h2")] == ["Verdict", "In numbers"]
    assert page.one("main").all("ul") == page.one("main").all("img") == page.all("table", id="pictures") == []
    assert page.all("table", id="answers") == page.one("main").all("dl") == []


@pytest.mark.parametrize(
    ("cell", "kind", "shown"),
    [
        ("a name", "name", ["a name"]),
        ("-3", "name", ["-3"]),
        (-0.125, "number", ["-0.125"]),
        (1234.5678, "number", [text(1234.5678)]),
        (np.float64(0.1), "number", ["0.1"]),
        (3, "number", ["3"]),
        (float("inf"), "number", ["inf"]),
        (NAN, "undefined", ["nan"]),
        (Estimate(-0.256, -0.5, 0.13, 4, 4), "number", ["-0.26 (-0.50 to 0.13)", "(-0.50 to 0.13)"]),
        (Estimate(0.4, 0.3, 0.5, 3, 4), "number", ["0.40 (0.30 to 0.50), 3 of 4", "(0.30 to 0.50), 3 of 4"]),
        (Estimate(0.4, NAN, NAN, 1, 1), "number", ["0.40"]),
        (Estimate(0.4, NAN, NAN, 1, 4), "number", ["0.40 1 of 4", "1 of 4"]),
        (Estimate(NAN, NAN, NAN, 0, 4), "undefined", ["undefined"]),
        (Failure("RuleError: no rule"), "error", ["RuleError"]),
    ],
    ids=lambda value: str(value) if not isinstance(value, list) else "",
)
def test_a_cell_shows_its_text_below_the_name_of_its_method(tmp_path, cell, kind, shown):
    ((name, found),) = cells_of(parsed(write(tmp_path, table=table_of(cell))))
    assert (name.tag, name.attributes["scope"], name.text) == ("th", "row", "method 0")
    assert (found.tag, found.attributes) == ("td", {"class": kind})
    assert [part.text for part in found.all("span")] == ["number", *shown]


def test_an_error_is_written_out_once_below_the_table(tmp_path):
    failure = Failure("RuleError: no rule covers gelu")
    table = ResultTable(["method", "one", "two"], [["a", failure, failure], ["b", 1.0, Failure("OSError: full")]])
    failures = parsed(write(tmp_path, table=table)).one("dl", **{"class": "failures"})
    assert [(word.text, what.text) for word, what in zip(failures.all("dt"), failures.all("dd"), strict=True)] == [
        ("a", "RuleError: no rule covers gelu"),
        ("b", "OSError: full"),
    ]


def test_the_column_of_images_says_what_they_and_their_boxes_are(tmp_path):
    page = parsed(write(tmp_path, head="image (channels 3, 2, 1)", boxed="box: a field"))
    table = page.one("table", id="pictures")
    assert [head.text for head in table.one("thead").all("th")] == ["image (channels 3, 2, 1)", "ZFDeconv"]
    assert table.one("tbody").all("img")[0].attributes["alt"] == "image (channels 3, 2, 1): image 0"
    assert "box: a field" in [caption.text for caption in table.all("span")]
    named = parsed(write(tmp_path, head="signal", stacked=True))
    assert "signal: image 0" in [image.attributes["alt"] for image in named.all("img")]


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (96, 96), (130, 90)])
def test_pictures_are_the_pictures(tmp_path, height, width):
    images = [picture(number, height, width) for number in range(3)]
    columns = [
        ReportColumn("one", [picture([1, number], height, width) for number in range(3)], ["s = 1", "", "zero"]),
        ReportColumn("two", [picture([2, number], height, width) for number in range(3)]),
    ]
    page = parsed(write(tmp_path, images=images, columns=columns))
    expected = [ReportColumn("image", images), *columns]
    for number, row in enumerate(pictures_of(page)):
        for column, (pixels, caption, alternative) in zip(expected, row, strict=True):
            np.testing.assert_array_equal(pixels, column.pictures[number])
            assert caption == f"{column.title} {column.scales[number] if column.scales else ''}"
            assert alternative == f"{column.title}: image {number}"
    for image in page.one("table", id="pictures").all("img"):
        assert (image.attributes["height"], image.attributes["width"]) == (str(height), str(width))
        assert ("sharp" in image.attributes["class"].split()) == (max(height, width) < 100)
        assert image.attributes["decoding"] == "async"


def test_images_may_differ_in_size(tmp_path):
    images = [picture(0, 5, 7), picture(1, 120, 3)]
    column = ReportColumn("one", [picture(2, 5, 7), picture(3, 120, 3)])
    rows = pictures_of(parsed(write(tmp_path, images=images, columns=[column])))
    assert [[pixels.shape for pixels, *_ in row] for row in rows] == [[(5, 7, 3)] * 2, [(120, 3, 3)] * 2]


def test_many_large_pictures_are_jpeg_and_small_ones_are_exact(tmp_path, monkeypatch):
    smooth = np.linspace(0, 255, 120, dtype=np.uint8)[None, :, None] * np.array([1, 0, 1], dtype=np.uint8)
    large = np.broadcast_to(smooth, (110, 120, 3)).copy()
    given = {"images": [large, picture(0)], "columns": [ReportColumn("one", [large, picture(1)])]}
    monkeypatch.setattr(report, "MOST_EXACT", 2 * (110 * 120 + 5 * 7))
    exact = pictures_of(parsed(write(tmp_path, **given)))
    monkeypatch.setattr(report, "MOST_EXACT", report.MOST_EXACT - 1)
    path = write(tmp_path, **given)
    found = pictures_of(parsed(path))
    assert path.read_text().count("data:image/jpeg;base64,") == 2
    for column in (0, 1):
        np.testing.assert_array_equal(exact[0][column][0], large)
        assert 0 < np.abs(found[0][column][0].astype(int) - large).mean() < 2
        np.testing.assert_array_equal(found[1][column][0], picture(column))


def test_very_many_pictures_take_half_the_bytes_and_look_alike(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    photograph = np.asarray(Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).resize((320, 320)))
    given = {"images": [photograph] * 4, "columns": [ReportColumn("one", [photograph] * 4)]}
    monkeypatch.setattr(report, "MOST_EXACT", 0)
    monkeypatch.setattr(report, "MOST_FINE", 8 * 320**2)
    fine = write(tmp_path, **given).stat().st_size
    monkeypatch.setattr(report, "MOST_FINE", report.MOST_FINE - 1)
    path = write(tmp_path, **given)
    assert path.stat().st_size < 0.7 * fine
    assert all(
        np.abs(pixels.astype(int) - photograph).mean() < 4 for row in pictures_of(parsed(path)) for pixels, *_ in row
    )


def test_lazy_pictures_are_drawn_one_after_the_other_and_none_is_kept(tmp_path):
    drawn = []

    def draw(number):
        assert sum(each() is not None for each in drawn) <= 1  # the one before, at most
        pixels = picture(number)
        drawn.append(weakref.ref(pixels))
        return pixels

    every = [picture(number) for number in range(20)]
    expected = write(tmp_path, images=every, columns=[ReportColumn("one", every)]).read_bytes()
    lazy = LazyPictures(20, draw)
    assert write(tmp_path, images=lazy, columns=[ReportColumn("one", lazy)]).read_bytes() == expected
    assert len(drawn) >= 40


def test_a_failed_method_says_so_once_and_keeps_its_place(tmp_path):
    columns = [column_of("one"), ReportColumn("two", [], error="RuleError: no rule covers gelu"), column_of("three")]
    page = parsed(write(tmp_path, columns=columns))
    grid = page.one("table", id="pictures")
    assert [head.text for head in grid.one("thead").all("th")] == ["image", "one", "two", "three"]
    first, second = grid.one("tbody").all("tr")
    kinds = [cell.attributes.get("class") for cell in first.all("td")]
    assert kinds == [None, None, "failed", None]
    failed = first.one("td", **{"class": "failed"})
    assert failed.attributes["rowspan"] == "2"
    assert failed.one("p", **{"class": "error"}).text == "RuleError: no rule covers gelu"
    assert page.text.count("no rule covers gelu") == 1
    assert [caption.text for caption in second.all("figcaption")] == ["image ", "one ", "three "]


def test_a_method_that_failed_without_a_word_has_no_pictures(tmp_path):
    page = parsed(write(tmp_path, columns=[ReportColumn("one", [])]))
    assert page.one("p", **{"class": "error"}).text == "no pictures"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": ["one"]}, "expected 2 labels for 2 images, got 1"),
        ({"columns": [column_of("x", 3)]}, "expected 2 pictures of x for 2 images, got 3"),
        ({"columns": [column_of("x", scales=["s"])]}, "expected 2 scales of x for 2 images, got 1"),
    ],
    ids=["labels", "pictures", "scales"],
)
def test_numbers_that_differ_are_named(tmp_path, given, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        write(tmp_path, **given)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ one safe file


def test_texts_are_texts_wherever_they_stand(tmp_path):
    count = len(NASTY)
    pictures = [picture(0)] * count
    path = write(
        tmp_path,
        title=NASTY[0],
        facts=[(each, each) for each in NASTY],
        verdict=NASTY[3],
        notes=NASTY,
        table=ResultTable(
            [*NASTY, "x"], [[*NASTY, "y"], ["row", *map(Failure, NASTY)]], {each: each for each in NASTY}
        ),
        images=pictures,
        labels=NASTY,
        columns=[*(ReportColumn(each, pictures, NASTY) for each in NASTY), ReportColumn("x", [], error=NASTY[2])],
        figures=[figure_of(each) for each in NASTY],
    )
    page = parsed(path)
    plain = [each.replace("\ud800", "?") for each in NASTY]
    main, grid = page.one("main"), page.one("table", id="pictures")
    for where, expected in [
        (page.all("title") + page.all("h1"), [plain[0]] * 2),
        (page.one("header").all("dt"), plain),
        (page.one("header").all("dd"), plain),
        (main.all("p", **{"class": "verdict"}), [plain[3]]),
        (main.all("li"), plain),
        (page.one("table", id="numbers").one("thead").all("th"), [*plain, "x"]),
        (page.one("table", id="numbers").all("th", scope="row"), [plain[0] * 2, "row"]),
        ([cell.all("span")[-1] for cell in cells_of(page)[0][1:]], [*plain[1:], "y"]),
        ([cell.all("span")[-1] for cell in cells_of(page)[1][1:]], [each.split(":")[0] for each in plain]),
        (main.all("dt"), ["row"] * count),
        (main.all("dd"), plain),
        (grid.one("thead").all("th"), ["image", *plain, "x"]),
        (grid.all("th", scope="row"), plain),
        (grid.all("span", **{"class": "title"})[: 1 + count], ["image", *plain]),
        (grid.all("tr")[1].all("span", **{"class": "scale"}), ["", *[plain[0]] * count]),
        (grid.all("p", **{"class": "error"}), [plain[2]]),
    ]:
        assert [each.text for each in where] == expected
    alternatives = [each.attributes["alt"] for each in main.all("img")]
    expected = [f"{title}: {label}" for label in plain for title in ["image", *plain]]
    assert alternatives == [*expected, *(each for each in plain for _ in ("light", "dark"))]
    assert len(page.all("script")) == len(page.all("style")) == 1
    names = {name for each in page.everything() for name in each.attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]


def test_the_policy_allows_the_one_style_and_the_one_script(tmp_path):
    raw = write(tmp_path).read_bytes()
    policy = (
        parsed(tmp_path / "page.html").one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    )
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules.pop("img-src") == "data:"
    assert {rules.pop(name) for name in ("default-src", "base-uri", "form-action")} == {"'none'"}
    for tag in (b"script", b"style"):
        (content,) = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), raw, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert rules.pop(f"{tag.decode()}-src") == f"'sha256-{digest}'"
    assert rules == {}


def test_nothing_is_loaded(tmp_path):
    path = write(tmp_path, figures=[figure_of()])
    assert not re.search(r"https?:|//[a-z]|innerHTML|eval\(|@import|url\(", path.read_text(), flags=re.IGNORECASE)
    for each in parsed(path).everything():
        for name in ("src", "href", "srcset"):
            assert each.attributes.get(name, "data:").startswith("data:")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


# ------------------------------------------------------------------------------------------------ what fails


@pytest.mark.parametrize("name", ["page.pdf", "page", ".html", "page.html.png"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"^expected the name of a page to end in \.html, \.htm, got .*$"):
        write(tmp_path, name=name)
    assert not list(tmp_path.iterdir())


def test_capitals_and_short_endings_are_endings(tmp_path):
    assert write(tmp_path, name="A.HTM").read_bytes() == write(tmp_path).read_bytes()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"^cannot write .*page\.html: there is no folder .*missing$"):
        write(tmp_path / "missing")


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(InputError, match=r"^cannot write .*page\.html: it is a folder$"):
        write(tmp_path)


@pytest.mark.parametrize("locked", ["page.html", "."], ids=["file", "folder"])
def test_what_may_not_be_written_is_named(tmp_path, monkeypatch, locked):
    (tmp_path / "page.html").write_text("older")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / locked)  # root may write everywhere
    with pytest.raises(InputError, match=r"^cannot write .*page\.html: permission denied$"):
        report_path(tmp_path / "page.html")


def test_a_name_that_no_disk_takes_is_an_error_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"^cannot write .*x\.html: File name too long$"):
        write(tmp_path, name="x" * 300 + ".html")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_an_older_page_stays_until_the_new_one_is_whole(tmp_path, monkeypatch, error):
    path = write(tmp_path)
    before = path.read_bytes()

    class Full(FileIO):
        def write(self, content):
            super().write(content[:100])
            raise error

    def opened(part, mode="r", *args, open=Path.open, **options):
        return Full(part, mode) if mode == "wb" else open(part, mode, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises((InputError, KeyboardInterrupt)) as raised:
        write(tmp_path, title="another")
    assert isinstance(error, KeyboardInterrupt) or str(raised.value) == f"cannot write {path}: No space left on device"
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
