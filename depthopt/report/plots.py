"""Draw a run's plots: the frontier, the plan, the training."""

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle

from depthopt.core.plan import Frontier, Plan
from depthopt.core.training import TrainResult
from depthopt.kinds.kind import Pattern
from depthopt.pipeline.result import Result
from depthopt.report.explorer import BlockBox, Explorer, KindStyle, Replacement, explorer
from depthopt.report.figures import literal
from depthopt.report.importance import importance_figure
from depthopt.report.objective import original_cost
from depthopt.report.reading import RunArtefacts
from depthopt.report.validation import validation_figure

_HATCHES: dict[Pattern, str] = {
    "": "", "stripes": "////", "dots": "....", "crosses": "xxxx", "bars": "----",
    "rings": "oo",
}  # fmt: skip
_EDGE, _SKIP, _BARRIER, _PREDICTED = "#6b7480", "#57606a", "#b2182b", "#0b5cad"
_MEASURED, _UNTRAINED, _FINETUNED = "#b4470f", "#4c78c8", "#1a7f5a"


def run_figures(run: RunArtefacts) -> dict[str, Callable[[], Figure]]:
    """The figures that can be drawn of a run so far, by name."""
    found: dict[str, Callable[[], Figure]] = {}
    if (frontier := run.frontier) is not None:
        found["frontier"] = lambda: frontier_figure(
            frontier, run.plan, run.result, original_cost(run)
        )
    data = explorer(run)
    if data is not None and (picked := data.picked) is not None:
        found["plan"] = lambda: plan_figure(data, picked)
    if (table := run.importance) is not None:
        found["importance"] = lambda: importance_figure(table)
    if (training := run.training) is not None and training.history:
        found["training"] = lambda: training_figure(training)
    if run.validations:
        found["additivity"] = lambda: validation_figure(*run.validations)
    return found


def frontier_figure(
    frontier: Frontier, plan: Plan | None, result: Result | None, original_cost: float = 0.0
) -> Figure:
    """The frontier over latency, with the measured points above it."""
    figure = Figure(figsize=(6, 5.5 if result else 4), layout="constrained")
    rows = figure.subplots(2 if result else 1, 1, sharex=True, squeeze=False)[:, 0]
    below: Axes = rows[-1]
    costs = [point.cost for point in frontier.points]
    least = max(min((cost for cost in costs if cost > 0), default=1e-6) / 2, max(costs) * 1e-5)
    below.step(
        [point.latency_ms for point in frontier.points],
        [max(cost, least) for cost in costs],
        where="post",
        marker=".",
        markersize=3,
        linewidth=0.8,
        color=_PREDICTED,
        label=f"{len(costs)} predicted plans",
    )
    kept = max(original_cost, least)
    below.plot(frontier.original_ms, kept, "s", color=_EDGE, label="original", clip_on=False)
    below.annotate(
        f"cost {original_cost:.4g}", (frontier.original_ms, kept), xytext=(-6, 6),
        textcoords="offset points", ha="right", fontsize="small",
    )  # fmt: skip
    if plan is not None:
        at = max(plan.cost, least)
        below.plot(plan.latency_ms, at, "o", mfc="none", mec="black", ms=10, label="the plan")
        if result is not None:
            measured = result.compressed.latency.median_ms
            below.plot(measured, at, "D", color=_MEASURED, label="the plan, measured")
    below.set(yscale="log", xlabel="latency, ms", ylabel="importance cost")
    below.legend(fontsize="small")
    if result is not None:
        _draw_metric(rows[0], result)
    rows[0].set_title(literal(frontier.model))
    return figure


def _draw_metric(axes: Axes, result: Result) -> None:
    before, after = result.original, result.compressed
    ms = after.latency.median_ms
    axes.plot(before.latency.median_ms, before.metric, "s", color=_EDGE, label="original")
    axes.plot(ms, result.untrained_metric, "v", color=_UNTRAINED, label="before finetuning")
    axes.plot(ms, after.metric, "*", ms=11, color=_FINETUNED, label="finetuned")
    axes.set(ylabel=literal(result.metric.label))
    axes.legend(fontsize="small")


