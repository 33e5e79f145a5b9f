"""The surroundings of an entry's copies: where tensors come from, and what reads them."""

from depthopt.core.operators import Convolution
from depthopt.core.shapes import Pair
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.convolution import add_convolution
from depthopt.latency.graphs.tokens import add_part

BLOCK = 16
"""Number of channels whose multiples fit every runtime's blocked layout."""

_IMAGE = 4
"""Most channels of an image, which is not made by a convolution."""


def produced(builder: GraphBuilder, name: str, channels: int, size: Pair, number: int = 0) -> str:
    """A tensor of this shape as a convolution leaves it; a raw input if it is an image.

    Args:
        builder: of the graph.
        name: of the graph's input that it is made from.
        channels: of the tensor.
        size: its (height, width).
        number: of the tensor, where several are made from one input; images are inputs each.
    """
    if channels <= _IMAGE:
        return builder.input(f"{name}_{number}", channels, size)
    producer = Convolution(BLOCK, channels, (1, 1))
    return add_convolution(builder, producer, builder.input(name, BLOCK, size))


def produced_tokens(builder: GraphBuilder, name: str, channels: int, tokens: int) -> str:
    """Tokens (N, T, C) as a linear layer leaves them."""
    weight, _ = builder.random((BLOCK, channels))
    x = builder.raw_input(name, [builder.batch, tokens, BLOCK])
    return builder.node("MatMul", x, builder.constant(f"{name}_{len(builder)}.weight", weight))


def tap_tokens(builder: GraphBuilder, x: str, tokens: int, number: int = 0) -> str:
    """One of the tokens of ``x``: the cheapest consumer.

    Args:
        builder: of the graph.
        x: what is tapped (N, tokens, C).
        tokens: how many it has.
        number: of the tap. It chooses the token and lengthens the step to the next, which is not
            read, so that no two taps are alike: equal nodes would be run once.
    """
    at = number % tokens
    return add_part(builder, x, 1, at, at + 1, 1 + number // tokens)


def tap(builder: GraphBuilder, x: str, channels: int, size: Pair, number: int = 0) -> str:
    """One pixel per channel of ``x``: the cheapest consumer, in any layout.

    Args:
        builder: of the graph.
        x: what is tapped.
        channels: of ``x``.
        size: its (height, width).
        number: of the tap, where one tensor is tapped several times. It lengthens the stride,
            which does nothing but make the taps unlike: equal nodes would be run once.
    """
    stride = (size[0] + number, size[1])
    if channels % BLOCK == 0 or channels <= _IMAGE:  # blocked layouts pool only even channels
        return builder.node("MaxPool", x, kernel_shape=(1, 1), strides=stride)
    return _read(builder, x, channels, stride)


def tap_source(builder: GraphBuilder, x: str, channels: int, size: Pair) -> str:
    """A tap of what entries read; of an image by a convolution, as its entries are.

    In float16, TensorRT pads an image's channels to four, once for all convolutions of it.
    """
    if channels > _IMAGE:
        return tap(builder, x, channels, size)
    return _read(builder, x, channels, size)


def _read(builder: GraphBuilder, x: str, channels: int, stride: Pair) -> str:
    """One pixel of a convolution of ``x``, whose stride is at least the size of ``x``.

    It is two pixels wide where it can be, for OpenVINO would move the stride of a 1x1 kernel up
    to what makes ``x``: https://docs.openvino.ai (StridesOptimization).
    """
    width = min(2, stride[1])
    reader = Convolution(channels, BLOCK, (1, width), stride=stride)
    return add_convolution(builder, reader, x, weights=f"tap_{channels}_{width}")
