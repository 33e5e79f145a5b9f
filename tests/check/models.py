"""Small networks for checks, as ONNX files; built without torch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from depthopt.core.operators import Activation, Convolution
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.edges import tap
from depthopt.latency.graphs.entry import add_entry
from depthopt.tables.latency import LatencyKey

CHANNELS = 16


def convolutions(path: Path, count: int, *, size: int = 24, batch: int = 1) -> Path:
    """So many 3x3 convolutions, each with a ReLU, one after another."""
    builder = GraphBuilder(batch)
    x = builder.input("x", CHANNELS, (size, size))
    convolution = Convolution(CHANNELS, CHANNELS, (3, 3), padding=(1, 1, 1, 1))
    key = LatencyKey(convolution, (size, size), Activation("relu"))
    for _ in range(count):
        x = add_entry(builder, key, x, None)
    builder.output(tap(builder, x, CHANNELS, (size, size)))
    path.write_bytes(builder.serialise())
    return path


def with_input(model: Path, to: Path, name: str, *free: int) -> Path:
    """The same network with its input called otherwise, and with these dimensions free."""
    found = onnx.load(model)
    (given,) = found.graph.input
    for node in found.graph.node:
        node.input[:] = [name if read == given.name else read for read in node.input]
    given.name = name
    for axis in free:
        given.type.tensor_type.shape.dim[axis].dim_param = f"free_{axis}"
    onnx.save(found, to)
    return to


def linear(path: Path, weight: np.ndarray, *, channels: int = 1, dtype: int = TensorProto.FLOAT):
    """Logits of images of 8x8, by a weight of (channels * 64 + 1, classes), the bias last."""
    weight, bias = np.split(weight.astype(np.float32), [-1])
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["pixels"]),
            helper.make_node("Gemm", ["pixels", "weight", "bias"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", dtype, [1, channels, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias[0], "bias")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path
