"""Picking a plan by trials: a few that are as fast as asked, each finetuned for some steps.

Costs are of single replacements in the untrained network. How far finetuning brings a network with
several of them they tell less well, and a short finetune of each of a few plans sees it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.metric import Metric
from depthopt.core.plan import Frontier, Plan
from depthopt.core.progress import Progress, silent
from depthopt.core.trials import Trial, Trials
from depthopt.errors import InfeasibleBudget
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import parameters, plan_ms
from depthopt.latency.pick import mildest
from depthopt.latency.timing import Timer
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencySummary, LatencyTable, NetworkKey
from depthopt.tasks.evaluate import Evaluation
from depthopt.train.finetune import TrainingDiverged

logger = logging.getLogger(__name__)

SHARES = (0.0, 0.15, 0.4, 1.0)
"""What the original's weights are taken to cost, over its latency; a plan for each is tried."""

FASTER = 4 / 3
"""One more plan that is tried is this many times as fast as asked: it may be the better one too."""

MOST_TRIED = len(SHARES) + 1
"""Plans that are tried at most."""


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
    """Distinct plans that ``timer`` finds as fast as asked, each the mildest in its own way.

    The first is of least cost at the latencies of the table. Others are of least cost where
    every weight takes time: networks whose weights fill the caches are faster, once they have
    fewer, than the sum of their entries says. These tend to touch fewer blocks, of more weights.
    The last is ``FASTER`` times as fast as asked: costs do not see that regressing more layers can
    serve a network better than keeping them, where it was trained for other images.

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

    found: dict[tuple[Candidate, ...], Trial] = {}
    for share, at_least in (*((share, asked) for share in SHARES), (0.0, FASTER * asked)):
        points = frontier
        if share:
            table = weighted(chain, latency, share)
            points = solve(chain, candidates, table, importance, **(solver or {}))
        try:
            pick = mildest(points, at_least, timed, progress=progress)
        except InfeasibleBudget:
            if not found:
                raise
            continue  # the fastest plan of this frontier is another one, and not as fast
        plan = _predicted(pick.plan, chain, latency)
        found.setdefault(plan.replaced, Trial(share, plan, pick.speedup))
    return Trials(tuple(found.values()), metric)


def weighted(chain: Chain, latency: LatencyTable, share: float) -> LatencyTable:
    """The table where weights take time: entries in ms, longer by their part of all weights.

    Args:
        chain: the network.
        latency: holds its blocks and its end-to-end latency.
        share: what all weights of the original take, over its latency; 0 changes nothing.
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
    """The trials, each with how its plan does.

    Args:
        trials: those that are done are not done again, and an only one is not done at all.
        attempt: carries a plan out, finetunes it and evaluates it on held-out images. A training
            that diverges fails its own plan alone.
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
            known[i] = replace(trial, loss=got.loss, metric=got.metric)
        except TrainingDiverged as error:
            known[i] = replace(trial, failure=str(error))
        logger.info(
            "%.2fx measured, cost %.3f: held-out loss %s", trial.speedup, trial.plan.cost,
            known[i].failure or known[i].loss,
        )  # fmt: skip
        if on_update is not None:
            on_update(replace(trials, trials=tuple(known)))
    return replace(trials, trials=tuple(known))
