"""Count the parameters of an ONNX model, wherever and in however few bits it holds them.

A model holds numbers in initialisers and in ``Constant`` nodes, of the graph, of the branches
and bodies of control flow, and of functions, densely or sparsely, in the file or beside it.
Their readers tell what they are:

- Floating-point numbers of any width are parameters, and integers of 8 bits and fewer;
  wider ones are if they are dequantised, as biases of quantised networks are.
- Shapes, axes, indices, bounds, scales and zero points are not, nor are a batch norm's running
  statistics (as in torch), single numbers of rank 0 in arithmetic (the 0.5 of a GELU), and
  the ones and zeros that an ``InstanceNormalization`` must be given where it learned nothing
  (a ``GroupNorm`` is written with one).
- What several nodes read is counted once, as torch counts shared weights, and what none
  reads not at all. Of sparse tensors the numbers that are stored are counted.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    numpy_helper,
)

from depthopt.check.onnx_files import graphs_of
from depthopt.core.clipped import one_line
from depthopt.errors import ModelError

_TYPES = {
    kind
    for name, kind in TensorProto.DataType.items()
    if name.startswith(("FLOAT", "BFLOAT", "DOUBLE", "COMPLEX", "INT8", "UINT8"))
    or name in {"INT4", "UINT4", "INT2", "UINT2"}
}

_SAME_NUMBERS = {
    "Cast", "CastLike", "DequantizeLinear", "Expand", "Flatten", "Identity", "QuantizeLinear",
    "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators whose output holds the numbers of their first input; others say how."""

_ARITHMETIC = {
    "Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min",
    "Mod", "Mul", "Pow", "Sub", "Sum", "Where",
}  # fmt: skip

_DESCRIBE = {
    "BatchNormalization": {3, 4},
    "Clip": {1, 2},
    "ConvInteger": {2, 3},
    "Dropout": {1, 2},
    "DynamicQuantizeMatMul": {2, 3},
    "MatMulInteger": {2, 3},
    "MatMulIntegerToFloat": {2, 3, 4, 5},
    "NonMaxSuppression": {2, 3, 4},
    "OneHot": {1, 2},
    "Pad": {1, 2, 3},
    "QGemm": {1, 2, 4, 5, 7, 8},
    "QLinearAdd": {1, 2, 4, 5, 6, 7},
    "QLinearConv": {1, 2, 4, 5, 6, 7},
    "QLinearMatMul": {1, 2, 4, 5, 6, 7},
    "QLinearMul": {1, 2, 4, 5, 6, 7},
    "Range": {0, 1, 2},
    "Resize": {1, 2, 3},
    "Upsample": {1},
}
"""Inputs that say how an operator works."""

_PACKED = "MatMulNBits"
"""Of ONNX Runtime: its second input holds K x N numbers, several in a byte; others describe it."""

_BIASES = {("QLinearConv", 8), ("QGemm", 6)}
"""Integers of 32 bits that are parameters."""

Holder = GraphProto | FunctionProto


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A tensor that the model holds.

    Attributes:
        count: of its numbers.
        rank: of its shape.
        kind: a ``TensorProto.DataType``.
        proto: its content; None for numbers in an attribute.
    """

    count: int
    rank: int
    kind: int
    proto: TensorProto | None = None


Scope = dict[str, frozenset[_Held]]
"""For each value's name: the tensors it may hold. Empty if it is computed."""

_NOTHING: frozenset[_Held] = frozenset()


def parameters(model: ModelProto) -> int:
    """The number of parameters of a model. The module describes how they are counted.

    Raises:
        ModelError: a node has other inputs than its operator takes.
    """
    count = _Count({(f.domain, f.name, f.overload): f for f in model.functions})
    try:
        count.graph(model.graph, {})
    except (LookupError, ValueError, TypeError, RecursionError) as error:
        # A walk through a model that no runtime takes may end anywhere.
        raise ModelError(f"its parameters cannot be counted: {one_line(error)}") from None
    return sum(count.read.values())


