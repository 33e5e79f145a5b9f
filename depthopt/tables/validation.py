"""Validation of a latency table's predictions by timed plans."""

import math
import statistics
from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.candidate import Candidate
from depthopt.core.counted import counted
from depthopt.tables.latency import MeasurementConditions, NetworkKey


@dataclass(frozen=True, slots=True)
class PlanTiming:
    """One plan's predicted and measured speed-up.

    Speed-ups are over the original, which was timed in turn with the plan's network:
    absolute times drift from process to process.

    Attributes:
        predicted_ms: the plan's entries and the fixed part, summed up.
        predicted_speedup: the original's end-to-end latency in the table over that.
        measured_speedup: median of the originals' times over the plan's.
        replaced: the plan's candidates, less the blocks that it keeps.
    """

    predicted_ms: numbers.PositiveMilliseconds
    predicted_speedup: numbers.Positive
    measured_speedup: numbers.Positive
    replaced: tuple[Candidate, ...]

    @property
    def error(self) -> float:
        """The fraction by which the predicted speed-up is above the measured one."""
        return self.predicted_speedup / self.measured_speedup - 1


RANGES = (0.0, 1.5, 2.0, 3.0, 5.0)
"""Least measured speed-ups of the ranges that errors are told by."""


@dataclass(frozen=True, slots=True)
class SpeedupRange:
    """Plans of like measured speed-ups.

    Attributes:
        least: the smallest speed-up of the range, one of ``RANGES``.
        plans: how many there are.
        median_error: of the absolute errors, as a fraction.
        largest_error: of the absolute errors, as a fraction.
    """

    least: float
    plans: int
    median_error: float
    largest_error: float


@dataclass(frozen=True, slots=True, repr=False)
class Validation:
    """Random plans that a table's predictions were checked on.

    Attributes:
        network: the original.
        conditions: what it was measured on and how.
        seed: of the drawing.
        blocks_share: the original's own sum: see ``NetworkLatency``.
        timings: one per plan.
    """

    network: NetworkKey
    conditions: MeasurementConditions
    seed: int
    blocks_share: numbers.Finite | None
    timings: tuple[PlanTiming, ...]

    def __repr__(self) -> str:
        plans = counted(len(self.timings), "random plan")
        error = f", median absolute error {self.median_error:.1%}" if self.timings else ""
        return f"Validation of {self.network}: {plans}{error}"

    @property
    def median_error(self) -> float:
        """Median of the predictions' absolute errors, as a fraction."""
        return statistics.median(abs(timing.error) for timing in self.timings)

    @property
    def by_speedup(self) -> tuple[SpeedupRange, ...]:
        """The errors of plans of like measured speed-ups, slowest first; no empty range."""
        found = []
        for least, below in zip(RANGES, (*RANGES[1:], math.inf), strict=True):
            errors = [abs(t.error) for t in self.timings if least <= t.measured_speedup < below]
            if errors:
                middle, largest = statistics.median(errors), max(errors)
                found.append(SpeedupRange(least, len(errors), middle, largest))
        return tuple(found)
