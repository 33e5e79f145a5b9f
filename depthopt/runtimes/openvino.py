"""OpenVINO on the processor, at a stated precision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from depthopt.core.clipped import one_line
from depthopt.core.offline import openvino_silent
from depthopt.errors import ModelError, RuntimeUnavailable
from depthopt.runtimes.base import (
    Array,
    LayerTime,
    check_inputs,
    named,
    processor_conditions,
)
from depthopt.tables.latency import MeasurementConditions

with openvino_silent():
    import openvino as ov

_PRECISIONS = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16, "float16": ov.Type.f16}


class OpenVino:
    """OpenVINO's CPU plugin: one stream, one request, hinted at latency.

    Left to itself it computes in bfloat16 on processors that have it; here it computes in
    ``dtype``, and every compiled model is asked whether it does.
    https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html

    Attributes:
        threads: threads of the one stream.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
    """

    name = "openvino"
    devices = ("cpu",)
    dtypes = tuple(_PRECISIONS)
    is_accelerated = False
    merges_siblings = False

    def __init__(self, *, threads: int = 1, device: str = "cpu", dtype: str = "float32") -> None:
        self.threads, self.dtype = threads, dtype
        self._device = device.upper()
        self._core = ov.Core()

    @property
    def version(self) -> str:
        """OpenVINO's version, such as 2025.3.0."""
        return str(ov.__version__).partition("-")[0]

    def conditions(self, batch: int) -> MeasurementConditions:
        """The conditions of measurements made here at ``batch`` images per inference."""
        return processor_conditions(self, threads=self.threads, dtype=self.dtype, batch=batch)

    def compile(self, onnx_model: bytes | Path) -> "OpenVinoSession":
        """Prepare an ONNX model, given as serialised bytes or as a file.

        Raises:
            ModelError: OpenVINO cannot run the model; the message says why.
            RuntimeUnavailable: it would run it, but not in ``dtype``.
        """
        return self._compile(onnx_model, profiled=False)

    def layer_times(
        self, onnx_model: bytes | Path, inputs: Mapping[str, Array], *, runs: int = 20
    ) -> tuple[LayerTime, ...]:
        """The layers that run, in order, timed by OpenVINO's performance counters.

        Raises:
            ModelError: as ``compile`` and ``run``.
        """
        session = self._compile(onnx_model, profiled=True)
        times_ms: dict[tuple[str, str], list[float]] = {}
        for i in range(2 * runs):  # the first half warms up
            session.run(inputs)
            if i >= runs:
                for layer in session.layers():
                    key = layer.node_name, layer.node_type
                    times_ms.setdefault(key, []).append(1e3 * layer.real_time.total_seconds())
        return tuple(
            LayerTime(name, operator, float(np.median(values)))
            for (name, operator), values in times_ms.items()
        )

    def _compile(self, onnx_model: bytes | Path, *, profiled: bool) -> "OpenVinoSession":
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self.dtype],
            "PERF_COUNT": profiled,
        }
        try:
            read = self._core.read_model(
                onnx_model if isinstance(onnx_model, bytes) else str(onnx_model)
            )
            compiled = self._core.compile_model(read, self._device, settings)
            used = compiled.get_property("INFERENCE_PRECISION_HINT")
        except Exception as error:  # its exceptions share no base but this one
            raise ModelError(
                f"openvino {self.version} cannot run {named(onnx_model)}: {one_line(error)}"
            ) from error
        if used != _PRECISIONS[self.dtype]:
            raise RuntimeUnavailable(
                f"openvino {self.version} computes in {used.get_type_name()} here, "
                f"not in {self.dtype}; ask for that dtype"
            )
        return OpenVinoSession(compiled)


class OpenVinoSession:
    """A model compiled by ``OpenVino``."""

    __slots__ = ("_count", "_request", "input_dtypes", "input_shapes")

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._count = len(compiled.outputs)
        self.input_shapes: dict[str, tuple[int | None, ...]] = {
            port.get_any_name(): tuple(
                n.get_length() if n.is_static else None for n in port.get_partial_shape()
            )
            for port in compiled.inputs
        }
        self.input_dtypes = {
            port.get_any_name(): str(np.dtype(port.get_element_type().to_dtype()))
            for port in compiled.inputs
        }

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run once and give all outputs in order, valid until the next run.

        Raises:
            ModelError: inputs of wrong names or shapes, or a failing operator.
        """
        try:
            found = self._request.infer(inputs, share_inputs=True, share_outputs=True)
        except Exception as error:  # its exceptions share no base but this one
            reason = check_inputs(self, inputs) or one_line(error)
            raise ModelError(f"openvino cannot run the model: {reason}") from error
        return [found[i] for i in range(self._count)]

    def layers(self) -> list[Any]:
        """The layers of the last run, as the performance counters timed them."""
        executed = ov.ProfilingInfo.Status.EXECUTED
        return [
            layer
            for layer in self._request.profiling_info
            if layer.status == executed and layer.real_time.total_seconds() > 0
        ]
