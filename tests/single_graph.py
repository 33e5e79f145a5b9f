"""A latency entry once, as a graph that runs."""

from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.entry import add_entry
from depthopt.tables.latency import LatencyKey


def single_graph(key: LatencyKey, *, batch: int = 1) -> bytes:
    """The entry between plain inputs ``x`` (and ``residual``) and one output."""
    builder, operator = GraphBuilder(batch), key.operator
    x = builder.input("x", operator.in_channels, key.input_size)
    residual = None
    if key.residual:
        size = operator.output_size(key.input_size)
        residual = builder.input("residual", operator.out_channels, size)
    builder.output(add_entry(builder, key, x, residual))
    return builder.serialise()
