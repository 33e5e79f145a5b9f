"""Search for the least costly of many networks that is as fast as asked when measured."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

NEAR = 1.04
"""Factor over the wanted speed-up within which a network is near enough to stop."""

SAME = 1.005
"""Factor in predicted speed-up within which less costly networks are not worth measuring."""


def most_measured(networks: int) -> int:
    """How many of this many networks are measured at most."""
    return 3 * math.ceil(math.log2(networks + 1))


def least_costly_index(
    predicted: Sequence[float],
    measure: Callable[[int], float],
    asked: float,
    *,
    known: dict[int, float],
) -> int | None:
    """The index of the least costly network that is measured as fast as asked. None if none is.

    Each measurement tells how much faster networks are than predicted there, and so where to look
    next. Every third measurement halves what is left. Measured speed-ups are taken to rise with
    the index too. Measurement errors of neighbours may break this.

    Args:
        predicted: the networks' speed-ups over the original, rising: the least costly first.
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
    """Whether a fast enough network is about the least costly possible."""
    if fast == len(predicted):
        return False
    # The next behind ``slow`` is the least costly that is not known to be too slow.
    return known[fast] <= asked * NEAR or predicted[fast] <= predicted[slow + 1] * SAME
