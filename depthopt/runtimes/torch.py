"""PyTorch in float32, eager or compiled, on the processor or on a CUDA device."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx
from torch.profiler import ProfilerActivity, profile, record_function

from depthopt.core.clipped import one_line
from depthopt.errors import ModelError, RuntimeUnavailable
from depthopt.runtimes.base import (
    Array,
    LayerTime,
    check_inputs,
    named,
    processor_conditions,
)
from depthopt.runtimes.onnx_inputs import input_dtypes, input_shapes
from depthopt.runtimes.onnx_to_torch import onnx_to_torch
from depthopt.tables.latency import MeasurementConditions


class EagerTorch:
    """Eager torch, with one call per operator.

    Attributes:
        threads: intra-operator threads while a model runs; the setting outside is kept.
        device: ``cpu`` or ``cuda``.
    """

    name = "torch"
    devices = ("cpu", "cuda")
    dtypes = ("float32",)
    merges_siblings = False

    def __init__(self, *, threads: int = 1, device: str = "cpu", dtype: str = "float32") -> None:
        """Pin the conditions.

        Raises:
            RuntimeUnavailable: torch sees no such device.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeUnavailable("torch sees no CUDA device here; use device cpu")
        self.threads, self.device, self._dtype = threads, device, dtype

    @property
    def version(self) -> str:
        """Torch's version, such as 2.6.0."""
        return str(torch.__version__).partition("+")[0]

    @property
    def is_accelerated(self) -> bool:
        """Whether networks run on a CUDA device."""
        return self.device != "cpu"

    def conditions(self, batch: int) -> MeasurementConditions:
        """The conditions of measurements made here at ``batch`` images per inference."""
        found = processor_conditions(self, threads=self.threads, dtype=self._dtype, batch=batch)
        if self.device == "cpu":
            return found
        name = torch.cuda.get_device_name()
        return replace(found, device=name, threads=None, clock_mhz=None)

    def compile(self, onnx_model: bytes | Path) -> "TorchSession":
        """Prepare an ONNX model, given as serialised bytes or as a file.

        Raises:
            ModelError: torch cannot run the model; the message says why.
        """
        module, graph = self._converted(onnx_model)
        # Called as a module, a graph that fails prints its code and its traceback.
        return TorchSession(module.forward, graph, self.device, self.threads)

    def layer_times(
        self, onnx_model: bytes | Path, inputs: Mapping[str, Array], *, runs: int = 20
    ) -> tuple[LayerTime, ...]:
        """The operators that run, in order, timed by torch's profiler.

        Raises:
            ModelError: as ``compile`` and ``run``.
        """
        module, graph = self._converted(onnx_model)
        marked = _Marked(module)
        session = TorchSession(marked.run, graph, self.device, self.threads)
        for _ in range(runs):  # warms up
            session.run(inputs)
        cuda = self.device == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        with profile(activities=activities) as profiler:
            for _ in range(runs):
                session.run(inputs)
        times_us: dict[str, list[float]] = defaultdict(list)
        for event in profiler.events() or ():
            if event.name in marked.operators:
                times_us[event.name].append(
                    event.device_time_total if cuda else event.cpu_time_total
                )
        return tuple(
            LayerTime(name, operator, float(np.median(times_us[name])) / 1e3)
            for name, operator in marked.operators.items()
            if name in times_us
        )

    def _converted(self, onnx_model: bytes | Path) -> tuple[fx.GraphModule, onnx.GraphProto]:
        try:
            module = onnx_to_torch(onnx_model).to(self.device)
        except ModelError as error:
            raise ModelError(
                f"{self.name} {self.version} cannot run {named(onnx_model)}: {one_line(error)}"
            ) from error
        if isinstance(onnx_model, bytes):
            return module, onnx.load_from_string(onnx_model).graph
        return module, onnx.load(onnx_model, load_external_data=False).graph


class CompiledTorch(EagerTorch):
    """``torch.compile`` with its default backend. The first run compiles, for seconds."""

    name = "torch_compiled"

    def compile(self, onnx_model: bytes | Path) -> "TorchSession":
        """Prepare an ONNX model, given as serialised bytes or as a file.

        Raises:
            ModelError: torch cannot run the model; the message says why.
        """
        module, graph = self._converted(onnx_model)
        torch.compiler.reset()  # or it would stop at its limit of variants
        compiled = torch.compile(module, fullgraph=True, dynamic=False)
        return TorchSession(compiled, graph, self.device, self.threads)

    def layer_times(
        self,
        onnx_model: bytes | Path,  # noqa: ARG002 - the interface's
        inputs: Mapping[str, Array],  # noqa: ARG002
        *,
        runs: int = 20,  # noqa: ARG002
    ) -> tuple[LayerTime, ...]:
        """Empty, since compiled kernels have no names of layers."""
        return ()


class TorchSession:
    """A model prepared by ``EagerTorch`` or ``CompiledTorch``."""

    __slots__ = (
        "_bound",
        "_call",
        "_device",
        "_tensors",
        "_threads",
        "input_dtypes",
        "input_shapes",
    )

    def __init__(
        self,
        call: Callable[..., Any],
        graph: onnx.GraphProto,
        device: str,
        threads: int,
    ) -> None:
        self._call, self._device, self._threads = call, device, threads
        self._bound: Mapping[str, Array] | None = None
        self._tensors: list[Tensor] = []
        self.input_shapes, self.input_dtypes = input_shapes(graph), input_dtypes(graph)

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run once and give all outputs in order.

        The copy to a device is made once for each mapping of inputs.

        Raises:
            ModelError: inputs of wrong names or shapes, or a failing operator.
        """
        if self._bound is not inputs:
            if reason := check_inputs(self, inputs):
                raise ModelError(f"torch cannot run the model: {reason}")
            self._tensors = [
                torch.from_numpy(inputs[name]).to(self._device) for name in self.input_shapes
            ]
            self._bound = inputs
        try:
            with _threads(self._threads):
                outputs = self._call(*self._tensors)
                return [tensor.cpu().numpy() for tensor in outputs]
        except Exception as error:  # the compiler's exceptions share no base but this one
            raise ModelError(f"torch cannot run the model: {one_line(error)}") from error


class _Marked(fx.Interpreter):
    """Runs a graph with every call marked by its name in the profiler's record."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.operators = {
            node.name: getattr(node.target, "__name__", str(node.target)).strip("_")
            for node in module.graph.nodes
            if node.op == "call_function"
        }

    def run_node(self, n: fx.Node) -> Any:
        if n.name not in self.operators:
            return super().run_node(n)
        with record_function(n.name):
            return super().run_node(n)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
