"""Images without classes: of a folder or a tar, however they lie in it."""

import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from depthopt.data.dataset import Dataset
from depthopt.data.load import load_dataset
from depthopt.errors import DataError

NAMES = [*(f"{i}.png" for i in range(8)), *(f"trip/day {i}/{i}.png" for i in range(8, 20))]


def pictures(root: Path, names: list[str] = NAMES) -> Path:
    for level, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), (10 * level, level, 200)).save(root / name)
    return root


def loaded(root: Path, **changes: object) -> Dataset:
    options = {"input_size": (3, 8, 8), "calibration_images": 4, "seed": 0, "workers": 0}
    return load_dataset(f"images:{root}", **(options | changes))


def reds(data: Dataset) -> dict[str, set[float]]:
    """The images of each split, told by how red they are."""
    found = {}
    for name in ("train", "calibration", "test"):
        batches = [inputs for inputs, _ in getattr(data, name).batches(64)]
        found[name] = {round(float(x), 4) for x in torch.cat(batches)[:, 0, 0, 0]}
    return found


def test_all_images_are_found_and_divided_and_none_has_a_target(tmp_path: Path) -> None:
    data = loaded(pictures(tmp_path / "photos"))
    assert [len(data.train), len(data.calibration), len(data.test)] == [12, 4, 4]
    assert data.class_names == ()
    for split in (data.train, data.calibration, data.test):
        assert split.targets is None
        assert all(targets is None for _, targets in split.batches(3, shuffle_seed=1))
    parts = reds(data)
    assert len(set.union(*parts.values())) == sum(map(len, parts.values())) == 20


def test_a_tar_and_a_copy_elsewhere_are_divided_alike(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos")
    shutil.copytree(root, tmp_path / "elsewhere" / "copy")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(root, "")
    found = reds(loaded(root))
    assert reds(loaded(tmp_path / "elsewhere" / "copy")) == found
    assert reds(loaded(tmp_path / "photos.tar"))["test"] == found["test"]


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_folders_of_splits_are_taken_as_they_are(tmp_path: Path, held_out: str) -> None:
    names = [f"train/{i}.png" for i in range(9)] + [f"{held_out}/deep/{i}.png" for i in range(3)]
    data = loaded(pictures(tmp_path, [*names, "other.png"]))
    assert [len(data.train), len(data.calibration), len(data.test)] == [5, 4, 3]


def test_train_alone_is_divided(tmp_path: Path) -> None:
    data = loaded(pictures(tmp_path, [f"train/{i}.png" for i in range(10)]))
    assert [len(data.train), len(data.calibration), len(data.test)] == [4, 4, 2]


def test_other_files_and_hidden_folders_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = pictures(tmp_path, [*NAMES, ".thumbnails/1.png", "trip/.cache/deep/2.png"])
    (root / "notes.txt").write_text("of the trip")
    data = loaded(root)
    assert len(data.train) + len(data.calibration) + len(data.test) == len(NAMES)
    assert "4 of 20 images are tested on" in caplog.text
    assert "txt files" in caplog.text
    assert not any("class" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png"], "has 1 image; one is needed to train on and one to test on"),
        ([], "has 0 images"),
        (["val/1.png", "val/2.png"], "no images below train/, and some below val/"),
    ],
)
def test_too_few_images_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(pictures(tmp_path, names))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; name a folder or a tar of images"):
        loaded(tmp_path / "photo")
