"""Calibration images: batches that are gone through more than once, and not all in memory."""

from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def repeatable(batches: Iterable[T]) -> Collection[T]:
    """``batches`` as they are if they can be gone through again, else all of them in memory.

    Args:
        batches: a list, or an object that makes its batches anew whenever it is iterated
            and knows their number; of an iterator, which is spent after one pass, a list
            is made.
    """
    if isinstance(batches, Collection) and not isinstance(batches, Iterator):
        return batches
    return list(batches)
