"""Keep the kernels that TensorRT for RTX compiles for a GPU between processes.

Its engines hold no machine code: that is made where one is loaded, and takes seconds.
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-with-runtime-cache.html
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from depthopt.errors import ArtefactError
from depthopt.runtimes.tensorrt import caches
from depthopt.runtimes.tensorrt.bindings import RtxBindings
from depthopt.runtimes.tensorrt.origin import Origin

if TYPE_CHECKING:
    import tensorrt_rtx


@dataclass(frozen=True, slots=True)
class RuntimeCache:
    """A file of kernels.

    Attributes:
        path: the file.
        here: the GPU and the version that they are of.
    """

    path: Path
    here: Origin

    def context(
        self, trt: RtxBindings, engine: "tensorrt_rtx.ICudaEngine"
    ) -> "tensorrt_rtx.IExecutionContext":
        """An execution context in the caller's memory. New kernels are added to the file.

        Raises:
            ArtefactError: the file is of another GPU or version, or damaged.
        """
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        cache, instead = config.create_runtime_cache(), "remove it: it is made again"
        content = caches.read(self.path, self.here, what="the runtime cache", instead=instead)
        if content and not cache.deserialize(content):
            raise ArtefactError(
                f"the runtime cache {self.path} is not one of this device and version "
                f"({self.here}); {instead}"
            )
        config.set_runtime_cache(cache)
        context = engine.create_execution_context(config)
        caches.keep(self.path, bytes(cache.serialize()), self.here)
        return context
