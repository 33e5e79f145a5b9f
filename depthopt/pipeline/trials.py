"""Picking a plan by trials: a few that are as fast as asked, or faster, are carried out.

A cost is of one replacement in the original network. It says less about what several replacements
do together, and about how far finetuning brings the network. So plans are carried out and scored
on held-out images, with no training or after a few steps of it.
"""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from depthopt.core.candidate import Candidate
from depthopt.core.counted import counted
from depthopt.core.metric import Metric
from depthopt.core.plan import Frontier, Plan
from depthopt.core.progress import Progress, silent
from depthopt.core.trials import Trial, Trials
from depthopt.errors import DataError, InfeasibleBudget, ModelError
from depthopt.kinds.registry import KINDS
from depthopt.latency.pick import least_costly
from depthopt.latency.search import NEAR
from depthopt.latency.timing import Timer
from depthopt.tasks.evaluate import Evaluation
from depthopt.train.finetune import TrainingDiverged

logger = logging.getLogger(__name__)

FASTER = (1.15, 4 / 3, 1.6, 2.0)
"""Factors over the asked speed-up at which plans are tried too: they may be the better ones."""

_AIMS = 3
"""Maximum number of timings for one contender: a faster plan follows one that is too slow."""


def tried_alone(kinds: Collection[str]) -> tuple[str, ...]:
    """The kinds, in order of name, of which a plan of them alone is tried too.

    Args:
        kinds: those of a recipe. A single one has no plans but its own.
    """
    if len(set(kinds)) < 2:
        return ()
    return tuple(name for name in sorted(kinds) if KINDS.get(name).is_tried_alone)


def most_tried(kinds: Collection[str]) -> int:
    """How many plans of these kinds are tried at most."""
    return 1 + len(FASTER) + len(tried_alone(kinds))


def contenders(
    frontier: Frontier,
    asked: float,
    timer: Timer,
    metric: Metric,
    *,
    alone: Sequence[Frontier] = (),
    progress: Progress = silent,
) -> Trials:
    """Collect distinct plans that ``timer`` finds as fast as asked, or faster.

    The first is the least costly one. Its timing also shows how much faster plans are than
    predicted. The others are aimed by that at ``FASTER`` times the asked speed-up. Where the
    original was trained on other images, regressing more layers can be better than keeping them,
    and costs do not show that. Nor do they show what several replacements of unlike kinds do
    together, so the least costly plans of some kinds alone are contenders too.

    Args:
        frontier: what ``solve`` gave.
        asked: speed-up over the original.
        timer: measures a plan's; asked once per plan.
        metric: what plans will be tried by, beside the loss.
        alone: frontiers of one kind alone.
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
    found = {pick.plan.replaced: Trial(pick.plan, pick.speedup)}
    quicker = pick.speedup / pick.plan.speedup
    aims = [(frontier, factor) for factor in FASTER] + [(one, 1.0) for one in alone]
    for plans, factor in aims:
        trial = _contender(plans, factor * asked / quicker, asked, timed)
        if trial is not None:
            found.setdefault(trial.plan.replaced, trial)
    return Trials(tuple(found.values()), metric)


def _contender(
    frontier: Frontier, aim: float, asked: float, timed: Callable[[Plan], float]
) -> Trial | None:
    """The least costly plan predicted to be as fast as aimed at, if it or a faster one is."""
    for _ in range(_AIMS):
        if (plan := _as_fast_as(frontier, aim)) is None or not plan.replaced:
            return None
        try:
            speedup = timed(plan)
        except ModelError as error:
            logger.warning("a plan is left out of the trials: %s", error)
            return None
        logger.info("%.2fx predicted, %.2fx measured", plan.speedup, speedup)
        if speedup >= asked:
            return Trial(plan, speedup)
        aim = NEAR * plan.speedup * asked / speedup
    return None


def _as_fast_as(frontier: Frontier, speedup: float) -> Plan | None:
    """The least costly plan predicted to be so fast; None if none is."""
    try:
        return frontier.pick(speedup=speedup)
    except InfeasibleBudget:
        return None


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
