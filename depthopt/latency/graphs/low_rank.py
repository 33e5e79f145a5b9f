"""Add two linear layers of tokens, through few channels, and what they are added to."""

from depthopt.core.operators import Linear, LowRank
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.linear import add_linear


def add_low_rank(builder: GraphBuilder, operator: LowRank, x: str) -> str:
    """Add the two, with random weights of their own, and the addition behind them."""
    y = add_linear(builder, Linear(operator.channels, operator.rank), x, has_bias=False)
    y = add_linear(builder, Linear(operator.rank, operator.channels), y)
    return builder.node("Add", y, x)