@dataclass(frozen=True, slots=True)
class _Count:
    """A walk through a model, in the order of its computation.

    Attributes:
        functions: of the model, by domain, name and overload.
        read: numbers of what was read as a parameter.
        constants: of nodes that were met; a function's are when it is first called.
        dequantised: what is, so that any type of it counts.
    """

    functions: Mapping[tuple[str, str, str], FunctionProto]
    read: dict[_Held, int] = field(default_factory=dict)
    constants: dict[int, tuple[AttributeProto, _Held]] = field(default_factory=dict)
    dequantised: set[_Held] = field(default_factory=set)

    def graph(self, graph: GraphProto, outer: Scope) -> list[frozenset[_Held]]:
        """Walk through a graph, and say what its outputs hold."""
        scope = dict(outer)
        for tensor in graph.initializer:
            scope[tensor.name] = frozenset([_held(tensor)])
        for sparse in graph.sparse_initializer:
            scope[sparse.values.name] = frozenset([_sparse(sparse.values, sparse.dims)])
        self._nodes(graph.node, scope, {})
        return [scope.get(value.name, _NOTHING) for value in graph.output]

    def _nodes(
        self, nodes: Iterable[NodeProto], scope: Scope, given: Mapping[str, AttributeProto]
    ) -> None:
        """Walk through nodes.

        Args:
            nodes: in order.
            scope: is added to.
            given: attributes of the call, where the nodes are a function's.
        """
        for node in nodes:
            inputs = [scope.get(name, _NOTHING) if name else _NOTHING for name in node.input]
            outputs = self._node(node, inputs, scope, given)
            for i, name in enumerate(node.output):
                scope[name] = outputs[i] if i < len(outputs) else _NOTHING

    def _node(
        self,
        node: NodeProto,
        inputs: Sequence[frozenset[_Held]],
        scope: Scope,
        given: Mapping[str, AttributeProto],
    ) -> Sequence[frozenset[_Held]]:
        """What a node's outputs hold."""
        if node.op_type == "Constant":
            return [frozenset(self._constant(node, given))]
        function = self.functions.get((node.domain, node.op_type, node.overload))
        if function is not None:
            own = dict(zip(function.input, inputs, strict=False))
            self._nodes(function.node, own, {a.name: a for a in node.attribute})
            return [own.get(name, _NOTHING) for name in function.output]
        graphs = [graph for attribute in node.attribute for graph in graphs_of(attribute)]
        if graphs:
            return self._control_flow(node, graphs, inputs, scope)
        if node.op_type in _SAME_NUMBERS:
            if node.op_type == "DequantizeLinear":
                self.dequantised.update(inputs[0])
            return [inputs[0]] * len(node.output)
        if node.op_type == "Concat":
            return [frozenset().union(*inputs)]
        self._operator(node, inputs)
        return []

    def _control_flow(
        self,
        node: NodeProto,
        graphs: Sequence[GraphProto],
        inputs: Sequence[frozenset[_Held]],
        scope: Scope,
    ) -> Sequence[frozenset[_Held]]:
        """What comes out of branches; what comes out of bodies is taken as read."""
        found = []
        for graph in graphs:
            names = [value.name for value in graph.input]
            found.append(self.graph(graph, scope | dict(zip(names, inputs, strict=False))))
        if node.op_type == "If":
            return [frozenset().union(*same) for same in zip(*found, strict=False)]
        for outputs in found:
            self._reads(node.op_type, 0, frozenset().union(*outputs))
        return []

    def _operator(self, node: NodeProto, inputs: Sequence[frozenset[_Held]]) -> None:
        """Count what an operator reads."""
        if node.op_type == _PACKED:
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            self.read.update(dict.fromkeys(inputs[1], sizes.get("K", 0) * sizes.get("N", 0)))
            inputs = [inputs[0], *[_NOTHING] * 4, *inputs[5:]]
        if node.op_type == "InstanceNormalization" and _does_nothing(*inputs[1:]):
            return
        for i, held in enumerate(inputs):
            self._reads(node.op_type, i, held)

    def _reads(self, operator: str, position: int, sources: frozenset[_Held]) -> None:
        """An operator reads what these hold; if they are parameters, they are counted."""
        if position in _DESCRIBE.get(operator, ()):
            return
        for held in sources:
            numbers = held.kind in _TYPES or held in self.dequantised
            constant = held.rank == 0 and operator in _ARITHMETIC
            if (numbers and not constant) or (operator, position) in _BIASES:
                self.read.setdefault(held, held.count)

    def _constant(self, node: NodeProto, given: Mapping[str, AttributeProto]) -> Iterator[_Held]:
        """What a ``Constant`` holds, the same object whenever it is met."""
        for own in node.attribute:
            attribute = given.get(own.ref_attr_name) if own.ref_attr_name else own
            if attribute is None:
                continue
            place = id(attribute)  # stays its own as long as the attribute is kept
            if place not in self.constants:
                self.constants[place] = attribute, _in_attribute(attribute)
            yield self.constants[place][1]


def _in_attribute(attribute: AttributeProto) -> _Held:
    kinds = AttributeProto
    if attribute.type == kinds.TENSOR:
        return _held(attribute.t)
    if attribute.type == kinds.SPARSE_TENSOR:
        return _sparse(attribute.sparse_tensor.values, attribute.sparse_tensor.dims)
    if attribute.type in {kinds.FLOAT, kinds.FLOATS}:
        single = attribute.type == kinds.FLOAT
        return _Held(1 if single else len(attribute.floats), int(not single), TensorProto.FLOAT)
    return _Held(0, 1, TensorProto.INT64)  # integers and strings are no parameters


def _held(tensor: TensorProto) -> _Held:
    return _Held(math.prod(tensor.dims), len(tensor.dims), tensor.data_type, tensor)


def _sparse(values: TensorProto, dims: Sequence[int]) -> _Held:
    return _Held(math.prod(values.dims), len(dims), values.data_type)


def _does_nothing(*scale_and_shift: frozenset[_Held]) -> bool:
    """Whether a norm scales all by one number and shifts by zeros, quantised or not."""
    values = []
    for sources in scale_and_shift:
        protos = [held.proto for held in sources]
        if len(protos) != 1 or protos[0] is None or protos[0].external_data:
            return False
        values.append(numpy_helper.to_array(protos[0]))
    scale, shift = values
    return bool((scale == scale.flat[0]).all() and not shift.any())
