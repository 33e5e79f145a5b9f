"""Time two networks in turn. The first one runs twice; its second copy is the control.

Every round compiles all three again, because where a session's memory lies makes it
faster or slower for as long as it lives. Within a round, every block runs them in a
random order and back (A B C C B A), so an even drift over a block affects all alike. A
burst begins with a run that is not timed. It refills the caches for this network.

Beside the clock, the processor time of this process is read. With one thread, that is
the time of a run on an idle processor, and it stays the same when other processes run
too: on two cores with three busy processes, a run of 4 ms took 8 by the clock,
and a network slower by 6.8 % appeared slower by 4 to 6 %, but by 6.8 % in processor time.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depthopt.errors import DepthoptError

BASELINE, CONTROL, CURRENT = "baseline", "control", "current"

MIN_ROUNDS = 6
"""Fewest rounds: intervals from fewer sessions are too narrow."""

_BLOCKS = 6
_BURST_S = 0.015
_MAX_CALLS = 100
_WARM_UPS = 3
_ROUNDS_PLANNED = 10
_FINE_S = 1e-6

Call = Callable[[], object]
Opener = Callable[[], Call]
"""Compiles a network into a fresh session, and gives a call that runs it once."""


class ClockFault(DepthoptError):  # noqa: N818 - named for what is the case
    """A clock that goes backwards or stands still: nothing measured by it holds."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks that times are read from.

    Attributes:
        wall: seconds that pass, from an arbitrary start.
        processor: seconds for which this process computed; None where its time says nothing
            about a run, or is told too coarsely.
    """

    wall: Callable[[], float] = time.perf_counter
    processor: Callable[[], float] | None = None


def clocks_for(threads: int | None) -> Clocks:
    """The clocks for a runtime with this many threads. None stands for another device."""
    fine = time.get_clock_info("process_time").resolution <= _FINE_S
    return Clocks(processor=time.process_time if threads == 1 and fine else None)


def advancing(clock: Callable[[], float]) -> Callable[[], float]:
    """Wrap a clock so that it raises ``ClockFault`` when it goes backwards."""
    last = -math.inf

    def read() -> float:
        nonlocal last
        before, last = last, clock()
        if last < before:
            raise ClockFault(f"a clock went back from {before!r} to {last!r} s")
        return last

    return read


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Milliseconds per run: the medians of bursts.

    Attributes:
        wall_ms: by name, (rounds, blocks, 2): there and back.
        processor_ms: the same by processor time; empty where it was not read.
    """

    wall_ms: dict[str, NDArray[np.float64]]
    processor_ms: dict[str, NDArray[np.float64]]

    @property
    def rounds(self) -> int:
        """The number of rounds, each with fresh sessions."""
        return len(self.wall_ms[BASELINE])

    def log_ratios(self, name: str, *, processor: bool) -> NDArray[np.float64]:
        """(rounds, blocks) logarithms of the times of ``name`` over the baseline's."""
        times = self.processor_ms if processor else self.wall_ms
        ratios: NDArray[np.float64] = np.log(times[name].sum(2) / times[BASELINE].sum(2))
        return ratios

    def with_more(self, other: "Samples") -> "Samples":
        """Join two measurements. Longer rounds are cut to the blocks of the shorter ones."""
        blocks = min(s.wall_ms[BASELINE].shape[1] for s in (self, other))
        wall, processor = (
            {
                name: np.concatenate([a[:, :blocks], two[name][:, :blocks]])
                for name, a in one.items()
            }
            for one, two in (
                (self.wall_ms, other.wall_ms),
                (self.processor_ms, other.processor_ms),
            )
        )
        return Samples(wall, processor)


