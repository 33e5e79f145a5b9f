import errno
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depthopt.core.writing import write_bytes, writing
from depthopt.errors import UsageError, WriteFailed


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


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_may_be_read_by_whom_any_other_may(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    write_bytes(tmp_path / "file", b"content")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "target"
    target.write_text("old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_and_a_device_are_written_to_and_stay(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        write_bytes(pipe, b"through")
        assert read.result() == b"through"
    write_bytes(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(WriteFailed, match="No space left"):
        write_bytes(Path("/dev/full"), b"x")
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_is_sent_to_standard_output_follows_what_is_there(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from depthopt.core.writing import write_bytes;"
        "print('before', flush=True); write_bytes(Path('/dev/stdout'), b'sent'); print(' after')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nsent after\n"


@pytest.mark.parametrize("name", [".", "there", "/"])
def test_a_folder_is_no_file_to_write(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        write_bytes(Path(name), b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
