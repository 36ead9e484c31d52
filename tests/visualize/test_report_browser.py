"""The page of a comparison as a browser shows it: headless Chromium, from the disk, without a server."""

import time
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from browsing import Page, chromium, contrast, luminance
from PIL import Image
from selenium.webdriver import Keys
from test_report import BAR, NAN, NASTY, column_of, figure_of, picture, write

from deconv_attr.evidence.bootstrap import Estimate
from deconv_attr.evidence.table import Answer, Failure, ResultTable
from deconv_attr.visualize.html import ReportColumn

METHODS = ["Zeiler", "ablation", "map <1>"]
LEGEND = {"deletion": "higher is better " * 10, "mixed": "what it is"}
ROWS = [
    ["deletion", Estimate(0.09, 0.0, 0.2, 4, 4), Estimate(-0.3, -0.4, -0.2, 3, 4), Estimate(1.5, 1.25, 2.5, 4, 4)],
    ["seconds", 9.0, Failure("RuleError: no rule covers gelu"), 1e-05],
    ["mixed", "b", NAN, Failure("OSError: full")],
]
TABLE = ResultTable(["check", *METHODS], ROWS, LEGEND)


def wide(methods):
    """A table of many checks and methods."""
    cell = Estimate(-0.123, -0.456, -0.012, 11, 12)
    rows = [["a" * 60, *[cell] * methods], *[[f"check {n}", *[cell] * methods] for n in range(4)]]
    return ResultTable(["check", *(f"ZFDeconv from the map {n}" for n in range(methods))], rows, {"check 1": "x" * 300})


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("reports")
    failed = ReportColumn("failed", [], error="RuleError: no rule covers gelu at features.3.act " * 3)
    columns = [column_of("one", 3, scales=["scale 1", "", "scale 3"], legend=BAR), failed, column_of("three", 3)]
    images = [picture(number) for number in range(3)]
    notes = ["a note " * 30]
    answers = ResultTable(
        ["question", "one", "failed", "three"],
        [["Does the map depend on the class?", Answer("yes", "0.10"), Answer("?", "RuleError"), Answer("no", "0.9")]],
    ).for_page()
    figures = [figure_of("a curve"), figure_of("another curve")]
    usual = {"images": images, "columns": columns, "table": TABLE, "notes": notes, "figures": figures}
    write(folder, "usual.html", **usual, answers=answers)
    write(folder, "none.html", images=[], columns=[], table=ResultTable(["check"], []), notes=notes)
    write(folder, "stacked.html", **usual, stacked=True)
    six = [column_of(f"ZFDeconv from the map {number}", 3, legend=BAR) for number in range(6)]
    write(folder, "six.html", images=images, columns=six, table=wide(6), answers=wide(6).for_page())
    write(
        folder,
        "nasty.html",
        table=ResultTable(NASTY, [NASTY]),
        verdict="long" * 200,
        facts=[("word", "long" * 200)],
        labels=["long" * 100, NASTY[3]],
        columns=[column_of(each, scales=["long" * 40, each]) for each in [*NASTY, "long" * 40]],
    )
    write(folder, "long.html", labels=["long" * 100, "b"], columns=[column_of("long" * 40), column_of("c")])
    many = [column_of(f"method {number} of many", 40) for number in range(12)]
    write(folder, "many.html", images=[picture(number) for number in range(40)], columns=many, table=wide(12))
    return folder


class ReportPage(Page):
    """What a user does and sees."""

    def focused(self):
        return self.run("return document.activeElement.alt ?? document.activeElement.textContent")

    def viewed(self):
        """Method, image and captions of the large view, or None."""
        return self.run("""
            const text = selector => document.querySelector(selector).textContent;
            const captions = [...document.querySelectorAll("#view figure:not([hidden]) figcaption")];
            if (!document.getElementById("view").open) return null;
            return [text("#view-title"), text("#view-label"), ...captions.map(each => each.textContent)]""")

    def box(self, selector):
        """Top, left, bottom and right in the window."""
        return self.run(
            """
            const {top, left, bottom, right} = document.querySelector(arguments[0]).getBoundingClientRect();
            return [top, left, bottom, right]""",
            selector,
        )


