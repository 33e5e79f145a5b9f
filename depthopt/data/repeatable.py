"""Batches that can be used more than once, without holding all in memory."""

from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def repeatable(batches: Iterable[T]) -> Collection[T]:
    """``batches`` unchanged if they can be used again, else a list of them.

    Args:
        batches: a list, or an object that knows its length and makes its batches again
            on every pass. An iterator, which allows only one pass, is made into a list.
    """
    if isinstance(batches, Collection) and not isinstance(batches, Iterator):
        return batches
    return list(batches)
