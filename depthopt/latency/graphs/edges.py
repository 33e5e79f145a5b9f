"""What stands around an entry's copies: where tensors come from, and what reads them."""

from depthopt.core.operators import Convolution
from depthopt.core.shapes import Pair
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.convolution import add_convolution

BLOCK = 16
"""Channels in a multiple of which every runtime's blocked layout comes out even."""


def produced(builder: GraphBuilder, name: str, channels: int, size: Pair) -> str:
    """A tensor of this shape as a convolution leaves it; a raw input if it is an image."""
    if channels <= 4:
        return builder.input(name, channels, size)
    producer = Convolution(BLOCK, channels, (1, 1))
    return add_convolution(builder, producer, builder.input(name, BLOCK, size))


def tap(builder: GraphBuilder, x: str, channels: int, size: Pair) -> str:
    """One pixel per channel of ``x``: the cheapest consumer, in any layout."""
    if _pools(channels):
        return builder.node("MaxPool", x, kernel_shape=(1, 1), strides=size)
    # Two pixels wide, for OpenVINO would move the stride of a 1x1 kernel up to what
    # makes x: https://docs.openvino.ai (StridesOptimization).
    width = min(2, size[1])
    reader = Convolution(channels, BLOCK, (1, width), stride=size)
    return add_convolution(builder, reader, x, weights=f"tap_{channels}_{width}")


def tap_again(builder: GraphBuilder, tapped: str, channels: int) -> str:
    """One more tap of the same cost, after one of a tensor of ``channels``."""
    if _pools(channels):
        return builder.node("MaxPool", tapped, kernel_shape=(1, 1), strides=(1, 1))
    return add_convolution(builder, Convolution(BLOCK, BLOCK, (1, 1)), tapped, weights="tap_again")


def _pools(channels: int) -> bool:
    """Whether a tap is a pooling; in a blocked layout, only even channels are pooled."""
    return channels % BLOCK == 0 or channels <= 4
