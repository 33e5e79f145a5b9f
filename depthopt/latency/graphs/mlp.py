"""Add the MLP branch of a transformer to a graph."""

from depthopt.core.operators import Activation, Linear, Mlp
from depthopt.latency.graphs.activation import add_activation
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.linear import add_linear
from depthopt.latency.graphs.tokens import add_halves, add_norm, add_scale


def add_mlp(builder: GraphBuilder, mlp: Mlp, x: str) -> str:
    """Add an MLP of tokens (N, T, C) or of a map (N, C, H, W), the norm before it included."""
    if mlp.maps:
        x = builder.node("Transpose", x, perm=[0, 2, 3, 1])
    y = add_norm(builder, x, mlp.channels, rms=mlp.rms)
    y = _hidden(builder, mlp, y)
    if mlp.normed:
        y = add_norm(builder, y, mlp.hidden, rms=mlp.rms)
    y = add_linear(builder, Linear(mlp.hidden, mlp.channels), y)
    if mlp.maps:
        y = builder.node("Transpose", y, perm=[0, 3, 1, 2])
    return add_scale(builder, y, mlp.channels, maps=mlp.maps) if mlp.scaled else y


def _hidden(builder: GraphBuilder, mlp: Mlp, x: str) -> str:
    """Add what gives the hidden channels, with the gate if there is one."""
    activation, first = Activation.parse(mlp.activation), Linear(mlp.channels, mlp.hidden)
    if not mlp.gated:
        return add_activation(builder, activation, add_linear(builder, first, x))
    if mlp.gated == 1:
        both = add_linear(builder, Linear(mlp.channels, 2 * mlp.hidden), x)
        gate, given = add_halves(builder, both, mlp.hidden)
    else:
        gate, given = (add_linear(builder, first, x) for _ in range(2))
    return builder.node("Mul", add_activation(builder, activation, gate), given)
