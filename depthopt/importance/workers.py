"""Independent parts of a table: one after another in this process, or on Ray's workers.

A worker has one core. One that dies takes nothing with it but the part that it was at,
which another does again. Ray (https://docs.ray.io) is the extra ``ray``.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from depthopt.core.numbers import Threads, require
from depthopt.errors import DepthoptError, RuntimeUnavailable, UsageError

Part = TypeVar("Part")
Entries = TypeVar("Entries")

RETRIES = 3
"""Times that a part is begun again elsewhere after its worker died."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Where parts are worked at.

    Attributes:
        count: parts at a time, each on one core of a Ray worker; None works at one after
            another in this process.
        address: of a Ray cluster, such as ``ray://host:10001`` or ``auto``; None starts
            Ray on this machine for the time being.
    """

    count: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise UsageError(f"{self.count} workers can do nothing; give 1 or more")
        if self.count is not None:
            require(Threads, "workers", self.count)
        if self.count is None and self.address is not None:
            raise UsageError(f"say how many workers of the cluster {self.address} to use")

    @property
    def here(self) -> bool:
        """Whether parts are worked at in this process."""
        return self.count is None

    def each(
        self, work: Callable[[Part], Entries], parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Entries]]:
        """Every part with what became of it, in the order in which they are done.

        Raises:
            RuntimeUnavailable: Ray is asked for and not installed, or cannot be reached.
            DepthoptError: what ``work`` raised, or a part's workers died time and again.
        """
        if self.count is None:
            yield from ((part, work(part)) for part in parts)
        elif parts:
            ray = _ray()
            with self._session(ray):
                yield from _on_ray(ray, work, parts, self.count)

    @contextlib.contextmanager
    def _session(self, ray: Any) -> Iterator[None]:
        """Ray, begun and ended here unless the caller has it running."""
        own = not ray.is_initialized()
        if own:
            where: dict[str, Any] = {"address": self.address or "local"}
            if self.address is None:
                where |= {"num_cpus": self.count, "include_dashboard": False}
            try:
                ray.init(log_to_driver=False, logging_level="error", **where)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise RuntimeUnavailable(f"Ray cannot be reached at {where}: {error}") from None
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
            raise DepthoptError(
                f"a part's Ray workers died {RETRIES + 1} times ({error}); the entries of "
                "all finished parts are kept, so the same command goes on from there"
            ) from None
        yield running.pop(done), entries


def _call(work: Callable[[Part], Entries], part: Part) -> Entries:
    return work(part)


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise RuntimeUnavailable(
            "workers need Ray, which is not installed; run: pip install ray"
        ) from None
    return ray
