"""What users type for a data set, and what recipes then hold."""

import tarfile

import pytest

from depthopt.data.resolve import source_of_path
from depthopt.errors import DataError


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/cats", "photos/dogs", "shards", "saved"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "saved/dataset_dict.json").write_text("{}")
    for name in ("shards/x-train-000.tar", "shards/x-val-000.tar", "photos.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            tar.add("photos")
    for name in ("photos.zip", "photos.tar.gz", "one.jpg"):
        (tmp_path / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("digits", "digits"),
        ("folder:photos", "folder:photos"),
        ("hfds/user/name", "hfds/user/name"),
        ("torch/mnist", "torch/mnist"),
        ("photos", "folder:photos"),
        ("./photos/", "folder:photos"),
        ("photos.tar", "folder:photos.tar"),
        ("shards", "wds/shards"),
        ("saved", "hfds/saved"),
    ],
)
def test_names_stay_and_paths_get_theirs(text, source):
    assert source_of_path(text) == source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "photo",
            "'photo' is neither a data set nor a folder or tar; did you mean photos? expected a",
        ),
        ("digit", "did you mean digits?"),
        (
            "xyzzy",
            "'xyzzy' is neither a data set nor a folder or tar; expected a path, or one of digits",
        ),
        ("photos.zip", "photos.zip is compressed, and images are read in random order; unpack it"),
        ("photos.tar.gz", "photos.tar.gz is compressed"),
        ("one.jpg", "one.jpg is a file; name a folder of classes' folders, or a tar of them"),
    ],
)
def test_anything_else_is_refused_in_one_line(text, message):
    with pytest.raises(DataError) as told:
        source_of_path(text)
    assert message in str(told.value)
    assert "\n" not in str(told.value)
