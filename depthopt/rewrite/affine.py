"""The mathematics of merging: convolutions as affine operators that compose and add.

For an operator A followed by B, with ``s`` A's stride::

    W[o, i, u] = sum_{c, v} B[o, c, v] * A[c, i, u - v * s]
    b[o]       = B.bias[o] + sum_{c, v} B[o, c, v] * A.bias[c]

This holds exactly where B is not padded in between: zero padding after A hides A's bias
at the border. A merged segment therefore pads its input once, by the total.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from depthopt.core.operators import AveragePooling
from depthopt.core.shapes import Pair
from depthopt.core.window import Window
from depthopt.graph.convolutions import operator_of


@dataclass(frozen=True, slots=True)
class Affine:
    """``y[o, p] = bias[o] + sum_{i, u} weight[o, i, u] * x[i, p * stride + offset + u]``.

    Attributes:
        weight: (out_channels, in_channels // groups, kH, kW).
        bias: (out_channels,).
        window: stride, offset, size and groups.
    """

    weight: Tensor
    bias: Tensor
    window: Window

    @classmethod
    def identity(cls, channels: int, like: Tensor) -> "Affine":
        """The operator that changes nothing, in the dtype and on the device of ``like``."""
        ones = torch.ones((channels, 1, 1, 1), dtype=like.dtype, device=like.device)
        return cls(ones, torch.zeros_like(ones[:, 0, 0, 0]), Window.identity(channels))

    @classmethod
    def of(cls, layer: nn.Module, norm: nn.Module | None = None) -> "Affine":
        """A convolution with its norm folded in, or a norm alone, in float64."""
        weight, bias = folded(layer, norm)
        operator = operator_of(layer)
        return cls(_dilate(weight, operator.dilation), bias, Window.of(operator))

    @classmethod
    def pooling(cls, pooling: AveragePooling, like: Tensor) -> "Affine":
        """An average pooling as the depthwise convolution that computes the same, in float64."""
        (kh, kw), channels = pooling.kernel_size, pooling.channels
        weight = like.new_full((channels, 1, kh, kw), 1 / (kh * kw), dtype=torch.float64)
        return cls(weight, weight.new_zeros(channels), Window.of(pooling))

    def then(self, after: "Affine") -> "Affine":
        """``after`` applied, without padding in between, to this operator's output."""
        groups = after.window.groups
        bias = torch.einsum(
            "gom,gm->go",
            after.weight.sum((2, 3)).reshape(groups, -1, len(self.bias) // groups),
            self.bias.reshape(groups, -1),
        )
        return Affine(
            _composed(self, after), after.bias + bias.reshape(-1), self.window.then(after.window)
        )

    def plus(self, other: "Affine") -> "Affine":
        """The sum of both operators' outputs."""
        window = self.window.plus(other.window)
        return Affine(
            self._embedded(window) + other._embedded(window),  # noqa: SLF001 - same class
            self.bias + other.bias,
            window,
        )

    def _embedded(self, window: Window) -> Tensor:
        """The weight inside a larger kernel and coarser groups."""
        (top, left) = (
            self.window.offset[0] - window.offset[0],
            self.window.offset[1] - window.offset[1],
        )
        bottom = window.size[0] - top - self.window.size[0]
        right = window.size[1] - left - self.window.size[1]
        weight = _regroup(self.weight, self.window.groups, window.groups)
        return F.pad(weight, (left, right, top, bottom))


def folded(layer: nn.Module, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by a batch norm in evaluation mode.

    ``W' = W * gamma / sqrt(var + eps)``, ``b' = (b - mean) * gamma / sqrt(var + eps) + beta``,
    with the norm's own ``eps``, computed in float64.

    Args:
        layer: a convolution, or a norm: the identity followed by it.
        norm: follows the convolution, if any does.

    Returns:
        weight: (out_channels, in_channels // groups, kH, kW), and bias: (out_channels,),
        in float64.
    """
    if isinstance(layer, nn.BatchNorm2d):
        norm = layer
        assert norm.running_var is not None  # noqa: S101 - narrows Tensor | None: is_foldable_norm looked
        weight = torch.ones_like(norm.running_var, dtype=torch.float64)[:, None, None, None]
        bias = torch.zeros_like(weight[:, 0, 0, 0])
    else:
        assert isinstance(layer, nn.Conv2d)  # noqa: S101 - narrows nn.Module: why_opaque refuses others
        weight = layer.weight.detach().double()
        bias = torch.zeros_like(weight[:, 0, 0, 0])
        if layer.bias is not None:
            bias = layer.bias.detach().double()
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None  # noqa: S101 - narrows Tensor | None, as above
        assert norm.running_var is not None  # noqa: S101 - the same
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach().double()
        weight = weight * scale[:, None, None, None]
        bias = (bias - norm.running_mean.double()) * scale
        if norm.bias is not None:
            bias = bias + norm.bias.detach().double()
    return weight, bias


def _composed(first: Affine, second: Affine) -> Tensor:
    """The weight of ``second`` after ``first``: one matrix product per tap of ``second``.

    Only the operator with fewer groups is written out for the common grouping, so runs of
    depthwise convolutions, and dense ones beside them, never become dense on the way.
    """
    finer_first, finer_second = first.window.groups, second.window.groups
    groups = math.gcd(finer_first, finer_second)
    out, middle = len(second.weight), len(first.weight)
    (kh, kw), (sh, sw) = first.window.size, first.window.stride
    if finer_second >= finer_first:
        parts = finer_second
        right = _regroup(first.weight, finer_first, groups).reshape(parts, middle // parts, -1)
        left = second.weight.reshape(parts, out // parts, middle // parts, -1)
        inputs, spread = right.shape[2] // (kh * kw), 1
    else:
        parts, spread = finer_first, finer_first // groups
        right = first.weight.reshape(parts, middle // parts, -1)
        left = _regroup(second.weight, finer_second, groups)
        left = left.reshape(groups, out // groups, spread, middle // parts, -1).transpose(1, 2)
        left = left.reshape(parts, out // groups, middle // parts, -1)
        inputs = right.shape[2] // (kh * kw)
    rows, columns = second.window.size
    merged = left.new_zeros(
        (parts, left.shape[1], inputs, kh + (rows - 1) * sh, kw + (columns - 1) * sw)
    )
    for row in range(rows):
        for column in range(columns):
            product = left[..., row * columns + column] @ right
            place = merged[..., row * sh : row * sh + kh, column * sw : column * sw + kw]
            place += product.reshape(parts, left.shape[1], inputs, kh, kw)
    if spread > 1:
        merged = merged.reshape(groups, spread, *merged.shape[1:]).transpose(1, 2)
    return merged.reshape(out, -1, *merged.shape[-2:])


def _dilate(weight: Tensor, dilation: Pair) -> Tensor:
    """The kernel with the dilation's zeros written out."""
    dh, dw = dilation
    if (dh, dw) == (1, 1):
        return weight
    *channels, height, width = weight.shape
    spread = weight.new_zeros((*channels, (height - 1) * dh + 1, (width - 1) * dw + 1))
    spread[..., ::dh, ::dw] = weight
    return spread


def _regroup(weight: Tensor, groups: int, coarser: int) -> Tensor:
    """The weight of ``groups`` groups written out for ``coarser`` groups (a divisor).

    Args:
        weight: (out_channels, in_channels // groups, kH, kW).
        groups: the weight's own groups.
        coarser: divides ``groups``.

    Returns:
        (out_channels, in_channels // coarser, kH, kW).
    """
    if groups == coarser:
        return weight
    ratio = groups // coarser
    out, inner, *kernel = weight.shape
    wide = weight.new_zeros((coarser, ratio, out // groups, ratio, inner, *kernel))
    diagonal = torch.arange(ratio, device=weight.device)
    blocks = weight.reshape(coarser, ratio, out // groups, inner, *kernel)
    wide[:, diagonal, :, diagonal] = blocks.transpose(0, 1)
    return wide.reshape(out, ratio * inner, *kernel)
