"""ONNX Runtime on the processor, in float32."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import onnxruntime as ort
import psutil

from depthopt.core.tables import MeasurementConditions
from depthopt.errors import ModelError
from depthopt.runtimes.base import Array, processor_name


class OnnxRuntime:
    """ONNX Runtime's CPU provider with all graph optimisations.

    Threads of several sessions share the processor while they are measured in turn, so
    a session's threads spin within a run (as they do where one network runs alone) and
    stop spinning when it returns.
    https://onnxruntime.ai/docs/performance/tune-performance/threading.html

    Attributes:
        threads: intra-operator threads; operators themselves run one after another.
    """

    name = "onnxruntime"

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._options = ort.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        self._options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._options.add_session_config_entry("session.force_spinning_stop", "1")
        self._options.log_severity_level = 3

    @property
    def version(self) -> str:
        """ONNX Runtime's version."""
        return str(ort.__version__)

    def conditions(self, batch: int) -> MeasurementConditions:
        """What measurements made here at ``batch`` images per inference stand for."""
        clock = psutil.cpu_freq()
        return MeasurementConditions(
            device=processor_name(),
            runtime=self.name,
            runtime_version=self.version,
            threads=self.threads,
            dtype="float32",
            batch=batch,
            date=date.today().isoformat(),
            clock_mhz=round(clock.current) if clock and clock.current else None,
        )

    def compile(self, model: bytes | Path) -> "OnnxRuntimeSession":
        """Prepare an ONNX model, given as serialised bytes or as a file.

        Raises:
            ModelError: ONNX Runtime cannot run the model; the message says why.
        """
        source = model if isinstance(model, bytes) else str(model)
        try:
            session = ort.InferenceSession(
                source, self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base but this one
            which = "the model" if isinstance(model, bytes) else f"{model}"
            raise ModelError(
                f"onnxruntime {self.version} cannot run {which}: {_line(error)}"
            ) from error
        return OnnxRuntimeSession(session)


class OnnxRuntimeSession:
    """A model compiled by ``OnnxRuntime``."""

    __slots__ = ("_outputs", "_session", "input_shapes")

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self.input_shapes: dict[str, tuple[int | None, ...]] = {
            node.name: tuple(n if isinstance(n, int) else None for n in node.shape)
            for node in session.get_inputs()
        }

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run once and give all outputs in order.

        Raises:
            ModelError: inputs of wrong names or shapes, or a failing operator.
        """
        try:
            outputs: list[Array] = self._session.run(self._outputs, inputs)
        except Exception as error:  # its exceptions share no base but this one
            raise ModelError(f"onnxruntime cannot run the model: {_line(error)}") from error
        return outputs


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
