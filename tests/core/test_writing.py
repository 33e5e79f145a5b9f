import errno
import os

import pytest

from depthopt.core.artefacts import write_bytes
from depthopt.core.writing import writing
from depthopt.errors import WriteFailed


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "choose another place"),
        (errno.EIO, "see to that"),
    ],
)
def test_the_file_that_was_wanted_is_named_with_a_remedy(tmp_path, monkeypatch, number, remedy):
    def refused(_: int) -> None:
        raise OSError(number, os.strerror(number), "/a/temporary/one")

    monkeypatch.setattr("os.fsync", refused)
    with pytest.raises(WriteFailed) as caught:
        write_bytes(tmp_path / "plan.json", b"{}")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/plan.json could not be written: {os.strerror(number)}; ")
    assert remedy in said
    assert "temporary" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match=r"file/plan.json could not be written: .*is a file"):
        write_bytes(tmp_path / "file" / "plan.json", b"{}")


def test_the_inner_file_is_the_one_that_is_named(tmp_path):
    with (
        pytest.raises(WriteFailed, match=r"^inner could"),
        writing(tmp_path / "outer"),
        writing(type(tmp_path)("inner")),
    ):
        raise OSError(errno.ENOSPC, "no space")
