"""What the solver must equal: brute force, the papers' recursions, an integer programme.

Plain Python, written from the papers' mathematics; nothing here is shared with the
solver. An option is a tuple ``(start, end, latency, cost, touched)``.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import LinearConstraint, milp

Option = tuple[int, int, float, float, int]
Point = tuple[float, float, tuple[int, ...]]


def runs(nodes: int, options: Sequence[Option], node: int = 0) -> Iterator[tuple[int, ...]]:
    """Every run of options from ``node`` to the last node."""
    if node == nodes - 1:
        yield ()
        return
    for k, option in enumerate(options):
        if option[0] == node:
            for rest in runs(nodes, options, option[1]):
                yield (k, *rest)


def brute_force(nodes: int, options: Sequence[Option], noise: float = 0.0) -> list[Point]:
    """The frontier by enumeration; ties by touched blocks, then order from the end.

    Costs that differ by ``noise`` or less are taken as equal.
    """
    plans = []
    for run in runs(nodes, options):
        latency = sum(options[k][2] for k in run)
        cost = sum(options[k][3] for k in run)
        touched = sum(options[k][4] for k in run)
        plans.append((latency, cost, touched, run[::-1]))
    frontier: list[Point] = []
    for latency, cost, _, backwards in sorted(plans):
        if not frontier or cost < frontier[-1][1] - noise:
            frontier.append((latency, cost, backwards[::-1]))
    return frontier


def optimal_times(blocks: int, times: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """arXiv 2301.12187, Algorithm 1: the fastest way to merge each segment.

    ``T_opt[i, j] = min(T[i, j], min over i < k < j of T_opt[i, k] + T[k, j])``.
    """
    best: dict[tuple[int, int], float] = {}
    for length in range(1, blocks + 1):
        for i in range(blocks - length + 1):
            j = i + length
            ways = [times.get((i, j), math.inf)]
            ways += [best[i, k] + times.get((k, j), math.inf) for k in range(i + 1, j)]
            best[i, j] = min(ways)
    return best


def two_stage(
    blocks: int,
    times: dict[tuple[int, int], int],
    importance: dict[tuple[int, int, int, int], float],
    budget: int,
) -> float:
    """arXiv 2301.12187, Algorithm 2: greatest sum of importances within a budget.

    ``D[l, t, b] = max over k < l, a of D[k, t - T_opt[k, l], a] + I[k, l, a, b]`` where
    ``a`` and ``b`` say whether an activation stays at the segment's start and end;
    latencies are whole numbers. -inf where the budget is infeasible.
    """
    best = optimal_times(blocks, times)
    table = {(0, t, 1): 0.0 for t in range(budget + 1)}
    for end in range(1, blocks + 1):
        for t in range(budget + 1):
            for b in (0, 1):
                ways = [
                    table[start, t - best[start, end], a] + importance[start, end, a, b]
                    for start in range(end)
                    for a in (0, 1)
                    if (start, end, a, b) in importance
                    and best[start, end] <= t
                    and (start, t - best[start, end], a) in table
                ]
                if ways:
                    table[end, t, b] = max(ways)
    return max(table.get((blocks, budget, b), -math.inf) for b in (0, 1))


def layer_merge(
    blocks: int,
    times: dict[tuple[int, int, int], int],
    importance: dict[tuple[int, int, int], float],
    budget: int,
) -> float:
    """arXiv 2406.12837, Algorithm 1: greatest sum of importances within a budget.

    ``M[l, t] = max over k < l, kernel size s of M[k, t - T[k, l, s]] + I[k, l, s]``;
    latencies are whole numbers. -inf where the budget is infeasible.
    """
    sizes = sorted({size for _, _, size in times})
    table = [[0.0] * (budget + 1)]
    for end in range(1, blocks + 1):
        row = []
        for t in range(budget + 1):
            best = -math.inf
            for start in range(end):
                for size in sizes:
                    time = times.get((start, end, size), math.inf)
                    if time <= t:
                        way = table[start][t - time] + importance[start, end, size]
                        best = max(best, way)
            row.append(best)
        table.append(row)
    return table[blocks][budget]


def integer_programme(nodes: int, options: Sequence[Option], budget: float) -> float:
    """Least cost within a budget by HiGHS: a path from node 0 to the last as a flow."""
    flow = np.zeros((nodes, len(options)))
    for k, (start, end, *_) in enumerate(options):
        flow[start, k] += 1
        flow[end, k] -= 1
    balance = np.zeros(nodes)
    balance[0], balance[-1] = 1, -1
    latency = np.array([[option[2] for option in options]])
    solution = milp(
        np.array([option[3] for option in options]),
        integrality=np.ones(len(options)),
        bounds=(0, 1),
        constraints=[
            LinearConstraint(flow, balance, balance),
            LinearConstraint(latency, -np.inf, budget),
        ],
        options={"mip_rel_gap": 0.0},
    )
    return math.inf if solution.x is None else float(solution.fun)
