"""The linear layers of a transformer's branch: what its hidden channels come from, and go to."""

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from depthopt.core.chain import Block
from depthopt.core.operators import Attention
from depthopt.graph.heads import Written, heads_written, next_before
from depthopt.graph.trace import nodes_by_name


@dataclass(frozen=True, slots=True)
class BranchLayers:
    """The linear layers around the hidden channels of a branch, and the factors behind them.

    Attributes:
        first: the layers that the hidden channels come from, by path: one, or one each for queries,
            keys and values, or for an MLP's gate and what it is a factor of.
        last_path: of the last.
        last: the layer that reads them.
        scale: (C,) of LayerScale; ones without it.
        heads: where an attention writes how many it has.
    """

    first: dict[str, nn.Linear]
    last_path: str
    last: nn.Linear
    scale: Tensor
    heads: tuple[Written, ...]

    @classmethod
    def of(cls, network: fx.GraphModule, block: Block) -> "BranchLayers":
        """Find those of a block whose ``hidden`` is known."""
        hidden = nodes_by_name(network)[str(block.hidden)]
        last, scale = next(iter(hidden.users)), None
        node = last
        while node.name != block.linear:
            node = next(iter(node.users))
            for each in node.all_input_nodes:
                arranged = each.op == "call_method"  # of a map's channels
                read = each.all_input_nodes[0] if arranged else each
                if read.op == "get_attr":
                    scale = operator.attrgetter(str(read.target))(network).detach().flatten()
        two = _module(network, last)
        assert isinstance(two, nn.Linear)  # noqa: S101 - narrows nn.Module: what a branch ends in
        scale = two.weight.new_ones(two.out_features) if scale is None else scale
        own = block.operator
        heads = heads_written(hidden, own) if isinstance(own, Attention) else None
        return cls(_first(network, hidden), str(last.target), two, scale, heads or ())

    def weights(self) -> tuple[Tensor, Tensor]:
        """The weight (C, hidden, 1, 1) and bias (C,) of the last layer and the factors behind."""
        weight, bias = self.last.weight.detach(), self.last.bias
        own = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        return (self.scale[:, None] * weight)[:, :, None, None], self.scale * own

    @torch.no_grad()
    def set_last(self, network: fx.GraphModule, weight: Tensor, bias: Tensor) -> None:
        """Let a network's last layer and the factors behind it compute with other weights.

        Args:
            network: has a linear layer with a bias at ``last_path``.
            weight: (C, hidden, 1, 1).
            bias: (C,).
        """
        scale = torch.where(self.scale == 0, 1.0, self.scale.double())
        layer = network.get_submodule(self.last_path)
        layer.get_parameter("weight").copy_(weight.flatten(1).double() / scale[:, None])
        layer.get_parameter("bias").copy_(bias.double() / scale)

    def parts(self, path: str) -> int:
        """How many numbers one of the first layers gives for each hidden channel."""
        return self.first[path].out_features // self.last.in_features

    def rows(self, path: str, stays: Tensor) -> Tensor:
        """The rows of one of the first layers that give the hidden channels that stay."""
        return torch.cat([stays + i * self.last.in_features for i in range(self.parts(path))])


def _first(network: fx.GraphModule, hidden: fx.Node) -> dict[str, nn.Linear]:
    """The linear layers next before a node, by path."""

    def is_linear(node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(_module(network, node), nn.Linear)

    paths = [str(node.target) for node in next_before(hidden, is_linear)]
    layers = {path: network.get_submodule(path) for path in paths}
    return {path: layer for path, layer in layers.items() if isinstance(layer, nn.Linear)}


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module:
    return network.get_submodule(str(node.target))
