"""The pictures of a page in the docs: ``python -m tests.report.screenshots PAGE FOLDER``."""

import base64
import sys
from pathlib import Path

from tests.report.chromium import browser, open_page

PICTURES = {
    "page": (1100, 1300, "light"),
    "dark": (1100, 1300, "dark"),
    "narrow": (390, 1900, "light"),
}
"""Width and height in pixels, and the scheme of colours."""


def take(page: Path, folder: Path) -> None:
    """Write each picture of a page to a folder, as PNG."""
    for name, (width, height, scheme) in PICTURES.items():
        with browser(width=width, height=height, scheme=scheme) as driver:
            open_page(driver, page)
            shot = driver.execute_cdp_cmd("Page.captureScreenshot", {})
        (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
