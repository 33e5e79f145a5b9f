"""The two TensorRT libraries that engines are built with, as values."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from depthopt.core.clipped import one_line
from depthopt.errors import RuntimeUnavailable, UsageError
from depthopt.runtimes.tensorrt.options import BuildOptions, numbers

if TYPE_CHECKING:
    from depthopt.runtimes.tensorrt.bindings import Bindings


@dataclass(frozen=True, slots=True)
class Library:
    """A TensorRT library. Both may be used in one process.

    Attributes:
        name: of the runtime, in recipes and tables.
        title: in messages.
        module: what is imported.
        package: what pip installs.
        minimum: the oldest version that is used here.
        cache: what is kept from process to process: ``timing``, what builds measured of kernels;
            ``runtime``, kernels compiled when an engine is loaded.
        merges_siblings: whether convolutions that read one tensor are merged into a wider one.
        targets: compute capabilities that engines are built for ahead of time, on any machine;
            none where engines are built for the GPU that is there.
        loads_without_driver: whether an engine that is loaded without a driver is refused; else
            the process may end.
    """

    name: str
    title: str
    module: str
    package: str
    minimum: tuple[int, ...]
    cache: Literal["timing", "runtime"]
    merges_siblings: bool
    targets: tuple[str, ...] = ()
    loads_without_driver: bool = False

    def load(self) -> "Bindings":
        """The library's Python module.

        Raises:
            RuntimeUnavailable: it is not installed, or too old.
        """
        install = f"run: pip install '{self.package}'"
        try:
            bindings = cast("Bindings", importlib.import_module(self.module))
        except (ImportError, OSError) as error:  # OSError: of a library that is not there
            raise RuntimeUnavailable(
                f"{self.title} is not installed ({one_line(error)}); {install}"
            ) from None
        if numbers(bindings.__version__) < self.minimum:
            raise RuntimeUnavailable(f"{self.title} {bindings.__version__} is too old; {install}")
        return bindings

    def require(self, build: BuildOptions) -> None:
        """Refuse settings that the library would ignore or fail at.

        Raises:
            UsageError: a setting that it does not have.
        """
        if self.cache == "timing":
            return
        for name in ("optimization_level", "version_compatible", "timing_cache"):
            value = getattr(build, name)
            if value != getattr(BuildOptions(), name):
                raise UsageError(
                    f"latency.build.{name} is {value}, but {self.title} has no such setting; "
                    "leave it out"
                )


TENSORRT = Library(
    name="tensorrt",
    title="TensorRT",
    module="tensorrt",
    package="tensorrt>=10.12",
    minimum=(10, 12),
    cache="timing",
    merges_siblings=True,  # "a || b": https://github.com/NVIDIA/TensorRT/issues/2525
)

TENSORRT_RTX = Library(
    name="tensorrt_rtx",
    title="TensorRT for RTX",
    module="tensorrt_rtx",
    package="tensorrt-rtx-cu13>=1.4",
    minimum=(1, 4),
    cache="runtime",
    merges_siblings=False,  # by the layers of its engines: tests/latency/test_compiled_graphs.py
    targets=("sm75", "sm80", "sm86", "sm89", "sm120", "sm121"),
    loads_without_driver=True,
)

LIBRARIES = {library.name: library for library in (TENSORRT, TENSORRT_RTX)}
"""Libraries by name."""


def builds_no_engines(runtime: str) -> str:
    """The message when a runtime without such a library is asked for an engine."""
    return (
        f"runtime {runtime!r} does not build engines; set latency.runtime=tensorrt, or name the "
        "GPUs to build for: --target sm89"
    )
