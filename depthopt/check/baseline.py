"""Against numbers that were measured earlier, perhaps on another day: by yardsticks.

A machine is 15 % slower one minute and, with the same name, twice as fast in another
data centre; milliseconds of then and now do not compare. So a baseline keeps what some
single convolutions took *over the network's time*, each measured in the same seconds
with it (see ``depthopt.latency.bench``). Measured the same way now, each of these
yardsticks says how the network's time changed; they are clusters to the bootstrap, for
what one of them was off by then holds for all its samples.

A latency table holds the same: its entries over a network's time, once they are brought
back from the network's scale (``depthopt.latency.profile``).
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from depthopt.check.check import CheckReport, Network, batch_of, reported
from depthopt.check.figures import Figure, Tolerances, accuracy_figure, growing
from depthopt.check.latency import SECONDS, LatencyChange, Progress
from depthopt.check.memory import SLACK_BYTES, peak_memory_bytes
from depthopt.check.sampling import clocks_for
from depthopt.check.sides import Side, side_of
from depthopt.check.statistics import Change, change_of
from depthopt.check.verdict import Verdict, confirmed, judge
from depthopt.core.artefacts import load_json
from depthopt.core.candidate import LatencyKey
from depthopt.core.tables import LatencySummary, LatencyTable, MeasurementConditions
from depthopt.errors import ArtefactError, TableError, UsageError
from depthopt.latency.bench import Bench
from depthopt.latency.measure import summarise
from depthopt.runtimes import Runtime

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
"""What a recorded baseline is measured with: convolutions of several kinds and sizes."""

_ROUNDS = 6
_FROM_TABLE = 12
_FAST_MS, _SLOW_MS = 0.05, 3.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """A network as it was measured, to be checked against later.

    Attributes:
        network: its name and hash.
        conditions: what it was measured on and how.
        latency: in processor time where that is read (``clocks_for``), else by the clock.
        yardsticks: by ``str(LatencyKey)``, an entry's time over the network's.
        size_bytes: of the file.
        parameters: numbers that it holds; None for an engine.
        peak_memory_bytes: None where it could not be read.
        accuracy: in points of 100; None without a data set.
        data: the data set's name; empty without one.
    """

    network: Network
    conditions: MeasurementConditions
    latency: LatencySummary
    yardsticks: dict[str, float]
    size_bytes: int | None = None
    parameters: int | None = None
    peak_memory_bytes: int | None = None
    accuracy: float | None = None
    data: str = ""


def record(
    model: Path,
    *,
    runtime: Runtime,
    batch: int = 1,
    seconds: float = SECONDS,
    data: str = "",
    accuracy: Callable[[Side], float] | None = None,
) -> Baseline:
    """Measure a network as a baseline for later checks.

    Args:
        model: an ONNX file, or a folder from ``depthopt.save``.
        runtime: what runs it.
        batch: images per inference, where the model leaves it open.
        seconds: cap on the time of measuring.
        data: name of the data set behind ``accuracy``.
        accuracy: gives its accuracy in points of 100.

    Raises:
        UsageError: the model is missing or of an unknown kind.
        ModelError: the runtime cannot run it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        side = side_of(model, runtime=runtime, batch=batch, scratch=Path(scratch))
        batch = batch_of(side, batch)
        _refuse_engine(side)
        found = _measured(side.path, YARDSTICKS, runtime, batch, seconds)
        return Baseline(
            network=Network(side.name, side.sha256),
            conditions=runtime.conditions(batch),
            latency=found.latency,
            yardsticks={key: float(np.median(shares)) for key, shares in found.shares.items()},
            size_bytes=side.size_bytes,
            parameters=side.parameters,
            peak_memory_bytes=peak_memory_bytes(side.path, runtime, batch),
            accuracy=accuracy(side) if accuracy else None,
            data=data,
        )


