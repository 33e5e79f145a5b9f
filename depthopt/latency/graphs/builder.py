"""Build an ONNX graph."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from depthopt.core.shapes import Pair

OPSET, IR_VERSION = 20, 10
"""Versions that torch's exporter writes by default."""


@dataclass(slots=True)
class GraphBuilder:
    """Nodes, weights, inputs and outputs of a graph.

    Attributes:
        batch: images per inference.
        seed: of random weights.
    """

    batch: int
    seed: int = 0
    _nodes: list[Any] = field(default_factory=list)
    _weights: dict[str, Any] = field(default_factory=dict)
    _inputs: dict[str, Any] = field(default_factory=dict)
    _outputs: list[Any] = field(default_factory=list)
    _drawn: dict[tuple[int, ...], tuple[Any, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self._nodes)

    def input(self, name: str, channels: int, size: Pair) -> str:
        """An input of this name and of shape (batch, channels, height, width), made once."""
        return self.raw_input(name, [self.batch, channels, *size])

    def raw_input(self, name: str, shape: list[int]) -> str:
        """A float32 input of this name and of any shape, made once."""
        if name not in self._inputs:
            info = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            self._inputs[name] = info
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
        """Add a node, and return its output's name."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def random(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """A weight of this shape and a bias (shape[0],). They depend only on the shape.

        Weights are scaled so that outputs are of the inputs' magnitude: values that
        underflow or overflow would take other times.
        """
        if shape not in self._drawn:
            generator = np.random.default_rng(self.seed)
            weight = generator.standard_normal(shape, dtype=np.float32)
            weight *= np.float32(np.prod(shape[1:]) ** -0.5)
            bias = 0.1 * generator.standard_normal(shape[0], dtype=np.float32)
            self._drawn[shape] = weight, bias
        return self._drawn[shape]

    def serialise(self) -> bytes:
        """Return the finished model."""
        graph = helper.make_graph(
            self._nodes,
            "entry",
            list(self._inputs.values()),
            self._outputs,
            list(self._weights.values()),
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        serialised: bytes = model.SerializeToString()
        return serialised
