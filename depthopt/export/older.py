"""Convert a network to an older opset, with newer operators written as older ones.

Most operators are written in an old opset as in a new one, and need nothing but the number.
Some took their present form later (axes that became an input), or came later, and are
written out. Whether the outcome is right is for ONNX's own definitions of the opset, which
it must follow, and for whoever runs it. https://onnx.ai/onnx/operators/
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}


class TooOld(Exception):  # noqa: N818 - named for what is the case
    """The opset lacks something that the network needs. The message says what."""


def older(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert a model to an older opset.

    Raises:
        TooOld: it cannot be written there.
    """
    converted = ir.from_proto(model)
    common.InlinePass()(converted)
    for node in list(ir.traversal.RecursiveGraphIterator(converted.graph)):
        since, rule = _RULES.get(node.op_type, (0, None))
        if rule is not None and since > opset and node.domain == "":
            _replace(node, rule)
    for node in ir.traversal.RecursiveGraphIterator(converted.graph):
        _leave_out_defaults(node, opset)
    ir.passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.RemoveUnusedNodesPass(),
    )(converted)
    converted.opset_imports[""] = opset
    written: onnx.ModelProto = ir.to_proto(converted)
    try:
        onnx.checker.check_model(written, full_check=True)
    except Exception as error:  # the checker's and shape inference's exceptions share no base
        raise TooOld(" ".join(str(error).split()).split(" ==> ")[0]) from None
    return written