@pytest.fixture
def open_page(driver, folder):
    def opened(name="usual", **how):
        page = ReportPage(driver, folder / f"{name}.html")
        page.load(**how)
        return page

    yield opened
    assert driver.get_log("browser") == []


# ------------------------------------------------------------------------------------------------ the tables

SCROLLS = "return [...document.querySelectorAll('.frame')].map(each => each.scrollWidth > each.clientWidth)"


def test_six_methods_fit_and_no_word_is_broken(open_page):
    page = open_page("six", width=1280)
    assert page.run(SCROLLS) == [False, False]
    heights = page.run("""
        const cells = [...document.querySelectorAll("#numbers tbody tr:nth-child(2) td")];
        return cells.map(each => [each.offsetWidth, each.querySelector(".beside").getClientRects().length])""")
    assert len({width for width, _ in heights}) == 1
    widest = page.run("""
        return Math.max(...[...document.querySelectorAll("#numbers td span, #numbers th")].map(
          each => each.scrollWidth - each.closest("td, th").clientWidth))""")
    assert widest <= 0


def test_a_wide_table_scrolls_in_its_own_frame_which_keys_can_reach(open_page):
    page = open_page("many", width=900)
    frame = ".frame:has(#numbers)"
    assert page.run(SCROLLS)[-1]
    assert page.find(frame).get_attribute("tabindex") == "0"
    page.run("document.querySelector(arguments[0]).scrollLeft = 500", frame)
    assert page.box("#numbers tbody th")[1] == pytest.approx(page.box(frame)[1], abs=2)


def test_a_phone_shows_each_number_beside_its_method(open_page):
    page = open_page("six", width=390, height=844)
    assert not any(page.run(SCROLLS))
    assert not page.find("#numbers thead").is_displayed()
    title, number = page.all("#numbers tbody tr:nth-child(2) td:nth-child(3) > span")
    assert title.text == "ZFDeconv from the map 1"
    assert number.text.split("\n") == ["-0.12", "(-0.46 to -0.01), 11 of 12"]
    assert title.rect["x"] + title.rect["width"] <= number.rect["x"]
    assert not open_page("six").find("#numbers .title").is_displayed()


# ------------------------------------------------------------------------------------------------ the curves


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_follow_the_colours_of_the_page(open_page, scheme):
    page = open_page(scheme=scheme)
    shown = [each.get_attribute("class") for each in page.all(".curves img") if each.is_displayed()]
    assert shown == [scheme] * 2
    boxes = [each.rect for each in page.all(f".curves img.{scheme}")]
    assert boxes[0]["y"] == boxes[1]["y"]
    page.resize(390, 844)
    boxes = [each.rect for each in page.all(f".curves img.{scheme}")]
    assert [box["width"] for box in boxes] == [boxes[0]["width"]] * 2
    assert boxes[0]["width"] > 330
    assert boxes[0]["x"] == boxes[1]["x"]


# ------------------------------------------------------------------------------------------------ the pictures


def test_small_pictures_are_enlarged_pixel_by_pixel(open_page):
    page = open_page(height=3000)
    page.until(lambda: page.run("return [...document.images].every(each => each.complete)"))
    shown = page.find("#pictures tbody tr:nth-child(2) td:nth-child(2) img")
    enlarged = np.asarray(Image.open(BytesIO(shown.screenshot_as_png)).convert("RGB"))
    assert enlarged.shape[1] > 150
    rows, columns = (
        ((np.arange(side) + 0.5) * pixels / side).astype(int)
        for pixels, side in zip(enlarged.shape[:2], (5, 7), strict=True)
    )
    np.testing.assert_array_equal(enlarged[np.ix_(rows, columns)], picture(1))
    colours = {tuple(colour) for colour in picture(1).reshape(-1, 3).tolist()}
    inside = enlarged[20:-20, 20:-20].reshape(-1, 3).tolist()  # but for rounded corners
    assert {tuple(colour) for colour in inside} <= colours


