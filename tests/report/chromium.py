"""Headless Chromium without a network, for tests of pages; skips aloud where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no Chromium; on Debian: apt-get install chromium chromium-driver",
)


@contextmanager
def browser(
    width: int = 1100, height: int = 1000, scheme: str = "light"
) -> Iterator[webdriver.Chrome]:
    """A browser whose network is off."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()


def open_page(driver: webdriver.Chrome, path: Path) -> None:
    """Open a file and wait until its plots are drawn."""
    driver.get(path.resolve().as_uri())
    driver.set_script_timeout(300)
    driver.execute_async_script(
        "const done = arguments[0], holders = [...document.querySelectorAll('.plot')];"
        "const look = () => holders.every((h) => h.querySelector('.main-svg')) ? done()"
        " : setTimeout(look, 50); look();"
    )


def findings(driver: webdriver.Chrome) -> list[Any]:
    """What axe finds against a page, and what it is about."""
    axe = pytest.importorskip("axe_core_python")
    driver.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text())
    # What a plot is made of is presentational: the plot itself is one image with a name.
    found = driver.execute_async_script(
        "axe.run({exclude: [['.main-svg'], ['#strip > svg']]}, {resultTypes: ['violations']})"
        ".then(arguments[0])"
    )
    assert len(found["passes"]) > 10
    return [
        (violation["id"], violation["help"], [node["html"][:200] for node in violation["nodes"]])
        for violation in found["violations"]
    ]
