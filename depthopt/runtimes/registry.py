"""Runtimes by name, each imported only when asked for."""

import difflib
import importlib

from depthopt.errors import RuntimeUnavailable, UsageError
from depthopt.runtimes.base import Runtime

_RUNTIMES = {"onnxruntime": ("depthopt.runtimes.onnxruntime", "OnnxRuntime", "onnxruntime")}
"""By name: the module, its class, and what pip installs for it."""

_PLANNED = ("openvino", "tensorrt", "torch")


def runtime_names() -> tuple[str, ...]:
    """The runtimes that ``get_runtime`` knows."""
    return tuple(_RUNTIMES)


def get_runtime(name: str, *, threads: int = 1) -> Runtime:
    """The runtime called ``name``, pinned to ``threads`` intra-operator threads.

    Raises:
        RuntimeUnavailable: the name is unknown, or its package is not installed.
        UsageError: ``threads`` is below 1.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}, expected 1 or more")
    known = ", ".join(_RUNTIMES)
    if name in _PLANNED:
        raise RuntimeUnavailable(f"runtime {name!r} is not implemented yet; use one of: {known}")
    if name not in _RUNTIMES:
        near = difflib.get_close_matches(name, _RUNTIMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RuntimeUnavailable(f"unknown runtime {name!r}; {hint}known: {known}")
    module, kind, package = _RUNTIMES[name]
    try:
        implementation = getattr(importlib.import_module(module), kind)
    except ImportError as error:
        raise RuntimeUnavailable(
            f"runtime {name!r} is not installed ({error}); run: pip install {package}"
        ) from None
    runtime: Runtime = implementation(threads=threads)
    return runtime