def test_a_click_opens_arrows_move_escape_closes_and_focus_follows(open_page):
    page = open_page()
    page.find("img[alt='one: image 0']").click()
    assert page.viewed() == ["one", "image 0", "image", "one, scale 1"]
    for key, expected in [
        (Keys.ARROW_UP, ["one", "image 0", "image", "one, scale 1"]),
        (Keys.ARROW_DOWN, ["one", "image 1", "image", "one"]),
        (Keys.ARROW_RIGHT, ["three", "image 1", "image", "three"]),  # past the method that failed
        (Keys.ARROW_RIGHT, ["three", "image 1", "image", "three"]),
        (Keys.ARROW_DOWN, ["three", "image 2", "image", "three"]),
        (Keys.ARROW_DOWN, ["three", "image 2", "image", "three"]),
        (Keys.ARROW_LEFT, ["one", "image 2", "image", "one, scale 3"]),
        (Keys.ARROW_LEFT, ["image", "image 2", "image"]),
        (Keys.ARROW_LEFT, ["image", "image 2", "image"]),
    ]:
        page.press(key)
        assert page.viewed() == expected
    page.press(Keys.ESCAPE)
    page.until(lambda: page.viewed() is None)
    page.until(lambda: page.focused() == "image: image 2")


def test_enter_opens_the_picture_that_arrows_chose(open_page):
    page = open_page()
    page.press(Keys.TAB)
    assert page.focused() == "image: image 0"
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert page.focused() == "three: image 1"
    page.press(Keys.ENTER)
    assert page.viewed()[:2] == ["three", "image 1"]
    page.press(Keys.ARROW_DOWN, Keys.ESCAPE)
    page.until(lambda: page.focused() == "three: image 2")
    page.press(Keys.SPACE, Keys.ARROW_LEFT)
    assert page.viewed()[:2] == ["one", "image 2"]
    page.press(Keys.ESCAPE)
    page.until(lambda: page.focused() == "one: image 2")
    assert page.run("return document.querySelectorAll('.picture[tabindex=\"0\"]').length") == 1
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.matches('.picture')") is False


def test_buttons_move_and_end_at_the_edges(open_page):
    page = open_page()
    page.find("img[alt='image: image 0']").click()
    off = "return [...document.querySelectorAll('#view button:disabled')].map(each => each.id)"
    assert page.run(off) == ["previous", "above"]
    for button in ("next", "below", "next", "below"):
        page.find(f"#{button}").click()
    assert page.viewed()[:2] == ["three", "image 2"]
    assert page.run(off) == ["next", "below"]
    page.find("#above").click()
    page.find("#previous").click()
    assert page.viewed()[:2] == ["one", "image 1"]
    page.find("#close").click()
    page.until(lambda: page.viewed() is None and page.focused() == "one: image 1")


def test_the_view_shows_the_map_large_beside_its_image(open_page):
    page = open_page()
    page.find("img[alt='three: image 1']").click()
    source = "return document.querySelector(arguments[0]).src"
    for place, alternative in (("image", "image: image 1"), ("map", "three: image 1")):
        assert page.run(source, f"#view-{place} img") == page.run(source, f"img.picture[alt='{alternative}']")
        top, left, bottom, right = page.box(f"#view-{place} img")
        assert min(bottom - top, right - left) > 400
        assert 0 < top < bottom < 900
    assert page.run("return getComputedStyle(document.querySelector('#view-map img')).imageRendering") == "pixelated"


def test_a_failed_method_shows_its_error(open_page):
    page = open_page()
    failed = page.find("#pictures .failed")
    assert failed.text.startswith("RuleError: no rule covers gelu")
    assert len(page.all("#pictures .failed")) == 1
    assert page.texts("#pictures thead th") == ["image", "one", "failed", "three"]
    assert page.find(".legends .bar").rect["width"] == page.find("#pictures tbody .picture").rect["width"]
    heads, cells = page.all("#pictures thead th"), page.all("#pictures tbody tr:nth-child(1) td")
    assert [each.rect["x"] for each in heads] == [each.rect["x"] for each in cells]


