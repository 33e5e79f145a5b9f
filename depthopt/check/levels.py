"""Noisy values as levels: where one level ends and the next begins.

The levels are those of least penalised squared error: sum over levels of
``sum((x - mean)^2) + penalty``, over all ways to cut the values (optimal partitioning; Jackson et
al., 2005, arXiv math/0309285; Killick, Fearnhead and Eckley, 2012, section 2.2). It is exact, and
takes time that grows with the square of the count: half a second for 10,000 values.
"""

import numpy as np
from numpy.typing import NDArray


def level_ends(values: NDArray[np.float64], *, penalty: float, shortest: int) -> list[int]:
    """The index behind each level's last value, in order; the last one is the count.

    Args:
        values: ``(count,)``.
        penalty: what one more level must lower the squared error by.
        shortest: values that a level has at least.
    """
    count = len(values)
    centred = values - values.mean()  # large means would cost digits of the squares
    sums = np.concatenate(([0.0], np.cumsum(centred)))
    squares = np.concatenate(([0.0], np.cumsum(centred * centred)))
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    start = np.zeros(count + 1, int)
    for end in range(shortest, count + 1):
        begins = np.arange(end - shortest + 1)
        total = sums[end] - sums[begins]
        errors = squares[end] - squares[begins] - total * total / (end - begins)
        costs = best[begins] + errors + penalty
        start[end] = np.argmin(costs)
        best[end] = costs[start[end]]
    ends = []
    end = count
    while end > 0:
        ends.append(end)
        end = int(start[end])
    return ends[::-1]
