"""Chains, plans, frontiers and results as tables for people."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Barrier, Chain
from depthopt.core.counted import counted
from depthopt.core.inputs import size_text
from depthopt.core.operators import AveragePooling, Operator
from depthopt.core.plan import Frontier, Plan
from depthopt.core.writing import write_text
from depthopt.pipeline.result import Result
from depthopt.report.facts import method_rows, result_rows
from depthopt.tables.validation import RANGES, Validation

if TYPE_CHECKING:
    from depthopt.pipeline.dry_run import DryRun
    from depthopt.report.predict import Prediction
    from depthopt.runtimes.base import LayerTime
    from depthopt.workflow.whole import Whole


def show_chain(
    console: Console,
    chain: Chain,
    candidates: Sequence[Candidate],
    shares: tuple[float, float, float],
) -> None:
    """Print a chain's blocks, skips, barriers, and what it could not use.

    Args:
        console: where to.
        chain: the network.
        candidates: what its segments may become; they are counted.
        shares: of all multiply-accumulates, those in segments longer than one that merge, those in
            segments that can be replaced, and those that no latency table times.
    """
    table = Table(
        "#", "block", "convolution", "input", "activation", "skip to", "barrier before",
        title=f"{chain.model} at {size_text(chain.input_size)}",
    )  # fmt: skip
    barriers = {barrier.position: _barrier(barrier) for barrier in chain.barriers}
    for i, block in enumerate(chain.blocks):
        skips = ", ".join(
            " ".join((str(s.target), *(_on_skip(layer.operator) for layer in s.branch)))
            for s in chain.skips
            if s.source == i
        )
        table.add_row(
            str(i),
            block.name,
            str(block.operator),
            "{}x{}".format(*block.layout.input_size),
            str(block.activation or ""),
            skips,
            barriers.get(i, ""),
        )
    console.print(table)
    kinds = Counter(candidate.kind for candidate in candidates)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    segments = sum(1 for _ in chain.segments())
    found = f"{counted(segments, 'legal segment')}; {counted(len(candidates), 'candidate')}"
    console.print(f"{found}: {counts}")
    console.print(
        f"of {(chain.conv_macs + chain.other_macs) / 1e6:,.1f} million multiply-accumulates, "
        f"{shares[1]:.1%} lie in segments longer than one block, {shares[0]:.1%} in segments that "
        "merge into one convolution",
        highlight=False,
    )
    if shares[2]:
        console.print(
            f"{shares[2]:.1%} lie around blocks and go with them, and no latency table times them: "
            "plans without them are faster than predicted",
            highlight=False,
        )
    for unused in chain.unused:
        console.print(f"not used: {unused.node}: {unused.reason}", highlight=False)


def _on_skip(operator: Operator) -> str:
    return "pooled" if isinstance(operator, AveragePooling) else f"by {operator}"


def _barrier(barrier: Barrier) -> str:
    if barrier.region is None:
        return barrier.reason
    start, end = barrier.region
    return rf"{barrier.reason}; replaceable as \[{start}, {end})"


def show_plan(console: Console, plan: Plan, chain: Chain) -> None:
    """Print what a plan replaces."""
    table = Table("segment", "blocks", "becomes", "convolution", "activation")
    for choice in plan.replaced:
        first, last = chain.blocks[choice.start].name, chain.blocks[choice.end - 1].name
        table.add_row(
            f"[{choice.start}, {choice.end})".replace("[", r"\["),
            first if choice.end - choice.start == 1 else f"{first} to {last}",
            choice.kind,
            " + ".join(map(str, choice.operators)),
            str(choice.activation or ""),
        )
    console.print(table)
    console.print(
        f"predicted {plan.latency_ms:.3f} ms of {plan.original_ms:.3f} ms "
        f"({plan.speedup:.2f}x), importance cost {plan.cost:.4g}",
        highlight=False,
    )


def show_frontier(frontier: Frontier, path: Path) -> None:
    """Write a frontier's points as CSV: latency_ms, speedup, cost, replaced."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["latency_ms", "speedup", "cost", "replaced"])
    for index, point in enumerate(frontier.points):
        replaced = "; ".join(choice.key for choice in frontier.plan(index).replaced)
        speedup = frontier.original_ms / point.latency_ms
        writer.writerow([repr(point.latency_ms), f"{speedup:.4f}", repr(point.cost), replaced])
    write_text(path, text.getvalue())


def show_whole(console: Console, whole: "Whole") -> None:
    """Print what became of a network, a part of which was compressed."""
    table = Table("", "original", "compressed", title=f"the whole network around {whole.part}")
    table.add_row("speed-up, in torch's eager mode", "", f"{whole.speedup:.2f}x")
    if whole.original is not None and whole.compressed is not None:
        table.add_row(whole.metric, f"{whole.original:.4g}", f"{whole.compressed:.4g}")
    console.print(table)


