"""Convert ONNX models of convolutional networks to torch modules.

https://onnx.ai/onnx/operators/ ; opsets 13 and newer, float32, static shapes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from onnx import numpy_helper
from torch import Tensor, fx, nn

from depthopt.core.clipped import one_line
from depthopt.errors import ModelError
from depthopt.runtimes.onnx_inputs import input_shapes

_MIN_OPSET = 13

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A function, its arguments and its keyword arguments."""


def onnx_to_torch(onnx_model: bytes | Path) -> fx.GraphModule:
    """Convert an ONNX model to a module that calls one torch function per ONNX node.

    Its inputs are the model's, in order; its output is the tuple of the model's outputs.

    Raises:
        ModelError: it is not an ONNX model, or holds an operator or an option that is not
            known here; the message names it.
    """
    proto = _read(onnx_model)
    try:
        return _converted_graph(proto)
    except ModelError:
        raise
    except Exception as error:  # a node with other inputs or attributes than its operator's
        raise ModelError(f"it is damaged: {one_line(error)}") from error


def _converted_graph(proto: onnx.ModelProto) -> fx.GraphModule:
    root, graph = nn.Module(), fx.Graph()
    constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    values: dict[str, fx.Node] = {
        name: graph.placeholder(f"input_{i}") for i, name in enumerate(input_shapes(proto.graph))
    }

    def value(name: str) -> fx.Node:
        if name not in values:
            attribute = f"constant_{len(values)}"
            root.register_buffer(attribute, torch.from_numpy(constants[name].copy()))
            values[name] = graph.get_attr(attribute)
        return values[name]

    for node in proto.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            continue
        function, args, kwargs = _converted(_Node(node, value, constants))
        result = graph.call_function(function, args, kwargs)
        if len(node.output) == 1 or not any(node.output[1:]):
            values[node.output[0]] = result
            continue
        for i, name in enumerate(node.output):
            values[name] = graph.call_function(_item, (result, i))
    graph.output(tuple(value(output.name) for output in proto.graph.output))
    return fx.GraphModule(root, graph).eval()


