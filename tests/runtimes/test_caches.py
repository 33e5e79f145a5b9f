"""What a library keeps from process to process, without a library."""

from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json
from depthopt.errors import ArtefactError
from depthopt.runtimes.tensorrt import caches
from depthopt.runtimes.tensorrt.origin import Origin

HERE = Origin("NVIDIA H100 80GB HBM3", "9.0", "11.4.0.106")


def read(path: Path) -> bytes:
    return caches.read(path, HERE, what="the cache", instead="remove it")


def test_what_is_kept_is_read_again_and_what_is_the_same_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "gpu.timing"
    assert read(path) == b""
    caches.keep(path, b"first", HERE)
    assert read(path) == b"first"
    before = {file: file.stat().st_ino for file in path.parent.iterdir()}
    caches.keep(path, b"first", HERE)
    assert {file: file.stat().st_ino for file in path.parent.iterdir()} == before
    caches.keep(path, b"second", HERE)
    assert read(path) == b"second"


def test_a_damaged_one_is_refused_and_stays_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "gpu.timing"
    caches.keep(path, b"first", HERE)
    path.write_bytes(b"firs?")
    with pytest.raises(ArtefactError, match=r"gpu\.timing is not the file that was noted.*remove"):
        read(path)
    assert path.read_bytes() == b"firs?"


@pytest.mark.parametrize("before", [b"", b"first"])
def test_a_write_that_is_cut_off_behind_its_note_leaves_what_was_there(
    before: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gpu.timing"
    if before:
        caches.keep(path, before, HERE)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(caches, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        caches.keep(path, b"second", HERE)
    assert len(load_json(Origin, tmp_path / "gpu.timing.json").files) == (2 if before else 1)
    assert read(path) == before
    path.write_bytes(b"second")
    assert read(path) == b"second"
