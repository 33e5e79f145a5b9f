"""Solve for the exact frontier in two phases: its convex hull, then the rest.

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


Plans = tuple[Floats, Ints, Ints]
"""Values (plans, 2), numbers of options (plans,), and the options one after another."""


def two_phase(ways: Ways, epsilon: float, direct_labels: int, max_labels: int) -> Plans | None:
    """The frontier of the last node, within ``epsilon`` of the cost's range.

    A chain that needs no more than ``direct_labels`` is solved by one sweep without
    limits, which is then the fastest way, and exactly. None where a sweep overflows.
    """
    nodes = ways.first.size - 1
    unlimited = np.full(nodes, np.inf)
    limits = Limits(np.ones(ways.start.size, np.bool_), unlimited, unlimited, 0.0, unlimited)
    direct = _plans(sweep(ways, limits, False, min(direct_labels, max_labels)))
    if direct is not None:
        return direct
    hull = _plans(sweep(ways, limits, True, max_labels))
    if hull is None:
        return None
    edge, sizes, options = hull
    offsets = np.r_[0, np.cumsum(sizes)]
    gap = epsilon * (edge[0, 1] - edge[-1, 1])
    fastest, cheapest = least_to_end(ways, ways.latency), least_to_end(ways, ways.cost)
    parts = [(edge[:1], sizes[:1], options[: offsets[1]])]
    for i in range(1, edge.shape[0]):
        if edge[i - 1, 1] - edge[i, 1] > gap:
            inner = _plans(
                _triangle(ways, edge[i - 1], edge[i], gap, fastest, cheapest, max_labels)
            )
            if inner is None:
                return None
            parts.append(inner)
        parts.append((edge[i : i + 1], sizes[i : i + 1], options[offsets[i] : offsets[i + 1]]))
    points, lengths, choices = zip(*parts, strict=True)
    return np.concatenate(points), np.concatenate(lengths), np.concatenate(choices)


def _plans(labels: Labels) -> Plans | None:
    """The last node's labels, traced back; None for a sweep that overflowed."""
    offset, value, how = labels
    if offset[-1] == OVERFLOW:
        return None
    offsets, options = trace(how, np.arange(offset[-2], offset[-1]))
    return value[offset[-2] :], np.diff(offsets), options


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
    whole = np.bool_(False)  # a literal would compile the sweep once more
    while True:
        value = limit + tolerance - ahead
        alive = _alive(ways, weight, behind, value)
        limits = Limits(alive, after[0] - fastest, before[1] - gap - cheapest, multiplier, value)
        labels = sweep(ways, limits, whole, max_labels)
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
