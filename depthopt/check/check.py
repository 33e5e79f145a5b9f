"""Run a whole check: the latency and all other figures, with one outcome."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from depthopt.check.figures import Figure, Tolerances, figures_of
from depthopt.check.inputs import require_equal_inputs
from depthopt.check.judge import Judge
from depthopt.check.latency import SECONDS, LatencyChange, compare_latency
from depthopt.check.layers import LayerDifference, moved_layers
from depthopt.check.network_files import batch_of, side_of
from depthopt.check.verdict import Outcome, Verdict
from depthopt.core.numbers import Batch, Seconds, require
from depthopt.core.progress import Progress, silent
from depthopt.runtimes.base import Runtime
from depthopt.tables.latency import MeasurementConditions


@dataclass(frozen=True, slots=True)
class Network:
    """Which network was checked.

    Attributes:
        name: the path as it was given.
        sha256: digest of the file that was run, or of what stands for the network.
    """

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport:
    """What a check found.

    Attributes:
        outcome: ``regression`` if anything regressed, else ``inconclusive`` if the latency
            is, else ``pass``.
        baseline: what it was checked against.
        current: what was checked.
        conditions: what it was measured on and how.
        tolerances: largest accepted changes.
        verdict: on the latency, with the reason.
        latency: what the verdict rests on; None where nothing could be measured.
        figures: what else was watched.
        layers: the layers that moved, if the latency did.
        commit: of the current network's repository, where one is known.
        time: ISO time in UTC.
    """

    outcome: Outcome
    baseline: Network
    current: Network
    conditions: MeasurementConditions
    tolerances: Tolerances
    verdict: Verdict
    latency: LatencyChange | None = None
    figures: tuple[Figure, ...] = ()
    layers: tuple[LayerDifference, ...] = ()
    commit: str = ""
    time: str = ""

    def __repr__(self) -> str:
        change = "" if self.latency is None else f", latency {self.latency.change}"
        names = f"{self.current.name} against {self.baseline.name}"
        return f"CheckReport of {names}: {self.outcome}{change}"


def check(
    baseline: Path,
    current: Path,
    *,
    runtime: Runtime,
    batch: int = 1,
    tolerances: Tolerances | None = None,
    seconds: float = SECONDS,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Check ``current`` against ``baseline``, both measured here and now.

    Args:
        baseline: an ONNX file, a folder from ``depthopt.save``, or an engine.
        current: the same, of the same inputs.
        runtime: what runs them.
        batch: images per inference, where the models leave it open.
        tolerances: largest accepted changes.
        seconds: cap on one measurement of latency, less the time of compiling.
        judge: gives a side's metric; None without a data set.
        progress: receives the steps.

    Raises:
        UsageError: a side is missing, of an unknown kind, or their inputs differ.
        ModelError: the runtime cannot run a side.
    """
    tolerances = tolerances or Tolerances()
    require(Batch, "batch", batch)
    require(Seconds, "seconds", seconds)
    with tempfile.TemporaryDirectory() as scratch:
        progress(0, 3, "reading both networks")
        old, new = (
            side_of(given, runtime=runtime, batch=batch, scratch=Path(scratch))
            for given in (baseline, current)
        )
        require_equal_inputs((old.name, new.name), old.input_shapes, new.input_shapes)
        batch = batch_of(batch, old, new)
        verdict, latency = compare_latency(
            old.path,
            new.path,
            runtime=runtime,
            batch=batch,
            tolerance=tolerances.latency,
            seconds=seconds,
            progress=progress,
        )
        progress(1, 3, "reading size and memory")
        figures = figures_of(
            old,
            new,
            runtime=runtime,
            batch=batch,
            tolerances=tolerances,
            judge=judge,
        )
        layers: tuple[LayerDifference, ...] = ()
        if latency is not None and latency.moved and not (old.is_engine or new.is_engine):
            progress(2, 3, "profiling layers")
            layers = moved_layers(old.path, new.path, runtime=runtime, batch=batch)
    return reported(
        Network(old.name, old.sha256),
        Network(new.name, new.sha256),
        runtime.conditions(batch),
        tolerances,
        verdict,
        latency=latency,
        figures=figures,
        layers=layers,
    )


def reported(
    baseline: Network,
    current: Network,
    conditions: MeasurementConditions,
    tolerances: Tolerances,
    verdict: Verdict,
    *,
    latency: LatencyChange | None = None,
    figures: tuple[Figure, ...] = (),
    layers: tuple[LayerDifference, ...] = (),
) -> CheckReport:
    """Make the report on these findings, with the time and the current commit."""
    regressed = any(figure.outcome == "regression" for figure in figures)
    return CheckReport(
        outcome="regression" if regressed else verdict.outcome,
        baseline=baseline,
        current=current,
        conditions=conditions,
        tolerances=tolerances,
        verdict=verdict,
        latency=latency,
        figures=figures,
        layers=layers,
        commit=_commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _commit() -> str:
    """The commit as CI names it, or as git does; empty where there is none."""
    if named := os.environ.get("GITHUB_SHA"):
        return named
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - git as the user has it
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
