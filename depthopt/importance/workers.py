"""Work at independent parts of a table: in this process, in several, or on a Ray cluster.

A worker has one core. One that dies takes nothing with it but the parts that were under way,
which are done again. On this machine workers are loky's (https://loky.readthedocs.io, the extra
``workers``), which keeps to the machine; a cluster is reached through Ray (https://docs.ray.io,
the extra ``ray``).
"""

import contextlib
import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil
import torch

from depthopt.core.extras import require_extra
from depthopt.core.numbers import Threads, require
from depthopt.errors import DepthoptError, RuntimeUnavailable, UsageError

Part = TypeVar("Part")
Entries = TypeVar("Entries")

RETRIES = 3
"""Times that a part is started again after its worker died."""

_ONE_CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Environment of a worker on this machine."""


_WORKER_BYTES = 2 << 30
"""Estimated memory of a worker, for choosing their number."""

_WORTHWHILE = 32
"""Fewest parts for which workers pay off: each takes some seconds to start."""


def automatic(parts: int) -> int | None:
    """The number of workers that this machine has cores and memory for. None if none pay off.

    Args:
        parts: to be worked at, each of seconds.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = min(cores or 1, int(psutil.virtual_memory().available // _WORKER_BYTES))
    installed = all(importlib.util.find_spec(name) for name in ("loky", "cloudpickle"))
    return count if installed and count > 1 and parts >= _WORTHWHILE else None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, as in a worker, so that sums are the same bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class Workers:
    """Where parts are computed.

    Attributes:
        count: parts at a time, each on one core of a process; None works at one after
            another in this process.
        address: of a Ray cluster, such as ``ray://host:10001`` or ``auto``; None works on this
            machine.
    """

    count: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise UsageError(f"the number of workers is {self.count}; give 1 or more")
        if self.count is not None:
            require(Threads, "workers", self.count)
        if self.count is None and self.address is not None:
            raise UsageError(f"say how many workers of the cluster {self.address} to use")

    @property
    def here(self) -> bool:
        """Whether parts are computed in this process."""
        return self.count is None

    def each(
        self, work: Callable[[Part], Entries], parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Entries]]:
        """Every part with its result, in the order in which they finish.

        Raises:
            UsageError: loky is asked for and not installed.
            RuntimeUnavailable: Ray is asked for and not installed, or cannot be reached.
            DepthoptError: what ``work`` raised, or a part's workers died time and again.
        """
        if self.count is None:
            yield from ((part, work(part)) for part in parts)
            return
        from depthopt.models.sent import with_code  # noqa: PLC0415 - as for loky

        if self.address is None:
            yield from _on_processes(with_code(work), parts, self.count)
        elif parts:
            ray = _ray()
            with _session(ray, self.address):
                yield from _on_ray(ray, with_code(work), parts, self.count)


def _on_processes(
    work: Callable[[Part], Entries], parts: Sequence[Part], count: int
) -> Iterator[tuple[Part, Entries]]:
    """On so many processes of this machine, begun and ended here."""
    require_extra("loky", "importance.workers")
    from loky import ProcessPoolExecutor  # noqa: PLC0415 - most work needs no processes
    from loky.process_executor import TerminatedWorkerError  # noqa: PLC0415 - as above

    left, deaths = list(parts), 0
    while left:
        executor = ProcessPoolExecutor(
            min(count, len(left)), initializer=_keep, initargs=(work,), env=_ONE_CORE
        )
        futures = {executor.submit(_call_kept, part): part for part in left}
        try:
            for future in as_completed(futures):
                entries = future.result()
                left.remove(futures[future])
                deaths = 0
                yield futures[future], entries
        except TerminatedWorkerError:
            deaths += 1
            if deaths > RETRIES:
                raise _died("a worker ended without a message, perhaps out of memory") from None
        finally:
            executor.shutdown(kill_workers=bool(left))


_kept: list[Callable[[Any], Any]] = []
"""The work of this process, where it is a worker: sent once, and not with each part."""


def _keep(work: Callable[[Any], Any]) -> None:
    _kept[:] = [work]
    # Loky's way to begin a process, which it leaves as the default, begins no data loader's.
    multiprocessing.set_start_method(None, force=True)


def _call_kept(part: Any) -> Any:
    return _kept[0](part)


@contextlib.contextmanager
def _session(ray: Any, address: str) -> Iterator[None]:
    """Ray, begun and ended here unless the caller has it running."""
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RuntimeUnavailable(f"Ray cannot be reached at {address}: {error}") from None
    try:
        yield
    finally:
        if own:
            ray.shutdown()


def _on_ray(
    ray: Any, work: Callable[[Part], Entries], parts: Sequence[Part], count: int
) -> Iterator[tuple[Part, Entries]]:
    shared = ray.put(work)
    remote = ray.remote(_call).options(num_cpus=1, max_retries=RETRIES)
    waiting = list(reversed(parts))
    running: dict[Any, Part] = {}
    while waiting or running:
        while waiting and len(running) < count:
            part = waiting.pop()
            running[remote.remote(shared, part)] = part
        (done,), _ = ray.wait(list(running), num_returns=1)
        try:
            entries = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DepthoptError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise _died(str(error)) from None
        yield running.pop(done), entries


def _call(work: Callable[[Part], Entries], part: Part) -> Entries:
    return work(part)


def _died(reason: str) -> DepthoptError:
    return DepthoptError(
        f"a part's workers died {RETRIES + 1} times ({reason}); the entries of all finished "
        "parts are kept, so the same command goes on from there"
    )


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise RuntimeUnavailable(
            "a cluster needs Ray, which is not installed; run: pip install ray"
        ) from None
    return ray
