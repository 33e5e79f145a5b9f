"""The papers' dynamic programmes, literally: plain Python over whole ticks of time.

Written from the papers: LayerMerge (arXiv 2406.12837, Algorithm 1) and the two-stage
programme (arXiv 2301.12187, Algorithms 1 to 3). Both count time in ticks and round every
latency down to them, so that what they find may take longer than its budget. Nothing here
is shared with the solver.
"""

import math
from dataclasses import dataclass

Segment = tuple[int, int]
"""Positions before and after."""

Merge = tuple[int, int, int, bool]
"""Positions before and after, side length of the kernel, and whether it is depthwise."""

State = tuple[int, int, int, int]
"""Positions before and after, and whether an activation lies at either (1) or not (0)."""


@dataclass(frozen=True)
class Found:
    """What a programme finds for one budget.

    Attributes:
        objective: the sum that it maximises.
        time_ms: what its choices take in truth.
        choices: one key a segment, in order.
    """

    objective: float
    time_ms: float
    choices: tuple[tuple[object, ...], ...]


def layer_merge(
    blocks: int,
    times: dict[Merge, float],
    importance: dict[Merge, float],
    budget_ms: float,
    ticks: float,
) -> Found | None:
    """LayerMerge's table ``M[l, t]``, filled for every position and every tick.

    ``M[l, t] = max over k < l and merged kernels s of M[k, t - T[k, l, s]] + I[k, l, s]``, ``T``
    in ticks, rounded down; ``M[0, t] = 0``. As in the authors' code, sums are compared to seven
    digits, and of equal ones that of fewer ticks is taken.

    Args:
        blocks: positions run from 0 to this.
        times: milliseconds.
        importance: by the same.
        budget_ms: the time that may be spent.
        ticks: in a millisecond.

    Returns:
        None where the budget is infeasible.
    """
    most = int(budget_ms * ticks)
    rows: dict[Segment, list[tuple[Merge, int]]] = {}
    for key, time in times.items():
        rows.setdefault(key[:2], []).append((key, int(time * ticks)))
    table = {(0, t): (0.0, 0) for t in range(most + 1)}
    chosen: dict[tuple[int, int], tuple[Merge, int]] = {}
    for end in range(1, blocks + 1):
        for t in range(most + 1):
            if found := _best(table, rows, importance, end, t):
                table[end, t], chosen[end, t] = found[:2], found[2]
    if (blocks, most) not in table:
        return None
    choices, end, t = [], blocks, most
    while end:
        key, spent = chosen[end, t]
        choices.append(key)
        end, t = key[0], t - spent
    choices.reverse()
    true = math.fsum(times[key] for key in choices)
    return Found(table[blocks, most][0], true, tuple(choices))


def _best(
    table: dict[tuple[int, int], tuple[float, int]],
    rows: dict[Segment, list[tuple[Merge, int]]],
    importance: dict[Merge, float],
    end: int,
    t: int,
) -> tuple[float, int, tuple[Merge, int]] | None:
    """The greatest sum up to a position in ``t`` ticks, the ticks used, and its last choice."""
    best, fewest, last = -math.inf, 0, None
    for start in range(end):
        for key, spent in rows.get((start, end), ()):
            if (start, t - spent) not in table:
                continue
            before, used = table[start, t - spent]
            way, used = before + importance[key], used + spent
            new, old = round(way, 7), round(best, 7)
            if new > old or (new == old and used < fewest):
                best, fewest, last = way, used, (key, spent)
    return None if last is None else (best, fewest, last)


def optimal_times(
    blocks: int, times: dict[Segment, float]
) -> dict[Segment, tuple[float, tuple[int, ...]]]:
    """The 2023 paper's Algorithm 1: the fastest way through every segment, and its positions.

    ``T_opt[k, l] = min(T[k, l], min over k < m < l of T_opt[k, m] + T[m, l])``.
    """
    best: dict[Segment, tuple[float, tuple[int, ...]]] = {}
    for length in range(1, blocks + 1):
        for start in range(blocks - length + 1):
            end = start + length
            if (start, end) not in times:
                continue
            least, places = times[start, end], (start, end)
            for middle in range(start + 1, end):
                if (start, middle) in best and (middle, end) in times:
                    through = best[start, middle][0] + times[middle, end]
                    if through < least:
                        least, places = through, (*best[start, middle][1], end)
            best[start, end] = least, places
    return best


def normalised(changes: dict[State, float], alpha: float) -> dict[State, float]:
    """The 2023 paper's normalisation: less alpha times the mean over rows of one block."""
    single = [change for (start, end, _, _), change in changes.items() if end - start == 1]
    mean = sum(single) / len(single)
    return {key: change - alpha * mean for key, change in changes.items()}


def extended(blocks: int, importance: dict[State, float]) -> dict[State, float]:
    """The 2023 paper's Algorithm 3: a segment's importance, or that of parts, if greater.

    ``I_ext[k, l, a, b] = max(I[k, l, a, b], max over m of I_ext[k, m, a, 0] + I[m, l, 0, b])``.
    """
    best: dict[State, float] = {}
    for length in range(1, blocks + 1):
        for start in range(blocks - length + 1):
            end = start + length
            for a in (0, 1):
                for b in (0, 1):
                    if (start, end, a, b) not in importance:
                        continue
                    ways = [importance[start, end, a, b]]
                    for middle in range(start + 1, end):
                        first, second = (start, middle, a, 0), (middle, end, 0, b)
                        if first in best and second in importance:
                            ways.append(best[first] + importance[second])
                    best[start, end, a, b] = max(ways)
    return best


def two_stage(
    blocks: int,
    times: dict[Segment, float],
    importance: dict[State, float],
    budget_ms: float,
    ticks: float,
) -> Found | None:
    """The 2023 paper's Algorithm 2, over its optimal times and extended importances.

    ``D[l, t, b] = max over k < l and a of D[k, t - T_opt[k, l], a] + I_ext[k, l, a, b]``,
    ``T_opt`` in ticks, rounded down; ``D[0, t, 1] = 0``.

    Returns:
        None where the budget is infeasible.
    """
    best, worth = optimal_times(blocks, times), extended(blocks, importance)
    cost = {segment: int(time * ticks) for segment, (time, _) in best.items()}
    most = int(budget_ms * ticks)
    table = {(0, t, 1): 0.0 for t in range(most + 1)}
    chosen: dict[tuple[int, int, int], State] = {}
    for end in range(1, blocks + 1):
        ending = [key for key in worth if key[1] == end and key[:2] in best]
        for t in range(most + 1):
            for b in (0, 1):
                ways = [
                    (table[start, t - cost[start, end], a] + worth[start, end, a, b], start, a)
                    for start, _, a, after in ending
                    if after == b and (start, t - cost[start, end], a) in table
                ]
                if ways:
                    table[end, t, b], start, a = max(ways)
                    chosen[end, t, b] = start, end, a, b
    ends = [b for b in (0, 1) if (blocks, most, b) in table]
    if not ends:
        return None
    b = max(ends, key=lambda b: table[blocks, most, b])
    objective, end, t, choices = table[blocks, most, b], blocks, most, []
    while end:
        key = chosen[end, t, b]
        choices.append(key)
        end, t, b = key[0], t - cost[key[:2]], key[2]
    choices.reverse()
    time = math.fsum(best[key[:2]][0] for key in choices)
    return Found(objective, time, tuple(choices))
