"""Compare several runs side by side: methods, devices, budgets."""

from collections.abc import Sequence
from dataclasses import dataclass

from depthopt.core.counted import counted
from depthopt.core.inputs import InputSize, size_text
from depthopt.core.metric import Metric
from depthopt.core.reading import parse_yaml
from depthopt.errors import UsageError
from depthopt.pipeline.result import Result
from depthopt.report.objective import objective_text
from depthopt.report.reading import RunArtefacts
from depthopt.tables.latency import MeasurementConditions


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run's figures.

    Attributes:
        name: of its folder, or its path where two folders have one name.
        model: the network.
        input_size: what it takes; None where that is not known yet.
        blocks: of its chain; None where there is none yet.
        data: the data set; empty where it is not known.
        estimator: of its importances; None where there are none yet.
        conditions: of its latencies; None where there are none yet.
        result: what it measured in the end, if it is finished.
        predicted_speedup: of its plan, if it has one.
        cost: of its plan, if it has one.
        frontier: (speed-up, cost) of every plan.
        notes: what is missing in it.
        objective: what its costs are of.
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
    input_size: InputSize | None = None
    blocks: int | None = None
    data: str = ""
    objective: str = "cost"

    @property
    def network(self) -> str:
        """The network in words. Two of one name may differ in inputs or depth."""
        size = "" if self.input_size is None else f" @{size_text(self.input_size)}"
        blocks = "" if self.blocks is None else f", {counted(self.blocks, 'block')}"
        parameters = (
            ""
            if self.result is None
            else f", {counted(self.result.original.parameters, 'parameter')}"
        )
        return f"{self.model}{size}{blocks}{parameters}"

    @property
    def tested_on(self) -> str:
        """The test data and their number, in words."""
        if self.result is None:
            return self.data
        return f"{self.data}, {counted(self.result.test_images, 'test image')}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs, with the reasons why numbers cannot be compared.

    Attributes:
        runs: as they were named.
        warnings: a line each.
    """

    runs: tuple[ComparedRun, ...]
    warnings: tuple[str, ...]


def headings(comparison: "Comparison") -> tuple[str, ...]:
    """Column headings of ``table_row``, with the metric's name if all runs share it."""
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
        return (run.name, run.model, run.data, device, "", "", "", "", *known, "")
    before, after, said = result.original, result.compressed, result.metric.figure
    return (
        run.name,
        run.model,
        run.data,
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
        input_size=None if run.chain is None else run.chain.input_size,
        blocks=None if run.chain is None else len(run.chain.blocks),
        data=_data(run),
        objective=objective_text(run),
    )


def _data(run: RunArtefacts) -> str:
    """The data set's source: as it was measured on, else as the run's recipe says."""
    if run.result is not None:
        return run.result.data
    try:
        return str(parse_yaml(run.recipe or "")["data"]["source"])
    except (ValueError, KeyError, TypeError):
        return ""


def _warnings(runs: Sequence[ComparedRun]) -> list[str]:
    first = runs[0]
    found = []
    for run in runs[1:]:
        if first.conditions and run.conditions:
            difference = first.conditions.unlike(run.conditions)
            if difference:
                found.append(
                    f"latencies of {first.name} and {run.name} have unlike conditions "
                    f"({difference}): compare speed-ups, not milliseconds"
                )
        if first.estimator and run.estimator and first.estimator != run.estimator:
            found.append(
                f"costs of {first.name} are by {first.estimator}, those of {run.name} by "
                f"{run.estimator}: they are not on one scale"
            )
        if first.objective != run.objective:
            found.append(
                f"plans of {first.name} were solved for {first.objective}, those of {run.name} for "
                f"{run.objective}: their costs are not on one scale"
            )
        if not _same_network(first, run):
            found.append(
                f"networks of {first.name} and {run.name} differ ({first.network}; "
                f"{run.network}): do not compare their costs or metrics"
            )
        if first.data and run.data and _unlike_data(first, run):
            found.append(
                f"metrics of {first.name} and {run.name} are on other data "
                f"({first.tested_on}; {run.tested_on})"
            )
        if (how := _other_original(first, run)) is not None:
            found.append(
                f"the originals of {first.name} and {run.name} are not equally good ({how}): "
                "compare losses from them"
            )
    return found + [f"{run.name}: {note}" for run in runs for note in run.notes]


def _same_network(one: ComparedRun, other: ComparedRun) -> bool:
    """Whether two runs began with networks of one structure, as far as both know theirs."""
    told = [(one.input_size, other.input_size), (one.blocks, other.blocks)]
    if one.result and other.result:
        told.append((one.result.original.parameters, other.result.original.parameters))
    known = all(a == b for a, b in told if a is not None and b is not None)
    both = one.input_size is not None and other.input_size is not None
    return known and (one.model == other.model or not both)


def _unlike_data(one: ComparedRun, other: ComparedRun) -> bool:
    images = {run.result.test_images for run in (one, other) if run.result is not None}
    return one.data != other.data or len(images) > 1


def _other_original(one: ComparedRun, other: ComparedRun) -> str | None:
    """Both originals' metrics where one network on one data set has two; else None."""
    if one.result is None or other.result is None or one.result.metric != other.result.metric:
        return None
    if not _same_network(one, other) or _unlike_data(one, other):
        return None
    said = [one.result.metric.text(run.original.metric) for run in (one.result, other.result)]
    return " and ".join(said) if len(set(said)) > 1 else None
