"""The committed pictures are those that the code draws, and a page has the numbers of one."""

import json
from collections import Counter
from xml.etree import ElementTree as ET

import pytest

from tests.docs.pictures import DATA, FOLDER, PICTURES, ROOT, picture

SVG = "{http://www.w3.org/2000/svg}"
SHAPES = {f"{SVG}path", f"{SVG}use", f"{SVG}text"}


def content(svg: bytes) -> tuple[list[str], Counter[str]]:
    """All text, in order, and how many shapes there are: bytes differ by matplotlib's version."""
    root = ET.fromstring(svg)  # noqa: S314 - our own file
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    return words, Counter(each.tag for each in root.iter() if each.tag in SHAPES)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_as_drawn(name):
    drawn, committed = picture(name), (FOLDER / f"{name}.svg").read_bytes()
    assert content(drawn) == content(committed), "run: python -m tests.docs.pictures"
    assert picture(name) == drawn


def test_no_other_picture_is_there():
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(PICTURES)


def test_every_picture_is_on_a_page():
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    assert [name for name in PICTURES if f"pictures/{name}.svg)" not in pages] == []


def test_the_page_has_the_numbers_of_the_frontier():
    data = json.loads(DATA.read_text())
    page = (ROOT / "docs" / "concepts" / "programme.md").read_text()
    assert f"`{data['command']}`" in page
    assert data["commit"] in page
    for row in data["tried"]:
        figures = f"{row['predicted']:.2f}x | {row['measured']:.2f}x | {row['cost']:.3f}"
        assert f"| {figures} | {row['loss']:.2f} |" in page
