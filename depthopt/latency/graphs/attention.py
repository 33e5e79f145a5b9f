"""Add the attention branch of a transformer to a graph."""

import numpy as np

from depthopt.core.operators import Attention, Linear
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.linear import add_linear
from depthopt.latency.graphs.tokens import add_halves, add_norm, add_part, add_scale


def add_attention(builder: GraphBuilder, attention: Attention, x: str, tokens: int) -> str:
    """Add an attention of tokens (N, T, C), the norm before it included."""
    a = attention
    y = add_norm(builder, x, a.channels, rms=a.rms)
    if a.layers == 1:
        together = add_linear(builder, Linear(a.channels, 3 * a.hidden), y)
        queries, keys, values = _split(builder, together, a)
    else:
        queries, keys, values = (
            _heads(builder, add_linear(builder, Linear(a.channels, a.hidden), y), a)
            for _ in range(3)
        )
    if a.normed:
        queries, keys = (
            add_norm(builder, each, a.head_width, rms=a.rms) for each in (queries, keys)
        )
    if a.rotary is not None:
        queries, keys = (_turned(builder, each, a, tokens) for each in (queries, keys))
    y = _product(builder, queries, keys, values, a, tokens)
    y = builder.node("Transpose", y, perm=[0, 2, 1, 3])
    y = builder.node("Reshape", y, _shape(builder, 0, -1, a.hidden))
    y = add_linear(builder, Linear(a.hidden, a.channels), y)
    return add_scale(builder, y, a.channels) if a.scaled else y


def _shape(builder: GraphBuilder, *sizes: int) -> str:
    """A shape as a constant. 0 stands for the size as it is, -1 for what is left."""
    name = f"shape_{'_'.join(map(str, sizes))}"
    return builder.constant(name, np.array(sizes, np.int64))


def _split(builder: GraphBuilder, x: str, a: Attention) -> tuple[str, ...]:
    """Queries, keys and values, each (N, heads, T, width of a head), of one layer's output."""
    x = builder.node("Reshape", x, _shape(builder, 0, -1, 3, a.heads, a.head_width))
    x = builder.node("Transpose", x, perm=[2, 0, 3, 1, 4])
    axis = builder.constant("axis", np.array([0], np.int64))
    parts = (add_part(builder, x, 0, i, i + 1) for i in range(3))
    return tuple(builder.node("Squeeze", part, axis) for part in parts)


def _heads(builder: GraphBuilder, x: str, a: Attention) -> str:
    x = builder.node("Reshape", x, _shape(builder, 0, -1, a.heads, a.head_width))
    return builder.node("Transpose", x, perm=[0, 2, 1, 3])


def _turned(builder: GraphBuilder, x: str, a: Attention, tokens: int) -> str:
    """Rotary positions of queries or keys (N, heads, T, width of a head)."""
    front, half = a.rotary or 0, a.head_width // 2
    body = add_part(builder, x, 2, front, tokens) if front else x
    if a.interleaved:
        second, first = (add_part(builder, body, 3, i, a.head_width, 2) for i in (1, 0))
        axis = builder.constant("last", np.array([-1], np.int64))
        pairs = (
            builder.node("Unsqueeze", each, axis) for each in (builder.node("Neg", second), first)
        )
        turned = builder.node("Concat", *pairs, axis=-1)
        turned = builder.node("Reshape", turned, _shape(builder, 0, 0, -1, a.head_width))
    else:
        first, second = add_halves(builder, body, half)
        turned = builder.node("Concat", builder.node("Neg", second), first, axis=-1)
    angles, _ = builder.random((tokens - front, a.head_width))
    parts = (
        builder.node("Mul", each, builder.constant(f"angles_{len(builder)}", angles))
        for each in (body, turned)
    )
    y = builder.node("Add", *parts)
    if not front:
        return y
    return builder.node("Concat", add_part(builder, x, 2, 0, front), y, axis=2)


def _product(
    builder: GraphBuilder, queries: str, keys: str, values: str, a: Attention, tokens: int
) -> str:
    """Scaled dot-product attention; the scale's root goes to queries and keys each."""
    root = builder.constant(f"root_{a.head_width}", np.float32(a.head_width**-0.25))
    turned = builder.node("Transpose", keys, perm=[0, 1, 3, 2])
    scores = builder.node(
        "MatMul", builder.node("Mul", queries, root), builder.node("Mul", turned, root)
    )
    if a.biased:
        bias, _ = builder.random((a.heads, tokens, tokens))
        scores = builder.node("Add", scores, builder.constant(f"bias_{len(builder)}", bias[None]))
    return builder.node("MatMul", builder.node("Softmax", scores, axis=-1), values)
