"""Two runs of one folder: the second is refused at once, the first goes on as if nothing were.

``pytest tests/faults -m faults``.
"""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depthopt.errors import UsageError
from tests.faults.runs import OUT, Job, begin_at, difference, finish, said

pytestmark = pytest.mark.faults


def test_the_second_is_told_of_the_first(undisturbed: Path, tmp_path: Path) -> None:
    folder = begin_at(undisturbed, "estimate", tmp_path / "run")
    refusals = []
    for process, message in said(Job(folder)):
        if message in {"apply", "estimate"}:
            with pytest.raises(UsageError) as caught:
                finish(Job(folder, ("budget.speedup=1.2",)))
            refusals.append((str(caught.value), process.pid))
    for text, pid in refusals:
        assert text.startswith(f"out is in use by process {pid} on {socket.gethostname()} since 20")
        assert text.endswith(
            "wait until that has ended, end it, or name another folder by --run-dir"
        )
    assert len(refusals) == 2
    assert difference(undisturbed, folder) == []
    assert not (folder / OUT / ".lock").exists()


def test_of_several_at_once_one_does_the_work(
    undisturbed: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Five times four runs that are started in the same moment."""
    refused = 0
    for i in range(5):
        folder = begin_at(undisturbed, "fuse", tmp_path / f"run{i}")
        runs = [said(Job(folder, until="fuse")) for _ in range(4)]
        with ThreadPoolExecutor() as pool:
            ends = list(pool.map(lambda run: [message for _, message in run][-1], runs))
        assert None in ends, "one came to its end"
        assert all("is in use by" in str(end) for end in ends if end is not None)
        refused += sum(end is not None for end in ends)
        finish(Job(folder))
        assert difference(undisturbed, folder) == []
    record_property("summary", f"of 20 runs {refused} were refused, and 5 folders are as they were")
