"""Fold batch norms into their convolutions, in place in a traced network."""

from torch import fx, nn

from depthopt.graph.convolutions import (
    conv_with,
    is_foldable_norm,
    operator_of,
    sole_user,
    why_opaque,
)
from depthopt.graph.network import reroute
from depthopt.graph.shared import shared_weights
from depthopt.rewrite.affine import folded


def fold_norms(graph_module: fx.GraphModule, *, keep_nodes: bool = False) -> None:
    """Fold every batch norm into the convolution before it, if nothing else uses either.

    Args:
        graph_module: changed in place.
        keep_nodes: leave an identity in each norm's place, so that all nodes keep
            their names.
    """
    modules, shared = dict(graph_module.named_modules()), shared_weights(graph_module)
    for node in list(graph_module.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.Conv2d):
            continue
        conv, user = modules[node.target], sole_user(node)
        if why_opaque(conv) is not None or user is None or user.op != "call_module":
            continue
        norm = modules[str(user.target)]
        if (
            not is_foldable_norm(norm)
            or not shared.keys().isdisjoint({node.target, user.target})
            or _calls(graph_module, node) + _calls(graph_module, user) > 2
        ):
            continue
        graph_module.set_submodule(
            str(node.target), conv_with(operator_of(conv), *folded(conv, norm), conv)
        )
        if keep_nodes:
            graph_module.set_submodule(str(user.target), nn.Identity())
        else:
            reroute(user, node)
            graph_module.graph.erase_node(user)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def norms_to_convolutions(graph_module: fx.GraphModule) -> None:
    """Turn every remaining batch norm into a depthwise 1x1 convolution."""
    shared = shared_weights(graph_module)
    for name, module in list(graph_module.named_modules()):
        if is_foldable_norm(module) and name not in shared:
            conv = conv_with(operator_of(module), *folded(module), graph_module)
            graph_module.set_submodule(name, conv)
    graph_module.recompile()


def _calls(graph_module: fx.GraphModule, node: fx.Node) -> int:
    return sum(other.target == node.target for other in graph_module.graph.nodes)
