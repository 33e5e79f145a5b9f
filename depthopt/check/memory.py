"""The peak memory of a network: what a fresh process needs to compile and run it.

Read from ``/proc/self/status`` (proc(5)): ``VmHWM``, the highest resident size, set back
to the present one right before the network is compiled. ``getrusage``'s ``ru_maxrss``
would not do: a process inherits its parent's.

One network's peak varies: of the same MobileNetV2, some processes needed 56 MB and others
61, as their heaps happened to fit. The least of several counts.
"""

import subprocess
import sys
from pathlib import Path

from depthopt.errors import ModelError
from depthopt.runtimes.base import Runtime, random_inputs
from depthopt.runtimes.registry import get_runtime

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_RUNS = 3
_PROCESSES = 3

SLACK_BYTES = 1 << 20
"""Bytes by which the peaks of two equal processes may differ."""


def peak_memory_bytes(path: Path, runtime: Runtime, batch: int) -> int | None:
    """Peak memory of a separate process, less what the runtime's library takes.

    None where the system does not tell, and for runtimes on other devices.

    Raises:
        ModelError: the network does not run there.
    """
    where = runtime.conditions(batch)
    if where.threads is None or not _CLEAR.exists():
        return None
    settings = (runtime.name, str(where.threads), where.dtype, str(batch), str(path))
    return min(_in_a_process(settings) for _ in range(_PROCESSES))


def _in_a_process(settings: tuple[str, ...]) -> int:
    done = subprocess.run(  # noqa: S603 - our own module and checked settings
        [sys.executable, "-m", "depthopt.check.memory", *settings],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"{settings[-1]} does not run in a process of its own: {reason}")
    return int(done.stdout.split()[-1])


def _measured(name: str, threads: int, dtype: str, batch: int, path: Path) -> int:
    """The same in this process."""
    runtime = get_runtime(name, threads=threads, dtype=dtype)
    _CLEAR.write_text(_RESET_PEAK)
    before = _status_bytes("VmRSS")
    session = runtime.compile(path)
    inputs = random_inputs(session, batch)
    for _ in range(_RUNS):
        session.run(inputs)
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) << 10
    raise OSError(f"{_STATUS} has no {field}")


if __name__ == "__main__":
    _name, _threads, _dtype, _batch, _model = sys.argv[1:]
    sys.stdout.write(f"{_measured(_name, int(_threads), _dtype, int(_batch), Path(_model))}\n")