@pytest.mark.parametrize("name", ["usual", "many"])
def test_titles_and_labels_stay_in_sight(open_page, name):
    page = open_page(name, width=1280, height=500)
    page.run("document.querySelector('#pictures tbody tr:last-child').scrollIntoView({block: 'end', inline: 'end'})")
    top, _, bottom, right = page.box("#pictures thead th:last-child")
    assert -1 <= top < bottom < 120
    under = "return document.elementFromPoint(arguments[0], arguments[1]).closest('th')?.textContent"
    assert page.run(under, right - 20, bottom - 10) == page.texts("#pictures thead th")[-1]
    if name == "many":
        page.run("document.querySelector('#pictures td:last-child').scrollIntoView({inline: 'end'})")
        assert page.box("#pictures tbody th")[1] == pytest.approx(page.box(".frame:has(#pictures)")[1], abs=1)


def test_stacked_pictures_are_of_one_width_below_each_other(open_page):
    page = open_page("stacked", width=1280)
    boxes = [each.rect for each in page.all(".row:nth-of-type(2) .picture")]
    assert len({(box["x"], box["width"]) for box in boxes}) == 1
    assert boxes[0]["width"] > 1100
    assert all(one["y"] + one["height"] <= other["y"] for one, other in pairwise(boxes))
    page.find("img[alt='one: image 1']").click()
    assert page.viewed() == ["one", "image 1", "image", "one"]
    large = [page.box(f"#view-{place} img") for place in ("image", "map")]
    assert large[0][1::2] == large[1][1::2]
    assert large[0][2] < large[1][0]
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert page.viewed()[:2] == ["three", "image 2"]


# ------------------------------------------------------------------------------------------------ every window


@pytest.mark.parametrize("name", ["usual", "none", "nasty", "long", "many", "six", "stacked"])
@pytest.mark.parametrize("width", [360, 840, 1440])
def test_nothing_overflows(open_page, name, width):
    page = open_page(name, width=width, height=780)
    widths = """
        const root = document.documentElement, view = document.getElementById("view");
        const outside = each => each.closest(".frame") ? 0 : each.getBoundingClientRect().right;
        return [root.scrollWidth, document.body.scrollWidth, view.scrollWidth - view.clientWidth,
                Math.max(...[...document.querySelectorAll("main *, header *, #view *")].map(outside))]"""
    for _ in range(2):
        root, body, view, furthest = page.run(widths)
        assert max(root, body, furthest) <= width
        assert view <= 0
        if page.viewed() is None and name != "none":
            page.run("document.querySelectorAll('.picture')[1].click()")
            assert page.box("#view")[3] <= page.run("return document.documentElement.clientWidth")


def test_a_phone_shows_titles_beside_their_pictures(open_page):
    page = open_page(width=360, height=780)
    assert page.find("#pictures .title").is_displayed()
    assert not page.find("#pictures thead th").is_displayed()
    boxes = [each.rect for each in page.all("#pictures tbody tr:nth-child(1) .picture")]
    assert all(box["width"] > 120 for box in boxes)
    assert len({round(box["x"]) for box in boxes}) == 2
    page = open_page(width=1440)
    assert not page.find("#pictures .title").is_displayed()
    assert page.find("#pictures thead th").is_displayed()


def test_a_screen_that_is_touched_has_no_hints_at_keys(open_page):
    page = open_page()
    assert page.find(".keys").is_displayed()
    with page.touch():
        assert not page.find(".keys").is_displayed()


