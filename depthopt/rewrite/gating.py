"""A gate on a tensor's channels, and what is left of it where fewer channels have to do.

``weighed = x * act2(conv2(act1(conv1(mean of x))))``. Its first convolution is linear in the means,
so that its weight for fewer of them is regressed to give what it gave for all; the second one only
loses what it gave for those that go.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from depthopt.core.chain import Block
from depthopt.graph.activations import make_activation
from depthopt.rewrite.regression import Regression, best_fits, convolve

Weights = tuple[tuple[Tensor, Tensor], ...]
"""Weight (out, in, 1, 1) and bias (out,) of a gate's two convolutions."""

_ONLY = "only"


class Gating:
    """A gate, and what its first convolution sees on images."""

    def __init__(
        self, blocks: Sequence[Block], weights: Weights, device: torch.device | None = None
    ) -> None:
        """Take a gate, with nothing seen.

        Args:
            blocks: its two.
            weights: as they are in the original.
            device: where batches lie.
        """
        squeeze = blocks[0].operator
        self._blocks = tuple(blocks)
        self._weights = tuple((weight.to(device), bias.to(device)) for weight, bias in weights)
        self._regression = Regression(squeeze, {_ONLY: squeeze.out_channels}, device)
        self._held_out: list[Tensor] = []

    def weighed(self, x: Tensor) -> Tensor:
        """What the gate makes of a tensor (N, C, H, W)."""
        return weighed(x, self._weights, self._blocks)

    def add(self, means: Tensor) -> None:
        """Accumulate a batch of means (N, C, 1, 1)."""
        self._regression.add(means, {_ONLY: self._given(means)})

    def hold_out(self, means: Tensor) -> None:
        """Keep a batch of means to choose the ridge by."""
        self._held_out.append(means)

    def narrowed(self, channels: Tensor, ridges: Collection[float]) -> Weights:
        """The weights for some channels: over all of them, 0 for the means of those that go.

        Args:
            channels: indices of those that stay.
            ridges: to choose from on what was held out.
        """
        (weight, _), expand = self._weights
        spec, means = self._regression.spec, torch.cat(self._held_out)
        some, prior = self._regression.of_channels(spec, channels, _ONLY), weight[:, channels]
        wanted = {_ONLY: self._given(means)}
        held_out = means[:, channels]
        best = best_fits(some, some.spec, held_out, wanted, ridges, {_ONLY: prior})[_ONLY]
        return ((for_all(best.weight, channels, weight), best.bias), expand)

    def _given(self, means: Tensor) -> Tensor:
        weight, bias = (each.to(means) for each in self._weights[0])
        return convolve(means, weight, bias, self._regression.spec)


def weighed(x: Tensor, weights: Weights, blocks: Sequence[Block]) -> Tensor:
    """What a gate of some blocks makes of a tensor (N, C, H, W), with these weights."""
    gate = means_of(x)
    for block, (weight, bias) in zip(blocks, weights, strict=True):
        gate = convolve(gate, weight.to(x), bias.to(x), block.operator)
        if block.activation is not None:
            gate = make_activation(block.activation)(gate)
    return x * gate


def means_of(x: Tensor) -> Tensor:
    """The means (N, C, 1, 1) of a tensor (N, C, H, W) over its pixels."""
    return x.mean((2, 3), keepdim=True)


def for_all(weight: Tensor, channels: Sequence[int] | Tensor, like: Tensor) -> Tensor:
    """A weight for some input channels as one for all of them, with zeros for the others."""
    whole = weight.new_zeros(len(weight), *like.shape[1:])
    whole[:, channels] = weight
    return whole
