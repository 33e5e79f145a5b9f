"""Names in an order that is timm's and one alone, and files that are no images of a class."""

import random
import re

import pytest

from depthopt.data.names import LeftOut, is_litter, natural, ties, why_left_out

NAMES = ["1", "01", "10", "2", "cat", "Cat", "cat 2", "cat 10", "a1", "a01", "été", "n01440764",
         "²", "m²", "1²", "٣", "", "日本", "x", "X.jpg"]  # fmt: skip


def timms_key(name):
    return [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", name.lower())]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_one_alone_and_timms_where_that_tells_names_apart(seed):
    shuffled = random.Random(seed).sample(NAMES, len(NAMES))
    assert natural(shuffled) == natural(NAMES)
    apart = [name for name in shuffled if "²" not in name and name not in {"01", "Cat", "a01"}]
    assert natural(apart) == sorted(apart, key=timms_key)


def test_ties_are_told():
    assert ties(natural(NAMES)) == [("01", "1"), ("a01", "a1"), ("Cat", "cat")]
    assert ties(["1", "2"]) == []


@pytest.mark.parametrize(
    ("folders", "name", "why"),
    [
        (("cat",), "x.png", None),
        (("cat", "below"), "x.JPG", None),
        (("cat",), "x.WebP", None),
        (("cat",), "x.heic", ".heic files"),
        (("cat",), "x", "without an extension"),
        (("cat",), ".x.png", "hidden"),
        ((), "x.png", "not in a class's folder"),
        ((".thumbnails",), "x.png", "in .thumbnails/"),
        (("cat", ".ipynb_checkpoints"), "x.png", "in .ipynb_checkpoints/"),
        (("__MACOSX", "cat"), "x.png", "in __MACOSX/"),
    ],
)
def test_why_a_file_is_no_image_of_a_class(folders, name, why):
    assert why_left_out(folders, name) == why


def test_litter_of_systems():
    assert all(map(is_litter, ("._x.jpg", ".DS_Store", "Thumbs.db", "desktop.ini")))
    assert not any(map(is_litter, ("x.jpg", ".x.jpg", "thumbs.png")))


def test_reasons_are_counted_the_commonest_first():
    left = LeftOut()
    assert left.remarks() == []
    for name in ("b.heic", "a.heic", "c.heic"):
        left.add(".heic files", name)
    left.add("hidden", ".x.png")
    (remark,) = left.remarks()
    assert remark == (
        "4 files are left out: 3 .heic files (such as a.heic), 1 hidden (such as .x.png)"
    )
    for i in range(9):
        left.add(f".{i} files", f"x.{i}")
    assert left.remarks()[0].endswith(", 5 others")
