"""The profiler that TensorRT reports each layer of each run to."""

from typing import TYPE_CHECKING, SupportsFloat

from depthopt.runtimes.tensorrt.bindings import Bindings

if TYPE_CHECKING:
    import tensorrt


class Reports:
    """Names and milliseconds of layers, in the order in which they are reported."""

    def __init__(self) -> None:
        self._run: list[tuple[str, float]] = []

    def add(self, layer_name: str, ms: float) -> None:
        """Note one layer of the run under way."""
        self._run.append((layer_name, ms))

    def take(self) -> list[tuple[str, float]]:
        """All that was reported since the last call."""
        taken, self._run = self._run, []
        return taken


def profiler(trt: Bindings, reports: Reports) -> "tensorrt.IProfiler":
    """A profiler of the library that passes everything on to ``reports``."""
    if TYPE_CHECKING:
        from tensorrt import IProfiler  # noqa: PLC0415 - of the library that is given
    else:
        IProfiler = trt.IProfiler  # noqa: N806 - it is a class

    class Profiler(IProfiler):  # type: ignore[misc] # untyped where it is not installed
        def __init__(self) -> None:
            IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: SupportsFloat) -> None:
            """Called by TensorRT, once a layer and run."""
            reports.add(layer_name, float(ms))

    return Profiler()
