"""Timed layers, from TensorRT's profiler and inspector."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from depthopt.runtimes.base import LayerTime
from depthopt.runtimes.tensorrt.built import nodes_of

_JOINED = re.compile(r"[\s+|,()]+")
"""What stands between nodes in a layer's name: ``a + b``, ``a || b``, ``PWN(a, b)``."""


def layer_times(
    runs: Sequence[Sequence[tuple[str, float]]],
    information: Mapping[str, Any],
    operators: Mapping[str, str],
) -> tuple[LayerTime, ...]:
    """Medians over runs, in the order in which the layers ran.

    Args:
        runs: per run, what the profiler reported: a layer's name and its milliseconds. A
            name that comes more than once in a run is one layer in parts.
        information: what the engine's inspector said, from its JSON.
        operators: ONNX operators by the names of their nodes.
    """
    times_ms: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        totals: dict[str, float] = defaultdict(float)
        for name, ms in run:
            totals[name] += ms
        for name, ms in totals.items():
            times_ms[name].append(ms)
    kinds = {
        layer["Name"]: _kind(layer, operators)
        for layer in information.get("Layers", ())
        if isinstance(layer, Mapping) and "Name" in layer
    }
    return tuple(
        LayerTime(name, kinds.get(name) or _named_in(name, operators), float(np.median(times)))
        for name, times in times_ms.items()
    )


def _kind(layer: Mapping[str, Any], operators: Mapping[str, str]) -> str:
    """The ONNX operators that a layer holds, such as Conv+Relu; else TensorRT's own word."""
    nodes = nodes_of(str(layer.get("Metadata", "")))
    held = [operators[node] for node in nodes if node in operators]
    return "+".join(held) or str(layer.get("LayerType", ""))


def _named_in(name: str, operators: Mapping[str, str]) -> str:
    """The operators of the nodes that a layer's name joins, where the inspector told none."""
    held = [operators[part] for part in _JOINED.split(name) if part in operators]
    return "+".join(held) or "unknown"
