"""Add to a graph what stands around the linear layers of tokens, as torch's exporter writes it."""

import numpy as np

from depthopt.latency.graphs.builder import GraphBuilder


def add_layer_norm(builder: GraphBuilder, x: str, channels: int) -> str:
    """Add a layer norm of the last dimension, with weights of its own."""
    name = f"norm_{len(builder)}"
    weight = np.ones(channels, np.float32)
    weight[0] += np.float32(1e-3 * len(builder))
    scale = builder.constant(f"{name}.weight", weight)
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
