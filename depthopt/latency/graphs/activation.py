"""Add an activation to a graph, as torch's exporter writes it, so that it fuses the same."""

from typing import Any

import numpy as np

from depthopt.core.operators import Activation
from depthopt.errors import ModelError
from depthopt.latency.graphs.builder import GraphBuilder

_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "hardswish": ("HardSwish", {}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "mish": ("Mish", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "elu": ("Elu", {"alpha": 1.0}),
}
"""Activations that are one operator, with its attributes."""


def add_activation(builder: GraphBuilder, activation: Activation, x: str) -> str:
    """Add an activation of ``x``.

    Raises:
        ModelError: it is unknown here.
    """
    match activation.name:
        case "relu6":
            low = builder.constant("zero", np.float32(0))
            return builder.node("Clip", x, low, builder.constant("six", np.float32(6)))
        case "silu":
            return builder.node("Mul", x, builder.node("Sigmoid", x))
        case "leaky_relu":
            slope = 0.01 if activation.parameter is None else activation.parameter
            return builder.node("LeakyRelu", x, alpha=slope)
    if activation.name not in _OPERATORS:
        known = ", ".join(sorted({*_OPERATORS, "relu6", "silu", "leaky_relu"}))
        raise ModelError(f"activation {str(activation)!r} has no ONNX form here; known: {known}")
    operator, attributes = _OPERATORS[activation.name]
    return builder.node(operator, x, **attributes)