def plan_figure(data: Explorer, index: int) -> Figure:
    """One plan: the original's blocks above, what runs instead below."""
    point = data.points[index]
    chosen = sorted((data.replacements[i] for i in point.replaced), key=lambda one: one.start)
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel="ms", ylim=(-1.6, 2.0), yticks=(-0.9, 0.5))
    axes.set_yticklabels(["plan", "original"])
    axes.spines[["left", "right", "top"]].set_visible(False)
    edges = _draw_original(axes, data, chosen)
    _draw_plan(axes, data, chosen, edges, point.nearer)
    axes.set_xlim(0, max(data.original_ms, point.ms))
    axes.set_title(
        f"{point.ms:.3f} of {data.original_ms:.3f} ms predicted "
        f"({data.original_ms / point.ms:.2f}x), importance cost {point.cost:.4g}",
        fontsize=10,
    )
    names = dict.fromkeys((data.unchanged, *(one.kind for one in chosen)))
    handles = [_key(data.kinds[name]) for name in names]
    figure.legend(handles=handles, ncols=4, loc="outside lower center", fontsize="small")
    return figure


def _draw_original(axes: Axes, data: Explorer, chosen: list[Replacement]) -> list[float]:
    """Boxes, skips and barriers of the original; gives the boxes' edges in ms."""
    kinds = {i: data.kinds[one.kind] for one in chosen for i in range(one.start, one.end)}
    unchanged = data.kinds[data.unchanged]
    largest = max(block.size[0] for block in data.blocks)
    edges = [0.0]
    for i, block in enumerate(data.blocks):
        _box(axes, kinds.get(i, unchanged), edges[-1], 0, block.ms, _height(block, largest))
        edges.append(edges[-1] + block.ms)
    for source, target, projected in data.skips:
        xs = [edges[source] + (edges[target] - edges[source]) * t / 20 for t in range(21)]
        base = max(_height(data.blocks[source], largest), 0.2)
        ys = [base + 0.5 * (1 - (t / 10 - 1) ** 2) for t in range(21)]
        axes.plot(xs, ys, color=_SKIP, linewidth=0.8, linestyle="--" if projected else "-")
    for position, _ in data.barriers:
        axes.plot([edges[position]] * 2, [-0.1, 1.6], color=_BARRIER, linewidth=1.2)
    return edges


def _draw_plan(
    axes: Axes, data: Explorer, chosen: list[Replacement], edges: list[float], nearer: float
) -> None:
    starts = {one.start: one for one in chosen}
    at, i = 0.0, 0
    while i < len(data.blocks):
        one = starts.get(i)
        ms = nearer * (data.blocks[i].ms if one is None else one.ms)
        kind = data.kinds[data.unchanged if one is None else one.kind]
        _box(axes, kind, at, -1.2, ms, 0.6 * (1.0 if one is None else one.width))
        if one is not None:
            top = -1.2 + 0.6 * one.width
            corners = [(edges[i], 0), (edges[one.end], 0), (at + ms, top), (at, top)]
            axes.add_patch(Polygon(corners, facecolor=kind.colour[0], alpha=0.25, linewidth=0))
        at, i = at + ms, i + 1 if one is None else one.end
    if data.fixed_ms > 0:
        _fixed(axes, edges[-1], 0, data.fixed_ms)
        _fixed(axes, at, -1.2, nearer * data.fixed_ms)


def _height(block: BlockBox, largest: int) -> float:
    return 0.2 + 0.8 * max(block.size[0], 1).bit_length() / max(largest.bit_length(), 1)


def _box(axes: Axes, kind: KindStyle, x: float, y: float, width: float, height: float) -> None:
    axes.add_patch(Rectangle((x, y), width, height, linewidth=0.6, **_look(kind)))


def _key(kind: KindStyle) -> Patch:
    return Patch(label=literal(kind.verb), **_look(kind))


def _look(kind: KindStyle) -> dict[str, Any]:
    ground = "#ffffff" if kind.pattern == "crosses" else kind.colour[0]
    return {"facecolor": ground, "edgecolor": _EDGE, "hatch": _HATCHES[kind.pattern]}


def _fixed(axes: Axes, x: float, y: float, width: float) -> None:
    box = Rectangle((x, y), width, 0.3, fill=False, edgecolor=_EDGE, linestyle=":")
    axes.add_patch(box)


def training_figure(training: TrainResult) -> Figure:
    """The loss by epoch, and the metric where it was measured."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="training loss")
    epochs = range(1, len(training.history) + 1)
    axes.plot(epochs, [epoch.loss for epoch in training.history], marker=".", color=_PREDICTED)
    measured = [
        (i, epoch.metric)
        for i, epoch in zip(epochs, training.history, strict=True)
        if epoch.metric is not None
    ]
    if measured:
        other = axes.twinx()
        metric = training.metric
        unit = f", {metric.unit}" if metric.unit else ""
        other.set_ylabel(literal(f"{metric.name} on held-out images{unit}"))
        other.plot(*zip(*measured, strict=True), marker="s", linestyle="--", color=_FINETUNED)
    return figure
