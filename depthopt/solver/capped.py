"""Solve for the frontier under caps on further sums. Labels have a dimension for each.

A label is dominated by one that is at least as good in latency, cost and every resource.
What a label uses of a resource counts only while it can still matter: if even the most
that any way to the end uses stays below the cap, all amounts are alike.

Where plans are known already, labels that lead to no better one are dropped: each is held
with all good ways to the end, as they are without caps, against the known plans. As the caps
only take ways away, no plan that is better than the known ones is lost.
"""

from typing import NamedTuple

import numpy as np

from depthopt.errors import InfeasibleBudget
from depthopt.solver.jit import jit
from depthopt.solver.kernels import (
    OVERFLOW,
    Floats,
    Ints,
    Limits,
    Ways,
    copy_labels,
    grown,
    least_to_end,
    sweep,
    trace,
)
from depthopt.solver.options import Options, Solution, exact_step
from depthopt.solver.stages import (
    MAX_LABELS,
    Bucketed,
    Epsilon,
    Exact,
    Mode,
    measured,
    on_grid,
    too_many_labels,
)


class Known(NamedTuple):
    """Plans that are known: by rising latency, with falling costs.

    Attributes:
        latency_ms: (plans,) without the fixed part.
        cost: (plans,).
    """

    latency_ms: Floats
    cost: Floats


NONE = Known(np.zeros(0), np.zeros(0))
"""No plan."""


def solve_capped(
    options: Options,
    used: Floats,
    most: Floats,
    mode: Mode | None = None,
    *,
    fixed_ms: float = 0.0,
    known: Known = NONE,
    max_labels: int = MAX_LABELS,
) -> Solution:
    """The frontier of the plans that use no more than ``most`` of any resource.

    Exact, or by the mode: ``Bucketed`` rounds latencies up as without caps. ``Epsilon``
    rounds what is used up to multiples of ``e * most / (nodes - 1)``: no cap is ever
    broken, and at any budget the plan costs no more than the best one that uses at most
    ``(1 - e) * most``.

    Args:
        options: what to choose from.
        used: (options, resources) amounts, 0 or more.
        most: (resources,) caps.
        mode: ``Exact()`` if None.
        fixed_ms: added to every plan's latency.
        known: plans that only better ones are wanted of; an exact solve is faster by them.
        max_labels: bound on memory.

    Raises:
        InfeasibleBudget: no plan respects all caps, or none of those is better than the known.
        UsageError: more labels than ``max_labels`` are needed.
    """
    mode = mode or Exact()
    latency, fixed, cost = on_grid(options, fixed_ms)
    measure = np.ceil(latency / mode.resolution_ms) if isinstance(mode, Bucketed) else latency
    if isinstance(mode, Epsilon) and mode.e > 0:
        buckets = mode.e * most / (options.nodes - 1)
        used = np.ceil(used / buckets) * buckets
    steps = np.array([exact_step(column) for column in used.T])
    used = np.ceil(used / steps) * steps
    most = np.floor(np.minimum(most, used.sum(axis=0)) / steps) * steps
    order = np.argsort(options.end, kind="stable")
    ways, used = options.ways(order, measure, cost), used[order]
    columns = [np.ascontiguousarray(column) for column in used.T]
    least = np.stack([least_to_end(ways, column) for column in columns], axis=1)
    greatest = np.stack([-least_to_end(ways, -column) for column in columns], axis=1)
    for r in range(most.size):
        if least[0, r] > most[r]:
            raise InfeasibleBudget(
                f"no plan stays within cap {r + 1} of {most.size}: the least possible is "
                f"{least[0, r]:.6g}, the cap {most[r]:.6g}; raise the cap or add candidate kinds"
            )
    ahead = None
    if known.cost.size and isinstance(mode, Exact):
        ahead = _ways_to_end(ways, max_labels)
    offset, how = _capped_sweep(ways, used, most, least, greatest, ahead, known, max_labels)
    if offset[-1] == OVERFLOW:
        raise too_many_labels(max_labels)
    last = np.arange(offset[-2], offset[-1])
    if last.size == 0:
        raise InfeasibleBudget(
            "no plan stays within all caps at once; raise one of them or add candidate kinds"
        )
    offsets, choices = trace(how, last)
    return measured(latency, cost, fixed, offsets, order[choices])


