"""Make layers with fewer channels. The channels that stay keep their weights."""

import math
from itertools import chain

import torch
from torch import Tensor, fx, nn

from depthopt.core.chain import Block
from depthopt.core.operators import Convolution
from depthopt.graph.convolutions import make_conv
from depthopt.graph.trace import nodes_by_name


def layers_of(network: fx.GraphModule, block: Block) -> dict[str, nn.Module]:
    """A block's convolution and the norm behind it, if there is one, by their paths."""
    last = str(nodes_by_name(network)[block.linear].target)
    return {path: network.get_submodule(path) for path in (block.name, last)}


def narrower(layer: nn.Module, operator: Convolution, *, biased: bool = False) -> nn.Module:
    """A layer like another, for fewer channels. The layer itself if it has as few.

    Args:
        layer: a convolution, or the norm behind it.
        operator: the two together, with fewer channels.
        biased: whether a convolution gets a bias even if the layer has none.
    """
    if isinstance(layer, nn.BatchNorm2d):
        channels = operator.out_channels
        new: nn.Module = nn.BatchNorm2d(channels, layer.eps, layer.momentum, layer.affine)
        same = channels == layer.num_features
    else:
        assert isinstance(layer, nn.Conv2d)  # noqa: S101 - narrows nn.Module: blocks are made of no other
        new = make_conv(operator)
        if layer.bias is None and not biased:
            new.register_parameter("bias", None)
        same = new.weight.shape == layer.weight.shape
    if same:
        return layer
    return new.to(next(chain(layer.parameters(), layer.buffers()))).train(layer.training)


@torch.no_grad()
def keep_channels(
    layer: nn.Module, new: nn.Module, outputs: Tensor | None, inputs: Tensor | None, channels: int
) -> None:
    """Give a narrower layer what a layer has for the channels that stay.

    Args:
        layer: a convolution or a norm.
        new: made by ``narrower``; changed in place.
        outputs: those that stay of a hidden tensor, rising, if the layer gives one; of a tensor
            with another number of channels, the same shares stay.
        inputs: likewise, if it reads one.
        channels: how many the hidden tensor had.
    """

    def kept(values: Tensor, dimension: int, stays: Tensor) -> Tensor:
        whole = values.shape[dimension]
        mask = torch.zeros(channels, dtype=torch.bool, device=values.device)
        mask[stays.to(values.device)] = True
        # Units have as many channels of every hidden tensor, one after another.
        share = math.gcd(whole, channels)
        rows = mask.reshape(share, -1)[:, 0].repeat_interleave(whole // share)
        return values[rows] if dimension == 0 else values[:, rows]

    old = layer.state_dict()
    for name, value in new.state_dict().items():
        if name not in old:
            continue  # a bias that is to be regressed
        found = old[name]
        for dimension, stays in enumerate((outputs, inputs)[: found.dim()]):
            if stays is not None and found.shape[dimension] != value.shape[dimension]:
                found = kept(found, dimension, stays)
        value.copy_(found)
