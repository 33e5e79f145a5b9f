"""Small networks for checks, as ONNX files; built without torch."""

from pathlib import Path

from depthopt.core.spec import ConvSpec
from depthopt.latency.graphs import GraphBuilder

CHANNELS = 16


def convolutions(path: Path, count: int, *, size: int = 24, batch: int = 1) -> Path:
    """So many 3x3 convolutions, each with a ReLU, one after another."""
    builder = GraphBuilder(batch)
    x = builder.input("x", CHANNELS, (size, size))
    for _ in range(count):
        spec = ConvSpec(CHANNELS, CHANNELS, (3, 3), padding=(1, 1, 1, 1))
        x = builder.activation("relu", builder.conv(spec, x))
    builder.output(builder.tap(x, CHANNELS, (size, size)))
    path.write_bytes(builder.serialise())
    return path
