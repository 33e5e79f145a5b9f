"""A disk that fills up, and a folder that may not be written, in each stage.

``pytest tests/faults -m faults``, as root, who alone may mount a small disk.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from depthopt.errors import WriteFailed
from depthopt.pipeline.run import STAGE_NAMES
from tests.faults.runs import END, OUT, Job, begin_at, difference, files, finish

pytestmark = pytest.mark.faults

FILLER = "filler"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)  # noqa: S607 - where it lies differs


def fill_up(left: int) -> None:
    """Leave so many bytes of the disk that the working folder is on."""
    with contextlib.suppress(OSError), Path(FILLER).open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    size = Path(FILLER).stat().st_size
    os.truncate(FILLER, size - left)


@pytest.mark.parametrize(
    ("stage", "left"),
    [
        (stage, left)
        for stage in STAGE_NAMES
        for left in (0, 12288)
        if (stage, left) != ("result", 12288)  # which has room there
    ],
)
def test_a_full_disk_is_named_with_the_file_and_harms_nothing(
    stage: str,
    left: int,
    undisturbed: Path,
    disk: Path,
    record_property: Callable[[str, object], None],
) -> None:
    folder = begin_at(undisturbed, stage, disk / "run")
    with pytest.raises(WriteFailed) as caught:
        finish(Job(folder, at=(stage, partial(fill_up, left))))
    said = str(caught.value)
    name, _, rest = said.partition(" could not be written: ")
    assert rest.startswith("No space left on device; free some space there")
    assert not Path(name).is_absolute()
    assert not Path(name).name.startswith("."), "no temporary file's"
    undone = files(undisturbed / OUT)
    for found, content in files(folder / OUT).items():
        if found in undone.keys() - {"manifest.json", "result.json", "finetuned/history.json"}:
            assert found == "exports.json" or content == undone[found], "whole or not there"
    (folder / FILLER).unlink()
    finish(Job(folder, until=stage))
    assert difference(undisturbed, folder, so_far=True) == []
    record_property("summary", f"{left} bytes left: {name} was refused")


WITHOUT_RIGHTS = [
    "setpriv",
    *(f"--{which}=-dac_override,-dac_read_search" for which in ("bounding-set", "inh-caps")),
]
"""Root minds permissions, too."""


def call(*words: str, folder: Path, **environment: str) -> tuple[int, str]:
    """A command as a process that minds permissions: its exit code and what it says."""
    command = [*(WITHOUT_RIGHTS if os.geteuid() == 0 else ()), sys.executable, "-m", "depthopt"]
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [*command, *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **environment},
    )
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("command", ["run", "report"])
def test_a_folder_that_may_not_be_written_is_one_line(
    command: str, undisturbed: Path, tmp_path: Path
) -> None:
    folder = begin_at(undisturbed, END, tmp_path / "run")
    words = {"run": ("run", "small.yaml", "--run-dir", "out"), "report": ("report", "out")}[command]
    (folder / OUT).chmod(0o555)
    try:
        code, said = call(*words, folder=folder)
    finally:
        (folder / OUT).chmod(0o755)
    assert code == 1
    (line,) = said.splitlines()
    name = {"run": "out", "report": "out/report/report.html"}[command]
    assert line.startswith(f"depthopt: {name} could not be written: Permission denied; choose")
    assert difference(undisturbed, folder) == []


def test_no_home_and_caches_that_may_not_be_written_are_no_hindrance(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder, caches = begin_at(undisturbed, "solve", tmp_path / "run"), tmp_path / "caches"
    caches.mkdir(mode=0o555)
    names = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCH_HOME", "HF_HOME")
    words = ("solve", "small.yaml", "--run-dir", "out")
    code, said = call(*words, folder=folder, **dict.fromkeys(names, str(caches)))
    assert code == 0
    assert "Traceback" not in said
    assert (folder / OUT / "plan.json").read_bytes() == (
        undisturbed / OUT / "plan.json"
    ).read_bytes()
