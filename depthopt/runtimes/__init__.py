"""The libraries that run networks, each behind the same small interface."""

from depthopt.runtimes.base import (
    Array,
    LayerTime,
    Runtime,
    Session,
    processor_name,
    random_inputs,
)
from depthopt.runtimes.registry import get_runtime, runtime_names

__all__ = [
    "Array",
    "LayerTime",
    "Runtime",
    "Session",
    "get_runtime",
    "processor_name",
    "random_inputs",
    "runtime_names",
]
