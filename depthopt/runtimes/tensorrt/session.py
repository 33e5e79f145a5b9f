"""Run engines: buffers on the device, CUDA graphs, and the clocks of both sides.

Device memory is torch's. All engines of a runtime share one scratch buffer, for they run in turn:
a dozen entries at batch 128 would not fit otherwise.
"""

import logging
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from depthopt.core.clipped import one_line
from depthopt.errors import ModelError
from depthopt.runtimes.base import Array, check_inputs
from depthopt.runtimes.tensorrt.bindings import Bindings, RtxBindings
from depthopt.runtimes.tensorrt.network import Shapes
from depthopt.runtimes.tensorrt.profiler import Reports, profiler
from depthopt.runtimes.tensorrt.runtime_cache import RuntimeCache

if TYPE_CHECKING:
    import tensorrt
    import tensorrt_rtx

logger = logging.getLogger(__name__)


class Scratch:
    """Device memory that engines use one after another. It is freed with the last one."""

    def __init__(self) -> None:
        self._newest: weakref.ref[Tensor] | None = None

    def of(self, size_bytes: int) -> Tensor:
        """A buffer of at least this many bytes. Earlier ones stay with those who captured them."""
        buffer = self._newest() if self._newest else None
        if buffer is None or buffer.nbytes < size_bytes:
            buffer = torch.empty(max(1, size_bytes), dtype=torch.uint8, device="cuda")
            self._newest = weakref.ref(buffer)
        return buffer


class Execution:
    """One engine with its buffers, captured as a CUDA graph when it first runs.

    Attributes:
        inputs: on the device, by name.
        outputs: likewise.
    """

    def __init__(
        self,
        trt: Bindings,
        engine: "tensorrt.ICudaEngine",
        scratch: Scratch,
        cache: RuntimeCache | None = None,
    ) -> None:
        """Allocate the buffers.

        Args:
            trt: the library.
            engine: of that library.
            scratch: memory that is shared.
            cache: of kernels compiled for this GPU, where the library compiles them only now.

        Raises:
            ModelError: the device's memory does not suffice.
        """
        self._trt = trt
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._is_capturable = True
        self._context = _context(trt, engine, cache)
        if self._context is None:
            raise ModelError("no execution context could be made; lower latency.batch")
        self._scratch = scratch.of(engine.device_memory_size_v2)
        self._context.set_device_memory(self._scratch.data_ptr(), self._scratch.nbytes)
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        dtypes = _dtypes(trt)
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            tensor = torch.empty(
                tuple(engine.get_tensor_shape(name)),
                dtype=dtypes[engine.get_tensor_dtype(name)],
                device="cuda",
            )
            self._context.set_tensor_address(name, tensor.data_ptr())
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (self.inputs if is_input else self.outputs)[name] = tensor
        self._host = [torch.empty_like(t, device="cpu").pin_memory() for t in self.outputs.values()]

    def run(self) -> list[Array]:
        """Run on ``inputs``, and return copies of the outputs on the host, valid until the next."""
        launch = self._launch()
        with torch.cuda.stream(self._stream):
            launch()
            for host, output in zip(self._host, self.outputs.values(), strict=True):
                host.copy_(output, non_blocking=True)
        self._stream.synchronize()
        return [host.numpy() for host in self._host]

    def device_ms(self, runs: int) -> float:
        """Milliseconds per run by the device's own clock: CUDA events around ``runs`` launches."""
        launch = self._launch()
        begin, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        with torch.cuda.stream(self._stream):
            begin.record()
            for _ in range(runs):
                launch()
            end.record()
        self._stream.synchronize()
        return float(begin.elapsed_time(end)) / runs

    def profiled(self, runs: int) -> list[list[tuple[str, float]]]:
        """Layers and their milliseconds, for each of ``runs`` runs without a graph."""
        reports = Reports()
        self._context.profiler = profiler(self._trt, reports)
        found = []
        for _ in range(2 * runs):  # the first half warms up
            self._enqueue()
            self._stream.synchronize()
            found.append(reports.take())
        return found[runs:]

    def _launch(self) -> Callable[[], object]:
        """One launch of all kernels: a CUDA graph's, or where none can be made of them, theirs."""
        if self._graph is None and self._is_capturable:
            self._stream.wait_stream(torch.cuda.current_stream())  # which filled the inputs
            self._enqueue()  # before it is captured, for what is set up once
            self._stream.synchronize()
            self._graph = self._captured()
            self._is_capturable = self._graph is not None
        return self._enqueue if self._graph is None else self._graph.replay

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._enqueue()
        except (ModelError, RuntimeError) as error:  # CUDA's
            logger.warning(
                "the engine cannot run as a CUDA graph (%s); its kernels are launched one by "
                "one, and the time of the launches is part of what is measured",
                one_line(error),
            )
            return None
        return graph

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise ModelError("TensorRT could not enqueue the engine")


