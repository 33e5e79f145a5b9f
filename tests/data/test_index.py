"""Folders and tars as people have them: of all that lies there, images of a class and no others."""

import io
import tarfile

import pytest
from PIL import Image

from depthopt.data.index import index_folder


def image_bytes():
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    return content.getvalue()


IMAGE = image_bytes()

CLUTTER = (
    ".DS_Store", "train/cat/._1.png", "train/cat/Thumbs.db", "val/.ipynb_checkpoints/1.png",
    "train/.ipynb_checkpoints/1.png", "__MACOSX/train/cat/1.png", "train/__MACOSX/cat/1.png",
    "train/cat/notes.txt", "train/cat/5.heic", "train/cat/6.heic", "train/1.png",
)  # fmt: skip


def lay_out(root, *, form, names):
    for name in names:
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE)
    if form == "folder":
        return root / "pictures"
    with tarfile.open(root / "pictures.tar", "w") as tar:
        tar.add(root / "pictures", arcname="./pictures")
    return root / "pictures.tar"


def both(*names):
    return [f"{split}/{name}" for split in ("train", "val") for name in names]


def files(index, split="train"):
    return [
        (index.classes[label], image.name.rpartition("/")[2])
        for label, image in index.images[split]
    ]


both_forms = pytest.mark.parametrize("form", ["folder", "tar"])


@both_forms
def test_images_of_classes_are_found_and_all_else_is_told_in_one_line(form, tmp_path):
    named = both("cat/1.png", "cat/2.JPG", "dog/1.webp", "dog/2.tif", "dog/3.bmp", "a b é/1.gif")
    index = index_folder(lay_out(tmp_path, form=form, names=[*named, *CLUTTER]))
    assert index.classes == ("a b é", "cat", "dog")
    assert [name for _, name in files(index)] == ["1.gif", "1.png", "2.JPG", "1.webp", "2.tif",
                                                  "3.bmp"]  # fmt: skip
    assert len(index.images["val"]) == 6
    (remark,) = index.remarks
    for part in ("7 files are left out", "2 .heic files (such as", "2 in .ipynb_checkpoints/",
                 "1 in __MACOSX/", "1 .txt files", "1 not in a class's folder"):  # fmt: skip
        assert part in remark
    assert "\n" not in remark


@both_forms
def test_where_all_is_plain_nothing_is_said(form, tmp_path):
    names = both("cat/1.png", "dog/1.png")
    assert index_folder(lay_out(tmp_path, form=form, names=names)).remarks == ()


@both_forms
def test_a_test_split_beside_val_is_not_looked_at(form, tmp_path):
    names = [*both("cat/1.png"), "test/1.png", "test/other/2.heic"]
    index = index_folder(lay_out(tmp_path, form=form, names=names))
    assert (index.classes, set(index.images), index.remarks) == (("cat",), {"train", "val"}, ())


@both_forms
def test_folders_below_a_classs_are_of_it_and_told(form, tmp_path):
    names = both("cat/1.png", "cat/tabby/2.png", "dog/1.png")
    index = index_folder(lay_out(tmp_path, form=form, names=names))
    assert files(index) == [("cat", "1.png"), ("cat", "2.png"), ("dog", "1.png")]
    assert index.remarks[0].startswith("2 images in folders below a class's count as of that class")


@both_forms
def test_classes_without_an_image_are_told(form, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "pictures" / split / "fox").mkdir(parents=True)
    names = both("cat/1.png", "elk/1.heic")
    index = index_folder(lay_out(tmp_path, form=form, names=names))
    assert index.classes == ("cat",)
    assert index.remarks[1] == "folders without an image are not classes: elk, fox"


@both_forms
@pytest.mark.parametrize("names", [("01", "1"), ("Cat", "cat"), ("a01", "a1"), ("²", "³")])
def test_classes_and_images_have_one_order(names, form, tmp_path):
    first, second = names
    laid = both(f"{second}/1.png", f"{first}/10.png", f"{first}/9.png", f"{first}/09.png")
    index = index_folder(lay_out(tmp_path, form=form, names=laid))
    assert index.classes == names
    assert sorted(files(index)) == sorted([
        (first, "09.png"), (first, "9.png"), (first, "10.png"), (second, "1.png")
    ])  # fmt: skip
    assert [name for kind, name in files(index) if kind == first] == ["09.png", "9.png", "10.png"]
    told = [remark for remark in index.remarks if f"{first} before {second}" in remark]
    assert len(told) == (0 if "²" in names else 1)


@both_forms
def test_links_are_followed_and_those_that_lead_nowhere_told(form, tmp_path):
    root = tmp_path / "pictures"
    lay_out(tmp_path, form="folder", names=both("cat/1.png", "dog/1.png"))
    (root / "train/cat/2.png").symlink_to("../dog/1.png")
    (root / "train/cat/3.png").symlink_to("2.png")
    (root / "train/cat/4.png").hardlink_to(root / "train/cat/1.png")
    (root / "train/cat/5.png").symlink_to("nowhere.png")
    (root / "train/dog/circle.png").symlink_to("circle.png")
    (root / "train/dog/again").symlink_to("../dog")
    index = index_folder(lay_out(tmp_path, form=form, names=()))
    found = [name for kind, name in files(index) if kind == "cat"]
    assert found == ["1.png", "2.png", "3.png", "4.png"]
    assert all(image.read("L").image.size == (4, 4) for _, image in index.images["train"])
    assert "broken links" in index.remarks[0]
