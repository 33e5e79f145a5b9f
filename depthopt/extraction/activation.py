"""The activation that follows a tensor."""

from torch import fx

from depthopt.core.operators import Activation
from depthopt.extraction.network import Network
from depthopt.graph.activations import node_activation
from depthopt.graph.convolutions import sole_user


def activation_behind(network: Network, node: fx.Node) -> tuple[Activation | None, fx.Node]:
    """The activation behind a node, if any, and the node behind that."""
    user = sole_user(node)
    if user is not None and (activation := node_activation(user, network.modules)):
        return activation, user
    return None, node


def activation_before(network: Network, node: fx.Node) -> fx.Node:
    """The node before an activation. For any other node, that node itself."""
    is_activation = node_activation(node, network.modules) is not None
    return node.all_input_nodes[0] if is_activation else node
