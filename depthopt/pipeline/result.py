"""A run's result: how good, fast and large the network is, before and after."""

from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.counted import counted
from depthopt.core.metric import Metric
from depthopt.tables.latency import LatencySummary, MeasurementConditions


@dataclass(frozen=True, slots=True, repr=False)
class NetworkFigures:
    """One network's figures.

    Attributes:
        metric: the task's, on the test split; of classification the accuracy, points of 100.
        latency: end to end, from the ONNX file.
        parameters: weights and biases, norms folded.
        convolutions: left in the network.
        activations: left in the network.
        linear: linear layers left in the network.
    """

    metric: float
    latency: LatencySummary
    parameters: numbers.Parameters
    convolutions: numbers.CountOrZero
    activations: numbers.CountOrZero
    linear: numbers.CountOrZero = 0

    def __repr__(self) -> str:
        return (
            f"NetworkFigures: metric {self.metric:.4g}, {self.latency.median_ms:.4g} ms, "
            f"{counted(self.parameters, 'parameter')}"
        )


@dataclass(frozen=True, slots=True)
class FurtherMetric:
    """One more figure of the networks: a task's, or what a user's own function says.

    Attributes:
        name: of the figure or the function.
        original: of the network before.
        untrained: of the shallow network before finetuning.
        compressed: of the fused network.
    """

    name: str
    original: float
    untrained: float
    compressed: float


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """A finished run.

    Attributes:
        model: name of the original network.
        data: data set.
        original: the network before.
        compressed: the fused network.
        untrained_metric: of the shallow network before finetuning.
        test_images: number of examples that metrics were measured on.
        speedup: measured, original over compressed, timed in turn in one process.
        predicted_ms: what the latency table predicted for the plan.
        predicted_speedup: what the latency table predicted.
        fused_difference: largest relative difference of outputs, fused against trained.
        onnx_difference: the same, ONNX file against fused.
        conditions: of the latencies.
        fused: folder of the fused model, for ``depthopt.load``.
        onnx: path of its ONNX file.
        metric: what the metrics are.
        inputs: what the networks are given, in words: size and normalisation.
        warnings: why the figures may not be what they seem, a sentence each.
        method: whose settings the recipe had, and which it said otherwise.
        picked: how the plan was: ``predicted``, ``measured`` or ``tried``.
        importance: how importances came about, with the word ``reduced`` where that is less than
            the papers' protocol.
        further: more figures of the networks: the task's, and the user's own.
    """

    model: str
    data: str
    original: NetworkFigures
    compressed: NetworkFigures
    untrained_metric: float
    test_images: numbers.CountOrZero
    speedup: numbers.Positive
    predicted_ms: numbers.PositiveMilliseconds
    predicted_speedup: numbers.Positive
    fused_difference: float
    onnx_difference: float
    conditions: MeasurementConditions
    fused: str
    onnx: str
    metric: Metric
    inputs: str = ""
    warnings: tuple[str, ...] = ()
    method: str = ""
    picked: str = ""
    importance: str = ""
    further: tuple[FurtherMetric, ...] = ()

    def __repr__(self) -> str:
        said = self.metric.text
        return (
            f"Result of {self.model} on {self.data}: {self.speedup:.2f}x measured, "
            f"{self.metric.name} {said(self.original.metric)} to {said(self.compressed.metric)}"
        )
