"""ONNX graphs that hold one latency entry many times, and the same graphs without it.

What an entry costs inside a network is the difference between two graphs over the
number of copies, so that call overhead, layout conversion at the edges and the
clock's resolution drop out:

- *full*: every copy has weights of its own (as in a network, where no weight is read
  twice) and reads one tensor that a small convolution made, in the runtime's own
  layout. Its output is tapped by a pooling of one pixel per channel, the cheapest
  consumer there is. Copies with a residual add to a running sum instead, which is
  what lets a runtime fuse the add, in place, as it does in a network.
- *base*: the same producer and as many taps, without the copies.

Between two uses of a weight, a network reads all its other weights; a graph of a few
copies would keep its weights in the nearest cache and be up to twice as fast as the same
layers in their network. A third graph, the *ballast*, is run before each of the two, off
the clock, so that ballast and copies together read about as many bytes as the network
does: whatever cache holds the network's weights holds theirs.

Activations take the form that torch's exporter gives them, so that they fuse alike.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from depthopt.core.candidate import LatencyKey
from depthopt.core.spec import ConvSpec, Pair
from depthopt.errors import ModelError

OPSET, IR_VERSION = 20, 10
"""What torch's exporter writes by default."""

_BLOCK = 16
"""Channels in a multiple of which every runtime's blocked layout comes out even."""


@dataclass(frozen=True, slots=True)
class EntryGraphs:
    """A full graph, its base, and the number of copies that the former holds more."""

    full: bytes
    base: bytes
    copies: int


def entry_graphs(key: LatencyKey, *, copies: int, batch: int = 1) -> EntryGraphs:
    """Build the pair of graphs whose difference is ``copies`` times the entry.

    Raises:
        ModelError: the key names an activation that has no ONNX form here.
    """
    full, base = GraphBuilder(batch), GraphBuilder(batch)
    _add_copies(full, key, copies, copies)
    _add_copies(base, key, 0, copies)
    return EntryGraphs(full.serialise(), base.serialise(), copies)


def call_graph(batch: int = 1) -> bytes:
    """A graph that takes next to no time: what is left is the cost of a call."""
    builder = GraphBuilder(batch)
    builder.output(builder.tap(builder.input("x", _BLOCK, (1, 1)), _BLOCK, (1, 1)))
    return builder.serialise()


