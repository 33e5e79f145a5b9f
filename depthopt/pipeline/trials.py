"""Picking a plan by trials: a few that are as fast as asked, or faster, are carried out.

A cost is of one replacement in the original network. It says less about what several replacements
do together, and about how far finetuning brings the network. So plans are carried out and scored
on held-out images, with no training or after a few steps of it.
"""

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.counted import counted
from depthopt.core.metric import Metric
from depthopt.core.plan import Frontier, Plan
from depthopt.core.progress import Progress, silent
from depthopt.core.trials import Trial, Trials
from depthopt.errors import DataError, ModelError
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import parameters, plan_ms
from depthopt.latency.pick import least_costly
from depthopt.latency.search import NEAR
from depthopt.latency.timing import Timer
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencySummary, LatencyTable, NetworkKey
from depthopt.tasks.evaluate import Evaluation
from depthopt.train.finetune import TrainingDiverged

logger = logging.getLogger(__name__)

SHARES = (0.4, 1.0)
"""Shares of the original's latency that its weights are taken to cost, one plan for each."""

FASTER = (4 / 3, 2.0)
"""Factors over the asked speed-up at which plans are tried too: they may be the better ones."""

MOST_TRIED = 1 + len(SHARES) + len(FASTER)
"""Maximum number of plans tried."""

_AIMS = 3
"""Maximum number of timings for one contender: a faster plan follows one that is too slow."""


