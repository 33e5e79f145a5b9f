"""Estimate how much slower a network is: the median of paired ratios, with an interval.

Pairs of one round share their compiled sessions, and one compiled session of a file may
be 1 % faster than the next for good: where its memory happens to lie is part of it. So
the bootstrap draws whole rounds first, and pairs within them second (a hierarchical, or
cluster, bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 1997,
section 3.8). ``scipy.stats.bootstrap`` draws single samples only, which would take ten
pairs of one session for ten witnesses.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Confidence of the intervals: by chance, one lies above the tolerance in 1 of 40 cases."""

RESAMPLES = 2000

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """The fraction by which something takes longer. Negative if it is faster.

    Attributes:
        estimate: median over all pairs.
        low: lower end of its confidence interval.
        high: upper end.
    """

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:+.1%} ({self.low:+.1%} to {self.high:+.1%})"

    @property
    def reach(self) -> float:
        """The largest change, up or down, that the interval does not exclude."""
        return max(abs(self.low), abs(self.high))


def change_of(log_ratios: Array, *, seed: int = 0) -> Change:
    """Estimate the change from logarithms of ratios of times.

    Args:
        log_ratios: (clusters, pairs); pairs of one cluster are no independent witnesses.
        seed: of the bootstrap.
    """
    drawn = _resampled_medians(log_ratios, np.random.default_rng(seed))
    return _change(float(np.median(log_ratios)), drawn)


def change_by_yardsticks(before: Array, after: Array, *, seed: int = 0) -> Change:
    """Estimate a network's change from yardsticks that were measured beside it each time.

    What a yardstick is off by holds for all rounds, and what a round's sessions of the
    network are off by for all yardsticks. So both are drawn, of each measurement its own
    rounds (the pigeonhole bootstrap; Owen, Annals of Applied Statistics 1(2), 2007).

    Args:
        before: (yardsticks, rounds) logarithms of their times over the network's.
        after: (yardsticks, later rounds) the same, later.
        seed: of the bootstrap.
    """
    generator = np.random.default_rng(seed)
    yardsticks = generator.integers(len(before), size=(RESAMPLES, len(before), 1))
    drawn = []
    for shares in (before, after):
        rounds = generator.integers(shares.shape[1], size=(RESAMPLES, 1, shares.shape[1]))
        drawn.append(np.median(shares[yardsticks, rounds], axis=2))
    estimate = np.median(np.median(before, axis=1) - np.median(after, axis=1))
    return _change(float(estimate), np.median(drawn[0] - drawn[1], axis=1))


def _change(estimate: float, drawn: Array) -> Change:
    """From logarithms."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Change(*(math.expm1(float(value)) for value in (estimate, low, high)))


def _resampled_medians(values: Array, generator: np.random.Generator) -> Array:
    """(RESAMPLES,) medians of clusters drawn with replacement, and pairs within them."""
    clusters, pairs = values.shape
    chosen = generator.integers(clusters, size=(RESAMPLES, clusters, 1))
    within = generator.integers(pairs, size=(RESAMPLES, clusters, pairs))
    medians: Array = np.median(values[chosen, within].reshape(RESAMPLES, -1), axis=1)
    return medians
