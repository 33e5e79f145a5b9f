"""Pick the least costly plan of a frontier that is as fast as asked when measured.

A plan's predicted latency is a sum of entries, and a network is more than that: a shorter one reads
its weights from nearer caches. So a budget is kept by measuring.
"""

import logging
from dataclasses import dataclass

from torch import nn

from depthopt.core.chain import Chain
from depthopt.core.counted import counted
from depthopt.core.numbers import Batch, require
from depthopt.core.plan import Frontier, Plan
from depthopt.core.progress import Progress, silent
from depthopt.errors import InfeasibleBudget, UsageError
from depthopt.latency.measure import Effort
from depthopt.latency.search import least_costly_index, most_measured
from depthopt.latency.timing import Timer, plan_timer
from depthopt.runtimes.base import Runtime

logger = logging.getLogger(__name__)

EFFORT = Effort(seconds=4.0, tolerance=0.01)
"""Effort per plan, with the original's share."""


@dataclass(frozen=True, slots=True, repr=False)
class MeasuredPick:
    """A plan with its measured speed-up.

    Attributes:
        plan: its latency is the predicted one.
        speedup: over the original, timed in turn.
        timed: plans that were, in all.
    """

    plan: Plan
    speedup: float
    timed: int

    def __repr__(self) -> str:
        timed = counted(self.timed, "plan")
        return (
            f"MeasuredPick of {self.plan.model}: {self.speedup:.2f}x measured, "
            f"{self.plan.words}, {timed} timed"
        )


def pick_measured(
    model: nn.Module,
    chain: Chain,
    frontier: Frontier,
    *,
    runtime: Runtime,
    speedup: float | None = None,
    budget_ms: float | None = None,
    batch: int = 1,
    effort: Effort = EFFORT,
    progress: Progress = silent,
) -> MeasuredPick:
    """Pick the least costly plan that keeps a budget when it is built, fused and timed.

    Args:
        model: the original network.
        chain: its chain.
        frontier: what ``solve`` gave.
        runtime: what its latencies were measured on.
        speedup: over the original, timed in turn with it.
        budget_ms: instead of ``speedup``; the plan's time is the original's in the frontier over
            the measured speed-up, so that the budget means the same on a busy day.
        batch: images per call.
        effort: how long each plan is timed.
        progress: receives the plans timed, and how many at most will be.

    Raises:
        InfeasibleBudget: no plan was that fast; the message says how fast the fastest was.
        UsageError: not exactly one of ``speedup`` and ``budget_ms``, or not a positive number.
        ModelError: the runtime cannot run a fused network.
    """
    require(Batch, "batch", batch)
    asked = asked_speedup(frontier, speedup=speedup, budget_ms=budget_ms)
    with plan_timer(model, chain, runtime=runtime, batch=batch, effort=effort) as timer:
        return least_costly(frontier, asked, timer, progress=progress)


def asked_speedup(
    frontier: Frontier, *, speedup: float | None = None, budget_ms: float | None = None
) -> float:
    """The speed-up that a budget asks for, over the original in the frontier.

    Raises:
        UsageError: not exactly one of ``speedup`` and ``budget_ms``, or not a positive number.
    """
    wishes = [wish for wish in (speedup, budget_ms) if wish is not None]
    if len(wishes) != 1 or not wishes[0] > 0:
        raise UsageError(
            "a budget to measure is exactly one of speedup and budget_ms, a positive number; got "
            f"speedup={speedup} and budget_ms={budget_ms}"
        )
    return wishes[0] if budget_ms is None else frontier.original_ms / budget_ms


def least_costly(
    frontier: Frontier,
    asked: float,
    timer: Timer,
    *,
    progress: Progress = silent,
) -> MeasuredPick:
    """Find the least costly plan that ``timer`` measures as fast as asked.

    ``depthopt.latency.search`` says which plans are measured.

    Raises:
        InfeasibleBudget: none is.
    """
    last = len(frontier.points) - 1
    predicted = [frontier.original_ms / point.latency_ms for point in reversed(frontier.points)]
    found: dict[int, float] = {}

    def measure(index: int) -> float:
        plan = frontier.plan(last - index)
        speedup = timer(plan) if plan.replaced else 1.0
        logger.info("%.2fx predicted, %.2fx measured", plan.speedup, speedup)
        progress(len(found) + 1, most_measured(last + 1), "plans timed")
        return speedup

    index = least_costly_index(predicted, measure, asked, known=found)
    if index is None:
        raise InfeasibleBudget(
            f"the fastest plan is {found[last]:.2f} times as fast as the original when measured, "
            f"{asked:.2f} was asked for; lower the budget or add candidate kinds"
        )
    return MeasuredPick(frontier.plan(last - index), found[index], len(found))
