"""Runtimes by name, each imported only when asked for."""

import difflib
import importlib
from typing import NamedTuple

from depthopt.core.numbers import Threads, require
from depthopt.errors import RuntimeUnavailable, UsageError
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.tensorrt.library import LIBRARIES, Library
from depthopt.runtimes.tensorrt.options import BuildOptions


class _Entry(NamedTuple):
    module: str
    class_name: str
    package: str
    """What pip installs for it."""
    library: Library | None = None
    """Of a runtime that builds engines, and takes ``BuildOptions``."""


def _engines_of(library: Library) -> _Entry:
    return _Entry("depthopt.runtimes.tensorrt.runtime", "TensorRt", library.package, library)


_RUNTIMES = {
    "onnxruntime": _Entry("depthopt.runtimes.onnxruntime", "OnnxRuntime", "onnxruntime"),
    "openvino": _Entry("depthopt.runtimes.openvino", "OpenVino", "openvino"),
    **{name: _engines_of(library) for name, library in LIBRARIES.items()},
    "torch": _Entry("depthopt.runtimes.torch", "EagerTorch", "torch"),
    "torch_compiled": _Entry("depthopt.runtimes.torch", "CompiledTorch", "torch"),
}


def runtime_names() -> tuple[str, ...]:
    """The runtimes that ``get_runtime`` knows."""
    return tuple(_RUNTIMES)


def get_runtime(
    name: str,
    *,
    threads: int = 1,
    device: str = "cpu",
    dtype: str = "float32",
    build: BuildOptions | None = None,
) -> Runtime:
    """The runtime called ``name``, pinned to these conditions.

    Args:
        name: one of ``runtime_names()``.
        threads: intra-operator threads.
        device: ``cpu``, or ``cuda`` where the runtime can.
        dtype: what it computes in; ``float32``, or what else the runtime can.
        build: how TensorRT builds its engines.

    Raises:
        RuntimeUnavailable: the name is unknown, its package is not installed, or it
            cannot use the device or the dtype.
        UsageError: ``threads`` is below 1, or there is nothing to build.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}, expected 1 or more")
    require(Threads, "threads", threads)
    known = ", ".join(_RUNTIMES)
    if name not in _RUNTIMES:
        near = difflib.get_close_matches(name, _RUNTIMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RuntimeUnavailable(f"unknown runtime {name!r}; {hint}known: {known}")
    entry = _RUNTIMES[name]
    try:
        implementation = getattr(importlib.import_module(entry.module), entry.class_name)
    except ImportError as error:
        raise RuntimeUnavailable(
            f"runtime {name!r} is not installed ({error}); run: pip install {entry.package}"
        ) from None
    for what, value, can in (
        ("device", device, implementation.devices),
        ("dtype", dtype, implementation.dtypes),
    ):
        if value not in can:
            raise RuntimeUnavailable(
                f"runtime {name!r} has no {what} {value!r}; it has: {', '.join(can)}"
            )
    settings: dict[str, object] = {}
    if entry.library is not None:
        settings = {"build": build or BuildOptions(), "library": entry.library}
    elif build not in {None, BuildOptions()}:
        raise UsageError(f"runtime {name!r} does not build engines; leave latency.build out")
    runtime: Runtime = implementation(threads=threads, device=device, dtype=dtype, **settings)
    return runtime
