"""Solve for a run's frontier by the recipe's ``solver`` section."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from depthopt.core.candidate import KEPT, Candidate
from depthopt.core.plan import Frontier
from depthopt.frontier.solve import solve
from depthopt.pipeline.context import Context
from depthopt.pipeline.methods import METHODS
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.trials import tried_alone
from depthopt.solver.stages import Bucketed, Epsilon, Exact, Mode

logger = logging.getLogger(__name__)

PAPERS_MS = 40.0
"""Latency from which on the papers' resolutions are taken as they are: MobileNetV2-1.0 takes 40.5
ms on their GPU at batch 128, and a resolution of 0.1 ms is a 400th of that."""


def resolution_ms(recipe: Recipe, original_ms: float) -> float:
    """The size of a bucket. A method's is made smaller for networks faster than the papers'.

    A network of 2 ms would else have 20 buckets, and no plan in most of them.

    Args:
        recipe: whose solver's mode is ``bucketed``.
        original_ms: latency of the original network.
    """
    asked = recipe.solver.resolution_ms or 0.0
    of_method = METHODS[recipe.method].settings.get("solver", {}).get("resolution_ms")
    if asked != of_method or original_ms >= PAPERS_MS:
        return asked
    found = asked * original_ms / PAPERS_MS
    logger.warning(
        "method %s solves in steps of %g ms, for networks of %g ms and more; this one takes %.4g "
        "ms, and is solved in steps of %.3g ms",
        recipe.method,
        asked,
        PAPERS_MS,
        original_ms,
        found,
    )
    return found


def solving(recipe: Recipe, original_ms: float) -> dict[str, Any]:
    """The arguments of ``solve`` besides the tables.

    Args:
        recipe: whose plans are solved for.
        original_ms: latency of the original network.
    """
    section = recipe.solver
    modes: dict[str, Callable[[], Mode]] = {
        "exact": Exact,
        "bucketed": lambda: Bucketed(resolution_ms(recipe, original_ms)),
        "epsilon": lambda: Epsilon(section.epsilon or 0.0),
    }
    return {
        "mode": modes[section.mode](),
        "objective": section.objective,
        "alpha": section.alpha,
        "inner_merges": section.inner_merges,
    }


def solved(run: Context) -> Frontier:
    """Every good plan of a run."""
    return _solved(run, run.worthwhile)


def solved_alone(run: Context) -> tuple[Frontier, ...]:
    """Every good plan of one kind alone, for each kind that is tried so."""
    return tuple(
        _solved(run, [each for each in run.worthwhile if each.kind in (KEPT, name)])
        for name in tried_alone(run.recipe.candidates.kinds)
    )


def _solved(run: Context, candidates: Sequence[Candidate]) -> Frontier:
    original_ms = run.latency.network(run.chain).total.median_ms
    settings = solving(run.recipe, original_ms)
    return solve(run.chain, candidates, run.latency, run.importance, **settings)
