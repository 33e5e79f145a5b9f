"""Time several things in turn within one process, so that drift affects all alike.

Absolute times drift by 15 % and more from minute to minute on a shared machine; ratios
of times taken in turn do not. Nothing is deleted as an outlier: medians and quartiles
bear them, and their spread is part of the result.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from depthopt.core import numbers
from depthopt.errors import UsageError
from depthopt.runtimes.base import Runtime, random_inputs
from depthopt.tables.latency import LatencySummary

logger = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Seconds from an arbitrary start."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: cap on the time for all that is measured in turn, warm-up included.
        tolerance: enough is measured once the 95 % confidence interval of every median
            is within plus or minus this fraction of it.
        min_rounds: rounds that are always made.
        max_rounds: cap on the rounds.
        warmup_s: time for which everything runs in turn before the first round.
        burst_ms: a sample is the mean over calls that take this long together; longer
            calls are timed one by one. Half as many untimed calls precede each burst,
            which bring back what the others drove out of the caches.
        warming: least number of untimed calls before each sample, but no more than twice those
            timed. A cache that is shared takes several passes to hold again what was driven out.
    """

    seconds: float = 10.0
    tolerance: float = 0.01
    min_rounds: int = 11
    max_rounds: int = 10_000
    warmup_s: float = 0.5
    burst_ms: float = 20.0
    warming: int = 0

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.tolerance > 0 and self.min_rounds >= 1):
            raise UsageError(f"seconds, tolerance and min_rounds must be positive, got {self}")
        numbers.require(numbers.Seconds, "seconds", self.seconds)
        numbers.require(numbers.Positive, "tolerance", self.tolerance)


def ready(runtime: Runtime, onnx_model: bytes | Path, batch: int) -> Callable[[], object]:
    """A call that runs an ONNX model once, on random inputs.

    Args:
        runtime: compiles and runs it.
        onnx_model: a file or its bytes.
        batch: images per call, where the model leaves it open.

    Raises:
        ModelError: the runtime cannot run it.
    """
    session = runtime.compile(onnx_model)
    return partial(session.run, random_inputs(session, batch))


def time_in_turn(
    calls: Mapping[str, Callable[[], object]],
    *,
    effort: Effort | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, LatencySummary]:
    """Time every call of ``calls`` in turn: A B C A B C ...

    Args:
        calls: what to time, by name.
        effort: when to stop.
        clock: for tests.

    Returns:
        Milliseconds per call, by name. A warning is logged where the cap was reached
        before the confidence interval was narrow enough.
    """
    effort = effort or Effort()
    samples = sample_in_turn(calls, effort=effort, clock=clock)
    for name, values in samples.items():
        if (spread := relative_error(values)) > effort.tolerance:
            logger.warning(
                "%s: the median is known only to within %.1f %% (wanted %.1f %%) after %d "
                "rounds; the machine is noisy",
                name,
                100 * spread,
                100 * effort.tolerance,
                len(values),
            )
    return {name: summarise(values, effort.tolerance) for name, values in samples.items()}


def sample_in_turn(
    calls: Mapping[str, Callable[[], object]],
    *,
    effort: Effort,
    before: Mapping[str, Callable[[], object]] | None = None,
    settled: Callable[[Mapping[str, Sequence[float]]], bool] | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """The samples behind ``time_in_turn``, in milliseconds per call.

    Sample ``i`` of each name is from round ``i``.

    Args:
        calls: what to time, by name.
        effort: when to stop.
        before: what to run before every single call of a name, off the clock. Such a call
            is timed one by one, and one other call precedes its burst, or ``effort.warming``.
        settled: whether the samples suffice; by default, whether every median is known
            to within ``effort.tolerance``.
        clock: for tests.
    """
    settled = settled or partial(_all_known, tolerance=effort.tolerance)
    before = before or {}
    begin = clock()
    counts = _warm_up(calls, before, effort, clock)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    next_check = effort.min_rounds
    for done in range(1, effort.max_rounds + 1):
        for name, call in calls.items():
            if name in before:
                untimed = max(1, effort.warming)
                samples[name].append(_prepared_ms(call, before[name], untimed, counts[name], clock))
            else:
                untimed = max(counts[name] // 2, min(effort.warming, 2 * counts[name]))
                samples[name].append(_burst_ms(call, untimed, counts[name], clock))
        if done < effort.min_rounds:
            continue
        if clock() - begin >= effort.seconds:
            break
        if done >= next_check:
            if settled(samples):
                break
            next_check = done + max(1, done // 4)
    return samples


def summarise(samples_ms: Sequence[float], tolerance: float) -> LatencySummary:
    """Median and quartiles of all samples, and whether they suffice for ``tolerance``."""
    q1, median, q3 = np.quantile(samples_ms, [0.25, 0.5, 0.75])
    settled = relative_error(samples_ms) <= tolerance
    return LatencySummary(float(median), float(q1), float(q3), len(samples_ms), settled)


def relative_error(samples: Sequence[float]) -> float:
    """Half the width of the median's 95 % confidence interval over the median.

    The interval lies between two order statistics (the binomial distribution's normal
    approximation), whatever the distribution of the samples.
    """
    n = len(samples)
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    reach = 1.96 * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach))
    median = float(np.median(ordered))
    return float(ordered[high] - ordered[low]) / 2 / median if median > 0 else math.inf


def _all_known(samples: Mapping[str, Sequence[float]], tolerance: float) -> bool:
    return all(relative_error(values) <= tolerance for values in samples.values())


def _burst_ms(call: Callable[[], object], untimed: int, count: int, clock: Clock) -> float:
    """Mean milliseconds of ``count`` calls, after untimed ones."""
    for _ in range(untimed):
        call()
    start = clock()
    for _ in range(count):
        call()
    return 1e3 * (clock() - start) / count


def _prepared_ms(
    call: Callable[[], object], before: Callable[[], object], untimed: int, count: int, clock: Clock
) -> float:
    """Mean milliseconds of ``count`` calls, each after ``before``, which is not timed.

    Untimed calls precede them: the others drove this one's data out of all caches.
    """
    for _ in range(untimed):
        before()
        call()
    total_s = 0.0
    for _ in range(count):
        before()
        start = clock()
        call()
        total_s += clock() - start
    return 1e3 * total_s / count


def _warm_up(
    calls: Mapping[str, Callable[[], object]],
    before: Mapping[str, Callable[[], object]],
    effort: Effort,
    clock: Clock,
) -> dict[str, int]:
    """Run everything in turn for ``effort.warmup_s``; how many calls make up a burst."""
    fastest_s = dict.fromkeys(calls, math.inf)
    begin = clock()
    while True:
        for name, call in calls.items():
            if name in before:
                before[name]()
            start = clock()
            call()
            fastest_s[name] = min(fastest_s[name], clock() - start)
        if clock() - begin >= effort.warmup_s:
            break
    return {
        name: max(1, math.ceil(effort.burst_ms / 1e3 / max(least, 1e-7)))
        for name, least in fastest_s.items()
    }
