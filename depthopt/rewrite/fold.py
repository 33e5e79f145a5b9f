"""Fold norms into their convolutions, and LayerScale, in place in a traced network."""

from operator import attrgetter, mul

import torch
from torch import Tensor, fx, nn

from depthopt.graph.convolutions import (
    conv_with,
    fitting,
    is_foldable_norm,
    operator_of,
    sole_user,
    why_opaque,
)
from depthopt.graph.network import reroute
from depthopt.graph.plain import why_not_plain
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


@torch.no_grad()
def fold_scales(graph_module: fx.GraphModule) -> None:
    """Fold every LayerScale into the linear layer before it, if nothing else uses the layer.

    Args:
        graph_module: changed in place.

    Raises:
        ModelError: the layer's precision does not hold the products.
    """
    shared = shared_weights(graph_module)
    for node in list(graph_module.graph.nodes):
        layer, product = _linear_at(graph_module, node), sole_user(node)
        if layer is None or product is None or product.target not in {mul, torch.mul}:
            continue
        scales = [each for each in product.all_input_nodes if each.op == "get_attr"]
        if str(node.target) in shared or _calls(graph_module, node) > 1 or len(scales) != 1:
            continue
        scale: Tensor = attrgetter(str(scales[0].target))(graph_module)
        if scale.shape != (layer.out_features,):
            continue
        layer.weight.copy_(fitting(layer.weight.double() * scale.double()[:, None], layer.weight))
        if layer.bias is not None:
            layer.bias.copy_(fitting(layer.bias.double() * scale.double(), layer.bias))
        reroute(product, node)
        graph_module.graph.erase_node(product)
        if not scales[0].users and _calls(graph_module, scales[0]) == 1:
            graph_module.graph.erase_node(scales[0])
            owner, _, name = str(scales[0].target).rpartition(".")
            delattr(graph_module.get_submodule(owner), name)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def _linear_at(graph_module: fx.GraphModule, node: fx.Node) -> nn.Linear | None:
    """The linear layer that a node calls; None if it calls something else."""
    if node.op != "call_module":
        return None
    module = graph_module.get_submodule(str(node.target))
    return module if isinstance(module, nn.Linear) and why_not_plain(module) is None else None


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
