"""Recommend one of the explored speed-ups, with a reason."""

import math
from dataclasses import dataclass

from depthopt.core.band import Band, Range, fitted, points_of
from depthopt.core.explored import Attempt, Explored

TOLERATED = 1.0
"""Percentage points that may be lost. For other metrics, per cent of the original's value, or where
that is 0 of an error of 1."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A recommended speed-up.

    Attributes:
        speedup: over the original; None where none is worth it.
        reason: in a sentence.
    """

    speedup: float | None
    reason: str


def band_of(explored: Explored) -> Band:
    """The band to expect of plans, from those that exploring carried out."""
    return fitted(
        explored.metric,
        explored.original,
        points_of(explored),
        test_images=explored.test_images,
    )


def recommended(explored: Explored) -> Recommendation:
    """The largest speed-up that is expected to lose at most ``TOLERATED``.

    Where none is so mild, the one that loses least for its speed: the least that is lost in the
    middle of its range over the logarithm of the speed-up.
    """
    known, metric, original = band_of(explored), explored.metric, explored.original.metric
    found: list[tuple[float, Range]] = []
    for asked in explored.asked:
        attempt = _attempt(explored, asked.attempt)
        expected = None if attempt is None else known.at(attempt.plan.cost)
        if expected is not None:
            found.append((asked.speedup, expected))
    if not found:
        return Recommendation(None, "no plan was finetuned")
    tolerated = TOLERATED
    if metric.unit != "%":
        tolerated *= (abs(original) or metric.scale) / 100
    mild = [pair for pair in found if -metric.gain(original, pair[1].middle) <= tolerated]
    if mild:
        speedup, expected = max(mild, key=lambda pair: pair[0])
        return Recommendation(
            speedup,
            f"the largest speed-up that is expected to lose at most {tolerated:.3g} of the "
            f"original's {metric.text(original, 1)}: {expected.text(metric)}",
        )
    faster = [pair for pair in found if pair[0] > 1]
    if not faster:
        return Recommendation(None, "no speed-up above 1 was looked for")
    speedup, expected = min(
        faster, key=lambda pair: -metric.gain(original, pair[1].middle) / math.log(pair[0])
    )
    lost = -metric.gain(original, expected.middle)
    return Recommendation(
        speedup,
        f"the one that loses least for its speed, about {lost:.2g}: {expected.text(metric)}; all "
        f"lose more than {tolerated:.3g} of the original's {metric.text(original, 1)}",
    )


def _attempt(explored: Explored, index: int | None) -> Attempt | None:
    return None if index is None else explored.attempts[index]
