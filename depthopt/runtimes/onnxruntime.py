"""ONNX Runtime in float32, on the processor or on a CUDA device."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from depthopt.core.clipped import one_line
from depthopt.errors import ModelError, RuntimeUnavailable
from depthopt.runtimes.base import Array, LayerTime, named, processor_conditions
from depthopt.runtimes.onnx_names import Ran, by_user_names
from depthopt.tables.latency import MeasurementConditions

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime:
    """ONNX Runtime with all graph optimisations.

    Threads of several sessions share the processor while they are measured in turn, so
    a session's threads spin within a run (as they do where one network runs alone) and
    stop spinning when it returns.
    https://onnxruntime.ai/docs/performance/tune-performance/threading.html

    On CUDA, inputs are copied to the device before the clock starts and outputs stay
    there, but for those that ``run`` returns; TF32 is off.
    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html

    Attributes:
        threads: intra-operator threads; operators themselves run one after another.
        device: ``cpu`` or ``cuda``.
    """

    name = "onnxruntime"
    devices = tuple(_PROVIDERS)
    dtypes = ("float32",)
    merges_siblings = False

    def __init__(self, *, threads: int = 1, device: str = "cpu", dtype: str = "float32") -> None:
        """Pin the conditions.

        Raises:
            RuntimeUnavailable: this build of ONNX Runtime cannot use the device.
        """
        if _PROVIDERS[device] not in ort.get_available_providers():
            raise RuntimeUnavailable(
                f"onnxruntime {ort.__version__} has no {_PROVIDERS[device]}; "
                "run: pip install onnxruntime-gpu"
            )
        self.threads, self.device, self._dtype = threads, device, dtype

    @property
    def version(self) -> str:
        """ONNX Runtime's version."""
        return str(ort.__version__)

    @property
    def is_accelerated(self) -> bool:
        """Whether networks run on a CUDA device."""
        return self.device != "cpu"

    def conditions(self, batch: int) -> MeasurementConditions:
        """The conditions of measurements made here at ``batch`` images per inference."""
        found = processor_conditions(self, threads=self.threads, dtype=self._dtype, batch=batch)
        if self.device == "cpu":
            return found
        import torch  # noqa: PLC0415 - only to name the device

        return replace(found, device=torch.cuda.get_device_name(), threads=None, clock_mhz=None)

    def compile(self, onnx_model: bytes | Path) -> "OnnxRuntimeSession":
        """Prepare an ONNX model, given as serialised bytes or as a file.

        Raises:
            ModelError: ONNX Runtime cannot run the model; the message says why.
        """
        return self._compile(onnx_model, self._options())

    def layer_times(
        self, onnx_model: bytes | Path, inputs: Mapping[str, Array], *, runs: int = 20
    ) -> tuple[LayerTime, ...]:
        """The layers that run, in order, timed by ONNX Runtime's profiler.

        They bear the names of the model's nodes (``depthopt.runtimes.onnx_names``).
        https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html

        Raises:
            ModelError: as ``compile`` and ``run``.
        """
        with tempfile.TemporaryDirectory() as folder:
            as_run = Path(folder) / "as_run.onnx"
            session = self._compile(onnx_model, self._profiled(as_run))
            for _ in range(2 * runs):  # the first half warms up
                session.run(inputs)
            events = json.loads(Path(session.end_profiling()).read_bytes())
            optimised = onnx.load(as_run, load_external_data=False)
        times_us: dict[Ran, list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                name, told = event["name"].removesuffix("_kernel_time"), event["args"]
                ran = Ran(name, told["op_name"], int(told.get("node_index", -1)))
                times_us[ran].append(event["dur"])
        medians_ms = [
            (ran, float(np.median(durations[-runs:])) / 1e3) for ran, durations in times_us.items()
        ]
        return by_user_names(_read(onnx_model), optimised, medians_ms)

    def _options(self) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 4  # what is wrong is in the exception too
        return options

    def _profiled(self, as_run: Path) -> Any:
        """Options to profile with, and to write the model as it runs to a file."""
        options = self._options()
        options.enable_profiling = True
        options.profile_file_prefix = str(as_run.with_suffix(""))
        options.optimized_model_filepath = str(as_run)
        # Weights go beside it, where they are not limited to protobuf's 2 GB.
        beside = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{beside}_file_name", "weights.bin")
        options.add_session_config_entry(f"{beside}_min_size_in_bytes", "1024")
        return options

    def _compile(self, onnx_model: bytes | Path, options: Any) -> "OnnxRuntimeSession":
        source = onnx_model if isinstance(onnx_model, bytes) else str(onnx_model)
        provider: tuple[str, dict[str, str]] = (
            _PROVIDERS[self.device],
            {"use_tf32": "0"} if self.device == "cuda" else {},
        )
        try:
            session = ort.InferenceSession(source, options, providers=[provider])
        except Exception as error:  # its exceptions share no base but this one
            raise ModelError(
                f"onnxruntime {self.version} cannot run {named(onnx_model)}: {one_line(error)}"
            ) from error
        return OnnxRuntimeSession(session, self.device)


def _read(onnx_model: bytes | Path) -> onnx.ModelProto:
    """A model, less the weights in other files."""
    if isinstance(onnx_model, bytes):
        return onnx.load_model_from_string(onnx_model)
    return onnx.load(onnx_model, load_external_data=False)


_DTYPES = {"float": "float32", "double": "float64"}
"""NumPy's names of what ONNX Runtime calls otherwise."""


class OnnxRuntimeSession:
    """A model compiled by ``OnnxRuntime``."""

    __slots__ = (
        "_binding",
        "_bound",
        "_device",
        "_outputs",
        "_session",
        "input_dtypes",
        "input_shapes",
    )

    def __init__(self, session: Any, device: str) -> None:
        self._session, self._device = session, device
        self._outputs = [output.name for output in session.get_outputs()]
        self._binding: Any = None
        self._bound: Mapping[str, Array] | None = None
        self.input_shapes: dict[str, tuple[int | None, ...]] = {
            node.name: tuple(n if isinstance(n, int) else None for n in node.shape)
            for node in session.get_inputs()
        }
        self.input_dtypes = {
            node.name: _DTYPES.get(word := node.type[len("tensor(") : -1], word)
            for node in session.get_inputs()
        }

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run once and give all outputs in order.

        On CUDA the copy to the device is made once for each mapping of inputs.

        Raises:
            ModelError: inputs of wrong names or shapes, or a failing operator.
        """
        try:
            if self._device == "cpu":
                outputs: list[Array] = self._session.run(self._outputs, inputs)
                return outputs
            if self._bound is not inputs:
                self._bind(inputs)
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
            return [value.numpy() for value in self._binding.get_outputs()]
        except Exception as error:  # its exceptions share no base but this one
            raise ModelError(f"onnxruntime cannot run the model: {one_line(error)}") from error

    def end_profiling(self) -> str:
        """The profile's file."""
        return str(self._session.end_profiling())

    def _bind(self, inputs: Mapping[str, Array]) -> None:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            on_device = ort.OrtValue.ortvalue_from_numpy(value, self._device, 0)
            binding.bind_ortvalue_input(name, on_device)
        for name in self._outputs:
            binding.bind_output(name, self._device)
        self._binding, self._bound = binding, inputs
