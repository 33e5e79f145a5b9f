"""Regress what else changes when a hidden tensor before a convolution loses channels.

A *gate* weighs the tensor: ``x * act2(conv2(act1(conv1(mean of x))))``. Its first convolution is
linear in the means: for fewer of them it is regressed to give what it gave for all; the second one
only loses what it gave for the channels that go.

A *middle* convolution gives the tensor, of another hidden tensor with as many channels, as in a
bottleneck. It loses the outputs that go, and as many inputs: those that its other outputs need
least. It is linear in these, and is regressed to give what it gave for all.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor

from depthopt.core.chain import Block, Chain
from depthopt.graph.activations import make_activation
from depthopt.rewrite.narrowing import RIDGES, staying
from depthopt.rewrite.regression import Regression, best_fits, convolve

Weights = tuple[tuple[Tensor, Tensor], ...]
"""Weight (out, in, kH, kW) and bias (out,) of a gate's two convolutions, or of a middle one."""

_ONLY = "only"


class Inner(Protocol):
    """The part between a tensor that is read and the one that loses channels."""

    def add(self, x: Tensor) -> None:
        """Accumulate a batch of the tensor that is read (N, C, H, W)."""
        ...

    def hold_out(self, x: Tensor) -> None:
        """Keep a batch of that tensor, to choose the ridge."""
        ...

    def through(self, x: Tensor) -> Tensor:
        """The original's output for it: the tensor that loses channels."""
        ...

    def narrowed(self, channels: Tensor) -> Weights:
        """The weights when only some channels of that tensor stay. 0 for those that go."""
        ...


def inner_of(
    chain: Chain, start: int, end: int, weights: Weights, device: torch.device | None = None
) -> tuple[str, Inner]:
    """The inner part of a branch, and the fx node that it reads.

    Args:
        chain: the network.
        start: first block of the branch.
        end: one past its last.
        weights: of what lies inside, in the original.
        device: where batches lie.
    """
    gate = chain.gate_in(start, end)
    if gate is not None:
        return gate.source, Gate(chain.blocks[gate.start : gate.end], weights, device)
    middle = chain.blocks[start + 1]
    return middle.input, Middle(middle, weights, device)


class _Linear:
    """A convolution that is to give what it does, of fewer channels."""

    def __init__(self, block: Block, weights: Weights, device: torch.device | None) -> None:
        self._weights = tuple((weight.to(device), bias.to(device)) for weight, bias in weights)
        self.spec = block.convolution
        self.regression = Regression(self.spec, {_ONLY: self.spec.out_channels}, device)
        self._held_out: list[Tensor] = []

    @property
    def weight(self) -> Tensor:
        return self._weights[0][0]

    def given(self, x: Tensor) -> Tensor:
        weight, bias = (each.to(x) for each in self._weights[0])
        return convolve(x, weight, bias, self.spec)

    def add(self, x: Tensor) -> None:
        self.regression.add(x, {_ONLY: self.given(x)})

    def hold_out(self, x: Tensor) -> None:
        self._held_out.append(x)

    def fewer(self, channels: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The weight and bias that read some channels and give some outputs, 0 elsewhere."""
        x, weight = torch.cat(self._held_out), self.weight
        some = self.regression.of_channels(self.spec, channels, _ONLY, outputs)
        wanted, prior = self.given(x)[:, outputs], weight[outputs][:, channels]
        best = best_fits(some, some.spec, x[:, channels], {_ONLY: wanted}, RIDGES, {_ONLY: prior})
        whole, bias = weight.new_zeros(weight.shape), weight.new_zeros(len(weight))
        whole[outputs[:, None], channels] = best[_ONLY].weight.to(whole)
        bias[outputs] = best[_ONLY].bias.to(bias)
        return whole, bias


class Gate:
    """A squeeze-excite on the tensor that loses channels, which it also reads."""

    def __init__(
        self, blocks: Sequence[Block], weights: Weights, device: torch.device | None = None
    ) -> None:
        """Take the gate's two blocks, and their weights in the original."""
        self._blocks, self._weights = tuple(blocks), weights
        self._squeeze = _Linear(blocks[0], weights, device)

    def add(self, x: Tensor) -> None:
        """Accumulate a batch (N, C, H, W)."""
        self._squeeze.add(_means(x))

    def hold_out(self, x: Tensor) -> None:
        """Keep a batch, to choose the ridge."""
        self._squeeze.hold_out(_means(x))

    def through(self, x: Tensor) -> Tensor:
        """What the gate makes of a tensor (N, C, H, W)."""
        return weighed(x, self._weights, self._blocks)

    def narrowed(self, channels: Tensor) -> Weights:
        """The weights of both convolutions. The second one's do not change."""
        everything = torch.arange(self._squeeze.spec.out_channels, device=channels.device)
        return (self._squeeze.fewer(channels, everything), self._weights[1])


class Middle:
    """A dense convolution between two hidden tensors with as many channels."""

    def __init__(self, block: Block, weights: Weights, device: torch.device | None = None) -> None:
        """Take its block, and its weight in the original."""
        self._block, self._weights = block, weights
        self._linear = _Linear(block, weights, device)

    def add(self, x: Tensor) -> None:
        """Accumulate a batch (N, C, H, W)."""
        self._linear.add(x)

    def hold_out(self, x: Tensor) -> None:
        """Keep a batch, to choose the ridge."""
        self._linear.hold_out(x)

    def through(self, x: Tensor) -> Tensor:
        """The convolution and its activation."""
        return convolved(x, self._weights, (self._block,))

    def narrowed(self, channels: Tensor) -> Weights:
        """The weight for those outputs, and for as many inputs."""
        linear, count = self._linear, len(channels)
        everything = torch.arange(linear.spec.in_channels, device=channels.device)
        some = linear.regression.of_channels(linear.spec, everything, _ONLY, channels)
        weight = linear.weight[channels]
        read = staying(some, some.spec, weight, [count], _ONLY)[count]
        return (linear.fewer(read, channels),)


def weighed(x: Tensor, weights: Weights, blocks: Collection[Block]) -> Tensor:
    """What a gate of some blocks makes of a tensor (N, C, H, W), with these weights."""
    return x * convolved(_means(x), weights, blocks)


def convolved(x: Tensor, weights: Weights, blocks: Collection[Block]) -> Tensor:
    """What blocks in a row, their activations too, make of a tensor with these weights."""
    for block, (weight, bias) in zip(blocks, weights, strict=True):
        x = convolve(x, weight.to(x), bias.to(x), block.convolution)
        if block.activation is not None:
            x = make_activation(block.activation)(x)
    return x


def _means(x: Tensor) -> Tensor:
    """The means (N, C, 1, 1) of a tensor (N, C, H, W) over its pixels."""
    return x.mean((2, 3), keepdim=True)