def _context(
    trt: Bindings, engine: "tensorrt.ICudaEngine", cache: RuntimeCache | None
) -> "tensorrt.IExecutionContext":
    """What runs an engine, in memory of ours."""
    if cache is not None:
        return cache.context(cast("RtxBindings", trt), cast("tensorrt_rtx.ICudaEngine", engine))
    return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)


def _dtypes(trt: Bindings) -> "dict[tensorrt.DataType, torch.dtype]":
    return {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.INT32: torch.int32,
        trt.DataType.INT64: torch.int64,
    }


class TensorRtSession:
    """A model compiled by ``TensorRt``.

    A run is one launch of a CUDA graph, the copy of the outputs into pinned memory, and a wait for
    both, so that a clock on the host times what the device does: launches of single kernels, which
    would weigh on small networks, are no part of it. Inputs are copied before, once for each
    mapping of inputs.
    """

    __slots__ = (
        "_bound",
        "_execution",
        "_execution_for",
        "_executions",
        "input_dtypes",
        "input_shapes",
    )

    def __init__(
        self,
        input_shapes: Mapping[str, tuple[int | None, ...]],
        input_dtypes: Mapping[str, str],
        execution_for: Callable[[Shapes], Execution],
    ) -> None:
        """Make the engine ready, if no dimension is free; else the first run of a shape does.

        Raises:
            ModelError: as ``execution_for``.
        """
        self.input_shapes, self.input_dtypes = dict(input_shapes), dict(input_dtypes)
        self._execution_for = execution_for
        self._executions: dict[tuple[tuple[int, ...], ...], Execution] = {}
        self._bound: Mapping[str, Array] | None = None
        self._execution: Execution | None = None
        fixed = {n: s for n, s in input_shapes.items() if all(d is not None for d in s)}
        if len(fixed) == len(input_shapes):
            self._prepared(fixed)  # type: ignore[arg-type] # none of them is None

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run once and give all outputs in order.

        Raises:
            ModelError: inputs of wrong names or shapes, or a failing engine.
        """
        execution = self._execution
        if execution is None or self._bound is not inputs:
            execution = self._filled(inputs)
        try:
            return execution.run()
        except RuntimeError as error:  # CUDA's
            raise ModelError(f"tensorrt cannot run the model: {one_line(error)}") from error

    def device_ms(self, inputs: Mapping[str, Array], *, runs: int = 20) -> float:
        """Milliseconds per run between two CUDA events, outputs left on the device.

        Raises:
            ModelError: as ``run``.
        """
        self.run(inputs)
        return self._filled(inputs).device_ms(runs)

    def profiled(
        self, inputs: Mapping[str, Array], *, runs: int = 20
    ) -> list[list[tuple[str, float]]]:
        """Layers and their milliseconds by TensorRT's profiler, for each run.

        Raises:
            ModelError: as ``run``.
        """
        return self._filled(inputs).profiled(runs)

    def _filled(self, inputs: Mapping[str, Array]) -> Execution:
        """The engine for these inputs, with them on the device."""
        if reason := check_inputs(self, inputs):
            raise ModelError(f"tensorrt cannot run the model: {reason}")
        execution = self._prepared({name: array.shape for name, array in inputs.items()})
        for name, tensor in execution.inputs.items():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(inputs[name])))
        torch.cuda.current_stream().synchronize()
        self._bound, self._execution = inputs, execution
        return execution

    def _prepared(self, shapes: Shapes) -> Execution:
        key = tuple(shapes[name] for name in self.input_shapes)
        if key not in self._executions:
            self._executions[key] = self._execution_for(shapes)
        return self._executions[key]
