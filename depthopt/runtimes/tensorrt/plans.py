"""Keep serialised engines in memory, since entries are measured in several sweeps."""

from collections import OrderedDict

LIMIT_BYTES = 4 << 30
"""Maximum bytes of kept engines. A sweep over a hundred entries takes one to two gigabytes."""


class Plans:
    """Engines by key. The least recently used go when there are too many bytes."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._plans: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> bytes | None:
        """The engine, if it is still kept."""
        if key in self._plans:
            self._plans.move_to_end(key)
        return self._plans.get(key)

    def put(self, key: str, plan: bytes) -> None:
        """Keep an engine."""
        self._bytes += len(plan) - len(self._plans.pop(key, b""))
        self._plans[key] = plan
        while self._bytes > self._limit_bytes:
            _, oldest = self._plans.popitem(last=False)
            self._bytes -= len(oldest)
