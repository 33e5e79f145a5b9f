"""Compiled kernels on labels. They take and return arrays, and do not check them.

A label is one way to get from node 0 to a node. Labels lie in two arrays:
``value: (labels, 2)`` float64 holds latency and cost, ``how: (labels, 3)`` int64
holds blocks touched, last option, and the label before it. ``offset: (nodes + 1,)``
says which belong to a node; within a node latency rises and cost falls strictly.

All latencies and costs must be multiples of one power of two so large that their
sums are exact (``options.exact_step``): then equal plans compare equal, in whatever
order their parts were added.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthopt.solver.jit import jit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Labels = tuple[Ints, Floats, Ints]

OVERFLOW = -1
"""Last entry of ``offset`` where a sweep was given up because of too many labels."""


class Ways(NamedTuple):
    """Options sorted by end node.

    Attributes:
        first: (nodes + 1,) ``first[node]`` is the first option that ends at the node.
        start: (options,) node before.
        end: (options,) node after.
        latency: (options,) 0 or more.
        cost: (options,).
        touched: (options,) blocks changed.
    """

    first: Ints
    start: Ints
    end: Ints
    latency: Floats
    cost: Floats
    touched: Ints


class Limits(NamedTuple):
    """The limits of a label, per node.

    Attributes:
        alive: (options,) whether the option may be used at all.
        latency_below: (nodes,) the label's latency is less.
        cost_below: (nodes,) the label's cost is less.
        multiplier: cost of a millisecond.
        value: (nodes,) the label's cost + multiplier * latency is at most this.
    """

    alive: Bools
    latency_below: Floats
    cost_below: Floats
    multiplier: float
    value: Floats


@jit
def least_to_end(ways: Ways, weight: Floats) -> Floats:
    """Least sum of ``weight`` from every node to the last; inf where there is no way."""
    least = np.full(ways.first.size - 1, np.inf)
    least[-1] = 0.0
    for k in range(weight.size - 1, -1, -1):
        least[ways.start[k]] = min(least[ways.start[k]], weight[k] + least[ways.end[k]])
    return least


@jit
def least_from_start(ways: Ways, weight: Floats) -> Floats:
    """Least sum of ``weight`` from node 0 to every node; inf where there is no way."""
    least = np.full(ways.first.size - 1, np.inf)
    least[0] = 0.0
    for k in range(weight.size):
        least[ways.end[k]] = min(least[ways.end[k]], least[ways.start[k]] + weight[k])
    return least


@jit
def undominated(order: Ints, start: Ints, end: Ints, cost: Floats) -> Bools:
    """Stage 1: which options are Pareto-optimal among those of their segment.

    ``order`` lists them by segment, then latency, cost, blocks touched, position in
    the list; so one is dominated if a cost before it is as low.
    """
    chosen = np.zeros(order.size, np.bool_)
    best = np.inf
    for i in range(order.size):
        k, before = order[i], order[i - 1]
        if i == 0 or start[k] != start[before] or end[k] != end[before]:
            best = np.inf
        if cost[k] < best:
            best = cost[k]
            chosen[k] = True
    return chosen


@jit
def copy_labels(
    value: Floats, how: Ints, begin: int, stop: int, to_value: Floats, to_how: Ints, to: int
) -> None:
    """Copy labels ``begin`` to ``stop``. Loops, since slices compile slowly and run no faster."""
    for i in range(begin, stop):
        for column in range(value.shape[1]):
            to_value[to, column] = value[i, column]
        for column in range(3):
            to_how[to, column] = how[i, column]
        to += 1


@jit
def grown(value: Floats, how: Ints, rows: int) -> tuple[Floats, Ints]:
    """The same labels with room for ``rows``."""
    if rows <= value.shape[0]:
        return value, how
    larger_value = np.empty((2 * rows, value.shape[1]))
    larger_how = np.empty((2 * rows, 3), np.int64)
    copy_labels(value, how, 0, value.shape[0], larger_value, larger_how, 0)
    return larger_value, larger_how


@jit
def _hull(value: Floats, how: Ints, count: int) -> int:
    """Keep the vertices of the lower convex hull, in place; return how many."""
    kept = 0
    for i in range(count):
        while kept >= 2 and (value[kept - 1, 1] - value[kept - 2, 1]) * (
            value[i, 0] - value[kept - 2, 0]
        ) >= (value[i, 1] - value[kept - 2, 1]) * (value[kept - 1, 0] - value[kept - 2, 0]):
            kept -= 1
        copy_labels(value, how, i, i + 1, value, how, kept)
        kept += 1
    return kept


@jit
def sweep(ways: Ways, limits: Limits, hull: bool | np.bool_, max_labels: int) -> Labels:
    """Stage 2: the Pareto labels of every node within the limits, or of those the hull.

    ``F[e] = pareto(union of F[s] + option over the options from s to e)``. Of equal
    labels the one with fewer blocks touched stays, then the one whose last option
    comes first.
    """
    nodes = ways.first.size - 1
    offset = np.zeros(nodes + 1, np.int64)
    offset[1] = 1
    value, how = np.zeros((512, 2)), np.full((512, 3), -1, np.int64)
    how[0, 0] = 0
    new_value, new_how = np.empty((512, 2)), np.empty((512, 3), np.int64)
    old_value, old_how = np.empty((512, 2)), np.empty((512, 3), np.int64)
    nought = offset[0]  # a literal 0 would compile what it is given to once more
    for node in range(1, nodes):
        top, count = offset[node], nought
        for k in range(ways.first[node], ways.first[node + 1]):
            j, stop = offset[ways.start[k]], offset[ways.start[k] + 1]
            if limits.alive[k] and j < stop:
                old_value, new_value = new_value, old_value
                old_how, new_how = new_how, old_how
                new_value, new_how = grown(new_value, new_how, count + stop - j)
                old = (old_value, old_how, count)
                count = _merge(ways, limits, k, j, stop, value, how, old, new_value, new_how)
        if hull:
            count = _hull(new_value, new_how, count)
        if top + count > max_labels:
            offset[nodes] = OVERFLOW
            return offset, value[:0], how[:0]
        value, how = grown(value, how, top + count)
        copy_labels(new_value, new_how, nought, count, value, how, top)
        offset[node + 1] = top + count
    return offset, value[: offset[nodes]], how[: offset[nodes]]


@jit
def _merge(
    ways: Ways,
    limits: Limits,
    k: int,
    j: int,
    stop: int,
    value: Floats,
    how: Ints,
    old: tuple[Floats, Ints, int],
    new_value: Floats,
    new_how: Ints,
) -> int:
    """Pareto labels of ``old`` and of the labels ``j`` to ``stop`` with option ``k`` after."""
    old_value, old_how, old_count = old
    node, multiplier = ways.end[k], limits.multiplier
    latency_below, value_limit = limits.latency_below[node], limits.value[node]
    added_latency, added_cost, added_blocks = ways.latency[k], ways.cost[k], ways.touched[k]
    i, count, best = 0, 0, limits.cost_below[node]
    # Old labels keep to the limits already, so ``best`` may begin at the limit for both.
    while i < old_count or j < stop:
        if j < stop:
            t, c = value[j, 0] + added_latency, value[j, 1] + added_cost
            if c >= best or t >= latency_below or c + multiplier * t > value_limit:
                j += 1
                continue
            blocks = how[j, 0] + added_blocks
            if i == old_count or (t, c, blocks) < (old_value[i, 0], old_value[i, 1], old_how[i, 0]):
                new_value[count, 0], new_value[count, 1] = t, c
                new_how[count, 0], new_how[count, 1], new_how[count, 2] = blocks, k, j
                best = c
                count += 1
                j += 1
                continue
        if old_value[i, 1] < best:
            best = old_value[i, 1]
            copy_labels(old_value, old_how, i, i + 1, new_value, new_how, count)
            count += 1
        i += 1
    return count


@jit
def trace(how: Ints, labels: Ints) -> tuple[Ints, Ints]:
    """The options behind ``labels``, first block first: (offsets, options)."""
    sizes = np.zeros(labels.size + 1, np.int64)
    for i in range(labels.size):
        label = labels[i]
        while label > 0:
            sizes[i + 1] += 1
            label = how[label, 2]
    offsets = np.cumsum(sizes)
    options = np.empty(offsets[-1], np.int64)
    for i in range(labels.size):
        label, place = labels[i], offsets[i + 1]
        while label > 0:
            place -= 1
            options[place] = how[label, 1]
            label = how[label, 2]
    return offsets, options
