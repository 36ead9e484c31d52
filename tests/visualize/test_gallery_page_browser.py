"""The page of a gallery as a browser shows it: headless Chromium, from the disk, without a server."""

import json
import time
from io import BytesIO

import numpy as np
import pytest
from browsing import Page, chromium, contrast, luminance
from PIL import Image
from selenium.webdriver import Keys
from test_gallery_page import NASTY, layer_of, map_tiles, write

from deconv_attr.visualize.html.gallery import PageLayer

MANY = 2000
SIZES = [(250, 400), (320, 260)]  # of image 0, and of all others


def named(number):
    """Tiles of five images with difficult names."""
    return map_tiles(number, units=5, height=12, width=9, images=list(range(5)))


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A gallery of every kind of layer."""
    layers = [
        layer_of(
            *map(named, range(3)),
            *(map_tiles(number, 9, 16, 16) for number in range(3, 40)),
            map_tiles(40, units=0),
            name="a.1",
        ),
        layer_of(name="empty", facts="no maps"),
        layer_of(*(map_tiles(number, 4, 1, 1) for number in range(3)), name="pixels"),
        layer_of(*(map_tiles(number, 9, 227, 227) for number in range(2)), name="large"),
        layer_of(map_tiles(0, 9, 10, 60), name=NASTY[4], facts="wide"),
        PageLayer("many", "2000 maps", (map_tiles(number, 9, 11, 11) for number in range(MANY))),
    ]
    names = [*NASTY, "black.png"]
    return write(
        tmp_path_factory.mktemp("page"),
        *layers,
        title="Maps of <b>a net</b>",
        name=lambda number: names[number],
        picture=lambda number: np.zeros(SIZES[number > 0] + (3,), dtype=np.uint8),
    )


class GalleryPage(Page):
    """What a user does and sees."""

    def open(self, state="", width=1440, height=900, scheme="light"):
        self.load(state, width, height, scheme)
        self.until(lambda: self.text("#note") not in ("", "loading"))
        return self

    def maps(self):
        return [
            int(number) for number in self.run("return [...document.querySelectorAll('.card')].map(e => e.dataset.map)")
        ]

    def strengths(self):
        return [float(text) for text in self.texts(".card .value")]

    def focused(self):
        return self.run("return document.activeElement.dataset.map ?? document.activeElement.id")

    def viewed(self):
        """The title of the large view, or nothing."""
        return self.run(
            "const v = document.getElementById('view'); return v.open ? v.querySelector('h2').textContent : null"
        )

    def state(self):
        return self.run("return location.hash")


@pytest.fixture
def page(driver, index):
    page = GalleryPage(driver, index)
    yield page
    serious = [entry for entry in page.console() if entry["level"] in ("SEVERE", "WARNING")]
    assert serious == []


# ------------------------------------------------------------------------------------------------ overview


def test_the_first_layer_is_shown_in_words(page):
    page.open()
    assert page.text("h1") == "Maps of <b>a net</b>"
    assert page.text("#layer-name") == "a.1"
    assert page.text("#note") == "41 maps"
    assert page.maps() == list(range(41))
    assert page.text('.card[data-map="40"]') == "Map 40 not active in these images"
    assert page.run("return [...document.images].filter(i => !i.alt).length") == 0


def test_all_sheets_of_a_layer_have_one_size(page):
    page.open("#layer=a.1")
    sizes = page.run("return [...document.querySelectorAll('.sheet')].map(e => [e.clientWidth, e.clientHeight])")
    assert len({max(size) for size in sizes}) == 1
    assert len({tuple(size) for size in sizes}) == 2  # tiles of 12 x 9 pixels, and square ones
    lefts = page.run(
        "return [...document.querySelectorAll('.card:has(.sheet)')].map("
        "e => e.querySelector('.sheet').getBoundingClientRect().left - e.getBoundingClientRect().left)"
    )
    assert max(lefts) - min(lefts) < 1


def test_search_narrows(page):
    page.open()
    page.press("/", "3 12 38-36")
    assert page.focused() == "find"
    assert page.maps() == [3, 12, 36, 37, 38]
    assert page.text("#note") == "5 of 41 maps"
    page.press(",x")
    assert page.maps() == []
    assert page.text("#note").startswith("“x” is neither a number")
    assert page.find("#find").get_attribute("aria-invalid") == "true"
    page.press(Keys.ESCAPE)
    assert page.maps() == list(range(41))


def test_sort_sorts(page):
    page.open("#layer=a.1&sort=strongest")
    strengths = page.strengths()
    assert strengths == sorted(strengths, reverse=True)
    assert page.maps()[-1] == 40
    page.run(
        "const s = document.getElementById('sort'); s.value = 'weakest'; s.dispatchEvent(new Event('change'))",
    )
    assert page.strengths() == sorted(strengths)
    assert page.maps()[-1] == 40
    assert page.state() == "#layer=a.1&sort=weakest"


def test_the_address_restores_the_state_and_the_back_button_returns(page):
    page.open("#layer=a.1&map=12&sort=weakest&find=3+12")
    assert page.viewed() == "Map 12 of a.1"
    assert page.find("#find").get_attribute("value") == "3 12"
    assert page.find("#sort").get_attribute("value") == "weakest"
    page.open("#layer=a.1")
    page.find('.card[data-map="5"]').click()
    assert page.state() == "#layer=a.1&map=5"
    page.driver.back()
    page.until(lambda: page.viewed() is None)
    page.find("#layers a[data-slug=large]").click()
    page.until(lambda: page.maps() == [0, 1])
    page.driver.back()
    page.until(lambda: page.text("#layer-name") == "a.1" and len(page.maps()) == 41)


def test_addresses_of_what_is_not_there_show_what_is(page):
    page.open("#layer=gone&map=77&sort=sideways")
    assert page.text("#layer-name") == "a.1"
    assert page.viewed() is None
    page.open("#layer=empty")
    assert page.text("#note") == "no map of this layer is in this gallery"
    assert page.maps() == []


def test_keys_move_between_cards_and_layers(page):
    page.open("#layer=a.1")
    columns = page.run(
        "const t = [...document.querySelectorAll('.card')].map(e => e.offsetTop);"
        "return t.filter(each => each === t[0]).length"
    )
    assert columns > 1
    for key, number in [
        (Keys.ARROW_RIGHT, 0),
        (Keys.ARROW_RIGHT, 1),
        (Keys.ARROW_DOWN, 1 + columns),
        (Keys.ARROW_LEFT, columns),
        (Keys.ARROW_UP, 0),
        (Keys.ARROW_UP, 0),
    ]:
        page.press(key)
        assert page.focused() == str(number)
    page.press("]", "]")
    page.until(lambda: page.text("#note") == "3 maps")
    assert page.text("#layer-name") == "pixels"
    page.press("[")
    assert page.text("#layer-name") == "empty"
    assert page.run("return document.querySelectorAll('[aria-current]').length") == 1


# ------------------------------------------------------------------------------------------------ the large view


def test_enter_opens_arrows_step_escape_closes_and_focus_returns(page):
    page.open("#layer=a.1&find=3+12+40")
    page.press(Keys.ARROW_RIGHT, Keys.ENTER)
    assert page.viewed() == "Map 3 of a.1"
    assert page.find("#previous").get_attribute("disabled")
    page.press(Keys.ARROW_RIGHT)
    assert page.viewed() == "Map 12 of a.1"
    page.find("#next").click()
    assert page.viewed() == "Map 40 of a.1"
    assert page.text("#view-note") == "not active in these images"
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert page.viewed() == "Map 12 of a.1"
    page.press(Keys.ESCAPE)
    page.until(lambda: page.viewed() is None and page.focused() == "12")
    page.until(lambda: page.state() == "#layer=a.1&find=3+12+40")


def test_names_are_texts(page):
    page.open("#layer=a.1")
    page.find('.card[data-map="0"]').click()
    names = page.run("return JSON.stringify([...document.querySelectorAll('#units .name')].map(e => e.textContent))")
    assert json.loads(names) == NASTY
    assert page.run("return document.querySelectorAll('#units script').length") == 0
    assert page.texts("#units .value") == [f"{value:.4g}" for value in named(0).values]
    top, left, bottom, right = named(0).boxes[1]
    assert f"rows {top}-{bottom - 1}, columns {left}-{right - 1}" in page.text("#units li:nth-child(2) .location")


def test_the_box_lies_on_the_image_where_the_patch_was(page):
    page.open("#layer=a.1&map=0")
    place = """
        const {top, left, bottom, right} = document.querySelector(arguments[0]).getBoundingClientRect();
        return [top, left, bottom, right]"""
    for rank, (height, width) in enumerate(SIZES):
        box = named(0).boxes[rank]
        unit = f"#units li:nth-child({rank + 1})"
        top, left, bottom, right = page.run(place, f"{unit} .whole img")
        assert (bottom - top) / (right - left) == pytest.approx(height / width, rel=0.01)
        assert max(bottom - top, right - left) > 100
        scale = (right - left) / width
        expected = np.array(box) * scale + [top, left, top, left]
        assert page.run(place, f"{unit} .box") == pytest.approx(expected, abs=0.1)


def test_tiles_in_the_view_are_the_tiles(page):
    page.open("#layer=a.1&map=2", height=2000)
    tiles = named(2)
    image = page.find("#units li:nth-child(4) .whole img")
    page.until(lambda: image.get_property("complete"))
    time.sleep(0.2)
    for kind, pictures in [("projection", tiles.projections), ("patch", tiles.patches)]:
        for rank in (0, 4):
            shown = page.find(f"#units li:nth-child({rank + 1}) .{kind}").screenshot_as_png
            picture = np.asarray(Image.open(BytesIO(shown)).convert("RGB"))
            rows, columns = (
                ((np.arange(pixels) + 0.5) / pixels * side).astype(int)
                for pixels, side in zip((12, 9), picture.shape[:2], strict=True)
            )
            np.testing.assert_array_equal(picture[np.ix_(rows, columns)], pictures[rank])


def test_a_bar_shows_each_activation_relative_to_the_strongest_of_the_layer(page):
    page.open("#layer=a.1&map=1")
    strongest = max(
        tiles.values[0] for tiles in [*map(named, range(3)), *(map_tiles(n, 9, 16, 16) for n in range(3, 40))]
    )
    shares = page.run("""
        const share = each => each.firstElementChild.offsetWidth / each.clientWidth;
        return [...document.querySelectorAll('.strength')].map(share)""")
    assert shares == pytest.approx([value / strongest for value in named(1).values], abs=0.02)
    assert page.text("#units h3") == f"1 activation {named(1).values[0]:.4g} "
    assert f"Bars end at {strongest:.4g}" in page.text("#view-note")


def test_the_scale_of_a_projection_is_told_where_it_is_known(page):
    page.open("#layer=a.1")
    known = [0.12345, 0.0, None, 12345.6]
    page.run(
        "const [first, next] = layers[0].data.maps; first.scales = arguments[0]; delete next.scales; visit({map: 0})",
        known,
    )
    assert page.texts(".unit figure:first-child figcaption") == [
        "projection, full colour at ±0.123",
        "projection, zero everywhere",
        "projection",
        "projection, full colour at ±12300",
        "projection",
    ]
    page.press(Keys.ARROW_RIGHT)
    assert set(page.texts(".unit figure:first-child figcaption")) == {"projection"}


# ------------------------------------------------------------------------------------------------ many, narrow, dark


def test_thousands_of_cards_load_what_is_seen_and_scroll_smoothly(page):
    page.open("#layer=empty")
    page.run("""
        window.tasks = [];
        const note = list => tasks.push(...list.getEntries().map(each => each.duration));
        new PerformanceObserver(note).observe({type: 'longtask'});
        location.hash = 'layer=many'""")
    page.until(lambda: len(page.maps()) == MANY)
    time.sleep(0.5)
    loaded = "return [...document.querySelectorAll('.sheet')].filter(i => i.naturalWidth > 0).length"
    assert 5 < page.run(loaded) < MANY / 10
    frames = page.driver.execute_async_script("""
        const done = arguments[0], times = [], end = document.documentElement.scrollHeight;
        const step = time => {
          times.push(time);
          if (times.length > 60) return done(times.slice(1).map((t, i) => t - times[i]));
          scrollTo(0, end * times.length / 60);
          requestAnimationFrame(step);
        };
        requestAnimationFrame(step)""")
    assert np.median(frames) < 200
    page.until(
        lambda: page.run("""
        const last = document.querySelector('.cards li:last-child .sheet, #cards li:last-child .sheet');
        return last.naturalWidth > 0 && last.getBoundingClientRect().bottom <= innerHeight""")
    )
    assert page.run(loaded) < MANY / 2
    assert max(page.run("return tasks"), default=0) < 1000
    page.press("/", "1999")
    assert page.maps() == [1999]


@pytest.mark.parametrize("layer", ["a.1", "pixels", "large", "long" * 20, "empty"])
def test_nothing_overflows_a_narrow_window(page, layer):
    for state, first in [("", 360), ("&map=0", 360), ("", 1440)]:
        page.open(f"#layer={layer}{state}", width=first, height=780)
        page.resize(360, 780)
        widths = page.run("""
            const root = document.documentElement, view = document.getElementById('view');
            return [root.scrollWidth, view.scrollWidth - view.clientWidth,
                    Math.max(...[...document.querySelectorAll('main *, header *, #units *')].map(e =>
                      e.closest('.unseen') ? 0 : e.getBoundingClientRect().right))]""")
        assert widths[0] <= 360
        assert widths[1] <= 0
        assert widths[2] <= 360
        assert (
            page.run("return getComputedStyle(document.getElementById('cards')).gridTemplateColumns.split(' ').length")
            == 1
        )


def test_a_screen_that_is_touched_has_no_hints_at_keys(page):
    page.open("#layer=pixels")
    assert page.find(".keys").is_displayed()
    with page.touch():
        assert not page.find(".keys").is_displayed()


def test_paper_is_white_and_has_no_controls(page):
    page.open("#layer=pixels", scheme="dark")
    page.media("dark", "print")
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    assert page.run(style, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert page.run(style, "body", "color") == "rgb(0, 0, 0)"
    assert page.run(style, ".card", "printColorAdjust") == "exact"
    assert page.run(style, "#cards li", "breakInside") == "avoid"
    assert not any(page.find(each).is_displayed() for each in (".keys", "#controls", "#layers"))
    assert page.printed().count(b"/Type /Page\n") == 1
    page.find(".card").click()
    assert not page.find("main").is_displayed()
    assert page.run(style, ".unit", "breakInside") == "avoid"
    assert not page.find("#close").is_displayed()
    assert page.printed().count(b"/Type /Page\n") == 1


@pytest.mark.parametrize(
    ("width", "scheme"), [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]
)
def test_everybody_can_use_it(page, width, scheme):
    page.open("#layer=pixels", width=width, height=844, scheme=scheme)
    assert page.violations() == []
    page.find(".card").click()
    assert page.violations() == []
    assert page.run("return document.scrollingElement.scrollWidth") <= width


def test_light_and_dark_are_readable(page):
    grounds = {}
    for scheme in ("light", "dark"):
        page.open("#layer=a.1", scheme=scheme)
        colours = page.run("""
            const colour = (selector, what) => getComputedStyle(document.querySelector(selector))[what];
            return [colour('body', 'backgroundColor'), colour('body', 'color'), colour('.explained', 'color'),
                    colour('.card', 'backgroundColor'), colour('.card .quiet', 'color')]""")
        ground, ink, quiet, paper, value = colours
        for text, behind in [(ink, ground), (quiet, ground), (value, paper)]:
            assert contrast(text, behind) > 4.5
        grounds[scheme] = luminance(ground)
    assert grounds["light"] > 0.7
    assert grounds["dark"] < 0.05
