"""Remove from an exported graph what is not needed: padding, identities, copies, notes."""

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.rewriter import RewritePass, pattern
from onnxscript.rewriter.rules.common import fuse_pad_into_conv_rule


def simplify(model: ir.Model) -> None:
    """Simplify a graph in place. What it computes stays the same.

    Zero padding moves into the convolution behind it, means over a whole image become
    ``GlobalAveragePool`` and reshapes that flatten ``Flatten``, which every runtime knows
    best. Constants are initialisers, no two of them alike, and the exporter's notes on each
    node, such as paths of source files, are gone.
    """
    rules = [fuse_pad_into_conv_rule, _POOL, _POOL_AND_FLATTEN, _FLATTEN]
    ir.passes.Sequential(
        common.IdentityEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        RewritePass(rules),
    )(model)
    _make_contiguous(model)
    ir.passes.Sequential(
        common.DeduplicateHashedInitializersPass(size_limit=2**31),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    )(model)


def _make_contiguous(model: ir.Model) -> None:
    """Copy tensors that are views, such as transposed ones, which cannot be compared by bytes."""
    for value in model.graph.initializers.values():
        array = value.const_value.numpy() if value.const_value is not None else None
        if array is not None and not array.flags.c_contiguous:
            value.const_value = ir.Tensor(np.ascontiguousarray(array), name=value.name)


def _mean(op: Any, x: Any, axes: Any, keepdims: int) -> Any:
    return op.ReduceMean(
        x, axes, keepdims=keepdims, _allow_other_attributes=True, _outputs=["mean"]
    )


def _over_image(_: Any, x: ir.Value, axes: ir.Value, **__: ir.Value) -> bool:
    """Whether the mean is over height and width."""
    if x.shape is None or len(x.shape) != 4 or axes.const_value is None:
        return False
    return sorted(axis % 4 for axis in axes.const_value.numpy().tolist()) == [2, 3]


def _flattens(_: Any, x: ir.Value, reshaped: ir.Value, **__: ir.Value) -> bool:
    """Whether a reshape keeps the first dimension and joins all others."""
    if x.shape is None or reshaped.shape is None or len(reshaped.shape) != 2:
        return False
    sizes = x.shape[1:]
    whole = all(isinstance(size, int) for size in sizes)
    return whole and reshaped.shape[1] == math.prod(sizes)


_POOL = pattern.RewriteRule(
    lambda op, x, axes: _mean(op, x, axes, 1),
    lambda op, x, **_: op.GlobalAveragePool(x),
    _over_image,
    name="pool",
)
_POOL_AND_FLATTEN = pattern.RewriteRule(
    lambda op, x, axes: _mean(op, x, axes, 0),
    lambda op, x, **_: op.Flatten(op.GlobalAveragePool(x), axis=1),
    _over_image,
    name="pool and flatten",
)
_FLATTEN = pattern.RewriteRule(
    lambda op, x, shape: op.Reshape(x, shape, _allow_other_attributes=True, _outputs=["reshaped"]),
    lambda op, x, **_: op.Flatten(x, axis=1),
    _flattens,
    name="flatten",
)
