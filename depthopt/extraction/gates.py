"""Find squeeze-excites: tensors whose channels are scaled by a function of their means."""

import operator
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx, nn

from depthopt.core.chain import Chain, Gate
from depthopt.extraction.network import Network
from depthopt.graph.plain import is_plain

_PRODUCTS = (operator.mul, torch.mul, "mul")
_MEANS = (torch.mean, "mean")
_POOLINGS = (F.adaptive_avg_pool2d,)


def gates(network: Network, chain: Chain, layers: Sequence[fx.Node]) -> Iterator[Gate]:
    """The squeeze-excites whose product a block reads.

    Args:
        network: the traced network.
        chain: its blocks.
        layers: the node of each block's convolution or norm.
    """
    nodes = {node.name: node for node in network.nodes}
    for end in range(2, len(layers)):
        product, output = layers[end].all_input_nodes[0], nodes[chain.blocks[end - 1].output]
        if not _is_product(product) or output not in product.all_input_nodes:
            continue
        source = next(node for node in product.all_input_nodes if node is not output)
        start = end - 1
        while start and layers[start].all_input_nodes[0].name == chain.blocks[start - 1].output:
            start -= 1
        means, blocks = layers[start].all_input_nodes[0], chain.blocks[start:end]
        if (
            start
            and _is_mean(network, means, source)
            and set(source.users) == {means, product}
            and [set(node.users) for node in (means, output, product)]
            == [{layers[start]}, {product}, {layers[end]}]
            and all(block.preactivation == layers[start + i].name for i, block in enumerate(blocks))
        ):
            yield Gate(start, end, source.name, product.name)


def _is_product(node: fx.Node) -> bool:
    """Whether a node gives a tensor (N, C, H, W) times another (N, C, 1, 1), or the other way."""
    if node.target not in _PRODUCTS or len(node.all_input_nodes) != 2 or node.kwargs:
        return False
    shapes = sorted(tuple(each.meta["shape"]) for each in node.all_input_nodes)
    small, large = shapes[0], tuple(node.meta["shape"])
    return len(large) == len(small) == 4 and small[1:] == (large[1], 1, 1) and shapes[1] == large


def _is_mean(network: Network, node: fx.Node, source: fx.Node) -> bool:
    """Whether a node gives the means (N, C, 1, 1) of a tensor (N, C, H, W) over its pixels."""
    if node.all_input_nodes != [source] or tuple(node.meta["shape"][2:]) != (1, 1):
        return False
    pools = is_plain(network.module(node), nn.AdaptiveAvgPool2d) or node.target in _POOLINGS
    return pools or (node.target in _MEANS and _dimensions(node) == {2, 3})


def _dimensions(node: fx.Node) -> set[int]:
    """What a mean is over, counted from the front."""
    given = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    listed = given if isinstance(given, (tuple, list)) else (given,)
    return {int(d) % 4 for d in listed if isinstance(d, int)}
