import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from depthopt.errors import UsageError, WriteFailed
from depthopt.pipeline.lock import NAME, lock

HOLDER = """
import sys, time
from pathlib import Path
from depthopt.pipeline.lock import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    with (
        lock(tmp_path),
        pytest.raises(UsageError, match=rf"is in use by process {os.getpid()} on .* since 20"),
        lock(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == [], "nothing is left over"
    with lock(tmp_path):
        pass


def test_an_error_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        raise ZeroDivisionError
    with lock(tmp_path):
        pass


def test_a_folder_that_nothing_came_of_is_not_left(tmp_path: Path) -> None:
    with lock(tmp_path / "new"):
        assert (tmp_path / "new").exists()
    assert not (tmp_path / "new").exists()
    with lock(tmp_path / "new"):
        (tmp_path / "new" / "file").write_text("")
    assert (tmp_path / "new" / "file").exists()


@pytest.mark.parametrize("left", ["", "{", "[]", '{"process": 1}'])
def test_what_a_killed_one_left_locks_nothing(left: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(left)
    with lock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_kill_releases_it_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid} "), lock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with lock(tmp_path):
        pass


def test_a_forked_process_does_not_hold_it_on(tmp_path: Path) -> None:
    with lock(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_where_nothing_may_be_made_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(WriteFailed, match=r"file/run could not be written"),
        lock(tmp_path / "file" / "run"),
    ):
        pass