def check_against(
    path: Path,
    model: Path,
    *,
    runtime: Runtime,
    batch: int = 1,
    network: str | None = None,
    tolerances: Tolerances | None = None,
    seconds: float = SECONDS,
    data: str = "",
    accuracy: Callable[[Side], float] | None = None,
    progress: Progress = lambda _: None,
) -> CheckReport:
    """Check ``model`` against a recorded baseline or a network of a latency table.

    Args:
        path: the file.
        model: an ONNX file, or a folder from ``depthopt.save``.
        runtime: what runs it.
        batch: images per inference, where the model leaves it open.
        network: which of a table's networks; needed where it holds several.
        tolerances: largest accepted changes.
        seconds: cap on one measurement.
        data: name of the data set behind ``accuracy``.
        accuracy: gives a side's accuracy in points of 100.
        progress: told what is being done.

    Raises:
        ArtefactError: the file is neither, damaged, or of a newer schema.
        TableError: the table does not hold the network, or nothing to measure it by.
        UsageError: the model is missing, of an unknown kind, or the data set is another one.
        ModelError: the runtime cannot run it.
    """
    tolerances = tolerances or Tolerances()
    baseline = read_baseline(path, network)
    if accuracy is not None and baseline.data != data:
        raise UsageError(
            f"{path} has no accuracy on {data}, but on {baseline.data or 'no data set'}; record "
            "it again with that --data"
        )
    with tempfile.TemporaryDirectory() as scratch:
        side = side_of(model, runtime=runtime, batch=batch, scratch=Path(scratch))
        batch = batch_of(side, batch)
        _refuse_engine(side)
        here = runtime.conditions(batch)
        current = Network(side.name, side.sha256)
        if difference := baseline.conditions.unlike(here):
            reason = (
                f"conditions differ from those of {path}: {difference}; measure under the "
                "same, or record a baseline under these (--record)"
            )
            verdict = Verdict("inconclusive", reason)
            return reported(baseline.network, current, here, tolerances, verdict)
        verdict, latency = _compared(
            baseline, side, runtime, batch, tolerances.latency, seconds, progress
        )
        figures = tuple(_figures(baseline, side, runtime, batch, tolerances, accuracy))
    return reported(
        baseline.network, current, here, tolerances, verdict, latency=latency, figures=figures
    )


def _refuse_engine(side: Side) -> None:
    if side.is_engine:
        raise UsageError(
            f"{side.name} is an engine; engines are checked against one another, give two, or "
            "give the ONNX file that it is built from"
        )


def read_baseline(path: Path, network: str | None = None) -> Baseline:
    """A recorded baseline, or a network of a latency table as one.

    Raises:
        ArtefactError: the file is neither, damaged, or of a newer schema.
        TableError: the table does not hold the network, or nothing to measure it by.
    """
    try:
        kind = json.loads(path.read_bytes())["type"]
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path} is no baseline and no latency table ({error})") from None
    if kind != LatencyTable.__name__:
        return load_json(Baseline, path)
    return _of_table(path, load_json(LatencyTable, path), network)


