"""Check an ONNX file from an unknown source before a runtime reads it.

Runtimes write functions out where they are called, fold constants, and make tensors as large as
their shapes say: a file of a few hundred bytes can fill any memory.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from depthopt.core import limits
from depthopt.core.clipped import clipped, one_line
from depthopt.errors import ModelError

_SMALL = 1024
"""Numbers of a tensor that may be a shape."""


def read_onnx(path: Path) -> ModelProto:
    """Read an ONNX model, without the weights in other files.

    Raises:
        ModelError: it is not an ONNX model, or it makes impossible claims.
    """
    if (size := path.stat().st_size) > limits.ONNX_BYTES:
        raise ModelError(f"{path} has {size:,} bytes; at most {limits.ONNX_BYTES:,} are read")
    try:
        model: ModelProto = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's exceptions share no base but this one
        raise ModelError(
            f"{path} cannot run, it is not an ONNX model: {one_line(error)}"
        ) from error
    if (wrong := why_unsound(model)) is not None:
        raise ModelError(f"{path} is not run: {wrong}")
    return model


def why_unsound(model: ModelProto) -> str | None:
    """An impossible claim of a model, as a message. None if there is none."""
    try:
        _Nodes({(f.domain, f.name, f.overload): f for f in model.functions}).require_few(model)
        for tensor in stored_tensors(model):
            _require_whole(tensor)
        for name, shape in _computed(model):
            _require_small(name, shape)
    except _Unsound as found:
        return str(found)
    return None


def stored_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that is stored anywhere in a model."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def graphs_of(attribute: AttributeProto) -> list[GraphProto]:
    """The branches and bodies that an attribute holds."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


class _Unsound(Exception):  # noqa: N818 - named for what is the case
    """The model claims too much."""


class _Nodes:
    """How many nodes a model has, its functions written out where they are called."""

    def __init__(self, functions: dict[tuple[str, str, str], FunctionProto]) -> None:
        self._functions = functions
        self._known: dict[tuple[str, str, str], int | None] = {}

    def require_few(self, model: ModelProto) -> None:
        """Refuse more nodes, or a deeper nesting, than networks have."""
        self._count(model.graph.node, 1)
        for function in model.functions:
            self._count(function.node, 1)

    def _count(self, nodes: Iterable[NodeProto], depth: int) -> int:
        if depth > limits.ONNX_NESTING:
            raise _Unsound(f"its graphs are nested more than {limits.ONNX_NESTING} deep")
        count = 0
        for node in nodes:
            count += 1 + self._function((node.domain, node.op_type, node.overload), depth)
            for graph in (graph for a in node.attribute for graph in graphs_of(a)):
                count += self._count(graph.node, depth + 1)
            if count > limits.ONNX_NODES:
                raise _Unsound(f"written out it has more than {limits.ONNX_NODES:,} nodes")
        return count

    def _function(self, key: tuple[str, str, str], depth: int) -> int:
        if key not in self._functions:
            return 0
        if key not in self._known:
            self._known[key] = None
            self._known[key] = self._count(self._functions[key].node, depth + 1)
        count = self._known[key]
        if count is None:
            raise _Unsound(f"its function {clipped(key[1])} calls itself")
        return count


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        _require_small(sparse.values.name, sparse.dims)
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for tensor in (*sparse, *attribute.sparse_tensors):
            _require_small(attribute.name, tensor.dims)
            yield from (tensor.values, tensor.indices)
        for graph in graphs_of(attribute):
            yield from _of_graph(graph)


def _require_small(name: str, shape: Iterable[int]) -> None:
    sizes = tuple(shape)
    if any(size < 0 for size in sizes) or math.prod(sizes) > limits.TENSOR_ELEMENTS:
        raise _Unsound(
            f"its tensor {clipped(name)} is {'x'.join(map(str, sizes))}, expected at most "
            f"{limits.TENSOR_ELEMENTS:,} numbers"
        )


def _require_whole(tensor: TensorProto) -> None:
    """Refuse a tensor that says it holds more numbers than it does."""
    sizes = tuple(tensor.dims)
    numbers = math.prod(sizes)
    beside = tensor.data_location == TensorProto.EXTERNAL
    held = sum(
        len(values)
        for values in (
            tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.int64_data,
            tensor.double_data, tensor.uint64_data, tensor.string_data,
        )
    )  # fmt: skip
    # A byte holds four numbers of two bits at most.
    if any(size < 0 for size in sizes) or (not beside and numbers > 8 * held + 8):
        raise _Unsound(
            f"its tensor {clipped(tensor.name)} claims to be {'x'.join(map(str, sizes))}, "
            "but holds less"
        )


def _computed(model: ModelProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes of what is computed, as far as they follow from the file."""
    bare = ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    graph = bare.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    given = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(value)
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # of what no runtime takes either, which then says so
        return
    for value in (*inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            yield value.name, tuple(dim.dim_value for dim in dims)
