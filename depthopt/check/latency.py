"""Whether one network is slower than another on this machine, now."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from depthopt.check.network_files import opened
from depthopt.check.sampling import (
    BASELINE,
    CONTROL,
    CURRENT,
    Call,
    ClockFault,
    Clocks,
    Opener,
    Samples,
    clocks_for,
    sample,
)
from depthopt.check.statistics import Change, change_of
from depthopt.check.verdict import Verdict, confirmed, judge
from depthopt.core.progress import Progress, silent
from depthopt.latency.measure import summarise
from depthopt.runtimes.base import Array, Runtime, random_inputs
from depthopt.tables.latency import LatencySummary

SECONDS = 15.0
"""Longest time of one measurement. A suspected regression is measured twice."""


@dataclass(frozen=True, slots=True)
class LatencyChange:
    """The result of one measurement, or of two.

    Attributes:
        baseline: milliseconds per run by the clock.
        current: the same of the current network.
        change: by what fraction the current one takes longer, by ``clock``.
        control: the same of the baseline against itself: the machine's noise.
        by_the_clock: the change by the clock; it differs where other processes interfere.
            None where only ``yardsticks`` compare.
        clock: ``processor``, the time for which this process computed, ``wall``, or
            ``yardsticks``: see ``depthopt.check.yardsticks``.
        busy: share of the clock's time for which the process had a processor; None where
            that is unknown. Others took the rest.
        sessions: fresh sessions of each network.
        pairs: ratios behind the change.
        measured: how often: twice if a regression was suspected.
    """

    baseline: LatencySummary
    current: LatencySummary
    change: Change
    control: Change
    by_the_clock: Change | None
    clock: str
    busy: float | None
    sessions: int
    pairs: int
    measured: int = 1

    @property
    def moved(self) -> bool:
        """Whether the interval excludes a change of zero."""
        return self.change.low > 0 or self.change.high < 0


def compare_latency(
    baseline: Path,
    current: Path,
    *,
    runtime: Runtime,
    batch: int = 1,
    tolerance: float = 0.05,
    seconds: float = SECONDS,
    clocks: Clocks | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Verdict, LatencyChange | None]:
    """Measure both in turn, and again with new sessions if the current one is slower.

    Args:
        baseline: what the runtime compiles: an ONNX model or an engine.
        current: of the same inputs.
        runtime: what runs them.
        batch: images per inference, where the models leave it open.
        tolerance: largest accepted change, as a fraction.
        seconds: cap on one measurement, less the time of compiling.
        clocks: by default, those that suit the runtime.
        seed: of the order of runs and of the bootstrap.
        progress: receives the measurements.

    Returns:
        The verdict, and what it rests on; None where a clock failed.

    Raises:
        ModelError: a network cannot be compiled or run.
    """
    clocks = clocks or clocks_for(runtime.conditions(batch).threads)
    openers = openers_of(runtime, {BASELINE: baseline, CONTROL: baseline, CURRENT: current}, batch)

    def measured(seed: int) -> Samples:
        return sample(
            openers,
            seconds=seconds,
            settled=lambda samples: _judged(samples, tolerance).outcome != "inconclusive",
            clocks=clocks,
            seed=seed,
        )

    try:
        progress(0, 2, "measuring both in turn")
        samples, count = measured(seed), 1
        verdict = _judged(samples, tolerance)
        if verdict.outcome == "regression":
            progress(1, 2, "a regression is suspected: measuring once more")
            again, count = measured(seed + 1), 2
            samples = samples.with_more(again)
            verdict = confirmed(
                _change_of(again, CURRENT),
                _judged(again, tolerance),
                _judged(samples, tolerance),
                tolerance,
            )
    except ClockFault as fault:
        return Verdict("inconclusive", f"{fault}; correct the machine's clock"), None
    return verdict, _change(samples, count, tolerance)


def openers_of(runtime: Runtime, models: Mapping[str, Path], batch: int) -> dict[str, Opener]:
    """Openers that compile models on a runtime, all fed with equal inputs."""
    kept: dict[str, Array] = {}

    def open_(model: Path) -> Call:
        session = opened(runtime, model)
        if not kept:
            kept.update(random_inputs(session, batch))
        same_names = set(kept) == set(session.input_shapes)
        named = kept if same_names else dict(zip(session.input_shapes, kept.values(), strict=True))
        return partial(session.run, named)

    return {name: partial(open_, model) for name, model in models.items()}


def _judged(samples: Samples, tolerance: float) -> Verdict:
    """The verdict by processor time where it was read, as long as the clock agrees."""
    by_the_clock = _judged_by(samples, tolerance, processor=False)
    if not samples.processor_ms:
        return by_the_clock
    verdict = _judged_by(samples, tolerance, processor=True)
    if verdict.outcome == "pass" and by_the_clock.outcome == "regression":
        return Verdict(
            "inconclusive",
            f"{by_the_clock.reason} by the clock, but not in processor time ({verdict.reason}): "
            "it waits for something, or other processes interfere; check on an idle machine",
        )
    return verdict


def _judged_by(samples: Samples, tolerance: float, *, processor: bool) -> Verdict:
    change, control = (
        change_of(samples.log_ratios(name, processor=processor)) for name in (CURRENT, CONTROL)
    )
    return judge(change, control, tolerance)


def _change(samples: Samples, measured: int, tolerance: float) -> LatencyChange:
    processor = bool(samples.processor_ms)
    baseline, current = (
        summarise(samples.wall_ms[name].ravel().tolist(), tolerance) for name in (BASELINE, CURRENT)
    )
    busy = (
        sum(float(np.sum(values)) for values in samples.processor_ms.values())
        / sum(float(np.sum(values)) for values in samples.wall_ms.values())
        if processor
        else None
    )
    return LatencyChange(
        baseline=baseline,
        current=current,
        change=_change_of(samples, CURRENT),
        control=_change_of(samples, CONTROL),
        by_the_clock=change_of(samples.log_ratios(CURRENT, processor=False)),
        clock="processor" if processor else "wall",
        busy=busy,
        sessions=samples.rounds,
        pairs=samples.log_ratios(CURRENT, processor=False).size,
        measured=measured,
    )


def _change_of(samples: Samples, name: str) -> Change:
    """By processor time where it was read."""
    return change_of(samples.log_ratios(name, processor=bool(samples.processor_ms)))
