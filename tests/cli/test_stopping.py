"""Ctrl-C: a command ends within seconds and says how to go on, whatever it is at."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

LIBRARY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 300_000_000)"
"""A call that returns after minutes, and that no signal ends; other threads run meanwhile."""

AT = {
    "Python": "while True: time.sleep(0.01)",
    "a library": LIBRARY,
    "what takes long to clean up": "try:\n    time.sleep(30)\nfinally:\n    time.sleep(30)",
    "the end of Python": "atexit.register(time.sleep, 30); time.sleep(30)",
    "the solver": "kernel(4_000_000_000)",
    "a program": f"subprocess.Popen(['sleep', '60']); {LIBRARY}",
    "workers that regress": (
        "from depthopt.importance.workers import Workers\n"
        "list(Workers(2).each(time.sleep, [60, 60]))"
    ),
    "workers that read images": (
        "from torch.utils.data import DataLoader, Dataset\n"
        "class Slow(Dataset):\n"
        "    __len__ = lambda _: 8\n"
        "    __getitem__ = lambda *_: time.sleep(60)\n"
        "list(DataLoader(Slow(), num_workers=2))"
    ),
}
"""What a command may be at, in Python."""

COMMAND = """
import atexit, hashlib, subprocess, sys, time
import depthopt.cli.main as cli
{before}
def busy(**_):
    print("at it", flush=True)
    {at}
cli.app = busy
sys.argv = ["depthopt", "run", "x.yaml"]
cli.main()
"""

KERNEL = """
from depthopt.solver.jit import jit
@jit
def kernel(n):
    total = 0.0
    for i in range(n):
        total += (i * 0.5) % 3.0
    return total
kernel(10)
"""


def hears() -> None:
    """Let a process hear of Ctrl-C, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop(
    script: str, cwd: Path, *, times: int = 1, settle_s: float = 0.2
) -> tuple[float, int, str]:
    """The seconds from Ctrl-C to the end, the status, and what was said."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hears,  # noqa: PLW1509 - the child has one thread
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "at it\n"
    time.sleep(settle_s)
    begin = time.monotonic()
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    _, said = process.communicate(timeout=60)
    seconds = time.monotonic() - begin
    end = time.monotonic() + 5
    while (left := others(process.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left
    return seconds, process.returncode, said


def others(session: int) -> list[int]:
    """The processes of a session that are still there."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session:
                found.append(pid)
    return found


def script(at: str) -> str:
    before = KERNEL if "kernel" in at else ""
    return COMMAND.format(before=before, at=at.replace("\n", "\n    "))


def test_a_call_into_a_library_is_not_waited_for_after_a_second_ctrl_c(tmp_path: Path) -> None:
    seconds, status, said = stop(script(LIBRARY), tmp_path, times=2)
    assert status == 130
    assert said == "stopped; start the same command again to go on\n"
    assert seconds < 20  # of minutes; nothing is timed here


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("where", AT)
def test_it_ends_within_three_seconds(where: str, tmp_path: Path) -> None:
    seconds, status, said = stop(
        script(AT[where]), tmp_path, settle_s=6 if "workers" in where else 0.2
    )
    assert status == 130
    assert said.splitlines()[-1] == "stopped; start the same command again to go on"
    assert seconds < 3


RECIPE = """
model: {name: mobilenetv2_035, input_size: [1, 32, 32]}
data: {source: digits, calibration_images: 64}
teacher: {epochs: 40}
budget: {speedup: 1.5}
"""


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("after_s", [1, 4, 12])
def test_a_run_ends_within_three_seconds(after_s: float, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    process = subprocess.Popen(
        [sys.executable, "-m", "depthopt", "run", "r.yaml"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    time.sleep(after_s)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begin < 3
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped; start the same command again to go on"
