"""A convolution and the norm behind it, set to compute given weights together.

The norm keeps its part: its statistics become those of the new outputs, so that training, which
normalises by the batch's, and evaluation agree.
"""

import torch
from torch import Tensor, nn

from depthopt.rewrite.regression import Regression


@torch.no_grad()
def set_weights(
    layer: nn.Conv2d,
    norm: nn.BatchNorm2d | None,
    weight: Tensor,
    bias: Tensor,
    regression: Regression,
) -> None:
    """Let convolution and norm together compute ``weight`` and ``bias``, in evaluation mode.

    Args:
        layer: the convolution; changed in place.
        norm: behind it, if there is one; changed in place.
        weight: (out_channels, in_channels // groups, kH, kW), in float64.
        bias: (out_channels,), in float64.
        regression: has seen the convolution's inputs.
    """
    if norm is None:
        layer.weight.copy_(weight)
        if layer.bias is None:
            layer.bias = nn.Parameter(bias.to(layer.weight))
        else:
            layer.bias.copy_(bias)
        return
    state = {name: tensor.double() for name, tensor in norm.state_dict().items()}
    scale = state["weight"] / (state["running_var"] + norm.eps).sqrt()
    dead = scale.abs() < 1e-12  # what such a channel computes is its bias, whatever the weight
    safe = torch.where(dead, torch.ones_like(scale), scale)[:, None, None, None]
    raw = torch.where(dead[:, None, None, None], layer.weight.double(), weight / safe)
    mean, variance = regression.output_moments(raw)
    layer.weight.copy_(raw)
    offset = mean if layer.bias is None else mean + layer.bias.double()
    norm.get_buffer("running_mean").copy_(offset)
    norm.get_buffer("running_var").copy_(variance)
    norm.get_parameter("weight").copy_(scale * (variance + norm.eps).sqrt())
    norm.get_parameter("bias").copy_(bias + scale * mean)
