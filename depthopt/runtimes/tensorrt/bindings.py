"""The parts of a TensorRT library's Python module that are used.

No module here imports a library: its module is a value, so that both may be used in one process.
https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/index.html
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/_static/python-api/index.html
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorrt
    import tensorrt_rtx


class Bindings(Protocol):
    """The parts that both libraries have."""

    __version__: str
    Builder: "type[tensorrt.Builder]"
    BuilderFlag: "type[tensorrt.BuilderFlag]"
    DataType: "type[tensorrt.DataType]"
    ExecutionContextAllocationStrategy: "type[tensorrt.ExecutionContextAllocationStrategy]"
    ILogger: "type[tensorrt.ILogger]"
    IProfiler: "type[tensorrt.IProfiler]"
    LayerInformationFormat: "type[tensorrt.LayerInformationFormat]"
    MemoryPoolType: "type[tensorrt.MemoryPoolType]"
    NetworkDefinitionCreationFlag: "type[tensorrt.NetworkDefinitionCreationFlag]"
    OnnxParser: "type[tensorrt.OnnxParser]"
    ProfilingVerbosity: "type[tensorrt.ProfilingVerbosity]"
    Runtime: "type[tensorrt.Runtime]"
    TensorIOMode: "type[tensorrt.TensorIOMode]"


class RtxBindings(Protocol):
    """The further parts of TensorRT for RTX."""

    BuilderFlag: "type[tensorrt_rtx.BuilderFlag]"
    ComputeCapability: "type[tensorrt_rtx.ComputeCapability]"
    ExecutionContextAllocationStrategy: "type[tensorrt_rtx.ExecutionContextAllocationStrategy]"
