"""A run's results as rows and sentences, for pages and terminals."""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from depthopt.core.band import Band
from depthopt.core.chain import Chain
from depthopt.core.counted import counted
from depthopt.core.plan import Frontier, Plan
from depthopt.core.training import TrainResult
from depthopt.kinds.registry import kind_of
from depthopt.pipeline.result import Result
from depthopt.report.another import is_in_memory
from depthopt.report.explorer import Explorer
from depthopt.report.reading import RunArtefacts
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencySummary, MeasurementConditions
from depthopt.tables.similarity import Similarities
from depthopt.tables.validation import Validation

SEGMENT_HEADINGS = (
    "blocks", "names", "becomes", "convolution", "original, ms", "plan, ms", "cost alone",
)  # fmt: skip
"""Column headings of ``segment_rows``."""


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of the original network and of the compressed one, as text."""

    label: str
    original: str
    compressed: str


_PICKED = {
    "predicted": "as the latency table predicts",
    "measured": "the least costly that was measured as fast as asked",
    "tried": "several measured as fast as asked were carried out; the one with the least held-out "
    "loss was taken",
}
"""How a plan is picked, in words."""


def result_rows(result: Result) -> tuple[Row, ...]:
    """A finished run's figures, before and after."""
    before, after = result.original, result.compressed
    predicted = f"{result.predicted_ms:.3f} ms, {result.predicted_speedup:.2f}x"
    metric = result.metric
    unit = f", {metric.unit}" if metric.unit else ""
    fewer = before.linear != after.linear  # a classifier alone says nothing
    linear = [Row("linear layers", str(before.linear), str(after.linear))] if fewer else []
    told = [
        row
        for each in result.further
        for row in (
            Row(each.name, f"{each.original:.4g}", f"{each.compressed:.4g}"),
            Row(f"{each.name} before finetuning", "", f"{each.untrained:.4g}"),
        )
    ]
    return (
        Row(metric.label, metric.figure(before.metric), metric.figure(after.metric)),
        Row(f"{metric.name} before finetuning{unit}", "", metric.figure(result.untrained_metric)),
        *told,
        Row("latency, ms (quartiles)", _latency(before.latency), _latency(after.latency)),
        Row("speed-up", "", f"{result.speedup:.2f}x"),
        Row("predicted", "", predicted),
        Row("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
        Row("convolutions", str(before.convolutions), str(after.convolutions)),
        *linear,
        Row("activations", str(before.activations), str(after.activations)),
        Row("fused against trained outputs", "", f"within {result.fused_difference:.1e}"),
        Row("ONNX against fused outputs", "", f"within {result.onnx_difference:.1e}"),
    )


def caution_rows(result: Result) -> tuple[tuple[str, str], ...]:
    """The networks' inputs, and warnings about the figures."""
    inputs = (("networks were given", result.inputs),) if result.inputs else ()
    return (*inputs, *(("warning", warning) for warning in result.warnings))


def method_rows(result: Result) -> tuple[tuple[str, str], ...]:
    """The run's method, how its plan was picked, and how importances were estimated."""
    rows = {
        "method": result.method,
        "plan picked": _PICKED.get(result.picked, ""),
        "importances": result.importance,
    }
    return tuple((name, said) for name, said in rows.items() if said)


def segment_rows(found: Explorer, index: int) -> tuple[tuple[str, ...], ...]:
    """A plan's segments, and what runs in each, under ``SEGMENT_HEADINGS``."""
    point = found.points[index]
    chosen = {found.replacements[i].start: found.replacements[i] for i in point.replaced}
    rows, i = [], 0
    while i < len(found.blocks):
        one, block = chosen.get(i), found.blocks[i]
        end = i + 1 if one is None else one.end
        what = block if one is None else one
        before = sum(gone.ms for gone in found.blocks[i:end])
        rows.append(
            (
                str(i) if end == i + 1 else f"{i} to {end - 1}",
                block.name if end == i + 1 else f"{block.name} to {found.blocks[end - 1].name}",
                found.kinds[found.unchanged if one is None else one.kind].verb,
                " ".join(filter(None, (what.spec, what.activation))) or "nothing",
                f"{before:.3f}",
                f"{what.ms * point.nearer:.3f}",
                "" if what.cost is None or (one is None and not what.cost) else f"{what.cost:.4g}",
            )
        )
        i = end
    fixed = (f"{found.fixed_ms:.3f}", f"{found.fixed_ms * point.nearer:.3f}")
    sums = (f"{found.original_ms:.3f}", f"{point.ms:.3f}")
    rows.append(("", "what no plan touches", "", "", *fixed, ""))
    rows.append(("", "sum", "", "", *sums, f"{point.cost:.4g}"))
    return tuple(rows)


def trial_headings(run: RunArtefacts) -> tuple[str, ...]:
    """Column headings of ``trial_rows``."""
    metric = "" if run.trials is None else run.trials.metric.label
    return (
        "", "measured", "predicted", "cost", "replacements", "blocks", "held-out loss", metric,
    )  # fmt: skip


def trial_rows(run: RunArtefacts) -> tuple[tuple[str, ...], ...]:
    """The plans that were tried, under ``trial_headings``."""
    if run.trials is None:
        return ()
    return tuple(
        (
            "picked" if trial.plan == run.plan else "",
            f"{trial.speedup:.2f}x",
            f"{trial.plan.speedup:.2f}x",
            f"{trial.plan.cost:.4g}",
            str(len(trial.plan.replaced)),
            str(sum(choice.end - choice.start for choice in trial.plan.replaced)),
            trial.failure or ("" if trial.loss is None else f"{trial.loss:.4g}"),
            "" if trial.metric is None else run.trials.metric.figure(trial.metric),
        )
        for trial in run.trials.trials
    )


def condition_rows(conditions: MeasurementConditions) -> tuple[tuple[str, str], ...]:
    """The conditions of the latency measurements."""
    clock = "not readable" if conditions.clock_mhz is None else f"{conditions.clock_mhz:.0f} MHz"
    return (
        ("device", conditions.device),
        ("runtime", f"{conditions.runtime} {conditions.runtime_version}"),
        ("threads", str(conditions.threads or 0)),
        ("dtype", conditions.dtype),
        ("batch", str(conditions.batch)),
        ("date", conditions.date or "unknown"),
        ("clock", clock),
    )


def stage_rows(run: RunArtefacts) -> tuple[tuple[str, str, str], ...]:
    """The finished stages: name, seconds, versions."""
    return tuple(
        (
            stage,
            "" if record.seconds is None else f"{record.seconds:.1f}",
            ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        )
        for stage, record in run.manifest.stages.items()
    )


def headline(run: RunArtefacts) -> str:
    """One sentence on the run's result."""
    if run.result is not None:
        result, metric = run.result, run.result.metric
        return (
            f"{result.speedup:.2f} times as fast: {result.original.latency.median_ms:.3f} to "
            f"{result.compressed.latency.median_ms:.3f} ms; {metric.name} "
            f"{metric.figure(result.original.metric)} to "
            f"{metric.text(result.compressed.metric)} on {result.test_images:,} test images."
        )
    if run.plan is not None:
        return f"Not finished: {plan_sentence(run.plan, run.chain)}"
    return "Not finished: no plan was picked yet."


def plan_sentence(plan: Plan, chain: Chain | None) -> str:
    """A sentence on what a plan replaces, with its predictions."""
    replaced = plan.replaced
    verbs = Counter(kind_of(choice).verb for choice in replaced)
    what = ", ".join(f"{count} {verb}" for verb, count in verbs.items()) or "none"
    blocks = sum(choice.end - choice.start for choice in replaced)
    of = "" if chain is None else f" of {len(chain.blocks)}"
    return (
        f"the plan is predicted at {plan.latency_ms:.3f} of {plan.original_ms:.3f} ms "
        f"({plan.speedup:.2f}x) with importance cost {plan.cost:.4g}; it replaces {blocks}{of} "
        f"blocks by {counted(len(replaced), 'segment')}: {what}."
    )


def frontier_sentence(frontier: Frontier, result: Result | None) -> str:
    """A sentence on what the plot of the frontier shows."""
    fastest, slowest = frontier.points[0], frontier.points[-1]
    text = (
        f"{counted(len(frontier.points), 'plan')}, from {fastest.latency_ms:.3f} ms "
        f"({frontier.original_ms / fastest.latency_ms:.2f}x) at importance cost "
        f"{fastest.cost:.4g} to {slowest.latency_ms:.3f} ms at {slowest.cost:.4g}, all predicted."
    )
    if result is None:
        return f"{text} Nothing was measured end to end yet."
    before, after, said = result.original, result.compressed, result.metric.text
    return (
        f"{text} Measured: the original at {before.latency.median_ms:.3f} ms and "
        f"{said(before.metric)}; the run's plan at {after.latency.median_ms:.3f} ms and "
        f"{said(result.untrained_metric)} before, {said(after.metric)} after finetuning."
    )


def expected_sentence(known: Band | None, plan: Plan) -> str:
    """A sentence on the metric to expect of a plan after a whole finetune."""
    if known is None:
        return "metric to expect: not measured; depthopt explore carries a few plans out"
    name, said = known.metric.name, known.metric.text(known.original.metric)
    if not plan.replaced:
        return f"{name}: the original's, {said}"
    found = known.at(plan.cost)
    text = (
        "not measured: no plan of this cost was tried"
        if found is None
        else (f"{found.text(known.metric)} after a whole finetune")
    )
    return f"{name} to expect: {text}; the original has {said}"


def accuracy_sentence(known: Band) -> str:
    """A sentence on how the band of the metric was made, and how far it reaches."""
    metric, plans = known.metric, len({point.cost for point in known.points})
    said = metric.text(known.original.metric)
    name, cost = f"{metric.name[0].upper()}{metric.name[1:]}", known.original_cost
    text = f"{name}: {said} of the original, at cost {cost:.4g}."
    if not known.knots:
        return f"{text} No plan was finetuned."
    return (
        f"{text} The band is what to expect of plans after a whole finetune, nine times in ten; it "
        f"was made from {counted(plans, 'plan')} carried out. Beyond cost "
        f"{known.knots[-1][0]:.4g} nothing was measured."
    )


def importance_sentence(table: ImportanceTable) -> str:
    """A sentence on what the map of importances shows."""
    costs = {key: entry.cost for key, entry in table.entries.items() if math.isfinite(entry.cost)}
    if not costs:
        return "No candidate was scored yet."
    cheapest, dearest = min(costs, key=costs.__getitem__), max(costs, key=costs.__getitem__)
    return (
        f"{counted(len(costs), 'candidate')} scored by {table.estimator} on "
        f"{counted(table.images, 'image')}{_protocol(table)}. The cheapest is {cheapest}, "
        f"{costs[cheapest]:.4g}; the dearest {dearest}, {costs[dearest]:.4g}."
    )


def similarity_sentence(table: Similarities) -> str:
    """A sentence on what the similarities of blocks show."""
    near = max(pairwise(table.ends), key=lambda ends: table.of(*ends), default=None)
    found = (
        f"How similar the tokens behind two blocks are, from 0 to 1, told by "
        f"{counted(table.images, 'image')} (NPIB of MKA)."
    )
    if near is None:
        return found
    return (
        f"{found} Of blocks in a row those that end in {near[0] - 1} and {near[1] - 1} are the "
        f"most similar, {table.of(*near):.2f}."
    )


def _protocol(table: ImportanceTable) -> str:
    return f" ({table.protocol})" if table.protocol else ""


def training_sentence(training: TrainResult) -> str:
    """A sentence on what the curves of a training show."""
    history = training.history
    if not history:
        return "The shallow network was not trained."
    seconds = sum(epoch.seconds for epoch in history)
    text = (
        f"{counted(len(history), 'epoch')}, {counted(training.steps, 'step')}, {seconds:.0f} s: "
        f"the loss went from {history[0].loss:.4g} to {history[-1].loss:.4g}"
    )
    measured, metric = [e.metric for e in history if e.metric is not None], training.metric
    if not measured:
        name = metric.name[0].upper() + metric.name[1:]
        return f"{text}. {name} was not measured while training (evaluate_epochs)."
    last = metric.text(measured[-1])
    return f"{text}, {metric.name} on held-out images from {metric.figure(measured[0])} to {last}."


def validation_sentence(validation: Validation) -> str:
    """A sentence on how far predictions can be trusted."""
    return (
        f"{counted(len(validation.timings), 'random plan')} of {validation.network}: the median "
        f"absolute error of the predicted speed-up is {100 * validation.median_error:.1f} %."
    )


def validation_hint(run: RunArtefacts) -> str:
    """A sentence on how to check a run's predictions on random plans."""
    if is_in_memory(run):
        return "No random plans were checked in this run."
    return (
        "No random plans were checked in this run; this does: "
        f"depthopt profile {run.arguments} --validate 12"
    )


def prediction_sentence(result: Result) -> str:
    """A sentence that compares the picked plan's prediction with its measurement."""
    error = 100 * (result.predicted_speedup / result.speedup - 1)
    return (
        f"The picked plan was predicted at {result.predicted_speedup:.2f}x and measured at "
        f"{result.speedup:.2f}x, an error of {error:+.1f} %. The original took "
        f"{result.predicted_ms * result.predicted_speedup:.3f} ms in the latency table, and "
        f"{result.original.latency.median_ms:.3f} ms when both were measured in turn."
    )


def _latency(summary: LatencySummary) -> str:
    return f"{summary.median_ms:.3f} ({summary.q1_ms:.3f} to {summary.q3_ms:.3f})"
