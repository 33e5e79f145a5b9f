"""Recording a baseline, and checks against one that was measured earlier."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from depthopt.check.baseline import Baseline, read_baseline
from depthopt.check.check import CheckReport, Network, reported
from depthopt.check.figures import Figure, Tolerances, growing, metric_figure
from depthopt.check.inputs import require_equal_inputs
from depthopt.check.judge import Judge
from depthopt.check.latency import SECONDS
from depthopt.check.memory import SLACK_BYTES, peak_memory_bytes
from depthopt.check.network_files import Side, batch_of, side_of
from depthopt.check.verdict import Verdict
from depthopt.check.yardsticks import YARDSTICKS, compare_by, shares_of
from depthopt.core.numbers import Batch, Seconds, require
from depthopt.core.progress import Progress, silent
from depthopt.errors import UsageError
from depthopt.runtimes.base import Runtime

logger = logging.getLogger(__name__)


def record(
    path: Path,
    *,
    runtime: Runtime,
    batch: int = 1,
    seconds: float = SECONDS,
    judge: Judge | None = None,
) -> Baseline:
    """Measure a network as a baseline for later checks.

    Args:
        path: an ONNX file, or a folder from ``depthopt.save``.
        runtime: what runs it.
        batch: images per inference, where the model leaves it open.
        seconds: cap on the time of measuring.
        judge: gives its metric; None without a data set.

    Raises:
        UsageError: the model is missing or of an unknown kind.
        ModelError: the runtime cannot run it.
        ClockFault: a clock goes backwards.
    """
    require(Batch, "batch", batch)
    require(Seconds, "seconds", seconds)
    with tempfile.TemporaryDirectory() as scratch:
        side = side_of(path, runtime=runtime, batch=batch, scratch=Path(scratch))
        batch = batch_of(batch, side)
        _refuse_engine(side)
        found = shares_of(side.path, YARDSTICKS, runtime=runtime, batch=batch, seconds=seconds)
        return Baseline(
            network=Network(side.name, side.sha256),
            conditions=runtime.conditions(batch),
            latency=found.latency,
            yardsticks={key: tuple(shares.tolist()) for key, shares in found.shares.items()},
            input_shapes=side.input_shapes,
            size_bytes=side.size_bytes,
            parameters=side.parameters,
            peak_memory_bytes=peak_memory_bytes(side.path, runtime, batch),
            metric=judge(side) if judge else None,
            data=judge.data if judge else "",
            task=judge.task if judge else "",
        )


def check_against(
    baseline_path: Path,
    path: Path,
    *,
    runtime: Runtime,
    batch: int = 1,
    network: str | None = None,
    tolerances: Tolerances | None = None,
    seconds: float = SECONDS,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Check a network against a recorded baseline or a network of a latency table.

    Args:
        baseline_path: the file.
        path: an ONNX file, or a folder from ``depthopt.save``.
        runtime: what runs it.
        batch: images per inference, where the model leaves it open.
        network: which of a table's networks; needed where it holds several.
        tolerances: largest accepted changes.
        seconds: cap on one measurement.
        judge: gives a side's metric; None without a data set.
        progress: receives the measurements.

    Raises:
        ArtefactError: the file is neither, damaged, or of a newer schema.
        TableError: the table does not hold the network, or nothing to measure it by.
        UsageError: the model is missing, of an unknown kind or of other inputs, or the data
            set is another one.
        ModelError: the runtime cannot run it.
    """
    tolerances = tolerances or Tolerances()
    require(Batch, "batch", batch)
    require(Seconds, "seconds", seconds)
    baseline = read_baseline(baseline_path, network)
    if judge is not None and baseline.data != judge.data:
        raise UsageError(
            f"{baseline_path} was recorded with {baseline.data or 'no data set'}, so it has no "
            f"{judge.metric.name} on {judge.data}; record it again with that --data"
        )
    if judge is not None and baseline.task != judge.task:
        raise UsageError(
            f"{baseline_path} was recorded for the task {baseline.task}, not {judge.task}; record "
            f"it again, or give --task {baseline.task}"
        )
    if judge is None and baseline.metric is not None:
        logger.warning(
            "the metric is not checked: %s has one on %s; give --data to check it",
            baseline_path,
            baseline.data,
        )
    with tempfile.TemporaryDirectory() as scratch:
        side = side_of(path, runtime=runtime, batch=batch, scratch=Path(scratch))
        _refuse_engine(side)
        names = (baseline.network.name, side.name)
        require_equal_inputs(names, baseline.input_shapes, side.input_shapes)
        batch = batch_of(batch, side)
        here = runtime.conditions(batch).with_ballast(baseline.conditions.ballast_mib)
        current = Network(side.name, side.sha256)
        if difference := baseline.conditions.unlike(here):
            reason = (
                f"conditions differ from those of {baseline_path}: {difference}; measure under the "
                "same ones, or record a baseline under these (--record)"
            )
            verdict = Verdict("inconclusive", reason)
            return reported(baseline.network, current, here, tolerances, verdict)
        verdict, latency = compare_by(
            baseline.yardsticks,
            baseline.latency,
            side.path,
            runtime=runtime,
            batch=batch,
            tolerance=tolerances.latency,
            seconds=seconds,
            ballast_mib=baseline.conditions.ballast_mib,
            progress=progress,
        )
        figures = tuple(_figures(baseline, side, runtime, batch, tolerances, judge))
    return reported(
        baseline.network, current, here, tolerances, verdict, latency=latency, figures=figures
    )


def _refuse_engine(side: Side) -> None:
    if side.is_engine:
        raise UsageError(
            f"{side.name} is an engine, which can only be checked against another engine; give "
            "two, or give the ONNX file that it is built from"
        )


def _figures(
    baseline: Baseline,
    side: Side,
    runtime: Runtime,
    batch: int,
    tolerances: Tolerances,
    judge: Judge | None,
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
    if judge is not None and baseline.metric is not None:
        yield metric_figure(judge.metric, baseline.metric, judge(side), tolerances.metric)
