"""Add to a graph what stands around the linear layers of tokens, as torch's exporter writes it."""

import numpy as np

from depthopt.latency.graphs.builder import GraphBuilder


def add_norm(builder: GraphBuilder, x: str, channels: int, *, rms: bool) -> str:
    """Add a layer norm of the last dimension, or one by the root mean square, with own weights."""
    name = f"norm_{len(builder)}"
    weight = np.ones(channels, np.float32)
    weight[0] += np.float32(1e-3 * len(builder))
    scale = builder.constant(f"{name}.weight", weight)
    if rms:
        square = builder.node("Pow", x, builder.constant("two", np.float32(2)))
        last = builder.constant("last", np.array([-1], np.int64))
        mean = builder.node("ReduceMean", square, last, keepdims=1)
        root = builder.node(
            "Sqrt", builder.node("Add", mean, builder.constant("eps", np.float32(1e-6)))
        )
        return builder.node("Mul", builder.node("Mul", x, builder.node("Reciprocal", root)), scale)
    bias = builder.constant(f"{name}.bias", np.zeros(channels, np.float32))
    return builder.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-6, stash_type=1)


def add_scale(builder: GraphBuilder, x: str, channels: int, *, maps: bool = False) -> str:
    """Add a factor for each channel, which come last, or first if they are those of maps."""
    factors = np.full((1, channels, 1, 1) if maps else channels, 0.1, np.float32)
    return builder.node("Mul", x, builder.constant(f"scale_{len(builder)}", factors))


def add_part(builder: GraphBuilder, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
    """Add a slice of one dimension."""
    values = {"from": start, "to": stop, "along": axis, "by": step}
    parts = (
        builder.constant(f"{name}_{value}", np.array([value], np.int64))
        for name, value in values.items()
    )
    return builder.node("Slice", x, *parts)


def add_halves(builder: GraphBuilder, x: str, width: int) -> tuple[str, str]:
    """Add both halves, of this width, of the last dimension."""
    return add_part(builder, x, -1, 0, width), add_part(builder, x, -1, width, 2 * width)
