"""Batches that are used more than once, held in memory if they fit."""

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

T = TypeVar("T")

MOST_BYTES = 2**29
"""Maximum bytes of the batches that ``Kept`` holds."""


class Kept(Collection[T]):
    """Batches that are made once and held in memory, if all of them fit.

    If they do not, they are made whenever they are gone through.
    """

    def __init__(
        self, batches: Collection[T], size_of: Callable[[T], int], *, most_bytes: int = MOST_BYTES
    ) -> None:
        """Keep nothing yet.

        Args:
            batches: the same whenever they are gone through.
            size_of: bytes that a batch takes.
            most_bytes: that all may take.
        """
        self._batches, self._size_of, self._most_bytes = batches, size_of, most_bytes
        self._kept: list[T] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __contains__(self, batch: object) -> bool:
        return any(batch is own for own in self)

    def __iter__(self) -> Iterator[T]:
        if self._kept is not None:
            yield from self._kept
            return
        kept, size = list[T](), 0
        for batch in self._batches:
            size += self._size_of(batch)
            if size <= self._most_bytes:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        if size <= self._most_bytes:
            self._kept = kept
