"""Solve both stages on arrays: from options to the frontier, exact or within a bound."""

import math
from dataclasses import dataclass

import numpy as np

from depthopt.errors import UsageError
from depthopt.solver.kernels import Floats, Ints, undominated
from depthopt.solver.options import Options, Solution, exact_step
from depthopt.solver.two_phase import two_phase

DIRECT_LABELS = 20_000
"""Number of labels up to which one plain sweep is faster than two phases."""

MAX_LABELS = 10_000_000
"""Maximum number of labels. Each takes 40 bytes, up to three times that while arrays grow."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Every Pareto-optimal plan."""


@dataclass(frozen=True, slots=True)
class Bucketed:
    """Latencies rounded up to multiples of a resolution while solving.

    At any budget the plan is within the budget and costs no more than the best plan
    at ``budget - choices * resolution_ms``, ``choices`` being that plan's length.

    Attributes:
        resolution_ms: size of a bucket.
    """

    resolution_ms: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.resolution_ms) and self.resolution_ms > 0):
            raise UsageError(f"resolution_ms must be above 0, got {self.resolution_ms}")


@dataclass(frozen=True, slots=True)
class Epsilon:
    """At any budget, the cost is above the best by at most ``e`` of the cost's range.

    The range is the cost of the fastest plan less that of the cheapest; both of these
    are in the frontier. The proof is in ``two_phase``.

    Attributes:
        e: fraction of the range, for instance 0.001.
    """

    e: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.e) and self.e >= 0):
            raise UsageError(f"e must be 0 or more, got {self.e}")


Mode = Exact | Bucketed | Epsilon


def solve_options(
    options: Options,
    mode: Mode | None = None,
    *,
    fixed_ms: float = 0.0,
    max_labels: int = MAX_LABELS,
) -> Solution:
    """The frontier of latency against cost.

    Args:
        options: what to choose from.
        mode: ``Exact()`` if None.
        fixed_ms: added to every plan's latency.
        max_labels: bound on memory, 40 bytes each.

    Raises:
        UsageError: more labels than that are needed at once.
    """
    mode = mode or Exact()
    latency, fixed, cost = on_grid(options, fixed_ms)
    measure = latency
    if isinstance(mode, Bucketed):
        measure = np.ceil(latency / mode.resolution_ms)
    order = _stage_one(options, measure, cost)
    epsilon = mode.e if isinstance(mode, Epsilon) else 0.0
    plans = two_phase(options.ways(order, measure, cost), epsilon, DIRECT_LABELS, max_labels)
    if plans is None:
        raise too_many_labels(max_labels)
    points, sizes, choices = plans
    offsets, choices = np.r_[0, np.cumsum(sizes)], order[choices]
    if isinstance(mode, Bucketed):
        return measured(latency, cost, fixed, offsets, choices)
    return Solution(points[:, 0] + fixed, points[:, 1], offsets, choices)


def on_grid(options: Options, fixed_ms: float) -> tuple[Floats, float, Floats]:
    """Latencies, the fixed part (both rounded up) and costs, such that sums are exact."""
    step = exact_step(options.latency_ms, np.array([fixed_ms]))
    fine = exact_step(options.cost)
    return (
        np.ceil(options.latency_ms / step) * step,
        math.ceil(fixed_ms / step) * step,
        np.rint(options.cost / fine) * fine,
    )


def _stage_one(options: Options, latency: Floats, cost: Floats) -> Ints:
    """The Pareto-optimal options of every segment, sorted by end, then as listed."""
    order = np.lexsort(
        (np.arange(len(options)), options.touched, cost, latency, options.start, options.end)
    )
    chosen = undominated(order, options.start, options.end, cost)
    kept = np.flatnonzero(chosen)
    return kept[np.argsort(options.end[kept], kind="stable")]


def too_many_labels(max_labels: int) -> UsageError:
    """The error for a solve that needs too many labels."""
    return UsageError(
        f"solving needs more than {max_labels} labels at once; use Bucketed(resolution_ms), "
        "Epsilon(e) with a larger e, fewer candidates, or raise max_labels"
    )


def measured(
    latency: Floats, cost: Floats, fixed_ms: float, offsets: Ints, choices: Ints
) -> Solution:
    """Plans that were found by rounded latencies, by their own: the Pareto-optimal ones."""
    latencies = np.add.reduceat(latency[choices], offsets[:-1]) + fixed_ms
    costs = np.add.reduceat(cost[choices], offsets[:-1])
    return pareto(latencies, costs, offsets, choices)


def pareto(latencies: Floats, costs: Floats, offsets: Ints, choices: Ints) -> Solution:
    """The Pareto-optimal plans of all, of equal ones the first.

    Args:
        latencies: (plans,) milliseconds.
        costs: (plans,).
        offsets: (plans + 1,) where each plan's choices lie.
        choices: indices of options, one plan after another.
    """
    order = np.lexsort((costs, latencies))
    lowest = np.minimum.accumulate(costs[order])
    kept = order[np.r_[True, costs[order][1:] < lowest[:-1]]]
    sizes = np.diff(offsets)[kept]
    members = np.concatenate([choices[offsets[k] : offsets[k + 1]] for k in kept])
    return Solution(latencies[kept], costs[kept], np.r_[0, np.cumsum(sizes)], members)
