"""ONNX graphs that hold one latency entry many times, and the same graphs without it.

What an entry costs inside a network is the difference between two graphs over the
number of copies, so that call overhead, layout conversion at the edges and the
clock's resolution drop out:

- *full*: every copy has weights of its own (as in a network, where no weight is read
  twice) and reads one tensor that a small convolution made, in the runtime's own
  layout. Its output is tapped by a pooling of one pixel per channel, the cheapest
  consumer there is. Copies with a residual add to a running sum instead, which is
  what lets a runtime fuse the add, in place, as it does in a network. Copies that have
  no weights, such as poolings, read a tensor of their own each: of one tensor they would
  be equal, and be run once, and in a chain TensorRT would make one kernel of them.
- *base*: the same without the copies. Its taps are those of *full*, of a tensor that a
  small convolution made in the shape of an entry's output. They are of the kind that
  compilers can neither merge nor leave out, so that the graphs differ by the copies even
  when compiled; ``tests/latency/test_compiled_graphs.py`` shows it for TensorRT.

Between two uses of a weight, a network reads all its other weights; a graph of a few
copies would keep its weights in the nearest cache and be up to twice as fast as the same
layers in their network. A third graph, the *ballast*, is run before each of the two, off
the clock, so that ballast and copies together read about as many bytes as the network
does: whatever cache holds the network's weights holds theirs.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from depthopt.core.operators import (
    Attention,
    AveragePooling,
    Convolution,
    Identity,
    Linear,
    LowRank,
    Mlp,
    Operator,
    reads_tokens,
)
from depthopt.core.shapes import Pair
from depthopt.errors import ModelError
from depthopt.latency.graphs.activation import add_activation
from depthopt.latency.graphs.attention import add_attention
from depthopt.latency.graphs.average_pooling import add_average_pooling
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.convolution import add_convolution
from depthopt.latency.graphs.edges import (
    BLOCK,
    produced,
    produced_tokens,
    tap,
    tap_source,
    tap_tokens,
)
from depthopt.latency.graphs.identity import add_identity
from depthopt.latency.graphs.linear import add_linear
from depthopt.latency.graphs.low_rank import add_low_rank
from depthopt.latency.graphs.mlp import add_mlp
from depthopt.tables.latency import LatencyKey


@dataclass(frozen=True, slots=True)
class EntryGraphs:
    """A full graph, its base, and how many more copies the full graph holds."""

    full: bytes
    base: bytes
    copies: int


def entry_graphs(key: LatencyKey, *, copies: int, batch: int = 1) -> EntryGraphs:
    """Build the pair of graphs whose difference is ``copies`` times the entry.

    Raises:
        ModelError: the key names an activation that has no ONNX form here.
    """
    full, base = GraphBuilder(batch), GraphBuilder(batch)
    _add_copies(full, key, copies, held=True)
    _add_copies(base, key, copies, held=False)
    return EntryGraphs(full.serialise(), base.serialise(), copies)


def call_graph(batch: int = 1) -> bytes:
    """A graph that takes almost no time, to measure the cost of a call."""
    builder = GraphBuilder(batch)
    builder.output(tap(builder, builder.input("x", BLOCK, (1, 1)), BLOCK, (1, 1)))
    return builder.serialise()


def ballast_graph(size_bytes: int) -> bytes:
    """A graph that reads its input ``ballast``, of this many bytes of float32, once."""
    builder = GraphBuilder(1)
    ballast = builder.raw_input("ballast", [1, size_bytes // 4])
    builder.output(builder.node("ReduceMax", ballast, keepdims=0))
    return builder.serialise()


def add_entry(builder: GraphBuilder, key: LatencyKey, x: str, residual: str | None) -> str:
    """Add an entry: its operator, its add if any, its activation if any."""
    y = add_operator(builder, key.operator, x, key.input_size)
    if residual is not None:
        y = builder.node("Add", y, residual)
    return y if key.activation is None else add_activation(builder, key.activation, y)


def add_operator(builder: GraphBuilder, operator: Operator, x: str, input_size: Pair) -> str:
    """Add an operator that reads ``x``, of this (height, width) or (tokens, 1)."""
    match operator:
        case Convolution():
            y = add_convolution(builder, operator, x)
        case AveragePooling():
            y = add_average_pooling(builder, operator, x)
        case Identity():
            y = add_identity(builder, operator, x)
        case Attention():
            y = add_attention(builder, operator, x, input_size[0])
        case Mlp():
            y = add_mlp(builder, operator, x)
        case LowRank():
            y = add_low_rank(builder, operator, x)
        case Linear():
            y = add_linear(builder, operator, x)
        case _:
            y = _add_foreign(builder, operator, x)
    return y


@runtime_checkable
class _Drawn(Protocol):
    """An operator of another package, which knows its own graph."""

    def add_to_graph(self, builder: GraphBuilder, x: str) -> str: ...


def _add_foreign(builder: GraphBuilder, operator: Operator, x: str) -> str:
    if not isinstance(operator, _Drawn):
        raise ModelError(f"{operator} cannot be timed: it has no add_to_graph(builder, x)")
    return operator.add_to_graph(builder, x)


def _add_copies_of_tokens(
    builder: GraphBuilder, key: LatencyKey, copies: int, *, held: bool
) -> None:
    """``_add_copies`` of what reads and gives tokens, in a chain of residual adds."""
    tokens, channels = key.input_size[0], key.operator.out_channels
    x = produced_tokens(builder, "x", key.operator.in_channels, tokens)
    y = produced_tokens(builder, "other", channels, tokens)
    tapped = [tap_tokens(builder, y, tokens), tap_tokens(builder, x, tokens)]
    for i in range(copies):
        if held:
            y = add_entry(builder, key, y if key.residual else x, y if key.residual else None)
        if i == copies - 1 or not key.residual:
            tapped.append(tap_tokens(builder, y, tokens, i + 1))
    builder.output(builder.node("Sum", *tapped))


def _add_copies(builder: GraphBuilder, key: LatencyKey, copies: int, *, held: bool) -> None:
    """What stands around ``copies`` of the entry, and the copies, if they are ``held``.

    All that copies read is tapped too: a producer with one consumer would take the first copy's
    add or activation. Where copies read a tensor each, it is made, tapped and read, and the taps
    are summed, before the next one is made: so it is still near, and may be overwritten, as in a
    network, and torch's next tensors find the memory of these (small ones kept between large
    ones made it ask for new pages, which took twenty times as long as a ReLU).
    """
    operator, input_size = key.operator, key.input_size
    channels, output_channels = operator.in_channels, operator.out_channels
    output_size = operator.output_size(input_size)
    has_weights = operator.parameters > 0
    chained = has_weights and key.residual
    if reads_tokens(operator):
        _add_copies_of_tokens(builder, key, copies, held=held)
        return
    y = other = produced(builder, "other", output_channels, output_size)
    tapped = [tap(builder, other, output_channels, output_size)]
    for i in range(copies):
        if i == 0 or not has_weights:
            x = produced(builder, "x", channels, input_size, i)
            if has_weights or channels != output_channels:
                builder.output(tap_source(builder, x, channels, input_size))
            else:
                tapped.append(tap(builder, x, channels, input_size))
        if held:
            residual = y if chained else other
            y = add_entry(builder, key, x, residual if key.residual else None)
        if i == copies - 1 or not chained:
            tapped.append(tap(builder, y, output_channels, output_size, i + 1))
        if not has_weights:
            tapped = [builder.node("Sum", *tapped)]
    builder.output(builder.node("Sum", *tapped) if has_weights else tapped[0])