def contenders(
    chain: Chain,
    candidates: Sequence[Candidate],
    latency: LatencyTable,
    importance: ImportanceTable,
    *,
    frontier: Frontier,
    asked: float,
    timer: Timer,
    metric: Metric,
    solver: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Trials:
    """Collect distinct plans that ``timer`` finds as fast as asked, or faster.

    The first is the least costly one at the table's latencies. Its timing also shows how much
    faster plans are than predicted, and the others are aimed by that. The next, one for each of
    ``SHARES``, are the least costly ones if every weight took time too: a network with fewer
    weights reads them from nearer caches, and is faster than the sum of its entries says. These
    plans tend to replace fewer blocks, of more weights. The last are ``FASTER`` times as fast as
    asked: where the original was trained on other images, regressing more layers can be better
    than keeping them, and costs do not show that.

    Args:
        chain: the network.
        candidates: what was solved for.
        latency: median milliseconds of all that the candidates run.
        importance: cost of every candidate but ``keep``.
        frontier: what ``solve`` gave for them.
        asked: speed-up over the original.
        timer: measures a plan's; asked once per plan.
        metric: what plans will be tried by, beside the loss.
        solver: what else ``solve`` was given for the frontier.
        progress: is told of the plans timed, and how many at most will be.

    Raises:
        InfeasibleBudget: no plan of the frontier is that fast.
    """
    known: dict[tuple[Candidate, ...], float] = {}

    def timed(plan: Plan) -> float:
        replaced = plan.replaced
        if replaced not in known:
            known[replaced] = timer(plan)
        return known[replaced]

    pick = least_costly(frontier, asked, timed, progress=progress)
    found = {pick.plan.replaced: Trial(0.0, pick.plan, pick.speedup)}
    quicker = pick.speedup / pick.plan.speedup
    for share, factor in (*((share, 1.0) for share in SHARES), *((0.0, by) for by in FASTER)):
        points = frontier
        if share:
            table = weighted(chain, latency, share)
            points = solve(chain, candidates, table, importance, **(solver or {}))
        plans = _Plans(points, chain, latency)
        aim = factor * asked / quicker
        for _ in range(_AIMS):
            if (plan := plans.least_costly(aim)) is None or not plan.replaced:
                break
            try:
                speedup = timed(plan)
            except ModelError as error:
                logger.warning("a plan is left out of the trials: %s", error)
                break
            logger.info("%.2fx predicted, %.2fx measured", plan.speedup, speedup)
            if speedup >= asked:
                found.setdefault(plan.replaced, Trial(share, plan, speedup))
                break
            aim = NEAR * plan.speedup * asked / speedup
    return Trials(tuple(found.values()), metric)


class _Plans:
    """The plans of a frontier, with latencies of a table that it may not have been solved with."""

    def __init__(self, frontier: Frontier, chain: Chain, latency: LatencyTable) -> None:
        self._frontier, self._chain, self._latency = frontier, chain, latency
        self._last = len(frontier.points) - 1

    def least_costly(self, at_least: float) -> Plan | None:
        """The least costly plan predicted to be so fast; None if even the fastest is not."""
        index = bisect_left(range(self._last + 1), at_least, key=lambda i: self._at(i).speedup)
        return None if index > self._last else self._at(index)

    def _at(self, index: int) -> Plan:
        """The plan of an index, the least costly first."""
        return _predicted(self._frontier.plan(self._last - index), self._chain, self._latency)


def weighted(chain: Chain, latency: LatencyTable, share: float) -> LatencyTable:
    """Return the table as if weights took time: each entry longer by its share of all weights.

    Args:
        chain: the network.
        latency: holds its blocks and its end-to-end latency.
        share: time of all the original's weights, over its latency; 0 changes nothing.
    """
    network = latency.network(chain)
    whole = sum(parameters(chain, block) for block in kept_blocks(chain))
    added = share * network.total.median_ms
    entries = {}
    for key, entry in latency.entries.items():
        entries[key] = _longer(entry, added * key.operator.parameters / whole)
    slower = replace(network, total=_longer(network.total, added))
    return replace(latency, entries=entries, networks={NetworkKey.of(chain): slower})


def _longer(entry: LatencySummary, ms: float) -> LatencySummary:
    return replace(
        entry, median_ms=entry.median_ms + ms, q1_ms=entry.q1_ms + ms, q3_ms=entry.q3_ms + ms
    )


def _predicted(plan: Plan, chain: Chain, latency: LatencyTable) -> Plan:
    """The plan with latencies of another table."""
    network = latency.network(chain)
    own_ms = plan_ms(chain, plan.choices, latency)
    return replace(plan, latency_ms=network.fixed_ms + own_ms, original_ms=network.total.median_ms)


def tried(
    trials: Trials,
    attempt: Callable[[Plan], Evaluation],
    *,
    on_update: Callable[[Trials], None] | None = None,
) -> Trials:
    """Carry out each plan that is not done yet, and return the trials with their results.

    Args:
        trials: those that are done are not done again; a single trial is not done at all.
        attempt: carries a plan out, finetunes it if asked to, and evaluates it on held-out images.
            A plan that cannot be built or regressed, or diverges, fails alone.
        on_update: called with what is known after each.
    """
    known = list(trials.trials)
    if len(known) == 1:
        return trials
    for i, trial in enumerate(known):
        if trial.is_done:
            continue
        try:
            got = attempt(trial.plan)
        except (ModelError, DataError, TrainingDiverged) as error:
            known[i] = replace(trial, failure=str(error))
        else:
            known[i] = replace(trial, loss=got.loss, metric=got.metric, losses=got.losses)
            if not math.isfinite(got.loss):
                known[i] = replace(trial, failure=f"the held-out loss is {got.loss}")
        logger.info(
            "%.2fx measured, cost %.3f: held-out loss %s", trial.speedup, trial.plan.cost,
            known[i].failure or known[i].loss,
        )  # fmt: skip
        if on_update is not None:
            on_update(replace(trials, trials=tuple(known)))
    return replace(trials, trials=tuple(known))


def trials_text(trials: Trials) -> str:
    """Say which trial is picked, and which others the held-out images cannot tell from it."""
    best, undecided = trials.best, trials.undecided
    said = f"{best.speedup:.2f}x measured, best of {counted(len(trials.trials), 'plan')} tried"
    if not undecided:
        return said
    within = [each for trial in undecided if (each := trial.behind(best)) is not None]
    least, most = min(low for low, _ in within), max(high for _, high in within)
    images = counted(len(best.losses), "held-out image")
    return (
        f"{said}; {images} do not tell it from {counted(len(undecided), 'other')} "
        f"(loss {least:+.3f} to {most:+.3f}, 95 %)"
    )
