"""What became of one input: done, refused in one line, or a defect."""

import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from depthopt.cli.main import main
from depthopt.core import limits
from depthopt.errors import DepthoptError
from tests.fuzz.kinds import KINDS, Command

MOST_SECONDS = 30
"""Of the processor, which other work on the machine does not change."""

MOST_WALL_SECONDS = 120
"""By the clock, for what waits."""

MOST_BYTES = 4 << 30

_EXPECTED = {0, 1, 2, 3}
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        index: of the input, which with the seed makes it again.
        kind: of the input.
        name: ``done``, ``refused`` or ``defect``.
        what: was said.
        seconds: of the processor that it took.
        peak_bytes: resident memory at most.
    """

    index: int
    kind: str
    name: str
    what: str
    seconds: float
    peak_bytes: int

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class _Hang(BaseException):
    """It takes too long."""


def kind_of(index: int) -> str:
    """The kind of an input: each as often as it is to be, mixed the same for every seed."""
    names = [name for name, (weight, _) in KINDS.items() for _ in range(weight)]
    random.Random(0).shuffle(names)
    return names[index % len(names)]


def tried(seed: str, index: int, corpus: Path, folder: Path) -> Outcome:
    """Make an input, have it read, and say what became of it.

    Args:
        seed: of all inputs.
        index: of this one.
        corpus: the valid inputs.
        folder: new; stays as the input was, and what was made of it.
    """
    kind = kind_of(index)
    draw = random.Random(f"{seed}/{index}")
    shutil.copytree(corpus, folder)
    case = KINDS[kind][1](folder, draw)
    before = _digests(folder)
    _reset_peak()
    begin = time.process_time()
    with _limited(), contextlib.chdir(folder):
        try:
            name, what = _ran(case) if isinstance(case, Command) else _called(case)
        except _Hang:
            name, what = "defect", "it takes too long"
    seconds, peak = time.process_time() - begin, _peak_bytes()
    if peak > MOST_BYTES:
        name, what = "defect", f"{peak >> 20} MiB; {what}"
    if lost := _lost(folder, before):
        name, what = "defect", f"{lost}; {what}"
    return Outcome(index, kind, name, what, seconds, peak)


def _called(call: Any) -> tuple[str, str]:
    """What a public reader makes of it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            call()
    except DepthoptError as error:
        said = str(error)
        if "\n" in said or len(said) > 2 * limits.MESSAGE_CHARACTERS:
            return "defect", f"not one line of a message: {said[:300]!r} ..."
        if "Traceback" in printed.getvalue():
            return "defect", f"{said}; printed: {printed.getvalue()[-2000:]}"
        return "refused", f"{type(error).__name__}: {said}"
    except Exception:
        return "defect", traceback.format_exc()
    return "done", ""


def _ran(command: Command) -> tuple[str, str]:
    """What a command line makes of it."""
    shown, said, argv = io.StringIO(), io.StringIO(), sys.argv
    status: Any = None
    sys.argv = ["depthopt", *command]
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(said):
            main()
    except SystemExit as stop:
        status = stop.code
    except Exception:
        return "defect", traceback.format_exc()
    finally:
        sys.argv = argv
    text = said.getvalue()
    lines = [line for line in text.strip().splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    what = f"{status}: {' '.join(command)}: {last}"
    if "Traceback" in text or status not in _EXPECTED:
        return "defect", what
    if command[0] == "check" and status == 1 and "regression" not in shown.getvalue():
        return "defect", f"a regression that is none; {what}"
    if len(last) > 2 * limits.MESSAGE_CHARACTERS:
        return "defect", f"not one line of a message; {what[:500]} ..."
    if status == 0:
        return "done", ""
    own = last.startswith(("depthopt: ", "Error: ")) or status in {1, 3}
    return ("refused", what) if own else ("defect", f"no line says why; {what}")


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


_GROWING = ("history.jsonl",)


def _lost(folder: Path, before: dict[str, str]) -> str | None:
    """Which input is gone or changed, or what temporary file stayed; None if there is none."""
    after = _digests(folder)
    for name, digest in before.items():
        if after.get(name) != digest and name not in _GROWING:
            return f"{name} is lost or changed"
    new = [name for name in after if name not in before]
    left = [name for name in new if Path(name).name.startswith(".")]
    return f"{left[0]} is left over" if left else None


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Stop what takes too long, as far as Python can."""

    def stop(*_: object) -> None:
        raise _Hang

    if not hasattr(signal, "setitimer"):
        yield
        return
    clocks = (
        (signal.SIGPROF, signal.ITIMER_PROF, MOST_SECONDS),
        (signal.SIGALRM, signal.ITIMER_REAL, MOST_WALL_SECONDS),
    )
    before = [signal.signal(number, stop) for number, *_ in clocks]
    for _, clock, seconds in clocks:
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for (number, clock, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)


def _reset_peak() -> None:
    if _CLEAR.exists() and os.access(_CLEAR, os.W_OK):
        _CLEAR.write_text("5")


def _peak_bytes() -> int:
    if not _STATUS.exists():
        return 0
    line = next(each for each in _STATUS.read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) << 10