def ballast_graph(size_bytes: int) -> bytes:
    """A graph that reads its input ``ballast``, of so many bytes of float32, once."""
    builder = GraphBuilder(1)
    builder.ballast(size_bytes // 4)
    return builder.serialise()


def single_graph(key: LatencyKey, *, batch: int = 1, seed: int = 0) -> bytes:
    """The entry once, between plain inputs ``x`` (and ``residual``) and one output."""
    builder = GraphBuilder(batch, seed)
    channels, output_channels, output_size = _shapes(key)
    x = builder.input("x", channels, key.input_size)
    residual = builder.input("residual", output_channels, output_size) if key.residual else None
    builder.output(_entry(builder, key, x, residual))
    return builder.serialise()


@dataclass(slots=True)
class GraphBuilder:
    """Nodes, weights, inputs and outputs of a graph in the making."""

    batch: int
    seed: int = 0
    _nodes: list[Any] = field(default_factory=list)
    _weights: dict[str, Any] = field(default_factory=dict)
    _inputs: list[Any] = field(default_factory=list)
    _outputs: list[Any] = field(default_factory=list)
    _values: dict[ConvSpec, tuple[Any, Any]] = field(default_factory=dict)

    def input(self, name: str, channels: int, size: Pair) -> str:
        """A new input of shape (batch, channels, height, width)."""
        shape = [self.batch, channels, *size]
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, name: str) -> None:
        """Make ``name`` an output."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def constant(self, name: str, value: Any) -> str:
        """A constant of this name, made once."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A new node; gives its output's name."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(self, spec: ConvSpec, x: str, weights: str | None = None) -> str:
        """A convolution with random weights, its own or, by name, shared ones.

        Weights are scaled so that outputs are of the inputs' magnitude: values that
        underflow or overflow would take other times. No two convolutions' own weights
        are equal: runtimes run equal nodes of equal inputs only once.
        """
        weight, bias = self._random(spec)
        if weights is None:
            weights = f"weights_{len(self._nodes)}"
            weight = weight.copy()
            weight.flat[0] += 1e-3 * len(self._nodes)
        left, right, top, bottom = spec.padding
        return self.node(
            "Conv",
            x,
            self.constant(f"{weights}.weight", weight),
            self.constant(f"{weights}.bias", bias),
            kernel_shape=spec.kernel_size,
            strides=spec.stride,
            pads=(top, left, bottom, right),
            dilations=spec.dilation,
            group=spec.groups,
        )

    def average(self, spec: ConvSpec, x: str) -> str:
        """The average pooling that ``spec`` describes as a depthwise convolution."""
        left, right, top, bottom = spec.padding
        return self.node(
            "AveragePool",
            x,
            kernel_shape=spec.kernel_size,
            strides=spec.stride,
            pads=(top, left, bottom, right),
            count_include_pad=1,
        )

    def activation(self, name: str | None, x: str) -> str:
        """The activation of this canonical name, as torch's exporter writes it.

        Raises:
            ModelError: the name is unknown here.
        """
        if name is None:
            return x
        base, _, parameter = name.partition(":")
        if base == "relu6":
            low = self.constant("zero", np.float32(0))
            return self.node("Clip", x, low, self.constant("six", np.float32(6)))
        if base == "silu":
            return self.node("Mul", x, self.node("Sigmoid", x))
        if base == "leaky_relu":
            return self.node("LeakyRelu", x, alpha=float(parameter or 0.01))
        if base not in _OPERATORS:
            known = ", ".join(sorted({*_OPERATORS, "relu6", "silu", "leaky_relu"}))
            raise ModelError(f"activation {name!r} has no ONNX form here; known: {known}")
        operator, attributes = _OPERATORS[base]
        return self.node(operator, x, **attributes)

    def produced(self, name: str, channels: int, size: Pair) -> str:
        """A tensor of this shape as a convolution leaves it; a raw input if it is an image."""
        if channels <= 4:
            return self.input(name, channels, size)
        return self.conv(ConvSpec(_BLOCK, channels, (1, 1)), self.input(name, _BLOCK, size))

    def tap(self, x: str, channels: int, size: Pair) -> str:
        """One pixel per channel of ``x``: the cheapest consumer, in any layout."""
        if _pools(channels):
            return self.node("MaxPool", x, kernel_shape=(1, 1), strides=size)
        # Two pixels wide, for OpenVINO would move the stride of a 1x1 kernel up to what
        # makes x: https://docs.openvino.ai (StridesOptimization).
        width = min(2, size[1])
        spec = ConvSpec(channels, _BLOCK, (1, width), stride=size)
        return self.conv(spec, x, weights=f"tap_{channels}_{width}")

    def tap_again(self, tapped: str, channels: int) -> str:
        """One more tap of the same cost, after one of a tensor of ``channels``."""
        if _pools(channels):
            return self.node("MaxPool", tapped, kernel_shape=(1, 1), strides=(1, 1))
        return self.conv(ConvSpec(_BLOCK, _BLOCK, (1, 1)), tapped, weights="tap_again")

    def ballast(self, elements: int) -> None:
        """Read an input ``ballast`` of shape (1, elements) once."""
        info = helper.make_tensor_value_info("ballast", TensorProto.FLOAT, [1, elements])
        self._inputs.append(info)
        self.output(self.node("ReduceMax", "ballast", keepdims=0))

    def serialise(self) -> bytes:
        """The finished model."""
        graph = helper.make_graph(
            self._nodes, "entry", self._inputs, self._outputs, list(self._weights.values())
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        serialised: bytes = model.SerializeToString()
        return serialised

    def _random(self, spec: ConvSpec) -> tuple[Any, Any]:
        """Weight (out, in / groups, kH, kW) and bias (out,), drawn once per spec."""
        if spec not in self._values:
            generator = np.random.default_rng(self.seed)
            shape = (spec.out_channels, spec.in_channels // spec.groups, *spec.kernel_size)
            weight = generator.standard_normal(shape, dtype=np.float32)
            weight *= np.float32(np.prod(shape[1:]) ** -0.5)
            bias = 0.1 * generator.standard_normal(shape[0], dtype=np.float32)
            self._values[spec] = weight, bias
        return self._values[spec]


_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "hardswish": ("HardSwish", {}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "mish": ("Mish", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "elu": ("Elu", {"alpha": 1.0}),
}
"""Activations that are one operator, with its attributes."""


def _pools(channels: int) -> bool:
    """Whether a tap is a pooling; in a blocked layout, only even channels are pooled."""
    return channels % _BLOCK == 0 or channels <= 4


def _shapes(key: LatencyKey) -> tuple[int, int, Pair]:
    """Input channels, output channels and output size."""
    if key.spec is None:
        return key.channels, key.channels, key.input_size
    spec = key.spec
    return spec.in_channels, spec.out_channels, spec.output_size(key.input_size)


def _entry(builder: GraphBuilder, key: LatencyKey, x: str, residual: str | None) -> str:
    """Convolution if any, add if any, activation if any."""
    y = x
    if key.spec is not None:
        y = builder.average(key.spec, x) if key.pool else builder.conv(key.spec, x)
    if residual is not None:
        y = builder.node("Add", y, residual)
    return builder.activation(key.activation, y)


def _add_copies(builder: GraphBuilder, key: LatencyKey, copies: int, taps: int) -> None:
    """``copies`` of the entry, and ``taps`` taps where its copies are parallel."""
    channels, output_channels, output_size = _shapes(key)
    x = builder.produced("x", channels, key.input_size)
    builder.output(builder.tap(x, channels, key.input_size))
    if key.residual or key.spec is None:
        y = builder.produced("residual", output_channels, output_size)
        # Tapped, for a producer with one consumer would take the first copy's add.
        tapped = [builder.tap(y, output_channels, output_size)]
        for _ in range(copies):
            source, residual = (x, y) if key.residual else (y, None)
            y = _entry(builder, key, source, residual)
        if copies:
            tapped.append(builder.tap(y, output_channels, output_size))
        else:
            tapped.append(builder.tap_again(tapped[0], output_channels))
        builder.output(builder.node("Sum", *tapped))
        return
    pixel = builder.produced("pixel", output_channels, (1, 1))
    tapped = [builder.tap(pixel, output_channels, (1, 1))]
    for _ in range(copies):
        y = _entry(builder, key, x, None)
        tapped.append(builder.tap(y, output_channels, output_size))
    for _ in range(taps - copies):
        # A chain, for equal nodes of equal input would be merged into one.
        tapped.append(builder.tap_again(tapped[-1], output_channels))
    builder.output(builder.node("Sum", *tapped))