def _read(onnx_model: bytes | Path) -> Any:
    try:
        proto = (
            onnx.load_from_string(onnx_model)
            if isinstance(onnx_model, bytes)
            else onnx.load(onnx_model)
        )
    except Exception as error:  # protobuf's exceptions share no base but this one
        raise ModelError(f"it is not an ONNX model: {' '.join(str(error).split())}") from error
    opset = next((o.version for o in proto.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if opset < _MIN_OPSET:
        raise ModelError(f"its opset is {opset}, expected {_MIN_OPSET} or newer")
    return proto


@dataclass(frozen=True, slots=True)
class _Node:
    """An ONNX node with its inputs as nodes of the torch graph."""

    proto: onnx.NodeProto
    value: Callable[[str], fx.Node]
    constants: dict[str, Any]

    def __getitem__(self, index: int) -> fx.Node:
        """An input."""
        return self.value(self.proto.input[index])

    def optional(self, index: int) -> fx.Node | None:
        """An input, or None where it is left out."""
        return self[index] if self._has(index) else None

    def inputs(self) -> list[fx.Node]:
        """All inputs."""
        return [self.value(name) for name in self.proto.input]

    def constant(self, index: int) -> Any:
        """An input's value as numbers or lists; None where it is left out.

        Raises:
            ModelError: it is computed while the model runs.
        """
        if not self._has(index):
            return None
        name = self.proto.input[index]
        if name not in self.constants:
            raise ModelError(f"input {index} of {self.proto.op_type} is not a constant")
        return self.constants[name].tolist()

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                found = onnx.helper.get_attribute_value(attribute)
                return found.decode() if isinstance(found, bytes) else found
        return default

    def only(self, **defaults: Any) -> None:
        """Refuse other values of attributes than these."""
        for name, default in defaults.items():
            if (found := self.attribute(name, default)) != default:
                raise ModelError(f"{self.proto.op_type} with {name}={found!r} is not known")

    def _has(self, index: int) -> bool:
        return len(self.proto.input) > index and bool(self.proto.input[index])


def _converted(node: _Node) -> Call:
    operator, domain = node.proto.op_type, node.proto.domain or "ai.onnx"
    if operator not in _CONVERTERS or domain != "ai.onnx":
        raise ModelError(f"operator {domain}.{operator} is not known")
    return _CONVERTERS[operator](node)


def _item(values: Sequence[Any], index: int) -> Any:
    return values[index]


def _same(function: Callable[..., Any]) -> Callable[[_Node], Call]:
    """An operator that is a torch function of the same inputs."""
    return lambda node: (function, tuple(node.inputs()), {})


def _with(function: Callable[..., Any], **names: tuple[str, Any]) -> Callable[[_Node], Call]:
    """An operator whose attributes are keywords of a torch function: keyword=(name, default)."""
    return lambda node: (
        function,
        (node[0],),
        {keyword: node.attribute(*attribute) for keyword, attribute in names.items()},
    )


def _many(function: Callable[..., Any]) -> Callable[[_Node], Call]:
    """A torch function of two inputs, over any number of them."""

    def folded(*tensors: Tensor) -> Tensor:
        total = tensors[0]
        for tensor in tensors[1:]:
            total = function(total, tensor)
        return total

    return lambda node: (folded, tuple(node.inputs()), {})


def _clip(node: _Node) -> Call:
    return torch.clamp, (node[0],), {"min": node.constant(1), "max": node.constant(2)}


def _hard_sigmoid(node: _Node) -> Call:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid, (node[0],), {}
    return _general_hard_sigmoid, (node[0], alpha, beta), {}


def _general_hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


def _pads(node: _Node, rank: int) -> tuple[list[int], list[int]]:
    """Padding as (symmetric per dimension, what is left for ``F.pad``)."""
    node.only(auto_pad="NOTSET")
    pads = list(node.attribute("pads", [0] * 2 * rank))
    before, after = pads[:rank], pads[rank:]
    if before == after:
        return before, []
    sides = zip(reversed(before), reversed(after), strict=True)
    return [0] * rank, [side for pair in sides for side in pair]


def _conv(node: _Node) -> Call:
    rank = len(node.attribute("kernel_shape"))
    if rank != 2:
        raise ModelError(f"Conv of {rank} spatial dimensions is not known")
    padding, sides = _pads(node, rank)
    settings = {
        "stride": tuple(node.attribute("strides", [1] * rank)),
        "padding": tuple(padding),
        "dilation": tuple(node.attribute("dilations", [1] * rank)),
        "groups": node.attribute("group", 1),
    }
    args = (node[0], node[1], node.optional(2))
    return (_padded_conv, (sides, *args), settings) if sides else (F.conv2d, args, settings)


def _padded_conv(sides: Sequence[int], x: Tensor, *args: Any, **settings: Any) -> Tensor:
    return F.conv2d(F.pad(x, sides), *args, **settings)


def _transposed_conv(node: _Node) -> Call:
    rank = len(node.attribute("kernel_shape"))
    padding, sides = _pads(node, rank)
    if rank != 2 or sides or node.attribute("output_shape") is not None:
        raise ModelError("ConvTranspose of other than 2 dimensions, padded alike, is not known")
    settings = {
        "stride": tuple(node.attribute("strides", [1, 1])),
        "padding": tuple(padding),
        "output_padding": tuple(node.attribute("output_padding", [0, 0])),
        "dilation": tuple(node.attribute("dilations", [1, 1])),
        "groups": node.attribute("group", 1),
    }
    return F.conv_transpose2d, (node[0], node[1], node.optional(2)), settings


def _depth_to_space(node: _Node) -> Call:
    if (mode := node.attribute("mode", "DCR")) != "CRD":
        raise ModelError(f"DepthToSpace with mode={mode!r} is not known")
    return F.pixel_shuffle, (node[0], node.attribute("blocksize")), {}


def _pool(node: _Node) -> tuple[list[int], dict[str, Any]]:
    kernel = list(node.attribute("kernel_shape"))
    padding, sides = _pads(node, len(kernel))
    if len(kernel) != 2:
        raise ModelError(f"{node.proto.op_type} of {len(kernel)} dimensions is not known")
    return sides, {
        "kernel_size": kernel,
        "stride": list(node.attribute("strides", [1, 1])),
        "padding": padding,
        "ceil_mode": bool(node.attribute("ceil_mode", 0)),
    }


def _max_pool(node: _Node) -> Call:
    sides, settings = _pool(node)
    settings["dilation"] = list(node.attribute("dilations", [1, 1]))
    if not sides:
        return F.max_pool2d, (node[0],), settings
    return _padded_max_pool, (sides, node[0]), settings


def _padded_max_pool(sides: Sequence[int], x: Tensor, **settings: Any) -> Any:
    return F.max_pool2d(F.pad(x, sides, value=-math.inf), **settings)


def _average_pool(node: _Node) -> Call:
    node.only(dilations=[1, 1])
    sides, settings = _pool(node)
    counted = bool(node.attribute("count_include_pad", 0))
    if sides and not counted:
        raise ModelError("AveragePool with uneven padding that is not counted is not known")
    if not sides:
        return F.avg_pool2d, (node[0],), {**settings, "count_include_pad": counted}
    return _padded_average_pool, (sides, node[0]), settings


def _padded_average_pool(sides: Sequence[int], x: Tensor, **settings: Any) -> Tensor:
    return F.avg_pool2d(F.pad(x, sides), **settings)


def _global_max(x: Tensor) -> Tensor:
    return torch.amax(x, dim=(2, 3), keepdim=True)


def _global_mean(x: Tensor) -> Tensor:
    return torch.mean(x, dim=(2, 3), keepdim=True)


def _gemm(node: _Node) -> Call:
    node.only(alpha=1.0, beta=1.0, transA=0)
    if node.attribute("transB", 0):
        return F.linear, (node[0], node[1], node.optional(2)), {}
    return _linear, (node[0], node[1], node.optional(2)), {}


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight.T, bias)


def _batch_norm(node: _Node) -> Call:
    node.only(training_mode=0)
    x, weight, bias, mean, variance = node.inputs()
    settings = {"training": False, "eps": node.attribute("epsilon", 1e-5)}
    return F.batch_norm, (x, mean, variance, weight, bias), settings


def _layer_norm(node: _Node) -> Call:
    name = node.proto.input[1]
    shape = list(node.constants[name].shape) if name in node.constants else None
    if shape is None:
        raise ModelError("LayerNormalization by a computed scale is not known")
    args = (node[0], shape, node[1], node.optional(2))
    return F.layer_norm, args, {"eps": node.attribute("epsilon", 1e-5)}


def _reduce(function: Callable[..., Any]) -> Callable[[_Node], Call]:
    def over_all(x: Tensor) -> Any:
        return function(x, dim=tuple(range(x.dim())))

    def convert(node: _Node) -> Call:
        axes = node.attribute("axes") or node.constant(1)
        keeps = bool(node.attribute("keepdims", 1))
        if axes is not None:
            return function, (node[0],), {"dim": tuple(axes), "keepdim": keeps}
        if keeps:
            raise ModelError(f"{node.proto.op_type} over all axes that keeps them is not known")
        return over_all, (node[0],), {}

    return convert


def _reshape(node: _Node) -> Call:
    shape = node.constant(1)
    if 0 in shape:
        return _reshape_some, (node[0], shape), {}
    return torch.reshape, (node[0], shape), {}


def _reshape_some(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def _flatten(node: _Node) -> Call:
    node.only(axis=1)
    return torch.flatten, (node[0], 1), {}


def _slice(node: _Node) -> Call:
    starts, ends = node.constant(1), node.constant(2)
    axes = node.constant(3) or list(range(len(starts)))
    steps = node.constant(4) or [1] * len(starts)
    if min(steps) < 1:
        raise ModelError("Slice backwards is not known")
    return _sliced, (node[0], [*zip(axes, starts, ends, steps, strict=True)]), {}


def _sliced(x: Tensor, parts: Sequence[tuple[int, int, int, int]]) -> Tensor:
    for axis, start, end, step in parts:
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, end, step)
        x = x[tuple(index)]
    return x


def _split(node: _Node) -> Call:
    sizes, axis = node.constant(1), node.attribute("axis", 0)
    if sizes is None:
        return torch.chunk, (node[0], len(node.proto.output), axis), {}
    return torch.split, (node[0], sizes, axis), {}


def _pad(node: _Node) -> Call:
    pads, mode = node.constant(1), node.attribute("mode", "constant")
    rank = len(pads) // 2
    sides = [side for i in reversed(range(rank)) for side in (pads[i], pads[rank + i])]
    if mode != "constant":
        if any(sides[4:]):
            raise ModelError(f"Pad of more than two dimensions by {mode} is not known")
        modes = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
        return F.pad, (node[0], sides[:4]), {"mode": modes[mode]}
    return F.pad, (node[0], sides), {"value": node.constant(2) or 0}


def _squeeze(node: _Node) -> Call:
    return torch.squeeze, (node[0], tuple(node.constant(1))), {}


def _unsqueeze(node: _Node) -> Call:
    return _unsqueezed, (node[0], sorted(node.constant(1))), {}


def _unsqueezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _resize(node: _Node) -> Call:
    node.only(antialias=0)
    sizes, scales = node.constant(3), node.constant(2)
    settings: dict[str, Any] = {"size": sizes[2:]} if sizes else {"scale_factor": scales[2:]}
    if node.attribute("mode", "nearest") == "nearest":
        return F.interpolate, (node[0],), {**settings, "mode": "nearest"}
    node.only(mode="linear")
    place = node.attribute("coordinate_transformation_mode", "half_pixel")
    if place not in _ALIGN_CORNERS:
        raise ModelError(f"Resize with coordinate_transformation_mode={place!r} is not known")
    return F.interpolate, (node[0],), settings | {
        "mode": "bilinear", "align_corners": _ALIGN_CORNERS[place],
    }  # fmt: skip


_ALIGN_CORNERS = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}
"""Torch's word for where a linear ``Resize`` reads its pixels, where it has one."""


