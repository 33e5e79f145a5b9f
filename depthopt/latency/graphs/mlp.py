"""Add the MLP branch of a transformer to a graph."""

from depthopt.core.operators import Activation, Linear, Mlp
from depthopt.latency.graphs.activation import add_activation
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.linear import add_linear
from depthopt.latency.graphs.tokens import add_layer_norm, add_scale


def add_mlp(builder: GraphBuilder, mlp: Mlp, x: str) -> str:
    """Add an MLP of tokens (N, T, C), the norm before it included."""
    y = add_layer_norm(builder, x, mlp.channels)
    y = add_linear(builder, Linear(mlp.channels, mlp.hidden), y)
    y = add_activation(builder, Activation.parse(mlp.activation), y)
    y = add_linear(builder, Linear(mlp.hidden, mlp.channels), y)
    return add_scale(builder, y, mlp.channels) if mlp.scaled else y
