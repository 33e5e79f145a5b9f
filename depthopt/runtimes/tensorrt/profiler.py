"""The profiler that TensorRT reports each layer of each run to."""

from typing import SupportsFloat

import tensorrt as trt


class Reports(trt.IProfiler):  # type: ignore[misc] # untyped where TensorRT is not installed
    """Layers' names and milliseconds, as they come in."""

    def __init__(self) -> None:
        trt.IProfiler.__init__(self)
        self._run: list[tuple[str, float]] = []

    def report_layer_time(self, layer_name: str, ms: SupportsFloat) -> None:
        """Called by TensorRT, once a layer and run."""
        self._run.append((layer_name, float(ms)))

    def take(self) -> list[tuple[str, float]]:
        """What was reported since the last call."""
        taken, self._run = self._run, []
        return taken