@pytest.mark.parametrize("name", ["usual", "stacked", "many"])
def test_paper_is_white_without_controls_and_nothing_is_cut_there(open_page, name):
    page = open_page(name, scheme="dark")
    page.media("dark", "print")
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    assert page.run(style, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert page.run(style, "body", "color") == "rgb(0, 0, 0)"
    assert page.run(style, "body", "printColorAdjust") == "exact"
    assert {page.run(style, each, "breakInside") for each in ("figure", "#numbers tr")} == {"avoid"}
    assert not page.find(".keys").is_displayed()
    if name != "many":
        assert [each.get_attribute("class") for each in page.all(".curves img") if each.is_displayed()] == ["light"] * 2
    assert not any(
        page.run("return [...document.querySelectorAll('.frame')].map(e => e.scrollHeight > e.clientHeight)")
    )
    page.find(".picture").click()
    assert not page.find("main").is_displayed()
    assert page.find("#view-image").is_displayed()
    assert not page.find("#close").is_displayed()
    assert page.printed().count(b"/Type /Page\n") == 1
    page.run("document.getElementById('view').close()")
    page.media("dark")
    assert page.printed().count(b"/Type /Page\n") >= {"usual": 1, "stacked": 3, "many": 3}[name]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        *[("usual", width, scheme) for width in (1280, 390) for scheme in ("light", "dark")],
        *[("stacked", 390, "dark"), ("six", 1280, "light")],
    ],
)
def test_everybody_can_use_it(open_page, name, width, scheme):
    page = open_page(name, width=width, height=844, scheme=scheme)
    if (name, width) == ("six", 1280):
        page.resize(900, 844)  # where its tables scroll
    assert page.violations() == []
    page.find(".picture").click()
    assert page.violations() == []
    assert page.run("return document.scrollingElement.scrollWidth") <= width


def test_light_and_dark_are_readable(open_page):
    grounds = {}
    for scheme in ("light", "dark"):
        page = open_page(scheme=scheme)
        colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        ground, paper = (page.run(colour, where, "backgroundColor") for where in ("body", ".frame"))
        for where, behind in [
            (".verdict", ground),
            (".notes", ground),
            (".failures dd", ground),
            (".failed .error", ground),
            ("#pictures .scale", ground),
            (".legends .caption", ground),
            ("#numbers .beside", paper),
            ("#numbers .meaning", paper),
            ("#numbers .error > :last-child", paper),
            ("#numbers .undefined > :last-child", paper),
            ("#answers .yes > :last-child", paper),
            ("#answers .no > :last-child", paper),
            ("#answers .unsaid > :last-child", paper),
            ("#answers .beside", paper),
        ]:
            assert contrast(page.run(colour, where, "color"), behind) > 4.5, where
        grounds[scheme] = luminance(ground)
    assert grounds["light"] > 0.7
    assert grounds["dark"] < 0.05


def test_names_are_texts(open_page):
    page = open_page("nasty")
    plain = [each.replace("\ud800", "?") for each in NASTY]
    assert page.texts("#numbers thead th") == plain
    assert page.find("#numbers tbody th").get_attribute("abbr") == plain[0]
    page.find("tbody tr:nth-child(2) td:nth-child(6) .picture").click()
    assert page.viewed() == [plain[3], plain[3], "image", f"{plain[3]}, {plain[3]}"]
    assert page.run("return [document.scripts.length, document.querySelectorAll('[onerror]').length]") == [1, 0]


def test_without_scripts_everything_is_there(driver, folder):
    page = ReportPage(driver, folder / "usual.html")
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.load(height=3000)
        with_pictures = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    shown = {colour for _, colour in with_pictures.getcolors(2**24)}
    pictures = [picture(number) for number in range(3)]
    pictures += [each for title in ("one", "three") for each in column_of(title, 3).pictures]
    assert {tuple(colour) for each in pictures for colour in each.reshape(-1, 3).tolist()} <= shown
    assert not page.find(".keys").is_displayed()


def test_a_hundred_images_of_five_methods_open_and_move_at_once(driver, tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (600, 28, 28, 3), dtype=np.uint8)
    maps = [np.asarray(Image.fromarray(each).resize((224, 224), Image.Resampling.BICUBIC)) for each in coarse]
    columns = [ReportColumn(f"method {number}", maps[100 * number :][:100]) for number in range(1, 6)]
    path = write(tmp_path, images=maps[:100], columns=columns)
    assert path.stat().st_size < 25e6
    page = ReportPage(driver, path)
    start = time.monotonic()
    page.load()
    page.run("document.querySelectorAll('.picture')[595].click()")
    assert page.viewed()[:2] == ["method 1", "image 99"]
    page.press(*[Keys.ARROW_UP] * 20)
    assert page.viewed()[:2] == ["method 1", "image 79"]
    assert time.monotonic() - start < 15
    assert page.console() == []
