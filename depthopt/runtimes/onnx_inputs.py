"""The inputs of an ONNX model, as its file declares them."""

import onnx


def input_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int | None, ...]]:
    """Shape of every input by name, in order; None where a dimension is free."""
    constants = {tensor.name for tensor in graph.initializer}
    return {
        entry.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in entry.type.tensor_type.shape.dim
        )
        for entry in graph.input
        if entry.name not in constants
    }
