"""Prepare an ONNX network for TensorRT: name every node, fix shapes, choose the precision."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from depthopt.runtimes.onnx_inputs import input_dtypes, input_shapes
from depthopt.runtimes.tensorrt.options import BuildOptions, labelled

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Network:
    """An ONNX network.

    Attributes:
        content: serialised, in the precision that it is to run in; inputs and outputs stay
            float32.
        input_shapes: of every input by name; None where a dimension is free.
        input_dtypes: of every input by name, as NumPy calls them.
        operators: what each node does, by its name.
    """

    content: bytes
    input_shapes: dict[str, tuple[int | None, ...]]
    input_dtypes: dict[str, str]
    operators: dict[str, str]

    def fixed(self, shapes: Shapes) -> bytes:
        """The network with its inputs' free dimensions set: engines are built for one shape."""
        if all(None not in shape for shape in self.input_shapes.values()):
            return self.content
        onnx_model = onnx.load_from_string(self.content)
        for entry in onnx_model.graph.input:
            dims = entry.type.tensor_type.shape.dim
            for dim, size in zip(dims, shapes.get(entry.name, ()), strict=False):
                dim.dim_value = size
        del onnx_model.graph.value_info[:]  # of free shapes
        serialised: bytes = onnx_model.SerializeToString()
        return serialised


def read(onnx_model: bytes | Path, dtype: str) -> Network:
    """Read a model, name its nodes, and convert it to ``dtype``.

    Raises:
        Exception: whatever onnx raises if it is not a model.
    """
    proto = (
        onnx.load_from_string(onnx_model)
        if isinstance(onnx_model, bytes)
        else onnx.load(onnx_model)
    )
    operators = _name_nodes(proto.graph)
    if dtype == "float16":
        proto = half(proto)
    graph = proto.graph
    return Network(proto.SerializeToString(), input_shapes(graph), input_dtypes(graph), operators)


def half(onnx_model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float16, except its inputs and outputs, by ONNX Runtime's tool.

    https://onnxruntime.ai/docs/performance/model-optimizations/float16.html
    """
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415 - only when it is needed
        convert_float_to_float16,
    )

    converted: onnx.ModelProto = convert_float_to_float16(onnx_model, keep_io_types=True)
    return converted


def key(content: bytes, dtype: str, build: BuildOptions) -> str:
    """The key under which this network's engine is kept, on one device and version."""
    return hashlib.sha256(f"{dtype} {labelled('', build)} ".encode() + content).hexdigest()


def _name_nodes(graph: onnx.GraphProto) -> dict[str, str]:
    """Give each node a name of its own: the profile and the inspector speak in them."""
    operators: dict[str, str] = {}
    for i, node in enumerate(graph.node):
        if not node.name or node.name in operators:
            node.name = f"{node.name or node.op_type.lower()}_{i}"
        operators[node.name] = node.op_type
    return operators