def _of_table(path: Path, table: LatencyTable, name: str | None) -> Baseline:
    known = ", ".join(sorted(table.networks)) or "none"
    if name is None and len(table.networks) == 1:
        name = next(iter(table.networks))
    if name is None or name not in table.networks:
        what = "several networks" if name is None else f"no {name}"
        raise TableError(f"{path} holds {what}; choose one with --network: {known}")
    found = table.networks[name]
    if found.blocks_share is None:
        raise TableError(f"{path} does not say what share of {name} its blocks took; profile it")
    # Entries were brought to a scale on which the network's blocks add up to it.
    level_ms = (found.total.median_ms - found.fixed_ms) / found.blocks_share
    settled = {
        key: entry.median_ms
        for key, entry in table.entries.items()
        if entry.settled and key.startswith("conv") and _FAST_MS < entry.median_ms < _SLOW_MS
    }
    if not settled:
        raise TableError(f"{path} holds no settled entry of {_FAST_MS} to {_SLOW_MS} ms")
    ordered = sorted(settled)
    chosen = ordered[:: max(1, len(ordered) // _FROM_TABLE)][:_FROM_TABLE]
    shares = {key: settled[key] / level_ms for key in chosen}
    return Baseline(Network(f"{path}: {name}", ""), table.conditions, found.total, shares)


@dataclass(frozen=True, slots=True, eq=False)
class _Shares:
    """Yardsticks' times over the network's, per round, and the network's own time."""

    shares: Mapping[str, NDArray[np.float64]]
    latency: LatencySummary


def _measured(
    model: Path, keys: Sequence[LatencyKey], runtime: Runtime, batch: int, seconds: float
) -> _Shares:
    """Measure in rounds, each with fresh sessions of everything.

    Raises:
        TableError: the runtime runs none of the yardsticks.
    """
    clocks = clocks_for(runtime.conditions(batch).threads)
    clock = clocks.processor or clocks.wall
    groups = [
        Bench(runtime, model, batch=batch, entry_seconds=seconds / len(keys), clock=clock).measure(
            keys, sweeps=_ROUNDS
        )
        for _ in range(_ROUNDS)
    ]
    shares = {
        str(key): np.array([np.median(group.ratios[key]) for group in groups])
        for key in keys
        if all(key in group.ratios for group in groups)
    }
    usable = {key: values for key, values in shares.items() if np.all(values > 0)}
    if not usable:
        raise TableError(f"{runtime.name} runs none of the {len(keys)} yardsticks measurably")
    network_ms = np.concatenate([group.network_ms for group in groups])
    return _Shares(usable, summarise(network_ms.tolist(), 0.02))


def _compared(
    baseline: Baseline,
    side: Side,
    runtime: Runtime,
    batch: int,
    tolerance: float,
    seconds: float,
    progress: Progress,
) -> tuple[Verdict, LatencyChange]:
    keys = [LatencyKey.parse(key) for key in baseline.yardsticks]

    def measured() -> tuple[NDArray[np.float64], LatencySummary]:
        found = _measured(side.path, keys, runtime, batch, seconds)
        missing = [k for k in baseline.yardsticks if k not in found.shares]
        if missing:
            raise TableError(f"{runtime.name} does not measure yardstick {missing[0]} here")
        log_ratios = [np.log(baseline.yardsticks[k] / v) for k, v in found.shares.items()]
        return np.array(log_ratios), found.latency

    progress("measuring with yardsticks")
    ratios, summary = measured()
    verdict, count = _judged(ratios, tolerance), 1
    if verdict.outcome == "regression":
        progress("a regression is suspected: measuring once more")
        again, summary = measured()
        ratios, count = np.concatenate([ratios, again], axis=1), 2
        verdict = confirmed(
            change_of(again), _judged(again, tolerance), _judged(ratios, tolerance), tolerance
        )
    latency = LatencyChange(
        baseline=baseline.latency,
        current=summary,
        change=change_of(ratios),
        control=_disagreement(ratios),
        by_the_clock=None,
        clock="yardsticks",
        busy=None,
        sessions=count * _ROUNDS,
        pairs=ratios.size,
        measured=count,
    )
    return verdict, latency


def _judged(log_ratios: NDArray[np.float64], tolerance: float) -> Verdict:
    return judge(change_of(log_ratios), _disagreement(log_ratios), tolerance)


def _disagreement(log_ratios: NDArray[np.float64]) -> Change:
    """How far the yardsticks differ among themselves: the noise of then and now."""
    return change_of(log_ratios - np.median(log_ratios))


def _figures(
    baseline: Baseline,
    side: Side,
    runtime: Runtime,
    batch: int,
    tolerances: Tolerances,
    accuracy: Callable[[Side], float] | None,
) -> Iterator[Figure]:
    """What the baseline says beside its latency."""
    if baseline.size_bytes is not None:
        yield growing("size", "bytes", (baseline.size_bytes, side.size_bytes), tolerances.size)
    if baseline.parameters is not None and side.parameters is not None:
        counts = baseline.parameters, side.parameters
        yield growing("parameters", "", counts, tolerances.parameters)
    if baseline.peak_memory_bytes is not None:
        peak = peak_memory_bytes(side.path, runtime, batch)
        if peak is not None:
            peaks = baseline.peak_memory_bytes, peak
            yield growing("peak memory", "bytes", peaks, tolerances.memory, SLACK_BYTES)
    if accuracy is not None and baseline.accuracy is not None:
        yield accuracy_figure(baseline.accuracy, accuracy(side), tolerances.accuracy)
