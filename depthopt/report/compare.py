"""Several runs side by side: methods, devices, budgets."""

from collections.abc import Sequence
from dataclasses import dataclass

from depthopt.core.metric import Metric
from depthopt.errors import UsageError
from depthopt.pipeline.result import Result
from depthopt.report.reading import RunArtefacts
from depthopt.tables.latency import MeasurementConditions


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run's figures.

    Attributes:
        name: of its folder, or its path where two folders have one name.
        model: the network.
        estimator: of its importances; None where there are none yet.
        conditions: of its latencies; None where there are none yet.
        result: what it measured in the end, if it is finished.
        predicted_speedup: of its plan, if it has one.
        cost: of its plan, if it has one.
        frontier: (speed-up, cost) of every plan.
        notes: what is missing in it.
    """

    name: str
    model: str
    estimator: str | None
    conditions: MeasurementConditions | None
    result: Result | None
    predicted_speedup: float | None
    cost: float | None
    frontier: tuple[tuple[float, float], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs, and what forbids to compare their numbers.

    Attributes:
        runs: as they were named.
        warnings: a line each.
    """

    runs: tuple[ComparedRun, ...]
    warnings: tuple[str, ...]


def headings(comparison: "Comparison") -> tuple[str, ...]:
    """Of the rows that ``table_row`` gives; the metric's name where all runs have the same."""
    metrics = {run.result.metric for run in comparison.runs if run.result is not None}
    metric = metrics.pop() if len(metrics) == 1 else Metric("metric")
    before = f"before finetuning, {metric.unit}" if metric.unit else "before finetuning"
    return (
        "run", "network", "data", "device, runtime", metric.label, before,
        "latency, ms", "speed-up", "predicted", "cost", "parameters",
    )  # fmt: skip


def compare(runs: Sequence[RunArtefacts]) -> Comparison:
    """Lay runs side by side.

    Raises:
        UsageError: there are fewer than two.
    """
    if len(runs) < 2:
        raise UsageError(f"compare takes two run folders or more, got {len(runs)}")
    names = [run.name for run in runs]
    twice = len(set(names)) < len(names)
    compared = tuple(_compared(run, str(run.path) if twice else run.name) for run in runs)
    return Comparison(compared, tuple(_warnings(compared)))


def table_row(run: ComparedRun) -> tuple[str, ...]:
    """A run's figures as text, under ``headings``."""
    where, result = run.conditions, run.result
    device = "" if where is None else f"{where.device}, {where.runtime} {where.runtime_version}"
    known = (
        _number(run.predicted_speedup, "{:.2f}x"),
        _number(run.cost, "{:.4g}"),
    )
    if result is None:
        return (run.name, run.model, "", device, "", "", "", "", *known, "")
    before, after, said = result.original, result.compressed, result.metric.figure
    return (
        run.name,
        run.model,
        result.data,
        device,
        f"{said(before.metric)} to {said(after.metric)}",
        said(result.untrained_metric),
        f"{before.latency.median_ms:.3f} to {after.latency.median_ms:.3f}",
        f"{result.speedup:.2f}x",
        *known,
        f"{before.parameters:,} to {after.parameters:,}",
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _compared(run: RunArtefacts, name: str) -> ComparedRun:
    conditions = None if run.latency is None else run.latency.conditions
    points = () if run.frontier is None else run.frontier.points
    return ComparedRun(
        name=name,
        model=run.model,
        estimator=None if run.importance is None else run.importance.estimator,
        conditions=conditions if run.result is None else run.result.conditions,
        result=run.result,
        predicted_speedup=None if run.plan is None else run.plan.speedup,
        cost=None if run.plan is None else run.plan.cost,
        frontier=tuple((run.frontier.original_ms / p.latency_ms, p.cost) for p in points)
        if run.frontier
        else (),
        notes=run.notes,
    )


def _warnings(runs: Sequence[ComparedRun]) -> list[str]:
    first = runs[0]
    found = []
    for run in runs[1:]:
        if first.conditions and run.conditions:
            difference = first.conditions.unlike(run.conditions)
            if difference:
                found.append(
                    f"latencies of {first.name} and {run.name} are of unlike conditions "
                    f"({difference}): compare speed-ups, not milliseconds"
                )
        if first.estimator and run.estimator and first.estimator != run.estimator:
            found.append(
                f"costs of {first.name} are by {first.estimator}, those of {run.name} by "
                f"{run.estimator}: they are not on one scale"
            )
        if first.result and run.result and first.result.data != run.result.data:
            found.append(
                f"metrics of {first.name} and {run.name} are on other data "
                f"({first.result.data}, {run.result.data})"
            )
    return found + [f"{run.name}: {note}" for run in runs for note in run.notes]
