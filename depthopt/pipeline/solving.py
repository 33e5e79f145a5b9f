"""What ``solve`` takes of a recipe's ``solver``."""

import logging
from typing import Any

from depthopt.pipeline.methods import METHODS
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.sections import SolverSection
from depthopt.solver.stages import Bucketed, Epsilon

logger = logging.getLogger(__name__)

PAPERS_MS = 40.0
"""Latency from which on the papers' resolutions are taken as they are: MobileNetV2-1.0 takes 40.5
ms on their GPU at batch 128, and a resolution of 0.1 ms is a 400th of that."""


def resolution_ms(recipe: Recipe, original_ms: float) -> float:
    """The size of a bucket; a method's own is smaller for a network that is faster than theirs.

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
    """The arguments of ``solve`` that a recipe sets otherwise than they are.

    Args:
        recipe: whose plans are solved for.
        original_ms: latency of the original network.
    """
    given: dict[str, Any] = {}
    section = recipe.solver
    if section.mode == "bucketed":
        given["mode"] = Bucketed(resolution_ms(recipe, original_ms))
    elif section.mode == "epsilon":
        given["mode"] = Epsilon(section.epsilon or 0.0)
    defaults = SolverSection()
    for key in ("objective", "alpha", "inner_merges"):
        if (value := getattr(section, key)) != getattr(defaults, key):
            given[key] = value
    return given
