"""The exact frontier in two phases: its convex hull, then what lies behind the hull.

Phase 1 sweeps with only the hull's vertices kept at every node; that is exact for
the vertices, since a vertex of a sum is a sum of vertices. Phase 2 closes the
triangle behind each hull edge, from ``(t0, c0)`` to ``(t1, c1)`` with slope ``-m``:
a plan that lies in it has a value ``cost + m * latency`` between that of the edge and
that of its worst corner ``(t1, c0)``. Labels whose best completion lies outside are
dropped, so few remain. A first sweep looks an eighth of the way to the corner; the
plans found move the corners in, and a second sweep goes as far as those ask for.

A gap ``g > 0`` leaves alone what would improve the cost by ``g`` or less. Proof of
the bound: let a plan of the frontier, ``(t, c)``, be missing from the answer, and
``(t0, c0)`` be the answer's last point with ``t0 <= t``. Were ``c < c0 - g``, the plan
would lie below an open corner, all its prefixes within the limits; and of labels that
dominate them at least one would have been kept to the end.

Source: E. L. Ulungu, J. Teghem, "The two phases method: An efficient procedure to
solve bi-objective combinatorial optimization problems" (1995).
"""

import numpy as np

from depthopt.solver.jit import jit
from depthopt.solver.kernels import (
    OVERFLOW,
    Bools,
    Floats,
    Ints,
    Labels,
    Limits,
    Ways,
    least_from_start,
    least_to_end,
    sweep,
    trace,
)

FIRST_LOOK = 0.125
"""How far towards the worst corner the first sweep of a triangle looks."""

TOLERANCE = 1e-12
"""Of the largest value: rounding in values; it only ever keeps labels needlessly."""


@jit
def two_phase(ways: Ways, epsilon: float, max_labels: int) -> tuple[Floats, Ints, Ints]:
    """The frontier of the last node, within ``epsilon`` of the cost's range.

    Returns:
        points: (points, 2) latency and cost, fastest first.
        offsets: (points + 1,) into ``options``; of size 0 where a sweep overflowed.
        options: the points' options, one after another.
    """
    nodes = ways.first.size - 1
    unlimited = np.full(nodes, np.inf)
    alive = np.ones(ways.start.size, np.bool_)
    limits = Limits(alive, unlimited, unlimited, 0.0, unlimited)
    hull = sweep(ways, limits, True, max_labels)
    nothing = np.empty((0, 2)), np.empty(0, np.int64), np.empty(0, np.int64)
    if hull[0][nodes] == OVERFLOW:
        return nothing
    edge, edge_sizes, edge_options = _plans(hull)
    fastest = least_to_end(ways, ways.latency)
    cheapest = least_to_end(ways, ways.cost)
    gap = epsilon * (edge[0, 1] - edge[-1, 1])
    points, sizes, options = [edge[:1]], [edge_sizes[:1]], [edge_options[: edge_sizes[0]]]
    used = edge_sizes[0]
    for i in range(1, edge.shape[0]):
        if edge[i - 1, 1] - edge[i, 1] > gap:
            inner = _triangle(ways, edge[i - 1], edge[i], gap, fastest, cheapest, max_labels)
            if inner[0][nodes] == OVERFLOW:
                return nothing
            inner_points, inner_sizes, inner_options = _plans(inner)
            points.append(inner_points)
            sizes.append(inner_sizes)
            options.append(inner_options)
        points.append(edge[i : i + 1])
        sizes.append(edge_sizes[i : i + 1])
        options.append(edge_options[used : used + edge_sizes[i]])
        used += edge_sizes[i]
    return _joined(points, sizes, options)


@jit
def _plans(labels: Labels) -> tuple[Floats, Ints, Ints]:
    """The last node's labels: values, numbers of options, the options."""
    offset, value, how = labels
    offsets, options = trace(how, np.arange(offset[-2], offset[-1]))
    return value[offset[-2] :], np.diff(offsets), options


@jit
def _joined(
    points: list[Floats], sizes: list[Ints], options: list[Ints]
) -> tuple[Floats, Ints, Ints]:
    """The parts one after another, sizes summed up to offsets."""
    count, length = 0, 0
    for k in range(len(points)):
        count += sizes[k].size
        length += options[k].size
    all_points, offsets = np.empty((count, 2)), np.zeros(count + 1, np.int64)
    all_options = np.empty(length, np.int64)
    count, length = 0, 0
    for k in range(len(points)):
        more, longer = sizes[k].size, options[k].size
        all_points[count : count + more] = points[k]
        offsets[count + 1 : count + more + 1] = length + np.cumsum(sizes[k])
        all_options[length : length + longer] = options[k]
        count += more
        length += longer
    return all_points, offsets, all_options


@jit
def _triangle(
    ways: Ways,
    before: Floats,
    after: Floats,
    gap: float,
    fastest: Floats,
    cheapest: Floats,
    max_labels: int,
) -> Labels:
    """The labels that matter strictly between two vertices of the hull."""
    nodes = ways.first.size - 1
    multiplier = (before[1] - after[1]) / (after[0] - before[0])
    weight = ways.cost + multiplier * ways.latency
    ahead = least_to_end(ways, weight)
    behind = least_from_start(ways, weight)
    tolerance = TOLERANCE * (np.abs(ways.cost).max() + multiplier * after[0]) * nodes
    lowest = before[1] + multiplier * before[0]
    corner = before[1] - gap + multiplier * after[0]
    limit = lowest + FIRST_LOOK * (corner - lowest)
    while True:
        value = limit + tolerance - ahead
        alive = _alive(ways, weight, behind, value)
        limits = Limits(alive, after[0] - fastest, before[1] - gap - cheapest, multiplier, value)
        labels = sweep(ways, limits, False, max_labels)
        if labels[0][nodes] == OVERFLOW:
            return labels
        needed = _worst_corner(labels[1][labels[0][nodes - 1] :], before, after, multiplier, gap)
        if needed <= limit:
            return labels
        limit = needed


@jit
def _alive(ways: Ways, weight: Floats, behind: Floats, value: Floats) -> Bools:
    """Which options lie on some way to the end within the limit."""
    alive = np.empty(weight.size, np.bool_)
    for k in range(weight.size):
        alive[k] = behind[ways.start[k]] + weight[k] <= value[ways.end[k]]
    return alive


@jit
def _worst_corner(
    found: Floats, before: Floats, after: Floats, multiplier: float, gap: float
) -> float:
    """Highest value that a missing plan may have; -inf if none can be missing."""
    worst, above = -np.inf, before[1]
    for i in range(found.shape[0] + 1):
        point = found[i] if i < found.shape[0] else after
        if above - point[1] > gap:
            worst = max(worst, above - gap + multiplier * point[0])
        above = point[1]
    return worst
