"""A part of a network with weights of its own, in a segment's place."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from depthopt.core.chain import Block
from depthopt.core.operators import Convolution
from depthopt.graph.partial import record
from depthopt.rewrite.branch_layers import BranchLayers


@dataclass(frozen=True, slots=True)
class StandIn:
    """What stands in a segment's place, and is more than convolutions or linear layers in a row.

    Attributes:
        reads: nodes of the original whose values it reads, in the order of its inputs.
        block: the block that it ends with.
        make: a new network that computes it. Its nodes are called as the block's are.
    """

    reads: tuple[str, ...]
    block: Block
    make: Callable[[], fx.GraphModule]

    def last(self) -> "Last | None":
        """Its last linear layer. None where what that reads is not known, or it has no bias."""
        if self.block.hidden is None:
            return None
        network = self.make()
        layers = BranchLayers.of(network, self.block)
        return None if layers.last.bias is None else Last(self, network, layers)

    def output(
        self, values: Mapping[str, Tensor], last: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """The tensor behind its add.

        Args:
            values: of the original's nodes, by name.
            last: the weight (C, hidden, 1, 1) and bias (C,) of its last linear layer, if those are
                not what it is made with.
        """
        network = self.make()
        if last is not None:
            BranchLayers.of(network, self.block).set_last(network, *last)
        return run(network, self.reads, values, [self.block.output])[self.block.output]


@dataclass(frozen=True, slots=True)
class Last:
    """The last linear layer of a stand-in, as what is regressed.

    Attributes:
        of: the stand-in.
        network: it, made.
        layers: those around its hidden channels.
    """

    of: StandIn
    network: fx.GraphModule
    layers: BranchLayers

    @property
    def convolution(self) -> Convolution:
        """The layer where tokens are pixels."""
        last: nn.Linear = self.layers.last
        return Convolution(last.in_features, last.out_features, (1, 1))

    def seen(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What it reads (N, T, hidden), and what is added to what it gives (N, T, C).

        Args:
            values: of the original's nodes, by name.
        """
        names = str(self.of.block.hidden), self.of.block.input
        found = run(self.network, self.of.reads, values, names)
        return found[names[0]], found[names[1]]


def run(
    network: fx.GraphModule,
    reads: Iterable[str],
    values: Mapping[str, Tensor],
    names: Iterable[str],
) -> dict[str, Tensor]:
    """The values of some nodes of a stand-in's network, from those of the original's nodes."""
    with torch.no_grad():
        return record(network, {name: values[name] for name in reads}, names)