def _ways_to_end(ways: Ways, max_labels: int) -> tuple[Ints, Floats] | None:
    """The Pareto-optimal ways from every node to the last: (first of each node, values).

    None if there are too many.
    """
    last = ways.first.size - 2
    order = np.argsort(last - ways.start, kind="stable")
    ends = last - ways.start[order]
    backwards = Ways(
        np.searchsorted(ends, np.arange(last + 2)),
        last - ways.end[order],
        ends,
        ways.latency[order],
        ways.cost[order],
        ways.touched[order],
    )
    unlimited = np.full(last + 1, np.inf)
    alive = np.ones(ends.size, np.bool_)
    limits = Limits(alive, unlimited, unlimited, 0.0, unlimited)
    offset, value, _ = sweep(backwards, limits, False, max_labels)
    if offset[-1] == OVERFLOW:
        return None
    nodes = [value[offset[last - n] : offset[last - n + 1]] for n in range(last + 1)]
    return np.r_[0, np.cumsum([len(each) for each in nodes])], np.concatenate(nodes)


def _capped_sweep(
    ways: Ways,
    used: Floats,
    most: Floats,
    least: Floats,
    greatest: Floats,
    ahead: tuple[Ints, Floats] | None,
    known: Known,
    max_labels: int,
) -> tuple[Ints, Ints]:
    """Labels as in ``kernels.sweep``, with a column per resource; their offset and how."""
    nodes = ways.first.size - 1
    offset = np.zeros(nodes + 1, np.int64)
    value, how = np.zeros((512, 2 + most.size)), np.full((512, 3), -1, np.int64)
    how[0, 0] = 0
    offset[1] = 1
    for node in range(1, nodes):
        options = slice(ways.first[node], ways.first[node + 1])
        before = ways.start[options]
        room, top = int((offset[before + 1] - offset[before]).sum()), int(offset[node])
        if room > max_labels:
            offset[nodes] = OVERFLOW
            return offset, how[:0]
        new_value, new_how = np.empty((room, 2 + most.size)), np.empty((room, 3), np.int64)
        count = _extended(
            ways, node, offset, value, how, used, most, least, greatest, new_value, new_how
        )
        if ahead is not None:
            begin, values = ahead
            own = values[begin[node] : begin[node + 1]]
            count = _better(new_value, new_how, count, own, known.latency_ms, known.cost)
        new_value, new_how = new_value[:count], new_how[:count]
        # NumPy's sort: compiled ones take seconds to compile.
        order = np.lexsort((new_how[:, 0], *new_value[:, :0:-1].T, new_value[:, 0]))
        kept = _undominated(new_value, order)
        if top + kept.size > max_labels:
            offset[nodes] = OVERFLOW
            return offset, how[:0]
        value, how = grown(value, how, top + kept.size)
        offset[node + 1] = top + kept.size
        value[top : offset[node + 1]], how[top : offset[node + 1]] = new_value[kept], new_how[kept]
    return offset, how[: offset[nodes]]


@jit
def _extended(
    ways: Ways,
    node: int,
    offset: Ints,
    value: Floats,
    how: Ints,
    used: Floats,
    most: Floats,
    least: Floats,
    greatest: Floats,
    new_value: Floats,
    new_how: Ints,
) -> int:
    """The labels of ``node`` that keep within the caps, dominated or not; return how many."""
    count = 0
    for k in range(ways.first[node], ways.first[node + 1]):
        for j in range(offset[ways.start[k]], offset[ways.start[k] + 1]):
            fits = True
            for r in range(most.size):
                total = value[j, 2 + r] + used[k, r]
                fits &= total + least[node, r] <= most[r]
                new_value[count, 2 + r] = max(total, most[r] - greatest[node, r])
            if fits:
                new_value[count, 0] = value[j, 0] + ways.latency[k]
                new_value[count, 1] = value[j, 1] + ways.cost[k]
                new_how[count, 0] = how[j, 0] + ways.touched[k]
                new_how[count, 1], new_how[count, 2] = k, j
                count += 1
    return count


@jit
def _better(
    value: Floats, how: Ints, count: int, ahead: Floats, known_ms: Floats, known_cost: Floats
) -> int:
    """Keep the labels that one of the ways ahead makes better than all known; return how many."""
    kept = 0
    for i in range(count):
        k, below = 0, np.inf  # the least cost of those that are known and as fast
        for j in range(ahead.shape[0]):
            while k < known_ms.size and known_ms[k] <= value[i, 0] + ahead[j, 0]:
                below = known_cost[k]
                k += 1
            if value[i, 1] + ahead[j, 1] < below:
                copy_labels(value, how, i, i + 1, value, how, kept)
                kept += 1
                break
    return kept


@jit
def _undominated(value: Floats, order: Ints) -> Ints:
    """Indices of labels that none before in ``order`` is as good as."""
    kept = np.empty(order.size, np.int64)
    count = 0
    for i in order:
        dominated = False
        for other in kept[:count]:
            dominated = True
            for column in range(1, value.shape[1]):
                if value[other, column] > value[i, column]:
                    dominated = False
                    break
            if dominated:
                break
        if not dominated:
            kept[count] = i
            count += 1
    return kept[:count]