def show_result(console: Console, result: Result) -> None:
    """Print a run's figures, before and after."""
    table = Table("", "original", "compressed", title=f"{result.model} on {result.data}")
    for row in result_rows(result):
        table.add_row(row.label, row.original, row.compressed)
    console.print(table)
    images = counted(result.test_images, "test image")
    console.print(f"{result.conditions.text}; {images}", highlight=False)
    for name, said in method_rows(result):
        console.print(f"{name}: {said}", highlight=False, markup=False)
    if result.inputs:
        console.print(result.inputs, highlight=False, markup=False)
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)
    console.print(f"fused model: {result.fused}\nONNX file:   {result.onnx}", highlight=False)


def show_dry_run(console: Console, found: "DryRun") -> None:
    """Print what a recipe needs and will take, and what would stop it."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.candidates.items()))
    blocks = counted(found.blocks, "block")
    console.print(f"{found.model}: {blocks}; candidates: {kinds}", highlight=False)
    if found.images:
        outputs = found.outputs or "any"
        console.print(f"data: {found.contents}", highlight=False, markup=False)
        console.print(f"{found.inputs}; {outputs} outputs", highlight=False, markup=False)
    show_method(console, found)
    show_forecast(console, found)
    for problem in found.problems:
        console.print(f"problem: {problem}", style="red", highlight=False)


def show_method(console: Console, found: "DryRun") -> None:
    """Print what the recipe's method sets, and what the recipe overrides."""
    if not found.settings:
        return
    table = Table("key", "value", "overridden by the recipe", title=f"method {found.method} sets")
    for setting in found.settings:
        own = _setting(setting.own) if setting.is_overridden else ""
        table.add_row(setting.key, _setting(setting.value), own)
    console.print(table)


def _setting(value: object) -> str:
    """A setting's value as it is written in a recipe."""
    return escape(json.dumps(value))


def show_forecast(console: Console, found: "DryRun") -> None:
    """Print how good the original is, what each stage will take, and any warnings."""
    if found.original is not None:
        original, metric = found.original, found.metric
        console.print(
            f"the original: {metric.name} {original.text(metric)} on {original.images} held-out "
            "images",
            highlight=False,
        )
    table = Table("stage", "time", "memory, GB", "what", title="estimated on this machine")
    for stage in found.stages:
        duration = "" if stage.seconds is None else _duration(stage.seconds)
        memory = "" if stage.memory_gb is None else f"{stage.memory_gb:.1f}"
        table.add_row(stage.stage, "done" if stage.done else duration, memory, stage.what)
    console.print(table)
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def show_validation(console: Console, validation: Validation) -> None:
    """Print random plans' predicted speed-ups beside the measured ones."""
    table = Table(
        "replacements",
        "predicted",
        "measured",
        "error",
        title=f"random plans of {validation.network}",
    )
    for timing in validation.timings:
        table.add_row(
            str(len(timing.replaced)),
            f"{timing.predicted_speedup:.2f}x",
            f"{timing.measured_speedup:.2f}x",
            f"{100 * timing.error:+.1f} %",
        )
    console.print(table)
    ranges = Table("measured", "plans", "median error", "largest")
    for found in validation.by_speedup:
        below = next((f" to {c:g}x" for c in RANGES if c > found.least), " and more")
        ranges.add_row(
            f"{found.least:g}x{below}" if found.least else f"below {RANGES[1]:g}x",
            str(found.plans),
            f"{100 * found.median_error:.1f} %",
            f"{100 * found.largest_error:.1f} %",
        )
    console.print(ranges)
    share = validation.blocks_share
    console.print(
        f"median absolute error {100 * validation.median_error:.1f} %"
        + ("" if share is None else f"; the original's blocks sum to {100 * share:.1f} % of it")
    )


def show_layers(console: Console, layers: "Sequence[LayerTime]") -> None:
    """Print a network's layers, as its runtime's profiler timed them."""
    if not layers:
        console.print("this runtime has no layer profiler")
        return
    total = sum(layer.median_ms for layer in layers)
    title = f"{counted(len(layers), 'layer')}, {total:.3f} ms"
    table = Table("layer", "operator", "ms", "share", title=title)
    for layer in layers:
        share = f"{100 * layer.median_ms / total:.1f} %"
        table.add_row(escape(layer.name), layer.operator, f"{layer.median_ms:.4f}", share)
    console.print(table)


def show_predictions(console: Console, predictions: "Sequence[Prediction]") -> None:
    """Print each image's likeliest classes."""
    table = Table("image", "class", "probability")
    for prediction in predictions:
        rows = zip(prediction.classes, prediction.probabilities, strict=True)
        for i, (name, probability) in enumerate(rows):
            image = escape(prediction.image) if i == 0 else ""
            table.add_row(image, escape(name), f"{100 * probability:.1f} %")
    console.print(table)
