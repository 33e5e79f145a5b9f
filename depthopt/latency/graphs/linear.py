"""Add a linear layer of tokens to a graph."""

from depthopt.core.operators import Linear
from depthopt.latency.graphs.builder import GraphBuilder


def add_linear(builder: GraphBuilder, linear: Linear, x: str, *, has_bias: bool = True) -> str:
    """Add a linear layer of tokens (N, T, C) with random weights of its own."""
    weight, bias = builder.random((linear.out_channels, linear.in_channels))
    name = f"weights_{len(builder)}"
    weight = weight.T.copy()
    weight.flat[0] += 1e-3 * len(builder)  # equal nodes of equal inputs would be run once
    y = builder.node("MatMul", x, builder.constant(f"{name}.weight", weight))
    if not has_bias:
        return y
    return builder.node("Add", y, builder.constant(f"{name}.bias", bias))
