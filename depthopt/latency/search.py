"""A search for the mildest of many networks that is as fast as asked when it is measured."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

NEAR = 1.02
"""A network is not improved upon if it is faster than asked by no more than this."""

SAME = 1.005
"""Neither is one if the next milder ones are slower by no more than this, as predicted."""


def most_measured(networks: int) -> int:
    """How many of so many networks are measured at most."""
    return 3 * math.ceil(math.log2(networks + 1))


def mildest_index(
    predicted: Sequence[float],
    measure: Callable[[int], float],
    asked: float,
    *,
    known: dict[int, float],
) -> int | None:
    """The index of the mildest network that is found as fast as asked; None if none is.

    Each measurement tells how much faster networks are than predicted there, which says where to
    look next; every third halves what is left. Measured speed-ups are taken to rise with the
    index too, which neighbours may break by what the measurement errs by.

    Args:
        predicted: the networks' speed-ups over the original, rising: the mildest first.
        measure: gives the speed-up of the one of an index.
        asked: the speed-up to reach.
        known: speed-ups by index, measured before; what is measured is added.
    """
    slow = max((i for i, speedup in known.items() if speedup < asked), default=-1)
    fast = min((i for i in known if i > slow), default=len(predicted))
    ratio, count = 1.0, 0
    while fast - slow > 1 and not _settled(predicted, slow, fast, known, asked):
        index = bisect_left(predicted, asked / ratio) if count % 3 < 2 else (slow + fast) // 2
        index = min(max(index, slow + 1), fast - 1)
        known[index] = measure(index)
        ratio, count = known[index] / predicted[index], count + 1
        slow, fast = (slow, index) if known[index] >= asked else (index, fast)
    return fast if fast < len(predicted) else None


def _settled(
    predicted: Sequence[float], slow: int, fast: int, known: dict[int, float], asked: float
) -> bool:
    """Whether a network that is fast enough is about as mild as one can be."""
    if fast == len(predicted):
        return False
    # The next behind ``slow`` is the mildest that is not known to be too slow.
    return known[fast] <= asked * NEAR or predicted[fast] <= predicted[slow + 1] * SAME
