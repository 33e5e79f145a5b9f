"""The inputs of an ONNX model, as its file declares them."""

import onnx


def input_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int | None, ...]]:
    """Shape of every input by name, in order. A free dimension is None."""
    constants = {tensor.name for tensor in graph.initializer}
    return {
        entry.name: tuple(
            dim.dim_value if dim.dim_value > 0 else None for dim in entry.type.tensor_type.shape.dim
        )
        for entry in graph.input
        if entry.name not in constants
    }


def input_dtypes(graph: onnx.GraphProto) -> dict[str, str]:
    """NumPy's name of every input's type, such as ``float32``, by the input's name."""
    return {
        entry.name: str(onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type))
        for entry in graph.input
        if entry.name in input_shapes(graph)
    }
