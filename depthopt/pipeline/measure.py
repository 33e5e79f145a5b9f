"""Measure a run's final figures: metric, latency and size, before and after."""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx, nn

from depthopt.core.inputs import at_least
from depthopt.core.training import TrainResult
from depthopt.core.workload import Workload
from depthopt.data.described import described
from depthopt.export.onnx import onnx_difference, relative_difference
from depthopt.graph.activations import node_activation
from depthopt.graph.outputs import output_of
from depthopt.graph.trace import trace
from depthopt.latency.measure import ready, time_in_turn
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.kept import read_kept
from depthopt.pipeline.original import figures
from depthopt.pipeline.overridden import told
from depthopt.pipeline.own_metric import function_name, told_by
from depthopt.pipeline.result import FurtherMetric, NetworkFigures, Result
from depthopt.pipeline.sanity import judged, warnings_of
from depthopt.shallow.fuse import fuse
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencySummary
from depthopt.tasks.evaluate import Evaluation, evaluate

TESTED = ("original", "applied", "fused")
"""The networks whose metric on test images is part of the result."""


def measure(run: Context) -> Result:
    """Time original and fused network in turn, and test all three networks.

    Args:
        run: with all artefacts but the result in its folder.
    """
    fused, batch = run.network("fused"), run.recipe.latency.batch
    latency = _latencies(run)
    found: dict[str, Evaluation] = {}
    networks = dict(zip(TESTED, (run.teacher, run.network("applied"), fused), strict=True))
    for done, (name, network) in enumerate(networks.items(), start=1):
        run.reporter.progress(done, 4, f"testing {name}")
        batches = run.examples.test.batches(BATCH)
        found[name] = evaluate(network, batches, task=run.judge)
    original = fuse(trace(run.teacher, run.recipe.model.input_size))
    return Result(
        model=run.recipe.network_name,
        data=run.recipe.data.source,
        original=_figures(original, found["original"].metric, latency["original"]),
        compressed=_figures(fused, found["fused"].metric, latency["fused"]),
        untrained_metric=found["applied"].metric,
        test_images=len(run.data.test),
        speedup=latency["original"].median_ms / latency["fused"].median_ms,
        predicted_ms=run.plan.latency_ms,
        predicted_speedup=run.plan.speedup,
        fused_difference=fused_difference(run, run.network("finetuned"), fused),
        onnx_difference=_onnx_difference(run, fused),
        conditions=run.runtime.conditions(batch),
        fused=str(run.path("fused")),
        onnx=str(run.path("fused.onnx")),
        metric=run.task.metric,
        inputs=described(run.data),
        warnings=tuple(
            warnings_of(
                judged(run.task, found["original"], run.examples.test, figures(run)),
                run.task.metric,
                read_kept(TrainResult, run.path("finetuned/history.json"), None),
                latency["original"],
                latency["fused"],
            )
        ),
        method=told(run.recipe),
        picked=run.recipe.picked,
        importance=_importance(run.importance),
        further=tuple(_further(run, networks, found)),
    )


def _further(
    run: Context, networks: Mapping[str, nn.Module], found: Mapping[str, Evaluation]
) -> Iterator[FurtherMetric]:
    """The task's further figures, and what the user's own metric says, on the data as they are."""
    for name in run.judge.further:
        yield FurtherMetric(name, *(each.further[name] for each in found.values()))
    own, test = run.recipe.own_metric, run.data.test
    if own is not None:
        said = (told_by(own, network, test.batches(BATCH)) for network in networks.values())
        yield FurtherMetric(function_name(own), *said)


def _importance(table: ImportanceTable) -> str:
    """How a table came about, in words."""
    return ", ".join(filter(None, (table.estimator, table.protocol)))


def result_workload(images: int) -> Workload:
    """The work of ``measure`` on this many test images."""
    return Workload(forward_images=len(TESTED) * images)


@torch.no_grad()
def fused_difference(run: Context, reference: nn.Module, other: nn.Module) -> float:
    """Largest relative difference of two networks' outputs on calibration images."""
    inputs, _ = next(run.data.calibration.batches(BATCH))
    return relative_difference(output_of(reference, inputs), output_of(other, inputs))


def _latencies(run: Context) -> dict[str, LatencySummary]:
    batch = run.recipe.latency.batch
    calls = {
        name: ready(run.runtime, run.path(f"{name}.onnx"), batch) for name in ("original", "fused")
    }
    run.reporter.progress(0, 4, "timing original and fused in turn")
    return time_in_turn(calls)


@torch.no_grad()
def _onnx_difference(run: Context, fused: nn.Module) -> float:
    batch = run.recipe.latency.batch
    inputs, _ = next(run.data.calibration.batches(max(batch, 16)))
    inputs = at_least(inputs, batch)
    wanted = output_of(fused, inputs)
    return onnx_difference(run.runtime, run.path("fused.onnx"), inputs, wanted, batch)


def _figures(network: fx.GraphModule, metric: float, latency: LatencySummary) -> NetworkFigures:
    modules = dict(network.named_modules())
    nodes = list(network.graph.nodes)
    called = [modules[str(node.target)] for node in nodes if node.op == "call_module"]
    functions = sum(node.target is F.linear for node in nodes)
    return NetworkFigures(
        metric=metric,
        latency=latency,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        convolutions=sum(isinstance(module, nn.Conv2d) for module in called),
        activations=sum(node_activation(node, modules) is not None for node in nodes),
        linear=functions + sum(isinstance(module, nn.Linear) for module in called),
    )
