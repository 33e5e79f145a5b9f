"""Tell how a network's time changed since an earlier day, by yardsticks measured beside it.

A machine is 15 % slower one minute and, with the same name, twice as fast in another
data centre; milliseconds of then and now do not compare. So a baseline keeps what some
single convolutions took *over the network's time*, each measured in the same seconds
with it (see ``depthopt.latency.bench``). Measured the same way now, each of these
yardsticks says how the network's time changed.

They disagree with one another, and all of them together drift: beside a process that
used the same caches, ten measurements of one MobileNetV2 in 13 minutes differed by 8 %.
The interval has both, and the control is the network against itself, in the first and in
the second half of the rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from depthopt.check.latency import LatencyChange
from depthopt.check.sampling import ClockFault, advancing, clocks_for
from depthopt.check.statistics import Change, change_by_yardsticks
from depthopt.check.verdict import Verdict, confirmed, judge
from depthopt.core.progress import Progress
from depthopt.errors import TableError
from depthopt.latency.bench import Bench
from depthopt.latency.measure import summarise
from depthopt.runtimes.base import Runtime
from depthopt.tables.latency import LatencyKey, LatencySummary

YARDSTICKS = tuple(
    LatencyKey.parse(text)
    for text in (
        "conv 96-96 k3x3 p1,1,1,1 g96 @28x28 relu",
        "conv 32-192 k1x1 @28x28 relu",
        "conv 192-32 k1x1 @28x28",
        "conv 64-64 k3x3 p1,1,1,1 @28x28 relu",
        "conv 256-256 k1x1 @14x14 relu",
        "conv 128-128 k3x3 p1,1,1,1 @14x14 relu",
        "conv 384-384 k3x3 p1,1,1,1 g384 @14x14 relu",
        "conv 512-512 k1x1 @7x7 relu",
    )
)
"""Convolutions of several kinds and sizes, measured beside a recorded baseline."""

_ROUNDS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """The yardsticks' times divided by a network's.

    Attributes:
        shares: by yardstick, (rounds,).
        latency: the network's own time, in processor time where that is read.
    """

    shares: Mapping[LatencyKey, NDArray[np.float64]]
    latency: LatencySummary


def shares_of(
    path: Path,
    keys: Sequence[LatencyKey],
    *,
    runtime: Runtime,
    batch: int,
    seconds: float,
    ballast_mib: float | None = None,
) -> Shares:
    """Measure in rounds, each with fresh sessions of everything.

    Args:
        path: the network's ONNX file.
        keys: the yardsticks.
        runtime: what runs them.
        batch: images per inference.
        seconds: cap on the time, less the time of compiling.
        ballast_mib: of ``Bench``.

    Raises:
        TableError: the runtime runs none of the yardsticks.
        ClockFault: a clock goes backwards.
    """
    clocks = clocks_for(runtime.conditions(batch).threads)
    clock = advancing(clocks.processor or clocks.wall)
    groups = [
        Bench(
            runtime,
            path,
            batch=batch,
            entry_seconds=seconds / len(keys),
            ballast_mib=ballast_mib,
            clock=clock,
        ).measure(keys, sweeps=_ROUNDS)
        for _ in range(_ROUNDS)
    ]
    shares = {
        key: np.array([np.median(group.ratios[key]) for group in groups])
        for key in keys
        if all(key in group.ratios for group in groups)
    }
    usable = {key: values for key, values in shares.items() if np.all(values > 0)}
    if not usable:
        raise TableError(f"{runtime.name} cannot measure any of the {len(keys)} yardsticks")
    network_ms = np.concatenate([group.network_ms for group in groups])
    return Shares(usable, summarise(network_ms.tolist(), 0.02))


def compare_by(
    yardsticks: Mapping[LatencyKey, Sequence[float]],
    before: LatencySummary,
    path: Path,
    *,
    runtime: Runtime,
    batch: int,
    tolerance: float,
    seconds: float,
    ballast_mib: float | None = None,
    progress: Progress,
) -> tuple[Verdict, LatencyChange | None]:
    """Measure a network by yardsticks, and once more if it looks slower than before.

    Args:
        yardsticks: per round, their times over the network's as it was.
        before: the network's latency as it was.
        path: the network's ONNX file as it is.
        runtime: what runs it.
        batch: images per inference.
        tolerance: largest accepted change, as a fraction.
        seconds: cap on one measurement, less the time of compiling.
        ballast_mib: of ``Bench``, as the yardsticks were measured then.
        progress: receives the measurements.

    Returns:
        The verdict, and what it rests on; None where a clock failed.

    Raises:
        TableError: the runtime does not measure a yardstick here.
    """
    keys = list(yardsticks)
    then = np.log(list(yardsticks.values()))

    def measured() -> tuple[NDArray[np.float64], LatencySummary]:
        found = shares_of(
            path, keys, runtime=runtime, batch=batch, seconds=seconds, ballast_mib=ballast_mib
        )
        missing = [key for key in yardsticks if key not in found.shares]
        if missing:
            raise TableError(f"{runtime.name} cannot measure the yardstick {missing[0]} here")
        return np.log([found.shares[key] for key in yardsticks]), found.latency

    try:
        progress(0, 2, "measuring with yardsticks")
        now, summary = measured()
        verdict, count = judged(then, now, tolerance), 1
        if verdict.outcome == "regression":
            progress(1, 2, "a regression is suspected: measuring once more")
            again, summary = measured()
            now, count = np.concatenate([now, again], axis=1), 2
            verdict = confirmed(
                change_by_yardsticks(then, again),
                judged(then, again, tolerance),
                judged(then, now, tolerance),
                tolerance,
            )
    except ClockFault as fault:
        return Verdict("inconclusive", f"{fault}; correct the machine's clock"), None
    latency = LatencyChange(
        baseline=before,
        current=summary,
        change=change_by_yardsticks(then, now),
        control=_control(now),
        by_the_clock=None,
        clock="yardsticks",
        busy=None,
        sessions=count * _ROUNDS,
        pairs=now.size,
        measured=count,
    )
    return verdict, latency


def judged(then: NDArray[np.float64], now: NDArray[np.float64], tolerance: float) -> Verdict:
    """The verdict on one measurement against an earlier one.

    Args:
        then: (yardsticks, rounds) logarithms of their times over the network's.
        now: (yardsticks, rounds of its own) the same, now.
        tolerance: largest accepted change, as a fraction.
    """
    return judge(change_by_yardsticks(then, now), _control(now), tolerance)


def _control(now: NDArray[np.float64]) -> Change:
    """How far the network differs from itself within one measurement."""
    half = now.shape[1] // 2
    return change_by_yardsticks(now[:, :half], now[:, half:])
