"""Add an average pooling to a graph."""

from depthopt.core.operators import AveragePooling
from depthopt.latency.graphs.builder import GraphBuilder


def add_average_pooling(builder: GraphBuilder, pooling: AveragePooling, x: str) -> str:
    """Add an average pooling whose padding counts."""
    left, right, top, bottom = pooling.padding
    return builder.node(
        "AveragePool",
        x,
        kernel_shape=pooling.kernel_size,
        strides=pooling.stride,
        pads=(top, left, bottom, right),
        count_include_pad=1,
    )
