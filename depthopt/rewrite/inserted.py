"""Activations that a plan inserts where the original has none.

Behind a linear bottleneck, a convolution that replaces several layers may be given an
activation (LayerMerge inserts one behind every merge of more than one layer). Put there at
once, it cuts off what the next layers were trained to see. Instead it can start as the
identity and come into its own while the network is finetuned.
"""

import torch
from torch import Tensor, nn

from depthopt.core.operators import Activation
from depthopt.errors import ModelError
from depthopt.graph.activations import make_activation


class InsertedActivation(nn.Module):
    """``x + share * (activation(x) - x)``: the identity at 0, the activation at 1.

    Between the two, a ReLU is leaky with slope ``1 - share``.

    Attributes:
        activation: what it becomes.
        share: a scalar buffer, saved with the weights.
    """

    share: Tensor

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = make_activation(activation)
        self.register_buffer("share", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Maps any shape to itself."""
        mixed: Tensor = x + self.share * (self.activation(x) - x)
        return mixed


def inserted_in(network: nn.Module) -> dict[str, InsertedActivation]:
    """The inserted activations by name."""
    modules = network.named_modules()
    return {name: module for name, module in modules if isinstance(module, InsertedActivation)}


def start_as_identity(network: nn.Module) -> None:
    """Let every inserted activation begin as the identity."""
    for module in inserted_in(network).values():
        module.share.zero_()


def come_into_their_own(network: nn.Module, share: float) -> None:
    """Move every inserted activation at least this far from 0, the identity, to 1."""
    for module in inserted_in(network).values():
        module.share.clamp_(min=share)


def settle(network: nn.Module) -> None:
    """Replace fully grown inserted activations by plain ones.

    Raises:
        ModelError: one has not.
    """
    for name, module in inserted_in(network).items():
        if float(module.share) != 1:
            raise ModelError(
                f"{name} is {100 * float(module.share):.0f} % of the way from the identity to "
                "its activation; finetune the network before it is fused"
            )
        network.set_submodule(name, module.activation)
