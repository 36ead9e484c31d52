"""Headless Chromium for the tests of pages, opened from the disk without a server; skips where it is missing."""

import base64
import re
import shutil
from contextlib import contextmanager
from importlib.resources import files

import numpy as np
import pytest

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


@contextmanager
def chromium():
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    program = shutil.which("chromedriver")
    if not (browser and program):
        pytest.skip("needs Chromium and its driver: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1440,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(program)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()
        service.stop()


class Page:
    """A page in a browser."""

    def __init__(self, driver, index):
        self.driver, self.address = driver, index.as_uri()

    def load(self, state="", width=1440, height=900, scheme="light"):
        self.driver.get("about:blank")
        self.resize(width, height)
        self.media(scheme)
        self.driver.get(self.address + state)

    def media(self, scheme, medium=""):
        """Show the page as in a scheme of colours, and, if so, as it is printed."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": [feature]})

    @contextmanager
    def touch(self):
        """As on a screen that is touched."""
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})

    def printed(self):
        """The page as a PDF, on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", paper)["data"])

    def violations(self):
        """The rules of axe-core that the page violates, each with the first element that does."""
        core = pytest.importorskip("axe_core_python", reason="needs axe-core: pip install axe-core-python")
        self.run((files(core) / "axe.min.js").read_text(encoding="utf-8"))
        return self.driver.execute_async_script("""
            const done = arguments[0];
            axe.run(document, {preload: false, resultTypes: ["violations"]}).then(
              ({violations}) => done(violations.map(each => [each.id, each.nodes[0].html])))""")

    def resize(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def until(self, true, seconds=5):
        WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda _: true())

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def press(self, *keys):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def console(self):
        return self.driver.get_log("browser")


def luminance(colour):
    """Of a colour as a browser writes it, by WCAG 2."""
    parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    """Of two colours, by WCAG 2: 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
