"""Add a convolution to a graph."""

from depthopt.core.operators import Convolution
from depthopt.latency.graphs.builder import GraphBuilder


def add_convolution(
    builder: GraphBuilder, convolution: Convolution, x: str, weights: str | None = None
) -> str:
    """Add a convolution with random weights: its own, or shared ones by name.

    No two convolutions' own weights are equal: runtimes run equal nodes of equal inputs only
    once.
    """
    c = convolution
    weight, bias = builder.random((c.out_channels, c.in_channels // c.groups, *c.kernel_size))
    if weights is None:
        weights = f"weights_{len(builder)}"
        weight = weight.copy()
        weight.flat[0] += 1e-3 * len(builder)
    left, right, top, bottom = c.padding
    return builder.node(
        "Conv",
        x,
        builder.constant(f"{weights}.weight", weight),
        builder.constant(f"{weights}.bias", bias),
        kernel_shape=c.kernel_size,
        strides=c.stride,
        pads=(top, left, bottom, right),
        dilations=c.dilation,
        group=c.groups,
    )