def _gather(node: _Node) -> Call:
    return _taken, (node[0], node.attribute("axis", 0), node.constant(1)), {}


def _taken(x: Tensor, axis: int, indices: Any) -> Tensor:
    index = torch.tensor(indices, device=x.device)
    axis %= x.dim()
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, index.reshape(-1)).reshape(shape)


def _transpose(node: _Node) -> Call:
    return torch.permute, (node[0], list(node.attribute("perm"))), {}


def _concat(node: _Node) -> Call:
    return torch.cat, (node.inputs(), node.attribute("axis")), {}


def _expand(node: _Node) -> Call:
    return torch.broadcast_to, (node[0], node.constant(1)), {}


_CONVERTERS: dict[str, Callable[[_Node], Call]] = {
    "Abs": _same(torch.abs),
    "Add": _same(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _transposed_conv,
    "DepthToSpace": _depth_to_space,
    "Div": _same(torch.div),
    "Elu": _with(F.elu, alpha=("alpha", 1.0)),
    "Erf": _same(torch.erf),
    "Exp": _same(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _with(F.gelu, approximate=("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": _same(_global_mean),
    "GlobalMaxPool": _same(_global_max),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _same(F.hardswish),
    "Identity": lambda node: (_item, ([node[0]], 0), {}),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _with(F.leaky_relu, negative_slope=("alpha", 0.01)),
    "MatMul": _same(torch.matmul),
    "Max": _many(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _many(torch.minimum),
    "Mish": _same(F.mish),
    "Mul": _same(torch.mul),
    "Neg": _same(torch.neg),
    "Pad": _pad,
    "Pow": _same(torch.pow),
    "Reciprocal": _same(torch.reciprocal),
    "ReduceL2": _reduce(torch.linalg.vector_norm),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _same(F.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _same(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _with(torch.softmax, dim=("axis", -1)),
    "Softplus": _same(F.softplus),
    "Split": _split,
    "Sqrt": _same(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _same(torch.sub),
    "Sum": _many(torch.add),
    "Tanh": _same(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
