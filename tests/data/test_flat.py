"""Folders of classes alone: divided the same way anywhere, or refused in one line."""

import tarfile

import pytest
from PIL import Image

from depthopt.data.index import checked, index_folder
from depthopt.data.load import load_dataset
from depthopt.errors import DataError

FLAT = [f"{name}/{i}.png" for name, number in (("cat", 11), ("dog", 5), ("elk", 2))
        for i in range(number)]  # fmt: skip


def lay_out(root, names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (20 * i % 255, 80, 0)).save(root / name, "PNG")
    return root


def tar_of(folder, arcname, path):
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=arcname)
    return path


def names(index, split):
    return {
        f"{index.classes[label]}/{image.name.rpartition('/')[2]}"
        for label, image in index.images[split]
    }


def test_about_a_fifth_of_each_class_is_tested_on_and_this_is_said(tmp_path):
    index = index_folder(lay_out(tmp_path / "photos", FLAT))
    assert index.classes == ("cat", "dog", "elk")
    assert checked(index, "photos") == "test"
    assert names(index, "train") | names(index, "test") == set(FLAT)
    assert not names(index, "train") & names(index, "test")
    labels = [label for label, _ in index.images["test"]]
    assert [labels.count(label) for label in range(3)] == [2, 1, 1]
    (remark,) = index.remarks
    assert remark.startswith("there is no val/ or test/: 4 of 18 images, about a fifth")


def test_the_split_depends_on_nothing_but_names(tmp_path):
    here = index_folder(lay_out(tmp_path / "photos", FLAT))
    there = index_folder(lay_out(tmp_path / "elsewhere" / "renamed", sorted(FLAT, reverse=True)))
    packed = index_folder(tar_of(tmp_path / "photos", "./photos", tmp_path / "photos.tar"))
    bare = index_folder(tar_of(tmp_path / "photos", ".", tmp_path / "bare.tar"))
    alone = index_folder(lay_out(tmp_path / "alone", [f"train/{name}" for name in FLAT]))
    wrapped = index_folder(lay_out(tmp_path / "around", [f"photos/{name}" for name in FLAT]))
    for other in (there, packed, bare, alone, wrapped):
        assert other.classes == here.classes
        assert names(other, "test") == names(here, "test")
        assert names(other, "train") == names(here, "train")
    assert "there is no val/ or test/" in alone.remarks[0]
    assert wrapped.remarks[1] == "its classes are the folders in photos/"


def test_one_image_more_moves_at_most_one(tmp_path):
    root = lay_out(tmp_path / "photos", FLAT)
    before = names(index_folder(root), "test")
    lay_out(root, ["cat/new.png"])
    assert len(before - names(index_folder(root), "test")) <= 1


def test_a_download_with_its_own_folder_around_its_splits(tmp_path):
    both = [f"set/{split}/{name}/1.png" for split in ("train", "val") for name in ("a", "b")]
    index = index_folder(lay_out(tmp_path / "download", both))
    assert (index.classes, sorted(index.images)) == (("a", "b"), ["train", "val"])
    assert index.remarks == ("its splits are the folders in set/",)


def test_folders_below_one_of_a_class_and_clutter_are_told(tmp_path):
    index = index_folder(
        lay_out(tmp_path / "p", [*FLAT, "cat/tabby/1.png", "1.png", ".git/2.png", "dog/3.heic"])
    )
    assert index.classes == ("cat", "dog", "elk")
    assert len(index.images["train"]) + len(index.images["test"]) == len(FLAT) + 1
    assert "3 files are left out" in index.remarks[0]
    assert "1 images in folders below a class's" in index.remarks[1]


REFUSED = {
    "three images": (["a/1.png", "a/2.png", "b/1.png"], "a class with a single image (b; 3 images"),
    "one class": (["a/1.png", "a/2.png"], "one class, a, with 2 images; two classes or more"),
    "one folder in another": (["a/b/c/1.png", "a/b/c/2.png"], "one class, c, with 2 images"),
    "folders of folders of folders": (
        ["a/b/c/1.png", "d/e/f/1.png", "d/e/2.png"],
        "holds images only 2 to 3 folders deep (such as a/b/c/), which shows no classes; expected",
    ),
    "no class": (
        ["1.png", "2.png"],
        "no images in a class's folder (2 files are left out: 2 not in a",
    ),
    "nothing that is read": (["a/1.heic", "b/1.heic"], "2 .heic files (such as"),
    "nothing": ([], "holds no images in a class's folder; expected CLASS/IMAGE, or train/"),
    "train alone, of one": (["train/a/1.png", "train/a/2.png"], "one class, a, with 2 images"),
}


@pytest.mark.parametrize("form", ["folder", "tar"])
@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_divided_is_refused_in_one_line(given, message, form, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    lay_out(root, given)
    path = root if form == "folder" else tar_of(root, ".", tmp_path / "photos.tar")
    with pytest.raises(DataError) as told:
        index_folder(path)
    assert str(path) in str(told.value)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_a_flat_folder_is_a_data_set(tmp_path, caplog):
    lay_out(tmp_path / "photos", FLAT)
    data = load_dataset(
        f"folder:{tmp_path / 'photos'}", input_size=(3, 4, 4), calibration_images=None, seed=0,
        workers=0,
    )  # fmt: skip
    assert "about a fifth of each class, are tested on" in caplog.text
    assert data.class_names == ("cat", "dog", "elk")
    assert [len(s) for s in (data.train, data.calibration, data.test)] == [11, 3, 4]
    assert sorted(data.calibration.targets.tolist()) == [0, 0, 1]