class _Writer:
    """Writes the operators that replace one node.

    Attributes:
        tape: what was written.
        dtype: of the node's first input, and so of constants.
    """

    def __init__(self, node: ir.Node) -> None:
        self.tape = ir.tape.Tape()
        first = node.inputs[0] if node.inputs else None
        self.dtype = ir.DataType.FLOAT if first is None or first.dtype is None else first.dtype

    def __call__(self, operator: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of an operator."""
        return self.tape.op(operator, inputs, attributes)

    def number(self, value: float) -> ir.Value:
        """A single number."""
        tensor = ir.tensor(np.array(value, self.dtype.numpy()))
        return self("Constant", value=tensor)

    def integers(self, values: Iterable[int]) -> ir.Value:
        """A list of integers, such as a shape."""
        return self("Constant", value=ir.tensor(np.array(list(values), np.int64)))


_Rule = Callable[[_Writer, ir.Node], ir.Value | list[ir.Value]]


def _replace(node: ir.Node, rule: _Rule) -> None:
    write = _Writer(node)
    made = rule(write, node)
    outputs = made if isinstance(made, list) else [made]
    if node.graph is None:
        return  # it was taken out before
    ir.convenience.replace_nodes_and_values(
        node.graph, node, [node], write.tape.nodes, node.outputs[: len(outputs)], outputs
    )


def _leave_out_defaults(node: ir.Node, opset: int) -> None:
    """Leave out attributes that the opset does not know, where they change nothing.

    Raises:
        TooOld: the operator, an attribute or an input is too young.
    """
    try:
        known = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        raise TooOld(f"it has no {node.op_type}") from None
    newest = onnx.defs.get_schema(node.op_type, onnx.defs.onnx_opset_version(), node.domain)
    for name in [name for name in node.attributes if name not in known.attributes]:
        given = node.attributes[name].value
        ones = name == "dilations" and all(step == 1 for step in given)
        if not ones and given != _default(newest, name):
            raise TooOld(f"its {node.op_type} has no {name}")
        del node.attributes[name]
    if len(node.inputs) > known.max_input:
        raise TooOld(f"its {node.op_type} takes no more than {known.max_input} inputs")


def _default(schema: onnx.defs.OpSchema, name: str) -> object:
    """Of an attribute; None if it has none."""
    if name not in schema.attributes:
        return None
    default = schema.attributes[name].default_value
    unset = default.type == onnx.AttributeProto.UNDEFINED
    return None if unset else ir.serde.deserialize_attribute(default).value


def _gelu(write: _Writer, node: ir.Node) -> ir.Value:
    """``x / 2 * (1 + erf(x / sqrt(2)))``, or by ``tanh`` (arXiv 1606.08415, section 2)."""
    (x,) = node.inputs
    if node.attributes.get_string("approximate", "none") == "tanh":
        cubed = write("Mul", write("Mul", x, x), x)
        inner = write("Add", x, write("Mul", cubed, write.number(0.044715)))
        share = write("Tanh", write("Mul", inner, write.number(math.sqrt(2 / math.pi))))
    else:
        share = write("Erf", write("Mul", x, write.number(math.sqrt(0.5))))
    half = write("Mul", x, write.number(0.5))
    return write("Mul", half, write("Add", share, write.number(1.0)))


def _mish(write: _Writer, node: ir.Node) -> ir.Value:
    """``x * tanh(softplus(x))``."""
    (x,) = node.inputs
    return write("Mul", x, write("Tanh", write("Softplus", x)))


def _layer_norm(write: _Writer, node: ir.Node) -> ir.Value:
    """``(x - mean) / sqrt(var + eps) * scale + shift``, over the last axes."""
    x, scale, *rest = node.inputs
    axes = _last_axes(x, node.attributes.get_int("axis", -1))
    off = write("Sub", x, write("ReduceMean", x, axes=axes))
    spread = write("ReduceMean", write("Mul", off, off), axes=axes)
    eps = write.number(node.attributes.get_float("epsilon", 1e-5))
    y = write("Mul", write("Div", off, write("Sqrt", write("Add", spread, eps))), scale)
    shift = rest[0] if rest else None
    return y if shift is None else write("Add", y, shift)


def _last_axes(x: ir.Value | None, first: int) -> list[int]:
    if first < 0:
        return list(range(first, 0))
    if x is None or x.shape is None:
        raise TooOld(
            "it has no LayerNormalization, and the rank of what is normalised is not known"
        )
    return list(range(first, len(x.shape)))


def _reduction(write: _Writer, node: ir.Node) -> ir.Value:
    """Axes were an attribute before they were an input."""
    x, axes = (*node.inputs, None)[:2]
    attributes = {"keepdims": node.attributes.get_int("keepdims", 1)}
    if axes is not None:
        attributes["axes"] = _constant(axes, node).tolist()
    elif node.attributes.get_int("noop_with_empty_axes", 0):
        return write("Identity", x)
    return write(node.op_type, x, **attributes)


def _split(write: _Writer, node: ir.Node) -> list[ir.Value]:
    """Sizes had to be given where now a number of parts will do, the last one smaller."""
    axis, parts = node.attributes.get_int("axis", 0), len(node.outputs)
    sizes = node.inputs[1] if len(node.inputs) > 1 else None
    if sizes is None:
        size = node.inputs[0].shape[axis] if node.inputs[0] and node.inputs[0].shape else None
        if not isinstance(size, int):
            raise TooOld("its Split needs sizes, and what is split has none")
        part = -(-size // parts)
        sizes = write.integers([part] * (parts - 1) + [size - part * (parts - 1)])
    return list(
        write.tape.op_multi_out("Split", [node.inputs[0], sizes], {"axis": axis}, num_outputs=parts)
    )


def _shape(write: _Writer, node: ir.Node) -> ir.Value:
    """The whole shape, and a slice of it."""
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", 2**62)
    whole = write("Shape", node.inputs[0])
    return write("Slice", whole, write.integers([start]), write.integers([end]))


def _grid_sample(write: _Writer, node: ir.Node) -> ir.Value:
    """Modes had the names of two dimensions."""
    attributes = dict(node.attributes)
    mode = node.attributes.get_string("mode", "linear")
    attributes["mode"] = ir.AttrString("mode", _GRID_MODES.get(mode, mode))
    return write("GridSample", *node.inputs, **{k: v.value for k, v in attributes.items()})


def _constant(value: ir.Value, node: ir.Node) -> np.ndarray[Any, Any]:
    if value.const_value is None:
        raise TooOld(f"its {node.op_type} takes axes that are known beforehand")
    return value.const_value.numpy()


_RULES: dict[str, tuple[int, _Rule]] = {
    "Gelu": (20, _gelu),
    "GridSample": (20, _grid_sample),
    "LayerNormalization": (17, _layer_norm),
    "Mish": (18, _mish),
    "Shape": (15, _shape),
    "Split": (18, _split),
    **{f"Reduce{name}": (18, _reduction) for name in _REDUCTIONS},
}
"""By operator: the opset that its present form came in, and how it is written before."""