def sample(
    openers: Mapping[str, Opener],
    *,
    seconds: float,
    settled: Callable[[Samples], bool],
    clocks: Clocks,
    seed: int = 0,
) -> Samples:
    """Measure in rounds until ``settled``, or until the time is up.

    Args:
        openers: what is measured, by name; ``BASELINE`` among them.
        seconds: cap on the time, less the time of compiling. ``MIN_ROUNDS`` are made
            however long they take. While compiling has taken more than half of all time,
            rounds go on with the sessions that they have.
        settled: whether the samples so far suffice.
        clocks: what time is read from.
        seed: of the order.

    Raises:
        ClockFault: a clock goes backwards or stands still.
        ModelError: a network cannot be compiled or run.
    """
    generator = np.random.default_rng(seed)
    names = list(openers)
    calls: dict[str, Call] = {}
    bursts: dict[str, int] = {}
    blocks = 0
    wall: list[dict[str, NDArray[np.float64]]] = []
    processor: list[dict[str, NDArray[np.float64]]] = []
    begin, compiling_s = clocks.wall(), 0.0
    while True:
        start = clocks.wall()
        if not calls or compiling_s <= (start - begin) / 2:
            calls.clear()
            calls = {names[i]: openers[names[i]]() for i in generator.permutation(len(names))}
            compiling_s += clocks.wall() - start
        fastest_s = {name: _warmed_up(call, clocks) for name, call in calls.items()}
        if not blocks:
            bursts = {name: _calls_per_burst(s) for name, s in fastest_s.items()}
            block_s = 2 * sum((1 + bursts[name]) * s for name, s in fastest_s.items())
            blocks = max(1, min(_BLOCKS, int(seconds / _ROUNDS_PLANNED / block_s)))
        times = _round(calls, bursts, blocks, clocks, generator)
        wall.append({name: 1e3 * values[..., 0] for name, values in times.items()})
        if clocks.processor:
            processor.append({name: 1e3 * values[..., 1] for name, values in times.items()})
        if len(wall) < MIN_ROUNDS:
            continue
        samples = Samples(_stacked(wall), _stacked(processor))
        if settled(samples) or clocks.wall() - begin - compiling_s >= seconds:
            return samples


def _round(
    calls: Mapping[str, Call],
    bursts: Mapping[str, int],
    blocks: int,
    clocks: Clocks,
    generator: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    """By name, (blocks, 2, 2): there and back; by the clock and in processor time."""
    names = list(calls)
    times = {name: np.empty((blocks, 2, 2)) for name in names}
    for block in range(blocks):
        order = generator.permutation(len(names))
        for way, indices in enumerate((order, order[::-1])):
            for i in indices:
                name = names[i]
                times[name][block, way] = _burst(calls[name], bursts[name], clocks)
    return times


def _burst(call: Call, count: int, clocks: Clocks) -> NDArray[np.float64]:
    """Median seconds of ``count`` runs, after one that does not count."""
    call()
    seconds = np.array([_timed(call, clocks) for _ in range(count)])
    medians: NDArray[np.float64] = np.median(seconds, axis=0)
    return medians


def _timed(call: Call, clocks: Clocks) -> tuple[float, float]:
    """Seconds of one run by the clock and in processor time."""
    used = clocks.processor or clocks.wall
    used_before = used()
    before = clocks.wall()
    call()
    after = clocks.wall()
    used_s = used() - used_before
    if not (after > before and used_s > 0):
        raise ClockFault(
            f"a clock went from {before!r} to {after!r} s during a run, and processor time by "
            f"{used_s!r} s; both must advance"
        )
    return after - before, used_s


def _warmed_up(call: Call, clocks: Clocks) -> float:
    """Seconds of the fastest of a few runs."""
    return min(_timed(call, clocks)[0] for _ in range(_WARM_UPS))


def _calls_per_burst(run_s: float) -> int:
    return max(1, min(_MAX_CALLS, math.ceil(_BURST_S / run_s)))


def _stacked(rounds: list[dict[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    names = rounds[0] if rounds else ()
    return {name: np.stack([one[name] for one in rounds]) for name in names}
