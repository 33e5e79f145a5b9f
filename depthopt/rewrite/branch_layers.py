"""The linear layers of a transformer's branch: what its hidden channels come from, and go to."""

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from depthopt.core.chain import Block
from depthopt.core.operators import Attention
from depthopt.graph.heads import Written, heads_written
from depthopt.graph.trace import nodes_by_name


@dataclass(frozen=True, slots=True)
class BranchLayers:
    """The linear layers around the hidden channels of a branch, and the factors behind them.

    Attributes:
        first_path: of the first.
        first: the layer that the hidden channels come from; of an attention, queries, keys and
            values together.
        last_path: of the last.
        last: the layer that reads them.
        scale: (C,) of LayerScale; ones without it.
        heads: where an attention writes how many it has.
    """

    first_path: str
    first: nn.Linear
    last_path: str
    last: nn.Linear
    scale: Tensor
    heads: tuple[Written, ...]

    @classmethod
    def of(cls, network: fx.GraphModule, block: Block) -> "BranchLayers":
        """Find those of a block whose ``hidden`` is known."""
        hidden = first = nodes_by_name(network)[str(block.hidden)]
        last, scale = next(iter(hidden.users)), None
        node = last
        while node.name != block.linear:
            node = next(iter(node.users))
            for each in node.all_input_nodes:
                if each.op == "get_attr":
                    scale = operator.attrgetter(str(each.target))(network).detach()
        while not (first.op == "call_module" and isinstance(_module(network, first), nn.Linear)):
            first = first.all_input_nodes[0]
        one, two = _module(network, first), _module(network, last)
        assert isinstance(one, nn.Linear)  # noqa: S101 - narrows nn.Module: found so
        assert isinstance(two, nn.Linear)  # noqa: S101 - narrows nn.Module: what a branch ends in
        scale = two.weight.new_ones(two.out_features) if scale is None else scale
        own = block.operator
        heads = heads_written(hidden, own) if isinstance(own, Attention) else None
        return cls(str(first.target), one, str(last.target), two, scale, heads or ())

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

    def rows(self, stays: Tensor) -> Tensor:
        """The rows of the first layer that give the hidden channels that stay."""
        whole = self.last.in_features
        return torch.cat([stays + i * whole for i in range(self.first.out_features // whole)])


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module:
    return network.get_submodule(str(node.target))
