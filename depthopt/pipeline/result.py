"""What a run ends with: accuracy, latency and size, before and after."""

from dataclasses import dataclass

from depthopt.tables.latency import LatencySummary, MeasurementConditions


@dataclass(frozen=True, slots=True)
class NetworkFigures:
    """One network's figures.

    Attributes:
        accuracy: top-1 on the test split, points of 100.
        latency: end to end, from the ONNX file.
        parameters: weights and biases, norms folded.
        convolutions: left in the network.
        activations: left in the network.
    """

    accuracy: float
    latency: LatencySummary
    parameters: int
    convolutions: int
    activations: int


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run.

    Attributes:
        model: timm name of the original network.
        data: data set.
        original: the network before.
        compressed: the fused network.
        untrained_accuracy: of the shallow network before finetuning, points of 100.
        test_images: that accuracies were measured on.
        speedup: measured, original over compressed, timed in turn in one process.
        predicted_ms: what the latency table predicted for the plan.
        predicted_speedup: what the latency table predicted.
        fused_difference: largest relative difference of logits, fused against trained.
        onnx_difference: the same, ONNX file against fused.
        conditions: of the latencies.
        fused: folder of the fused model, for ``depthopt.load``.
        onnx: path of its ONNX file.
    """

    model: str
    data: str
    original: NetworkFigures
    compressed: NetworkFigures
    untrained_accuracy: float
    test_images: int
    speedup: float
    predicted_ms: float
    predicted_speedup: float
    fused_difference: float
    onnx_difference: float
    conditions: MeasurementConditions
    fused: str
    onnx: str
