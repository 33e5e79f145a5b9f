"""The algebra of merging: convolutions as affine operators that compose and add.

For an operator A followed by B, with ``s`` A's stride::

    W[o, i, u] = sum_{c, v} B[o, c, v] * A[c, i, u - v * s]
    b[o]       = B.bias[o] + sum_{c, v} B[o, c, v] * A.bias[c]

This holds exactly where B is not padded in between: zero padding after A hides A's bias
at the border. A merged segment therefore pads its input once, by the total.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from depthopt.core.spec import ConvSpec, Pair
from depthopt.core.window import Window
from depthopt.graph.convolutions import layer_spec


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
        spec = layer_spec(layer)
        return cls(_dilate(weight, spec.dilation), bias, Window.of(spec))

    @classmethod
    def pooling(cls, spec: ConvSpec, like: Tensor) -> "Affine":
        """An average pooling that is the depthwise convolution ``spec``, in float64."""
        (kh, kw), channels = spec.kernel_size, spec.in_channels
        weight = like.new_full((channels, 1, kh, kw), 1 / (kh * kw), dtype=torch.float64)
        return cls(weight, weight.new_zeros(channels), Window.of(spec))

    def then(self, after: "Affine") -> "Affine":
        """``after`` applied, without padding in between, to this operator's output."""
        window = self.window.then(after.window)
        groups, stride = window.groups, self.window.stride
        first = _regroup(self.weight, self.window.groups, groups)
        second = _regroup(after.weight, after.window.groups, groups)
        out, middle, *kernel = second.shape
        blocks = second.reshape(groups, out // groups, middle, *kernel).transpose(0, 1)
        merged = F.conv_transpose2d(
            blocks.reshape(out // groups, groups * middle, *kernel),
            first, stride=stride, groups=groups,
        )  # fmt: skip
        size = merged.shape[-2:]
        weight = merged.reshape(out // groups, groups, -1, *size).transpose(0, 1)
        bias = second.sum((2, 3)).reshape(groups, out // groups, middle)
        bias = torch.einsum("gom,gm->go", bias, self.bias.reshape(groups, middle))
        return Affine(
            weight.reshape(out, -1, *size).contiguous(), after.bias + bias.reshape(out), window
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
        assert norm.running_var is not None  # noqa: S101 - is_foldable_norm has looked
        weight = torch.ones_like(norm.running_var, dtype=torch.float64)[:, None, None, None]
        bias = torch.zeros_like(weight[:, 0, 0, 0])
    else:
        assert isinstance(layer, nn.Conv2d)  # noqa: S101 - why_opaque refuses others
        weight = layer.weight.detach().double()
        bias = torch.zeros_like(weight[:, 0, 0, 0])
        if layer.bias is not None:
            bias = layer.bias.detach().double()
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach().double()
        weight = weight * scale[:, None, None, None]
        bias = (bias - norm.running_mean.double()) * scale
        if norm.bias is not None:
            bias = bias + norm.bias.detach().double()
    return weight, bias


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
