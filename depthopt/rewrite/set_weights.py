"""Set a convolution and the norm behind it so that they compute with given weights.

The norm keeps its part: its statistics become those of the new outputs, so that training, which
normalises by the batch's, and evaluation agree. It also leaves the length of each output channel's
weight free, and with it how far a step of Adam turns the weight: by the learning rate over its
root mean square (van Laarhoven 2017, "L2 Regularization versus Batch and Weight Normalization",
arXiv 1706.05350). Lengths are therefore given, so that all layers learn at the pace of those that
were trained.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class Moments(Protocol):
    """Statistics of a convolution's inputs."""

    def output_moments(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (out_channels,) of what a weight gives without a bias."""
        ...


@torch.no_grad()
def set_weights(
    layer: nn.Conv2d,
    norm: nn.BatchNorm2d | None,
    weight: Tensor,
    bias: Tensor,
    regression: Moments,
    lengths: Tensor,
) -> None:
    """Let convolution and norm together compute ``weight`` and ``bias``, in evaluation mode.

    Args:
        layer: the convolution; changed in place.
        norm: behind it, if there is one; changed in place.
        weight: (out_channels, in_channels // groups, kH, kW).
        bias: (out_channels,).
        regression: has seen the convolution's inputs.
        lengths: (out_channels,), Euclidean norms that the convolution's weight gets, per output
            channel, if there is a norm.
    """
    if norm is None:
        layer.weight.copy_(weight)
        if layer.bias is None:
            layer.bias = nn.Parameter(bias.to(layer.weight))
        else:
            layer.bias.copy_(bias)
        return
    weight, bias = weight.double(), bias.double()
    if not norm.affine:  # its variance stays, so that it gives what it is given
        deviation = (norm.get_buffer("running_var").double() + norm.eps).sqrt()
        layer.weight.copy_(weight * deviation[:, None, None, None])
        offset = 0 if layer.bias is None else layer.bias.double()
        norm.get_buffer("running_mean").copy_(offset - bias * deviation)
        return
    gain = norm.get_parameter("weight")
    wanted = weight.flatten(1).norm(dim=1)
    dead = (wanted == 0) | (lengths == 0)  # of no direction, or of no length: set as it is
    scale = torch.where(dead, 1.0, wanted / lengths.double()).copysign(gain.double())
    raw = weight / scale[:, None, None, None]
    mean, variance = regression.output_moments(raw)
    layer.weight.copy_(raw)
    offset = mean if layer.bias is None else mean + layer.bias.double()
    norm.get_buffer("running_mean").copy_(offset)
    norm.get_buffer("running_var").copy_(variance)
    gain.copy_(scale * (variance + norm.eps).sqrt())
    norm.get_parameter("bias").copy_(bias + scale * mean)


@torch.no_grad()
def set_with_norm_as_is(
    layer: nn.Conv2d, norm: nn.BatchNorm2d | None, weight: Tensor, bias: Tensor
) -> None:
    """The same for outputs that hardly change: the norm keeps its statistics and gain.

    Args:
        layer: the convolution; changed in place. It has a bias where there is no norm.
        norm: behind it, if there is one; its bias changes, or its mean, if it has none.
        weight: (out_channels, in_channels // groups, kH, kW).
        bias: (out_channels,).
    """
    own = 0.0 if layer.bias is None else layer.bias.double()
    if norm is None:
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(bias)
        return
    mean, variance = (norm.get_buffer(f"running_{name}").double() for name in ("mean", "var"))
    gain = norm.weight.double() if norm.affine else torch.ones_like(variance)
    scale = gain * (variance + norm.eps).rsqrt()
    dead = scale == 0  # whatever the convolution gives, the norm gives its bias
    raw = weight.double() / torch.where(dead, 1.0, scale)[:, None, None, None]
    layer.weight.copy_(torch.where(dead[:, None, None, None], layer.weight.double(), raw))
    if norm.affine:
        norm.bias.copy_(bias.double() - (own - mean) * scale)
    else:
        norm.get_buffer("running_mean").copy_(own - bias.double() / scale)


def own_lengths(layer: nn.Conv2d) -> Tensor:
    """The lengths that a trained convolution's weights have, (out_channels,)."""
    lengths: Tensor = layer.weight.detach().double().flatten(1).norm(dim=1)
    return lengths


def fresh_lengths(layer: nn.Conv2d) -> Tensor:
    """The lengths that new weights have before a training, (out_channels,).

    Kaiming's initialisation by outputs, as timm's convolutional networks use it: a variance of
    2 / (kH kW out_channels / groups). Most layers of trained networks lie within a factor of
    two of it.
    """
    fan_in = layer.weight[0].numel()
    fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
    return layer.weight.new_full((layer.out_channels,), math.sqrt(2 * fan_in / fan_out)).double()
